"""What a training that has come to its end leaves to later sessions: its outcome, which is read without any model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from promptmill.errors import InputError
from promptmill.store.files import write_json
from promptmill.store.manifest import sha256_of
from promptmill.train.course import Outcome

OUTCOME = "outcome.json"


def keep_outcome(folder: Path, identity: Mapping[str, Any], outcome: Outcome, **more: Any) -> None:
    """Write outcome.json into the training's folder, where `outcome.folder` lies.

    identity: all that decides the outcome (JSON), more epochs too. more: what else came of it (JSON).
    """
    told = asdict(outcome) | {"folder": outcome.folder.name, "rows": list(outcome.rows)}
    write_json(folder / OUTCOME, {
        "identity": dict(identity), "outcome": told, "files": _files(outcome.folder), "more": more,
    })  # fmt: skip


def kept_outcome(folder: Path, identity: Mapping[str, Any]) -> tuple[Outcome, dict[str, Any]] | None:
    """The outcome of this very training and what else came of it. None where the folder holds no such, or where what
    was kept is not as it was then. InputError for an outcome.json that cannot be read."""
    path = folder / OUTCOME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        told = found["outcome"]
        outcome = Outcome(**told | {"folder": folder / told["folder"], "rows": tuple(told["rows"])})
        before, files, more = found["identity"], found["files"], dict(found["more"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read ({line}); remove it and run again, nothing is trained anew") from None
    if before != json.loads(json.dumps(dict(identity))) or not outcome.folder.is_dir():
        return None
    now = _files(outcome.folder)
    return (outcome, more) if all(now.get(name) == told for name, told in files.items()) else None


def _files(folder: Path) -> dict[str, str]:
    """SHA-256 by name, of whole files only."""
    return {
        path.name: sha256_of(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }
