"""What the first stage tells of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.space import Space
from promptmill.crafts.recover.synthesize import parts as parting
from promptmill.crafts.recover.synthesize.prompts import GIVEN, WRITTEN
from promptmill.crafts.recover.synthesize.records import PartRow, PromptRow
from promptmill.crafts.recover.synthesize.rewriting import ambiguous
from promptmill.crafts.recover.traces import Trace
from promptmill.store.stage import Stage
from promptmill.tasks.task import SPLITS
from promptmill.vary.splits import Shares
from promptmill.vary.variations import ORIGIN
from promptmill.vary.writing import kind_of

ASKED = ("subjects", "texts", "topics", "drafts", "variations", "rewritten")
"""Tables of answers, which may have failed."""
HALF = 0.5


@dataclass(frozen=True)
class Made:
    """What there is to tell of. stages: by name. prompts: all that were to rewrite texts; drafted: base prompts before
    each was taken once. originals: how many there are; given: texts that the user gave."""

    stages: Mapping[str, Stage]
    intents: Sequence[str]
    prompts: Sequence[PromptRow]
    drafted: int
    originals: int
    given: int
    traces: Sequence[Trace]
    parts: Sequence[PartRow]
    space: Space
    config: RecoverConfig
    shares: Shares


def failures(stage: Stage) -> Counter[str]:
    """Of a table of answers, how many did not come, by kind."""
    return Counter(kind_of(row["error"]) for row in stage.rows() if row["error"])


def report_of(made: Made) -> dict[str, Any]:
    """Plain data: `originals` {count, given, alike (those that fell away)}, `prompts` {count, given, written,
    variations, texts (base prompts before each was taken once), repeated (the share that fell away)}, `traces` {asked,
    kept, dropped {kind: count}, shares {kind: share}, ambiguous (share)}, `categories` {name: {split: traces}}, what
    `parts.report_of` gives, `failures` {table: {kind: count}} and `warnings` (lines)."""
    parts, warnings = parting.report_of(
        made.traces, made.parts, made.space, made.config.split.together, made.shares
    )  # fmt: skip
    dropped = Counter(kind_of(row["reason"]) for row in made.stages["dropped"].rows())
    asked = len(made.traces) + dropped.total()
    report = {
        "originals": {"count": made.originals, "given": made.given, "alike": _alike(made)},
        "prompts": _prompts(made),
        "traces": {
            "asked": asked, "kept": len(made.traces), "dropped": dict(dropped.most_common()),
            "shares": {kind: count / asked for kind, count in dropped.most_common()},
            "ambiguous": ambiguous(made.traces),
        },
        "categories": _categories(made),
        **parts,
        "failures": {name: dict(failures(made.stages[name]).most_common()) for name in ASKED if name in made.stages},
    }  # fmt: skip
    return report | {"warnings": _lines(made, report) + warnings}


def _prompts(made: Made) -> dict[str, Any]:
    origins = Counter(one.origin for one in made.prompts)
    bases = origins[GIVEN] + origins[WRITTEN]
    return {
        "count": len(made.prompts), GIVEN: origins[GIVEN], WRITTEN: origins[WRITTEN], "variations": origins[ORIGIN],
        "texts": made.drafted, "repeated": 1 - bases / made.drafted,
    }  # fmt: skip


def _alike(made: Made) -> int:
    """Texts that say what another one says, of those that were looked at."""
    if made.given:
        return made.given - made.originals
    came = sum(row["text"] is not None for row in made.stages["texts"].rows())
    return max(0, min(came, made.config.synthesize.originals) - made.originals)


def _categories(made: Made) -> dict[str, dict[str, int]]:
    category = {one.text: one.category for one in made.prompts}
    found: dict[str, dict[str, int]] = {one.category: dict.fromkeys(SPLITS, 0) for one in made.prompts}
    for trace in made.traces:
        assert trace.split is not None
        found[category[trace.prompt]][trace.split] += 1
    return found


def _lines(made: Made, report: Mapping[str, Any]) -> list[str]:
    settings, traces = made.config.synthesize, report["traces"]
    lines = [f"no prompt came for the intent {name!r}" for name in made.intents if name not in report["categories"]]
    if made.originals < settings.texts:
        lines.append(f"there are {made.originals} originals for the {settings.texts} texts that each prompt rewrites; "
                     "give more, or a smaller synthesize.texts")  # fmt: skip
    elif not made.given and made.originals < settings.originals:
        lines.append(f"only {made.originals} of {settings.originals} originals differ; the writer repeats itself")
    if report["prompts"]["repeated"] > HALF:
        lines.append(f"{report['prompts']['repeated']:.0%} of {made.drafted} prompts say what another one says")
    if traces["kept"] < HALF * traces["asked"]:
        why = ", ".join(f"{count} {kind}" for kind, count in traces["dropped"].items())
        lines.append(f"of {traces['asked']} rewritten texts {traces['kept']} are traces ({why})")
    if traces["ambiguous"] > HALF:
        lines.append(f"{traces['ambiguous']:.0%} of the traces have a text that another prompt made of the same "
                     "original, so the very words of their prompt cannot be told from it")  # fmt: skip
    mute = {one.prompt_id for one in made.prompts} - {trace.group for trace in made.traces}
    if mute:
        lines.append(f"{len(mute)} of {len(made.prompts)} prompts have left no trace")
    return lines
