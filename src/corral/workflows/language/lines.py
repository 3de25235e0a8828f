"""The line of a text, JSON or YAML, on which something stands that a JSON pointer names."""

from __future__ import annotations

import json
import re

import yaml

_SPACE = re.compile(r"[\s,:]*")
_decode = json.JSONDecoder().raw_decode


def line_of(text: str, pointer: str) -> int:
    """Counted from 1. Of what is not there: the line of what it would stand in."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    if text.lstrip()[:1] in ("{", "["):
        return _in_json(text, steps)
    return _in_yaml(text, steps)


def _in_json(text: str, steps: list[str]) -> int:
    found = at = _next(text, 0)
    for step in steps:
        try:
            entry = _entry(text, at, step)
        except (ValueError, IndexError, RecursionError):
            break
        if entry is None:
            break
        found, at = entry
    return text.count("\n", 0, found) + 1


def _entry(text: str, at: int, step: str) -> tuple[int, int] | None:
    """Where a member (with its name) or an element begins, and where its value does. What stands before it is read over."""
    opened = text[at]
    if opened not in "{[":
        return None
    at = _next(text, at + 1)
    index = 0
    while text[at] not in "}]":
        begins, key = at, str(index)
        if opened == "{":
            key, at = _decode(text, at)
            at = _next(text, at)
        if key == step:
            return begins, at
        _value, at = _decode(text, at)
        at = _next(text, at)
        index += 1
    return None


def _next(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


def _in_yaml(text: str, steps: list[str]) -> int:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return 1
    line = 1 if node is None else node.start_mark.line + 1
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == step), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
            node = node.value[int(step)]
            line = node.start_mark.line + 1
        else:
            break
    return line
