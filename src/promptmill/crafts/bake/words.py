"""A bake's figures with their intervals, in the same words on the page, in the card and on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Entry = Mapping[str, Any]


def score(one: Entry) -> str:
    """A score with its 95 % interval."""
    return "–" if one["score"] is None else f"{one['score']:.3f} ({one['lo']:.3f} to {one['hi']:.3f})"


def change(one: Entry) -> str:
    """A paired difference with its 95 % interval."""
    return f"{one['gain']:+.3f} ({one['lo']:+.3f} to {one['hi']:+.3f})" if one["n"] else "nobody answered both"


def share(one: Entry) -> str:
    """The baked model's score as a share of the prompted one's."""
    return "–" if one["share"] is None else f"{one['share']:.1%}"


def gains(one: Entry) -> str:
    """A task's behaviour, paired."""
    return (
        f"baked {share(one)} of prompted; {change(one['gain'])} to unprompted, {change(one['against_prompted'])} to "
        "prompted (95 % intervals)"
    )


def nats(value: float) -> str:
    """A KL, however small."""
    return f"{value:.3f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def unrelated_line(one: Entry) -> str:
    """The KL to the model as it was on plain texts."""
    between = "" if one["lo"] is None else f" (95 % interval {nats(one['lo'])} to {nats(one['hi'])})"
    return f"KL {nats(one['kl'])} nats per token to the model as it was{between}, {one['texts']} texts"
