"""The scripted writer: from any request that shows prompts to a new instruction.

It is asked in the words of our wording.yaml or of a peer's own template, so it goes by what stands in the request and
not by its form: a line with a known opening or directive is a prompt that is shown; an example followed by the task
model's wrong answer is a failure that is shown. Its edits are mostly idle, as those of a real writer are: it adds,
drops or swaps a directive at random, or says the same in other words. Shown a failure, it does one time in two what
mends the type of that example (unless the landscape is blind): a key that is missing, or the loss of a directive that
hurts.

The form of the answer is what the request asks for: fields of DSPy, <prompt> tags, a fence, or the text alone.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence

from benchmarks.landscape.phrases import DIRECTIVES, FILLERS, MUTATION_PROMPTS, OPENINGS
from benchmarks.landscape.world import Case, Landscape, reads, texts_of

EDITS = {"add": 0.35, "swap": 0.2, "drop": 0.2, "rephrase": 0.25}
"""How often each idle edit is made."""
MENDS = 0.5
"""How often a shown failure is understood."""
CROSSES = 0.5
"""How often several shown prompts are joined instead of one of them taken."""

_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]")
_RANKED = re.compile(r"worst to the best|in the order in which|increasing order|lowest to highest|ascending")
ASKS_FIELDS = "Respond with the corresponding output fields"


class Writer:
    """Writes for one landscape. The same request with the same `repeat` (and sampling seed) is answered alike."""

    def __init__(self, landscape: Landscape):
        self.landscape = landscape

    def write(self, texts: Sequence[str], repeat: object = 0) -> str:
        """The answer to a request, given as the texts of its messages."""
        request = "\n".join(texts)
        told = f"{self.landscape.seed}/{self.landscape.variant}/{repeat}/{request}".encode()
        rng = random.Random(int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big"))
        if "Reply with the request only" in request:
            return rng.choice(MUTATION_PROMPTS)
        return in_form(request, self._instruction(request, rng))

    def _instruction(self, request: str, rng: random.Random) -> str:
        shown = [line for line in request.split("\n") if reads(line) or _opening(line)]
        if not shown:
            return compose(rng, rng.choice(OPENINGS), sum(1 << at for at in rng.sample(range(len(DIRECTIVES)), 2)))
        line = _ranked(shown, rng) if _RANKED.search(request) else rng.choice(shown)
        mask, opening = reads(line), _opening(line) or rng.choice(OPENINGS)
        if len(shown) > 1 and rng.random() < CROSSES:
            mask |= reads(rng.choice([other for other in shown if other is not line]))
        mended = self._mended(request, mask, rng)
        if mended is not None:
            return compose(rng, opening, mended)
        edit = rng.choices(list(EDITS), list(EDITS.values()))[0]
        return compose(rng, rng.choice(OPENINGS) if edit == "rephrase" else opening, edited(edit, mask, rng))

    def _mended(self, request: str, mask: int, rng: random.Random) -> int | None:
        """With what a shown failure needs; None where there is no such thing or it is not understood."""
        if self.landscape.blind:
            return None
        failed = failures(self.landscape, request)
        if not failed or rng.random() >= MENDS:
            return None
        kind = self.landscape.kinds[rng.choice(failed).kind]
        wanted = [mask | key for key in (*kind.keys, kind.around) if key and not mask & key]
        wanted += [mask & ~bit for bit, _ in kind.hurts if mask & bit]
        return rng.choice(wanted) if wanted else None


def failures(landscape: Landscape, request: str) -> list[Case]:
    """The examples in a request that are followed, within a few lines, by the wrong answer."""
    told = landscape.cases_in(request)
    return [case for case, after in told if re.search(rf"\b{case.wrong}\b", after[:400])]


def edited(edit: str, mask: int, rng: random.Random) -> int:
    """A set of directives after one idle edit. What cannot be done to it is done by adding."""
    here = [1 << at for at in range(len(DIRECTIVES)) if mask >> at & 1]
    absent = [1 << at for at in range(len(DIRECTIVES)) if not mask >> at & 1]
    if edit == "rephrase":
        return mask
    if edit in ("drop", "swap") and here:
        mask &= ~rng.choice(here)
        if edit == "drop":
            return mask
    return mask | rng.choice(absent) if absent else mask


def compose(rng: random.Random, opening: str, mask: int) -> str:
    """An instruction in one line: an opening, the directives in some order, last words that do nothing."""
    directives = texts_of(mask)
    rng.shuffle(directives)
    return " ".join(part for part in (opening, *directives, rng.choice(FILLERS)) if part)


def in_form(request: str, instruction: str) -> str:
    """The instruction in the form that the request asks for."""
    _, asks, tail = request.rpartition(ASKS_FIELDS)
    if asks:
        names = [name for name in _FIELD.findall(tail) if name != "completed"]
        texts = [instruction if "instruction" in name else "Answer:" if "prefix" in name else "Orders of a shop."
                 for name in names]  # fmt: skip
        fields = [f"[[ ## {name} ## ]]\n{text}" for name, text in zip(names, texts, strict=True)]
        return "\n\n".join([*fields, "[[ ## completed ## ]]"])
    if "<prompt>" in request:
        return f"<prompt>{instruction}</prompt>"
    if "```" in request:
        return f"```\n{instruction}\n```"
    return instruction


def _opening(line: str) -> str | None:
    return next((opening for opening in OPENINGS if opening in line), None)


def _ranked(shown: Sequence[str], rng: random.Random) -> str:
    """One of prompts that stand in rising order: the last with a half, the one before with a quarter, …"""
    at = len(shown) - 1
    while at and rng.random() < 0.5:
        at -= 1
    return shown[at]
