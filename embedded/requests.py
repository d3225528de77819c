"""The package's own requests to a writer, judge or recoverer, in the words of its wording.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from promptmill.vary.wording import Wording, load_wording, numbered, rubric

WORDING_FILE = Path(__file__).parents[1] / "src" / "promptmill" / "vary" / "wording.yaml"
FORM_STYLES = ("Look at the form that the answer should have.", "Say exactly what is wanted and nothing else.")


@cache
def wording() -> Wording:
    """The package's requests, from its own file."""
    return load_wording(WORDING_FILE)


def first_order(mutation_prompt: str, instruction: str) -> str:
    return wording().first_order.format(mutation_prompt=mutation_prompt, instruction=instruction)


def zero_order(thinking_style: str, description: str) -> str:
    return wording().zero_order.format(thinking_style=thinking_style, description=description)


def from_list(kind: str, instructions: Sequence[str]) -> str:
    """kind: eda, eda_ranked or lineage."""
    return str(getattr(wording(), kind)).format(instructions=numbered(list(instructions)))


def induce(pairs: Sequence[tuple[str, str]]) -> str:
    shown = "\n\n".join(wording().example.format(input=text, output=output) for text, output in pairs)
    return wording().induce.format(examples=shown)


def reflect(instruction: str, failures: Sequence[tuple[str, str, str]]) -> str:
    """failures: input, output and what was wanted."""
    shown = "\n\n".join(wording().failure.format(input=i, output=o, wanted=w) for i, o, w in failures)
    return wording().reflect.format(instruction=instruction, failures=shown)


def judge(instruction: str, text: str, output: str) -> str:
    return wording().judge.format(instruction=instruction, input=text, output=output)


def rate(criterion: str, instruction: str, text: str, output: str) -> str:
    return wording().rate.format(
        criterion=criterion, rubric=rubric(wording().criteria[criterion]), instruction=instruction, input=text,
        output=output,
    )  # fmt: skip


def compare(instruction: str, text: str, a: str, b: str) -> str:
    return wording().compare.format(instruction=instruction, input=text, a=a, b=b)


def recover(original: str, result: str) -> str:
    return wording().recover.format(original=original, result=result)
