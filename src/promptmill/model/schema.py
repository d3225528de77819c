"""JSON schemas, as far as answers are checked by them here.

What is not listed (format, not, …) is left to whoever generates the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
                          "boolean": bool, "null": type(None)}  # fmt: skip


def fits(value: Any, schema: Any, root: dict[str, Any]) -> bool:
    """Whether a JSON value fits a schema, by the usual keywords; `root` holds what references name."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema and not fits(value, _referred(schema["$ref"], root), root):
        return False
    kinds = schema.get("type")
    if kinds is not None and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if not all(fits(value, part, root) for part in schema.get("allOf", ())):
        return False
    if any(key in schema and not any(fits(value, p, root) for p in schema[key]) for key in ("anyOf", "oneOf")):
        return False
    if isinstance(value, dict):
        return _object_fits(value, schema, root)
    if isinstance(value, list):
        inside = all(fits(item, schema.get("items", True), root) for item in value)
        return inside and _within(len(value), schema, "minItems", "maxItems")
    if isinstance(value, str):
        found = "pattern" not in schema or re.search(schema["pattern"], value) is not None
        return found and _within(len(value), schema, "minLength", "maxLength")
    return not _is(value, "number") or (
        _within(value, schema, "minimum", "maximum")
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
    )


def _object_fits(value: dict[str, Any], schema: Mapping[str, Any], root: dict[str, Any]) -> bool:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    return all(name in value for name in schema.get("required", ())) and all(
        fits(item, known.get(name, others), root) for name, item in value.items()
    )


def _within(number: float, schema: Mapping[str, Any], least: str, most: str) -> bool:
    return bool(schema.get(least, number) <= number <= schema.get(most, number))


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[kind])


def _referred(pointer: str, root: dict[str, Any]) -> Any:
    """What "#/$defs/name" names."""
    found: Any = root
    for step in pointer.removeprefix("#").split("/")[1:]:
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


SHAPES: dict[str, Any] = {
    "items": (dict, bool), "additionalProperties": (dict, bool), "allOf": list, "anyOf": list, "oneOf": list,
    "properties": dict, "$defs": dict, "definitions": dict, "required": list, "enum": list, "$ref": str, "pattern": str,
} | dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "minLength",
                   "maxLength"), (int, float))  # fmt: skip
"""What kind of JSON stands under a keyword."""


def fault_of(schema: Any, root: dict[str, Any]) -> str:
    """Why `fits` could not read this schema, or ""."""
    if isinstance(schema, bool):
        return ""
    if not isinstance(schema, dict):
        return f"{json.dumps(schema)[:40]} is no schema"
    for key, shape in SHAPES.items():
        if key in schema and not isinstance(schema[key], shape):
            return f"{key} cannot be {json.dumps(schema[key])[:40]}"
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in TYPES:
            return f"there is no type {json.dumps(kind)[:40]}"
    try:
        re.compile(schema.get("pattern", ""))
        _referred(schema.get("$ref", "#"), root)
    except re.error:
        return f"{schema['pattern']!r} is not a regular expression"
    except (KeyError, TypeError):
        return f"{schema['$ref']!r} names nothing"
    inner = [schema[key] for key in ("items", "additionalProperties") if key in schema]
    inner += [part for key in ("allOf", "anyOf", "oneOf") for part in schema.get(key, ())]
    inner += [part for key in ("properties", "$defs", "definitions") for part in schema.get(key, {}).values()]
    return next((fault for part in inner if (fault := fault_of(part, root))), "")


def object_of(properties: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of an object with exactly these properties. Their definitions move to its root, where references look
    for them."""
    inner = {name: dict(schema) for name, schema in properties.items()}
    shared: dict[str, Any] = {}
    for schema in inner.values():
        for key in ("$defs", "definitions"):
            if key in schema:
                shared.setdefault(key, {}).update(schema.pop(key))
    return {"type": "object", "properties": inner, "required": list(inner), "additionalProperties": False} | shared
