from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.rewrite.config import LearnConfig, PairsConfig, TuneConfig
from promptmill.crafts.rewrite.guard.guard import Guard
from promptmill.crafts.rewrite.learn import Learner, Lesson
from promptmill.crafts.rewrite.page import rewrite_page
from promptmill.crafts.rewrite.tables import BASE, BaseRow, InputRow, OutputRow, PairRow
from promptmill.crafts.rewrite.trials import Material
from promptmill.crafts.rewrite.tune import FOLDER, LESSON, Tuner, best_answers, tunable, two_by_two
from promptmill.errors import InputError
from promptmill.model import embedder
from promptmill.model.load import ModelConfig, open_backend
from promptmill.model.local import load
from promptmill.store.records import row_of, schema_of
from promptmill.store.stage import Stage
from promptmill.train.answers import Answered
from promptmill.vary.wording import load_wording
from tests.rewriting import INTENTS, WEAK, settings

QUICK = {"epochs": 2, "rate": 1e-3, "batch_items": 4, "warmup_steps": 0}


@dataclass
class Valued:
    """What Values says of each answer of a prompt; by base, variation, input and sample."""

    table: dict[tuple[str, int, int, int], float]

    def by_place(self, base: str, variation: int) -> dict[tuple[int, int], float]:
        return {key[2:]: value for key, value in self.table.items() if key[:2] == (base, variation)}


def values_of(table: dict[tuple[str, int, int, int], float]) -> Any:
    return Valued(table)


def output(variation: int, text: str | None, given: int = 0, sample: int = 0, finish: str = "stop") -> OutputRow:
    return OutputRow("a", variation, given, sample, text, finish)


def test_the_most_valued_answer_of_all_prompts_is_taken_input_by_input() -> None:
    rows = [output(BASE, "mine"), output(BASE, "mine 1", given=1), output(3, "better"), output(3, "worse", given=1)]
    values = values_of({("a", BASE, 0, 0): 0.4, ("a", BASE, 1, 0): 0.6, ("a", 3, 0, 0): 0.9, ("a", 3, 1, 0): 0.2})
    assert best_answers(rows, values) == {("a", 0): "better", ("a", 1): "mine 1"}


def test_of_answers_valued_alike_the_base_prompts_own_is_taken() -> None:
    rows = [output(7, "later"), output(2, "other"), output(BASE, "mine")]
    values = values_of({("a", one, 0, 0): 0.5 for one in (7, 2, BASE)})
    assert best_answers(rows, values) == {("a", 0): "mine"}


def test_answers_that_were_cut_off_or_never_came_or_have_no_value_are_not_learned_from() -> None:
    rows = [output(1, "cut", finish="length"), output(2, None), output(3, "unread"), output(4, ""), output(5, "good")]
    values = values_of({("a", one, 0, 0): 0.9 - one / 10 for one in (1, 2, 4, 5)})
    assert best_answers(rows, values) == {("a", 0): "good"}
    assert best_answers(rows[:4], values) == {}


def test_what_a_prompt_that_breaks_a_rule_has_led_to_is_not_learned_however_much_it_is_valued() -> None:
    rows = [output(BASE, "mine"), output(1, "short short")]
    values = values_of({("a", BASE, 0, 0): 0.4, ("a", 1, 0, 0): 0.9})
    assert best_answers(rows, values, {("a", 1): "length"}) == {("a", 0): "mine"}


@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 2), st.floats(0, 1)), unique_by=lambda one: one[:2]))
def test_no_answer_is_worth_more_than_the_one_that_is_taken(told: list[tuple[int, int, float]]) -> None:
    rows = [output(variation, f"{variation} {sample}", sample=sample) for variation, sample, _ in told]
    values = values_of({("a", variation, 0, sample): value for variation, sample, value in told})
    best = best_answers(rows, values)
    if not told:
        assert best == {}
        return
    worth = {f"{variation} {sample}": value for variation, sample, value in told}
    assert worth[best["a", 0]] == max(worth.values())


