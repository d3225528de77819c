"""`bake report`: a finished bake beside the model as it was, on held-out answers or on answers to new questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from promptmill.crafts.bake.clock import times_of
from promptmill.crafts.bake.contexts import contexts, without_weights
from promptmill.crafts.bake.finished import FinishedBake, measured_on, weights_digest
from promptmill.crafts.bake.page import bake_page
from promptmill.crafts.bake.questions import Question
from promptmill.crafts.bake.sample import plan_sampling, sample
from promptmill.crafts.bake.strengths import FILE as STRENGTHS
from promptmill.crafts.bake.trajectories import Trajectory, read_trajectories
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend
from promptmill.prompt import Prompt
from promptmill.report.html import render
from promptmill.store.files import write_json, write_text
from promptmill.store.stage import Stage

FILE = "compare.json"
Told = Callable[[str, int, int], None]


def compare_bake(
    bake: FinishedBake, against: Prompt | None, questions: Sequence[Question] | None, on: Told = lambda *_: None
) -> dict[str, Any]:
    """compare.json: the four ways (see compare.py) with the baked prompt; under `against` with that one in its place.

    against: None keeps what was found under another prompt before, with this adapter on these answers.
    questions: new ones, which the prompted base answers first, drawn as the bake's own answers were (kept as a stage of
    the run); None: the bake's held-out answers. InputError where a prompt does not fit, or no answers are there.
    """
    base = bake.base
    bake.check()
    backend = LocalBackend(
        str(base.folder), adapters=[str(path) for path in base.adapters], dtype=base.dtype, load_in_4bit=base.four_bit,
        device=bake.device,
    )  # fmt: skip
    backend.name = base.name
    if against is not None and questions is not None:  # before anything is drawn
        contexts(without_weights(backend), against, questions, bake.config.sample)
    answers, of = _sampled(bake, backend, questions, on) if questions else _held(bake)
    found = {"adapter": weights_digest(bake.adapter), "of": of, **_measured(bake, backend, answers, against)}
    before = None if against else measured_on(bake.run / FILE, found["adapter"])
    if before and all(before.get(key) == found[key] for key in ("of", "lengths", "texts")):
        found["against"] = before["against"]
    return found


def write_comparison(run: Path, found: dict[str, Any], report: dict[str, Any]) -> Path:
    """compare.json, and the run's page anew with what is in it."""
    write_json(run / FILE, found)
    write_text(run / "report.html", page_of(run, report))
    return run / FILE


def page_of(run: Path, report: dict[str, Any]) -> str:
    """The page of a bake, with its comparison and its strengths where there are any of the adapter as it is now.
    InputError where these cannot be read."""
    adapter = weights_digest(run / str(report["adapter"]))
    found = {"strengths": measured_on(run / STRENGTHS, adapter), "comparison": measured_on(run / FILE, adapter)}
    known = {name: one for name, one in found.items() if one is not None}
    return render(bake_page(report | known | {"times": times_of(run)}))


def _measured(
    bake: FinishedBake, backend: LocalBackend, answers: Sequence[Trajectory], against: Prompt | None
) -> dict[str, Any]:
    from promptmill.crafts.bake.compare import compared
    from promptmill.crafts.bake.export import with_adapter

    other = None if against is None else _other_contexts(bake, backend, answers, against)
    model = with_adapter(bake.base, bake.adapter, bake.base.dtype, backend.device)
    own = [((tuple(one.context_ids.tolist()), tuple(one.bare_context_ids.tolist())), one) for one in answers]
    decode = backend.chat.tokenizer.decode
    found = {"prompt": bake.prompt.to_dict(), **compared(model, own, decode).to_dict(), "against": None}
    if other is not None and against is not None:
        changed = [((other[one.question_id], sides[1]), one) for sides, one in own]
        found["against"] = {"prompt": against.to_dict(), **compared(model, changed, decode).to_dict()}
    return found


def _other_contexts(
    bake: FinishedBake, backend: LocalBackend, answers: Sequence[Trajectory], against: Prompt
) -> dict[str, tuple[int, ...]]:
    """The tokens before an answer with the other prompt, by the question's id."""
    asked = {one.question_id: Question(one.question_id, one.question, "train") for one in answers}
    made = contexts(without_weights(backend), against, list(asked.values()), bake.config.sample)
    return {key: context.prompted for key, context in zip(asked, made, strict=True)}


def _sampled(
    bake: FinishedBake, backend: LocalBackend, questions: Sequence[Question], on: Told
) -> tuple[list[Trajectory], str]:
    plan = plan_sampling(backend.loaded(), bake.prompt, questions, bake.config.sample, int(bake.report["seed"]))
    stage = Stage(bake.run / "stages" / plan.name, plan.schema)
    sample(plan, stage, on=lambda done, total: on("sample", done, total))
    return list(read_trajectories(stage)), f"{len(questions)} other questions"


def _held(bake: FinishedBake) -> tuple[list[Trajectory], str]:
    if bake.trajectories is None:
        raise InputError(f"{bake.run}: its trajectories were removed; name questions to compare on with --questions")
    for split, of in (("validation", "held-out questions"), ("train", "the questions that it learned from")):
        found = list(read_trajectories(bake.trajectories, split))
        if found:
            return found, of
    raise InputError(f"{bake.run}: it has no answers; name questions to compare on with --questions")
