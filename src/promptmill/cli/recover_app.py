"""The arguments of `promptmill recover …`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from promptmill.cli.options import BUDGET, MODEL, RUN, WRITER, Given, Group, with_options

recover = typer.Typer(no_args_is_help=True, help="Find the prompt behind texts that a model wrote.")

_says = partial(typer.Option, rich_help_panel="Recovering", show_default=False)
GENERATOR: Group = {
    "generator": Annotated[
        str | None, _says("--generator", help="the model that wrote the texts, or one like it (default: --model)")
    ],
    "generator_base_url": Annotated[str | None, _says("--generator-base-url", help="the generator's server")],
    "layout": Annotated[
        str | None, _says("--layout", help="how prompt and text are put to it: system, user or text_first (system)")
    ],
}
READY: Group = {
    "recoverer": Annotated[Path | None, _says("--recoverer", help="run of a recover train, in place of --model")],
    "bank": Annotated[
        Path | None, _says("--bank", help="prompts that may be the one, for a recoverer's own: CSV, JSONL, key: prompt")
    ],
}
RANK: Group = {
    "draws": Annotated[int | None, _says("--draws", min=0, help="answers for each pair (8); 0: the bank's alone")],
    "embedder": Annotated[
        str | None, _says("--embedder", help="minilm, a folder or a Hugging Face name; none: character n-grams")
    ],
    "abstain": Annotated[
        float | None, _says("--abstain", min=0, max=1, help="confidence below which it cannot tell (0)")
    ],
}
TRACES = "pairs: CSV, JSONL or parquet with rewritten_text, and original_text where it is known"
Pairs = Annotated[Path, typer.Argument(help=TRACES)]


@recover.command("predict", epilog="Example: promptmill recover predict pairs.jsonl --out runs/recovered")
@with_options(MODEL, GENERATOR, READY, RANK, BUDGET, RUN)
def recover_predict(pairs: Pairs, given: Given) -> None:
    """Ranked candidates for the prompt behind each pair, or behind each group of pairs, with a confidence."""
    from promptmill.cli.recover import predict_command

    predict_command(pairs, given)


@recover.command("submit", epilog="Example: promptmill recover submit test.csv --to submission.csv")
@with_options(MODEL, GENERATOR, READY, RANK, BUDGET, RUN)
def recover_submit(
    pairs: Pairs,
    given: Given,
    to: Annotated[Path, typer.Option("--to", help="the file that is written")] = Path("submission.csv"),
) -> None:
    """Kaggle's submission.csv: one line of id and rewrite_prompt for each pair, none empty."""
    from promptmill.cli.recover import submit_command

    submit_command(pairs, given, to)


@recover.command("train", epilog="Example: promptmill recover train pairs.jsonl --out runs/recoverer")
@with_options(MODEL, GENERATOR, RANK, BUDGET, RUN)
def recover_train(
    pairs: Annotated[Path, typer.Argument(help="pairs with their rewrite_prompt, or a run of recover synthesize")],
    given: Given,
    other: Annotated[
        list[Path] | None, typer.Option("--test-also", help="more pairs to test on, as of another generator")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="ask no model: prompts of the bank, weighed by the critic alone")
    ] = False,
) -> None:
    """A better recoverer: from true prompts, then from preferences among its own answers; and the test of it."""
    from promptmill.cli.recover_train import train_command

    train_command(pairs, given, other or [], offline)


@recover.command(
    "synthesize", epilog="Example: promptmill recover synthesize --intent 'the order of words' --out runs/pairs"
)
@with_options(MODEL, WRITER, BUDGET, RUN)
def recover_synthesize(
    given: Given,
    intent: Annotated[list[str] | None, typer.Option("--intent", help="what prompts are to be for")] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="prompts of your own: CSV, JSONL or parquet, key: prompt")
    ] = None,
    originals: Annotated[
        Path | None, typer.Option("--originals", help="texts of your own: key original_text or text, or a text file")
    ] = None,
    about: Annotated[
        list[str] | None, typer.Option("--about", help="what the texts are to be about, where they are written")
    ] = None,
    layout: Annotated[
        str | None, typer.Option("--layout", help="how prompt and text are put to the model: system, user, text_first")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="a copy of the pairs: .csv, .jsonl or .parquet")] = None,
) -> None:
    """Pairs to learn from: prompts and texts, what the model makes of them, cleaned, and split by what is alike."""
    from promptmill.cli.recover_synthesize import synthesize_command

    more = {"intents": intent, "prompts": prompts, "originals": originals, "about_texts": about, "layout": layout}
    synthesize_command(given | more, to)
