"""task_description.json: what is asked, how it is scored, how answers are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptmill.crafts.breed.daycare.decoder import Decoder, read_decoder
from promptmill.crafts.breed.daycare.files import read_json
from promptmill.crafts.breed.daycare.place import said_of
from promptmill.crafts.breed.daycare.suite import YES
from promptmill.errors import InputError
from promptmill.model.chat import Sampling
from promptmill.score.scorer import SCORERS, Scorer, make_scorer

BINARY = "BinaryfBeta"
"""The format's own name of F-beta for the answer Yes."""
SUCH = f'such as {{"type": "{BINARY}", "beta": 0.5}}'
TEXTS = ("decoder_options", "fitness_decoder_options", "fixed_system_prompt")
KEYS = ("task_description", "fitness_scorer", *TEXTS)
WRITER = Decoder(Sampling(temperature=1.0))
"""How a writer draws where nothing is said."""


@dataclass(frozen=True)
class Description:
    """scorer: as the file names it, for `scorer_of`. writer, fitness: how the writer and the task model draw.
    fixed_system: the system prompt that stays, None where it is bred; empty: there is none."""

    path: Path
    text: str
    scorer: str | dict[str, Any]
    writer: Decoder
    fitness: Decoder
    fixed_system: str | None
    warnings: tuple[str, ...]


def read_description(folder: Path, task: str, override: str | None, seed: int | None) -> Description:
    """Read DIR/<task>/task_description.json. override: a decoder string that goes before the file's. InputError."""
    path = folder / task / "task_description.json"
    if not task or not path.parent.is_dir():
        have = ", ".join(sorted(inner.name for inner in folder.iterdir() if inner.is_dir())) or "none"
        raise InputError(f"{folder}: there is no task {task!r} (tasks there: {have})")
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: must be an object with task_description and fitness_scorer")
    text, scorer = found.get("task_description"), found.get("fitness_scorer")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{path}: task_description must be a text that says what is asked")
    if not isinstance(scorer, str | dict):
        raise InputError(f"{path}: fitness_scorer must be an object, {SUCH}")
    for key in TEXTS:
        if found.get(key) is not None and not isinstance(found[key], str):
            raise InputError(f"{path}: {key} must be a text or null, not {str(found[key])[:40]!r}")
    writer, fitness = _decoders(found, override, path)
    unknown = [f"{path}: {key} is not used (known: {', '.join(KEYS)})" for key in found if key not in KEYS]
    warnings = (*unknown, *writer.warnings, *fitness.warnings)
    return Description(path, text.strip(), scorer, seeded(writer, seed), seeded(fitness, seed),
                       found.get("fixed_system_prompt"), warnings)  # fmt: skip


def _decoders(found: Mapping[str, Any], override: str | None, path: Path) -> tuple[Decoder, Decoder]:
    """The writer's and the task model's."""
    if override is not None:
        both = read_decoder(override, "--decoder-options")
        return both, both
    read = {key: read_decoder(found[key], f"{path}: {key}") for key in TEXTS[:2] if found.get(key) is not None}
    writer = read.get("decoder_options")
    return writer or WRITER, read.get("fitness_decoder_options") or writer or Decoder()


def seeded(decoder: Decoder, seed: int | None) -> Decoder:
    """The seed goes to the model only where something is drawn: greedy answers are the same under every seed."""
    return replace(decoder, sampling=replace(decoder.sampling, seed=seed if decoder.sampling.temperature else None))


def scorer_of(described: Description, choices: tuple[str, ...] | None) -> Scorer:
    """The scorer that the file names: BinaryfBeta, or one of the package's with its own arguments. InputError."""
    spec = described.scorer
    with said_of(f"{described.path}: fitness_scorer"):
        if isinstance(spec, dict):
            kind = spec.get("type")
            if kind == BINARY:
                return make_scorer({"positive": YES, **spec, "type": "f_beta"}, choices)
            if kind not in SCORERS:
                raise InputError(f"unknown type {kind!r} (known: {BINARY}, {', '.join(SCORERS)})")
        elif spec == BINARY:
            return make_scorer({"type": "f_beta", "positive": YES}, choices)
        return make_scorer(spec, choices)
