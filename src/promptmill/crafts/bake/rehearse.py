"""What a bake must leave as it was: answers of the model to other prompts, which it is held to while it learns.

In a trial without it other prompted skills fell from 93 % to 49 %; with it they stayed where they were.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.bake.contexts import contexts
from promptmill.crafts.bake.questions import Question
from promptmill.errors import InputError
from promptmill.model.local.choosing import seed_of
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Prompt, holes
from promptmill.settings import load_yaml, read_text
from promptmill.train.batches import Item

BATCH = 64


def other_prompts(path: Path | None = None) -> tuple[str, ...]:
    """The instructions to be rehearsed: ours, or those of a YAML or JSON list. InputError for another file."""
    source = path or Path(__file__).with_name("rehearsal.yaml")
    found = load_yaml(read_text(source), str(source))
    if not isinstance(found, list) or not found or not all(isinstance(one, str) and one.strip() for one in found):
        raise InputError(f"{source}: must be a list of prompts, each a text")
    if bad := next((one for one in found if holes(one)), None):
        raise InputError(f"{source}: {bad[:40]!r} has holes; a rehearsed prompt stands before the question as it is")
    return tuple(found)


def rehearsed(
    loaded: Loaded, baked: Prompt, prompts: Sequence[str], questions: Sequence[Question], config: BakeConfig, seed: int
) -> list[Item]:
    """Answers that the model gives, before it is trained, to questions under other prompts; as items without a teacher.

    Drawn at temperature 1 from streams that follow from `seed`, so that a continued run rehearses the same.
    """
    from promptmill.crafts.bake.draw import Wanted, draw

    rng = random.Random(f"rehearsal {seed}")
    folds = loaded.chat.folds_system
    made: list[tuple[int, ...]] = []
    for prompt in [one for one in prompts if one.strip() != baked.system.strip()]:
        share = max(1, config.rehearsal_answers // len(prompts))
        asked = rng.sample(list(questions), min(share, len(questions)))
        whole = Prompt(user=f"{prompt}\n\n{{input}}") if folds else Prompt(prompt)
        made += [one.prompted for one in contexts(loaded, whole, asked, config.sample)]
    plain = config.sample.model_copy(
        update={"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_new_tokens": 0, "teacher": "online"}
    )
    items = []
    for low in range(0, len(made), BATCH):
        wanted = [Wanted(context, seed_of(context, seed, 0, 0)) for context in made[low : low + BATCH]]
        for one, drawn in zip(wanted, draw(loaded, None, wanted, plain), strict=True):
            if len(drawn.ids):
                items.append(Item(one.context, tuple(drawn.ids.tolist())))
    if not items:
        raise InputError("no other prompt was answered, so nothing can be rehearsed; set rehearsal=0 to do without")
    return items
