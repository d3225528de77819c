"""What a bake says of itself beside the KL: unrelated texts, intervals, time, and how sure a figure is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from promptmill.crafts.bake.clock import timed, times_of
from promptmill.crafts.bake.compare_page import FEW, by_place
from promptmill.crafts.bake.page import bake_page
from promptmill.crafts.bake.questions import questions_of
from promptmill.crafts.bake.unrelated import unrelated_items, unrelated_kl, unrelated_texts
from promptmill.crafts.bake.words import nats, unrelated_line
from promptmill.crafts.bake.worth import sampled_among
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend
from promptmill.report.blocks import Facts, LinePlot, Table
from promptmill.report.html import render
from promptmill.store.run import Run
from promptmill.tasks.load import load_task
from promptmill.train.batches import Item
from promptmill.train.teacher import OnlineTeacher
from tests.bakes import PROMPT, bake, settings
from tests.training import awake, student


def texts_file(folder: Path, *texts: str) -> Path:
    path = folder / "plain.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


# Unrelated texts


def plain_kl(model: Any, items: Sequence[Item]) -> list[list[float]]:
    found = []
    for item in items:
        ids = torch.tensor([item.context + item.answer])
        after = model(ids).logits[0, :-1].log_softmax(-1)
        with model.disable_adapter():
            before = model(ids).logits[0, :-1].log_softmax(-1)
        found.append((before.exp() * (before - after)).sum(-1).tolist())
    return found


def test_the_kl_on_plain_texts_is_that_of_plain_forward_passes(tiny_folder: Path, tiny_backend: LocalBackend):
    texts = unrelated_texts()
    items = unrelated_items(tiny_backend.loaded(), texts)
    assert len(items) == len(texts.rows) > 20, "ours fit a small context"
    model = awake(student(tiny_folder))
    found = unrelated_kl(model, OnlineTeacher(model), items)
    assert found is not None
    wanted = plain_kl(model, items)
    assert found["tokens"] == sum(map(len, wanted))
    assert found["kl"] == pytest.approx(sum(map(sum, wanted)) / found["tokens"], rel=1e-3)
    means = sorted(sum(one) / len(one) for one in wanted)
    assert means[0] < found["lo"] < found["kl"] < found["hi"] < means[-1]


def test_nothing_has_changed_where_nothing_was_trained(tiny_folder: Path, tiny_backend: LocalBackend, tmp_path: Path):
    model = student(tiny_folder)
    items = unrelated_items(tiny_backend.loaded(), unrelated_texts(texts_file(tmp_path, "the dog", "red apples")))
    found = unrelated_kl(model, OnlineTeacher(model), items)
    assert found is not None
    assert (found["kl"], found["texts"]) == (pytest.approx(0, abs=1e-9), 2)
    assert unrelated_kl(model, OnlineTeacher(model), []) is None
    alone = unrelated_kl(model, OnlineTeacher(model), items[:1])
    assert alone is not None
    assert alone["lo"] is None
    assert "interval" not in unrelated_line(alone)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "the dog"}\n{"word": "cat"}\n', ["line 2", "keys: word"]),
        ('{"text": " "}\n', ["line 1", "no text"]),
        ('{"text": "%s"}\n' % ("cat " * 300), ["line 1", "context", "256"]),
        ('{"text": "a"}\n', ["line 1", "2 at least"]),
    ],
)
def test_texts_that_cannot_be_read_are_named(
    tiny_backend: LocalBackend, tmp_path: Path, content: str, words: list[str]
):
    (tmp_path / "plain.jsonl").write_text(content)
    with pytest.raises(InputError) as caught:
        unrelated_items(tiny_backend.loaded(), unrelated_texts(tmp_path / "plain.jsonl"))
    assert all(word in str(caught.value) for word in ["plain.jsonl", *words]), caught.value


def test_a_mistake_in_the_texts_leaves_no_run(mistake, tiny_folder: Path, tmp_path: Path):
    path = texts_file(tmp_path, "cat " * 300)
    mistake(["bake", "run", "--prompt", PROMPT, "--task", "uppercase", "--model", str(tiny_folder), *settings(),
             "--unrelated", str(path)], ["line 1", "context"])  # fmt: skip


def test_a_small_kl_is_no_zero():
    assert [nats(value) for value in (0.0, 0.0123, 1.5, 4e-7)] == ["0.000", "0.012", "1.500", "4e-07"]


# Time


def test_seconds_are_kept_over_sessions_and_a_cut_line_is_passed_over(tmp_path: Path):
    for phase in ("sampling", "training", "training"):
        with Run(tmp_path / "run", "bake", {}) as run, timed(run, phase) as note:
            note()
    with (tmp_path / "run" / "events.jsonl").open("a") as file:
        file.write('{"event": "worked", "phase": "tra')
    found = times_of(tmp_path / "run")
    assert set(found) == {"sampling", "training"}
    assert all(0 <= seconds < 5 for seconds in found.values())
    assert times_of(tmp_path) == {}
    with pytest.raises(ValueError, match="broken"), Run(tmp_path / "run", "bake", {}) as run, timed(run, "rest"):
        raise ValueError("broken")
    assert "rest" in times_of(tmp_path / "run"), "what was in vain has passed as well"


# The page


@pytest.fixture(scope="module")
def baked(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bake(tmp_path_factory.mktemp("baked"), tiny_folder, "run", "--behaviour", "uppercase", "--forgetting",
                "reverse", "--limit", "3")  # fmt: skip


def test_page_and_card_have_intervals_settings_and_time(baked: Path):
    report = json.loads((baked / "report.json").read_text())
    page, card = (baked / "report.html").read_text(), (baked / "adapter" / "README.md").read_text()
    one, other = report["behaviour"][0], report["forgetting"][0]["change"]
    interval = f"{one['baked']['score']:.3f} ({one['baked']['lo']:.3f} to {one['baked']['hi']:.3f})"
    lost = f"({other['lo']:+.3f} to {other['hi']:+.3f})"
    assert all(part in text for part in (interval, lost, "on unrelated texts") for text in (page, card.lower()))
    for said in ("Settings", "Sampling", "temperature", "top_p", "0.01", "rehearsed prompts", "seconds of training",
                 "No example is among the questions", "share of prompted"):  # fmt: skip
        assert said in page, said
    assert "times" not in report
    assert report["unrelated"]["from"] == "ours"


def test_examples_that_were_asked_before_are_counted(baked: Path):
    task = load_task("uppercase")
    examples = task.split("test")[:4]
    asked = questions_of([task.prompt.user.replace("{input}", one.fields["input"]) for one in examples[:3]])
    assert sampled_among(task, examples, asked) == 3
    report = json.loads((baked / "report.json").read_text())
    for count, words in ((2, "the bake had asked were 2 of the 3 of uppercase"), (None, "as it was.")):
        report["behaviour"][0]["sampled_among"] = count
        if count is None:
            del report["behaviour"][0]["sampled_among"]
        table = next(block for block in bake_page(report).blocks if block.title == "Behaviour")
        assert words in table.note


def test_a_page_without_what_older_reports_do_not_hold(baked: Path):
    report = json.loads((baked / "report.json").read_text())
    del report["unrelated"], report["settings"]["on_policy"], report["settings"]["full"]
    page = bake_page(report)
    assert "unrelated" not in render(page)
    assert any(isinstance(block, Table) and block.title == "What else it could do" for block in page.blocks)
    assert any(isinstance(block, Facts) and block.title == "Settings" for block in page.blocks)
    assert any(isinstance(block, LinePlot) and block.title == "Training" for block in page.blocks)


def test_places_that_few_answers_reach_are_dots():
    series = by_place([("before", [3.0, 2.0, 1.0])], [FEW + 1, FEW, FEW - 1])
    assert [(one.name, one.points, one.style) for one in series] == [
        ("before", [(1.0, 3.0), (2.0, 2.0)], "line"), ("before, few answers", [(3.0, 1.0)], "dots"),
    ]  # fmt: skip
    assert [one.style for one in by_place([("before", [3.0])], [2])] == ["dots"]
