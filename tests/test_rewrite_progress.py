"""A later round is kept only where it has made the rewriter better on dev prompts."""

from __future__ import annotations

from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.rewrite.bench import Bench
from promptmill.crafts.rewrite.config import PairsConfig, RewriteConfig
from promptmill.crafts.rewrite.known import Known
from promptmill.crafts.rewrite.progress import Worth, progress
from promptmill.crafts.rewrite.rounds import Rounds
from promptmill.crafts.rewrite.tables import VariationRow
from promptmill.crafts.rewrite.trials import Material
from promptmill.crafts.rewrite.values import Values
from promptmill.errors import InputError
from promptmill.judge.judge import Judge
from promptmill.judge.panel import Panel
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig
from promptmill.model.scripted import ScriptedBackend
from promptmill.store.records import schema_of
from promptmill.store.run import Run
from promptmill.train.answers import Taught
from promptmill.train.course import Outcome
from tests.judging import RUBRIC, WORDING, Weighted
from tests.rewriting import base

values = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12)


@given(values)
def test_of_prompts_that_stand_alone_the_error_is_that_of_their_differences(pairs):
    before, after = ({str(at): pair[side] for at, pair in enumerate(pairs)} for side in (0, 1))
    found = progress(Worth(before, 0.0), Worth(after, 0.0), {one: one for one in before})
    assert found is not None
    differences = [b - a for a, b in pairs]
    assert found.margin.mean == pytest.approx(fmean(differences))
    assert found.margin.se == pytest.approx(stdev(differences) / len(pairs) ** 0.5)
    assert (found.before, found.after) == (pytest.approx(fmean(before.values())), pytest.approx(fmean(after.values())))


@given(values, st.integers(2, 4))
def test_the_same_said_more_often_is_no_more_certain(pairs, copies):
    one = [{str(at): pair[side] for at, pair in enumerate(pairs)} for side in (0, 1)]
    many = [{f"{key} {at}": value for key, value in side.items() for at in range(copies)} for side in one]
    lonely = progress(*(Worth(side, 0.0) for side in one), {key: key for key in one[0]})
    crowded = progress(*(Worth(side, 0.0) for side in many), {key: key.split()[0] for key in many[0]})
    assert lonely is not None
    assert crowded is not None
    assert crowded.margin.se == pytest.approx(lonely.margin.se)


def test_one_cluster_says_nothing_and_what_only_one_of_both_answered_does_not_count():
    found = progress(Worth({"a": 0.1, "b": 0.2}, 0.0), Worth({"a": 0.9, "b": 0.9}, 0.0), {"a": "x", "b": "x"})
    assert found is not None
    assert not found.earned(1.0)
    assert found.earned(0.0)
    assert progress(Worth({"a": 0.1}, 0.0), Worth({"b": 0.2}, 0.0), {"a": "a", "b": "b"}) is None


def test_what_breaks_more_rules_is_not_better_whatever_it_gains():
    before, after = {"a": 0.1, "b": 0.2}, {"a": 0.8, "b": 0.9}
    told = [progress(Worth(before, 0.25), Worth(after, broken), {"a": "a", "b": "b"}) for broken in (0.0, 0.25, 0.5)]
    assert [one is not None and one.earned(0.0) for one in told] == [True, True, False]


# Rounds whose rewriters say what the test wants

MATERIAL = Material({name: base(name, f"Say {name}.", split) for name, split in
                     {"t": "train", "d": "dev", "e": "dev", "f": "dev"}.items()}, {})  # fmt: skip


class Taken:
    """Stands for a learner: the adapter is a folder's name."""

    def __init__(self, folder, adapters, best_step=1):
        self.folder, self.adapters, self.best_step = folder, adapters, best_step

    def learn(self, lesson):
        adapters = (*self.adapters, self.folder / "adapter")
        outcome = Outcome(adapters[-1], "epochs", 1, 1.0, 0.7, 0.7, self.best_step, ())
        return Taught(outcome, adapters, {"left_out": 0, "kl_old": None})


