"""The arguments of `promptmill bake …`."""

from pathlib import Path
from typing import Annotated

import typer

from promptmill.cli.bake_options import ASKED, QUESTIONS, TRIED
from promptmill.cli.options import BUDGET, MODEL, PROMPT, RUN, Given, with_options

bake = typer.Typer(no_args_is_help=True, help="Put a prompt into the weights: the model then does without it.")

Run = Annotated[Path, typer.Argument(help="folder of a finished bake")]
To = Annotated[Path, typer.Option("--to", help="new folder")]
AsJson = Annotated[bool, typer.Option("--json", help="the result on standard output as JSON")]


@bake.command("run", epilog="Example: promptmill bake run --prompt 'Write the text in uppercase.' --task uppercase "
                            "--behaviour uppercase")  # fmt: skip
@with_options(MODEL, PROMPT, QUESTIONS, TRIED, BUDGET, RUN)
def bake_run(
    given: Given,
    trajectories: Annotated[
        Path | None,
        typer.Option("--trajectories", rich_help_panel=ASKED, help="or answers that are there already: the folder of a "
                     "finished bake sample or bake run, or the original's JSONL"),
    ] = None,
    forgetting: Annotated[
        list[str] | None, typer.Option("--forgetting", help="task that it must still do; may be repeated")
    ] = None,
) -> None:  # fmt: skip
    """Sample the prompted model, train an adapter on it, and try the result. Gives a LoRA adapter.

    With --adapter the prompt is baked on top of an earlier bake; the new adapter then goes with the earlier one.
    """
    from promptmill.cli.bake import bake_command

    bake_command(given, trajectories=trajectories, forgetting=forgetting)


@bake.command("pursue", epilog="Example: promptmill bake pursue --prompt 'Never use the letter e.' --rounds 3 "
                               "--inputs questions.jsonl --behaviour no-e.yaml --out pursuit")  # fmt: skip
@with_options(MODEL, PROMPT, QUESTIONS, TRIED, BUDGET, RUN)
def bake_pursue(
    given: Given,
    rounds: Annotated[int | None, typer.Option("--rounds", help="bakes, one on top of the other (3)")] = None,
) -> None:
    """Prompt pursuit: bake, put the prompt before the baked model, bake again. Gives an adapter for each round."""
    from promptmill.cli.bake_pursue import pursue_command

    pursue_command(given, rounds=rounds)


@bake.command("sweep", epilog="Example: promptmill bake sweep --prompts prompts --temperature 1 --temperature 2 "
                              "--rank 4 --rank 16 --inputs questions.jsonl --out sweep --worker 0/2")  # fmt: skip
@with_options(MODEL, QUESTIONS, TRIED, BUDGET, RUN)
def bake_sweep(
    given: Given,
    prompts: Annotated[Path, typer.Option("--prompts", help="folder of prompts: .md, .txt, .yaml, .json")],
    temperature: Annotated[
        list[float] | None, typer.Option("--temperature", help="of the sampling; may be repeated")
    ] = None,
    rank: Annotated[list[int] | None, typer.Option("--rank", help="of the adapter; may be repeated")] = None,
    worker: Annotated[str, typer.Option("--worker", help="i/n: only every n-th bake, from the i-th on")] = "0/1",
) -> None:
    """Bake each prompt of a folder at each temperature and rank, and compare: sweep.json."""
    from promptmill.cli.bake_sweep import Grid, sweep_command

    sweep_command(given, Grid(prompts, tuple(temperature or ()), tuple(rank or ()), worker))


@bake.command("sample", epilog="Example: promptmill bake sample --prompt 'Write the text in uppercase.' "
                               "--inputs questions.jsonl --original trajectories.jsonl")  # fmt: skip
@with_options(MODEL, PROMPT, QUESTIONS, BUDGET, RUN)
def bake_sample(
    given: Given,
    original: Annotated[
        Path | None,
        typer.Option("--original", help="write the original's JSONL too; what is held out into NAME.validation.jsonl"),
    ] = None,
) -> None:
    """Only draw the prompted model's answers, and say how far the prompt moves it. No training."""
    from promptmill.cli.bake import sample_command
    from promptmill.crafts.bake.original import check_target

    if original is not None:
        check_target(original)
    sample_command(given, original)


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
    runs: Annotated[list[Path], typer.Argument(help="folders of finished bakes of one model")],
    to: To,
    json_: AsJson = False,
) -> None:
    """Several bakes in one adapter: the exact sum of their changes."""
    from promptmill.cli.bake_runs import combine_command

    combine_command(runs, to, json_)


@bake.command("export", epilog="Example: promptmill bake export runs/bake-1a2b --to half --strength 0.5")
def bake_export(
    run: Run,
    to: To,
    strength: Annotated[float, typer.Option("--strength", help="of the change: 0.5 is half-baked")] = 1.0,
    merge: Annotated[bool, typer.Option("--merge", help="a whole model instead of an adapter")] = False,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="of a merged model: float32 (default), bfloat16 or float16")
    ] = None,
    json_: AsJson = False,
) -> None:
    """An adapter of another strength, or the adapter merged into a model of its own."""
    from promptmill.cli.bake_runs import export_command

    export_command(run, to, strength, merge, dtype, json_)
