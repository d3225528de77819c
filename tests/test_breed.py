"""The search, with a writer and a task model whose behaviour is known."""

from __future__ import annotations

import random
import re

import pytest

import promptmill as pm
from promptmill.crafts.breed.breeder import Breeder
from promptmill.crafts.breed.config import BreedConfig
from promptmill.crafts.breed.report import lineage, report, sunk
from promptmill.crafts.breed.unit import Unit, Way, fitter
from promptmill.errors import InputError
from promptmill.measure.answer import Ask
from promptmill.model.budget import Budget, Ledger
from promptmill.model.chat import CallError, Request
from promptmill.model.gate import Model, run_blocking
from promptmill.model.scripted import ScriptedBackend
from promptmill.prompt import Prompt
from promptmill.score.scorer import make_scorer
from promptmill.tasks.task import Example, Task
from promptmill.vary.scene import Genome
from promptmill.vary.wording import load_wording

SEED = Prompt("Add the numbers.", "{question}")
HELPFUL = ("step by step", "check")
WORDS = ("Step by step.", "Check it.", "Be kind.", "Now.", "Please.", "Thanks.", "Go.", "Well.")


def task() -> Task:
    examples = tuple(Example(str(i), {"question": f"{i} and {i * 3 % 50}"}, (str(i + i * 3 % 50),)) for i in range(300))
    return Task("sums", "sums of two numbers", SEED, make_scorer("number"), None,
                examples[:100], examples[100:160], examples[160:])  # fmt: skip


def adder(request: Request) -> str:
    """Right on half of the questions; each helpful word in the instruction brings a quarter more."""
    instruction, question = request.messages[0][1].lower(), request.messages[-1][1]
    numbers = [int(number) for number in re.findall(r"\d+", question)]
    right = sum(numbers) % 4 < 2 + sum(word in instruction for word in HELPFUL)
    return str(sum(numbers) if right else -1)


def to_writer(request: Request) -> bool:
    return " only.\n\n" in request.messages[0][1]


def adding_words(request: Request) -> str:
    """A writer that adds a word of a list to the instruction; one in four helps."""
    text = request.messages[0][1]
    if "request only" in text:
        return "Add a word to this instruction."
    shown = re.findall(r"(?:Instruction|First|1\.):? (.*)", text)
    instruction = shown[-1] if shown else "Give the sum."
    rng = random.Random(f"{text}{request.repeat}")
    return f"{instruction} {rng.choice(WORDS)}"


def scripted(**more) -> Model:
    def both(request: Request) -> str:
        return adding_words(request) if to_writer(request) else adder(request)

    return Model(ScriptedBackend(both), **more)


PAPER = {"strategy": "paper"}
BOTH = pytest.mark.parametrize("search", [{"strategy": "race", "calls": 800}, {**PAPER, "generations": 3}])


def breeder(model: Model, writer: Model | None = None, **settings) -> Breeder:
    t = task()
    settings = {**PAPER, **settings}
    return Breeder(t, model, writer or model, SEED, BreedConfig(**settings), load_wording(), Ask(), 0,
                   t.train, t.dev, t.test)  # fmt: skip


def run(b: Breeder):
    async def go():
        async with b.model:
            return await b.run()

    return run_blocking(go())


@pytest.mark.parametrize("search", [{}, {**PAPER, "generations": 10, "population": 12}])
def test_a_better_prompt_is_found_and_its_gain_is_proved(search):
    result = pm.breed(task(), scripted(), **search)
    assert result["verdict"].startswith("improved")
    assert any(word in result["best_prompt"]["system"].lower() for word in HELPFUL)
    test = result["test"]
    assert test["best"] - test["seed"] == pytest.approx(test["gain"])
    assert test["lo"] > 0
    assert test["p"] < 0.05
    assert test["n"] == 140
    assert set(result["calls"]) == {"task", "writer"}
    assert result["lineage"][0]["operator"] == "seed"
    assert result["lineage"][-1]["instruction"] == result["best_prompt"]["system"]


@BOTH
def test_the_seed_is_kept_and_no_improvement_claimed_where_nothing_helps(search):
    def hopeless(request: Request) -> str:
        return adding_words(request) if to_writer(request) else "1"

    result = pm.breed(task(), Model(ScriptedBackend(hopeless)), **search)
    assert result["verdict"].startswith("no improvement: no prompt was better than the seed on dev")
    if result["closest"]:  # the interval of the prompt that came closest
        assert result["closest"]["lo"] <= result["closest"]["gain"] == 0.0 <= result["closest"]["hi"]
        assert "95 % interval" in result["verdict"]
    assert result["best_prompt"] == SEED.to_dict()
    assert (result["test"]["gain"], result["test"]["p"]) == (0.0, 1.0)


