"""`--continue RUN`: the command that began a run, once more, with what is added to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from promptmill.errors import InputError

FLAG = "--continue"
NOT_AGAIN = {"--forecast", FLAG}
IN_STEPS = "rewrite"
"""The craft whose runs go on with another step than the one they were begun with."""


def again(arguments: Sequence[str]) -> list[str]:
    """The arguments, those of the run that `--continue` names put before them. InputError where there is no such run.

    Said twice, the later counts: so a budget may be raised, while what decides the result is refused as ever.
    """
    given = [part for word in arguments for part in (word.split("=", 1) if word.startswith(f"{FLAG}=") else [word])]
    if FLAG not in given:
        return list(arguments)
    at = given.index(FLAG)
    if at + 1 == len(given):
        raise InputError(f"{FLAG} needs the folder of a run")
    folder = Path(given[at + 1])
    craft, *begun = _command(folder)
    added = given[:at] + given[at + 2 :]
    said = list(takewhile(lambda word: not word.startswith("-"), added[:2]))  # a craft, and what it is to work on
    if said and said[0] != craft:
        raise InputError(f"{FLAG} {folder}: was begun by promptmill {craft}, not by promptmill {said[0]}")
    if said[1:] and craft == IN_STEPS:
        begun[:1] = said[1:]
    if said[1:] and said[1] not in begun:
        raise InputError(f"{FLAG} {folder}: was begun without {said[1]}; leave it out")
    added = added[len(said) :]
    return [craft, *begun, *added, "--out", str(folder)]


def _command(folder: Path) -> list[str]:
    """What the first session was asked for, without the program and the options that are not to be repeated."""
    path = folder / "events.jsonl"
    try:
        first = json.loads(path.read_text(encoding="utf-8").split("\n", 1)[0])
        words = [str(word) for word in first["command"]][1:]
    except OSError:
        raise InputError(f"{FLAG} {folder}: not the folder of a run (no events.jsonl)") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: cannot be read; the run is damaged") from None
    if not words or words[0].startswith("-"):
        raise InputError(
            f"{FLAG} {folder}: was not begun on a command line; give the command again with --out {folder}"
        )
    return [word for word in words if word not in NOT_AGAIN]
