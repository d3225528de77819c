"""A small day care to read, and how to change it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from promptmill.crafts.breed.daycare.folder import DayCare, read_day_care
from promptmill.errors import InputError

ROWS = [
    {"text": f"text {at}", "question": f"question {at}", "gold_good": at % 3 == 0, "gold_other": "hidden"}
    for at in range(40)
]
DESCRIPTION = {
    "task_description": "Is the question good?",
    "fitness_scorer": {"type": "BinaryfBeta", "beta": 0.5},
    "decoder_options": "sample(temperature=0.9)",
    "fitness_decoder_options": "sample(n=2, temperature=0.7)",
    "fixed_system_prompt": None,
}
BREEDER = r'''# as it was
{
    "notes": "some"
    "fitness_test_template":
    """
    {decoder_options}
        "[[INST]] <<SYS>>"
        "{system_prompt}"
        "<</SYS>>\n\n"
        "T: {text}\n"
        "Q: {question}\n"
        if not CoT:
            "{task_prompt}[[/INST]][ANSWER]\n" where ANSWER in set([" Yes", " No"])
        else:
            "{task_prompt}[[/INST]] {reasoning_prompt} [WHY]\n" where len(TOKENS(WHY)) < 50
            "So: [ANSWER]\n" where ANSWER in set([" Yes", " No"])
    from
        lmql.model({model_name_or_path}, batch_size={batch_size})
    """,
    "fitness_test_template_args": ["system_prompt", "text", "question", "task_prompt", "reasoning_prompt"],
    ####
    "mutation_direct":
    """
    {decoder_options}
        # both
        "{mutation_prompt}\n"
        if thinking_style:
            "{thinking_style}\n"
        if task_description:
            "{task_description}"
        else:
            "{task_prompt}"
        "\n\INST:[[\INST]]"
        "S: [SYSTEM_PROMPT]\n" where STOPS_BEFORE(SYSTEM_PROMPT, "\n")
        "T: [TASK_PROMPT]\n" where STOPS_BEFORE(TASK_PROMPT, "\n") and STOPS_BEFORE(SYSTEM_PROMPT, "  ")
        "R: [REASONING_PROMPT]\n" where STOPS_AT(REASONING_PROMPT, "\n")
    from
        lmql.model({model_name_or_path})
    """,
    "mutation_direct_args": ["mutation_prompt", "thinking_style", "task_description", "task_prompt"],
    "mutation_eda_based":
    """
    {decoder_options}
        if eda_method == "lineage":
            "Upwards\n"
        elif eda_method == "ranked":
            "The last of " + str(len(task_prompts)) + " is the best\n"
        else:
            "Any\n"
        for i, task_prompt in enumerate(task_prompts):
            "{i}: {task_prompt}\n"
        "[TASK_PROMPT]"
    from
        {model_name_or_path}
    """,
    "mutation_lamarckian":
    """
    {decoder_options}
        for r in correct_reasonings:
            r + "\n"
        "It was: " + task_prompt
        "[[/INST]][TASK_PROMPT]\n[REASONING_PROMPT]"
    """,
    "hypermutation_zero_order_direct": """
    {decoder_options}
        "{thinking_style} {task_description}"
        "{:assistant}[REMARK]\n[MUTATION_PROMPT]"
    """,
    "hypermutation_first_order_direct": """
    {decoder_options}
        "Improve {mutation_prompt}{:assistant}[BETTER]"
    """,
}
'''.replace('"""', "'''")


def make_day_care(tmp_path: Path) -> Path:
    """A whole day care, with its suite beside it."""
    (tmp_path / "good").mkdir()
    write(tmp_path / "mutation_prompts.json", {"1": "Shorten this.", "2": "Say it {again}."})
    write(tmp_path / "thinking_styles.json", ["Think.", "Look."])
    write(tmp_path / "good" / "task_description.json", DESCRIPTION)
    write(tmp_path / "suite.json", ROWS)
    (tmp_path / "breeder.lmql").write_text(BREEDER, encoding="utf-8")
    return tmp_path


def write(path: Path, data: Any) -> None:
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")


def describe(folder: Path, **changes: Any) -> None:
    write(folder / "good" / "task_description.json", DESCRIPTION | changes)


def read(folder: Path, **more: Any) -> DayCare:
    return read_day_care(folder, "good", folder / "suite.json", **more)


def line_of(words: str) -> int:
    """The line of BREEDER on which these words stand first."""
    return BREEDER[: BREEDER.index(words)].count("\n") + 1


def complaint(call: Callable[[], object]) -> str:
    """The message of the InputError that a call raises, empty where it raises none."""
    try:
        call()
    except InputError as error:
        return str(error)
    return ""
