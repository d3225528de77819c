"""Writers that fail, repeat themselves or say too little: told, counted, and asked again where that helps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from promptmill.crafts.rewrite.synthesize.prompts_file import GivenPrompt
from promptmill.errors import InputError, ModelError
from promptmill.model.chat import CallError, Request
from tests.synthesizing import SMALL, fluent, made, refuses, rows


def test_a_writer_that_writes_nothing_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(InputError, match=r"scripted has written no base prompt for 'guides' and 1 more \(40 refused\)"):
        made(tmp_path / "refuses", refuses)
    with pytest.raises(InputError, match=r"\(40 unreadable\)"):
        made(tmp_path / "empty", lambda request: " ")
    with pytest.raises(ModelError, match="were refused"):  # many, before any answer: the gate gives it up
        made(tmp_path / "many", refuses, SMALL.model_copy(update={"topics": 300}))
    with pytest.raises(InputError, match="nothing to begin with"):
        made(tmp_path / "none", fluent, intents=[])
    with pytest.raises(InputError, match="an intent is empty"):
        made(tmp_path / "blank", fluent, intents=["guides", " "])
    with pytest.raises(InputError, match="leave nothing for training"):
        made(tmp_path / "shares", fluent, SMALL.model_copy(update={"dev": 0.5, "test": 0.5}))


def test_failures_are_rows_with_a_reason_and_counted(tmp_path: Path):
    def moody(request: Request) -> str:
        asked = request.messages[-1][1]
        if "Intent: plays" in asked or ("one input" in asked and request.repeat % 2):
            raise CallError("refused", "no\nplays")
        return "" if "about this topic" in asked and request.repeat % 3 == 0 else fluent(request)

    out = made(tmp_path, moody)
    assert out.report["failures"]["topics"] == {"refused": 20}
    assert out.report["failures"]["drafts"] == {"unreadable": 5}
    assert out.report["failures"]["inputs"]["refused"] >= 10
    assert out.report["warnings"][0] == "no base prompt came for the intent 'plays'"
    topics = pq.read_table(next(tmp_path.glob("stages/topics-*"))).to_pylist()
    assert {row["error"] for row in topics if row["topic"] is None} == {"refused: no plays"}


def test_what_a_writer_repeats_falls_away_and_its_share_is_told(tmp_path: Path):
    def dull(request: Request) -> str:
        said = fluent(request)
        return f"Tell the same old story of the king{'!' * (request.repeat % 4)}" if said.startswith("Tell") else said

    out = made(tmp_path, dull)
    dedup = out.report["dedup"]
    assert (dedup["texts"], dedup["kept"], dedup["exact"]) == (30, 1, 26)
    assert dedup["near"] == 3
    assert dedup["shares"]["exact"] == pytest.approx(26 / 30)
    assert "97% of 30 base prompts say what another one says, and fell away" in out.report["warnings"]
    dropped = pq.read_table(next(tmp_path.glob("stages/dropped-*"))).to_pylist()
    assert {row["like"] for row in dropped} == {rows(out.bases)[0]["base_id"]}


def test_a_writer_of_one_topic_is_asked_again_and_then_taken_as_it_is(tmp_path: Path):
    def narrow(request: Request) -> str:
        return "The Sea" if request.messages[-1][1].startswith("Name") else fluent(request)

    out = made(tmp_path, narrow, intents=["guides"])
    assert out.report["failures"]["topics"] == {"repeats": 16}
    assert out.report["clusters"] == {"count": 1, "largest": 3}
    assert out.report["splits"] == {"train": 3, "dev": 0, "test": 0}
    assert any("'guides' has no base prompt for dev and test" in line for line in out.report["warnings"])


def test_a_domain_of_one_base_prompt_stays_in_train_with_a_warning(tmp_path: Path):
    config = SMALL.model_copy(update={"topics": 1, "prompts": 1})
    for seed, intent in enumerate(["guides", "plays", "songs", "tales", "recipes"]):
        out = made(tmp_path / str(seed), fluent, config, [intent])
        assert [row["split"] for row in rows(out.bases)] == ["train"]
        assert out.report["warnings"] == [
            f"'{intent}' has one base prompt only; it is for train, and nothing else of it is held out"
        ]


def test_holes_are_kept_and_repeats_dropped_in_variations(tmp_path: Path):
    def rewrites(request: Request) -> str:
        asked = request.messages[-1][1]
        if "careful" in asked or "other words" in asked:
            return "Say {other} words."
        return "Translate {text} now." if "Improve" in asked else "Say it in another way."

    config = SMALL.model_copy(update={"variations": 17, "inputs": 0})
    mine = [GivenPrompt("Translate {text} now."), GivenPrompt("Sing.")]
    out = made(tmp_path, rewrites, config, [], mine)
    variations = [row for row in rows(out.variations) if row["base_id"] == rows(out.bases)[0]["base_id"]]
    assert [row["variation_id"] for row in variations] == list(range(17))
    assert {row["text"] for row in variations if row["text"]} == {"Say it in another way.\n\nTranslate {text} now."}
    reasons = Counter((row["error"] or "").split(":")[0] for row in variations)
    assert reasons == {"": 1, "holes": 2, "repeats": 14}
    assert any(row["error"] == "repeats: the base prompt" for row in variations)
    assert rows(out.inputs) == []


def test_more_variations_than_mutation_prompts_ask_again(tmp_path: Path):
    config = SMALL.model_copy(update={"topics": 3, "prompts": 1, "variations": 40})
    out = made(tmp_path, lambda request: f"{fluent(request)} {request.repeat}", config, ["guides"])
    assert len({row["text"] for row in rows(out.variations) if row["text"]}) > 30
