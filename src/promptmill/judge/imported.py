"""Scores from elsewhere: the original's files, one for each base prompt, and tables in our own long form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.errors import InputError
from promptmill.judge.rubric import HIGHEST, LOWEST
from promptmill.judge.table import preferences_schema, scores_schema

if TYPE_CHECKING:
    import pyarrow as pa

PATTERN = re.compile(r"(\d+)_validation_score\.parquet")
KEY = "bpv_idx"
NEEDED = ("base_id", "validator", "criterion")
DEFAULTS: dict[str, Any] = {
    "variation_id": -1, "input_id": 0, "sample_id": 0, "repeat": 0, "prompt_tokens": 0, "completion_tokens": 0
}  # fmt: skip
ORIGINAL_WEIGHTS = {"section_1": 1.0, "section_2": 1.0, "section_3": 0.5, "section_4": 2.0, "section_5": 0.5}
"""The original's own weights of its five criteria."""


@dataclass(frozen=True)
class Imported:
    """scores: a table with `scores_schema`. weights: of the criteria, where the source has its own. problems: what
    could not be used, a line each, by name. limits: of the gate that a run's panel had to pass; empty for any other
    source."""

    scores: pa.Table
    weights: Mapping[str, float] = field(default_factory=dict)
    preferences: pa.Table | None = None
    problems: Sequence[str] = ()
    judge_weights: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)


def read_scores(path: Path, validators: Sequence[str] = ()) -> Imported:
    """Scores at `path`: a folder of the original's files, the folder of a run or of a stage, or a table (parquet, CSV,
    JSON lines). validators: names for the original's, in order. InputError, one line, where there are none."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_file():
        found = Imported(_read_file(path))
    elif any(PATTERN.fullmatch(file.name) for file in path.iterdir()):
        return read_original(path, validators)
    else:
        found = _read_folder(path)
    if validators:
        raise InputError(f"--validators names the judges of the original's files; those in {path} have names")
    return found


def _read_folder(path: Path) -> Imported:
    """A stage of scores, or a run with one; what stands beside it (preferences, weights, limits) is taken along."""
    if any(path.glob("part-*.parquet")):
        return Imported(_read_stage(path, scores_schema()))
    stages = {folder.name: _columns(folder) for folder in sorted((path / "stages").glob("*"))}
    scored = [name for name, columns in stages.items() if columns >= {*NEEDED, "expected"}]
    if whole := [
        name for name in scored if name.startswith(("scores-variations-", "planted-"))
    ]:  # a rewrite's own gate
        compared = next((name for name in stages if name.startswith("compared-")), None)
        return _reported(path, "panel.json", whole, compared)
    if "scores" in scored or len(scored) == 1:
        name = "scores" if "scores" in scored else scored[0]
        compared = next((name for name, columns in stages.items() if columns >= {"validator", "p", "flipped"}), None)
        return _reported(path, "report.json", [name], compared)
    if scored:
        raise InputError(f"{path}: has several stages with scores; name one: {', '.join(scored)} (in {path}/stages)")
    raise InputError(
        f"{path}: holds no scores; wanted are files such as 0_validation_score.parquet, a run with a stage of scores, "
        "or a stage's part-*.parquet"
    )


def _reported(run: Path, report: str, scored: Sequence[str], compared: str | None) -> Imported:
    """These stages of a run, by the weights and the limits of the report that the run itself has made of them."""
    import pyarrow as pa

    weights, limits = _told_by(run / report)
    return Imported(
        pa.concat_tables([_read_stage(run / "stages" / name, scores_schema()) for name in scored]),
        weights.get("criteria", {}),
        _read_stage(run / "stages" / compared, preferences_schema()) if compared else None,
        judge_weights=weights.get("judges", {}), limits=limits,
    )  # fmt: skip


def _columns(stage: Path) -> set[str]:
    """Of a stage's first shard; none where there is no shard."""
    import pyarrow.parquet as pq

    first = min(stage.glob("part-*.parquet"), default=None)
    try:
        return set() if first is None else set(pq.read_schema(first).names)
    except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
        raise InputError(f"{first}: cannot be read as parquet ({' '.join(str(error).split())[:120]})") from None