# The tuning itself


def material() -> Material:
    bases = [BaseRow(name, "order", None, "reverse", f"Reverse the words of set {name}.", name, split)
             for name, split in (("a", "train"), ("b", "train"), ("c", "dev"), ("d", "test"))]  # fmt: skip
    inputs = {one.base_id: (InputRow(one.base_id, 0, "the old dog"), InputRow(one.base_id, 1, "a red boat"))
              for one in bases}  # fmt: skip
    return Material({one.base_id: one for one in bases}, inputs)


def answered(folder: Path, said: str = "dog old the") -> tuple[list[Stage], Any]:
    stage = Stage(folder, schema_of(OutputRow))
    rows = [OutputRow(base, BASE, given, 0, said, "stop") for base in "abcd" for given in (0, 1)]
    stage.write(0, [row_of(one) for one in rows])
    return [stage], values_of({(one.base_id, BASE, one.input_id, 0): 0.5 for one in rows})


def tuner(folder: Path, **more: Any) -> Tuner:
    config = TuneConfig.model_validate({"lora": {"rank": 2}, "train": QUICK})
    return Tuner(ModelConfig(name="embedded-small"), config, folder, **more)


def test_the_main_model_learns_the_answers_to_train_prompts_and_is_held_out_those_to_dev_prompts(
    tmp_path: Path,
) -> None:
    stages, values = answered(tmp_path / "outputs")
    one = tuner(tmp_path)
    told = one.tune(material(), stages, values)
    assert (told["answers"], told["dev_answers"], told["adapter"]) == (4, 2, "tuned/adapter")
    assert told["validation"]["best"] < told["validation"]["first"]
    made = (one.adapter / "adapter_model.safetensors").read_bytes()
    assert open_backend(one.tuned).fingerprint != open_backend(one.kind).fingerprint
    assert one.tune(material(), stages, values) == told  # nothing is trained again
    assert (one.adapter / "adapter_model.safetensors").read_bytes() == made


