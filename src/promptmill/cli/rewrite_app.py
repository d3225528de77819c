"""The arguments of `promptmill rewrite …`."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from promptmill.cli.options import BUDGET, MODEL, RUN, WRITER, Given, Group, with_options

rewrite = typer.Typer(no_args_is_help=True, help="Train a model that improves any prompt, from no data set.")

_says = partial(typer.Option, rich_help_panel="Rewriting", show_default=False)
REWRITE: Group = {
    "intent": Annotated[list[str] | None, _says("--intent", help="what prompts are to be for; may be repeated")],
    "prompts": Annotated[
        Path | None, _says("--prompts", help="base prompts of your own: JSONL, CSV or parquet, key: prompt")
    ],
    "setup": Annotated[Path | None, _says("--setup", help="folder of settings and roles (promptmill rewrite init)")],
    "rewriter": Annotated[str | None, _says("--rewriter", help="the model that is trained (default: --model)")],
    "judges": Annotated[Path | None, _says("--panel", help="YAML of the judges (see promptmill panel try)")],
    "test_judges": Annotated[Path | None, _says("--test-panel", help="YAML of other judges, for the test")],
    "rewrite_rounds": Annotated[int | None, _says("--rounds", min=1, help="of rewriting, judging and learning (2)")],
    "allow_weak_panel": Annotated[
        bool | None, _says("--allow-weak-panel", help="go on with judges that do not pass their gate")
    ],
}
Number = Annotated[int, typer.Option("--round", min=1, help="the round that the step is of")]
To = Annotated[Path, typer.Option("--to", help="new folder")]
AsJson = Annotated[bool, typer.Option("--json", help="the result on standard output as JSON")]
_all = with_options(MODEL, WRITER, REWRITE, BUDGET, RUN)
_FOR = "--intent 'the order of words' --intent 'finding words'"


@rewrite.command("run", epilog=f"Example: promptmill rewrite run {_FOR} --out runs/words")
@_all
def rewrite_run(given: Given) -> None:
    """All of it: prompts, answers, judges, pairs, training, round after round, and the test."""
    _run(given, "test")


@rewrite.command("synthesize", epilog=f"Example: promptmill rewrite synthesize {_FOR} --out runs/words")
@_all
def rewrite_synthesize(given: Given) -> None:
    """Only write base prompts, variations of them, and inputs to try them on."""
    _run(given, "synthesize")


@rewrite.command("answer", epilog="Example: promptmill rewrite answer --continue runs/words")
@_all
def rewrite_answer(given: Given, number: Number = 1) -> None:
    """As far as the main model's answers of a round."""
    _run(given, "answer", number)


@rewrite.command("judge", epilog="Example: promptmill rewrite judge --continue runs/words")
@_all
def rewrite_judge(given: Given, number: Number = 1) -> None:
    """As far as the panel's scores of a round, and what they show of the panel."""
    _run(given, "judge", number)


@rewrite.command("pairs", epilog="Example: promptmill rewrite pairs --continue runs/words --round 2")
@_all
def rewrite_pairs(given: Given, number: Number = 1) -> None:
    """As far as the pairs of a round: which prompts are better than which."""
    _run(given, "pairs", number)


@rewrite.command("train", epilog="Example: promptmill rewrite train --continue runs/words")
@_all
def rewrite_train(given: Given) -> None:
    """As far as the rewriters of all rounds; no test."""
    _run(given, "train")


@rewrite.command("test", epilog="Example: promptmill rewrite test --continue runs/words")
@_all
def rewrite_test(given: Given) -> None:
    """The test on prompts that no rewriter has seen; what is not there yet is made before."""
    _run(given, "test")


@rewrite.command("apply", epilog="Example: promptmill rewrite apply 'Say the words quietly.' --rewriter runs/words")
def rewrite_apply(
    prompt: Annotated[str, typer.Argument(help="the prompt; - reads it from standard input")],
    rewriter: Annotated[Path, typer.Option("--rewriter", help="folder of a rewrite that is trained")],
    candidates: Annotated[int | None, typer.Option("--candidates", min=1, help="from which the best is taken")] = None,
    proof: Annotated[
        int | None,
        typer.Option("--proof", min=0, help="inputs on which both are tried first; 0: none (as in the test)"),
    ] = None,
    json_: AsJson = False,
) -> None:
    """A better prompt, or the word that this one is better left alone."""
    from promptmill.cli.rewrite_apply import apply_command

    apply_command(prompt, rewriter, candidates, proof, json_)


@rewrite.command("export", epilog="Example: promptmill rewrite export runs/words --layout prose --to prose")
def rewrite_export(
    run: Annotated[Path, typer.Argument(help="folder of a rewrite")],
    to: To,
    layout: Annotated[
        str, typer.Option("--layout", help="prose (seven tables), or original (files per prompt)")
    ] = "prose",
    json_: AsJson = False,
) -> None:
    """The tables of a run in the original project's layouts."""
    from promptmill.cli.rewrite_files import export_command

    export_command(run, to, layout, json_)


@rewrite.command("import", epilog="Example: promptmill rewrite import prompt-optimization/data --out runs/imported")
def rewrite_import(
    folder: Annotated[Path, typer.Argument(help="the original project's data: base_prompts.db, files per prompt")],
    out: Annotated[Path, typer.Option("--out", help="folder of the new run")],
    validators: Annotated[str | None, typer.Option("--validators", help="names of the judges: a,b,c")] = None,
    json_: AsJson = False,
) -> None:
    """The original project's files as a run, for `promptmill panel report` and `export`."""
    from promptmill.cli.rewrite_files import import_command

    import_command(folder, out, validators, json_)


@rewrite.command("init", epilog="Example: promptmill rewrite init setup, then: promptmill rewrite run --setup setup …")
def rewrite_init(to: Annotated[Path, typer.Argument(help="new folder")]) -> None:
    """Write all settings and the instructions of all roles as files to edit."""
    from promptmill.cli.rewrite_files import init_command

    init_command(to)


def _run(given: Given, step: Any, number: int = 1) -> None:
    from promptmill.cli.rewrite import rewrite_command

    rewrite_command(given, step, number)
