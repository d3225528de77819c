"""The benchmark of candidate scoring at its smallest: do its ways give the same scores, does it count what it says?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import recover
from benchmarks.recover import SCORINGS, Ground, Sizes
from promptmill.crafts.recover.candidates import request_of
from promptmill.model.local import LocalBackend
from promptmill.prompt import Message
from tests.tiny import direct, reference

TINY = Sizes(layers=1, width=32, vocabulary=64, texts=(6, 10), candidates=(2, 4), embedded=(4, 6))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return recover.random_ground(3, 2, TINY, tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def backend(ground: Ground) -> LocalBackend:
    return LocalBackend(ground.folder, device="cpu", dtype="float32")


def test_a_rough_run_ends_in_one_line_of_figures(capsys: pytest.CaptureFixture[str]) -> None:
    recover.main(["--candidates", "2", "--traces", "1", "--repeats", "1"], TINY)
    said = capsys.readouterr().out
    figures = json.loads(said.splitlines()[-1])
    assert figures.pop("difference") <= recover.SAME
    lowest = min(figures["embedded_posterior"], figures["random_posterior"])
    assert figures.pop("prefix_ratio") == lowest
    assert set(figures) == {f"{name}_{one}" for name in ("embedded", "random") for one in (*SCORINGS, "default")}
    assert min(figures.values()) > 0
    assert "random: 2 candidates of" in said
    assert "embedded: 2 candidates of" in said


@pytest.mark.parametrize("scoring", SCORINGS)
def test_the_three_ways_give_the_same_scores(ground: Ground, backend: LocalBackend, scoring: str) -> None:
    model = reference(Path(ground.folder))
    plain = recover.plain(ground, scoring, model, backend)
    assert len(set(plain)) == len(ground.candidates), "all alike: nothing would be seen"
    assert recover.shared(ground, scoring, backend) == pytest.approx(plain, abs=recover.SAME)
    assert recover.alone(ground, scoring, backend) == pytest.approx(plain, abs=recover.SAME)


def test_the_plain_way_scores_what_stands_in_the_prompt(ground: Ground, backend: LocalBackend) -> None:
    model = reference(Path(ground.folder))
    asked = [request_of(recover.WORDING, trace, recover.as_it_is) for trace in ground.group.traces]
    wanted = [
        sum(direct(backend, model, backend.render(one), " " + text) for one in asked) / len(asked)
        for text in ground.candidates
    ]
    assert recover.plain(ground, recover.POSTERIOR, model, backend) == pytest.approx(wanted, abs=1e-4)
    ids = backend.chat.encode(backend.render(asked[0]))
    assert ids.count(backend.chat.encode("<|unknown|>")[0]) < len(ids) / 2, "the texts are no words of the model"


def test_one_by_one_asks_about_each_candidate_once_and_about_the_generic_prompt_once_a_trace(ground: Ground) -> None:
    asked: list[tuple[tuple[Message, ...], str]] = []

    async def ask(messages: tuple[Message, ...], text: str) -> tuple[float, int]:
        asked.append((messages, text))
        return -2.0 * len(asked), 2

    assert len(recover.run_blocking(recover.one_by_one(ground, recover.POSTERIOR, ask))) == 3
    assert [text for _, text in asked] == ground.candidates * 2
    asked.clear()
    # Of each trace the generic prompt is asked about first; with every question a nat a token is lost.
    assert recover.run_blocking(recover.one_by_one(ground, "system", ask)) == [-1.0, -2.0, -3.0]
    assert [messages[0][1] for messages, _ in asked] == [recover.CONSTANT, *ground.candidates] * 2


def test_scores_that_differ_are_not_compared(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    right = recover.alone

    def wrong(*told: Any, **named: Any) -> list[float]:
        return [score + 1e-3 for score in right(*told, **named)]

    monkeypatch.setattr(recover, "alone", wrong)
    with pytest.raises(RuntimeError, match=r"the scores of two ways differ by 0\.001"):
        recover.turns(ground, 1)


def test_a_candidate_without_a_score_ends_it(ground: Ground) -> None:
    small = LocalBackend(ground.folder, device="cpu", max_context=16)
    with pytest.raises(RuntimeError, match=r"without a score .*context 16"):
        recover.shared(ground, "system", small)
