"""What a breed may vary beside the instruction: chains, a second task prompt, length, whose children are tried."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

import promptmill as pm
from promptmill.crafts.breed.breeder import Breeder
from promptmill.crafts.breed.config import BreedConfig
from promptmill.crafts.breed.duel import better
from promptmill.crafts.breed.events import Born, Ended, Event, Progress, Raced, Round
from promptmill.crafts.breed.forecast import most_calls, proof_calls, proposals_bought
from promptmill.crafts.breed.proof import choose
from promptmill.crafts.breed.race import pareto_front
from promptmill.crafts.breed.report import report
from promptmill.crafts.breed.unit import Unit, Way
from promptmill.errors import InputError
from promptmill.measure.answer import Ask
from promptmill.measure.evaluate import Evaluation
from promptmill.model.chat import Request
from promptmill.model.gate import Model, run_blocking
from promptmill.model.scripted import ScriptedBackend
from promptmill.prompt import Prompt
from promptmill.score.scorer import make_scorer
from promptmill.tasks.task import Example, Task
from promptmill.vary.scene import Genome
from promptmill.vary.wording import load_wording
from tests.test_breed import SEED, adder, adding_words, breeder, run, scripted, task, to_writer

OPENER = load_wording().opener


def reasoner(request: Request) -> str:
    """Right on a quarter of the questions, and on all where the answer is begun with a chain of thought."""
    if to_writer(request):
        return adding_words(request)
    numbers = [int(number) for number in re.findall(r"\d+", request.messages[-1][1])]
    return str(sum(numbers)) if request.prefix == OPENER or sum(numbers) % 4 == 0 else "-1"


def test_a_chain_that_serves_better_is_found_and_kept():
    result = pm.breed(task(), Model(ScriptedBackend(reasoner)), chain="both", calls=200)
    assert result["best_prompt"]["prefix"] == OPENER
    assert result["lineage"][-1]["chain"] is True
    assert result["seed_prompt"] == SEED.to_dict(), "the gain is held against the prompt as it was given"
    assert result["test"]["seed"] < 0.5 < result["test"]["best"]


def test_without_a_chain_no_prompt_of_the_search_has_the_opener_and_the_seed_is_proved_as_given():
    opened = replace(SEED, prefix=OPENER)
    result = pm.breed(task(), Model(ScriptedBackend(reasoner)), prompt=opened, chain="without", calls=100)
    assert result["best_prompt"] == opened.to_dict()
    assert {row["chain"] for row in result["lineage"]} == {None}
    assert result["test"]["seed"] == 1.0
    assert all(point["fitness"] < 1.0 for point in result["tried"]["points"] if point["id"])


def test_both_ways_cost_twice_the_calls_of_one():
    one, two = breeder(scripted(), calls=100), breeder(scripted(), calls=100, chain="both")
    run(one)
    run(two)
    assert len(two.units[0].ways[False].seen) == len(two.units[0].ways[True].seen)
    fewer, more = (proposals_bought(breeder(scripted(), strategy="race", chain=way)) for way in ("both", "as_is"))
    assert fewer < more


def test_a_choice_after_a_chain_is_asked_for_in_a_turn_of_its_own():
    examples = tuple(
        Example(str(i), {"question": f"Is {i} even?"}, ("yes" if i % 2 == 0 else "no",)) for i in range(60)
    )
    t = Task("even", "even or not", Prompt("Say.", "{question}"), make_scorer("exact"), ("yes", "no"),
             examples[:30], examples[30:45], examples[45:])  # fmt: skip

    def judge(request: Request) -> str:
        if to_writer(request):
            return adding_words(request)
        number = int(re.findall(r"\d+", request.messages[1][1])[0])
        if request.constraint is None:
            return " the number ends in an odd digit." if number % 2 else " the number ends in an even digit."
        if len(request.messages) == 2:
            return "yes"
        return "no" if "odd" in request.messages[2][1] else "yes"

    model = Model(ScriptedBackend(judge))
    b = Breeder(t, model, model, t.prompt, BreedConfig(calls=200, chain="both"), load_wording(), Ask(constrain=True), 0,
                t.train, t.dev, t.test)  # fmt: skip
    run(b)
    best = b.rank()[0]
    assert best.chain is True
    assert best.prompt.then == load_wording().decide
    assert best.fair_fitness(t.scorer) == 1.0


def test_with_two_task_prompts_each_is_bred_and_the_second_answer_counts():
    def two_turns(request: Request) -> str:
        if to_writer(request):
            return adding_words(request)
        if len(request.messages) == 2:
            return request.messages[1][1]
        helped = sum("step by step" in request.messages[at][1].lower() for at in (0, 3))
        numbers = [int(number) for number in re.findall(r"\d+", request.messages[2][1])]
        return str(sum(numbers)) if sum(numbers) % 3 < 1 + helped else "-1"

    b = breeder(Model(ScriptedBackend(two_turns)), strategy="race", prompts=2, calls=4000)
    run(b)
    best = b.rank()[0].prompt
    assert "step by step" in best.system.lower()
    assert "step by step" in best.then.lower()


def test_of_two_prompts_that_score_alike_the_shorter_wins_where_length_counts():
    long = "Add the numbers. " + "Please do take all the time that you may need for it. " * 20

    def brief(request: Request) -> str:
        return "Add the numbers." if to_writer(request) else adder(request)

    kept = pm.breed(task(), Model(ScriptedBackend(brief)), prompt=Prompt(long, "{question}"), calls=200)
    cut = pm.breed(
        task(), Model(ScriptedBackend(brief)), prompt=Prompt(long, "{question}"), calls=200, length_weight=0.1
    )
    assert kept["best_prompt"]["system"] == long
    assert cut["best_prompt"]["system"] == "Add the numbers."
    assert cut["dev"]["best"] >= cut["dev"]["seed"]


def known(id: int, right: str, wrong: str) -> Unit:
    seen = dict.fromkeys(right, (1.0,)) | dict.fromkeys(wrong, (0.0,))
    return Unit(id, Genome(Prompt(str(id))), "x", {None: Way(Prompt(str(id)), seen)})


def test_the_pareto_front_holds_who_is_best_somewhere_and_counts_where():
    a, b, worse = known(1, "abc", "de"), known(2, "de", "abc"), known(3, "a", "bcde")
    assert {unit.id: count for unit, count in pareto_front([a, b, worse]).items()} == {1: 3, 2: 2, 3: 1}
    nobody = known(4, "", "ab")
    assert pareto_front([nobody]) == {nobody: 1}


def test_children_of_the_pareto_front_find_a_better_prompt_too():
    result = pm.breed(task(), scripted(), parents="pareto", calls=900)
    assert result["verdict"].startswith("improved")


def test_the_calls_of_the_search_are_never_passed_and_do_not_depend_on_what_is_cached():
    for search in ("race", "paper"):
        b = breeder(scripted(), strategy=search, calls=150)
        found = run(b)
        assert b.asked <= 150
        assert b.model.ledger.total.calls <= 150 + proof_calls(b)
        assert most_calls(b) == 150 + proof_calls(b)
        again = breeder(Model(b.model.backend, store=b.model.store), strategy=search, calls=150)
        assert [unit.prompt for unit in run(again).units] == [unit.prompt for unit in found.units]
        assert again.asked == b.asked


def test_events_tell_of_every_child_race_and_round():
    events: list[Event] = []
    result = pm.breed(task(), scripted(), calls=300, on=[events.append])
    kinds = {kind: [event for event in events if isinstance(event, kind)] for kind in (Born, Raced, Round, Ended)}
    assert [event.id for event in kinds[Born]] == list(range(1, result["tried"]["units"]))
    assert {event.challenger for event in kinds[Raced]} <= {event.id for event in kinds[Born]}
    assert [event.row["round"] for event in kinds[Round]][:2] == [0, 1]
    assert len(kinds[Ended]) == 1
    last = [event for event in events if isinstance(event, Progress) and event.phase == "test"][-1]
    assert last.done == last.total == 280


@pytest.mark.parametrize("search", ["race", "paper"])
def test_a_reason_to_halt_ends_the_search_and_the_proof_follows(search: str):
    b = breeder(scripted(), strategy=search)
    b.halt = lambda: "enough" if b.history else None
    found = run(b)
    assert b.ended == "enough"
    assert found.test[0].answered == 140


def test_an_interruption_leaves_the_best_so_far_unproved():
    b = breeder(scripted(), strategy="race", calls=2000)

    async def go():
        async with b.model:
            work = asyncio.ensure_future(b.run())
            b.on = [lambda event: work.cancel() if isinstance(event, Round) and len(b.history) == 2 else None]
            return await work

    found = run_blocking(go())
    assert found.stopped == "stopped by hand"
    assert found.best is b.rank()[0]
    told = report(b, found)
    assert told["verdict"].startswith("not proved: stopped by hand")
    assert told["best_prompt"]["system"] == found.best.prompt.system


def test_graded_scores_race_in_blocks_and_end_where_there_is_no_hope():
    lines = [f"say the words {i} of this long line" for i in range(120)]
    examples = tuple(Example(str(i), {"question": line}, (line,)) for i, line in enumerate(lines))
    t = Task("echo", "say it again", Prompt("Say.", "{question}"), make_scorer("token_f1"), None,
             examples[:60], examples[60:90], examples[90:])  # fmt: skip

    def echo(request: Request) -> str:
        if to_writer(request):
            return adding_words(request)
        words = request.messages[-1][1].split()
        return " ".join(words[: 3 + ("step by step" in request.messages[0][1].lower()) * 3])

    model = Model(ScriptedBackend(echo))
    b = Breeder(t, model, model, t.prompt, BreedConfig(calls=400), load_wording(), Ask(), 0, t.train, t.dev, t.test)
    run(b)
    assert "step by step" in b.rank()[0].prompt.system.lower()
    losers = [unit for unit in b.units[1:] if unit.better is False]
    assert losers
    assert all(len(unit.seen) <= 12 for unit in losers)


def test_a_child_is_judged_in_one_way_only_and_not_by_a_mixture_of_two():
    """With a chain it mends three failures and ruins all else; without one it is as the incumbent is."""
    b = breeder(Model(ScriptedBackend(lambda request: "0")), strategy="race", chain="both")
    keys = [example.id for example in b.train[:12]]
    wrong, right = keys[:3], keys[3:]
    same = dict.fromkeys(wrong, (0.0,)) | dict.fromkeys(right, (1.0,))
    other = dict.fromkeys(wrong, (1.0,)) | dict.fromkeys(right, (0.0,))
    old, new = b.units[0], b.births._unit(1, Genome(Prompt("New.", "{question}")), "x")
    for unit, chained in ((old, same), (new, other)):
        unit.ways[False].seen, unit.ways[True].seen = dict(same), dict(chained)
        unit.settle(b.task.scorer)
    new.chain = True  # as after the failures alone

    async def go() -> float:
        async with b.model:
            return await better(b, old, new, keys)

    assert run_blocking(go()) < 0.65


def half_right(request: Request) -> str:
    """Right on half of the questions whatever it is told, so that no search ends early."""
    plain = replace(request, messages=(("system", ""), request.messages[-1]))
    return adding_words(request) if to_writer(request) else adder(plain)


def test_no_unit_is_judged_by_its_own_demos():
    for search in ({"strategy": "race", "operators": "in_turn"}, {"strategy": "paper"}):
        b = breeder(Model(ScriptedBackend(half_right)), **search, demos=2, calls=900)
        run(b)
        shown = [unit for unit in b.units if unit.prompt.demos]
        assert shown
        assert all(not set(unit.used) & set(unit.seen) for unit in shown)
        assert all(len(unit.used) == len(unit.prompt.demos) for unit in shown)


def test_the_first_units_of_the_papers_loop_have_mutation_prompts_of_their_own():
    b = breeder(scripted(), population=12, generations=1)
    run(b)
    first = [unit.genome.mutation_prompt for unit in b.units if unit.born == 0]
    assert len(set(first)) > len(first) / 2


def test_a_lucky_finalist_within_noise_does_not_go_before_the_one_the_search_believes_in():
    b = breeder(scripted())
    b.units = [known(at, "", "") for at in range(3)]

    def on_dev(right: int, last: bool = False):
        stats = {example.id: (float((59 - at if last else at) < right),) for at, example in enumerate(b.dev)}
        return Evaluation(60, 60, 60, 0, {}, right / 60, 0.0, 1.0, stats)

    assert choose(b, {0: on_dev(30), 1: on_dev(44), 2: on_dev(45, last=True)}).id == 1
    assert choose(b, {0: on_dev(30), 1: on_dev(34), 2: on_dev(55)}).id == 2
    assert choose(b, {0: on_dev(30), 1: on_dev(30), 2: on_dev(29)}).id == 0


def test_a_search_that_cannot_even_know_the_seed_prompt_is_refused_before_any_call():
    b = breeder(scripted(), strategy="race", calls=20, sample=24)
    with pytest.raises(InputError, match=r"--search-calls 20 is too little: .* takes 26; raise it"):
        run(b)
    assert b.model.ledger.total.calls == 0
