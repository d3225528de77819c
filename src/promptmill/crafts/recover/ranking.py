"""From what is known of candidates to one ranked list with a confidence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from promptmill.crafts.recover.confidence import Calibration
from promptmill.crafts.recover.config import RankConfig
from promptmill.crafts.recover.tables import PartRow
from promptmill.crafts.recover.traces import Group
from promptmill.crafts.recover.weights import NAMES, Weights, default_weights
from promptmill.errors import InputError
from promptmill.store.files import write_json

RANKER = "ranker.json"
"""File of a run."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """score: the share of this candidate among all of its group, by their weighed parts."""

    prompt: str
    score: float
    parts: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Prediction:
    """candidates: the best ones, best first; none where nothing was said that may be a prompt. picks: what each part
    alone, and each source alone, would have chosen."""

    group_id: str
    candidates: tuple[Ranked, ...]
    confidence: float
    abstained: bool
    picks: dict[str, str]

    @property
    def prompt(self) -> str | None:
        return self.candidates[0].prompt if self.candidates else None


@dataclass(frozen=True)
class Ranker:
    """weights: of the parts. calibration: from scores to confidence."""

    weights: Weights
    calibration: Calibration
    abstain: float = 0.0
    kept: int = 8

    @classmethod
    def plain(cls, config: RankConfig) -> Ranker:
        """One that nothing was fitted for: default weights, and the best candidate's share as its confidence."""
        return cls(default_weights(), Calibration(), config.abstain, config.kept)

    def scored(self, rows: Sequence[PartRow]) -> list[float]:
        """The candidates' shares, which sum to 1."""
        return [float(one) for one in self.weights.scores([features(row) for row in rows])]

    def predicted(self, group: Group, rows: Sequence[PartRow], picks: Mapping[str, str] | None = None) -> Prediction:
        """picks: what other ways of choosing would have chosen, to be told beside this one's."""
        if not rows:
            return Prediction(group.id, (), 0.0, True, {})
        scores = self.scored(rows)
        order = sorted(range(len(rows)), key=lambda at: (-scores[at], at))
        confidence = round(self._confidence(rows, scores), 4)
        told = tuple(Ranked(rows[at].text, round(scores[at], 4), features(rows[at])) for at in order[: self.kept])
        return Prediction(group.id, told, confidence, confidence < self.abstain,
                          {**(picks or {}), **picks_of(rows, scores)})  # fmt: skip

    def _confidence(self, rows: Sequence[PartRow], scores: Sequence[float]) -> float:
        """Where nothing is calibrated the best candidate also stands against the generic prompt, whose likelihood is 0
        by definition: a lone candidate has no other rival, and may explain the text worse than nothing does."""
        found = self.calibration.confidence(signs(rows, scores))
        gain = rows[max(range(len(rows)), key=lambda at: (scores[at], -at))].likelihood
        if self.calibration.calibrated or gain is None:
            return found
        against = max(-500.0, min(500.0, self.weights.each.get("likelihood", 0.0) * gain))
        return found / (1 + math.exp(-against))

    def save(self, folder: Path) -> None:
        write_json(folder / RANKER, {"weights": asdict(self.weights), "calibration": asdict(self.calibration)})

    @classmethod
    def load(cls, folder: Path, config: RankConfig) -> Ranker:
        """InputError where the folder has none, or one that cannot be read."""
        path = folder / RANKER
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            return cls(Weights(**told["weights"]), Calibration(**told["calibration"]), config.abstain, config.kept)
        except FileNotFoundError:
            raise InputError(f"{path}: there is none; train the recoverer to its end first") from None
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: cannot be read; run the training again") from None


def features(row: PartRow) -> dict[str, float | None]:
    """What is known of a candidate, by the names of the parts."""
    return {name: getattr(row, name) for name in NAMES}


def signs(rows: Sequence[PartRow], scores: Sequence[float]) -> dict[str, float | None]:
    """Of a group, what tells whether its best candidate is right."""
    best = max(range(len(rows)), key=lambda at: (scores[at], -at))
    found: dict[str, float | None] = {name: getattr(rows[best], name) for name in NAMES}
    return {"score": scores[best], **found, "candidates": float(len(rows))}


def picks_of(rows: Sequence[PartRow], scores: Sequence[float]) -> dict[str, str]:
    """What would be chosen by one part alone; "mbr" is by consensus among what was drawn."""
    found: dict[str, str] = {"all": rows[max(range(len(rows)), key=lambda at: (scores[at], -at))].text}
    drawn = [row for row in rows if row.votes] or rows
    pools: dict[str, tuple[str, Sequence[PartRow]]] = {
        "mbr": ("consensus", drawn), "likelihood": ("likelihood", rows), "posterior": ("posterior", rows),
        "critic": ("critic", rows), "retrieval": ("retrieved", rows),
    }  # fmt: skip
    for name, (part, pool) in pools.items():
        known = [row for row in pool if getattr(row, part) is not None]
        if known:
            found[name] = max(known, key=lambda row: (getattr(row, part), -row.candidate_id)).text
    return found
