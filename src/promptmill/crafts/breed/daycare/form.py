"""How the parts of a prompt become the script that an example is asked by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from promptmill.crafts.breed.daycare.nodes import Field, Gap, Piece, Query, Said, Words
from promptmill.crafts.breed.daycare.template import opening, template
from promptmill.crafts.breed.daycare.turns import check_query, script_of
from promptmill.crafts.breed.daycare.walk import Argument
from promptmill.model.chat import GREEDY, Sampling
from promptmill.model.script import Hole, Script
from promptmill.prompt import Prompt

OWN = {"system_prompt": "system", "task_prompt": "user", "reasoning_prompt": "prefix"}
"""The arguments of a fitness query that are parts of the prompt, and which."""
REASONED = "CoT"
"""The argument that says whether there is a reasoning prompt."""
REASONING_TOKENS = 500


@dataclass(frozen=True)
class Form:
    """fields: those of the examples, in order. choices: what the answer may be, where that is little. query: the
    fitness query of breeder.lmql; None is a plain form of our own. sampling: of all gaps, but for their lengths.

    Its prompts are no templates: system is the system prompt, user the task prompt, prefix the reasoning prompt, each
    shown as it is, also where it has brackets. With a reasoning prompt the model reasons before it answers.
    """

    fields: tuple[str, ...]
    choices: tuple[str, ...] | None = None
    query: Query | None = None
    sampling: Sampling = GREEDY
    _made: dict[Prompt, Script] = field(init=False, repr=False, compare=False, default_factory=dict)

    def script(self, prompt: Prompt) -> Script:
        """The script for a prompt; its last gap is the answer, and the example's fields are its {holes}."""
        if prompt not in self._made:  # every example asks for it again
            self._made[prompt] = self._script(prompt)
        return self._made[prompt]

    def _script(self, prompt: Prompt) -> Script:
        if self.query is None:
            made = self._plain(prompt)
        else:
            parts: dict[str, Argument] = {name: prompt.part(part) for name, part in OWN.items()}
            made = script_of(self.query, {**self._fields, **parts, REASONED: bool(prompt.prefix)}, self.sampling)
        return replace(made, prompt=replace(made.prompt, demos=prompt.demos))

    def as_prompt(self, prompt: Prompt) -> Prompt:
        """The prompt in chat turns that comes nearest, for `ask` and `eval`: the example's {holes} in its user turn,
        and as prefix what stands before the script's first gap."""
        script = self.script(prompt)
        return replace(script.prompt, prefix=opening(script))

    @property
    def digest(self) -> str:
        """Changes whenever a script would."""
        decided = [self.fields, self.choices, self.sampling, self.query.digest if self.query else "plain 1"]
        return hashlib.sha256(repr(decided).encode()).hexdigest()[:12]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a prompt that a script shows, in their order."""
        if self.query is None:
            return tuple(OWN.values())
        shown = set(self.query.values)
        if REASONED in shown:
            shown.add("reasoning_prompt")
        return tuple(part for name, part in OWN.items() if name in shown)

    def check(self) -> None:
        """InputError for a query that is no question and answer, or names what there is not."""
        if self.query is not None:
            own: dict[str, Argument] = dict.fromkeys(OWN, "text")
            check_query(self.query, {**self._fields, **own, REASONED: True})

    @property
    def _fields(self) -> dict[str, Argument]:
        return {name: Field(name) for name in self.fields}

    def _plain(self, prompt: Prompt) -> Script:
        asked: list[Piece] = []
        for name in self.fields:
            asked += [Words(f"{_label(name)}: "), Field(name), Words("\n")]
        turns = Prompt(template([Said(prompt.system)]), template([*asked, Words("\n"), Said(prompt.user)]))
        answer = Hole("ANSWER", self.choices, sampling=self.sampling)
        if not prompt.prefix:
            return Script("[ANSWER]", (answer,), turns)
        pieces: Sequence[Piece] = (Said(prompt.prefix), Gap("REASONING"), Words("\nFinal answer: "), Gap("ANSWER"))
        reasoning = Hole("REASONING", sampling=replace(self.sampling, max_tokens=REASONING_TOKENS))
        return Script(template(pieces, gaps=True), (reasoning, answer), turns)


def _label(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