def test_a_later_session_reads_what_has_come_of_it_without_loading_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages, values = answered(tmp_path / "outputs")
    first: list[Any] = []
    told = tuner(tmp_path, on_row=first.append).tune(material(), stages, values)

    def refused(*_: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(load, "load_model", refused)
    again: list[Any] = []
    assert tuner(tmp_path, on_row=again.append).tune(material(), stages, values) == told
    assert again == first == told["rows"]
    with pytest.raises(AssertionError, match="was loaded"):
        tuner(tmp_path, seed=1).tune(material(), stages, values)


def test_a_run_that_goes_on_with_other_answers_tunes_anew_instead_of_refusing(tmp_path: Path) -> None:
    one = tuner(tmp_path)
    one.tune(material(), *answered(tmp_path / "outputs"))
    made = (one.adapter / "adapter_model.safetensors").read_bytes()
    one.tune(material(), *answered(tmp_path / "others", "the boat"))
    assert (one.adapter / "adapter_model.safetensors").read_bytes() != made


def test_what_a_kill_while_room_was_made_has_left_of_another_lesson_is_cleared_away(tmp_path: Path) -> None:
    one = tuner(tmp_path)
    one.tune(material(), *answered(tmp_path / "outputs"))
    (tmp_path / FOLDER / LESSON).unlink()  # files go one by one, this one perhaps before the checkpoints
    told = one.tune(material(), *answered(tmp_path / "others", "the boat"))
    fresh = tuner(tmp_path / "fresh").tune(material(), *answered(tmp_path / "others", "the boat"))
    assert told == fresh


def test_what_is_learned_is_the_prompt_as_the_main_model_gets_it_in_the_role_s_words(tmp_path: Path) -> None:
    plain, worded = tuner(tmp_path), tuner(tmp_path, turn="Do this: {prompt}", role="You are brief.")
    best = {("a", 0): "dog old the"}
    for one, asked in (
        (plain, (("system", "Reverse the words of set a."), ("user", "the old dog"))),
        (worded, (("system", "You are brief."), ("user", "Do this: Reverse the words of set a.\n\nthe old dog"))),
    ):
        assert one.lesson(material(), best, "train") == [Answered(asked, "dog old the")]


def test_without_any_valued_answer_there_is_one_clear_line(tmp_path: Path) -> None:
    stages, _ = answered(tmp_path / "outputs")
    with pytest.raises(InputError, match="no answer to a train prompt has a value"):
        tuner(tmp_path).tune(material(), stages, values_of({}))


@pytest.mark.parametrize(("kind", "words"), [
    (ModelConfig(name="far", base_url="http://127.0.0.1:9/v1"), "its weights are not here"),
    (ModelConfig(name="embedded-small"), "no linear layer"),
])  # fmt: skip
def test_what_cannot_be_tuned_is_said_before_anything_is_done(kind: ModelConfig, words: str) -> None:
    with pytest.raises(InputError, match=words):
        tunable(kind, TuneConfig.model_validate({"lora": {"targets": ["nowhere"]}}))


def test_the_command_refuses_a_main_model_on_a_server_before_a_run_is_begun(mistake: Any) -> None:
    mistake(
        ["rewrite", "run", "--intent", "words", "--model", "far", "--base-url", "http://127.0.0.1:9/v1", "--rewriter",
         "embedded-small", "--set", "rewrite.tune_main=true"], ["tune_main", "far", "--model"],
    )  # fmt: skip


def test_a_run_tunes_the_main_model_after_its_last_round_and_tests_it_with_both_rewriters(cli: Any) -> None:
    command = ["rewrite", "run", *INTENTS, *WEAK, *settings(learn__train__epochs=1), "--out", "run"]
    plain = cli(*command)
    assert plain.code == 0, plain.err
    assert "tuned" not in json.loads(Path("run/report.json").read_text())
    said = cli("rewrite", "test", "--continue", "run", "--set", "rewrite.tune_main=true",
               "--set", "rewrite.tune.lora.rank=2", "--set", "rewrite.tune.train.epochs=1")  # fmt: skip
    assert said.code == 0, said.err
    report = json.loads(Path("run/report.json").read_text())
    assert [(one["rewriter"], one["model"]) for one in report["tuned"]] == [
        ("none", "tuned"), ("untrained", "as it was"), ("trained", "as it was"), ("untrained", "tuned"),
        ("trained", "tuned"),
    ]  # fmt: skip
    assert report["tuned"][2]["value"]["after"] == pytest.approx(report["test"]["rounds"][-1]["value"]["after"])
    assert Path("run", report["tuning"]["adapter"], "adapter_model.safetensors").exists()
    assert "before and after training" in Path("run/report.html").read_text()
    assert "untrained" in said.out


# Two by two


@dataclass
class Told:
    """What a test says of base prompts a and b: (value, score) as they are, and rewritten."""

    plain: dict[str, tuple[float, float | None]]
    better: dict[str, tuple[float, float | None]]

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"base_id": base, "cluster": base, "base_value": self.plain[base][0], "base_score": self.plain[base][1],
             "rewrite_value": self.better[base][0], "rewrite_score": self.better[base][1]}
            for base in self.plain
        ]  # fmt: skip


def test_every_cell_is_held_against_the_prompts_and_the_model_as_they_were() -> None:
    def told(plain: float, better: float) -> Any:
        return Told({"a": (plain, 0.0), "b": (plain, None)}, {"a": (better, 1.0), "b": (better, None)})

    cells = two_by_two([told(0.2, 0.3), told(0.25, 0.5)], [told(0.4, 0.45), told(0.4, 0.8)], 0)
    found = {(one["rewriter"], one["model"]): one["value"]["gain"] for one in cells}
    assert found == pytest.approx({
        ("none", "tuned"): 0.2, ("untrained", "as it was"): 0.1, ("trained", "as it was"): 0.3,
        ("untrained", "tuned"): 0.25, ("trained", "tuned"): 0.6,
    })  # fmt: skip
    assert all(one["value"]["before"] == pytest.approx(0.2) for one in cells)
    assert [one["score"]["n"] for one in cells] == [1] * 5


