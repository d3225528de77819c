"""A day care: a folder of mutation prompts, thinking styles, tasks and (where it has one) the queries of a breed.

DIR/mutation_prompts.json            {"1": "text", …}
DIR/thinking_styles.json             the same
DIR/<task>/task_description.json     what is asked, how it is scored, how answers are drawn
DIR/breeder.lmql                     queries in LMQL's language, in an hjson object; optional
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from promptmill.crafts.breed.daycare.breeder_file import BreederFile, read_breeder_file
from promptmill.crafts.breed.daycare.description import Description, read_description, scorer_of, seeded
from promptmill.crafts.breed.daycare.files import read_texts
from promptmill.crafts.breed.daycare.form import Form
from promptmill.crafts.breed.daycare.operators import folder_operators
from promptmill.crafts.breed.daycare.suite import Suite, read_suite
from promptmill.errors import InputError
from promptmill.model.chat import Sampling
from promptmill.prompt import Prompt
from promptmill.score.reading import normalise
from promptmill.tasks.task import Task
from promptmill.vary.scene import Operator
from promptmill.vary.wording import Wording, load_wording


@dataclass(frozen=True)
class DayCare:
    """All that a breed needs of a folder and a suite.

    prompt: the first one: its parts are no templates (see Form). operators: by the queries of the folder; None where
    it has none, then the package's own. repeat: answers for each example. parts: those of "system", "user" and
    "prefix" that may change. warnings: what of the files does nothing, or says less than it seems to. digest: changes
    whenever a request to the model or the writer would.
    """

    task: Task
    prompt: Prompt
    form: Form
    wording: Wording
    operators: dict[str, Operator] | None
    sampling: Sampling
    repeat: int
    writer_sampling: Sampling
    parts: tuple[str, ...]
    warnings: tuple[str, ...]
    digest: str


def read_day_care(
    folder: Path, task: str, suite: Path, decoder_override: str | None = None, *, seed: int | None = None
) -> DayCare:
    """Read a folder for one of its tasks, with the examples of a fitness suite.

    decoder_override: a decoder string that goes before both of the task's. seed: for whatever is drawn.
    Raises InputError, one line, for the first thing that cannot be used, naming the file.
    """
    if not folder.is_dir():
        raise InputError(f"there is no day care folder {folder}")
    mutations, styles = (read_texts(folder / f"{name}.json") for name in ("mutation_prompts", "thinking_styles"))
    told = read_description(folder, task, decoder_override, seed)
    examples = read_suite(suite, task)
    file = read_breeder_file(folder / "breeder.lmql") if (folder / "breeder.lmql").exists() else None
    own = file.fitness.decoder if file else None
    fitness = seeded(own, seed) if own else told.fitness
    form = Form(examples.fields, examples.choices, file.fitness if file else None, fitness.sampling)
    form.check()
    prompt = Prompt(told.fixed_system or "", told.text)
    scorer = scorer_of(told, examples.choices)
    made = Task(task, told.text, form.as_prompt(prompt), scorer, examples.choices, *examples.splits)
    wording = load_wording().with_lists(mutations, styles)
    fixed, sampling = told.fixed_system is not None, told.writer.sampling
    operators = folder_operators(file.mutations, sampling, fixed) if file else None
    warnings = (*told.warnings, *examples.warnings, *(file.warnings if file else ()),
                *_mismatches(form, examples, told))  # fmt: skip
    parts = tuple(part for part in form.parts if part != "system" or not fixed)
    return DayCare(made, prompt, form, wording, operators, fitness.sampling, fitness.repeat, sampling, parts,
                   tuple(dict.fromkeys(warnings)), _digest(form, file, wording, sampling))  # fmt: skip


def _digest(form: Form, file: BreederFile | None, wording: Wording, writer: Sampling) -> str:
    queries = sorted(query.digest for query in file.mutations.values()) if file else []
    return hashlib.sha256(repr([form.digest, queries, wording.digest, writer]).encode()).hexdigest()[:12]


def _mismatches(form: Form, suite: Suite, told: Description) -> tuple[str, ...]:
    """What the task, the suite and the fitness query do not agree in. InputError where nothing could be bred."""
    said = []
    if form.query is not None:
        if "user" not in form.parts:
            raise InputError(f"{form.query.place.whole}: shows no {{task_prompt}}, so there is nothing to breed")
        if told.fixed_system and "system" not in form.parts:
            said.append(f"{told.path}: fixed_system_prompt is not shown: the query {form.query.name} has no "
                        "{system_prompt}")  # fmt: skip
    answer = form.script(Prompt(user="text")).holes[-1]
    if isinstance(answer.constraint, tuple):
        golds = {gold for split in suite.splits for example in split for gold in example.gold}
        known = {normalise(choice) for choice in answer.constraint}
        if lost := sorted(gold for gold in golds if normalise(gold) not in known):
            said.append(f"the gold {lost[0]!r} is none of the answers that [{answer.name}] may be "
                        f"({', '.join(answer.constraint)}), so it is never right")  # fmt: skip
    return tuple(said)
