"""Several judges together, planted answers, and the rows that both become."""

from __future__ import annotations

import asyncio
import json
import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.judge.judge import Judge, Judgement, Preference, Subject
from promptmill.judge.panel import EMBEDDED_PANEL, JudgeConfig, Panel, PanelConfig, Scored, Value, open_panel
from promptmill.judge.planted import KINDS, plant
from promptmill.judge.rubric import Criterion, Rubric
from promptmill.judge.table import Key, preference_rows, preferences_schema, score_rows, scores_schema
from promptmill.judge.weigh import Weighing
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig
from promptmill.model.scripted import ScriptedBackend
from promptmill.settings import checked
from tests.judging import RUBRIC, WORDING, Weighted, asked, judge_of

LEVELS = dict.fromkeys(range(1, 6), "so so")
TWO = Rubric(criteria={"depth": Criterion(levels=LEVELS, weight=3), "tone": Criterion(levels=LEVELS)})
SUBJECT = Subject("Say hello.", "", "hello")


def judge(name: str, said: str = "5", rubric: Rubric = RUBRIC, **more) -> Judge:
    backend = ScriptedBackend(lambda request: said, fingerprint=f"{name}/{said}")
    return Judge(name, Model(backend, attempts=1), rubric, WORDING, **more)


def panel_of(*judges: Judge, **weights: float) -> Panel:
    return Panel(judges, {one.name: weights.get(one.name, 1.0) for one in judges})


def given_scores(**scores: float | None) -> list[Scored]:
    return [Scored(name, "correctness", Judgement(expected=score, error=None if score else "unread: ''"))
            for name, score in scores.items()]  # fmt: skip


three = panel_of(*(judge(name, criteria=("correctness",)) for name in "abc"), c=2.0)


def test_a_panel_asks_every_judge_by_every_criterion():
    panel = panel_of(judge("a", "4"), judge("b", "yes", ask="yes_no"), judge("c", "no idea"))

    async def go():
        async with panel:
            return await panel.score(SUBJECT)

    found = asyncio.run(go())
    assert [(one.validator, one.criterion) for one in found] == [
        *(("a", name) for name in RUBRIC.names), ("b", "correctness"), *(("c", name) for name in RUBRIC.names)
    ]  # fmt: skip
    assert {one.validator for one in found if one.judgement.error} == {"c"}
    value = panel.value(found)
    assert value.judges == 2  # c could not be read, and is no zero
    assert value.value == pytest.approx(sum(panel.values(found).values()) / 2)


def test_the_value_is_the_weighted_mean_with_its_standard_error():
    value = three.value(given_scores(a=5, b=3, c=1))
    assert value.value == pytest.approx((1 + 0.5 + 2 * 0) / 4)
    assert value.judges == 3
    even = panel_of(*three.judges).value(given_scores(a=5, b=3, c=1))
    assert even.se == pytest.approx(0.5 / math.sqrt(3))  # the usual one where all weigh alike
    assert three.value(given_scores(a=5, b=None, c=None)) == Value(1.0, 1, None)
    assert three.value(given_scores(a=None, b=None, c=None)).value is None


def test_a_value_over_criteria_is_weighted_and_whole_or_absent():
    panel = panel_of(judge("a", rubric=TWO))
    both = [Scored("a", "depth", Judgement(expected=5.0)), Scored("a", "tone", Judgement(expected=1.0))]
    assert panel.value(both).value == pytest.approx(0.75)
    half = [both[0], Scored("a", "tone", Judgement(error="unread: ''"))]
    assert panel.value(half).value is None
    again = [*half, Scored("a", "tone", Judgement(expected=3.0), repeat=1)]
    assert panel.value(again).value == pytest.approx(0.75 + 0.25 * 0.5)


def test_a_margin_is_paired_by_judge():
    generous, strict = given_scores(a=5, b=3), given_scores(a=4, b=2, c=2)
    margin = three.margin(generous, strict)
    assert (margin.value, margin.judges) == (pytest.approx(0.25), 2)
    assert margin.se == pytest.approx(0)  # both judges see the same difference, however they differ in level


def test_a_flipped_preference_is_a_tie():
    found = [("a", Preference(0.9, False)), ("b", Preference(0.52, True)), ("c", Preference(error="unread: ''"))]
    value = three.preferred(found)
    assert (value.value, value.judges) == (pytest.approx(0.7), 2)


@given(st.lists(st.floats(1, 5), min_size=1, max_size=3), st.floats(0.1, 9))
def test_a_value_lies_between_its_judges(scores, weight):
    panel = panel_of(*three.judges, a=weight)
    value = panel.value(given_scores(**dict(zip("abc", scores, strict=False))))
    units = [(score - 1) / 4 for score in scores]
    assert value.value is not None
    assert min(units) - 1e-9 <= value.value <= max(units) + 1e-9


def test_models_that_judges_share_are_opened_once():
    opened = []

    def open_model(kind: ModelConfig) -> Model:
        opened.append(kind.name)
        return Model(ScriptedBackend(lambda request: "5", fingerprint=kind.name))

    panel = open_panel(EMBEDDED_PANEL, open_model)
    assert opened == ["embedded", "embedded-small"]
    assert panel.judges[0].model is panel.judges[1].model
    assert [one.criteria for one in panel.judges] == [("correctness",)] * 3


@pytest.mark.parametrize(("judges", "words"), [
    ([], "judges"),
    ([{"name": "a"}, {"name": "a"}], "two judges are called 'a'"),
    ([{"name": "a", "weight": 0}], "weight"),
    ([{"name": "a", "asks": "rate"}], "unknown key 'judges.0.asks'"),
])  # fmt: skip
def test_a_panel_that_cannot_be_is_refused_in_one_line(judges, words):
    with pytest.raises(InputError) as said:
        checked(PanelConfig, {"judges": judges}, "panel")
    assert words in str(said.value)