class Told(Rounds):
    best_step = 1

    def _learner(self, number):
        return Taken(self.bench.run.folder / f"round-{number}", self.adapters, self.best_step)


def rounds_of(run, answers, **settings):
    """answers: of the rewriter with so many adapters, to whatever prompt it is asked to improve."""

    def judged(text):
        return next(({str(level): 1.0} for level, word in ((5, "best"), (3, "good")) if word in text), {"1": 1.0})

    def opened(kind, role):
        said = answers[len(kind.adapters)]
        return Model(ScriptedBackend(lambda request: said, fingerprint=f"rewriter {said}"), attempts=1)

    judge = Judge("it", Model(Weighted(judged, "it"), attempts=1), RUBRIC, WORDING, criteria=("correctness",))
    panel = Panel([judge], {"it": 1.0})
    main = Model(ScriptedBackend(lambda request: f"an answer: {request.messages[-1][1]}", fingerprint="main"))
    config = RewriteConfig(rewrites=1, pairs=PairsConfig(z=0, margin=0, orders=False), **settings)
    bench = Bench(run, main, panel, "panel", WORDING, "", config, ModelConfig(), opened)
    variations = run.stage("variations", schema_of(VariationRow))
    variations.write(0, [])
    return Told(bench, MATERIAL, variations, Known(Values(panel)))


async def trained(rounds, count=2):
    async with rounds.bench.main, rounds.bench.panel:
        for number in range(1, count + 1):
            await rounds.train(number)


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run", "rewrite", {}) as run:
        yield run


async def test_a_round_that_makes_the_rewriter_worse_is_not_kept_and_ends_the_rounds(run):
    rounds = rounds_of(run, ["Say it good.", "Say it best.", "Say it good."])
    await trained(rounds)
    assert [one.kept for one in rounds.done] == [True, False]
    assert (rounds.best, rounds.ended) == (1, True)
    assert rounds.adapters == (run.folder / "round-1" / "adapter",)
    assert rounds.done[1].report["dev"] == pytest.approx({"before": 1.0, "after": 0.5, "se": 0.0, "broken": 0.0})
    with pytest.raises(InputError, match=r"there is no round 3: round 2 did not make .* rewrite\.keep=last"):
        await rounds.pairs(3)


async def test_a_first_round_that_has_learned_nothing_leaves_the_rewriter_as_it_was(run):
    rounds = rounds_of(run, ["Say it good.", "Say it good.", "Say it best."])
    rounds.best_step = 0
    await trained(rounds, 1)
    assert (rounds.best, rounds.ended, rounds.adapters) == (0, True, ())
    assert (rounds.done[0].report["kept"], rounds.done[0].report["dev"]) == (False, None)
    with pytest.raises(InputError, match="there is no round 2"):
        await rounds.pairs(2)


async def test_a_round_that_makes_it_better_is_kept(run):
    rounds = rounds_of(run, ["Say it good.", "Say it good.", "Say it best."])
    await trained(rounds)
    assert (rounds.best, rounds.ended, len(rounds.adapters)) == (2, False, 2)
    assert rounds.done[1].report["dev"] == pytest.approx({"before": 0.5, "after": 1.0, "se": 0.0, "broken": 0.0})


async def test_what_breaks_a_rule_is_worth_no_more_than_the_prompt_itself(run):
    rounds = rounds_of(run, ["Say it good.", "Say it good.", "Say it best at https://example.org"])
    await trained(rounds)
    assert rounds.done[1].report["dev"] == pytest.approx(
        {"before": 0.5, "after": 0.0, "se": 0.0, "broken": 1.0}, abs=1e-9
    )
    assert not rounds.done[1].kept


@pytest.mark.parametrize("settings", [{"keep": "last"}, {"stream": True}])
async def test_every_round_is_kept_where_that_is_wanted(run, settings):
    rounds = rounds_of(run, ["Say it good.", "Say it best.", "Say it good."], **settings)
    await trained(rounds)
    assert (rounds.best, rounds.done[1].report["dev"]) == (2, None)
