"""Trials, stages that fill shard by shard, calls in lockstep, and the rounds on models that answer by rules."""

from __future__ import annotations

import asyncio
import random

import pytest

from promptmill.crafts.rewrite.bench import Bench
from promptmill.crafts.rewrite.config import PairsConfig, RewriteConfig
from promptmill.crafts.rewrite.judging import Comparer, Texts
from promptmill.crafts.rewrite.known import Known
from promptmill.crafts.rewrite.rounds import Rounds
from promptmill.crafts.rewrite.tables import BASE, InputRow, OutputRow, VariationRow
from promptmill.crafts.rewrite.trials import Material, messages, themselves
from promptmill.crafts.rewrite.values import Values
from promptmill.errors import BudgetSpent, InputError
from promptmill.model.budget import Budget, Ledger
from promptmill.model.cache import CallStore
from promptmill.model.chat import CallError, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.model.load import ModelConfig
from promptmill.model.local import LocalBackend
from promptmill.model.lockstep import Lockstep
from promptmill.model.scripted import ScriptedBackend
from promptmill.model.shards import fill
from promptmill.store.records import row_of, schema_of
from promptmill.store.run import Run
from tests.judging import WORDING
from tests.rewriting import base, panel_of

INPUTS = {"b": (InputRow("b", 0, "one"), InputRow("b", 1, "two"))}
MATERIAL = Material({"b": base("b"), "c": base("c", "Go.", "test", "other")}, INPUTS)


# What the main model is asked


def test_a_prompt_without_input_is_the_users_turn_word_for_word():
    assert messages("Say {it}.", "") == (("user", "Say {it}."),)
    assert messages("Say it.", "", "Be kind.") == (("system", "Be kind."), ("user", "Say it."))


def test_a_single_hole_takes_the_input():
    assert messages("Say {text} twice: {text}", "a") == (("user", "Say a twice: a"),)
    assert messages("Say {text}.", "a {b}", "Be kind.") == (("system", "Be kind."), ("user", "Say a {b}."))


@pytest.mark.parametrize("prompt", ["Say it.", "Say {a} and {b}."])
def test_any_other_prompt_stands_before_the_input(prompt):
    assert messages(prompt, "a") == (("system", prompt), ("user", "a"))
    assert messages(prompt, "a", "Be kind.") == (("system", "Be kind."), ("user", f"{prompt}\n\na"))


def test_trials_are_every_input_and_sample_of_what_has_a_text():
    variations = [*themselves(MATERIAL.bases.values()), VariationRow("b", 4, "x", 0, None, "refused: no")]
    keys = [(one.key.base_id, one.key.variation_id, one.key.input_id, one.key.sample_id, one.input)
            for one in MATERIAL.trials(variations, 2)]  # fmt: skip
    assert keys == [("b", BASE, 0, 0, "one"), ("b", BASE, 0, 1, "one"), ("b", BASE, 1, 0, "two"),
                    ("b", BASE, 1, 1, "two"), ("c", BASE, 0, 0, ""), ("c", BASE, 0, 1, "")]  # fmt: skip
    assert [one.base_id for one in MATERIAL.of(splits=["test"])] == ["c"]
    assert MATERIAL.of(splits=["train", "test"], domains=["words"]) == [MATERIAL.bases["b"]]


# Outputs read back


def test_outputs_are_found_by_base_variation_and_place_over_several_stages(tmp_path):
    texts = Texts()
    with Run(tmp_path / "run", "rewrite", {}) as run:
        for number in range(2):
            stage = run.stage(f"outputs-{number}", schema_of(OutputRow))
            for shard in range(30):
                rows = [OutputRow(f"b{shard}", number, at, 0, f"{number} {shard} {at}", "stop") for at in range(2)]
                failed = OutputRow(f"b{shard}", 9, 0, 0, None, None, "refused: no")
                stage.write(shard, [row_of(one) for one in [*rows, failed]])
            texts.add(stage)
    for shard in random.Random(0).sample(range(30), 30):
        assert texts.of(f"b{shard}", 1) == {(0, 0): f"1 {shard} 0", (1, 0): f"1 {shard} 1"}
        assert texts.variations(f"b{shard}") == {0, 1}
    assert texts.of("b0", 9) == {} == texts.of("nobody", 0)