@BOTH
def test_a_gain_by_luck_on_dev_is_not_claimed_on_test(search):
    def lucky(request: Request) -> str:
        if to_writer(request):
            return adding_words(request)
        return str(sum(map(int, re.findall(r"\d+", request.messages[-1][1])))) if random.Random(
            f"{request.messages}").random() < 0.5 else "0"  # fmt: skip

    result = pm.breed(task(), Model(ScriptedBackend(lucky)), **search)
    assert result["verdict"].startswith("no improvement")


@BOTH
def test_the_same_seed_gives_the_same_breed_and_another_seed_another(search):
    reports = [pm.breed(task(), scripted(), seed=seed, **search) for seed in (0, 0, 1)]
    assert reports[0] == reports[1]
    assert reports[0]["lineage"] != reports[2]["lineage"] or reports[0]["calls"] != reports[2]["calls"]


@BOTH
def test_no_example_of_dev_or_test_is_seen_by_the_search(search):
    b = breeder(scripted(), **search)
    found = run(b)
    train = {example.id for example in b.train}
    assert all(set(unit.seen) <= train for unit in found.units)
    assert not train & {example.id for example in (*b.dev, *b.test)}


@BOTH
def test_every_unit_is_unlike_all_others_and_knows_its_parent(search):
    found = run(breeder(scripted(), **search))
    paper = search.get("strategy") == "paper"  # there a unit is its prompt and its mutation prompt
    texts = [(unit.prompt.instruction.lower(), unit.genome.mutation_prompt * paper) for unit in found.units]
    assert len(set(texts)) == len(texts)
    assert [unit.id for unit in found.units] == list(range(len(found.units)))
    for unit in found.units[1:]:
        assert unit.parent is not None
        assert unit.parent < unit.id
        assert lineage(unit, found.units)[0].id == 0


@pytest.mark.parametrize("search", [{"strategy": "race", "calls": 60}, {**PAPER, "generations": 2}])
def test_a_failing_writer_leaves_the_population_as_it_is(search):
    def no_writer(request: Request) -> str:
        raise CallError("refused", "not today")

    model = scripted()
    b = breeder(model, Model(ScriptedBackend(no_writer, fingerprint="w"), role="writer", ledger=model.ledger), **search)

    async def go():
        async with b.model, b.writer:
            return await b.run()

    found = run_blocking(go())
    assert [unit.operator for unit in found.units] == ["seed"]
    assert report(b, found)["verdict"].startswith("no improvement")
    assert report(b, found)["failures"]["refused"] > 0


def test_a_rewrite_without_the_hole_keeps_the_field_and_one_with_another_hole_is_refused():
    t = task()
    prompt = Prompt(user="Add: {question}")

    def forgetful(request: Request) -> str:
        if not to_writer(request):
            return "3"
        return "Add them." if request.repeat == 0 else "Add {numbers}."

    model = Model(ScriptedBackend(forgetful))
    b = Breeder(t, model, model, prompt, BreedConfig(strategy="paper", generations=1), load_wording(), Ask(), 0,
                t.train, t.dev, t.test)  # fmt: skip
    found = run(b)
    assert {unit.prompt.user for unit in found.units} == {"Add: {question}", "Add them.\n\nAdd: {question}"}
    assert sum(b.births.rejected.values()) > 0


@pytest.mark.parametrize("search", [{"strategy": "race", "calls": 9000}, {**PAPER, "generations": 30}])
def test_the_budget_keeps_room_for_the_proof(search):
    with pytest.raises(InputError, match=r"too little to breed: .* need ") as caught:
        run(breeder(scripted(ledger=Ledger(Budget(calls=100))), **search))
    calls = int(re.findall(r"need (\d+)", str(caught.value))[0]) + 20
    model = scripted(ledger=Ledger(Budget(calls=calls)))
    found = run(breeder(model, **search))
    assert found.stopped is not None
    assert model.ledger.total.calls <= calls
    assert all(evaluation.answered == 140 for evaluation in found.test.values())


