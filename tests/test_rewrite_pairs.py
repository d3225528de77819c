"""Which pairs of prompts come of which values."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from promptmill.crafts.rewrite.config import PairsConfig
from promptmill.crafts.rewrite.pairs import Candidates, confirmed, pairs_of, replayed, shuffled
from promptmill.crafts.rewrite.tables import BASE, PairRow
from tests.rewriting import base, panel_of, values_of

PANEL = panel_of("a", "b")
TEXTS = {BASE: "Say it.", 0: "Say it well.", 1: "Say it badly.", 2: "Say what?"}


def pairs(broken=(), texts=TEXTS, settings=None, **values):
    """Of prompts that the judges agree on: p0=0.9 is what prompt 0 is worth, base that of the base prompt."""
    places = {BASE if name == "base" else int(name[1:]): value for name, value in values.items()}
    scores = {one: [{"a": value, "b": value}] * 3 for one, value in places.items()}
    found = pairs_of(Candidates(base(), texts), values_of(PANEL, scores), {("b", one): "lost" for one in broken},
                     settings or PairsConfig(), 1)  # fmt: skip
    return found


def kinds(found):
    return [(one.row.kind, one.better, one.worse) for one in found]


def row(number: int, domain: str = "words", chosen: str = "good") -> PairRow:
    return PairRow(f"b{number}", 1, domain, "best_base", f"prompt {number}", f"{chosen} {number}", f"bad {number}",
                   0.5, 0.1, None)  # fmt: skip


def test_the_best_is_set_against_the_base_prompt_first_and_then_against_what_is_worst():
    found = pairs(base=0.5, p0=0.9, p1=0.1, p2=0.3)
    assert kinds(found) == [("best_base", 0, BASE), ("best_worst", 0, 1), ("best_worst", 0, 2)]
    first = found[0].row
    assert (first.prompt, first.chosen, first.rejected) == ("Say it.", "Say it well.", "Say it.")
    assert (first.margin, first.base_id, first.domain, first.round) == (pytest.approx(0.4), "b", "words", 1)


def test_where_nothing_is_better_the_base_prompt_is_the_better_one():
    assert kinds(pairs(base=0.9, p0=0.9, p1=0.2)) == [("restraint", BASE, 1)]
    assert pairs(base=0.9, p1=0.2)[0].row.chosen == "Say it."


def test_a_rewrite_that_is_better_by_chance_alone_is_no_better():
    noisy = {BASE: [{"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}], 0: [{"a": 1.0, "b": 1.0}, {"a": 0.2, "b": 0.2}]}
    found = pairs_of(Candidates(base(), TEXTS), values_of(PANEL, noisy), {}, PairsConfig(), 1)
    assert found == []
    found = pairs_of(Candidates(base(), TEXTS), values_of(PANEL, noisy), {}, PairsConfig(z=0), 1)
    assert kinds(found) == [("best_base", 0, BASE)]


def test_all_candidates_equal_teach_nothing():
    assert pairs(base=0.5, p0=0.5, p1=0.5, p2=0.5) == []


def test_a_prompt_that_breaks_a_rule_is_rejected_however_well_it_does():
    found = pairs(broken=[0], base=0.5, p0=1.0, p1=0.1)
    assert kinds(found) == [("restraint", BASE, 1), ("guard", BASE, 0)]
    assert (found[-1].row.reason, found[-1].row.margin) == ("lost", None)
    expected = [("best_base", 2, BASE), ("guard", 2, 0), ("guard", 2, 1)]
    assert kinds(pairs(broken=[0, 1], base=0.5, p0=1.0, p2=0.9)) == expected


def test_a_base_prompt_without_a_value_is_no_measure():
    assert pairs(p0=1.0, p1=0.0) == []


def test_restraint_is_learned_from_the_best_rewrites_first():
    assert kinds(pairs(base=0.9, p0=0.2, p1=0.6, p2=0.4)) == [("restraint", BASE, 1), ("restraint", BASE, 2),
                                                              ("restraint", BASE, 0)]  # fmt: skip


@pytest.mark.parametrize("most", [1, 3])
async def test_no_more_than_the_most_are_asked_for_and_kept_and_broken_rules_beside_them(most):
    texts = {BASE: "Say it."} | {at: f"Say it {at}." for at in range(8)}
    values = {f"p{at}": at / 10 for at in range(7)}
    asked = []

    async def compare(of, better, worse):
        asked.append(worse)
        return 0.3 if worse == 0 else 0.9  # the judges do not confirm the second

    found = await confirmed(pairs(broken=[7], texts=texts, base=0.3, **values), base(), compare, most)
    assert asked == [BASE, 0, 1, 2][: 1 if most == 1 else 4]
    kept = [("best_base", "Say it."), ("best_worst", "Say it 1."), ("best_worst", "Say it 2.")][:most]
    assert [(one.kind, one.rejected) for one in found] == [*kept, ("guard", "Say it 7.")]


async def test_pairs_that_nobody_is_asked_about_are_the_first_ones():
    found = await confirmed(pairs(base=0.5, p0=0.9, p1=0.1, p2=0.3), base(), None, 2)
    assert [(one.kind, one.preferred) for one in found] == [("best_base", None), ("best_worst", None)]


async def test_only_what_the_judges_confirm_is_kept_and_rules_need_no_judge():
    wanted = pairs(broken=[2], base=0.5, p0=0.9, p1=0.1)
    asked = []

    async def compare(of, better, worse):
        asked.append((of.base_id, better, worse))
        return {BASE: 0.8, 1: 0.5}[worse]

    kept = await confirmed(wanted, base(), compare, 4)
    assert asked == [("b", 0, BASE), ("b", 0, 1)]
    assert [(one.kind, one.preferred) for one in kept] == [("best_base", 0.8), ("guard", None)]


@pytest.mark.parametrize("said", [None, 0.5, 0.2])
async def test_judges_that_cannot_tell_or_say_the_opposite_confirm_nothing(said):
    async def compare(of, better, worse):
        return said

    assert await confirmed(pairs(base=0.5, p0=0.9), base(), compare, 4) == []


def test_shuffled_pairs_are_the_same_pairs_half_of_them_turned_round():
    rows = [row(at) for at in range(200)]
    turned = shuffled(rows, 3)
    assert turned == shuffled(rows, 3) != shuffled(rows, 4)
    swapped = sum(after.chosen == before.rejected for before, after in zip(rows, turned, strict=True))
    assert 70 < swapped < 130
    for before, after in zip(rows, turned, strict=True):
        assert {after.chosen, after.rejected} == {before.chosen, before.rejected}
        assert replace(after, chosen="", rejected="") == replace(before, chosen="", rejected="")


def test_replay_is_a_share_of_all_and_even_over_earlier_domains():
    earlier = [*(row(at, "old") for at in range(90)), *(row(100 + at, "older") for at in range(30))]
    found = replayed([row(200 + at, "new") for at in range(60)], earlier, 0.25, 0)
    assert Counter(one.domain for one in found) == {"new": 60, "old": 10, "older": 10}
    assert len(set(found)) == len(found)
    assert found == replayed([row(200 + at, "new") for at in range(60)], earlier, 0.25, 0)


def test_replay_takes_what_there_is_and_nothing_twice():
    now = [row(at) for at in range(10)]
    assert replayed(now, now, 0.5, 0) == now
    assert replayed(now, [row(100), row(100)], 0.5, 0) == [*now, row(100)]
    assert replayed(now, [], 0.5, 0) == now
    assert replayed(now, [row(100)], 0.5, 0) == [*now, row(100)]
    assert replayed(now, [row(100)], 0.0, 0) == now


def test_the_same_text_twice_is_no_pair():
    """An operator and the rewriter may write the same; their answers are the same, but for what was sampled."""
    values = values_of(panel_of("a"), {BASE: [{"a": 0.2}], 1: [{"a": 0.9}], 1000: [{"a": 0.8}]})
    config = PairsConfig(z=0, margin=0)
    candidates = Candidates(base(), {BASE: "Say it.", 1: "Say it well.", 1000: "Say it well."})
    assert [(one.better, one.worse) for one in pairs_of(candidates, values, {}, config, 1)] == [(1, BASE)]