async def test_a_comparison_is_the_mean_over_inputs_and_a_flip_is_a_tie(tmp_path):
    rows = [OutputRow("b", BASE, 0, 0, "same", "stop"), OutputRow("b", BASE, 1, 0, "no", "stop"),
            OutputRow("b", 0, 0, 0, "same", "stop"), OutputRow("b", 0, 1, 0, "yes", "stop"),
            OutputRow("b", 1, 0, 0, "same", "stop"), OutputRow("c", BASE, 0, 0, "hm", "stop")]  # fmt: skip
    texts = Texts()
    with Run(tmp_path / "run", "rewrite", {}) as run:
        stage = run.stage("outputs", schema_of(OutputRow))
        stage.write(0, [row_of(one) for one in rows])
        texts.add(stage)
    always_first = panel_of("a", "b", a={"A": 0.9, "B": 0.1}, b={"A": 0.8, "B": 0.2})
    async with always_first:
        compare = Comparer(always_first, MATERIAL, texts, 2)
        assert await compare(MATERIAL.bases["b"], 0, BASE) == 0.5, "the place decided"
        assert await compare(MATERIAL.bases["b"], 1, BASE) == 0.5, "their answers are alike"
        assert await compare(MATERIAL.bases["b"], 0, 7) is None, "nothing was answered by both"
    unreadable = panel_of("a", a={"hm": 1.0})
    async with unreadable:
        assert await Comparer(unreadable, MATERIAL, texts, 2)(MATERIAL.bases["b"], 0, BASE) is None


# Shards


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run", "rewrite", {}) as run:
        yield run


def rows_of(texts):
    return [row_of(VariationRow("b", at, "x", 0, text)) for at, text in enumerate(texts)]


async def test_what_is_there_is_not_made_again_and_nothing_at_all_is_a_table_too(run):
    stage, made = run.stage("s", schema_of(VariationRow)), []

    async def make(part):
        made.append(list(part))
        return rows_of(part)

    await fill(stage, "abcde", make, rows=2)
    stage.path(1).unlink()
    await fill(stage, "abcde", make, rows=2)
    assert made == [["a", "b"], ["c", "d"], ["e"], ["c", "d"]]
    assert [row["text"] for row in stage.rows()] == list("abcde")
    empty = await fill(run.stage("none", schema_of(VariationRow)), "", make)
    assert (len(empty.shards()), list(empty.rows())) == (1, [])


async def test_a_shard_that_fails_is_not_there(run):
    stage = run.stage("s", schema_of(VariationRow))

    async def make(part):
        if "c" in part:
            raise BudgetSpent("spent")
        return rows_of(part)

    with pytest.raises(BudgetSpent):
        await fill(stage, "abcd", make, rows=2)
    assert [path.name for path in stage.folder.iterdir()] == ["part-00000.parquet"]


async def test_calls_of_a_local_model_go_into_the_record_once_and_count_for_the_budget(run, tiny_folder):
    store = CallStore(run.calls_path, run.id, shared=False)
    ledger = Ledger(Budget(calls=10))
    model = Model(LocalBackend(str(tiny_folder), device="cpu"), store=store, ledger=ledger)

    async def make(part):
        asked = [model.ask(Request((("user", text),), Sampling(max_tokens=2))) for text in part]
        return rows_of([came.text for came in await together(asked)])

    async with model:
        stage = await fill(run.stage("s", schema_of(VariationRow)), ["a b", "b c", "c a"], make, models=[model], rows=2)
        before = stage.path(0).read_bytes()
        assert model.store is store
        assert (store.paid()[0], store.by_role()["task"][0], ledger.paid.calls) == (3, 3, 3)
        stage.path(0).unlink()
        await fill(stage, ["a b", "b c", "c a"], make, models=[model], rows=2)
        assert stage.path(0).read_bytes() == before
        assert store.paid()[0] == 3
        with pytest.raises(BudgetSpent):
            await fill(run.stage("t", schema_of(VariationRow)), ["d", "e", "f", "g", "h", "i"], make, models=[model])
        assert ledger.paid.calls == 10
    store.close()


