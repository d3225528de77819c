"""The arguments of `promptmill bake …`."""

from pathlib import Path
from typing import Annotated

import typer

from promptmill.cli.options import BUDGET, MODEL, PROMPT, RUN, Given, Limit, with_options

bake = typer.Typer(no_args_is_help=True, help="Put a prompt into the weights: the model then does without it.")

_ASKED = "Questions"

Inputs = Annotated[
    Path | None, typer.Option("--inputs", help="JSONL of questions, key: question", rich_help_panel=_ASKED)
]
Validation = Annotated[
    Path | None,
    typer.Option("--validation", help="JSONL of those held out (else a share of --inputs)", rich_help_panel=_ASKED),
]
TaskName = Annotated[
    str | None, typer.Option("--task", help="or a task, whose train examples are asked", rich_help_panel=_ASKED)
]
About = Annotated[
    str | None,
    typer.Option("--about", help="or what the model is to write questions about itself", rich_help_panel=_ASKED),
]
Count = Annotated[int | None, typer.Option("--count", help="questions that it writes (64)", rich_help_panel=_ASKED)]
AsOriginal = Annotated[
    bool, typer.Option("--as-original", help="sample as the original's defaults did", rich_help_panel=_ASKED)
]
Run = Annotated[Path, typer.Argument(help="folder of a finished bake")]
To = Annotated[Path, typer.Option("--to", help="new folder")]
AsJson = Annotated[bool, typer.Option("--json", help="the result on standard output as JSON")]


@bake.command("run", epilog="Example: promptmill bake run --prompt 'Write the text in uppercase.' --task uppercase "
                            "--behaviour uppercase")  # fmt: skip
@with_options(MODEL, PROMPT, BUDGET, RUN)
def bake_run(
    given: Given,
    inputs: Inputs = None,
    validation: Validation = None,
    task: TaskName = None,
    about: About = None,
    count: Count = None,
    as_original: AsOriginal = False,
    behaviour: Annotated[
        list[str] | None, typer.Option("--behaviour", help="task on which the baked model is tried; may be repeated")
    ] = None,
    forgetting: Annotated[
        list[str] | None, typer.Option("--forgetting", help="task that it must still do; may be repeated")
    ] = None,
    rehearse: Annotated[Path | None, typer.Option("--rehearse", help="YAML list of other prompts to be kept")] = None,
    limit: Limit = None,
) -> None:
    """Sample the prompted model, train an adapter on it, and try the result. Gives a LoRA adapter.

    With --adapter the prompt is baked on top of an earlier bake; the new adapter then goes with the earlier one.
    """
    from promptmill.cli.bake import bake_command

    bake_command(given, as_original, inputs=inputs, validation=validation, task=task, about=about, count=count,
                 behaviour=behaviour, forgetting=forgetting, rehearse=rehearse, limit=limit)  # fmt: skip


@bake.command("sweep", epilog="Example: promptmill bake sweep --prompts prompts --temperature 1 --temperature 2 "
                              "--rank 4 --rank 16 --inputs questions.jsonl --out sweep --worker 0/2")  # fmt: skip
@with_options(MODEL, BUDGET, RUN)
def bake_sweep(
    given: Given,
    prompts: Annotated[Path, typer.Option("--prompts", help="folder of prompts: .md, .txt, .yaml, .json")],
    temperature: Annotated[
        list[float] | None, typer.Option("--temperature", help="of the sampling; may be repeated")
    ] = None,
    rank: Annotated[list[int] | None, typer.Option("--rank", help="of the adapter; may be repeated")] = None,
    worker: Annotated[str, typer.Option("--worker", help="i/n: only every n-th bake, from the i-th on")] = "0/1",
    inputs: Inputs = None,
    validation: Validation = None,
    task: TaskName = None,
    behaviour: Annotated[
        list[str] | None, typer.Option("--behaviour", help="task on which baked models are tried; may be repeated")
    ] = None,
    rehearse: Annotated[Path | None, typer.Option("--rehearse", help="YAML list of other prompts to be kept")] = None,
    limit: Limit = None,
) -> None:
    """Bake each prompt of a folder at each temperature and rank, and compare: sweep.json."""
    from promptmill.cli.bake_sweep import Grid, sweep_command

    grid = Grid(prompts, tuple(temperature or ()), tuple(rank or ()), worker)
    sweep_command(given, grid, inputs=inputs, validation=validation, task=task, behaviour=behaviour, rehearse=rehearse,
                  limit=limit)  # fmt: skip


