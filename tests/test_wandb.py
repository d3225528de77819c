"""Numbers on Weights & Biases: what it writes offline, what it sends online, and what it keeps to itself."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from promptmill.errors import InputError
from promptmill.store.wandb import WandbSink, flat_numbers, open_wandb, without_prompts

wandb = pytest.importorskip("wandb")

KEY = "0123456789abcdef" * 3
SECRET = "Ponder the riddle of the sphinx."
CONFIG = {"task": "sums", "seed": 3, "prompt": {"system": SECRET}, "breed": {"calls": 1500, "demos": 0}}
ROWS: list[dict[str, Any]] = [
    {"calls": 40, "round": 1, "elite": {"id": 0, "fitness": 0.25, "instruction": SECRET}},
    {"calls": 90, "round": 2, "elite": {"id": 3, "fitness": 0.5, "instruction": SECRET}},
    {"calls": 90, "round": 3, "elite": {"id": 3, "fitness": None, "instruction": SECRET}},
]
REPORT = {"verdict": "improved", "best_prompt": {"system": SECRET}, "test": {"seed": 0.25, "best": 0.5, "p": None},
          "history": ROWS}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the user's, and nothing of the test before: wandb reads the environment once for each process."""
    for name in ("HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_DIR", "WANDB_PROJECT", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setattr(sys, "argv", ["promptmill", "breed", "--prompt", SECRET])
    yield
    wandb.teardown()


def records(folder: Path) -> list[Any]:
    """What an offline run has written: a header of 7 bytes, then records of checksum, length and kind (1: whole)."""
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # waits for wandb's own process, as the end of the program does
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, at, found = path.read_bytes(), 7, []
    assert len(data) < 1 << 15  # one block, so that no record is split
    while at < len(data):
        _, length, kind = struct.unpack_from("<IHB", data, at)
        assert kind == 1
        found.append(Record.FromString(data[at + 7 : at + 7 + length]))
        at += 7 + length
    return found


def items(part: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in part}


def everything_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


class Server(BaseHTTPRequestHandler):
    """As much of a W&B server as a run needs; `begun` is the last step that it has of the run, if it has any."""

    begun: int | None = None
    history: list[dict[str, Any]]
    bodies: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append(body)
        answer: dict[str, Any] = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            answer = {"data": self.graph(asked["operationName"], asked["variables"])}
        elif self.path.endswith("/file_stream"):
            sent = json.loads(body).get("files", {}).get("wandb-history.jsonl", {})
            self.history.extend(json.loads(line) for line in sent.get("content", []))
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_PUT = do_POST

    def graph(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        tail = [] if self.begun is None else [json.dumps({"_step": self.begun, "_runtime": 1})]
        project = {"id": "p", "name": "mill", "entity": {"id": "e", "name": "me"}}
        run = {"id": "r", "name": "abc123", "displayName": "sums", "config": "{}", "summaryMetrics": "{}", "tags": [],
               "wandbConfig": '{"t": 1}', "historyTail": json.dumps(tail), "eventsTail": "[]", "logLineCount": 0,
               "historyLineCount": len(tail), "eventsLineCount": 0, "project": project}  # fmt: skip
        if name == "RunResumeStatus":
            return {"model": {**project, "bucket": None if self.begun is None else run}}
        if name == "UpsertBucket":
            return {"upsertBucket": {"bucket": run, "inserted": self.begun is None}}
        if name == "CreateRunFiles":
            here = f"http://{self.headers['Host']}/upload/"
            files = [{"name": file, "uploadUrl": here + file} for file in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {"serverInfo": {"features": []}, "__type": {"fields": []}, "viewer": None, "entity": None}

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    handler = type("Handler", (Server,), {"history": [], "bodies": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listening.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield handler
        listening.shutdown()


def told(folder: Path, config: dict[str, Any] = CONFIG) -> WandbSink:
    sink = open_wandb("mill", "sums", config, "abc123", folder)
    for row in ROWS:
        sink.metric(row)
    sink.finish(REPORT)
    return sink


def test_offline_a_run_lies_whole_in_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert told(tmp_path / "run").url is None
    found = records(tmp_path / "run")
    (begun,) = [record.run for record in found if record.HasField("run")]
    assert (begun.project, begun.display_name, begun.run_id) == ("mill", "sums", "abc123")
    assert items(begun.config.update)["breed"] == {"calls": 1500, "demos": 0}
    logged = [items(record.history.item) for record in found if record.HasField("history")]
    assert [(row["_step"], row["calls"], row["round"]) for row in logged] == [(40, 40, 1), (90, 90, 2), (91, 90, 3)]
    assert [row.get("elite/fitness") for row in logged] == [0.25, 0.5, None]
    summary: dict[str, Any] = {}
    for record in found:
        summary |= items(record.summary.update)
    assert (summary["test/seed"], summary["test/best"], summary["round"]) == (0.25, 0.5, 3)
    assert [record.exit.exit_code for record in found if record.HasField("exit")] == [0]
    assert capfd.readouterr() == ("", "")


def test_neither_key_nor_prompt_nor_command_line_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    told(tmp_path / "run")
    assert records(tmp_path / "run")
    written = everything_under(tmp_path)
    assert b"abc123" in written
    assert KEY.encode() not in written
    assert SECRET.encode() not in written


def test_a_continued_run_goes_on_with_the_same_wandb_run(tmp_path: Path, server: type[Server], capfd: Any):
    told(tmp_path / "run")
    assert [row["_step"] for row in server.history] == [40, 90, 91]
    server.begun, kept = 90, len(server.history)
    wandb.teardown()
    told(tmp_path / "run")
    # what the server has by step 90 is not told again
    assert [(row["_step"], row["round"]) for row in server.history[kept:]] == [(91, 3)]
    assert capfd.readouterr() == ("", "")


def test_what_is_sent_holds_no_prompt_and_no_key(tmp_path: Path, server: type[Server]):
    told(tmp_path / "run")
    sent = b"".join(server.bodies)
    assert b"elite/fitness" in sent
    assert b"test/best" in sent
    for kept in (SECRET, KEY, str(tmp_path), sys.executable):
        assert kept.encode() not in sent


def test_an_interrupted_run_is_told_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    sink = open_wandb("mill", "sums", CONFIG, "abc123", tmp_path / "run")
    sink.metric(ROWS[0])
    for _ in range(2):
        sink.close()
    sink.metric(ROWS[1])  # too late, and no matter
    found = records(tmp_path / "run")
    assert [record.exit.exit_code for record in found if record.HasField("exit")] == [1]
    assert sum(record.HasField("history") for record in found) == 1


def test_disabled_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    told(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "project", "said"),
    [
        ({}, "mill", "WANDB_API_KEY is not set; set it, or WANDB_MODE=offline"),
        ({"WANDB_MODE": "perhaps"}, "mill", "WANDB_MODE=perhaps: must be one of online, offline, disabled"),
        ({"WANDB_MODE": "offline"}, "a/b", "wandb, project a/b: Invalid project name"),
        ({"WANDB_API_KEY": "short"}, "mill", "API key must have 40.*WANDB_MODE=offline needs no server"),
    ],
)
def test_what_cannot_be_opened_is_told_in_one_line(
    environment: dict[str, str], project: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said) as caught:
        open_wandb(project, "sums", {}, "abc123", tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_without_wandb_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("promptmill.store.wandb.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install 'promptmill\[wandb\]'"):
        open_wandb("mill", "sums", {}, "abc123", tmp_path)


def test_numbers_are_flattened_and_all_else_left_out():
    row = {"a": {"b": 1, "c": {"d": np.float32(0.5), "e": "text"}}, "f": True, "g": None, "h": [1, 2]}
    assert flat_numbers(row) == {"a/b": 1, "a/c/d": 0.5, "f": 1}
    assert {type(value) for value in flat_numbers(row).values()} == {int, float}


def test_a_configuration_goes_without_prompts_and_long_texts():
    config = {"model": "m", "prompt": {"user": "x"}, "deep": {"seed_prompt": "x", "demos": 3}, "note": "y" * 201}
    assert without_prompts(config) == {"model": "m", "deep": {"demos": 3}}
