"""The search by challenge: who wins a race, what it costs to lose one, and what the bandit learns."""

from __future__ import annotations

import random

from benchmarks.landscape.ours import search
from benchmarks.landscape.world import Landscape
from promptmill.crafts.breed import duel
from promptmill.crafts.breed import race as racing
from promptmill.crafts.breed.bandit import PRIORS, Bandit
from promptmill.crafts.breed.config import BreedConfig
from promptmill.crafts.breed.duel import better
from promptmill.crafts.breed.race import Race
from promptmill.crafts.breed.unit import Unit, Way
from promptmill.model.chat import CallError, Request
from promptmill.model.gate import Model, run_blocking
from promptmill.model.scripted import ScriptedBackend
from promptmill.prompt import Prompt
from promptmill.vary.scene import Genome
from tests.test_breed import adder, breeder, run, scripted, to_writer


def model_of(right_by: dict[str, int]) -> Model:
    """Under each instruction so many of ten examples are right: those whose first number ends below it."""

    def answer(request: Request) -> str:
        numbers = [int(part) for part in request.messages[-1][1].split() if part.isdigit()]
        return str(sum(numbers)) if numbers[0] % 10 < right_by[request.messages[0][1]] else "none"

    return Model(ScriptedBackend(answer))


def unit_of(text: str, id: int, **more) -> Unit:
    prompt = Prompt(text, "{question}")
    return Unit(id, Genome(prompt), "x", {None: Way(prompt)}, **more)


def raced(right_by: dict[str, int], challenger: str, size: int = 20) -> tuple[float, Race, Unit]:
    """(probability, race, child) of a challenge to the prompt "Old."."""
    b = breeder(model_of(right_by), strategy="race", sample=size)
    old, child = unit_of("Old.", 0), unit_of(challenger, 1)
    b.units = [old, child]
    race = Race(b, Bandit.start(b.config), old, won=[old])

    async def go() -> float:
        async with b.model:
            await racing._know(race, size)
            return await better(b, old, child, race.sample)

    return run_blocking(go()), race, child


def test_a_better_challenger_wins_and_a_worse_one_loses():
    assert raced({"Old.": 3, "New.": 8}, "New.")[0] > 0.95
    assert raced({"Old.": 8, "New.": 3}, "New.")[0] < 0.2


def test_an_incumbent_that_gets_nothing_right_can_be_beaten():
    assert raced({"Old.": 0, "New.": 10}, "New.")[0] > 0.95


def test_a_challenger_does_not_win_by_the_questions_that_failed():
    def picky(request: Request) -> str:
        numbers = [int(part) for part in request.messages[-1][1].split()[::2]]
        if request.messages[0][1] == "New." and numbers[0] % 5:
            raise CallError("refused", "no")
        return str(sum(numbers)) if request.messages[0][1] == "New." or numbers[0] % 2 else "none"

    b = breeder(Model(ScriptedBackend(picky)), strategy="race", sample=20)
    old, new = unit_of("Old.", 0), unit_of("New.", 1)
    race = Race(b, Bandit.start(b.config), old, won=[old])

    async def go() -> float:
        async with b.model:
            await racing._know(race, 20)
            return await better(b, old, new, race.sample)

    assert run_blocking(go()) == 0


def test_a_search_whose_writer_is_refused_ends():
    def no_writer(request: Request) -> str:
        if to_writer(request):
            raise CallError("refused", "not today")
        return adder(request)

    b = breeder(Model(ScriptedBackend(no_writer)), strategy="race", calls=500)
    b.train = b.train[:20]
    found = run(b)
    assert b.ended == f"nothing new in {racing.IDLE} rounds: the writer repeats itself, or no call is answered"
    assert len(found.units) == 1


def test_the_target_is_reached_where_some_examples_never_get_an_answer():
    def nearly(request: Request) -> str:
        if request.messages[-1][1].startswith("3 and"):
            raise CallError("refused", "no")
        return str(sum(int(part) for part in request.messages[-1][1].split()[::2]))

    b = breeder(Model(ScriptedBackend(nearly)), strategy="race", calls=500)
    b.train = b.train[:20]
    run(b)
    assert b.ended is not None
    assert b.ended.startswith("target")


def test_a_challenger_that_mends_nothing_is_gone_after_the_gate():
    probability, _, child = raced({"Old.": 5, "New.": 5}, "New.", size=40)
    assert probability == 0
    assert len(child.seen) <= duel.GATE


def test_a_new_incumbent_is_known_by_examples_that_did_not_elect_it():
    probability, race, child = raced({"Old.": 3, "New.": 8}, "New.")
    assert probability > 0.95

    async def go() -> bool:
        async with race.breeder.model:
            return await racing._challenge(race, child)

    assert run_blocking(go())
    assert race.incumbent is child
    assert child.chosen_on
    assert not set(race.sample) & child.chosen_on
    assert len(race.sample) == race.breeder.config.sample


def test_the_search_ends_where_there_is_nothing_left_to_gain():
    b = breeder(scripted(), strategy="race", calls=5000)
    found = run(b)
    assert b.ended is not None
    assert b.ended.startswith("target: 1.000")
    assert found.stopped is None
    assert b.model.ledger.total.calls < 4000


def test_the_search_ends_at_a_plateau_when_asked_to():
    def of_one_idea(request: Request) -> str:
        return "Say nothing new." if to_writer(request) else adder(request)

    b = breeder(Model(ScriptedBackend(of_one_idea)), strategy="race", calls=5000, plateau=8)
    run(b)
    assert b.ended is not None
    assert b.ended.startswith("plateau: ")


def test_the_bandit_comes_to_prefer_what_pays():
    bandit, rng = Bandit.start(BreedConfig()), random.Random(0)
    for _ in range(200):
        name = bandit.draw(rng, {"merge"})
        assert name != "merge"
        bandit.note(name, name == "lineage")
    late = [bandit.draw(rng) for _ in range(200)]
    assert late.count("lineage") > 150
    even = Bandit.start(BreedConfig(operators="uniform"))
    drawn = {even.draw(rng) for _ in range(300)}
    assert drawn == set(PRIORS)
    assert bandit.table()["lineage"]["credit"] > 0.8


def test_on_known_ground_the_race_comes_far_with_a_thousand_calls_and_never_sees_the_truth():
    landscape = Landscape(21)
    found = search(landscape, 1000)
    assert found["quality"] > 0.5  # from 0.30
    assert found["task_calls"] <= 1200
    assert search(landscape, 1000) == found
