"""The part of a bake's page that `bake report` adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from promptmill.crafts.bake.worth import WAYS
from promptmill.report.blocks import Block, Cell, LinePlot, Series, Table, Text

NAMES = {
    "unprompted": "unprompted", "prompted": "prompted", "baked": "baked", "baked_prompted": "baked, prompted"
}  # fmt: skip
LOSSES = {
    "up_peft": "unprompted_logits_peft_losses", "p_peft": "prompted_logits_peft_losses",
    "up_base": "unprompted_logits_base_losses", "p_base": "prompted_logits_base_losses",
}  # fmt: skip
SCATTERS = (
    ("up_peft", "p_base"), ("p_peft", "p_base"), ("up_peft", "up_base"), ("p_peft", "up_base"), ("p_peft", "up_peft"),
    ("p_base", "up_base"),
)  # fmt: skip
"""The original's six plots, by its names: p, with the prompt; up, without; peft, baked; base, before."""
WORDS = {"p_base": "prompted", "up_base": "unprompted", "up_peft": "baked", "p_peft": "baked, prompted"}
SCATTER_NOTE = (
    "Mean negative log-likelihood of each answer. The title is the original's: up without the prompt, p with it; base "
    "the model as it was, peft the baked one."
)
FEW = 10
FEW_NOTE = f"Dots: places that fewer than {FEW} answers reach."
CURVES = (("before", "unprompted"), ("baked", "baked"), ("baked, prompted", "baked_prompted"))


def comparison_blocks(found: Mapping[str, Any]) -> list[Block]:
    """found: compare.json."""
    blocks = _blocks(found, f"In four ways, on {found['of']}")
    other = found.get("against")
    if other:
        said = other["prompt"].get("system") or other["prompt"].get("user", "")
        blocks += [
            Text(said, verbatim=True, title="Against another prompt", name="in the place of the baked one"),
            *_blocks(other, "In four ways, prompted by the other"),
        ]
    return blocks


def _blocks(found: Mapping[str, Any], title: str) -> list[Block]:
    kl = found["kl"]
    rows: list[list[Cell]] = [
        [NAMES[one], *(kl[one][other]["per_token"] if one != other else 0.0 for other in WAYS)] for one in WAYS
    ]
    note = "KL divergence of the row's model to the column's, nats per token, over the answers of the prompted model."
    curves = by_place([(name, kl["prompted"][way]["by_position"]) for name, way in CURVES], found["counts"])
    return [
        Table(["", *(NAMES[way] for way in WAYS)], rows, title=title, note=note),
        LinePlot(curves, "token of the answer", "nats", title="How far from the prompted model",
                 note="KL of the prompted model, as it was, to the model named, by place in the answer. " + FEW_NOTE),
        *(_scatter(found, one, other) for one, other in SCATTERS),
    ]  # fmt: skip


def _scatter(found: Mapping[str, Any], one: str, other: str) -> LinePlot:
    points = list(zip(found[LOSSES[other]], found[LOSSES[one]], strict=True))
    most = max(max(point) for point in points)
    even = Series("even", [(0.0, 0.0), (most, most)])
    return LinePlot([even, Series("an answer", points, "dots")], f"{WORDS[other]}, nats per token", WORDS[one],
                    title=f"{one}_vs_{other}", note=SCATTER_NOTE)  # fmt: skip


def by_place(curves: Sequence[tuple[str, Sequence[float]]], counts: Sequence[int]) -> list[Series]:
    """Curves over the places of an answer. Where few answers are as long a mean says little: there are dots."""
    series = []
    for name, values in curves:
        points = [(float(at), value) for at, value in enumerate(values, 1)]
        sure = sum(count >= FEW for count in counts)  # counts never rise
        series += [Series(name, points[:sure]), Series(f"{name}, few answers", points[sure:], "dots")]
    return [one for one in series if one.points]