def _told_by(report: Path) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The weights of criteria and judges, and the gate's limits; none where nothing was reported yet."""
    if not report.is_file():
        return {}, {}
    try:
        told = json.loads(report.read_text(encoding="utf-8"))
        weights, limits = told.get("weights") or {}, dict(told.get("gate", {}).get("settings") or {})
        return {kind: {str(name): float(one) for name, one in weights[kind].items()} for kind in weights}, limits
    except (ValueError, AttributeError, TypeError):
        raise InputError(f"{report}: cannot be read; name the stage with the scores itself") from None


def _read_stage(folder: Path, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    tables = [_fitted(_open_parquet(path), path, schema) for path in sorted(folder.glob("part-*.parquet"))]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _open_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as parquet ({' '.join(str(error).split())[:120]})") from None


def _read_file(path: Path) -> pa.Table:
    """A long table. CSV and JSON lines go through the reader of data files, which names the line of a fault."""
    import pyarrow as pa

    from promptmill.tasks.formats import read_table

    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            return _fitted(_open_parquet(path), path, scores_schema())
    rows = [row.values for row in read_table(path).rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        columns = {name: pa.array([_text(row.get(name)) for row in rows], pa.string()) for name in names}
        return _fitted(pa.table(columns), path, scores_schema())
    except pa.ArrowException as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:120]}") from None


def _text(value: Any) -> str | None:
    """A cell as text, from which the column's own type is read; nothing and "" are null."""
    return None if value is None or value == "" else str(value)


def _fitted(table: pa.Table, path: Path, schema: pa.Schema) -> pa.Table:
    """The table with the columns of `schema` alone; those that may be missing are filled in. What has no score and no
    reason is unread, and what is off the scale says so."""
    import pyarrow as pa

    for name in NEEDED:
        if name in schema.names and name not in table.column_names:
            raise InputError(f"{path}: has no column {name!r} (it has: {', '.join(table.column_names[:12])})")
    if "expected" in schema.names and "expected" not in table.column_names:
        if "level" not in table.column_names:
            raise InputError(f"{path}: has no column 'expected' or 'level' with the scores")
        table = table.append_column("expected", table.column("level"))
    columns = []
    for wanted in schema:
        if wanted.name not in table.column_names:
            given = pa.array([DEFAULTS.get(wanted.name)] * table.num_rows, wanted.type)
        else:
            given = _cast(table.column(wanted.name), wanted, path)
            if wanted.name in DEFAULTS:
                given = given.fill_null(DEFAULTS[wanted.name])
        if wanted.name in NEEDED and given.null_count:
            raise InputError(f"{path}: the column {wanted.name!r} has empty cells")
        columns.append(given)
    fitted = pa.table(columns, schema=schema)
    return _on_scale(fitted) if "expected" in schema.names else fitted


def _cast(column: Any, wanted: Any, path: Path) -> Any:
    import pyarrow as pa

    try:
        if pa.types.is_integer(wanted.type) and pa.types.is_string(column.type):
            column = column.cast(pa.float64())  # "4.0" is a level too
        return column.cast(wanted.type)
    except pa.ArrowException as error:
        said = " ".join(str(error).split())[:90]
        raise InputError(f"{path}: the column {wanted.name!r} is not {wanted.type} ({said})") from None


def _on_scale(table: pa.Table) -> pa.Table:
    """Scores off the scale of 1 to 5 become errors: 0 stands for an answer that could not be read."""
    import pyarrow as pa

    columns = {name: table.column(name).to_pylist() for name in ("expected", "level", "error")}
    good = [
        score is not None and LOWEST <= score <= HIGHEST and not said
        for score, said in zip(columns["expected"], columns["error"], strict=True)
    ]
    if all(good):
        return table
    scores = zip(good, columns["expected"], columns["error"], strict=True)
    changed = {
        "error": [None if read else said or off_scale(score) for read, score, said in scores],
        "expected": [score if read else None for read, score in zip(good, columns["expected"], strict=True)],
        "level": [level if read else None for read, level in zip(good, columns["level"], strict=True)],
    }
    for name, column in changed.items():
        at, kind = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(at, kind, pa.array(column, kind.type))
    return table


