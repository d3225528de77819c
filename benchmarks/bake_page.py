"""The measured quality of bakes as the marked section of docs/bake.md, and as the last line of the benchmark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "bake.md"
MARKED = re.compile(r"(<!-- quality -->\n).*?(<!-- /quality -->)", re.DOTALL)
Row = Mapping[str, Any]
SELECTED = (
    "One choice was made on these very examples: before the rehearsed prompts had any on manner, the baked format\n"
    "cost 2.5 points elsewhere, nearly all of it in other styles. A first set of such prompts (a poet, a king, …)\n"
    "did not help (4.1); with those that are there now, styles that none of them names were kept too (one run each)."
)
"""What a reader must know of the figures elsewhere."""


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """kl_drop_min: the least share of the KL that is gone; behaviour_min: the least score without the prompt as a share
    of the prompted one; forgetting_max: the most that was lost elsewhere."""
    return {
        "kl_drop_min": round(min(drop(row) for row in rows), 4),
        "behaviour_min": round(min(share(row) for row in rows), 4),
        "forgetting_max": round(max(-row["elsewhere"]["gain"] for row in rows), 4),
    }


def drop(row: Row) -> float:
    return 1 - float(row["baked_kl"] / row["kl"])


def share(row: Row) -> float:
    return float(row["baked"] / row["prompted"])


def quality_section(rows: Sequence[Row], pursuit: Row | None) -> str:
    """Markdown."""
    examples, tried = rows[0]["elsewhere"]["n"], [row["tried"] for row in rows]
    parts = [
        "`python benchmarks/bake_quality.py --out FOLDER --write` measures and writes this section: five prompts\n"
        "on the embedded model, one seed, all with the default settings. What is tried is in no part of a bake\n"
        f"(reserved texts and problems, openings never seen; {min(tried)} to {max(tried)} questions a prompt).\n"
        f"Elsewhere: {examples:,} instructions, problems, styles, facts and personas, each under a system prompt of\n"
        "its own, before and after, paired. CPU seconds: sampling and training, one thread of a shared machine.",
        _prompts(rows), _worth(rows), SELECTED, _sweep(rows), _merged(rows),
    ]  # fmt: skip
    if pursuit is not None:
        parts.append(_pursuit(pursuit))
    return "\n\n".join(parts)


def _prompts(rows: Sequence[Row]) -> str:
    return "\n".join(f"- {row['kind']}: “{row['prompt']}”" for row in rows)


def _worth(rows: Sequence[Row]) -> str:
    lines = [
        "| prompt | KL before | gone | unprompted | prompted | **baked** | share | baked + prompt "
        "| elsewhere | change | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        there = row["elsewhere"]
        change = f"{there['gain']:+.3f} ({there['lo']:+.3f} to {there['hi']:+.3f})"
        cells = [
            row["kind"], f"{row['kl']:.2f}", f"{drop(row):.1%}", f"{row['unprompted']:.3f}", f"{row['prompted']:.3f}",
            f"**{row['baked']:.3f}**", f"{share(row):.1%}", f"{row['reprompted']:.3f}",
            f"{there['score_a']:.3f} → {there['score_b']:.3f}", change, f"{row['seconds']:.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _sweep(rows: Sequence[Row]) -> str:
    """Half-baking: a line for each prompt, a column for each strength."""
    strengths = [point["strength"] for point in rows[0]["sweep"]]
    few = min(point["n"] for row in rows for point in row["sweep"])
    lines = [
        "Half-baked (`bake export --strength`): KL per token / behaviour without the prompt / change "
        f"elsewhere\n({few:,} examples where the strength is neither 0 nor 1), by the adapter's strength:",
        "", "| prompt | " + " | ".join(f"{one:g}" for one in strengths) + " |", "|---" * (len(strengths) + 1) + "|",
    ]  # fmt: skip
    for row in rows:
        cells = [f"{one['kl']:.2f} / {one['behaviour']:.2f} / {one['change']:+.3f}" for one in row["sweep"]]
        lines.append(f"| {row['kind']} | " + " | ".join(cells) + " |")
    kl = all(_falls([one["kl"] for one in _to_one(row)], 0.0) for row in rows)
    behaviour = all(_falls([-one["behaviour"] for one in _to_one(row)], 0.01) for row in rows)
    lines += ["", f"Up to strength 1 the KL {'falls' if kl else 'does not fall'} at every step for "
              f"{'all' if kl else 'some'} of the prompts, and the behaviour "
              f"{'rises' if behaviour else 'does not always rise'} "
              "(or stays, within one answer in a hundred)."]  # fmt: skip
    return "\n".join(lines)


def _to_one(row: Row) -> list[Row]:
    return [point for point in row["sweep"] if point["strength"] <= 1]


def _falls(values: Sequence[float], slack: float) -> bool:
    return all(after <= before + slack for before, after in pairwise(values))


def _merged(rows: Sequence[Row]) -> str:
    worst = {
        (name, what): max(row["merged"][name][what] for row in rows)
        for name in ("float32", "bfloat16")
        for what in ("logit", "kl")
    }
    return (
        "Merged against base and adapter, the worst of the five: largest difference of a logit\n"
        f"{worst['float32', 'logit']:.1e} and KL {worst['float32', 'kl']:.1e} a token in float32; "
        f"{worst['bfloat16', 'logit']:.2f} and {worst['bfloat16', 'kl']:.1e} with the weights then cast to bfloat16."
    )


def _pursuit(found: Row) -> str:
    """What re-prompting and iterating bring for a prompt that is followed in part only."""
    rows = found["rows"]
    lines = [
        f"Prompt pursuit (`crafts/bake/pursuit.py`): “{found['prompt']}”, which the prompted model keeps to "
        "in part;\nbake, put the prompt before the baked model, bake again, adapters stacked. Share of "
        f"{found['n']} answers that keep to it:",
        "", "| bakes | without the prompt | with it | KL to the prompted model as it was |", "|---|---|---|---|",
    ]  # fmt: skip
    for number, row in enumerate(rows):
        lines.append(f"| {number} | {row['bare']:.3f} | {row['prompted']:.3f} | {row['kl']:.2f} |")
    lines += ["", _verdict(rows, found["n"])]
    return "\n".join(lines)


def _verdict(rows: Sequence[Row], examples: int) -> str:
    """A sentence on what is gained over one bake; noise is two standard errors of a share."""
    once, last = rows[1]["bare"], rows[-1]["bare"]
    noise = 2 * (max(once * (1 - once), 1 / examples) / examples) ** 0.5
    return (
        f"Re-prompting after one bake: {rows[1]['prompted'] - once:+.3f}. {len(rows) - 1} bakes against one, without "
        f"the prompt: {last - once:+.3f}. Twice the standard error of such a share is {noise:.3f}."
    )


def write_section(section: str, page: Path = PAGE) -> None:
    """Put it between the page's markers. ValueError where there are none."""
    text = page.read_text(encoding="utf-8")
    if not MARKED.search(text):
        raise ValueError(f"{page}: there is no section between <!-- quality --> and <!-- /quality -->")
    page.write_text(MARKED.sub(lambda found: f"{found[1]}{section}\n{found[2]}", text), encoding="utf-8")
