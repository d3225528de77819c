"""`promptmill data`: other people's data sets as files that the crafts read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptmill.errors import InputError

data = typer.Typer(no_args_is_help=True, help="Make question files of other data sets.")


@data.callback()
def top() -> None:
    pass


@data.command("squad", epilog="Example: promptmill data squad --from train-v1.1.json --out squad")
def data_squad(
    sources: Annotated[
        list[str], typer.Option("--from", help="SQuAD v1.1 JSON: a file or a URL; a second one is held out")
    ],
    out: Annotated[Path, typer.Option("--out", help="folder for train.jsonl and validation.jsonl")],
    share: Annotated[
        float, typer.Option("--validation", min=0, max=0.99, help="share held out, where there is one source")
    ] = 0.1,
) -> None:
    """Questions of SQuAD v1.1, each once, for promptmill bake run --inputs."""
    from promptmill.cli.screen import out as screen
    from promptmill.cli.screen import show_rows
    from promptmill.crafts.bake.squad import squad_questions, write_questions

    if len(sources) > 2:
        raise InputError("--from can be given twice: the questions to learn from, and those that are held out")
    written = write_questions(squad_questions(sources, share), out)
    show_rows([(split, f"{path}, {count:,} questions") for split, (path, count) in written.items()])
    held = f" --validation {written['validation'][0]}" if "validation" in written else ""
    command = f"promptmill bake run --prompt TEXT --inputs {written['train'][0]}{held} --limit 200"
    screen.print(f"next: {command}", markup=False, soft_wrap=True)
