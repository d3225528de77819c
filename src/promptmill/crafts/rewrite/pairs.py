"""From values to preferences: pairs of prompts of which one is better, believed only where the margin exceeds its noise
and the judges, asked to compare in both orders, say the same."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from promptmill.crafts.rewrite.config import PairsConfig
from promptmill.crafts.rewrite.tables import BASE, BaseRow, PairRow
from promptmill.crafts.rewrite.values import Values

Broken = Mapping[tuple[str, int], str]
"""(base_id, variation_id) of prompts that break a rule, and which."""
Compare = Callable[[BaseRow, int, int], Awaitable[float | None]]
"""(base, a, b) to the judges' mean probability that a's answers are better, None where the two orders disagree or no
judge could be read."""


@dataclass(frozen=True)
class Candidates:
    """The prompts of a base, by variation_id; the base prompt itself is one of them."""

    base: BaseRow
    texts: Mapping[int, str]


def pairs_of(candidates: Candidates, values: Values, broken: Broken, config: PairsConfig, round: int) -> list[Wanted]:
    """What is to be learned of one base prompt, before the judges are asked to compare.

    The best prompt against those that are worse than it, the base prompt among them; where nothing is better than the
    base prompt, that against its rewrites, which teaches to leave a prompt alone; and the best against a prompt that
    breaks a rule, however well it does.
    """
    base = candidates.base.base_id
    scored = {
        one: value
        for one in candidates.texts
        if (value := values.mean(base, one)) is not None and (base, one) not in broken
    }
    if BASE not in scored:
        return []
    ranked = sorted(scored, key=lambda one: (-scored[one], one != BASE, one))
    best = next((one for one in ranked if one != BASE and _believed(values, base, one, BASE, config)), BASE)
    found = []
    for worse in reversed(ranked):
        margin = values.margin(base, best, worse)
        if candidates.texts[worse] == candidates.texts[best]:
            continue
        if margin is None or not margin.believed(config.z, config.margin):
            continue
        kind = "restraint" if best == BASE else "best_base" if worse == BASE else "best_worst"
        found.append(Wanted(_row(candidates, round, kind, best, worse), best, worse))
        found[-1].row = replace(found[-1].row, margin=margin.mean, se=margin.se)
    found.sort(key=lambda one: one.row.kind != "best_base")  # what the user has is what is to be bettered
    found = found[: config.most]
    rules = [one for one in sorted(candidates.texts) if (base, one) in broken]
    if rules:
        row = _row(candidates, round, "guard", best, rules[0])
        found.append(Wanted(replace(row, reason=broken[base, rules[0]]), best, rules[0]))
    return found


@dataclass
class Wanted:
    """A pair, and the variations that it is of."""

    row: PairRow
    better: int
    worse: int


async def confirmed(wanted: Sequence[Wanted], base: BaseRow, compare: Compare) -> list[PairRow]:
    """Those which the judges confirm; a broken rule needs no confirmation."""
    kept = []
    for one in wanted:
        if one.row.kind == "guard":
            kept.append(one.row)
            continue
        preferred = await compare(base, one.better, one.worse)
        if preferred is not None and preferred > 0.5:
            kept.append(replace(one.row, preferred=preferred))
    return kept


def shuffled(pairs: Sequence[PairRow], seed: int) -> list[PairRow]:
    """The same pairs, the better and the worse exchanged at random: what a rewriter learns from these is no quality."""
    rng = random.Random(f"shuffled {seed}")
    return [replace(one, chosen=one.rejected, rejected=one.chosen) if rng.random() < 0.5 else one for one in pairs]


def replayed(now: Sequence[PairRow], earlier: Sequence[PairRow], share: float, seed: int) -> list[PairRow]:
    """The pairs of a round with some of earlier rounds: `share` of them all, the same number from each domain as far
    as they go."""
    rng = random.Random(f"replay {seed}")
    wanted = round(len(now) * share / (1 - share))
    domains: dict[str, list[PairRow]] = {}
    for one in earlier:
        domains.setdefault(one.domain, []).append(one)
    for several in domains.values():
        rng.shuffle(several)
    drawn = list(_in_turn(list(domains.values())))[:wanted]
    return [*now, *drawn]


def _in_turn(lists: Sequence[list[PairRow]]) -> Iterator[PairRow]:
    for at in range(max(map(len, lists), default=0)):
        for one in lists:
            if at < len(one):
                yield one[at]


def _believed(values: Values, base: str, better: int, worse: int, config: PairsConfig) -> bool:
    margin = values.margin(base, better, worse)
    return margin is not None and margin.believed(config.z, config.margin)


def _row(candidates: Candidates, round: int, kind: str, better: int, worse: int) -> PairRow:
    base, texts = candidates.base, candidates.texts
    return PairRow(
        base.base_id, round, base.domain, kind, base.text, texts[better], texts[worse], None, None, None
    )  # fmt: skip