@pytest.mark.parametrize("tokens", [3000, 8000])
@BOTH
def test_a_spent_token_budget_is_kept_and_said_and_nothing_is_claimed_without_proof(tokens: int, search):
    result = pm.breed(task(), scripted(ledger=Ledger(Budget(tokens=tokens))), **search)
    assert result["stopped"]
    assert result["paid"]["tokens"] <= tokens
    unanswered = result["test"]["n"] < 140 or result["dev"]["n"] < 60
    assert result["verdict"].startswith("not proved") == unanswered


def unit(id: int, values: dict[str, float], text: str = "x") -> Unit:
    way = Way(Prompt(text), {key: (value,) for key, value in values.items()})
    return Unit(id, Genome(way.prompt), "first_order", {None: way})


def test_a_tournament_is_decided_on_the_examples_that_both_answered():
    scorer = make_scorer("exact")
    a, b = unit(1, {"1": 1.0, "2": 0.0}), unit(2, {"1": 0.0, "3": 1.0, "4": 1.0})
    assert fitter(a, b, ["1", "2", "3", "4"], scorer) == (a, b)
    assert fitter(b, a, ["1", "2", "3", "4"], scorer) == (a, b)


def test_a_draw_goes_to_the_record_then_to_the_shorter_then_to_the_elder():
    scorer = make_scorer("exact")
    steady, fresh = unit(2, {"1": 1.0, "2": 1.0}), unit(1, {"1": 1.0, "3": 0.0})
    assert fitter(fresh, steady, ["1"], scorer)[0] is steady
    short, long = unit(5, {"1": 1.0}, "x"), unit(4, {"1": 1.0}, "xx")
    assert fitter(long, short, ["1"], scorer)[0] is short
    elder, younger = unit(1, {"1": 1.0}), unit(2, {"1": 1.0})
    assert fitter(younger, elder, ["1"], scorer)[0] is elder


def test_a_prompt_does_not_win_dev_by_the_questions_that_failed():
    """One helpful-looking prompt has most of its calls refused; on what it answers it is always right."""

    def flattering(request: Request) -> str:
        if to_writer(request):
            return "Be lucky."
        if "lucky" in request.messages[0][1].lower():
            if sum(map(int, re.findall(r"\d+", request.messages[-1][1]))) % 10:
                raise CallError("refused", "no")
            return str(sum(map(int, re.findall(r"\d+", request.messages[-1][1]))))
        return adder(request)

    result = pm.breed(task(), Model(ScriptedBackend(flattering)), strategy="paper", generations=1)
    assert result["best_prompt"] == SEED.to_dict()
    assert result["verdict"].startswith("no improvement")


def test_no_answers_at_all_are_no_verdict_on_the_prompt():
    def silent(request: Request) -> str:
        if to_writer(request):
            return adding_words(request)
        raise CallError("local_error", "out of order")

    b = breeder(Model(ScriptedBackend(silent)), generations=1, population=2, batch=2)
    b.train, b.dev, b.test = b.train[:2], b.dev[:2], b.test[:2]
    result = report(b, run(b))
    assert result["verdict"] == "not proved: the seed prompt got no answer on dev"
    assert (result["dev"]["seed"], result["test"]["gain"]) == (None, None)


def test_the_writer_is_in_the_books_and_each_breed_has_its_own():
    model, writer = scripted(), Model(ScriptedBackend(adding_words, fingerprint="writer"), role="writer")
    first = pm.breed(task(), model, writer=writer, calls=200)
    again = pm.breed(task(), model, writer=writer, calls=200)
    assert first["calls"]["writer"] > 0
    assert again["calls"] == first["calls"]


def test_what_a_smaller_budget_spent_on_its_proof_is_gone_from_a_larger_one():
    small = breeder(scripted(ledger=Ledger(Budget(calls=1200))), generations=30)
    before = report(small, run(small))
    assert before["stopped"]
    proof = before["budget"]["proof"]["calls"]
    assert proof == pytest.approx(before["calls"]["task"], abs=900)
    assert sunk(before, Budget(calls=1200)).calls == 0, "the same command again goes the same way"
    assert sunk(before, Budget(calls=3000)).calls == proof
    assert sunk(before | {"stopped": None}, Budget(calls=3000)).calls == 0
    assert sunk(None, Budget()).calls == 0


def test_a_setting_out_of_range_is_one_line():
    with pytest.raises(InputError, match="population: input should be greater than or equal to 2"):
        pm.breed(task(), scripted(), population=1)
