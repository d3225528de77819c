"""The long table as arrays: what is read from it once, and all figures are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from promptmill.errors import InputError
from promptmill.judge.agreement import Codes, Floats
from promptmill.judge.rubric import HIGHEST, LOWEST

if TYPE_CHECKING:
    import pyarrow as pa

Flags: TypeAlias = NDArray[np.bool_]

REAL = -1


@dataclass(frozen=True)
class Cube:
    """Answers (real and planted) by judges by criteria; NaN where nothing was read or asked.

    base, group:  codes [items] of the base prompt, and of the answers that are compared with each other: to one base
                  prompt and one input. planted: REAL, or the place of the kind in `kinds`.
    expected:     1 to 5, [items, judges, criteria], the mean over repeats; level: the same, the most probable levels.
    value:        0 to 1, [items, judges]: each judge's weighted mean over the criteria that it is asked, where all of
                  them were read.
    asked:        [judges, criteria], whether the judge has any row, read or not.
    length:       characters of the answer, NaN where it is not told.
    repeated:     by judge: [(items, criteria), repeats] of expectations where a question was asked again.
    """

    judges: list[str]
    criteria: list[str]
    kinds: list[str]
    bases: list[str]
    base: Codes
    group: Codes
    planted: Codes
    expected: Floats
    level: Floats
    value: Floats
    asked: Flags
    length: Floats
    repeated: Mapping[str, Floats]

    @cached_property
    def real(self) -> Flags:
        return np.equal(self.planted, REAL)


def cube_of(table: pa.Table, weights: Mapping[str, float] | None = None) -> Cube:
    """Arrays from a table with `scores_schema`. weights: of criteria; those not named count 1. InputError for a table
    without rows, or without one of a real answer."""
    if not table.num_rows:
        raise InputError("there are no scores: the table has no rows")
    judges, who = _codes(table, "validator")
    criteria, what = _codes(table, "criterion")
    kinds, planted = _codes(table, "planted")
    bases, base = _codes(table, "base_id")
    numbers = [table.column(name).to_numpy().astype(np.int64) for name in ("variation_id", "input_id", "sample_id")]
    if (planted != REAL).all():
        raise InputError("there are no scores of real answers, only of planted ones")
    keys, item = np.unique(np.stack([base, *numbers, planted], axis=1), axis=0, return_inverse=True)
    item = item.reshape(-1)
    shape = (len(keys), len(judges), len(criteria))
    cell = (item * shape[1] + who) * shape[2] + what
    expected = _floats(table, "expected")
    means = _mean_by(cell, expected, shape)
    asked = np.bincount(who * shape[2] + what, minlength=shape[1] * shape[2]).reshape(shape[1:]) > 0
    return Cube(
        judges, criteria, kinds, bases, keys[:, 0], _groups(keys[:, [0, 2]], keys[:, 4] == REAL), keys[:, 4], means,
        _mean_by(cell, _floats(table, "level"), shape), _values(means, asked, criteria, weights or {}), asked,
        _mean_by(item, _floats(table, "length"), (len(keys),)), _repeated(judges, who, cell, expected),
    )  # fmt: skip


def _floats(table: pa.Table, name: str) -> Floats:
    import pyarrow as pa

    column: Floats = table.column(name).cast(pa.float64()).to_numpy()
    return column


def _codes(table: pa.Table, name: str) -> tuple[list[str], Codes]:
    """The values of a text column in the order in which they come, and each row's place among them; null is -1."""
    coded = table.column(name).combine_chunks().dictionary_encode()
    places = coded.indices.fill_null(REAL).to_numpy(zero_copy_only=False).astype(np.int64)
    return [str(value) for value in coded.dictionary.to_pylist()], places


def _groups(keys: Codes, real: Flags) -> Codes:
    """Base prompt and input together; the base prompt alone where no input has two real answers to compare."""
    _, codes = np.unique(keys, axis=0, return_inverse=True)
    codes = codes.reshape(-1)
    if real.any() and np.bincount(codes[real]).max() < 2:
        return keys[:, 0]
    return codes


def _mean_by(codes: Codes, column: Floats, shape: tuple[int, ...]) -> Floats:
    known = ~np.isnan(column)
    size = int(np.prod(shape))
    count = np.bincount(codes[known], minlength=size)
    sums = np.bincount(codes[known], weights=column[known], minlength=size)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, sums / np.maximum(count, 1), np.nan).reshape(shape)


def _values(expected: Floats, asked: Flags, criteria: Sequence[str], weights: Mapping[str, float]) -> Floats:
    """Weighted means over a judge's criteria as 0 to 1; NaN where one that weighs something was not read."""
    weigh = np.array([weights.get(name, 1.0) for name in criteria])
    share = np.where(asked, weigh, 0.0)
    total = share.sum(axis=1)
    whole = np.where(total > 0, np.where(share[None] > 0, expected * share[None], 0.0).sum(axis=2), np.nan)
    mean = whole / np.where(total > 0, total, 1.0)
    return (mean - LOWEST) / (HIGHEST - LOWEST)


def _repeated(judges: Sequence[str], who: Codes, cell: Codes, expected: Floats) -> dict[str, Floats]:
    """For each judge who was asked again: its scores by question, a row of repeats each, NaN where there are fewer."""
    found = {}
    for at, name in enumerate(judges):
        mine = (who == at) & ~np.isnan(expected)
        question, place, often = np.unique(cell[mine], return_inverse=True, return_counts=True)
        if not len(often) or often.max() < 2:
            continue
        order = np.argsort(place, kind="stable")
        starts = np.cumsum(often) - often
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order)) - np.repeat(starts, often)
        table = np.full((len(question), int(often.max())), np.nan)
        table[place, rank] = expected[mine]
        found[name] = table
    return found


def rows_by_judge(table: pa.Table, judges: Sequence[str]) -> list[dict[str, Any]]:
    """For each judge what its rows tell besides scores: how many, read, errors by kind, ways, mass, tokens."""
    import pyarrow.compute as pc

    columns = ["validator", "expected", "error", "how", "mass", "prompt_tokens", "completion_tokens"]
    found = []
    for name in judges:
        rows = table.select(columns).filter(pc.field("validator") == name)
        read = rows.num_rows - rows.column("expected").null_count
        errors = Counter(str(said).split(":", 1)[0] for said in rows.column("error").drop_null().to_pylist())
        ways = Counter(rows.column("how").drop_null().to_pylist())
        tokens = [pc.sum(rows.column(f"{kind}_tokens")).as_py() or 0 for kind in ("prompt", "completion")]
        found.append({
            "asked": rows.num_rows, "read": read, "readable": read / rows.num_rows,
            "errors": dict(errors.most_common()),
            "how": dict(ways), "mass": pc.mean(rows.column("mass")).as_py(),
            "tokens": {"prompt": tokens[0], "completion": tokens[1]},
        })  # fmt: skip
    return found
