"""Values of JSONata between the library and everybody else: nulls, numbers, text, copies, equality."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from corral.workflows.language.jsonata_library import JException, Jsonata, Utils

EXACT = 10**21
"""Whole numbers below this are written as such."""


def running() -> Any:
    """The evaluation that goes on in this thread."""
    return Jsonata.CURRENT.jsonata


def refuse_nulls(*values: Any) -> None:
    """Null is no text and no number."""
    if any(value is Utils.NULL_VALUE for value in values):
        raise JException("T0410", -1, 1, "")


def number_of(value: Any) -> Any:
    """A result that is a number: whole ones as integers, and never one that JSON does not have."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise JException("D1001", 0, "NaN" if math.isnan(value) else "Infinity")
        if value.is_integer() and abs(value) < EXACT:
            return int(value)
    return value


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: 1 is 1.0, and true is not 1."""
    if left is right:
        return True
    if left != right:
        return False
    if isinstance(left, dict):
        return all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool)


def text_of(value: Any, *, pretty: bool = False) -> str:
    """A value as text: JSON with numbers of fifteen digits, and nothing for what is undefined or a function."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) or (isinstance(value, int) and abs(value) >= EXACT):
        return json.dumps(_written(value)).replace("e-0", "e-")
    if isinstance(value, _CONTAINERS):
        running().bounds.weigh(value)
    elif value is not Utils.NULL_VALUE and not isinstance(value, int):
        return ""
    indent, separators = (2, (",", ": ")) if pretty else (None, (",", ":"))
    return json.dumps(_written(value), ensure_ascii=False, indent=indent, separators=separators)


def _written(value: Any) -> Any:
    if isinstance(value, float) or (isinstance(value, int) and abs(value) >= EXACT):
        return number_of(float(f"{value:.15g}"))
    if isinstance(value, dict):
        return {key: _written(one) for key, one in value.items()}
    if isinstance(value, list):
        return [None if one is None else _written(one) for one in value]
    if value is Utils.NULL_VALUE:
        return None
    return value if isinstance(value, str | int) else ""


def cloned(value: Any) -> Any:
    """A copy that shares nothing that can be changed."""
    if isinstance(value, dict):
        return {key: cloned(one) for key, one in value.items()}
    return [cloned(one) for one in value] if isinstance(value, list) else value


def with_nulls(document: Any) -> Any:
    """A document as the library wants it: null is a value of its own, and `None` is undefined. Copied only where it has nulls."""
    if document is None:
        return Utils.NULL_VALUE
    if not isinstance(document, dict | list) or b"null" not in msgspec.json.encode(document):
        return document
    return _with_nulls(document)


def _with_nulls(value: Any) -> Any:
    changed: Any = None
    for key, old in value.items() if isinstance(value, dict) else enumerate(value):
        if old is None:
            new = Utils.NULL_VALUE
        elif isinstance(old, _CONTAINERS):
            new = _with_nulls(old)
            if new is old:
                continue
        else:
            continue
        if changed is None:
            changed = value.copy()
        changed[key] = new
    return value if changed is None else changed


_CONTAINERS = (dict, list)
