"""From prompts and texts to traces: groups, splits, variations; a kill costs nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.recover.config import RankConfig, RecoverConfig, SplitConfig, SynthesizeConfig
from promptmill.crafts.recover.space import Grams
from promptmill.crafts.recover.synthesize import synthesize as module
from promptmill.crafts.recover.synthesize.parts import neighbours
from promptmill.crafts.recover.synthesize.synthesize import Synthesized
from promptmill.crafts.recover.traces import groups_of, read_traces, write_traces
from promptmill.model.chat import Request
from promptmill.model.load import load_model
from tests.synthesizing_traces import INTENTS, SMALL, backend, files, made, rewrites, table


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


def test_traces_go_through_a_file_and_back(tmp_path: Path):
    traces = made(tmp_path / "run").traces
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        write_traces(tmp_path / name, traces)
        assert read_traces(tmp_path / name) == [replace(one, similarity=None) for one in traces]


def test_counts_add_up(tmp_path: Path):
    out = made(tmp_path)
    count = Counter(one.split for one in out.traces)
    assert {split: one["traces"] for split, one in out.report["splits"].items()} == dict(count)
    assert sum(sum(one.values()) for one in out.report["categories"].values()) == len(out.traces)