def test_the_page_shows_the_cells_and_how_far_a_round_has_moved() -> None:
    told: Any = Told({"a": (0.2, None)}, {"a": (0.3, None)})
    cells = two_by_two([told, told], [told, told], 0)
    rounds = [{"round": 2, "domains": ["x"], "bases": 1, "pairs": {}, "replayed": 0, "steps": 1, "rows": [],
               "kl_old": 0.125}]  # fmt: skip
    made = {"dedup": {"kept": 1, "texts": 1}, "splits": {}, "clusters": {"count": 1}, "variations": 0, "inputs": 0}
    page = repr(rewrite_page({"synthesize": made, "tuned": cells, "tuning": {"answers": 3, "steps": 9},
                              "rounds": rounds}))  # fmt: skip
    assert "3 in 9 steps" in page
    assert "untrained" in page
    assert "0.125" in page


# How far a round moves the rewriter on earlier prompts


def lesson(kept: bool) -> Lesson:
    pairs = [PairRow(str(at), 1, "d", "best_base", f"Say {at}.", f"Please say {at}.", f"Do {at}.", 0.5, 0.1, 0.9)
             for at in range(4)]  # fmt: skip
    return Lesson(pairs, kept=[("Reverse the words.", "Reverse the order of the words.")] * 3 if kept else [])


def learner(folder: Path, rate: float = 1e-3) -> Learner:
    config = LearnConfig.model_validate({"lora": {"rank": 2}, "train": QUICK | {"rate": rate}})
    backend: Any = open_backend(ModelConfig(name="embedded-small"))
    return Learner(backend, load_wording(), config, folder)


def test_the_kl_on_earlier_prompts_is_measured_whether_or_not_it_is_held_down(tmp_path: Path) -> None:
    assert learner(tmp_path / "first").learn(lesson(kept=False)).more["kl_old"] is None
    little = learner(tmp_path / "little", 1e-9).learn(lesson(kept=True)).more["kl_old"]
    much = learner(tmp_path / "much", 1e-2).learn(lesson(kept=True)).more["kl_old"]
    assert little == pytest.approx(0, abs=1e-5)
    assert much is not None
    assert much > 0.001
    assert learner(tmp_path / "much", 1e-2).learn(lesson(kept=True)).more["kl_old"] == much  # of a run that goes on


# The guard by a run's settings


class Alike:
    def __init__(self, value: float):
        self.value = value

    def similarity(self, a: str, b: str) -> float:
        return self.value


def test_a_rewrite_of_another_meaning_breaks_a_rule_where_likeness_is_asked_for() -> None:
    kinds = [one.kind for one in Guard(similar=0.6, embedder=Alike(0.5))("Name a colour.", "Name any colour.")]
    assert kinds == ["similarity"]
    assert Guard(similar=0.6, embedder=Alike(0.7))("Name a colour.", "Name any colour.") == ()
    assert Guard.of(PairsConfig()).embedder is None


def test_likeness_without_its_extra_is_one_line_before_the_run(monkeypatch: Any, mistake: Any) -> None:
    monkeypatch.setattr(embedder, "find_spec", lambda name: None)
    mistake(["rewrite", "run", "--intent", "words", "--set", "rewrite.pairs.similar=0.5"],
            ["pairs.similar=0.5", "promptmill[embed]"])  # fmt: skip


def test_a_rewrite_that_is_the_main_models_answer_breaks_a_rule() -> None:
    said = "Roses are red and violets are blue, and so are you."
    assert [one.kind for one in Guard()("Write a line.", said, said)] == ["answered"]
    assert Guard()("Write a line.", said) == ()
