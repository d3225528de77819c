"""Whether a panel may be believed: what it is asked for that, and what is said of the panel of the test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from promptmill.crafts.rewrite.bench import Bench
from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.judging import Comparer, Texts
from promptmill.crafts.rewrite.probe import COMPARED_OF, Jury, pairs_in, probe
from promptmill.crafts.rewrite.tables import BASE, OutputRow
from promptmill.crafts.rewrite.trials import Material
from promptmill.judge.judge import Judge
from promptmill.judge.panel import Panel
from promptmill.judge.verdict import Gate
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig
from promptmill.model.scripted import ScriptedBackend
from promptmill.store.records import row_of, schema_of
from promptmill.store.run import Run
from tests.judging import RUBRIC, WORDING, Weighted
from tests.rewriting import WEAK, base, finished_run, panel_of

BASES = {name: base(name) for name in ("b", "c", "d")}


@pytest.fixture
def run(tmp_path: Path):
    with Run(tmp_path / "run", "rewrite", {}) as run:
        yield run


def outputs_of(run: Run, rows: list[tuple[str, int, int, str | None]], name: str = "outputs"):
    """A stage of (base, variation, input, output)."""
    stage = run.stage(name, schema_of(OutputRow))
    stage.write(0, [row_of(OutputRow(*key, 0, output, "stop")) for *key, output in rows])
    return stage


def bench_of(run: Run, panel: Panel) -> Bench:
    model = Model(ScriptedBackend(lambda request: "", fingerprint="nobody"))
    return Bench(run, model, panel, "panel", WORDING, "", RewriteConfig(), ModelConfig(), lambda kind, role: model)


def judge_of(name: str, first: bool) -> Judge:
    """One who likes long answers; of two it prefers the longer, or whatever comes first."""

    def shares(text: str) -> dict[str, float]:
        if "A: " in text and "B: " in text:
            a, b = text.split("A: ")[1].split("B: ")
            return {"A": 0.9, "B": 0.1} if first or len(a.strip()) > len(b.split("\n")[0].strip()) else {"B": 1.0}
        words = min(4, len(text.split("Output: ")[1].split()))
        return {str(1 + words): 1.0}

    return Judge(name, Model(Weighted(shares, name)), RUBRIC, WORDING, criteria=("correctness",))


# The pairs that are compared


def test_a_base_prompts_own_answer_is_compared_with_the_first_other_one_on_the_same_input(run):
    first = outputs_of(run, [
        ("b", BASE, 0, None), ("b", BASE, 1, "own"), ("c", BASE, 0, "own"), ("d", BASE, 0, "own"),
        ("b", 0, 0, "elsewhere"), ("b", 0, 1, "own"), ("b", 1, 1, "other"), ("b", 2, 1, "late"), ("c", 0, 0, ""),
    ])  # fmt: skip
    later = outputs_of(run, [("c", 1000, 0, "rewritten"), ("e", 1000, 0, "of nobody")], "round-1")
    found = [(a.base_id, a.output, b.variation_id, b.output) for a, b in pairs_in([first, later])]
    assert found == [("b", "own", 1, "other"), ("c", "own", 1000, "rewritten")]


def test_of_many_base_prompts_some_are_compared_from_all_over(run):
    names = [f"{at:03d}" for at in range(3 * COMPARED_OF)]
    rows = [(name, variation, 0, text) for variation, text in ((BASE, "a"), (0, "b")) for name in names]
    found = [one.base_id for one, _ in pairs_in([outputs_of(run, rows)])]
    assert found == names[::3]


# A panel's report


async def test_a_judge_whose_word_changes_with_the_order_is_named_in_the_report(run):
    panel = Panel([judge_of("sound", False), judge_of("first", True), judge_of("too", False)],
                  dict.fromkeys(("sound", "first", "too"), 1.0))  # fmt: skip
    rows = [(name, variation, 0, f"{name} {'and more ' * at}") for at, variation in enumerate((BASE, 0, 1))
            for name in BASES]  # fmt: skip
    bench, outputs = bench_of(run, panel), outputs_of(run, rows)
    jury, material = Jury(panel, "panel", Gate(min_planted_auc=0)), Material(BASES, {})
    async with panel:
        scores = await bench.scored("scores", outputs, material, panel, "panel")
        report = await probe(bench, jury, material, [outputs], scores)
        asked = [judge.model.ledger.paid.calls for judge in panel.judges]
        assert await probe(bench, jury, material, [outputs], scores) == report
        assert [judge.model.ledger.paid.calls for judge in panel.judges] == asked, "all of it was there"
    assert {one["name"]: one["flips"] for one in report["judges"]} == {
        "sound": {"share": 0.0, "compared": 3}, "first": {"share": 1.0, "compared": 3},
        "too": {"share": 0.0, "compared": 3},
    }  # fmt: skip
    faults = {one["name"]: " ".join(one["faults"]) for one in report["judges"]}
    assert "changes its mind with the order in 100% of the comparisons" in faults["first"]
    assert json.loads((run.folder / "panel.json").read_text()) == report
    assert sorted(path.name.split("-")[0] for path in (run.folder / "stages").iterdir()) == [
        "compared", "outputs", "planted", "scores"
    ]  # fmt: skip


async def test_a_report_of_answers_that_nothing_stands_beside_has_no_flips(run):
    panel = panel_of("a", "b")
    bench, outputs = bench_of(run, panel), outputs_of(run, [("b", BASE, 0, "one"), ("c", BASE, 0, "two")])
    material = Material(BASES, {})
    async with panel:
        scores = await bench.scored("scores", outputs, material, panel, "panel")
        report = await probe(bench, Jury(panel, "panel", Gate()), material, [outputs], scores, "test")
    assert [one["flips"] for one in report["judges"]] == [None, None]
    assert not report["gate"]["passes"]
    assert (run.folder / "test_panel.json").exists()
    assert not (run.folder / "panel.json").exists()


# Both orders


@pytest.mark.parametrize(
    ("flipping", "said"), [(("b",), 0.5 + (0.9 - 0.5) * 2 / 3), (("a", "b"), 0.5), (("a", "b", "c"), 0.5)]
)
async def test_where_most_comparisons_change_with_the_order_nobody_has_won(run, flipping, said):
    def judge(name: str) -> Judge:
        def shares(text: str) -> dict[str, float]:
            first = name in flipping or "A: good" in text
            return {"A": 0.9, "B": 0.1} if first else {"A": 0.1, "B": 0.9}

        return Judge(name, Model(Weighted(shares, name)), RUBRIC, WORDING, criteria=("correctness",))

    panel = Panel([judge(name) for name in "abc"], dict.fromkeys("abc", 1.0))
    texts = Texts()
    texts.add(outputs_of(run, [("b", BASE, 0, "bad"), ("b", 0, 0, "good")]))
    async with panel:
        found = await Comparer(panel, Material(BASES, {}), texts, 2)(BASES["b"], 0, BASE)
    assert found == pytest.approx(said), "a flip is a tie, and most of them are the whole"


# The panel of the test, and reports of a run


@pytest.fixture(scope="module")
def one_go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory)


def test_a_run_and_its_panel_report_tell_how_often_the_order_decides(cli, one_go: Path):
    own = {one["name"]: one["flips"] for one in json.loads((one_go / "panel.json").read_text())["judges"]}
    assert all(one["compared"] > 0 for one in own.values())
    said = cli("panel", "report", str(one_go), "--json")
    assert said.code == 0, said.err
    assert {one["name"]: one["flips"] for one in json.loads(said.out)["judges"]} == own


def test_a_weak_panel_of_the_test_is_told_and_ends_nothing(cli, tmp_path: Path):
    words = [f"word{at}" for at in range(4)]
    rows = [{"prompt": f"Say {word}, {how}.", "inputs": [f"a {word}"], "split": split}
            for split, how in (("train", "well"), ("test", "please")) for word in words]  # fmt: skip
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "three.yaml").write_text(yaml.safe_dump({"rules": [], "default": "3"}))
    judges = [{"name": name, "criteria": ["correctness"], "model": {"name": "scripted:three.yaml"}} for name in "abc"]
    (tmp_path / "others.yaml").write_text(yaml.safe_dump({"judges": judges}))
    small = {"synthesize.variations": 1, "synthesize.max_tokens": 16, "answer.max_tokens": 16, "rounds": 1,
             "rewrites": 2, "test.candidates": 1, "test.proof": 0, "pairs.z": 0, "pairs.margin": 0.0,
             "learn.train.epochs": 1}  # fmt: skip
    settings = [part for name, value in small.items() for part in ("--set", f"rewrite.{name}={value}")]
    said = cli("rewrite", "run", "--prompts", "prompts.jsonl", *settings, *WEAK, "--test-panel", "others.yaml",
               "--out", "run", "--json")  # fmt: skip
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert not report["test_panel"]["gate"]["passes"]
    assert json.loads(Path("run/test_panel.json").read_text()) == report["test_panel"]
    warnings = [one for one in report["warnings"] if one.startswith("the test's panel is weak: all scores are equal")]
    assert len(warnings) == 1
    assert report["verdict"].endswith(", by the word of test judges that did not pass theirs")
    assert sum(report["test_panel"]["planted"].values()) > 0
    assert "the test&#39;s panel is weak" in Path("run/report.html").read_text().replace("'", "&#39;")


def test_a_run_without_a_panel_of_the_test_has_no_report_of_one(one_go: Path):
    assert "test_panel" not in json.loads((one_go / "report.json").read_text())
    assert not (one_go / "test_panel.json").exists()
    assert all(row["cluster"] for row in json.loads((one_go / "report.json").read_text())["test"]["rows"])
