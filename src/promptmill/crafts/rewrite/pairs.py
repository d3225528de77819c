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
    """What is to be learned of one base prompt, before the judges are asked to compare; more than `config.most`, since
    they will not confirm all.

    The best prompt against the base prompt and those that are worse, the worst first; where nothing is better than the
    base prompt, that against its rewrites, the best of them first, which teaches to leave a prompt alone; and the best
    against prompts that break a rule, however well these do.
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
    others = ranked if best == BASE else [BASE, *(one for one in reversed(ranked) if one != BASE)]
    found, texts = [], {candidates.texts[best]}
    for worse in others:
        margin = values.margin(base, best, worse)
        if candidates.texts[worse] in texts:  # a rewriter says the same more than once
            continue
        if margin is None or not margin.believed(config.z, config.margin):
            continue
        kind = "restraint" if best == BASE else "best_base" if worse == BASE else "best_worst"
        row = replace(_row(candidates, round, kind, best, worse), margin=margin.mean, se=margin.se)
        texts.add(row.rejected)
        found.append(Wanted(row, best, worse))
    rules = {candidates.texts[one]: one for one in sorted(candidates.texts, reverse=True) if (base, one) in broken}
    for one in sorted(rules.values())[: config.most]:
        row = _row(candidates, round, "guard", best, one)
        found.append(Wanted(replace(row, reason=broken[base, one]), best, one))
    return found


@dataclass
class Wanted:
    """A pair, and the variations that it is of."""

    row: PairRow
    better: int
    worse: int


async def confirmed(wanted: Sequence[Wanted], base: BaseRow, compare: Compare | None, most: int) -> list[PairRow]:
    """Those which the judges confirm, `most` of them; with no compare, the first. A broken rule needs no confirmation
    and is not counted."""
    kept: list[PairRow] = []
    rules = [one.row for one in wanted if one.row.kind == "guard"]
    for one in wanted:
        if one.row.kind == "guard":
            continue
        if len(kept) == most:
            break
        preferred = await compare(base, one.better, one.worse) if compare else None
        if compare is None or (preferred is not None and preferred > 0.5):
            kept.append(replace(one.row, preferred=preferred))
    return [*kept, *rules]


def shuffled(pairs: Sequence[PairRow], seed: int) -> list[PairRow]:
    """The same pairs, the better and the worse exchanged at random: what a rewriter learns from these is no quality."""
    rng = random.Random(f"shuffled {seed}")
    return [replace(one, chosen=one.rejected, rejected=one.chosen) if rng.random() < 0.5 else one for one in pairs]


def replayed(now: Sequence[PairRow], earlier: Sequence[PairRow], share: float, seed: int) -> list[PairRow]:
    """The pairs of a round with some of earlier rounds that it does not have itself: `share` of them all, the same
    number from each domain as far as they go."""
    rng = random.Random(f"replay {seed}")
    wanted = round(len(now) * share / (1 - share))
    own = {(one.prompt, one.chosen, one.rejected) for one in now}
    domains: dict[str, list[PairRow]] = {}
    for one in earlier:
        key = (one.prompt, one.chosen, one.rejected)
        if key in own:
            continue
        own.add(key)
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
