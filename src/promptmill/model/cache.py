"""The record of every call, which is the cache too: one SQLite file (write-ahead log), in the run's folder or shared.

A call's row is written before its answer is used, so whatever instant a process is killed at, only calls in flight are
lost. Rows are written in groups: one transaction for all answers that arrive within two milliseconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.errors import InputError
from promptmill.model.chat import Answer, Completion, Failure, Request, ScoreRequest, Scores, TokenLogprob, Usage
from promptmill.model.constraint import plain
from promptmill.model.keys import KeySet

GROUP_SECONDS = 0.002

SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
  key TEXT, run TEXT, role TEXT, model TEXT, request TEXT, response TEXT,
  prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL, seconds REAL, attempts INTEGER, at REAL,
  PRIMARY KEY (key, run)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
  key TEXT, run TEXT, role TEXT, model TEXT, request TEXT, kind TEXT, detail TEXT, attempts INTEGER, at REAL,
  prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL
);
"""


def canonical(fingerprint: str, request: Request | ScoreRequest) -> str:
    """All that decides the answer, as one JSON text. Its hash is the key."""
    if isinstance(request, ScoreRequest):
        return json.dumps([fingerprint, "score", request.messages, request.continuations, request.prefix])
    s = request.sampling
    rest = [s.temperature, s.top_p, s.max_tokens, s.stop, s.seed, request.prefix, plain(request.constraint)]
    rest += [request.n, request.repeat, request.logprobs, request.response_format]
    if request.suffix:  # only then: calls that were recorded before there was a suffix are still found
        rest.append(request.suffix)
    return json.dumps([fingerprint, "complete", request.messages, *rest])


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]


INSERT = "INSERT OR IGNORE INTO calls VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
INSERT_FAILURE = "INSERT INTO failures VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"


@dataclass(frozen=True, slots=True)
class Record:
    """A finished call on its way to the file."""

    key: str
    role: str
    model: str
    request: str
    result: Completion | Scores
    cost: float | None
    seconds: float
    attempts: int