def test_a_panel_of_fewer_than_three_is_warned_of_and_not_refused():
    assert "fewer than three" in PanelConfig(judges=[JudgeConfig(name="a")]).warnings[0]
    assert EMBEDDED_PANEL.warnings == []


def test_one_criterion_has_one_weight(tmp_path):
    levels = "{1: a, 2: b, 3: c, 4: d, 5: e}"
    for weight in (1, 2):
        (tmp_path / f"{weight}.yaml").write_text(f"depth: {{levels: {levels}, weight: {weight}}}\n")
    config = PanelConfig(judges=[JudgeConfig(name=str(w), rubric=tmp_path / f"{w}.yaml") for w in (1, 2)])
    with pytest.raises(InputError, match="judge 2: its rubric weighs depth 2, another judge's 1"):
        open_panel(config, lambda kind: Model(ScriptedBackend(lambda request: "5")))


def test_a_panels_identity_changes_with_all_that_decides_what_it_says(tmp_path):
    levels = "{1: a, 2: b, 3: c, 4: d, 5: e}"
    (tmp_path / "one.yaml").write_text(f"depth: {levels}\n")
    (tmp_path / "other.yaml").write_text(f"depth: {levels.replace('e}', 'best}')}\n")

    def identity(**more):
        judge = JudgeConfig(**({"name": "a", "rubric": tmp_path / "one.yaml"} | more))
        panel = open_panel(PanelConfig(judges=[judge]), lambda kind: Model(ScriptedBackend(lambda request: kind.name,
                           fingerprint=kind.name)))  # fmt: skip
        return json.dumps(panel.identity)

    changes = ({"rubric": tmp_path / "other.yaml"}, {"weight": 2}, {"ask": "yes_no"}, {"repeats": 2}, {"samples": 9},
               {"model": ModelConfig(name="embedded-small")}, {"name": "b"}, {"min_mass": 0.5})  # fmt: skip
    found = [identity(), *(identity(**change) for change in changes)]
    assert len(set(found)) == len(found)
    assert identity() == found[0]


def test_repeats_are_asked_where_they_may_differ_alone():
    sampled = judge_of(ScriptedBackend(lambda request: "45"[request.repeat % 2]), repeats=3,
                       weighing=Weighing("sampled", samples=1))  # fmt: skip
    exact = judge_of(Weighted(lambda text: {"5": 1.0}), repeats=3)
    for one, often in ((sampled, 3), (exact, 1)):
        assert asked(one, lambda it: it.repeats_worth()) == often

    async def go():
        panel = Panel([sampled], {"it": 1.0})
        async with panel:
            return await panel.score(SUBJECT)

    assert [(one.repeat, one.judgement.level) for one in asyncio.run(go())] == [(0, 4), (1, 5), (2, 4)]


def test_rows_fit_their_schemas_whether_read_or_not():
    key, other = Key("b1", 2, 3, 4), Key("b1", 5)
    rows = score_rows(key, SUBJECT, given_scores(a=4.5, b=None), planted="empty")
    table = pa.Table.from_pylist(rows, schema=scores_schema()).to_pylist()
    assert table[0] | {"expected": 4.5, "length": 5, "planted": "empty", "base_id": "b1", "sample_id": 4} == table[0]
    assert (table[1]["expected"], table[1]["error"]) == (None, "unread: ''")
    pairs = preference_rows(key, other, [("a", Preference(0.5, True)), ("b", Preference(error="timeout: late"))])
    table = pa.Table.from_pylist(pairs, schema=preferences_schema()).to_pylist()
    assert [(row["p"], row["flipped"], row["error"]) for row in table] == [
        (0.5, True, None),
        (None, None, "timeout: late"),
    ]


# Planted answers

ANSWERS = [
    (Key("1"), Subject("Count.", "a b c", "one two three four")),
    (Key("2"), Subject("Shout.", "no", "NO")),
]


def planted(answers=ANSWERS, **more):
    return {(key.base_id, kind): subject.output for key, kind, subject in plant(answers, **more)}


def test_planted_answers_are_spoilt_and_always_the_same():
    found = planted()
    assert found["1", "truncated"] == "one two"
    assert sorted(found["1", "shuffled"].split()) == sorted("one two three four".split())
    assert found["1", "shuffled"] != "one two three four"
    assert (found["1", "off_topic"], found["1", "empty"]) == ("NO", "")
    assert found["2", "truncated"] == "N"
    assert ("2", "shuffled") not in found  # a single word has no other order
    assert planted() == found
    assert planted(kinds=("empty",)).keys() == {("1", "empty"), ("2", "empty")}


def test_what_a_real_answer_says_is_never_planted():
    real = [(Key("1", sample_id=i), Subject("Say.", "", text)) for i, text in enumerate(("", "b a", "a b", "a", "b"))]
    assert set(planted(real).values()) == set()
    assert {kind for _, kind in planted(ANSWERS[:1])} == {"truncated", "shuffled", "empty"}  # no other base prompt


words = st.text("ab ", max_size=12)


@given(st.lists(st.tuples(st.sampled_from("123"), words), min_size=1, max_size=8), st.integers(0, 3))
def test_planting_never_gives_a_real_answer_and_keeps_the_question(rows, seed):
    answers = [(Key(base, sample_id=i), Subject(f"Do {base}.", "x", text)) for i, (base, text) in enumerate(rows)]
    for key, kind, subject in plant(answers, seed=seed):
        assert kind in KINDS
        assert subject.instruction == f"Do {key.base_id}."
        assert subject.output.strip() not in {real.output.strip() for k, real in answers if k.base_id == key.base_id}
