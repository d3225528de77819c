"""The benchmark of searches, at its smallest: does it count what it says, and go on where it was broken off?"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import search
from benchmarks.embedded_search import REACHED, Bench, fitted
from benchmarks.landscape.backends import task_backend, task_of, writer_backend
from benchmarks.landscape.peers import PEERS
from benchmarks.landscape.world import Landscape
from benchmarks.search_rows import Rows, at, digest, reached
from promptmill.errors import InputError
from promptmill.model.chat import Completion, Request
from promptmill.model.gate import Model
from promptmill.model.scripted import ScriptedBackend

ROW = {"budget": 100, "beliefs": [[10, 0.3], [40, 0.6], [60, 0.5], [90, 0.7], [110, 0.9]], "quality": 0.7}


def test_calls_are_counted_to_the_first_belief_that_is_good_enough() -> None:
    assert [reached(ROW, goal) for goal in (0.2, 0.6, 0.7)] == [10, 40, 90]
    assert reached(ROW, 0.9) is None, "it came after the budget"
    assert search.calls_to([ROW, ROW], [0.6, 0.8], 100) == ([40, 100], 1)


def test_a_belief_is_read_at_a_mark() -> None:
    assert [at(ROW, mark, 0.1) for mark in (9, 10, 59, 60, 100)] == [0.1, 0.3, 0.6, 0.5, 0.7]
    peer = {"budget": 1000, "quality": 0.5, "curve": {"1000": 0.5}}
    assert at(peer, 1000, 0.1) == 0.5


def test_runs_that_are_in_the_file_are_not_run_again(tmp_path: Path) -> None:
    file, key = tmp_path / "rows.jsonl", ("race", "plain", 100, 20)
    made = [Rows(file).get(key, lambda: {"quality": 0.5})]
    made.append(Rows(file).get(key, lambda: pytest.fail("it was run again")))
    with file.open("a") as rest:
        rest.write('{"search": "race", "gr')  # cut by a kill
    again = Rows(file)
    made.append(again.get(key, lambda: pytest.fail("it was run again")))
    again.get(("race", "plain", 100, 21), lambda: {"quality": 0.6})
    assert made[0] == made[1] == made[2]
    assert [json.loads(line)["seed"] for line in file.read_text().splitlines()] == [20, 21]


def test_runs_of_other_code_are_made_anew_but_not_those_of_others(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    names = {"search": "race", "ground": "plain", "budget": 100, "seed": 20}
    file.write_text(f"{json.dumps(names | {'code': 'old', 'quality': 0.1})}\n"
                    f"{json.dumps(names | {'search': 'gepa', 'quality': 0.2})}\n")  # fmt: skip
    rows = Rows(file)
    assert rows.get(("race", "plain", 100, 20), lambda: {"quality": 0.9})["quality"] == 0.9
    assert rows.get(("gepa", "plain", 100, 20), lambda: {"quality": 0.9}, ours=False)["quality"] == 0.2
    assert Rows(file).get(("race", "plain", 100, 20), lambda: {"quality": 0.5})["quality"] == 0.9


def test_a_line_that_is_no_row_is_told(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"search": "race"}\n')
    with pytest.raises(InputError, match=r"rows.jsonl line 1: not a row"):
        Rows(file)


class Both(ScriptedBackend):
    """The landscape's task model and writer in one, as an embedded model is both."""

    def __init__(self, landscape: Landscape) -> None:
        super().__init__(lambda _: "", fingerprint=f"both {landscape.seed}")
        self.task, self.writer = task_backend(landscape), writer_backend(landscape)

    async def complete(self, request: Request) -> Completion:
        return await (self.writer if request.sampling.temperature else self.task).complete(request)


def test_part_a_counts_task_and_writer_and_scores_on_test_outside_the_books(capsys: pytest.CaptureFixture[str]) -> None:
    landscape, backend = Landscape(0), Both(Landscape(0))
    task = task_of(landscape)
    task = replace(task, test=task.test[:20])
    judge = Both(landscape)
    bench = Bench(task, Model(backend), Model(judge))
    setting = search.Setting(seeds=(0,), budget=100)
    (race,) = setting.race_on_task(bench, 2.0)
    assert race["task_calls"] + race["writer_calls"] == backend.task.calls + backend.writer.calls
    assert judge.writer.calls == 0
    assert judge.task.calls % 20 == 0 < judge.task.calls
    assert race["beliefs"][-1][0] <= 100
    assert race["start"] == bench.worth(task.prompt)
    other = replace(setting, rows=Rows())
    (short,) = other.race_on_task(bench, race["start"])
    assert short["ended"] == REACHED
    assert len(short["beliefs"]) == 1
    (longer,) = other.race_on_task(bench, 2.0)
    assert longer["beliefs"] == race["beliefs"], "what ended at a lower goal does not tell of a higher one"
    assert 0 < search.embedded(setting, [bench])["calls_ratio_embedded"] < 3
    assert task.name in capsys.readouterr().out


def test_the_papers_batch_is_fitted_to_the_budget() -> None:
    assert fitted(10_000)["batch"] == 8
    assert fitted(10)["batch"] == 1


def test_parts_b_and_c_end_in_one_line_of_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    told = ["--parts", "b", "c", "--seeds", "0", "--budget", "120", "--out", str(file)]
    search.main(told)
    first = capsys.readouterr().out
    figures = json.loads(first.splitlines()[-1])
    assert tuple(figures) == search.FIGURES
    assert 0 < figures.pop("calls_ratio_vs_paper") <= 1
    assert set(figures.values()) == {None}, "no mark was reached, and peers were not asked for"
    assert "left out" in first
    assert "reflect" in first
    rows = file.read_text()
    search.main(told)
    assert file.read_text() == rows, "nothing was run again"
    assert capsys.readouterr().out.splitlines()[-1] == first.splitlines()[-1]


def test_the_figures_are_those_of_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, credit = tmp_path / "rows.jsonl", {"reflect": {"tried": 4, "better": 1}}
    race = {"code": digest(), "task_calls": 1000, "beliefs": [[40, 0.4], [400, 0.8]], "credit": credit}
    runs = {"race": race, "as paper": {"code": digest(), "task_calls": 950, "beliefs": [[900, 0.5]]}, "random": {}}
    runs |= {name: {} for name in PEERS}
    rows = [
        {"search": name, "ground": ground, "budget": 1000, "seed": 7, "quality": 0.5, "curve": {"1000": 0.5}} | run
        for name, run in runs.items()
        for ground in search.GROUNDS
    ]
    rows.append(rows[-1] | {"search": "capo", "ground": "plain", "stopped": "not done after 900 s"})
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    told = ["--parts", "b", "--seeds", "7", "--budget", "1000", "--out", str(file)]
    search.main([*told, "--peers-python", sys.executable])
    said = capsys.readouterr().out.splitlines()
    assert {name: value for name, value in json.loads(said[-1]).items() if value is not None} == {
        "calls_ratio_vs_paper": 0.4, "q_1000": 0.8, "gepa_q_1000": 0.5,
    }  # fmt: skip
    assert "capo, plain, 1,000: 1 broken off." in said


@pytest.mark.parametrize(("told", "why"), [
    (["--peers-python", "/nowhere/python"], "--peers-python /nowhere/python: no such file"),
    (["--out", "/nowhere/rows.jsonl"], "--out /nowhere/rows.jsonl: there is no folder"),
    (["--budget", "3"], "--budget 3: too little"),
])  # fmt: skip
def test_what_cannot_be_run_is_told(told: list[str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        search.main(told)
