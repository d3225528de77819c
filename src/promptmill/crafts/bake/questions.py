"""The questions on which a prompt is baked: from a file, from a task, or written by a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from promptmill.errors import InputError
from promptmill.model.chat import Completion, Failure, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.prompt import fill
from promptmill.tasks.formats import read_table
from promptmill.tasks.split import content_hash
from promptmill.tasks.task import Task
from promptmill.vary.alike import TOO_ALIKE, Diversity
from promptmill.vary.read import read_instruction
from promptmill.vary.wording import Wording

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
ROUNDS = 4  # a writer that repeats itself is asked so many times over before what it has written must do


@dataclass(frozen=True, slots=True)
class Question:
    """text: the user's turn, before the prompt's own user template is put around it. id: a hash of the text."""

    id: str
    text: str
    split: Split


def questions_of(texts: Iterable[str], validation: float = 0.1, split: Split | None = None) -> list[Question]:
    """Questions in the order of the texts, each once (case and white space aside).

    validation: the share that is held out. Which question that is follows from a hash of its text, so none moves when
    others come or go; only where one side would be empty the question that is nearest to it goes over (a single
    question is for training). split: all of them are in that split instead.
    """
    hashed: dict[str, str] = {}
    for text in texts:
        hashed.setdefault(_hash(text), text)
    if not hashed:
        raise InputError("there are no questions; give some with --inputs, or let the model write them")
    places = {key: int(key[:16], 16) / 2**64 for key in hashed}
    held = {key for key, place in places.items() if place < validation}
    if validation and not held and len(hashed) > 1:
        held = {min(places, key=lambda key: places[key])}
    if len(held) == len(hashed):
        held.remove(max(places, key=lambda key: places[key]))
    return [
        Question(key[:12], text, split or ("validation" if key in held else "train")) for key, text in hashed.items()
    ]


def question_id(text: str) -> str:
    """The id that a question of that text has."""
    return _hash(text)[:12]


def _hash(text: str) -> str:
    return content_hash({"question": text})


def read_questions(path: Path, validation: float = 0.1, split: Split | None = None) -> list[Question]:
    """Questions from a file of rows with the key `question` (JSONL; CSV and parquet do as well). InputError names the
    line of a row without one. See `questions_of`."""
    texts = []
    for row in read_table(path).rows:
        text = row.values.get("question")
        if not isinstance(text, str) or not text.strip():
            what = "is no text" if "question" in row.values else f"is not there (keys: {', '.join(row.values)})"
            raise InputError(f"{path}, {row.where}: the key 'question' {what}; each row must be {{\"question\": …}}")
        texts.append(text)
    return questions_of(texts, validation, split)


def task_questions(task: Task, validation: float = 0.1, limit: int | None = None) -> list[Question]:
    """The train examples of a task as its own user template puts them, at most `limit`. Dev and test stay unseen, so
    that a baked model can be tried on them."""
    examples = task.split("train")[:limit]
    return questions_of((fill(task.prompt.user, example.fields) for example in examples), validation)


async def written_questions(
    model: Model,
    wording: Wording,
    about: str,
    count: int,
    *,
    kind: Literal["requests", "inputs"] = "requests",
    temperature: float = 1.0,
    max_tokens: int = 96,
    bound: float = TOO_ALIKE,
    validation: float = 0.1,
) -> list[Question]:
    """Up to `count` questions written by a model, where there are none of one's own.

    about: what they are for. kind: "requests" asks for topics for the intent `about` and for one request on each topic
    (for a style, a persona, a format); "inputs" asks for inputs to the instruction `about` (for a prompt that says what
    is to be done with an input). bound: likeness at which a question counts as written before (see Diversity).

    Fewer come where the writer repeats itself. InputError where it writes none at all. Raises what `Model.ask` raises.
    """
    sampling = Sampling(temperature, max_tokens=max_tokens)
    kept, failed = Diversity(bound), None
    for turn in range(ROUNDS):
        repeats = range(turn * count, (turn + 1) * count)
        answers = await together([_written(model, wording, about, kind, sampling, repeat) for repeat in repeats])
        for answer in answers:
            if isinstance(answer, Failure):
                failed = answer
            elif answer is not None and len(kept.texts) < count:
                kept.add(answer)
        if len(kept.texts) >= count:
            break
    if not kept.texts:
        why = f"the last call ended with {failed.kind}: {failed.detail}" if failed else "its answers cannot be read"
        raise InputError(f"{model.name} has written no question about {about[:40]!r} ({why}); give some with --inputs")
    return questions_of(kept.texts, validation)


async def _written(
    model: Model, wording: Wording, about: str, kind: str, sampling: Sampling, repeat: int
) -> str | Failure | None:
    """One question; None where the answer holds none."""
    if kind == "inputs":
        return await _said(model, fill(wording.write_input, {"description": about}), sampling, repeat)
    topic = await _said(model, fill(wording.topic, {"intent": about}), sampling, repeat)
    if topic is None or isinstance(topic, Failure):
        return topic
    return await _said(model, fill(wording.propose, {"topic": topic}), sampling, repeat)


async def _said(model: Model, text: str, sampling: Sampling, repeat: int) -> str | Failure | None:
    answer = await model.ask(Request((("user", text),), sampling, repeat=repeat))
    return read_instruction(answer.text) if isinstance(answer, Completion) else answer


def joined(train: Sequence[Question], validation: Sequence[Question]) -> list[Question]:
    """Two lists that were given apart, each in its own split; a question of both is for validation."""
    held = {question.id: replace(question, split="validation") for question in validation}
    kept: list[Question] = [replace(question, split="train") for question in train if question.id not in held]
    return [*kept, *held.values()]