def off_scale(score: float | None) -> str:
    return "unread" if not score else f"off the scale: {score:g}"


def read_original(folder: Path, validators: Sequence[str] = ()) -> Imported:
    """The original's `{i}_validation_score.parquet`: bpv_idx (base, variation; -1 is the base prompt itself), and in
    each criterion's column a list with one score for each validator.

    Files that are empty, broken or without scores are told in `problems`. InputError where no file can be used, and
    where `validators` are not as many as the lists are long.
    """
    import pyarrow as pa

    files = sorted((int(found[1]), file) for file in folder.iterdir() if (found := PATTERN.fullmatch(file.name)))
    problems: list[str] = []
    batches: list[pa.Table] = []
    width = 0
    for _, file in files:
        try:
            rows, lists = original_rows(file, validators)
        except InputError as error:
            problems.append(str(error).removeprefix(f"{folder}/"))
            continue
        width = max(width, lists)
        batches.append(pa.Table.from_pylist(rows, schema=scores_schema()))
    if not batches:
        raise InputError(f"{folder}: none of its {len(files)} score files can be used; {problems[0]}")
    if validators and len(validators) != width:
        raise InputError(f"--validators: {len(validators)} names, but {width} validators in {folder}")
    scores = pa.concat_tables(batches)
    names = set(scores.column("criterion").unique().to_pylist())
    return Imported(scores, ORIGINAL_WEIGHTS if names == set(ORIGINAL_WEIGHTS) else {}, None, tuple(problems))


def original_rows(file: Path, validators: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """Long rows of one file, and how many validators it has. InputError for a file from which nothing can be read."""
    import pyarrow as pa

    if file.stat().st_size == 0:
        raise InputError(f"{file}: the file is empty")
    table = _open_parquet(file)
    if table.num_rows == 0:
        raise InputError(f"{file}: has no rows")
    if KEY not in table.column_names:
        raise InputError(f"{file}: has no column {KEY}")
    criteria = [one.name for one in table.schema if one.name != KEY and pa.types.is_list(one.type)]
    if not criteria or not pa.types.is_list(table.schema.field(KEY).type):
        raise InputError(f"{file}: all its columns are empty: there are no lists of scores in it")
    columns = {name: table.column(name).to_pylist() for name in criteria}
    width = max((len(scores) for column in columns.values() for scores in column if scores), default=0)
    if width == 0:
        raise InputError(f"{file}: has no scores, only nulls")
    who = [validators[at] if at < len(validators) else f"validator_{at + 1}" for at in range(width)]
    keys = table.column(KEY).to_pylist()
    if any(key is None or len(key) != 2 or None in key for key in keys):
        raise InputError(f"{file}: a {KEY} is not a pair of base prompt and variation")
    rows = [
        _original_row(key, name, criterion, column[at], place)
        for at, key in enumerate(keys)
        for criterion, column in columns.items()
        for place, name in enumerate(who)
    ]
    return rows, width


def _original_row(key: Any, validator: str, criterion: str, scores: Sequence[float] | None,
                  place: int) -> dict[str, Any]:  # fmt: skip
    base, variation = key
    score = scores[place] if scores is not None and place < len(scores) else None
    good = score is not None and LOWEST <= score <= HIGHEST
    return DEFAULTS | {
        "base_id": str(base), "variation_id": variation, "validator": validator, "criterion": criterion,
        "expected": score if good else None, "level": round(score) if good and score is not None else None,
        "error": None if good else off_scale(score),
    }  # fmt: skip
