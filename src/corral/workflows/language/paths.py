"""Paths into JSON: `$.order.items[0]`, `$$.Execution.Id`, `$name`; and reference paths, where a value can be put.

A path that names one value gives that value, or fails where it is not there. A path that may name several (`[*]`, `..`, slices,
filters) gives a list, which may be empty. Every text is read once.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from corral.workflows.failing import RESULT_PATH, RUNTIME, StateFailed
from corral.workflows.language.path_reading import MISSING, Path, PathInvalid, found_by, read_path
from corral.workflows.language.scope import Scope


class PathMissing(StateFailed):
    """A path names a value that is not there."""

    def __init__(self, path: str, reason: str) -> None:
        """`reason`: what of it is missing."""
        self.path = path
        super().__init__(RUNTIME, f"Invalid path '{path}' : {reason}", prefixed=True)


def is_path(text: str) -> bool:
    """Whether this is a path."""
    try:
        read_path(text)
    except PathInvalid:
        return False
    return True


def is_reference_path(text: str) -> bool:
    """Whether this is a path where a value can be put: names and indexes alone, from `$`."""
    try:
        path = read_path(text)
    except PathInvalid:
        return False
    return path.is_reference and path.root == "$"


def fault_of(text: str) -> str | None:
    """What is wrong with a path; none: it can be read."""
    try:
        read_path(text)
    except PathInvalid as invalid:
        return str(invalid)
    return None


def find(path: str, scope: Scope, *, field: str | None = None) -> Any:
    """What a path finds. Raises `StateFailed` where it names one value that is not there; `field` is then told as well.

    The value is the one that stands in the document: nobody may change it.
    """
    try:
        return look(path, scope)
    except PathMissing:
        if field is None:
            raise
        raise missing_for(path, scope, field=field) from None


def look(path: str, scope: Scope) -> Any:
    """As `find`, and what is not there is a `PathMissing` of its own."""
    read = _read(path)
    document = _document(read, scope)
    if read.keys is not None and read.function is None:
        return _walk(read, document)
    try:
        found = found_by(read, document, document)
    except RecursionError:
        raise StateFailed(RUNTIME, f"Invalid path '{path}' : it is nested too deep", prefixed=True) from None
    if found is MISSING:
        raise PathMissing(path, f"No results for path: {_spelled(read)}")
    return found


def missing_for(path: str, scope: Scope, *, field: str) -> StateFailed:
    """How a field fails whose path finds nothing."""
    where = as_text(scope.input)
    cause = f"The JSONPath '{path}' specified for the field '{field}' could not be found in the input '{where}'"
    return StateFailed(RUNTIME, cause, prefixed=True)


def _read(path: str) -> Path:
    try:
        return read_path(path)
    except PathInvalid as invalid:
        raise StateFailed(RUNTIME, f"Invalid path '{path}' : {invalid}", prefixed=True) from None


def _document(path: Path, scope: Scope) -> Any:
    if path.root == "$":
        return scope.input
    if path.root == "$$":
        return scope.context if isinstance(scope.context, dict) else dict(scope.context)
    name = path.root[1:]
    if name not in scope.variables:
        raise PathMissing(path.text, f"No results for path: {path.root}")
    return scope.variables[name]


def _walk(path: Path, value: Any) -> Any:
    """The short way of paths that name one value."""
    keys = path.keys or ()
    for depth, key in enumerate(keys):
        if isinstance(key, str):
            if isinstance(value, dict) and key in value:
                value = value[key]
                continue
        elif isinstance(value, list) and -len(value) <= key < len(value):
            value = value[key]
            continue
        raise PathMissing(path.text, _reason(path, depth, value))
    return value


def _reason(path: Path, depth: int, value: Any) -> str:
    keys = path.keys or ()
    key, before, here = keys[depth], _bracketed(path.root, keys[:depth]), _bracketed(path.root, keys[: depth + 1])
    if isinstance(key, str) and not isinstance(value, dict):
        kind = "null" if value is None else _KINDS.get(type(value), "a value")
        return (
            f"Expected to find an object with property ['{key}'] in path {before} but found '{kind}'. "
            "This is not a json object according to the JsonProvider."
        )
    if not isinstance(key, str) and value is None:
        return f"The path {before} is null"
    if not isinstance(key, str) and not isinstance(value, list):
        return f"Filter: [{key}] can only be applied to arrays. Current context is: {as_text(value)}"
    last = depth == len(keys) - 1
    return f"No results for path: {here}" if last or not isinstance(key, str) else f"Missing property in path {here}"


_KINDS = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "an object"}


def _bracketed(root: str, keys: tuple[str | int, ...]) -> str:
    return root + "".join(f"['{key}']" if isinstance(key, str) else f"[{key}]" for key in keys)


def _spelled(path: Path) -> str:
    return path.text if path.keys is None else _bracketed(path.root, path.keys)


def as_text(value: Any) -> str:
    """A value as it is told to people: short JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def reference_set(document: Any, path: str, value: Any) -> Any:
    """A new document with the value where the path points; objects on the way are made. `document` stays as it is.

    Raises `StateFailed` where what is on the way is no object, or an array has no such place.
    """
    read = _read(path)
    if not read.is_reference or read.root != "$":
        raise StateFailed(
            RESULT_PATH, f"A value cannot be put at {path}: name one place, such as $.result.", prefixed=True
        )
    keys = read.keys or ()
    if not keys:
        return value
    try:
        return _put(document, keys, value)
    except LookupError:
        cause = f"Unable to apply ReferencePath {path} to input {as_text(document)}"
        raise StateFailed(RESULT_PATH, cause, prefixed=True) from None


def _put(document: Any, keys: tuple[str | int, ...], value: Any) -> Any:
    """From the outside to the inside, copying only what is on the way."""
    changed = top = _copied(document, keys[0])
    for key, following in pairwise(keys):
        inner = changed.get(key, {}) if isinstance(changed, dict) else changed[key]
        inner = _copied(inner, following)
        changed[key] = inner
        changed = inner
    changed[keys[-1]] = value
    return top


def _copied(value: Any, key: str | int) -> Any:
    """A copy of what has a place for this key. Raises `LookupError`."""
    if isinstance(key, str) and isinstance(value, dict):
        return dict(value)
    if isinstance(key, int) and isinstance(value, list) and -len(value) <= key < len(value):
        return list(value)
    raise LookupError(key)
