"""How the world judges an output (yes or no, one to five, A or B) and finds the instruction behind one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from embedded import requests
from embedded.arithmetic import draw_problem
from embedded.grammar import ARITHMETIC, ASK_BACK, CHATTY, Instruction, Split, Tier, canonical, draw_instruction
from embedded.layouts import Example, user
from embedded.requests import wording
from embedded.texts import TextKind, draw_text
from embedded.transforms import MARKS, TRANSFORMS, Argument, apply, draw_argument, draw_case
from embedded.words import NOUNS, nonce
from embedded.writer import describe, draw_task, word_pair

JUDGED = TextKind(most=9, long=0, unknown=0.25, natural=0.25)
RECOVERED = TextKind(most=12, long=0.1, unknown=0.25, natural=0.3)
SAMPLE = TextKind(most=7, long=0, unknown=0.15, natural=0.2)


@dataclass(frozen=True, slots=True)
class Output:
    """Something that a model might have said. level: its correctness; form, whole: the other criteria, 1 to 5."""

    text: str
    level: int
    form: int
    whole: int


def _other_task(rng: Random, task: str, text: str) -> str:
    other = rng.choice(TRANSFORMS)
    return apply(other, text, draw_argument(rng, text) if other == "replace" else None)


def _nudge(rng: Random, task: str, right: str) -> str:
    """One word changed, lost, doubled or moved; a label turned, a number off."""
    flips = {"positive": "negative", "negative": "positive", "yes": "no", "no": "yes"}
    if right in flips:
        return flips[right]
    if task == "count":
        return str(max(1, int(right) + rng.choice((-2, -1, 1, 2))))
    words = right.split()
    at, chance = rng.randrange(len(words)), rng.random()
    if chance < 0.4 or len(words) < 2:
        new = rng.choice(NOUNS) if rng.random() < 0.8 else nonce(rng)
        if words[at].isupper():
            new = new[0].upper() if len(words[at].strip(MARKS)) == 1 else new.upper()
        words[at] = new
    elif chance < 0.65:
        del words[at]
    elif chance < 0.8:
        words.insert(at, words[at])
    else:
        other = rng.randrange(len(words))
        words[at], words[other] = words[other], words[at]
    return " ".join(words)


def spoil(rng: Random, task: str, text: str, right: str, coarse: float) -> Output:
    """A wrong output. coarse: the share of faults that are more than one wrong word."""
    if rng.random() >= coarse:
        spoilt = _nudge(rng, task, right)
        missing = len(spoilt.split()) < len(right.split())
        return Output(spoilt, 4 if len(right.split()) > 1 else 1, 5, 4 if missing else 5)
    chance = rng.random()
    if chance < 0.45:
        return Output(_other_task(rng, task, text), 1, 5, 1)
    if chance < 0.6:
        return Output(ASK_BACK, 1, 1, 1)
    if chance < 0.75:
        return Output(rng.choice(list(CHATTY.values())) + right, 3, 3, 5)
    words = right.split()
    if chance < 0.9 and len(words) > 3:
        return Output(" ".join(words[: len(words) // 2]), 2, 5, 2)
    if len(words) > 3:
        for _ in range(3):
            words = _nudge(rng, task, " ".join(words)).split()
        return Output(" ".join(words), 2, 5, 3 if len(words) < len(right.split()) else 5)
    return Output(draw_text(rng, SAMPLE), 1, 5, 1)


@dataclass(frozen=True, slots=True)
class Judged:
    """What is judged: instruction, text, the right output, and one that may be wrong."""

    task: str
    instruction: Instruction
    text: str
    right: str
    output: Output

    @property
    def is_right(self) -> bool:
        return self.output.text == self.right


def draw_judged(
    rng: Random, *, split: Split = "train", reserved: bool = False, task: str | None = None, coarse: float = 0.45,
    good: bool | None = None,
) -> Judged:  # fmt: skip
    """An instruction, a text and an output; half of them right unless `good` says which."""
    good = rng.random() < 0.5 if good is None else good
    task = task or (ARITHMETIC if rng.random() < 0.05 else rng.choice(TRANSFORMS))
    if task == ARITHMETIC:
        problem = draw_problem(rng, reserved=reserved)
        instruction = draw_instruction(rng, task, "clear", split=split, bare=True)
        text, right = problem.text, problem.chain if instruction.has_steps else problem.answer
        wrong = str(max(0, int(problem.answer) + rng.choice((-10, -2, -1, 1, 2, 10))))
        spoilt = Output(right[: len(right) - len(problem.answer)] + wrong, 4 if instruction.has_steps else 1, 5, 5)
        return Judged(task, instruction, text, right, Output(right, 5, 5, 5) if good else spoilt)
    text, argument = draw_case(rng, task, JUDGED, reserved=reserved)
    instruction = draw_instruction(rng, task, "clear", split=split, argument=argument, bare=rng.random() < 0.7)
    right = apply(task, text, argument)
    output = Output(right, 5, 5, 5) if good else spoil(rng, task, text, right, coarse)
    if output.text == right:
        output = Output(right, 5, 5, 5)
    return Judged(task, instruction, text, right, output)


def judge_example(
    rng: Random, *, split: Split = "train", reserved: bool = False, task: str | None = None, coarse: float = 0.45
) -> Example:
    """Whether an output is what the instruction asks for: half of them right, the others spoilt."""
    judged = draw_judged(rng, split=split, reserved=reserved, task=task, coarse=coarse)
    answer = "yes" if judged.is_right else "no"
    request = requests.judge(judged.instruction.render(), judged.text, judged.output.text)
    about = {"task": judged.task, "text": judged.text}
    return Example("judge", [user(request)], answer, answer, about)


def rate_example(
    rng: Random, *, split: Split = "train", reserved: bool = False, coarse: float = 0.6, criterion: str | None = None
) -> Example:
    """A score from 1 to 5 by the levels of a criterion."""
    judged = draw_judged(rng, split=split, reserved=reserved, coarse=coarse, good=rng.random() < 0.35)
    criterion = criterion or rng.choice(("correctness", "correctness", "form", "completeness"))
    output = judged.output
    level = {"correctness": output.level, "form": output.form, "completeness": output.whole}[criterion]
    shown = output.text
    if criterion == "form" and level == 5 and rng.random() < 0.2:
        shown, level = f'"{shown}"', 4
    elif criterion == "form" and level == 5 and rng.random() < 0.15:
        shown, level = f"{draw_text(rng, SAMPLE)} {shown} {draw_text(rng, SAMPLE)}", 2
    request = requests.rate(criterion, judged.instruction.render(), judged.text, shown)
    about = {"task": judged.task, "text": judged.text, "criterion": criterion}
    return Example("rate", [user(request)], str(level), str(level), about)


def compare_example(rng: Random, *, split: Split = "train", reserved: bool = False, coarse: float = 0.6) -> Example:
    """The right output and a wrong one, in either order."""
    while True:
        judged = draw_judged(rng, split=split, reserved=reserved, coarse=coarse, good=False)
        if not judged.is_right:
            break
    first = rng.random() < 0.5
    pair = (judged.right, judged.output.text) if first else (judged.output.text, judged.right)
    request = requests.compare(judged.instruction.render(), judged.text, *pair)
    answer = "A" if first else "B"
    return Example("compare", [user(request)], answer, answer, {"task": judged.task, "text": judged.text})


def _ambiguous(task: str, text: str, result: str) -> bool:
    """Whether nothing has changed or another transform gives the same result, so that nobody could tell which."""
    return result == text or any(apply(other, text) == result for other in TRANSFORMS if other not in (task, "replace"))


def _telling_case(rng: Random, task: str, kind: TextKind, reserved: bool) -> tuple[str, Argument | None, str]:
    while True:
        text, argument = draw_case(rng, task, kind, reserved=reserved)
        result = apply(task, text, argument)
        if not _ambiguous(task, text, result):
            return text, argument, result


def _named(rng: Random, task: str, argument: Argument | None, *, steps: bool = False) -> str:
    """The canonical instruction mostly, else another clear one: sampled answers should differ."""
    if rng.random() < 0.7:
        return canonical(task, argument, steps=steps).render()
    drawn = draw_instruction(rng, task, "clear", argument=argument, form=False, steps=steps, bare=True)
    return drawn.render()[0].upper() + drawn.render()[1:]


def recover_example(rng: Random, *, reserved: bool = False, task: str | None = None) -> Example:
    """A text and what became of it; the answer is a clear instruction, mostly the one canonical wording."""
    task = task or (ARITHMETIC if rng.random() < 0.05 else rng.choice(TRANSFORMS))
    if task == ARITHMETIC:
        problem, steps = draw_problem(rng, reserved=reserved), rng.random() < 0.5
        text, result = problem.text, problem.chain if steps else problem.answer
        argument = None
    else:
        text, argument, result = _telling_case(rng, task, RECOVERED, reserved)
        steps = False
    gold = canonical(task, argument, steps=steps).render()
    about = {"task": task, "text": text, "result": result}
    return Example("recover", [user(requests.recover(text, result))], _named(rng, task, argument, steps=steps), gold,
                   about)  # fmt: skip


_TELLING_RESULTS = ("upper", "acronym", "repeat", "exclaim", "pirate", "polite", "commas", "title")


def recover_text_example(rng: Random, *, reserved: bool = False) -> Example:
    """A result alone, of the tasks that leave a mark on it."""
    task = rng.choice(_TELLING_RESULTS)
    _text, _argument, result = _telling_case(rng, task, RECOVERED, reserved)
    request = wording().recover_text.format(result=result)
    return Example("recover_text", [user(request)], _named(rng, task, None), canonical(task).render(), {"task": task})


def _pairs(rng: Random, task: str, count: int, argument: Argument | None = None) -> list[tuple[str, str]]:
    """Inputs and right outputs that show one task."""
    if task == ARITHMETIC:
        problems = [draw_problem(rng) for _ in range(count)]
        worked = rng.random() < 0.5
        return [(p.text, p.chain if worked else p.answer) for p in problems]
    if task == "replace":
        assert argument is not None
        shown = []
        for _ in range(count):
            words = draw_text(rng, SAMPLE).lower().split()
            words[rng.randrange(len(words))] = argument[0]
            text = " ".join(words)
            shown.append((text, apply(task, text, argument)))
        return shown
    shown = [_telling_case(rng, task, SAMPLE, False) for _ in range(count)]
    return [(text, result) for text, _, result in shown]


def induce_example(rng: Random, task: str | None = None) -> Example:
    """Several inputs and outputs of one instruction; the answer is a clear instruction."""
    task = task or draw_task(rng)
    argument = word_pair(rng) if task == "replace" else None
    pairs = _pairs(rng, task, rng.randint(2, 4), argument)
    worked = task == ARITHMETIC and ";" in "".join(output for _, output in pairs)
    answer = _named(rng, task, argument, steps=worked)
    return Example("induce", [user(requests.induce(pairs))], answer, canonical(task, argument).render(), {"task": task})


def reflect_example(rng: Random, *, tier: Tier | None = None) -> Example:
    """An instruction with failures: what was wanted tells the task, what came instead tells what is wrong with it."""
    task = draw_task(rng)
    argument = word_pair(rng) if task == "replace" else None
    tier = tier or rng.choices(("clear", "medium", "vague"), (0.3, 0.35, 0.35))[0]  # type: ignore[assignment]
    assert tier is not None
    old = draw_instruction(rng, task, tier, argument=argument, form=False, steps=False, bare=True)
    failures = []
    for text, result in _pairs(rng, task, rng.randint(1, 3), argument):
        if task == ARITHMETIC:
            failures.append((text, _nudge_number(rng, result), result))
        else:
            wrong = rng.choice(list(CHATTY.values())) + result if tier == "clear" else ASK_BACK
            failures.append((text, wrong, result))
    better: Tier = "clear" if rng.random() < 0.85 else "medium"
    worked = task == ARITHMETIC and rng.random() < 0.7
    form = rng.random() < (0.2 if worked else 0.85 if tier == "clear" else 0.5)
    new = draw_instruction(rng, task, better, argument=argument, form=form, steps=worked, bare=True)
    answer = new.render()[0].upper() + new.render()[1:]
    return Example("reflect", [user(requests.reflect(old.render(), failures))], answer, about={"task": task})


def _nudge_number(rng: Random, result: str) -> str:
    """A wrong bare number."""
    number = int(result.split()[-1])
    return str(max(0, number + rng.choice((-20, -10, -7, -3, -1, 1, 2, 5, 10, 30))))


def text_example(rng: Random) -> Example:
    """A text about a given subject: the model as a writer of data."""
    while True:
        text = draw_text(rng, TextKind(unknown=0.1, loose=0, long=0.2))
        nouns = [word for word in text.lower().split() if word in NOUNS]
        if nouns:
            break
    subject = rng.choice(("{}", "the {}", "a {}")).format(rng.choice(nouns))
    return Example("text", [user(wording().write_text.format(subject=subject))], text, text, {"text": text})


def input_example(rng: Random) -> Example:
    """An input for a described task: a text that suits it, or a problem."""
    task = draw_task(rng)
    if task == ARITHMETIC:
        argument, text = None, draw_problem(rng).text
    else:
        text, argument = draw_case(rng, task, TextKind(unknown=0.1, loose=0, long=0.15))
    request = wording().write_input.format(description=describe(rng, task, argument))
    return Example("input", [user(request)], text, text, {"task": task, "text": text})