# Lockstep


class Slow(ScriptedBackend):
    """Answers late, and notes which calls stood together."""

    def __init__(self, name):
        super().__init__(lambda request: "", name=name, fingerprint=name)
        self.waves, self.running = [], 0

    async def complete(self, request):
        if not self.running:
            self.waves.append([])
        self.running += 1
        self.waves[-1].append(request.messages[0][1])
        await asyncio.sleep(random.uniform(0, 0.01))
        self.running -= 1
        if "fails" in request.messages[0][1]:
            raise CallError("refused", "no")
        return await super().complete(request)


async def chain(front, name, length, pauses):
    for at in range(length):
        for _ in range(pauses):
            await asyncio.sleep(0)
        await front.complete(Request((("user", f"{name}{at}"),)))


@pytest.mark.parametrize("seed", range(3))
async def test_what_goes_out_together_does_not_depend_on_who_comes_first(seed):
    rng, slow, other = random.Random(seed), Slow("slow"), Slow("other")
    async with Lockstep() as lockstep:
        fronts = lockstep.front(slow), lockstep.front(other)
        chains = [chain(fronts[at % 2], "abcdef"[at], 1 + at // 2, rng.randrange(12)) for at in range(6)]
        rng.shuffle(chains)
        await together(chains)
    assert slow.waves == [["a0", "c0", "e0"], ["c1", "e1"], ["e2"]]
    assert other.waves == [["b0", "d0", "f0"], ["d1", "f1"], ["f2"]]


async def test_a_call_that_fails_in_lockstep_fails_alone_and_one_that_is_given_up_stops_nobody():
    slow = Slow("slow")
    async with Lockstep() as lockstep:
        front = lockstep.front(slow)
        gone = asyncio.create_task(chain(front, "gone", 1, 0))
        await asyncio.sleep(0)
        gone.cancel()
        failed, fine = await asyncio.gather(chain(front, "fails", 1, 0), chain(front, "b", 2, 0),
                                            return_exceptions=True)  # fmt: skip
    assert isinstance(failed, CallError)
    assert fine is None
    assert slow.waves == [["b0", "fails0"], ["b1"]]


async def test_when_the_lockstep_ends_nobody_waits_for_ever():
    slow = Slow("slow")
    async with Lockstep() as lockstep:
        waiting = asyncio.create_task(chain(lockstep.front(slow), "a", 1, 0))
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await waiting


# A round


def bench_of(run, panel, **settings):
    def main(request):
        return f"an answer to {request.messages[-1][1]}"

    def rewriter(request):
        return ["Say it well.", "Say it.", ""][request.repeat % 3]

    model = Model(ScriptedBackend(rewriter, fingerprint="rewriter"), attempts=1)
    config = RewriteConfig(rewrites=3, pairs=PairsConfig(z=0, margin=0, **settings))
    return Bench(run, Model(ScriptedBackend(main, fingerprint="main")), panel, "panel", WORDING, "", config,
                 ModelConfig(), lambda kind, role: model)  # fmt: skip


async def test_a_round_whose_judges_say_the_same_of_all_has_nothing_to_teach(run):
    panel = panel_of("a", "b", "c")
    variations = run.stage("variations", schema_of(VariationRow))
    variations.write(0, [row_of(VariationRow("b", 0, "first_order", 0, "Say it loudly."))])
    rounds = Rounds(bench_of(run, panel), MATERIAL, variations, Known(Values(panel)))
    async with rounds.bench.main, panel:
        tried = await rounds.answer(1)
        assert [(one.variation_id, one.origin) for one in tried[0].variations] == [(BASE, "base"), (0, "first_order")]
        assert [(one.variation_id, one.text) for one in tried[1].variations] == [(1000, "Say it well."), (1002, None)]
        assert await rounds.pairs(1) == []
        with pytest.raises(InputError, match=r"round 1: no pair of prompts was believed.*pairs\.margin"):
            await rounds.train(1)
    assert rounds.known.values.of("b") == {one: pytest.approx(1.0) for one in (BASE, 0, 1000)}
