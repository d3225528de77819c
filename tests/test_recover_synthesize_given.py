"""Prompts and texts of a user's own, and what the writer cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.recover.synthesize.originals import LENGTHS, read_originals
from promptmill.crafts.recover.synthesize.prompts import GivenPrompt, read_prompts
from promptmill.errors import InputError
from promptmill.model.chat import Request
from tests.synthesizing_traces import OWN, SMALL, fluent, made, refuses


def test_own_prompts_come_first_and_keep_category_split_and_cluster(tmp_path: Path):
    mine = [
        GivenPrompt("Sing it.", "songs", "test"), GivenPrompt("SING  it.", "more"),
        GivenPrompt("Draw a long line under all of it", "art", "train", "lines"),
    ]  # fmt: skip
    out = made(tmp_path, prompts=mine)
    assert out.report["prompts"]["given"] == 2
    assert out.report["prompts"]["texts"] == 15
    assert out.report["categories"]["songs"] == {"train": 0, "dev": 0, "test": 9}
    assert out.report["categories"]["art"]["train"] == 9
    assert {one.cluster for one in out.traces if "line under" in (one.prompt or "")} == {"lines"}


def test_a_split_that_tears_a_cluster_is_warned_of(tmp_path: Path):
    mine = [
        GivenPrompt("Draw a long line under it", split="test"),
        GivenPrompt("Draw a long line under it!", split="train"),
    ]
    out = made(tmp_path, prompts=mine)
    assert out.report["leaks"] > 0
    assert any("since the file says so: 'Draw a long line under it" in line for line in out.report["warnings"])


def test_own_originals_need_no_writer_and_alike_ones_fall_away(tmp_path: Path):
    def silent(request: Request) -> str:
        raise AssertionError("asked")

    config = SMALL.model_copy(update={"variations": 0})
    out = made(tmp_path, silent, config=config, intents=[], prompts=[GivenPrompt("Turn.")],
               originals=[*OWN, OWN[0].upper()])  # fmt: skip
    assert out.report["originals"] == {"count": 6, "given": 7, "alike": 1}
    assert {one.original for one in out.traces} <= set(OWN)


def test_texts_are_written_about_topics_and_with_lengths(tmp_path: Path):
    seen: list[str] = []

    def notes(request: Request) -> str:
        seen.append(request.messages[-1][1])
        return fluent(request)

    out = made(tmp_path, notes, about=["letters to the editor"])
    assert "Intent: letters to the editor" in seen[0]
    subjects = {line.rpartition("Subject: ")[2] for line in seen if "Subject: " in line}
    assert {subject.partition(" (")[2].rstrip(")") for subject in subjects} == set(LENGTHS)
    assert all("ditor" in subject for subject in subjects)
    assert out.report["originals"] == {"count": 8, "given": 0, "alike": 0}


def test_what_cannot_begin_or_comes_to_nothing_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="nothing to begin with: name an intent"):
        made(tmp_path / "a", intents=[])
    with pytest.raises(InputError, match="an intent is empty"):
        made(tmp_path / "b", intents=["guides", " "])
    with pytest.raises(InputError, match="leave nothing for training"):
        made(tmp_path / "c", config=SMALL.model_copy(update={"dev": 0.5, "test": 0.5}))
    with pytest.raises(
        InputError, match=r"writer has written no text \(\d+ refused\); try another writer, or give texts"
    ):
        made(tmp_path / "d", refuses)
    with pytest.raises(InputError, match=r"writer has written no prompt for 'guides' and 1 more \(24 refused\)"):
        made(tmp_path / "e", refuses, originals=OWN)
    with pytest.raises(InputError, match=r"writer has written no topic for 'letters' \(12 refused\)"):
        made(tmp_path / "f", refuses, about=["letters"])
    with pytest.raises(InputError, match=r"main has rewritten no text \(\d+ empty\); try another model"):
        made(tmp_path / "g", main=lambda request: " ")


def test_too_few_originals_are_told(tmp_path: Path):
    out = made(tmp_path, originals=OWN[:2])
    assert any(
        "there are 2 originals for the 3 texts that each prompt rewrites" in one for one in out.report["warnings"]
    )
    dull = made(tmp_path / "b", lambda request: "One two three four" if "Subject" in str(request) else fluent(request),
                config=SMALL.model_copy(update={"texts": 1}))  # fmt: skip
    assert "only 1 of 8 originals differ; the writer repeats itself" in dull.report["warnings"]


# Files


def test_prompts_and_originals_are_read_from_files(tmp_path: Path):
    (tmp_path / "p.csv").write_text('rewrite_prompt,category,split\n"Sing, now",songs,dev\nDance,,\n')
    assert read_prompts(tmp_path / "p.csv") == [GivenPrompt("Sing, now", "songs", "dev"), GivenPrompt("Dance")]
    (tmp_path / "o.jsonl").write_text(json.dumps({"original_text": " a\nb "}) + "\n")
    assert read_originals(tmp_path / "o.jsonl") == ["a\nb"]
    (tmp_path / "o.txt").write_text("one\nstill one\r\n \r\n\n\ntwo\n")
    assert read_originals(tmp_path / "o.txt") == ["one\nstill one", "two"]


@pytest.mark.parametrize(
    ("read", "row", "words"),
    [
        (read_prompts, {"text": "a"}, "no column 'prompt' (columns: text)"),
        (read_prompts, {"prompt": " "}, "the prompt is empty"),
        (read_prompts, {"prompt": 3}, "prompt must be text, not int"),
        (read_prompts, {"prompt": "a", "split": "eval"}, "split must be train, dev or test, not 'eval'"),
        (read_prompts, {"prompt": "a\ud800"}, "prompt holds half a surrogate pair"),
        (read_originals, {"rewritten_text": "a"}, "no column 'original_text'"),
        (read_originals, {"text": None}, "the text is empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, read: Any, row: dict[str, Any], words: str):
    (tmp_path / "f.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError) as said:
        read(tmp_path / "f.jsonl")
    assert str(said.value).startswith(f"{tmp_path / 'f.jsonl'}, line 1: ")
    assert words in str(said.value)


def test_a_file_without_a_text_is_told(tmp_path: Path):
    (tmp_path / "o.txt").write_text("\n \n")
    with pytest.raises(InputError, match="holds no text"):
        read_originals(tmp_path / "o.txt")
