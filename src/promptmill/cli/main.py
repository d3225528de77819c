"""`promptmill`: one command for each craft, and those that they stand on. Arguments and pictures, no logic.

Exit codes: 0 done; 1 no answer came from the model; 2 bad input or an unusable model; 3 the budget ended it early;
130 interrupted. Whatever the code, what was answered is kept, and the same command goes on from there.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from promptmill.cli.again import again
from promptmill.cli.bake_app import bake
from promptmill.cli.data import data
from promptmill.cli.options import BUDGET, MODEL, PROMPT, RUN, SAMPLING, WRITER, Given, Limit, with_options
from promptmill.cli.panel_app import panel
from promptmill.cli.recover_app import recover
from promptmill.cli.rewrite_app import rewrite
from promptmill.errors import PromptmillError

app = typer.Typer(
    name="promptmill",
    help="Find, improve, recover and bake prompts, on any model. Begin with: promptmill breed arithmetic",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

TaskName = Annotated[str, typer.Argument(help="a built-in task (promptmill tasks), a data file, or a task's YAML")]
Scorer = Annotated[str | None, typer.Option("--scorer", help="exact, number, choice, f_beta:beta=0.5, module:function")]
Repeat = Annotated[int | None, typer.Option("--repeat", help="answers for each example (1)")]
Constrain = Annotated[bool, typer.Option("--constrain", help="hold the answers to the task's choices")]


def _version(value: bool) -> None:
    if value:
        from promptmill import __version__

        typer.echo(f"promptmill {__version__}")
        raise typer.Exit()


@app.callback()
def top(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    pass


@app.command(epilog="Example: promptmill ask 'the cat sat on the hill' --prompt 'Write the text in uppercase.'")
@with_options(MODEL, PROMPT, SAMPLING, BUDGET, RUN)
def ask(
    text: Annotated[str, typer.Argument(help="the question; - reads it from standard input")],
    given: Given,
    rewriter: Annotated[
        Path | None, typer.Option("--rewriter", help="run of a rewrite: show the answer to the refined prompt as well")
    ] = None,
) -> None:
    """Answer one question, with a prompt or without."""
    from promptmill.cli.ask import ask_command

    ask_command(text, given, rewriter)


@app.command(
    "eval",
    epilog="Example: promptmill eval gsm8k.jsonl --prompt 'Think step by step.' --model qwen3 "
    "--base-url http://localhost:8000/v1 --limit 200",
)
@with_options(MODEL, PROMPT, SAMPLING, BUDGET, RUN)
def evaluate(
    task: TaskName,
    given: Given,
    split: Annotated[str | None, typer.Option("--split", help="train, dev, test (default) or all")] = None,
    repeat: Repeat = None,
    limit: Limit = None,
    scorer: Scorer = None,
    constrain: Constrain = False,
) -> None:
    """Score a prompt on a task: score, interval, failures, cost, and a run with every answer."""
    from promptmill.cli.evaluate import eval_command

    eval_command(given, task=task, split=split, repeat=repeat, limit=limit, scorer=scorer, constrain=constrain or None)


@app.command(epilog="Example: promptmill compare runs/eval-gsm8k-0a1b2c runs/eval-gsm8k-3d4e5f")
def compare(
    before: Annotated[str, typer.Argument(help="folder of an eval run")],
    after: Annotated[str, typer.Argument(help="folder of another eval run of the same task")],
    json_: Annotated[bool, typer.Option("--json", help="the result on standard output as JSON")] = False,
) -> None:
    """Compare two eval runs example by example: gain, interval, p."""
    from promptmill.cli.evaluate import compare_command

    compare_command(before, after, json_)


_DAY_CARE, _SEARCH = "Day care (a folder of the old form)", "Search"


@app.command(epilog="Example: promptmill breed arithmetic --model embedded --search-calls 1000")
@with_options(MODEL, WRITER, PROMPT, SAMPLING, BUDGET, RUN)
def breed(
    given: Given,
    task: Annotated[str | None, typer.Argument(help="a built-in task, a data file, or a task's YAML")] = None,
    limit: Limit = None,
    repeat: Repeat = None,
    scorer: Scorer = None,
    constrain: Constrain = False,
    wording: Annotated[str | None, typer.Option("--wording", help="your copy of the requests to the writer")] = None,
    mutation_prompts: Annotated[
        Path | None, typer.Option("--mutation-prompts", help='JSON of {"1": "text", …}, over those of the wording')
    ] = None,
    thinking_styles: Annotated[
        Path | None, typer.Option("--thinking-styles", help="JSON of the same form, over those of the wording")
    ] = None,
    search_calls: Annotated[
        int | None,
        typer.Option(
            "--search-calls", help="calls of the search, task and writer together (1500)", rich_help_panel=_SEARCH
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="end the search after so long", rich_help_panel=_SEARCH)
    ] = None,
    as_paper: Annotated[
        bool, typer.Option("--as-paper", help="PromptBreeder's own loop and settings", rich_help_panel=_SEARCH)
    ] = False,
    test_cot: Annotated[
        bool, typer.Option("--test-cot", help="try prompts with a worked chain", rich_help_panel=_SEARCH)
    ] = False,
    test_no_cot: Annotated[
        bool,
        typer.Option("--test-no-cot", help="try them without; with both the better counts", rich_help_panel=_SEARCH),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="walk through the operators in turn", rich_help_panel=_SEARCH)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="say each child and each race", rich_help_panel=_SEARCH)
    ] = False,
    use_wandb: Annotated[
        bool, typer.Option("--use-wandb", help="log to Weights & Biases", rich_help_panel=_SEARCH)
    ] = False,
    wandb_project: Annotated[
        str, typer.Option("--wandb-project", help="its project", rich_help_panel=_SEARCH)
    ] = "promptmill",
    day_care: Annotated[Path | None, typer.Option("--day-care", help="the folder", rich_help_panel=_DAY_CARE)] = None,
    day_care_task: Annotated[
        str | None, typer.Option("--task", help="one of its tasks", rich_help_panel=_DAY_CARE)
    ] = None,
    fitness_suite: Annotated[
        Path | None, typer.Option("--fitness-suite", help="JSON of examples", rich_help_panel=_DAY_CARE)
    ] = None,
    decoder_options: Annotated[
        str | None,
        typer.Option("--decoder-options", help="argmax or sample(…), over the task's own", rich_help_panel=_DAY_CARE),
    ] = None,
) -> None:
    """Find the best prompt for a task and a model, with proof on examples that the search never saw."""
    from promptmill.cli.breed import AS_PAPER_OPTIONS, breed_command
    from promptmill.cli.day_care import DayCareFiles

    files = DayCareFiles(day_care, day_care_task, fitness_suite, decoder_options)
    files.check(task)
    chain = {(True, True): "both", (True, False): "with", (False, True): "without"}.get((test_cot, test_no_cot))
    chain = chain or ("without" if day_care else None)  # its reasoning prompts are asked for by --test-cot
    walk = "in_turn" if debug else None  # over what --as-paper says of the operators
    search = (AS_PAPER_OPTIONS if as_paper else {}) | {
        name: value for name, value in (("breed.chain", chain), ("breed.operators", walk)) if value
    }
    breed_command(
        given, files=files, verbose=verbose, task=task, limit=limit, repeat=repeat, scorer=scorer,
        constrain=constrain or None, wording=wording, mutation_prompts=mutation_prompts,
        thinking_styles=thinking_styles, minutes=minutes, search_calls=search_calls,
        wandb=wandb_project if use_wandb else None, **search,
    )  # fmt: skip


app.add_typer(bake, name="bake")
app.add_typer(rewrite, name="rewrite")
app.add_typer(recover, name="recover")
app.add_typer(panel, name="panel")
app.add_typer(data, name="data")


@app.command(epilog="Example: promptmill serve --model embedded --port 8100")
@with_options(MODEL)
def serve(
    given: Given,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="of 127.0.0.1; 0 takes a free one")] = 8100,
) -> None:
    """Serve a local or embedded model as an OpenAI-compatible endpoint on 127.0.0.1."""
    from promptmill.cli.serve import serve_command

    serve_command(given, port)


@app.command(epilog="Example: promptmill tasks arithmetic")
def tasks(task: Annotated[str | None, typer.Argument(help="a task to look at")] = None) -> None:
    """List the built-in tasks, or look at one: its prompt, scorer, splits and first examples."""
    from promptmill.cli.tasks import tasks_command

    tasks_command(task)


def main() -> None:
    """Entry point: errors meant for people become one line and an exit code."""
    try:
        app(again(sys.argv[1:]))
    except PromptmillError as error:
        from promptmill.cli.screen import CONTROL

        print(f"error: {error}".translate(CONTROL), file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has gone (head, say)
        sys.exit(0)
    except OSError as error:  # a full disk, a folder that must not be written: not a bug, so no traceback
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
