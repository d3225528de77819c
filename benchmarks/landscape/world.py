"""Landscape: which directive does what to which type of example, and so how good a prompt truly is.

For each type the probability that it is answered right follows from the directives in the prompt: a low base without
its keys, nearly one with all of them, less where a directive stands there that hurts it. Most directives do nothing.
Whether one example is then right is no draw: a hash of the example and of the directives that matter to its type is
held against the probability, so the same question is always answered alike, and words that do nothing change nothing.

All is scaled so that the prompt a search starts from has the quality START and the best prompt BEST.

rugged: two types need both their keys at once and get nothing from one; two pairs of types have keys that clash, so
that a key of one type stands in the way of the other, and another, slightly weaker key is the way around.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, combinations

from benchmarks.landscape.phrases import CODES, DIRECTIVES, NAMES, OPENINGS, TYPES

START, BEST = 0.30, 0.92
WEIGHTS = (8, 7, 6, 5, 4, 4, 3, 3)
"""Examples of each type (shuffled) in every forty."""
PERIOD = sum(WEIGHTS)
SIZES = {"train": 400, "dev": 200, "test": 400}

NEEDS = (1, 2, 2, 3, 2, 2, 3, 3)
"""Keys of each type (before their order is drawn)."""
WAYS = {1: (0.0, 1.0), 2: (0.0, 0.7, 1.0), 3: (0.0, 0.6, 0.85, 1.0)}
"""Share of the way from base to top by the keys that are there, for a type that needs so many."""
HURT, HURT_ALL, CLASH = 0.6, 0.85, 0.35
"""What a hurting directive, one that hurts every type, and a clash of two keys leave of the probability."""
AROUND = 0.93
"""What the key around a clash brings of what the clashing one does."""

_ORDER = re.compile(r"Order (\d{4}):")


@dataclass(frozen=True, slots=True)
class Case:
    """One example. wrong: what the task model says where it errs."""

    number: int
    kind: int
    text: str
    gold: str
    wrong: str


@dataclass(frozen=True, slots=True)
class Kind:
    """What decides a type.

    keys: bits of the directives that it needs. around: a bit that does for the first key. together: one key alone
    brings nothing. hurts, clashes: (bits, factor); the factor counts where all bits are there.
    """

    weight: int
    base: float
    top: float
    keys: tuple[int, ...]
    together: bool
    around: int
    hurts: tuple[tuple[int, float], ...]
    clashes: tuple[tuple[int, float], ...]

    @property
    def matters(self) -> int:
        """The bits of all directives that change anything here."""
        bits = self.around
        for key in self.keys:
            bits |= key
        for mask, _ in (*self.hurts, *self.clashes):
            bits |= mask
        return bits


class Landscape:
    """One landscape, by its seed. rugged: see above. blind: the writer takes no notice of failures."""

    def __init__(self, seed: int, *, rugged: bool = False, blind: bool = False):
        self.seed, self.rugged, self.blind = seed, rugged, blind
        rng = random.Random(f"landscape {seed}")
        roles = [1 << at for at in rng.sample(range(len(DIRECTIVES)), len(DIRECTIVES))]
        self.start_mask = roles[-1] | roles[-2]  # one that does nothing, one that hurts
        self.kinds = _scaled(_kinds(roles, rng, rugged), self.start_mask)
        self._matters = tuple(kind.matters for kind in self.kinds)
        self._known: dict[tuple[int, int], float] = {}
        self.seed_prompt = " ".join([OPENINGS[0], *texts_of(self.start_mask)])
        self.cases = _cases(seed, [kind.weight for kind in self.kinds])

    @property
    def variant(self) -> str:
        return "+".join(name for name in ("rugged", "blind") if getattr(self, name)) or "plain"

    @cached_property
    def splits(self) -> dict[str, tuple[Case, ...]]:
        """train, dev and test; every forty cases in a row have the types in their exact shares."""
        ends = {"train": (0, 400), "dev": (400, 600), "test": (600, 1000)}
        return {name: tuple(self.cases.values())[start:end] for name, (start, end) in ends.items()}

    def quality(self, prompt: str) -> float:
        """The true quality of a prompt: the exact probability of a right answer, over types by their frequency."""
        return self.quality_of(reads(prompt))

    def quality_of(self, mask: int) -> float:
        return sum(kind.weight * self.chance(at, mask) for at, kind in enumerate(self.kinds)) / PERIOD

    def chance(self, kind: int, mask: int) -> float:
        """The probability that an example of this type is answered right under these directives."""
        held = (kind, mask & self._matters[kind])
        if held not in self._known:
            self._known[held] = _chance(self.kinds[kind], mask)
        return self._known[held]

    def right(self, case: Case, mask: int) -> bool:
        """Whether this very example is answered right under these directives."""
        told = f"{self.seed}/{case.number}/{mask & self._matters[case.kind]}".encode()
        drawn = int.from_bytes(hashlib.blake2b(told, digest_size=6).digest(), "big") / (1 << 48)
        return drawn < self.chance(case.kind, mask)

    def answer(self, texts: Iterable[str]) -> str:
        """The task model: the example is the last one told of, the prompt is everything."""
        mask, case = 0, None
        for text in texts:
            mask |= reads(text)
            for number in _ORDER.findall(text):
                case = self.cases.get(int(number), case)
        if case is None:
            return "none"
        return case.gold if self.right(case, mask) else case.wrong

    def cases_in(self, text: str) -> list[tuple[Case, str]]:
        """The examples told of in a text, each with what follows it up to the next one."""
        found = list(_ORDER.finditer(text))
        ends = [*(match.start() for match in found[1:]), len(text)]
        told = ((self.cases.get(int(at[1])), text[at.end() : end]) for at, end in zip(found, ends, strict=False))
        return [(case, after) for case, after in told if case is not None]

    @cached_property
    def best_mask(self) -> int:
        """The best set of directives. Types that share no key are solved apart, so that this is exact."""
        groups: list[int] = []
        for kind in self.kinds:
            keys = kind.around
            for key in (*kind.keys, *(mask for mask, _ in kind.clashes)):
                keys |= key
            for other in [group for group in groups if group & keys]:
                groups.remove(other)
                keys |= other
            groups.append(keys)
        best = 0
        for group in groups:
            bits = [1 << at for at in range(len(DIRECTIVES)) if group >> at & 1]
            subsets = chain.from_iterable(combinations(bits, count) for count in range(len(bits) + 1))
            best |= max((sum(subset) for subset in subsets), key=self.quality_of)
        return best


@lru_cache(4096)
def reads(text: str) -> int:
    """The directives that stand in a text, as bits."""
    return sum(1 << at for at, directive in enumerate(DIRECTIVES) if directive in text)


def texts_of(mask: int) -> list[str]:
    return [directive for at, directive in enumerate(DIRECTIVES) if mask >> at & 1]


def _kinds(roles: list[int], rng: random.Random, rugged: bool) -> list[Kind]:
    """The types before scaling. Of the 56 directives 18 are keys, 7 hurt and the rest do nothing (on plain ground)."""
    weights = rng.sample(WEIGHTS, len(WEIGHTS))
    free = iter(roles)
    keys = [tuple(next(free) for _ in range(NEEDS[at])) for at in range(len(TYPES))]
    around = [next(free) if rugged and at in (0, 2) else 0 for at in range(len(TYPES))]
    hurting = [roles[-2], *(next(free) for _ in range(4))]
    everything = [next(free) for _ in range(2)]
    hurts: list[list[tuple[int, float]]] = [[(bit, HURT_ALL) for bit in everything] for _ in TYPES]
    for bit in hurting:
        for at in rng.sample(range(len(TYPES)), 2):
            hurts[at].append((bit, HURT))
    clashes: list[list[tuple[int, float]]] = [[] for _ in TYPES]
    if rugged:
        for one, other in ((0, 1), (2, 3)):
            clash = (keys[one][0] | keys[other][0], CLASH)
            clashes[one].append(clash)
            clashes[other].append(clash)
    order = rng.sample(range(len(TYPES)), len(TYPES))  # which type needs how many keys is drawn too
    kinds = [
        Kind(weights[at], rng.uniform(0.15, 0.45), rng.uniform(0.93, 1.0), keys[at], rugged and at in (4, 5),
             around[at], tuple(hurts[at]), tuple(clashes[at]))
        for at in range(len(TYPES))
    ]  # fmt: skip
    return [kinds[at] for at in order]


def _scaled(kinds: list[Kind], start_mask: int) -> tuple[Kind, ...]:
    """Bases and tops scaled so that the seed prompt has the quality START and all keys without a clash BEST."""

    def mean(values: Iterable[float]) -> float:
        return sum(kind.weight * value for kind, value in zip(kinds, values, strict=True)) / PERIOD

    start = mean(_chance(kind, start_mask) for kind in kinds)
    low = [kind.base * START / start for kind in kinds]
    # The seed prompt's own harm is in START; with the best prompt it is gone. What goes around a clash gets less.
    reached = [AROUND if kind.around else 1.0 for kind in kinds]
    best = mean(kind.top * share for kind, share in zip(kinds, reached, strict=True))
    return tuple(
        Kind(kind.weight, base, kind.top * BEST / best, kind.keys, kind.together, kind.around, kind.hurts, kind.clashes)
        for kind, base in zip(kinds, low, strict=True)
    )


def _chance(kind: Kind, mask: int) -> float:
    share = 1.0
    have = sum(1 for key in kind.keys if mask & key)
    if kind.around and mask & kind.around and not mask & kind.keys[0]:
        have, share = have + 1, AROUND
    need = len(kind.keys)
    way = WAYS[need][min(have, need)] if have >= need or not kind.together else 0.0
    probability = kind.base + way * (kind.top * share - kind.base)
    for bits, factor in (*kind.hurts, *kind.clashes):
        if mask & bits == bits:
            probability *= factor
    return min(0.99, probability)


def _cases(seed: int, weights: list[int]) -> dict[int, Case]:
    rng = random.Random(f"cases {seed}")
    cases = {}
    numbers = iter(rng.sample(range(1000, 10000), sum(SIZES.values())))
    for _ in range(sum(SIZES.values()) // PERIOD):
        kinds = [at for at, weight in enumerate(weights) for _ in range(weight)]
        rng.shuffle(kinds)
        for kind in kinds:
            number = next(numbers)
            gold, wrong = rng.sample(CODES, 2)
            text = (
                f"Order {number}: {TYPES[kind]}, {rng.randint(2, 90)} days old, "
                f"{rng.randint(5, 400)} euro, from {rng.choice(NAMES)}."
            )
            cases[number] = Case(number, kind, text, gold, wrong)
    return cases
