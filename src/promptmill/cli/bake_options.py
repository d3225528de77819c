"""Options that the commands which bake share, in groups as those of options.py."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from promptmill.cli.options import Group, Limit

ASKED = "Questions"
_asks = partial(typer.Option, rich_help_panel=ASKED, show_default=False)
_tries = partial(typer.Option, show_default=False)

QUESTIONS: Group = {
    "inputs": Annotated[Path | None, _asks("--inputs", help="JSONL of questions, key: question")],
    "validation": Annotated[
        Path | None, _asks("--validation", help="JSONL of those held out (else a share of --inputs)")
    ],
    "task": Annotated[str | None, _asks("--task", help="or a task, whose train examples are asked")],
    "about": Annotated[str | None, _asks("--about", help="or what the model is to write questions about itself")],
    "count": Annotated[int | None, _asks("--count", help="questions that it writes (64)")],
    "as_original": Annotated[bool | None, _asks("--as-original", help="sample as the original's defaults did")],
    "limit": Limit,
}
"""On what a prompt is baked."""
TRIED: Group = {
    "behaviour": Annotated[
        list[str] | None, _tries("--behaviour", help="task on which the baked model is tried; may be repeated")
    ],
    "rehearse": Annotated[Path | None, _tries("--rehearse", help="YAML list of other prompts to be kept")],
    "unrelated": Annotated[
        Path | None, _tries("--unrelated", help="JSONL of plain texts, key: text, to see what else it changes (ours)")
    ],
}
"""What the baked model is to do, and what it is to keep."""
