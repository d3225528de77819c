"""The operators of a breed as the queries of breeder.lmql write them, under the names of PromptBreeder's.

A query writes up to three parts of a prompt at once; a part for which it has no gap stays the parent's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from promptmill.crafts.breed.daycare.breeder_file import PARTS
from promptmill.crafts.breed.daycare.nodes import Query
from promptmill.crafts.breed.daycare.turns import script_of
from promptmill.crafts.breed.daycare.walk import Argument
from promptmill.model.chat import Sampling
from promptmill.model.script import Filled, Script
from promptmill.prompt import fill
from promptmill.vary.alike import unlike
from promptmill.vary.copied import copies
from promptmill.vary.scene import Answered, Child, Operator, Scene, Steps

WRITTEN_BY = {
    "zero_order": ("mutation_direct",), "first_order": ("mutation_direct",),
    "eda": ("mutation_eda_based",), "eda_ranked": ("mutation_eda_based",), "lineage": ("mutation_eda_based",),
    "lamarckian": ("mutation_lamarckian",),
    "hyper_zero": ("hypermutation_zero_order_direct", "mutation_direct"),
    "hyper_first": ("hypermutation_first_order_direct", "mutation_direct"),
}  # fmt: skip
"""The operators, and the queries that each needs."""


def folder_operators(
    queries: Mapping[str, Query], sampling: Sampling, fixed_system: bool = False
) -> dict[str, Operator]:
    """The operators for which all queries are there.

    sampling: of the writer, for queries without a decoder of their own. fixed_system: the system prompt stays.
    """
    writing = _Writing(queries, sampling, fixed_system)
    return {name: getattr(writing, name) for name, needed in WRITTEN_BY.items() if set(needed) <= set(queries)}


@dataclass(frozen=True)
class _Writing:
    """Every operator as a method: a function of a scene and a random generator that yields scripts, filled already but
    for their gaps, and is sent what the writer filled them with."""

    queries: Mapping[str, Query]
    sampling: Sampling
    fixed_system: bool

    def zero_order(self, scene: Scene, rng: random.Random) -> Steps:
        """From the description alone, under a random thinking style, by a random mutation prompt, which the child
        keeps."""
        style = rng.choice(scene.wording.thinking_styles)
        drawn = rng.choice(scene.wording.all_mutation_prompts)
        answer = yield self._direct(mutation_prompt=drawn, thinking_style=style, task_description=scene.description)
        return self._child(scene, answer, drawn, drawn)

    def first_order(self, scene: Scene, rng: random.Random) -> Steps:
        """The parent's own mutation prompt applied to its task prompt; a random one where it has none."""
        drawn = _own(scene, rng)
        answer = yield self._direct(mutation_prompt=drawn, task_prompt=scene.parent.genome.prompt.user)
        return self._child(scene, answer, drawn)

    def eda(self, scene: Scene, rng: random.Random) -> Steps:
        """From task prompts unlike each other, in random order."""
        return (yield from self._listed(scene, rng, "random", _sample(scene, rng)))

    def eda_ranked(self, scene: Scene, rng: random.Random) -> Steps:
        """From task prompts unlike each other, the worst first."""
        fitness = {member.genome.prompt.user: member.fitness or 0.0 for member in scene.population}
        shown = sorted(_sample(scene, rng), key=lambda text: (fitness[text], text))
        return (yield from self._listed(scene, rng, "ranked", shown))

    def lineage(self, scene: Scene, rng: random.Random) -> Steps:
        """From the best of each generation so far, in the order in which they were found."""
        return (yield from self._listed(scene, rng, "lineage", list(dict.fromkeys(scene.elites))[-scene.eda_shown :]))

    def lamarckian(self, scene: Scene, rng: random.Random) -> Steps:
        """From correct workings out of the parent, back to a prompt."""
        if not scene.workings:
            return None
        shown = rng.sample(scene.workings, min(scene.lamarckian_shown, len(scene.workings)))
        workings = [fill(scene.wording.example, {"input": one.shown, "output": one.output}) for one in shown]
        drawn, before = _own(scene, rng), scene.parent.genome.prompt.user
        answer = yield self._script(
            "mutation_lamarckian", mutation_prompt=drawn, correct_reasonings=tuple(workings), task_prompt=before
        )
        made = self._child(scene, answer, drawn)
        return None if made is None or copies(made.genome.prompt.user, before, shown) else made

    def hyper_zero(self, scene: Scene, rng: random.Random) -> Steps:
        """A new mutation prompt from the description, under a random thinking style, applied at once."""
        style = rng.choice(scene.wording.thinking_styles)
        answer = yield self._script(
            "hypermutation_zero_order_direct", thinking_style=style, task_description=scene.description
        )
        return (yield from self._applied(scene, answer))

    def hyper_first(self, scene: Scene, rng: random.Random) -> Steps:
        """The parent's mutation prompt, improved, and applied at once."""
        answer = yield self._script("hypermutation_first_order_direct", mutation_prompt=_own(scene, rng))
        return (yield from self._applied(scene, answer))

    def _applied(self, scene: Scene, answer: Answered) -> Steps:
        if not isinstance(answer, Filled):
            return None
        *_, last = answer.values.values()
        if not (new := last.strip()):
            return None
        answer = yield self._direct(mutation_prompt=new, task_prompt=scene.parent.genome.prompt.user)
        return self._child(scene, answer, new, new)

    def _listed(self, scene: Scene, rng: random.Random, method: str, shown: Sequence[str]) -> Steps:
        if len(shown) < 2:
            return None
        drawn = _own(scene, rng)
        answer = yield self._script(
            "mutation_eda_based", mutation_prompt=drawn, eda_method=method, task_prompts=tuple(shown)
        )
        return self._child(scene, answer, drawn)

    def _direct(self, **given: str) -> Script:
        rest = dict.fromkeys(("mutation_prompt", "thinking_style", "task_description", "task_prompt"), "")
        return self._script("mutation_direct", **{**rest, **given})

    def _script(self, name: str, **given: Argument) -> Script:
        return script_of(self.queries[name], given, self.sampling)

    def _child(self, scene: Scene, answer: Answered, drawn: str, keeps: str | None = None) -> Child | None:
        """The parent with the parts that were written; None where none came, or an empty task prompt. keeps: the
        child's mutation prompt, where it is not the parent's."""
        if not isinstance(answer, Filled):
            return None
        genome = scene.parent.genome
        prompt = genome.prompt
        for gap, part in PARTS.items():
            if gap in answer.values and not (part == "system" and self.fixed_system):
                prompt = replace(prompt, **{part: answer.values[gap].strip()})  # type: ignore[arg-type]
        if not prompt.user:
            return None
        own = genome.mutation_prompt if keeps is None else keeps
        return Child(replace(genome, prompt=prompt, mutation_prompt=own), drawn)


def _own(scene: Scene, rng: random.Random) -> str:
    """The parent's mutation prompt, a random one where it has none."""
    return scene.parent.genome.mutation_prompt or rng.choice(scene.wording.all_mutation_prompts)


def _sample(scene: Scene, rng: random.Random) -> list[str]:
    return unlike([member.genome.prompt.user for member in scene.population], rng, scene.eda_shown, scene.vectors)
