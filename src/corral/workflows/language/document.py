"""A definition as plain JSON values, from JSON or from YAML, within bounds of size, depth and number.

YAML is read as JSON would be: only `true` and `false` are booleans, and a timestamp is a string. What is written twice in one
object is a fault, not a riddle about which one counts.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, ClassVar

import yaml

from corral.workflows.language.fault import (
    NESTED,
    NO_JSON,
    SAME_STATE,
    SCHEMA,
    DefinitionInvalid,
    Fault,
    type_of,
)

SIZE_MAX = 1_048_576
"""Characters of a definition."""
DEPTH_MAX = 200
"""Objects and arrays within one another: more than forty Maps in Maps."""
VALUES_MAX = 500_000
YAML_MAX = 262_144
"""Characters of a definition in YAML, which takes some hundred times as long to read as JSON."""

_NUMBER = re.compile(r"-?(0|[1-9]\d{0,308})(\.\d+)?([eE][-+]?\d{1,3})?", re.ASCII)
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}


def document_of(text: str | bytes | dict[str, Any]) -> dict[str, Any]:
    """The object that was written. Raises `DefinitionInvalid`."""
    if isinstance(text, dict):
        _measure(text)
        return text
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _invalid(NO_JSON, f"This is not UTF-8: {error.reason} at byte {error.start}") from None
    if len(text) > SIZE_MAX:
        hint = "Split it: a step can start another workflow."
        raise _invalid(SCHEMA, f"A definition has at most {SIZE_MAX} characters, and this one has {len(text)}", hint)
    document = _parsed(text)
    if not isinstance(document, dict):
        raise _invalid(SCHEMA, "Expected value of type [OBJECT]", f"This is {type_of(document)}.", "/")
    _measure(document)
    return document


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] in ("{", "[", '"'):
        return _json(text)
    if len(text) > YAML_MAX:
        hint = "Write it as JSON, or split it: a step can start another workflow."
        raise _invalid(
            SCHEMA, f"A definition in YAML has at most {YAML_MAX} characters, and this one has {len(text)}", hint
        )
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - it makes plain values only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise _invalid(NO_JSON, f"This is neither JSON nor YAML: {problem}{where}") from None
    except RecursionError:
        raise _too_deep() from None
    # A word is YAML, but whoever sent it meant JSON.
    return document if isinstance(document, dict | list) else _json(text)


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_float)
    except json.JSONDecodeError as error:
        raise _invalid(NO_JSON, f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise _invalid(NO_JSON, str(error).partition(";")[0]) from None  # more digits than Python takes
    except RecursionError:
        raise _too_deep() from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # it marks
        raise _twice(twice, made[twice])
    return made


def _twice(key: str, value: Any) -> DefinitionInvalid:
    if isinstance(value, dict) and "Type" in value:
        return _invalid(SAME_STATE, f"Duplicate State name: {key}", "Rename one of the two.")
    return _invalid(NO_JSON, f"Duplicate field {key!r}", "Keep one of the two.")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _invalid(NO_JSON, f"{text} is larger than any number can be")
    return value


def _no_constant(name: str) -> Any:
    raise _invalid(NO_JSON, f"{name} is not JSON")


def _invalid(code: str, message: str, hint: str = "", location: str | None = None) -> DefinitionInvalid:
    return DefinitionInvalid([Fault(code=code, message=message, hint=hint, location=location)])


def _too_deep() -> DefinitionInvalid:
    hint = "Move what is inside to a workflow of its own, and start that."
    return _invalid(NESTED, f"Objects and arrays stand within one another more than {DEPTH_MAX} deep", hint)


def _measure(document: Any) -> None:
    """Level by level and without recursion: aliases of YAML may make a small text into very much."""
    level, seen = [document], 1
    for _depth in range(DEPTH_MAX + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            if seen + len(below) > VALUES_MAX:
                raise _invalid(
                    SCHEMA, f"A definition has at most {VALUES_MAX} values", "Split it into several workflows."
                )
        if not below:
            return
        seen += len(below)
        level = below
    raise _too_deep()


class _Loader(yaml.SafeLoader):
    """Makes what JSON can say, and nothing else."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # PyYAML's own, which it keeps by class
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def __init__(self, text: str) -> None:
        """Of the whole text."""
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML does, which would go down for as long as there is a stack."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise _too_deep()
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Any:
    """An object: its keys are strings, each of them once."""
    made: dict[str, Any] = {}
    yield made
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key is not a string", key.start_mark)
        name = str(key.value)
        if name in made:
            raise _twice(name, loader.construct_object(value, deep=True))
        made[name] = loader.construct_object(value)


def _sequence(loader: _Loader, node: yaml.SequenceNode) -> Any:
    made: list[Any] = []
    yield made
    made.extend(loader.construct_object(value) for value in node.value)


def _scalar(_loader: _Loader, node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    if node.style is not None:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return json.loads(text, parse_float=_float) if _NUMBER.fullmatch(text) else text


def _unknown(_loader: _Loader, node: yaml.Node) -> Any:
    raise yaml.constructor.ConstructorError(None, None, f"nobody here knows the tag {node.tag!r}", node.start_mark)


_Loader.add_constructor(None, _unknown)
for _tag, _made in (("map", _mapping), ("seq", _sequence), ("str", _scalar)):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _made)
