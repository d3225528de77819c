"""From intents to base prompts, variations and inputs: what fails is told, what is alike stays together, a kill costs
nothing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from promptmill.crafts.rewrite import shards
from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.synthesize.prompts_file import GivenPrompt, read_prompts
from promptmill.crafts.rewrite.synthesize.synthesize import Synthesized, synthesize
from promptmill.errors import InputError, ModelError
from promptmill.model.chat import CallError, Request
from promptmill.model.embedder import installed
from promptmill.model.gate import Model
from promptmill.model.load import load_model
from promptmill.model.scripted import ScriptedBackend
from promptmill.store.run import Run
from promptmill.tasks.load import load_task
from promptmill.vary.alike import likeness_of
from promptmill.vary.wording import load_wording

WORDING = load_wording()
SMALL = SynthesizeConfig(topics=5, prompts=3, variations=2, inputs=2, max_tokens=32)
Say = Callable[[Request], str]
NAMES = "amber birch cedar daisy ember fjord grape hazel ivory jolly koala lemon mango noble ocean piano quilt".split()


def words_of(*numbers: int) -> str:
    """Words by numbers: other numbers, quite other words."""
    return " ".join(f"{NAMES[number % 17]}{NAMES[number * 7 % 13]}{number}" for number in numbers)


def fluent(request: Request) -> str:
    """A writer that never says a thing twice."""
    asked, repeat = request.messages[-1][1], request.repeat
    if asked.startswith("Name one topic"):
        return f"{words_of(repeat)} {asked[-5:]}"
    if "about this topic" in asked:
        return f"Tell {words_of(repeat, repeat * 31 + 5)} of {asked.rpartition('Topic: ')[2]}"
    if asked.startswith("Write one input"):
        return f"input {words_of(repeat)}"
    return f"{asked[:9]}: {asked.rpartition('Instruction: ')[2]}"


def made(
    folder: Path, writer: Say | Model, config: SynthesizeConfig = SMALL, intents: Sequence[str] = ("guides", "plays"),
    given: Sequence[GivenPrompt] = (), on: Callable[[str, int, int], None] = lambda table, done, total: None,
) -> Synthesized:  # fmt: skip
    model = writer if isinstance(writer, Model) else Model(ScriptedBackend(writer), base_wait=0)
    with Run(folder, "rewrite", {}) as run:
        return asyncio.run(synthesize(run, model, WORDING, config, 3, intents, given, on))


def rows(stage: Any) -> list[dict[str, Any]]:
    return list(stage.rows())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("stages/*/*"))}


def neighbours_apart(bases: Sequence[dict[str, Any]], bound: float) -> list[tuple[str, str]]:
    """Base prompts of one topic, or alike, that lie in different splits."""
    return [
        (a["text"], b["text"])
        for a in bases
        for b in bases
        if a["base_id"] < b["base_id"] and a["split"] != b["split"]
        and (likeness_of(a["text"], b["text"]) >= bound or (a["topic"] and a["topic"].lower() == b["topic"].lower()))
    ]  # fmt: skip


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


# Writers that fail


def refuses(request: Request) -> str:
    raise CallError("refused", "I am sorry")


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
