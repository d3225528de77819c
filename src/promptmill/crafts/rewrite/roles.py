"""What each role of a rewrite is told, as files that people edit: a folder `model_input` with a text for each.

A text that is not there, or that stands as it was written, is the wording's own; an edited one changes the digest, and
with it the names of the stages that depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from promptmill.errors import InputError
from promptmill.judge.rubric import Rubric, load_rubric
from promptmill.prompt import holes
from promptmill.settings import checked, read_text
from promptmill.store.files import write_text
from promptmill.store.stage import digest
from promptmill.vary.wording import HOLES, Wording

FOLDER = "model_input"
TEXTS: Mapping[str, str] = {
    "topic.txt": "topic",
    "base_prompt.txt": "propose",
    "validator.txt": "rate",
    "validator_yes_no.txt": "judge",
    "compare.txt": "compare",
    "optimiser.txt": "refine",
}
"""Files that are one entry of the wording each."""
VARIATION, MAIN, RUBRIC, TUNING = "variation.txt", "main_model.txt", "rubric.yaml", "fine_tuning.txt"
FILES = frozenset(TEXTS) | {VARIATION, MAIN, RUBRIC, TUNING}
TUNED_ON = "{prompt}"


@dataclass(frozen=True)
class Roles:
    """wording: with the edited texts in it, and the rubric's criteria.
    main_model: what the main model is told of its work in the system turn; empty, nothing.
    rubric: the criteria, their levels and weights. fine_tuning: the main model's turn when it is tuned on {prompt}.
    """

    wording: Wording
    main_model: str
    rubric: Rubric
    fine_tuning: str = TUNED_ON

    @cached_property
    def digest(self) -> str:
        return digest(self.wording.digest, self.main_model, self.rubric.model_dump(mode="json"), self.fine_tuning)

    @classmethod
    def of(cls, wording: Wording) -> Roles:
        """The roles where nobody has edited anything."""
        return cls(wording, "", Rubric.of(wording))

    def to_dict(self) -> dict[str, Any]:
        models = {"wording": self.wording, "rubric": self.rubric}
        texts = {"main_model": self.main_model, "fine_tuning": self.fine_tuning}
        return texts | {name: one.model_dump(mode="json") for name, one in models.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> Roles:
        """InputError for what `to_dict` has not written."""
        try:
            wording, rubric = checked(Wording, data["wording"], where), checked(Rubric, data["rubric"], where)
            return cls(wording, str(data["main_model"]), rubric, str(data["fine_tuning"]))
        except (KeyError, TypeError):
            raise InputError(f"{where}: cannot be read as the roles of a rewrite; run the same command again") from None


def write_roles(folder: Path, wording: Wording) -> list[Path]:
    """The files of `model_input`, as they stand in the wording, into that folder; their paths."""
    texts = {name: getattr(wording, entry) for name, entry in TEXTS.items()}
    texts |= {VARIATION: "\n".join(_lines(wording)), MAIN: "", TUNING: TUNED_ON}
    for name, text in texts.items():
        write_text(folder / name, f"{text}\n" if text else "")
    criteria = {name: {"weight": 1.0, "levels": dict(levels)} for name, levels in wording.criteria.items()}
    write_text(folder / RUBRIC, yaml.safe_dump(criteria, sort_keys=False, allow_unicode=True, width=120))
    return sorted(folder / name for name in [*texts, RUBRIC])


def roles_of(folder: Path, wording: Wording) -> Roles:
    """The roles as `folder`/model_input has them. InputError, one line with the file's name, for a folder that is not
    there, a file that is none of a role's, a text whose holes were lost or added, and a rubric without anchors."""
    place = folder / FOLDER
    files = files_in(place, FILES)
    entries = {entry: _text(place / name, getattr(wording, entry)) for name, entry in TEXTS.items() if name in files}
    for name, entry in TEXTS.items():
        if entry in entries:
            _check_holes(place / name, entries[entry], HOLES[entry])
    tuning = _text(place / TUNING, TUNED_ON) if TUNING in files else TUNED_ON
    _check_holes(place / TUNING, tuning, {"prompt"})
    rubric = load_rubric(place / RUBRIC) if RUBRIC in files else Rubric.of(wording)
    changed = wording.model_dump() | entries
    changed["criteria"] = {name: one.levels for name, one in rubric.criteria.items()}
    if VARIATION in files:
        changed["mutation_prompts"] = _mutation_prompts(place / VARIATION, wording)
    main = _text(place / MAIN, "") if MAIN in files else ""
    return Roles(checked(Wording, changed, str(place)), main, rubric, tuning)


def files_in(folder: Path, known: frozenset[str]) -> set[str]:
    """The names of the files in `folder`, hidden ones aside. InputError where it is not there, or has another file."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; promptmill rewrite init {folder.parent} writes it")
    found = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if unknown := sorted(found - known):
        raise InputError(f"{folder / unknown[0]}: belongs to no stage or role (known: {', '.join(sorted(known))})")
    return found


def _text(path: Path, default: str) -> str:
    """Lines that an editor has put at the end do not count."""
    text = read_text(path).replace("\r\n", "\n").rstrip()
    return default if text == default.rstrip() else text


def _lines(wording: Wording) -> list[str]:
    return [" ".join(text.split()) for text in wording.all_mutation_prompts]


def _mutation_prompts(path: Path, wording: Wording) -> dict[str, list[str]]:
    """Those of the file, a line each; in the wording's groups where they are the same."""
    lines = [stripped for line in read_text(path).splitlines() if (stripped := line.strip())]
    if not lines:
        raise InputError(f"{path}: has no mutation prompt; write at least one, a line each")
    return wording.mutation_prompts if lines == _lines(wording) else {"given": lines}


def _check_holes(path: Path, text: str, wanted: set[str]) -> None:
    found = holes(text)
    if found == wanted:
        return
    spelled = ", ".join("{" + name + "}" for name in sorted(wanted))
    lost, new = sorted(wanted - found), sorted(found - wanted)
    what = f"has lost the hole {{{lost[0]}}}" if lost else f"has a hole {{{new[0]}}} that nothing fills"
    raise InputError(f"{path}: {what}; it must have exactly {spelled}")
