"""Bodies against the shapes that describe them, with faults worded as the service words them.

A shape is a JSON schema of few words, which `GET /openapi.json` shows as it is: so what is described is what is checked.
Members that no shape knows are passed over, as the service does.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from corral.errors import ValidationFailed

Shape = dict[str, Any]

_SHOWN_CHARS = 100
_FAULTS_MAX = 5


def check(value: object, shape: Shape, *, at: str = "") -> None:
    """Refuse what does not fit, naming all that is wrong with it."""
    faults = faults_of(value, shape, at=at)
    if faults:
        raise refusal(*faults)


def faults_of(value: object, shape: Shape, *, at: str = "") -> list[tuple[str, str]]:
    """What does not fit: the members, and what each fails to satisfy. The first few of them."""
    return list(islice(_faults(value, shape, at), _FAULTS_MAX))


def refusal(*faults: tuple[str, str]) -> ValidationFailed:
    """An error for these members and what each fails to satisfy."""
    count = f"{len(faults)} validation error{'' if len(faults) == 1 else 's'} detected: "
    words = [f"Value at '{place}' failed to satisfy constraint: {constraint}" for place, constraint in faults]
    errors: list[dict[str, object]] = [{"pointer": place, "message": constraint} for place, constraint in faults]
    return ValidationFailed(count + "; ".join(words), errors=errors)


def text(pattern: str | None = None, *, least: int | None = None, most: int | None = None) -> Shape:
    """A string; the pattern is of the whole of it."""
    shape: Shape = {"type": "string"}
    if pattern is not None:
        shape["pattern"] = f"^(?:{pattern})$"
    if least is not None:
        shape["minLength"] = least
    if most is not None:
        shape["maxLength"] = most
    return shape


def number(least: float | None = None, most: float | None = None, *, whole: bool = True) -> Shape:
    """A number, a whole one unless it says otherwise."""
    shape: Shape = {"type": "integer" if whole else "number"}
    if least is not None:
        shape["minimum"] = least
    if most is not None:
        shape["maximum"] = most
    return shape


def one_of(*words: str) -> Shape:
    """One of these words."""
    return {"type": "string", "enum": list(words)}


def several(items: Shape, least: int = 0, most: int | None = None) -> Shape:
    """A list."""
    shape: Shape = {"type": "array", "items": items, "minItems": least}
    return shape if most is None else {**shape, "maxItems": most}


def structure(required: tuple[str, ...] = (), /, **members: Shape) -> Shape:
    """An object with known members."""
    return {"type": "object", "properties": members, "required": list(required)}


def union(**members: Shape) -> Shape:
    """Exactly one of these members."""
    return {
        "type": "object",
        "properties": members,
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }


def mapping(keys: Shape, values: Shape, least: int = 0, most: int | None = None) -> Shape:
    """Names of the caller's own, each with a value."""
    shape: Shape = {"type": "object", "propertyNames": keys, "additionalProperties": values, "minProperties": least}
    return shape if most is None else {**shape, "maxProperties": most}


def outlined(shape: Shape, levels: int) -> Shape:
    """The shape down to so many levels, for a description that people read; what is checked goes all the way."""
    if shape.get("type") == "array":
        return {**shape, "items": outlined(shape["items"], levels)}
    if shape.get("type") != "object" or not shape.keys() & {"properties", "additionalProperties"}:
        return shape
    if levels == 0:
        return {"type": "object"}
    members = {name: outlined(member, levels - 1) for name, member in shape.get("properties", {}).items()}
    return {**shape, "properties": members}


def _faults(value: object, shape: Shape, at: str) -> Iterator[tuple[str, str]]:
    kind = shape.get("type")
    if kind is None:
        return
    if not _KINDS[kind](value):
        yield at, "Member must not be null" if value is None else f"Member must be of type {kind}"
    elif isinstance(value, str):
        yield from _text_faults(value, shape, at)
    elif isinstance(value, list):
        yield from _list_faults(value, shape, at)
    elif isinstance(value, dict):
        yield from _object_faults(value, shape, at)
    elif isinstance(value, int | float):
        if value < shape.get("minimum", -math.inf):
            yield at, f"Member must have value greater than or equal to {shape['minimum']}"
        if value > shape.get("maximum", math.inf):
            yield at, f"Member must have value less than or equal to {shape['maximum']}"


def _text_faults(value: str, shape: Shape, at: str) -> Iterator[tuple[str, str]]:
    if "enum" in shape and value not in shape["enum"]:
        yield at, f"Member must satisfy enum value set: [{', '.join(shape['enum'])}]"
    if len(value) < shape.get("minLength", 0):
        yield at, f"Member must have length greater than or equal to {shape['minLength']}"
    if len(value) > shape.get("maxLength", math.inf):
        yield at, f"Member must have length less than or equal to {shape['maxLength']}"
    elif "pattern" in shape and not _compiled(shape["pattern"]).fullmatch(value):
        yield at, f"Member must satisfy regular expression pattern: {shape['pattern'][4:-2]}"


def _list_faults(value: list[Any], shape: Shape, at: str) -> Iterator[tuple[str, str]]:
    if len(value) < shape.get("minItems", 0):
        yield at, f"Member must have length greater than or equal to {shape['minItems']}"
    if len(value) > shape.get("maxItems", math.inf):
        yield at, f"Member must have length less than or equal to {shape['maxItems']}"
        return
    for place, item in enumerate(value, 1):
        yield from _faults(item, shape["items"], f"{at}.{place}.member")


def _object_faults(value: dict[str, Any], shape: Shape, at: str) -> Iterator[tuple[str, str]]:
    prefix = f"{at}." if at else ""
    members: dict[str, Shape] = shape.get("properties", {})
    for name in shape.get("required", ()):
        if name not in value:
            yield f"{prefix}{name}", "Member must not be null"
    if len(value) < shape.get("minProperties", 0):
        yield at, f"Member must have length greater than or equal to {shape['minProperties']}"
    if len(value) > shape.get("maxProperties", math.inf):
        yield at, f"Member must have length less than or equal to {shape['maxProperties']}"
        return
    rest = shape.get("additionalProperties", True)
    for name, member in value.items():
        place = f"{prefix}{name[:_SHOWN_CHARS]}"
        if name in members:
            yield from _faults(member, members[name], place)
        elif rest is False:
            yield place, f"Member must be one of: [{', '.join(members)}]"
        elif isinstance(rest, dict):
            yield from _faults(name, shape.get("propertyNames", {}), place)
            yield from _faults(member, rest, place)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removeprefix("^").removesuffix("$"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _is_whole(value: object) -> bool:
    return _is_number(value) and (isinstance(value, int) or float(value).is_integer())  # type: ignore[arg-type]  # just seen to be a number


_KINDS: dict[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_whole,
    "number": _is_number,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
