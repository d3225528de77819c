"""From intents to base prompts, variations and inputs: what fails is told, what is alike stays together, a kill costs
nothing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.synthesize.prompts_file import GivenPrompt, read_prompts
from promptmill.crafts.rewrite.synthesize.synthesize import synthesize
from promptmill.model import shards
from promptmill.model.chat import Request
from promptmill.model.embedder import installed
from promptmill.model.gate import Model
from promptmill.model.load import load_model
from promptmill.model.scripted import ScriptedBackend
from promptmill.store.run import Run
from promptmill.tasks.load import load_task
from tests.synthesizing import SMALL, WORDING, files, fluent, made, neighbours_apart, refuses, rows, words_of


def test_an_intent_becomes_prompts_in_three_splits_with_variations_and_inputs(tmp_path: Path):
    heard: list[tuple[str, int, int]] = []
    out = made(tmp_path, fluent, on=lambda *told: heard.append(told))
    bases, variations, inputs = rows(out.bases), rows(out.variations), rows(out.inputs)
    assert len(bases) == 2 * 5 * 3
    assert {row["domain"] for row in bases} == {"guides", "plays"}
    assert all(row["intent"] == row["topic"] and row["task"] is None for row in bases)
    for domain, count in out.report["domains"].items():
        assert all(count.values()), domain
    assert out.report["splits"] == dict(Counter(row["split"] for row in bases))
    held = {row["base_id"] for row in bases if row["split"] == "test"}
    assert Counter(row["base_id"] for row in variations) == {
        row["base_id"]: 2 for row in bases if row["base_id"] not in held
    }
    assert Counter(row["base_id"] for row in inputs) == {row["base_id"]: 2 for row in bases}
    assert {row["origin"] for row in variations} == {"first_order"}
    assert out.report["dedup"]["kept"] == out.report["dedup"]["texts"] == 30
    assert (out.report["warnings"], out.report["inputs"], out.report["variations"]) == ([], 60, len(variations))
    assert {told[0] for told in heard} == {"topics", "drafts", "bases", "variations", "inputs"}
    assert all(done == total for _, done, total in {told[0]: told for told in heard}.values())
    assert not neighbours_apart(bases, SMALL.together)


def test_on_the_embedded_model(tmp_path: Path):
    out = made(tmp_path, load_model("embedded"), SMALL.model_copy(update={"topics": 3}), ["letters and words"])
    bases, variations = rows(out.bases), rows(out.variations)
    assert 3 <= len(bases) <= 9
    assert not neighbours_apart(bases, SMALL.together)
    texts = {row["base_id"]: row["text"] for row in bases}
    assert all(row["text"] != texts[row["base_id"]] for row in variations)
    assert all((row["text"] is None) == (row["error"] is not None) for row in variations)
    assert out.report["inputs"] >= len(bases)


def test_the_check_for_neighbours_sees_one_that_is_moved(tmp_path: Path):
    bases = rows(made(tmp_path, fluent).bases)
    first = next(row for row in bases if row["split"] == "train")
    twin = next(row for row in bases if row["topic"] == first["topic"] and row is not first)
    twin["split"] = "test"
    assert neighbours_apart(bases, SMALL.together)


@pytest.mark.parametrize("writer", ["scripted", "embedded"])
def test_a_run_killed_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
):  # fmt: skip
    monkeypatch.setattr(shards, "SHARD_ROWS", 8)

    def model() -> Model:
        return load_model("embedded") if writer == "embedded" else Model(ScriptedBackend(fluent))

    made(tmp_path / "whole", model())
    whole = files(tmp_path / "whole")
    assert len(whole) > 12

    class Killed(Exception):
        pass

    for table, count in (("topics", 1), ("drafts", 2), ("bases", 1), ("variations", 2), ("inputs", 3)):
        seen = 0

        def kill(name: str, done: int, total: int) -> None:
            nonlocal seen
            seen += name == table  # noqa: B023
            if seen == count:  # noqa: B023
                raise Killed

        with pytest.raises(Killed):
            made(tmp_path / "broken", model(), on=kill)
    assert files(tmp_path / "broken") != whole
    made(tmp_path / "broken", model())
    assert files(tmp_path / "broken") == whole
    for stage in (tmp_path / "broken" / "stages").iterdir():
        sorted(stage.glob("part-*"))[-1].unlink()
    made(tmp_path / "broken", model())
    assert files(tmp_path / "broken") == whole


def test_a_writer_that_breaks_in_the_middle_of_a_shard_leaves_no_half_of_it(tmp_path: Path):
    calls = 0

    def breaks(request: Request) -> str:
        nonlocal calls
        calls += 1
        if calls == 45:
            raise RuntimeError("gone")
        return fluent(request)

    made(tmp_path / "whole", fluent)
    with pytest.raises(RuntimeError, match="gone"):
        made(tmp_path / "broken", breaks)
    made(tmp_path / "broken", fluent)
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_a_finished_stage_asks_nothing(tmp_path: Path):
    def silent(request: Request) -> str:
        raise AssertionError("asked")

    report = made(tmp_path, fluent).report
    assert made(tmp_path, silent).report == report


def test_each_stage_is_keyed_by_what_decides_it(tmp_path: Path):
    def names(config: SynthesizeConfig = SMALL, wording: Any = WORDING) -> dict[str, str]:
        with Run(tmp_path, "rewrite", {}) as run:
            asyncio.run(synthesize(run, Model(ScriptedBackend(fluent)), wording, config, 3, ["guides"]))
        newest = max((tmp_path / "stages").iterdir(), key=lambda path: path.stat().st_ctime_ns)
        return {newest.name: "", **{path.name: "" for path in (tmp_path / "stages").iterdir()}}

    before = set(names())
    new = set(names(wording=WORDING.model_copy(update={"write_input": "One input, please: {description}"}))) - before
    assert sorted(name.split("-")[0] for name in new) == ["inputs", "raw_inputs"]
    before |= new
    new = set(names(SMALL.model_copy(update={"together": 0.8}))) - before
    assert sorted(name.split("-")[0] for name in new) == ["bases", "dropped", "inputs", "raw_inputs", "variations"]


# Prompts of one's own


def test_a_task_gives_inputs_with_golds_out_of_the_prompts_own_split(tmp_path: Path):
    task = load_task("uppercase")
    mine = [
        GivenPrompt(text, task.name, task.description, (), "uppercase", split, task)
        for text, split in (("Shout it.", "train"), ("Big letters, please.", "dev"), ("CAPITALS", "test"))
    ]
    out = made(tmp_path, refuses, SMALL.model_copy(update={"variations": 0, "inputs": 3}), [], mine)
    split_of = {row["base_id"]: row["split"] for row in rows(out.bases)}
    assert {row["task"] for row in rows(out.bases)} == {"uppercase"}
    known = {split: {one.shown: list(one.gold) for one in task.split(split)} for split in ("train", "dev", "test")}
    assert len(rows(out.inputs)) == 9
    for row in rows(out.inputs):
        assert known[split_of[row["base_id"]]][row["input"]] == row["gold"]


def test_own_prompts_go_before_written_ones_and_keep_their_inputs(tmp_path: Path):
    written = rows(made(tmp_path / "a", fluent).bases)
    (tmp_path / "p.jsonl").write_text(
        json.dumps({"prompt": written[0]["text"].upper(), "inputs": ["x"], "split": "dev"})
    )
    out = made(tmp_path / "b", fluent, given=read_prompts(tmp_path / "p.jsonl"))
    first = rows(out.bases)[0]
    assert (first["text"], first["domain"], first["split"]) == (written[0]["text"].upper(), "given", "dev")
    assert first["base_id"] == written[0]["base_id"]
    assert [row["input"] for row in rows(out.inputs) if row["base_id"] == first["base_id"]] == ["x"]
    assert out.report["dedup"]["exact"] == 1


def test_neighbours_that_a_file_puts_apart_are_warned_of(tmp_path: Path):
    mine = [
        GivenPrompt("Tell the children a short story about the sea and its big fish.", split="train"),
        GivenPrompt("Tell the children a short story about the sky and its fast birds.", split="test"),
        GivenPrompt("Tell the children a short story about the sun and its warm light."),
        *(GivenPrompt(words_of(at, at + 50, at + 90)) for at in range(8)),
    ]
    out = made(tmp_path, fluent, SMALL, [], mine)
    splits = [row["split"] for row in rows(out.bases)]
    assert splits[:3] == ["train", "test", "test"]
    assert any("1 clusters lie in several splits" in line for line in out.report["warnings"])
    assert {"train", "dev", "test"} == set(splits)


@pytest.mark.skipif(not installed(), reason="the extra embed is not installed")
def test_with_embeddings_the_same_in_other_words_falls_away(tmp_path: Path):
    mine = [
        GivenPrompt("How do I bake bread?"),
        GivenPrompt("What is the way to bake bread?"),
        GivenPrompt("Add 2 and 3."),
    ]
    config = SMALL.model_copy(update={"embed": True, "alike": 0.8, "variations": 0, "inputs": 0})
    assert made(tmp_path / "with", fluent, config, [], mine).report["dedup"]["embedding"] == 1
    plain = config.model_copy(update={"embed": False})
    assert made(tmp_path / "without", fluent, plain, [], mine).report["dedup"]["kept"] == 3
