"""One folder for each run: its configuration, its calls, what happened, and what came out, all in open formats.

run.json       resolved configuration, versions, model fingerprints
calls.sqlite   every call with its answer, tokens and cost (the cache as well)
events.jsonl   what happened, in the order of time, over all sessions
metrics.jsonl  numbers over the course of the run; the same for an unbroken and a continued run
stages/        tables in parquet
manifest.json  rows and SHA-256 of every table and adapter (rewrite)
report.json    what came out
report.html    the same for people
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from promptmill.errors import InputError
from promptmill.store.files import write_json, write_text
from promptmill.store.stage import Stage

if TYPE_CHECKING:
    import pyarrow as pa

LIBRARIES = ("promptmill", "torch", "transformers", "peft", "aiohttp", "pyarrow", "numpy", "scipy", "sacrebleu")


class Run:
    """A run's folder, held by one process at a time.

    craft:    "eval", "breed", …
    identity: all that decides the result (JSON). A folder made with another identity is refused, the difference named.
    settings: what may change from session to session (budget, concurrency): recorded only.
    """

    def __init__(self, folder: Path, craft: str, identity: dict[str, Any], settings: dict[str, Any] | None = None):
        self.folder, self.craft = folder, craft
        self.used: dict[str, None] = {}
        """Names of the stages that this session has made or read; others in the folder are of other settings."""
        self.identity = json.loads(json.dumps(identity))
        self._check_identity()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._hold()
        except OSError as error:
            raise InputError(f"--out {folder}: cannot be written ({error.strerror})") from None
        self.continued = self._check_identity()  # again: another process may have begun it before the lock was ours
        if self.continued:  # what a killed session was in the middle of writing; the lock says that nobody is now
            for left in folder.rglob(".*.part"):
                if left.is_file():
                    left.unlink(missing_ok=True)
        else:
            write_json(folder / "run.json", {
                "id": secrets.token_hex(6), "craft": craft, "identity": self.identity, "settings": settings or {},
                "versions": versions(), "python": platform.python_version(), "machine": platform.platform(),
                "created": stamp(),
            })  # fmt: skip
        self.id = str(read_run(folder).get("id", ""))
        self._events = (folder / "events.jsonl").open("a", encoding="utf-8")
        # Metrics follow from the configuration and the answers alone. A continued run passes the same way again, from
        # its cache, and so writes the same lines again.
        self._metrics: IO[str] | None = None
        self.event("session", continued=self.continued, settings=settings or {}, command=_command())

    @property
    def calls_path(self) -> Path:
        return self.folder / "calls.sqlite"

    def event(self, kind: str, **data: Any) -> None:
        _line(self._events, {"at": stamp(), "event": kind} | data)

    def metric(self, **data: Any) -> None:
        if self._metrics is None:
            self._metrics = (self.folder / "metrics.jsonl").open("w", encoding="utf-8")
        _line(self._metrics, data)

    def last_report(self) -> dict[str, Any] | None:
        """The report that an earlier session has left, if there is one."""
        path = self.folder / "report.json"
        try:
            report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise InputError(f"{path}: cannot be read; remove it and run again") from None
        return report

    def stage(self, name: str, schema: pa.Schema) -> Stage:
        self.used.setdefault(name)
        return Stage(self.folder / "stages" / name, schema)

    def finish(self, report: dict[str, Any], page: Callable[[dict[str, Any]], str] | None = None) -> Path:
        """Write report.json and, where there is a `page` that makes HTML of it, report.html beside it."""
        path = self.folder / "report.json"
        write_json(path, report)
        if page is not None:
            write_text(path.with_suffix(".html"), page(report))
        self.event("finished")
        return path

    def close(self) -> None:
        for file in (self._events, self._metrics, self._lock):
            if file is not None:
                file.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_identity(self) -> bool:
        """True where the folder holds this very run already. InputError where it holds another, or something else."""
        path = self.folder / "run.json"
        if not path.exists():
            if self.folder.is_dir() and any(not path.name.startswith(".") for path in self.folder.iterdir()):
                raise InputError(f"--out {self.folder}: the folder holds something that is no run; name a new one")
            return False
        before = read_run(self.folder)
        if before["craft"] != self.craft:
            raise InputError(f"--out {self.folder}: holds a run of '{before['craft']}'; name another folder")
        change = difference(before["identity"], self.identity)
        if change:
            raise InputError(f"--out {self.folder}: was begun with {change}; name another folder for a new run")
        return True

    def _hold(self) -> IO[str]:
        lock = (self.folder / ".lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise InputError(f"--out {self.folder}: process {holder} is at work on this run") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a run. InputError where there is none."""
    try:
        data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return {"craft": data["craft"], "identity": data["identity"], **data}
    except OSError:
        raise InputError(f"{folder}: not the folder of a run (no run.json)") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{folder}/run.json: cannot be read; the run is damaged") from None


def difference(before: Any, now: Any, path: str = "") -> str:
    """The first place where two configurations differ, in words; empty where they are alike."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(set(before) | set(now)):
            found = difference(before.get(key), now.get(key), f"{path}.{key}".lstrip("."))
            if found:
                return found
        return ""
    return "" if before == now else f"{path}={_brief(before)}, now {_brief(now)}"


def versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed
    return found


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def _command() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _line(file: IO[str], data: dict[str, Any]) -> None:
    file.write(json.dumps(data, ensure_ascii=False) + "\n")
    file.flush()
