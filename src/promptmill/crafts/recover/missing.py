"""What did not come, and why: answers of the recoverer, and scores of candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from promptmill.crafts.recover.candidates import BANK, kind_of, no_answer
from promptmill.crafts.recover.parts import reasons_of
from promptmill.crafts.recover.tables import DrawRow, PartRow

Missing = Mapping[str, Any]


def missing_of(draws: Iterable[DrawRow], firsts: Iterable[PartRow]) -> dict[str, Any]:
    """Plain data. draws: all rows. firsts: one row of each group, for all of a group's tell the same of their calls.

    asked: answers that were asked for; no_answer: of calls that failed, by kind; no_prompt: of answers that are no
    prompt, by kind; groups: with candidates; unscored: groups of whose calls for scores some failed, by part and kind;
    such_as: the first reason of each kind."""
    asked, groups, such_as = 0, 0, dict[str, str]()
    no_calls, no_prompts, unscored = Counter[str](), Counter[str](), Counter[str]()
    for draw in draws:
        asked += draw.source != BANK
        if draw.error is not None:
            (no_calls if no_answer(draw) else no_prompts)[kind_of(draw.error)] += 1
            such_as.setdefault(kind_of(draw.error), draw.error)
    for first in firsts:
        groups += 1
        for reason in reasons_of(first):
            unscored[kind_of(reason)] += 1
            such_as.setdefault(kind_of(reason), reason)
    return {
        "asked": asked, "no_answer": dict(no_calls.most_common()), "no_prompt": dict(no_prompts.most_common()),
        "groups": groups, "unscored": dict(unscored.most_common()), "such_as": such_as,
    }  # fmt: skip


def warnings_of(missing: Missing, name: str = "") -> list[str]:
    """A line for each kind of failure. An answer that is no prompt is none: it is told in the counts. name: of the
    groups, where there are several sets of them."""
    where, such_as = f"{name}: " if name else "", missing["such_as"]
    failed = [
        f"{where}{count:,} of {missing['asked']:,} answers did not come ({such_as[kind]})"
        for kind, count in missing["no_answer"].items()
    ]
    refused, given = missing["no_prompt"], missing["asked"]
    if given and sum(refused.values()) >= given:  # then nothing is left to choose among
        kinds = ", ".join(f"{count:,} {kind} ({such_as[kind]})" for kind, count in refused.items())
        failed.append(f"{where}no answer may be a prompt: {kinds}")
    return failed + [
        f"{where}no {kind.partition(' ')[0]} for some texts of {count:,} of {missing['groups']:,} prompts "
        f"({such_as[kind]})"
        for kind, count in missing["unscored"].items()
    ]
