"""Options that commands share, each said once: its flag, its help, and the place in the configuration that it sets.

A command's configuration is built from four layers, each over the one before: defaults, --config FILE, flags, --set.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from promptmill.model.embedded import EMBEDDED_MODELS

Given = dict[str, Any]
"""Options as the user gave them, by parameter name; what was not given is None or empty."""


def _option(kind: Any, *flags: str, help: str, panel: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(*flags, help=help, rich_help_panel=panel, show_default=False, **more)]


_MODEL, _BUDGET, _RUN, _SAMPLING = "Model", "Budget", "Run", "Sampling"
_TEXT, _NUMBER, _COUNT, _FILE = str | None, float | None, int | None, Path | None

Limit = Annotated[int | None, typer.Option("--limit", help="examples of a split at most, drawn by the seed")]

MODEL = {
    "model": _option(_TEXT, "--model", panel=_MODEL,
                     help=f"{EMBEDDED_MODELS[0]} (default), {', '.join(EMBEDDED_MODELS[1:])}, a folder, "
                          "a Hugging Face name, scripted:FILE, or a served name"),
    "base_url": _option(_TEXT, "--base-url", panel=_MODEL, help="OpenAI-compatible server, as http://localhost:8000/v1"),
    "api_key_env": _option(_TEXT, "--api-key-env", panel=_MODEL, help="variable with the key (OPENAI_API_KEY)"),
    "adapter": _option(list[str] | None, "--adapter", panel=_MODEL, help="PEFT LoRA folder, for local models"),
    "dtype": _option(_TEXT, "--dtype", panel=_MODEL, help="float32, bfloat16 or float16, for local models"),
    "concurrency": _option(_COUNT, "--concurrency", panel=_MODEL, help="calls in flight at most, on a server (64)"),
}  # fmt: skip
WRITER = {
    "writer": _option(_TEXT, "--writer", panel=_MODEL, help="a second model that writes prompts (default: --model)"),
    "writer_base_url": _option(_TEXT, "--writer-base-url", panel=_MODEL, help="the writer's server"),
}
SAMPLING = {
    "temperature": _option(_NUMBER, "--temperature", panel=_SAMPLING, help="0 is greedy (0)"),
    "top_p": _option(_NUMBER, "--top-p", panel=_SAMPLING, help="nucleus sampling (1)"),
    "max_tokens": _option(_COUNT, "--max-tokens", panel=_SAMPLING, help="new tokens of an answer at most (512)"),
    "stop": _option(list[str] | None, "--stop", panel=_SAMPLING, help="text that ends an answer; may be repeated"),
}
BUDGET = {
    "budget_calls": _option(_COUNT, "--budget-calls", panel=_BUDGET, help="calls of the whole run at most"),
    "budget_tokens": _option(_COUNT, "--budget-tokens", panel=_BUDGET, help="tokens, prompt and completion, at most"),
    "budget_cost": _option(_NUMBER, "--budget-cost", panel=_BUDGET, help="US dollars at most; needs --prices"),
    "prices": _option(_TEXT, "--prices", panel=_BUDGET,
                      help="YAML of 'model: {input: 0.15, output: 0.60}', dollars per million tokens"),
}  # fmt: skip
RUN = {
    "out": _option(_FILE, "--out", panel=_RUN, help="the run's folder; the same again continues it"),
    "continue_": _option(
        _FILE, "--continue", panel=_RUN, help="go on with that run: its own command, and what you add"
    ),
    "cache": _option(_FILE, "--cache", panel=_RUN, help="share answers between runs through this file"),
    "seed": _option(_COUNT, "--seed", panel=_RUN, help="of all that is drawn at random (0)"),
    "config": _option(_FILE, "--config", panel=_RUN, help="YAML with any of the settings"),
    "set_": _option(list[str] | None, "--set", panel=_RUN, help="one setting, as sampling.top_p=0.9; may be repeated"),
    "forecast": Annotated[
        bool, typer.Option("--forecast", rich_help_panel=_RUN, help="say what it may cost, and stop")
    ],
    "json_": Annotated[bool, typer.Option("--json", rich_help_panel=_RUN, help="the report on standard output")],
}
PROMPT = {
    "prompt": _option(_TEXT, "--prompt", panel=_RUN, help="an instruction; with {holes} it is the user's turn"),
    "prompt_file": _option(_FILE, "--prompt-file", panel=_RUN,
                           help="a text, a YAML/JSON of system, user, prefix, then and demos, or a run's report.json"),
}  # fmt: skip

PLACES = {
    "model": "model.name", "base_url": "model.base_url", "api_key_env": "model.api_key_env",
    "adapter": "model.adapters", "dtype": "model.dtype", "concurrency": "model.concurrency",
    "writer": "writer.name", "writer_base_url": "writer.base_url",
    "temperature": "sampling.temperature", "top_p": "sampling.top_p", "max_tokens": "sampling.max_tokens",
    "stop": "sampling.stop", "budget_calls": "budget.calls", "budget_tokens": "budget.tokens",
    "budget_cost": "budget.cost", "prices": "budget.prices", "search_calls": "breed.calls",
    "intent": "intents", "rewriter": "rewriter.name", "judges": "rewrite.judge", "test_judges": "rewrite.test.panel",
    "rewrite_rounds": "rewrite.rounds", "generator": "generator.name", "generator_base_url": "generator.base_url",
    "draws": "recover.candidates.draws", "embedder": "recover.rank.embedder", "abstain": "recover.rank.abstain",
    "layout": "recover.rank.layout", "about_texts": "recover.synthesize.about",
}  # fmt: skip
"""Where in the configuration an option goes; those not named here go by their own name, or are not settings."""

Group = dict[str, Any]


def with_options(*groups: Group) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of `groups` to a command; it gets their values as one dictionary, its parameter `given`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != "given"]
        kind = inspect.Parameter.KEYWORD_ONLY
        shared = [
            inspect.Parameter(
                name, kind, annotation=annotation, default=False if name in ("forecast", "json_") else None
            )
            for group in groups
            for name, annotation in group.items()
        ]
        names = [parameter.name for parameter in shared]

        @functools.wraps(command)
        def run(*args: Any, **kwargs: Any) -> None:
            given = {name: kwargs.pop(name) for name in names}
            try:
                command(*args, given=given, **kwargs)
            except KeyboardInterrupt:  # here, for typer would end without a word
                print("stopped; what was answered is kept, the same command goes on from there", file=sys.stderr)
                raise typer.Exit(130) from None

        parameters = [parameter.replace(kind=kind) for parameter in own] + shared
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
