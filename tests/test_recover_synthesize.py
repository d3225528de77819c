"""From prompts and texts to traces: what fails is told, variations keep their prompt's texts, a kill costs nothing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.recover.config import RankConfig, RecoverConfig, SplitConfig, SynthesizeConfig
from promptmill.crafts.recover.layout import messages
from promptmill.crafts.recover.space import Grams
from promptmill.crafts.recover.synthesize import synthesize as module
from promptmill.crafts.recover.synthesize.originals import LENGTHS, read_originals
from promptmill.crafts.recover.synthesize.parts import neighbours
from promptmill.crafts.recover.synthesize.prompts import GivenPrompt, read_prompts
from promptmill.crafts.recover.synthesize.synthesize import Synthesized, synthesize
from promptmill.crafts.recover.traces import groups_of, read_traces, write_traces
from promptmill.errors import InputError
from promptmill.model.chat import CallError, Completion, Request
from promptmill.model.gate import Model
from promptmill.model.load import load_model
from promptmill.model.scripted import ScriptedBackend
from promptmill.store.run import Run
from promptmill.vary.wording import load_wording

WORDING = load_wording()
SMALL = SynthesizeConfig(originals=8, topics=3, prompts=2, variations=2, texts=3, max_tokens=64)
Say = Callable[[Request], str]
NAMES = "amber birch cedar daisy ember fjord grape hazel ivory jolly koala lemon mango noble ocean piano quilt".split()
INTENTS = ("guides", "plays")


def words_of(*numbers: int) -> str:
    """Words by numbers: other numbers, quite other words."""
    return " ".join(f"{NAMES[number % 17]}{NAMES[number * 7 % 13]}{number}" for number in numbers)


def fluent(request: Request) -> str:
    """A writer that never says a thing twice."""
    asked, repeat = request.messages[-1][1], request.repeat
    subject = sum(map(ord, asked))
    if asked.startswith("Name one topic"):
        return f"{words_of(repeat, subject % 97)} {asked[-5:]}"
    if asked.startswith("Write a short text"):
        return f"Sure, here is the text: {words_of(subject, subject + repeat, repeat + 7, repeat * 31 + 5)}."
    if "about this topic" in asked:
        return f"Tell {words_of(repeat * 11 + 3, repeat * 31 + 5)} of {asked.rpartition('Topic: ')[2]}"
    return f"{asked.partition(' Reply')[0]}: {asked.rpartition('Instruction: ')[2]}"


def rewrites(request: Request) -> str:
    """A model that turns words round and says what it was told to do."""
    *before, (_, asked) = request.messages
    told, text = (before[0][1], asked) if before else asked.split("\n\n", 1)
    return f"Sure, here is the rewritten text:\n\n{told.upper()}! {' '.join(reversed(text.split()))}"


def backend(say: Say, name: str) -> Model:
    return Model(ScriptedBackend(say, name=name, fingerprint=name), attempts=1)


def made(
    folder: Path, writer: Say | Model = fluent, main: Say | Model = rewrites, config: SynthesizeConfig = SMALL,
    intents: Sequence[str] = INTENTS, prompts: Sequence[GivenPrompt] = (), originals: Sequence[str] = (),
    on: Callable[[str, int, int], None] = lambda table, done, total: None, whole: RecoverConfig | None = None,
    about: Sequence[str] = (),
) -> Synthesized:  # fmt: skip
    models = [
        one if isinstance(one, Model) else backend(one, name) for one, name in ((writer, "writer"), (main, "main"))
    ]
    settings = (whole or RecoverConfig()).model_copy(update={"synthesize": config})
    with Run(folder, "recover", {}) as run:
        work = synthesize(run, *models, WORDING, settings, Grams(), 3, intents, prompts, originals, on, about)
        return asyncio.run(work)


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(next(folder.glob(f"stages/{name}-*"))).to_pylist()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("stages/*/*"))}


def test_intents_become_traces_in_groups_and_splits(tmp_path: Path):
    heard: dict[str, tuple[int, int]] = {}
    out = made(tmp_path, on=lambda name, done, total: heard.update({name: (done, total)}))
    traces, report = out.traces, out.report
    assert len(traces) == 2 * 3 * 2 * (1 + 2) * 3
    assert {len(group.traces) for group in groups_of(traces)} == {3}
    assert all(one.generator == "main" and one.split and one.cluster and one.similarity for one in traces)
    assert all(one.rewritten.startswith((one.prompt or "").upper()) for one in traces)
    assert report["splits"]["train"]["traces"] > report["splits"]["test"]["traces"] > 0
    assert sum(one["traces"] for one in report["splits"].values()) == report["traces"]["kept"] == len(traces)
    assert report["prompts"] == {
        "count": 36, "given": 0, "written": 12, "variations": 24, "texts": 12, "repeated": 0.0,
    }  # fmt: skip
    assert set(report["categories"]) == set(INTENTS)
    assert (report["leaks"], report["traces"]["ambiguous"], report["warnings"]) == (0, 0.0, [])
    assert list(heard) == ["texts", "topics", "drafts", "variations", "rewritten"]
    assert all(done == total for done, total in heard.values())


def test_no_prompt_of_the_test_has_a_neighbour_in_another_split(tmp_path: Path):
    traces = made(tmp_path).traces
    prompts = {split: {one.prompt or "" for one in traces if one.split == split} for split in ("train", "dev", "test")}
    assert all(prompts.values())
    assert not neighbours(Grams(), sorted(prompts["test"]), sorted(prompts["train"] | prompts["dev"]))
    assert not neighbours(Grams(), sorted(prompts["dev"]), sorted(prompts["train"]))


def test_variations_rewrite_the_texts_of_their_prompt_and_lie_in_its_cluster(tmp_path: Path):
    traces = made(tmp_path).traces
    rows = [*table(tmp_path, "prompts"), *table(tmp_path, "variations")]
    base = {row["prompt_id"]: row["base_id"] for row in rows}
    families: dict[str, list[Any]] = {}
    for group in groups_of(traces):
        families.setdefault(base[group.id], []).append(group)
    assert len(families) == 12
    for family in families.values():
        assert len({tuple(one.original for one in group.traces) for group in family}) == 1
        assert len({(group.cluster, group.traces[0].split) for group in family}) == 1
    assert len({tuple(one.original for one in family[0].traces) for family in families.values()}) > 6


def test_on_the_embedded_model_twice_with_the_same_bytes(tmp_path: Path):
    small = SMALL.model_copy(update={"originals": 4, "topics": 2, "prompts": 1, "variations": 1, "texts": 2})
    model = load_model("embedded")
    out = made(tmp_path / "a", model, model, small, ["the order of words"])
    assert 0 < len(out.traces) <= 2 * 2 * 2
    assert all(one.rewritten != one.original for one in out.traces)
    assert all(row["subject"].startswith("the ") for row in table(tmp_path / "a", "texts"))
    assert made(tmp_path / "a", model, model, small, ["the order of words"]).report == out.report
    made(tmp_path / "b", model, model, small, ["the order of words"])
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("kind", ["scripted", "embedded"])
def test_a_run_broken_off_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):  # fmt: skip
    from promptmill.model import shards

    parts = shards._parts
    monkeypatch.setattr(shards, "_parts", lambda items, most: parts(items, min(most, 4)))
    config = SMALL if kind == "scripted" else SMALL.model_copy(update={"originals": 5, "topics": 2, "variations": 1})

    def go(folder: str, on: Any = lambda *told: None) -> Synthesized:
        if kind == "scripted":
            return made(tmp_path / folder, config=config, on=on)
        return made(tmp_path / folder, load_model("embedded"), load_model("embedded"), config, on=on)

    whole = go("whole")
    assert len(files(tmp_path / "whole")) > 12

    class Killed(Exception):
        pass

    for name, count in (("texts", 1), ("topics", 1), ("drafts", 1), ("variations", 1), ("rewritten", 2)):
        seen = 0

        def kill(table: str, done: int, total: int) -> None:
            nonlocal seen
            seen += table == name  # noqa: B023
            if seen == count:  # noqa: B023
                raise Killed

        with pytest.raises(Killed):
            go("broken", kill)
    assert files(tmp_path / "broken") != files(tmp_path / "whole")
    assert go("broken").report == whole.report
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    for stage in (tmp_path / "broken" / "stages").iterdir():
        sorted(stage.glob("part-*"))[-1].unlink()
        go("broken")
        assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_a_finished_stage_asks_nothing_and_reckons_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def silent(request: Request) -> str:
        raise AssertionError("asked")

    report = made(tmp_path).report
    monkeypatch.setattr(module, "parts_of", lambda *given: pytest.fail("reckoned"))
    assert made(tmp_path, silent, silent).report == report


def test_each_table_is_keyed_by_what_decides_it(tmp_path: Path):
    def new(config: SynthesizeConfig = SMALL, whole: RecoverConfig | None = None, main: str = "main") -> list[str]:
        before = {path.name for path in tmp_path.glob("stages/*")}
        made(tmp_path, config=config, whole=whole, main=backend(rewrites, main))
        return sorted(path.name.split("-")[0] for path in tmp_path.glob("stages/*") if path.name not in before)

    assert len(new()) == 10
    assert new() == []
    assert new(whole=RecoverConfig(split=SplitConfig(together=0.7))) == ["parts", "traces"]
    assert new(SMALL.model_copy(update={"test": 0.4})) == ["parts", "traces"]
    assert new(whole=RecoverConfig(rank=RankConfig(layout="user"))) == ["dropped", "parts", "rewritten", "traces"]
    assert new(main="other") == ["dropped", "parts", "rewritten", "traces"]
    assert new(SMALL.model_copy(update={"originals": 9})) == [
        "dropped", "originals", "parts", "rewritten", "texts", "traces",
    ]  # fmt: skip


# What is no trace


class Cuts(ScriptedBackend):
    """Answers that begin with "…" were cut at the limit."""

    async def complete(self, request: Request) -> Completion:
        came = await super().complete(request)
        if not came.text.startswith("…"):
            return came
        return replace(came, answers=tuple(replace(one, finish="length") for one in came.answers))


OWN = [f"{words_of(number, number + 20, number + 40, number + 60)} stood there" for number in range(6)]


def one_prompt(tmp_path: Path, say: Say, **more: Any) -> Synthesized:
    """Of one prompt and six texts, by default without variations."""
    config = SMALL.model_copy(update={"texts": 6, "variations": 0} | more)
    main = Model(Cuts(say, name="main", fingerprint="main"), attempts=1)
    return made(tmp_path, main=main, config=config, intents=[], prompts=[GivenPrompt("Turn {it} round.")],
                originals=OWN)  # fmt: skip


def test_what_fails_is_a_row_with_the_reason(tmp_path: Path):
    def moody(request: Request) -> str:
        text = request.messages[-1][1]
        number = OWN.index(text)
        if number == 0:
            raise CallError("refused", "I would\nrather not")
        said = ["", " ", "… and so on", f"Sure, here is the rewritten text:\n\n{text}", "a b", text[::-1]]
        return said[number]

    out = one_prompt(tmp_path, moody)
    assert [one.rewritten for one in out.traces] in ([OWN[5][::-1], "a b"], ["a b", OWN[5][::-1]])
    assert {row["original_id"]: row["reason"] for row in table(tmp_path, "dropped")} == {
        0: "refused: I would rather not",
        1: "empty: there is no text in the answer",
        2: "cut_off: not at its end after 64 tokens",
        3: "unchanged: nearly the same as the original",
    }
    assert out.report["traces"]["dropped"] == {"refused": 1, "empty": 1, "cut_off": 1, "unchanged": 1}
    assert out.report["traces"]["shares"]["empty"] == pytest.approx(1 / 6)
    assert out.report["warnings"][0] == "of 6 rewritten texts 2 are traces (1 unchanged, 1 cut_off, 1 empty, 1 refused)"
    assert out.report["failures"]["rewritten"] == {"refused": 1, "empty": 1, "cut_off": 1, "unchanged": 1}


def test_a_text_that_comes_of_several_originals_counts_once(tmp_path: Path):
    out = one_prompt(
        tmp_path, lambda request: f"What should I do with this text{'?' * (len(request.messages[-1][1]) % 2)}"
    )
    assert len(out.traces) == 1
    assert out.report["traces"]["dropped"] == {"repeats": 5}
    rows = table(tmp_path, "dropped")
    assert {row["like"] for row in rows} == {out.traces[0].id}
    assert all(row["likeness"] >= 0.9 for row in rows)
    assert any("of 6 rewritten texts 1 are traces (5 repeats)" in line for line in out.report["warnings"])


def test_a_short_answer_may_come_of_several_originals(tmp_path: Path):
    assert len(one_prompt(tmp_path, lambda request: "seven").traces) == 6


def test_what_two_prompts_make_of_one_original_may_be_the_same_and_is_told(tmp_path: Path):
    def turns(request: Request) -> str:
        return " ".join(reversed(request.messages[-1][1].split()))

    out = made(tmp_path, main=turns, intents=[], prompts=[GivenPrompt("Turn it round.")], originals=OWN)
    assert len(out.traces) == 9
    assert out.report["traces"]["ambiguous"] == 1.0
    assert any("100% of the traces have a text that another prompt made" in line for line in out.report["warnings"])


def test_a_long_text_is_cut_in_the_middle_before_and_after(tmp_path: Path):
    seen: list[str] = []

    def twice(request: Request) -> str:
        seen.append(request.messages[-1][1])
        return " ".join(f"{word} so {word}" for word in seen[-1].split())

    out = made(tmp_path, main=twice, config=SMALL.model_copy(update={"longest": 8, "texts": 1}), intents=[],
               prompts=[GivenPrompt("Twice.")], originals=[" ".join(map(str, range(20)))])  # fmt: skip
    assert set(seen) == {"0 1 2 3 … 17 18 19"}
    assert out.traces[0].original == seen[0]
    assert out.traces[0].rewritten == "0 so 0 1 … 19 so 19"


@pytest.mark.parametrize("layout", ["system", "user", "text_first"])
def test_the_model_is_asked_in_the_layout_word_for_word(tmp_path: Path, layout: Any):
    seen = []

    def notes(request: Request) -> str:
        seen.append(request.messages)
        return f"{words_of(len(seen))} {words_of(len(seen) + 50)} and more"

    config = SMALL.model_copy(update={"texts": 1, "variations": 0})
    made(tmp_path, main=notes, config=config, intents=[], prompts=[GivenPrompt('Say {it} as {"json": 1}.')],
         originals=OWN[:1], whole=RecoverConfig(rank=RankConfig(layout=layout)))  # fmt: skip
    assert seen == [messages(layout, 'Say {it} as {"json": 1}.', OWN[0])]


def test_layouts():
    assert messages("system", "p", "o") == (("system", "p"), ("user", "o"))
    assert messages("user", "p", "o") == (("user", "p\n\no"),)
    assert messages("text_first", "p", "o") == (("user", "o\n\np"),)
    assert {messages(layout, "p", None) for layout in ("system", "user", "text_first")} == {(("user", "p"),)}


# What is given, and what the writer cannot


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


def refuses(request: Request) -> str:
    raise CallError("refused", "no")


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


def test_traces_go_through_a_file_and_back(tmp_path: Path):
    traces = made(tmp_path / "run").traces
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        write_traces(tmp_path / name, traces)
        assert read_traces(tmp_path / name) == [replace(one, similarity=None) for one in traces]


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


def test_counts_add_up(tmp_path: Path):
    out = made(tmp_path)
    count = Counter(one.split for one in out.traces)
    assert {split: one["traces"] for split, one in out.report["splits"].items()} == dict(count)
    assert sum(sum(one.values()) for one in out.report["categories"].values()) == len(out.traces)