@bake.command("sample", epilog="Example: promptmill bake sample --prompt 'Write the text in uppercase.' "
                               "--inputs questions.jsonl --original trajectories.jsonl")  # fmt: skip
@with_options(MODEL, PROMPT, BUDGET, RUN)
def bake_sample(
    given: Given,
    inputs: Inputs = None,
    validation: Validation = None,
    task: TaskName = None,
    about: About = None,
    count: Count = None,
    as_original: AsOriginal = False,
    original: Annotated[
        Path | None,
        typer.Option("--original", help="write the original's JSONL too; what is held out into NAME.validation.jsonl"),
    ] = None,
    limit: Limit = None,
) -> None:
    """Only draw the prompted model's answers, and say how far the prompt moves it. No training."""
    from promptmill.cli.bake import sample_command

    sample_command(given, as_original, original, inputs=inputs, validation=validation, task=task, about=about,
                   count=count, limit=limit)  # fmt: skip


@bake.command("report", epilog="Example: promptmill bake report runs/bake-1a2b --against other-prompt.md")
def bake_report(
    run: Run,
    against: Annotated[
        Path | None, typer.Option("--against", help="a prompt to compare with, in the baked one's place")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option("--questions", help="JSONL of other questions (else the held-out answers)")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Compare a bake with the model as it was, with the prompt and without: KL by place, losses of each answer."""
    from promptmill.cli.bake_runs import report_command

    report_command(run, against, questions, json_)


@bake.command("strengths", epilog="Example: promptmill bake strengths runs/bake-1a2b --behaviour uppercase")
def bake_strengths(
    run: Run,
    behaviour: Annotated[
        list[str] | None, typer.Option("--behaviour", help="task to be tried without a prompt; may be repeated")
    ] = None,
    forgetting: Annotated[
        list[str] | None, typer.Option("--forgetting", help="task to be tried under its own; may be repeated")
    ] = None,
    at: Annotated[str, typer.Option("--at", help="the strengths")] = "0,0.25,0.5,0.75,1,1.25",
    limit: Annotated[int, typer.Option("--limit", min=1, help="examples of a task at most")] = 200,
    json_: AsJson = False,
) -> None:
    """A finished bake in part: KL and scores from strength 0, the model as it was, to 1 and beyond."""
    from promptmill.cli.bake_runs import strengths_command

    strengths_command(run, behaviour or [], forgetting or [], at, limit, json_)


@bake.command("combine", epilog="Example: promptmill bake combine runs/bake-1a2b runs/bake-3c4d --to both")
def bake_combine(
    runs: Annotated[list[Path], typer.Argument(help="folders of finished bakes of one model")], to: To
) -> None:
    """Several bakes in one adapter: the exact sum of their changes."""
    from promptmill.cli.bake_runs import combine_command

    combine_command(runs, to)


@bake.command("export", epilog="Example: promptmill bake export runs/bake-1a2b --to half --strength 0.5")
def bake_export(
    run: Run,
    to: To,
    strength: Annotated[float, typer.Option("--strength", help="of the change: 0.5 is half-baked")] = 1.0,
    merge: Annotated[bool, typer.Option("--merge", help="a whole model instead of an adapter")] = False,
    dtype: Annotated[str, typer.Option("--dtype", help="of a merged model")] = "float32",
) -> None:
    """An adapter of another strength, or the adapter merged into a model of its own."""
    from promptmill.cli.bake_runs import export_command

    export_command(run, to, strength, merge, dtype)
