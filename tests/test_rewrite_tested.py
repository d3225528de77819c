"""The test of a rewriter, with models that answer by rules: what is measured of which prompt."""

from __future__ import annotations

import pytest

from promptmill.crafts.rewrite import tested as tests_of_rewriters
from promptmill.crafts.rewrite.bench import Bench
from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.summary import figures, test_report, verdict
from promptmill.crafts.rewrite.tables import BaseRow, InputRow
from promptmill.crafts.rewrite.trials import Material
from promptmill.judge.judge import Judge
from promptmill.judge.panel import Panel
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig
from promptmill.model.scripted import ScriptedBackend
from promptmill.store.run import Run
from tests.judging import RUBRIC, WORDING, Weighted
from tests.rewriting import base

test_report.__test__ = False  # type: ignore[attr-defined]
TEXTS = {"poor": "Say the word.", "good": "Say the word well and truly.", "odd": "Tell me of {it} and {that}.",
         "learned": "Say it."}  # fmt: skip
RAW = {"Say the word.": "Say the word well.", "Say the word well and truly.": "Say the word well and truly.",
       "Tell me of {it} and {that}.": "Tell me."}  # fmt: skip


def main(request):
    """Right where it is told to do it well."""
    asked = " ".join(text for _, text in request.messages)
    return request.messages[-1][1].split()[-1] if "well" in asked else "no idea at all"


def shares(text):
    """A judge that looks for the words of a right answer, and prefers them in any order."""
    if "Output A" in text or "\nA:" in text or "A:" in text:
        first = text.find("no idea")
        right = text.find("kite") if text.find("kite") < first or first < 0 else first + 1
        return {"A": 0.9, "B": 0.1} if right <= first or first < 0 else {"B": 0.9, "A": 0.1}
    return {"1": 0.9, "2": 0.1} if "no idea" in text else {"5": 0.9, "4": 0.1}


@pytest.fixture
def tester(tmp_path):
    bases: dict[str, BaseRow] = {
        name: base(name, text, "train" if name == "learned" else "test", "odd" if name == "odd" else "words")
        for name, text in TEXTS.items()
    }
    inputs = {name: (InputRow(name, 0, "the kite", ["kite"]), InputRow(name, 1, "a kite", ["kite"]))
              for name in ("poor", "good")}  # fmt: skip
    panel = Panel([Judge(name, Model(Weighted(shares, name)), RUBRIC, WORDING, criteria=("correctness",))
                   for name in "ab"], {"a": 1.0, "b": 1.0})  # fmt: skip
    with Run(tmp_path / "run", "rewrite", {}) as run:
        bench = Bench(run, Model(ScriptedBackend(main, fingerprint="main")), panel, "panel", WORDING, "",
                      RewriteConfig(), ModelConfig(), lambda kind, role: rewriter())  # fmt: skip
        yield tests_of_rewriters.Tester(bench, Material(bases, inputs), panel, "panel", bench.main, candidates=1)


def rewriter() -> Model:
    def said(request):
        return next(raw for prompt, raw in RAW.items() if prompt in request.messages[-1][1])

    return Model(ScriptedBackend(said, name="rewriter", fingerprint="rewriter"))


async def tested_by(tester):
    async with tester.main, tester.panel:
        return await tester.run(1, rewriter(), None, "")


async def test_each_test_prompt_has_what_it_was_worth_before_and_after(tester):
    rows = {row["base_id"]: row for row in (await tested_by(tester)).rows()}
    assert sorted(rows) == ["good", "odd", "poor"], "what was learned from is not tested"
    poor, good, odd = rows["poor"], rows["good"], rows["odd"]
    assert (poor["rewrite"], poor["left_alone"], poor["guard"]) == ("Say the word well.", False, None)
    assert (poor["base_score"], poor["rewrite_score"], poor["raw_score"]) == (0.0, 1.0, 1.0)
    assert poor["rewrite_value"] - poor["base_value"] > 0.5
    assert poor["words"] == [4.0, 1.0]
    assert (good["left_alone"], good["rewrite"], good["preferred"]) == (True, None, None)
    assert good["base_score"] == good["rewrite_score"] == 1.0
    assert good["base_value"] == good["rewrite_value"] == good["raw_value"]
    assert odd["left_alone"]
    assert odd["guard"] is not None, "its placeholders were lost"
    assert (odd["base_score"], odd["rewrite_score"]) == (None, None)


async def test_the_figures_are_of_all_prompts_those_left_alone_among_them(tester):
    found = figures((await tested_by(tester)).rows())
    assert found["score"]["n"] == 2
    assert (found["score"]["before"], found["score"]["after"]) == (0.5, 1.0)
    assert found["value"]["n"] == 3
    assert found["violations"] == pytest.approx(1 / 3)
    assert found["left_alone"] == pytest.approx(2 / 3)
    assert (found["good"], found["good_left_alone"]) == (1, 1.0)
    assert found["wins"]["n"] <= 1


async def test_intervals_are_over_clusters(tester):
    rows = (await tested_by(tester)).rows()
    assert {row["cluster"] for row in rows} == {"poor", "good", "odd"}
    value = figures(rows)["value"]
    assert (value["n"], value["clusters"]) == (3, 3)
    one = figures([row | {"cluster": "one"} for row in rows])["value"]
    assert (one["clusters"], one["gain"]) == (1, value["gain"])
    assert one["hi"] - one["lo"] > value["hi"] - value["lo"], "a single cluster says little of others"


async def test_a_second_test_asks_nothing(tester):
    before = (await tested_by(tester)).rows()
    paid = tester.main.ledger.paid.calls
    assert (await tested_by(tester)).rows() == before
    assert tester.main.ledger.paid.calls == paid


async def test_the_report_is_by_round_and_domain_and_has_a_verdict(tester):
    tested = await tested_by(tester)
    report = test_report([tested, tested], tested, [("words", "odd")], 0)
    assert [one["round"] for one in report["rounds"]] == [1, 1]
    assert {one["domain"] for one in report["domains"]} == {"odd", "words"}
    assert "continual" not in report, "both domains were learned at once"
    assert verdict(report, False).startswith("no improvement shown: the true score goes from 0.500 to 1.000")
    assert "continual" in test_report([tested, tested, tested], tested, [("words",), ("odd",)], 0)


def test_the_verdict_says_better_and_worse_only_where_the_interval_does():
    def test(lo, hi, p=0.01):
        told = {"n": 9, "clusters": 7, "before": 0.4, "after": 0.5, "gain": 0.1, "lo": lo, "hi": hi, "p": p}
        return {"offered": {"score": {"n": 0}, "value": told}}

    assert verdict(test(0.05, 0.2), False).startswith("better: the panel's value rises from 0.400 to 0.500")
    assert verdict(test(-0.2, -0.1), False).startswith("worse: ")
    assert verdict(test(-0.1, 0.2), False).startswith("no improvement shown")
    assert verdict(test(0.05, 0.2, p=0.25), False).startswith("no improvement shown"), "three prompts that differ"
    assert ", but p = 0.25" in verdict(test(0.05, 0.2, p=0.25), False)
    assert "9 prompts in 7 clusters" in verdict(test(0.05, 0.2), False)
    assert verdict(test(0.05, 0.2), True).endswith("did not pass its gate")
    assert verdict(test(0.05, 0.2), False, True).endswith(", by the word of test judges that did not pass theirs")
    nothing = {"offered": {"score": {"n": 0}, "value": {"n": 0, "gain": None}}}
    assert verdict(nothing, False).startswith("nobody knows")
