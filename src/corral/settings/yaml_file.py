"""`corral.yaml`, with the line of every key. YAML's surprises are kept out: only `true` and `false` are booleans."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from corral.errors import ConfigError
from corral.settings.check import SECTIONS, Checker, Value

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$")
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}


def read_yaml(path: Path, checker: Checker) -> dict[str, Value]:
    """Values by dotted key. Faults of shape go to `checker`; a file that is no YAML is a `ConfigError` at once."""
    root = compose(path)
    values: dict[str, Value] = {}
    if root is None:
        return values
    if not isinstance(root, yaml.MappingNode):
        checker.fault(_place(path, root), "(file)", "Expected `key: value` lines.")
        return values
    for name, key_node, node in _entries(root, path, checker):
        if name not in SECTIONS:
            if name != "$schema":
                values[name] = Value(plain_value(node, path, checker), _place(path, key_node))
        elif isinstance(node, yaml.MappingNode):
            for inner, inner_key, inner_node in _entries(node, path, checker):
                values[f"{name}.{inner}"] = Value(plain_value(inner_node, path, checker), _place(path, inner_key))
        elif plain_value(node, path, checker) is not None:
            checker.fault(_place(path, key_node), name, "Expected `key: value` lines below this section.")
    return values


def compose(path: Path) -> yaml.Node | None:
    """The file's syntax tree."""
    try:
        text = path.read_text(encoding="utf-8")
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error.reason} at byte {error.start}.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path.name}:{mark.line + 1}:{mark.column + 1}" if mark else path.name
        raise ConfigError(f"{place}: This is not YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name}: This is not YAML: {error}.") from None
    return node


def _place(path: Path, node: yaml.Node) -> str:
    return f"{path.name}:{node.start_mark.line + 1}"


def _entries(node: yaml.MappingNode, path: Path, checker: Checker) -> list[tuple[str, yaml.Node, yaml.Node]]:
    seen: dict[str, int] = {}
    found = []
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        if not name:
            checker.fault(_place(path, key), "(key)", "A key is a plain text.")
        elif name in seen:
            checker.fault(_place(path, key), name, f"This key stands twice; the first one is in line {seen[name]}.")
        else:
            seen[name] = key.start_mark.line + 1
            found.append((name, key, value))
    return found


def plain_value(node: yaml.Node, path: Path, checker: Checker) -> Any:
    """A node as Python values."""
    if isinstance(node, yaml.MappingNode):
        return {name: plain_value(inner, path, checker) for name, _, inner in _entries(node, path, checker)}
    if isinstance(node, yaml.SequenceNode):
        return [plain_value(inner, path, checker) for inner in node.value]
    return _scalar(node) if isinstance(node, yaml.ScalarNode) else None


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.style is not None:  # quoted, or a block of text
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text
