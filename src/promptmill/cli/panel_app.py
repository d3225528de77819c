"""The arguments of `promptmill panel …`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from promptmill.cli.options import BUDGET, RUN, Given, with_options

panel = typer.Typer(no_args_is_help=True, help="Panels of judges: do they agree, and are they right?")


def _at_least(name: str, what: str) -> Any:
    return typer.Option(name, help=f"of the gate: {what}", rich_help_panel="Gate", show_default=False)


MinAlpha = Annotated[float | None, _at_least("--min-alpha", "Krippendorff's alpha at least (0.3)")]
MinSameOrder = Annotated[float | None, _at_least("--min-same-order", "pairs ordered alike at least (0.6)")]
MinPlantedAuc = Annotated[float | None, _at_least("--min-planted-auc", "real above planted answers at least (0.7)")]
MinReadable = Annotated[float | None, _at_least("--min-readable", "answers that can be read at least (0.9)")]


@panel.command("report", epilog="Example: promptmill panel report validation_scores --validators falcon,gemma")
def panel_report(
    path: Annotated[
        Path,
        typer.Argument(
            help="folder of {i}_validation_score.parquet, a run or stage with scores, or a table "
            "(parquet, CSV, JSON lines: base_id, validator, criterion, expected)"
        ),
    ],
    validators: Annotated[
        str | None, typer.Option("--validators", help="names of the judges in {i}_validation_score.parquet: a,b,c")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="folder for panel.json and report.html")] = None,
    json_: Annotated[bool, typer.Option("--json", help="the report on standard output as JSON")] = False,
    min_alpha: MinAlpha = None,
    min_same_order: MinSameOrder = None,
    min_planted_auc: MinPlantedAuc = None,
    min_readable: MinReadable = None,
) -> None:
    """Whether the judges of given scores may be believed: agreement, order, ties, reliability, planted answers."""
    from promptmill.cli.panel import report_command

    least = {"min_alpha": min_alpha, "min_same_order": min_same_order, "min_planted_auc": min_planted_auc,
             "min_readable": min_readable}  # fmt: skip
    report_command(path, validators, out, json_, least)


@panel.command("try", epilog="Example: promptmill panel try --panel panel.yaml --answers answers.jsonl")
@with_options(BUDGET, RUN)
def panel_try(
    given: Given,
    answers: Annotated[
        Path, typer.Option("--answers", help="JSON lines, CSV or parquet: instruction, output, input?, base_id?")
    ],
    panel: Annotated[
        Path | None, typer.Option("--panel", help="YAML of judges (default: three of the embedded models)")
    ] = None,
    compare: Annotated[
        int | None, typer.Option("--compare", min=0, help="pairs that are compared in both orders at most (50)")
    ] = None,
    plant: Annotated[bool | None, typer.Option("--plant/--no-plant", help="plant bad answers among them")] = None,
) -> None:
    """Ask a panel about given answers, plant bad ones among them, and report: a trial before a long run."""
    from promptmill.cli.panel_try import try_command

    try_command(given, answers=answers, panel_file=panel, compare=compare, plant=plant)