class CallStore:
    """Calls by key. `run` names the run that pays; `path` None keeps the calls in memory only.

    shared: others may write to the file meanwhile. Where they cannot, keys that are not known to be there are not
    looked for in it, which saves a query for every new call.
    """

    def __init__(self, path: Path | None, run: str = "", *, shared: bool = True):
        self.path, self.run = path, run
        self._pending: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
        try:
            self._db = sqlite3.connect(path or ":memory:", timeout=60, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(SCHEMA)
            keys = self._db.execute("SELECT key FROM calls")
            self._known = None if shared and path else KeySet(key for (key,) in keys)
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path}: cannot be used as a store of calls ({error})") from None

    def get(self, key: str) -> tuple[str, str, Usage, float | None] | None:
        """(response JSON, run that paid, usage, cost), or None. A run's own answer goes before another run's, so that
        in a shared file too it meets the same answer again."""
        if self._known is not None and key not in self._known:
            return None
        row = self._db.execute(
            "SELECT response, run, prompt_tokens, completion_tokens, cost FROM calls WHERE key=? "
            "ORDER BY run=? DESC LIMIT 1",
            (key, self.run),
        ).fetchone()
        return (row[0], row[1], Usage(row[2], row[3]), row[4]) if row else None

    async def put(self, record: Record) -> None:
        """Returns when the record is in the file."""
        usage = record.result.usage
        row = (
            *(record.key, self.run, record.role, record.model, record.request, encode(record.result)),
            *(usage.prompt, usage.completion, record.cost, record.seconds, record.attempts, time.time()),
        )
        loop = asyncio.get_running_loop()
        if self.path is None:  # nothing is won by waiting for others
            self._pending.append((row, loop.create_future()))
            return self._write_now()
        if not self._pending:
            loop.call_later(GROUP_SECONDS, self._write_group)
        written: asyncio.Future[None] = loop.create_future()
        self._pending.append((row, written))
        await written

    def _write_now(self) -> None:
        ((_, written),) = self._pending
        self._write_group()
        written.result()  # raises what went wrong

    def _write_group(self) -> None:
        group, self._pending = self._pending, []
        if not group:
            return
        failed: InputError | None = None
        try:
            self._db.execute("BEGIN")
            self._db.executemany(INSERT, [row for row, _ in group])
            self._db.execute("COMMIT")
        except Exception as error:  # a full disk, a value SQLite cannot hold: every waiting call must hear of it
            failed = self._unwritable(error)
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        if self._known is not None and failed is None:
            self._known.update(row[0] for row, _ in group)
        for _, written in group:
            if written.done():  # whoever waited has been cancelled; the row is kept all the same
                continue
            if failed is None:
                written.set_result(None)
            else:
                written.set_exception(failed)

    def put_failure(
        self, key: str, role: str, model: str, request: str, failure: Failure, cost: float | None = None
    ) -> None:
        """Failures are recorded for people and for the budget (a refused answer may have been paid for); they are never
        answered from here, so a continued run tries them again."""
        usage = failure.usage or Usage()
        row = (
            *(key, self.run, role, model, request, failure.kind, failure.detail, failure.attempts, time.time()),
            *(usage.prompt, usage.completion, cost or 0.0),
        )
        try:
            self._db.execute(INSERT_FAILURE, row)
        except (sqlite3.Error, ValueError) as error:
            raise self._unwritable(error) from None

    def paid(self) -> tuple[int, int, int, float]:
        """(calls, prompt tokens, completion tokens, cost) that this run has paid for so far."""
        sums = "count(*), coalesce(sum(prompt_tokens),0), coalesce(sum(completion_tokens),0), coalesce(sum(cost),0)"
        charged = "run=? AND prompt_tokens + completion_tokens > 0"
        calls = self._db.execute(f"SELECT {sums} FROM calls WHERE run=?", (self.run,)).fetchone()
        lost = self._db.execute(f"SELECT {sums} FROM failures WHERE {charged}", (self.run,)).fetchone()
        return (
            int(calls[0] + lost[0]),
            int(calls[1] + lost[1]),
            int(calls[2] + lost[2]),
            float(calls[3] + lost[3]),
        )

    def by_role(self) -> dict[str, tuple[int, int, int, float]]:
        """What this run's calls were for: (calls, prompt tokens, completion tokens, cost) of each role. The same for
        an unbroken run and for one of many sessions."""
        rows = self._db.execute(
            "SELECT role, count(*), sum(prompt_tokens), sum(completion_tokens), coalesce(sum(cost),0) FROM calls "
            "WHERE run=? GROUP BY role ORDER BY role",
            (self.run,),
        )
        return {role: (calls, prompt, completion, cost) for role, calls, prompt, completion, cost in rows}

    def take_over(self, other: CallStore) -> None:
        """Write what another store holds, all at once. A call that is here already stays as it is."""
        try:
            self._db.execute("BEGIN")
            self._db.executemany(INSERT, other._db.execute("SELECT * FROM calls"))
            self._db.executemany(INSERT_FAILURE, other._db.execute("SELECT * FROM failures"))
            self._db.execute("COMMIT")
        except (sqlite3.Error, ValueError) as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._unwritable(error) from None
        if self._known is not None:
            self._known.update(key for (key,) in other._db.execute("SELECT key FROM calls"))

    def flush(self) -> None:
        """Write what waits for its group: before an event loop ends, and with it the timer."""
        if self._pending:
            self._write_group()

    def _unwritable(self, error: Exception) -> InputError:
        return InputError(f"{self.path or 'the record of calls'}: cannot be written ({error})")

    def close(self) -> None:
        self.flush()
        self._db.close()


def encode(result: Completion | Scores) -> str:
    if isinstance(result, Scores):
        return json.dumps({"logprobs": result.logprobs, "tokens": result.tokens})
    return json.dumps([[a.text, a.finish, a.logprobs and [[t.token, t.logprob, t.top] for t in a.logprobs],
                        *([a.stop] if a.stop else [])] for a in result.answers], ensure_ascii=False)  # fmt: skip


def decode(text: str, usage: Usage) -> Completion | Scores:
    data = json.loads(text)
    if isinstance(data, dict):
        return Scores(tuple(data["logprobs"]), tuple(data["tokens"]), usage)
    return Completion(tuple(_answer(*row) for row in data), usage)


def _answer(text: str, finish: str, logprobs: list[Any] | None, stop: str | None = None) -> Answer:
    if logprobs is None:
        return Answer(text, finish, None, stop)
    read = tuple(TokenLogprob(t, lp, tuple((a, b) for a, b in top)) for t, lp, top in logprobs)
    return Answer(text, finish, read, stop)
