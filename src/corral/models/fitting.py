"""Whether a value fits a JSON schema: enough of the language to judge a model's answer, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_DEPTH_MAX = 60


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
    "number": _is_number,
}


def misfit(value: Any, schema: Any) -> str:
    """What is wrong first (`/items/0/price: not a number`), or nothing.

    Knows types, enum, const, properties, required, additionalProperties, items, prefixItems, lengths, bounds, anyOf, oneOf,
    allOf and `$ref` within the schema. What it does not know (patterns, formats, conditions) it takes as fitting.
    """
    return next(_faults(value, schema, schema, "", 0), "")


def _faults(value: Any, schema: Any, root: Any, at: str, depth: int) -> Iterator[str]:
    if not isinstance(schema, dict):
        if schema is False:
            yield f"{at or '/'}: nothing may stand here"
        return
    if depth > _DEPTH_MAX:
        yield f"{at or '/'}: too deep"
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _faults(value, _found(reference, root), root, at, depth + 1)
    yield from _of_kind(value, schema, at)
    yield from _of_several(value, schema, root, at, depth)
    if isinstance(value, dict):
        yield from _in_object(value, schema, root, at, depth)
    elif isinstance(value, list):
        yield from _in_array(value, schema, root, at, depth)


def _found(reference: str, root: Any) -> Any:
    """What a reference within the schema means; one that leads out of it allows anything."""
    if not reference.startswith("#"):
        return True
    found = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key, True) if isinstance(found, dict) else True
    return found


def _of_kind(value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    where = at or "/"
    kinds = schema.get("type")
    if kinds is not None:
        wanted = kinds if isinstance(kinds, list) else [kinds]
        if not any(_TYPES.get(kind, lambda _: True)(value) for kind in wanted):
            yield f"{where}: not {' or '.join(map(str, wanted))}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: not one of {schema['enum']!r:.200}"
    if "const" in schema and value != schema["const"]:
        yield f"{where}: not {schema['const']!r:.100}"
    size = len(value) if isinstance(value, str | list) else value if _is_number(value) else None
    if size is not None:
        lowest, highest = _BOUNDS[type(value) if isinstance(value, str | list) else float]
        if size < schema.get(lowest, size):
            yield f"{where}: {lowest} is {schema[lowest]}"
        if size > schema.get(highest, size):
            yield f"{where}: {highest} is {schema[highest]}"


_BOUNDS: dict[type, tuple[str, str]] = {
    str: ("minLength", "maxLength"),
    list: ("minItems", "maxItems"),
    float: ("minimum", "maximum"),
}


def _of_several(value: Any, schema: dict[str, Any], root: Any, at: str, depth: int) -> Iterator[str]:
    for one in schema.get("allOf", ()):
        yield from _faults(value, one, root, at, depth + 1)
    for word in ("anyOf", "oneOf"):
        choices = schema.get(word)
        if choices and not any(next(_faults(value, one, root, at, depth + 1), "") == "" for one in choices):
            yield f"{at or '/'}: fits none of {len(choices)} choices"


def _in_object(value: dict[str, Any], schema: dict[str, Any], root: Any, at: str, depth: int) -> Iterator[str]:
    properties = schema.get("properties") or {}
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at}/{name}: missing"
    others = schema.get("additionalProperties", True)
    for name, one in value.items():
        if name in properties:
            yield from _faults(one, properties[name], root, f"{at}/{name}", depth + 1)
        elif others is False:
            yield f"{at}/{name}: not allowed"
        elif isinstance(others, dict):
            yield from _faults(one, others, root, f"{at}/{name}", depth + 1)


def _in_array(value: list[Any], schema: dict[str, Any], root: Any, at: str, depth: int) -> Iterator[str]:
    first = schema.get("prefixItems") or ()
    for index, one in enumerate(value):
        kind = first[index] if index < len(first) else schema.get("items", True)
        yield from _faults(one, kind, root, f"{at}/{index}", depth + 1)
