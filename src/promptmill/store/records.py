"""Records as rows of a table: dataclasses whose fields are the columns. Rows that failed have a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_TYPES = {"str": "string", "int": "int32", "float": "float64", "bool": "bool", "list[str]": "list"}


def schema_of(kind: type[Any]) -> pa.Schema:
    """The columns of a table of `kind`: a dataclass of str, int, float, bool and list[str], with `| None` where a
    column may be empty."""
    import pyarrow as pa

    makers: dict[str, pa.DataType] = {
        "string": pa.string(),
        "int32": pa.int32(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "list": pa.list_(pa.string()),
    }
    columns = []
    for field in fields(kind):
        plain, _, none = str(field.type).partition(" | ")
        columns.append(pa.field(field.name, makers[_TYPES[plain]], nullable=bool(none)))
    return pa.schema(columns)


def row_of(record: Any) -> dict[str, Any]:
    """The row of a record."""
    return asdict(record)


def record_of(kind: type[Any], row: Mapping[str, Any]) -> Any:
    """The record of a table's row; columns that it does not have are left out."""
    return kind(**{field.name: row[field.name] for field in fields(kind)})
