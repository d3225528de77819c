"""`promptmill data squad`: SQuAD's JSON, from a file or a server, as files of questions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.bake.questions import read_questions
from promptmill.crafts.bake.squad import squad_questions
from promptmill.errors import InputError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "paragraphs", "qas", "question"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def squad(*asked: str) -> dict[str, Any]:
    """A question a paragraph."""
    paragraphs = [{"context": "…", "qas": [{"id": "1", "question": text, "answers": []}]} for text in asked]
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}


ASKED = [f"What is {place} called?" for place in range(40)]


@contextmanager
def served(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/train-v1.1.json"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def lines(path: Path) -> list[str]:
    return [json.loads(line)["question"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_file_becomes_two_files_of_questions_each_once(cli, tmp_path: Path):
    (tmp_path / "train.json").write_text(json.dumps(squad(*ASKED, " what is 3  called?", "Wo liegt Köln?")))
    said = cli("data", "squad", "--from", "train.json", "--out", "out", "--validation", "0.25")
    assert said.code == 0, said.err
    train, held = (lines(tmp_path / "out" / f"{split}.jsonl") for split in ("train", "validation"))
    assert len(train) + len(held) == 41
    assert len(held) >= 3
    assert (
        "Wo liegt Köln?"
        in (tmp_path / "out" / "train.jsonl").read_text() + (tmp_path / "out" / "validation.jsonl").read_text()
    )
    assert len(read_questions(tmp_path / "out" / "train.jsonl")) == len(train)
    assert "--inputs out/train.jsonl --validation out/validation.jsonl" in said.out


def test_a_second_source_is_held_out(tmp_path: Path):
    for name, asked in (("train", ASKED), ("dev", [*ASKED[:2], "And you?"])):
        (tmp_path / name).write_text(json.dumps(squad(*asked)))
    found = squad_questions([str(tmp_path / "train"), str(tmp_path / "dev")])
    assert {one.text for one in found if one.split == "validation"} == {*ASKED[:2], "And you?"}
    assert len(found) == 41


def test_a_url_is_fetched(cli, tmp_path: Path):
    with served(200, json.dumps(squad(*ASKED)).encode()) as url:
        assert cli("data", "squad", "--from", url, "--out", "out").code == 0
    assert len(lines(tmp_path / "out" / "train.jsonl")) > 30


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"", ["train-v1.1.json", "404"]),
        (200, b"<html>", ["train-v1.1.json", "not JSON"]),
        (200, b'{"rows": []}', ["no list 'data'"]),
    ],
)
def test_a_server_without_it_is_one_line(cli, tmp_path: Path, status: int, body: bytes, words: list[str]):
    with served(status, body) as url:
        cli("data", "squad", "--from", url, "--out", "out").is_one_error_line(*words)
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_a_source_is_one_line(cli, tmp_path: Path, unused_port: int):
    gone = f"http://127.0.0.1:{unused_port}/x"
    (tmp_path / "none.json").write_text(json.dumps(squad()))
    (tmp_path / "odd.json").write_text('{"data": [{"paragraphs": [{"qas": [{}]}]}]}')
    for source, words in (
        (gone, ["cannot be fetched", gone]),
        ("absent.json", ["absent.json", "cannot be read"]),
        ("none.json", ["no questions"]),
        ("odd.json", ["odd.json, data[0], paragraphs[0], qas[0]"]),
    ):
        cli("data", "squad", "--from", source, "--out", "out").is_one_error_line(*words)
    cli("data", "squad", "--from", "a", "--from", "b", "--from", "c", "--out", "out").is_one_error_line("twice")
    assert not (tmp_path / "out").exists()


@given(JSON)
def test_any_json_gives_questions_or_one_error(tmp_path_factory: pytest.TempPathFactory, document: Any):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(document))
    said = ""
    try:
        found = squad_questions([str(path)])
    except InputError as error:
        found, said = [], str(error)
    assert found or said.startswith(str(path))
    assert "\n" not in said
