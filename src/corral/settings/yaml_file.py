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
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ["str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value"]
)
_DEPTH_MAX = 30
_NODES_MAX = 20_000
"""More than any settings have: an alias that contains itself, or aliases of aliases of aliases."""


def read_yaml(path: Path, checker: Checker) -> dict[str, Value]:
    """Values by dotted key. Faults of shape go to `checker`; a file that is no YAML is a `ConfigError` at once."""
    root = compose(path)
    values: dict[str, Value] = {}
    if root is None:
        return values
    reader = YamlReader(path, checker)
    if not isinstance(root, yaml.MappingNode):
        checker.fault(reader.place(root), "(file)", "Expected `key: value` lines.")
        return values
    for name, key, node in reader.entries(root):
        if "." in name:
            section, _, inner = name.partition(".")
            checker.fault(reader.place(key), name, f"Write `{section}:`, and `{inner}: …` indented below it.")
        elif name not in SECTIONS:
            if name != "$schema":
                values[name] = reader.setting(name, key, node)
        elif isinstance(node, yaml.MappingNode):
            for inner, inner_key, inner_node in reader.entries(node, name):
                dotted = f"{name}.{inner}"
                values[dotted] = reader.setting(dotted, inner_key, inner_node)
        elif reader.plain(node, name) is not None:
            checker.fault(reader.place(key), name, "Expected `key: value` lines below this section.")
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
        # PyYAML says "but found …" as the second half of a sentence.
        said = f"{error.context}, {error.problem}" if str(error.problem).startswith("but ") else error.problem
        raise ConfigError(f"{place}: This is not YAML: {said}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path.name}:{line}: This is not YAML: the character U+{error.character:04X}.") from None
    except RecursionError:
        raise ConfigError(f"{path.name}: This is nested too deeply.") from None
    return node


class YamlReader:
    """Turns the nodes of one file into plain values, and remembers where each of them stands."""

    def __init__(self, path: Path, checker: Checker) -> None:
        """Faults go to `checker`."""
        self._path = path
        self._checker = checker
        self._nodes = 0
        self.places: dict[str, str] = {}
        """By dotted key."""

    def place(self, node: yaml.Node) -> str:
        """`corral.yaml:12`."""
        return f"{self._path.name}:{node.start_mark.line + 1}"

    def setting(self, key: str, key_node: yaml.Node, node: yaml.Node) -> Value:
        """One setting, with the places of its parts."""
        return Value(self.plain(node, key), self.place(key_node), places=self.places)

    def entries(self, node: yaml.MappingNode, key: str = "") -> list[tuple[str, yaml.Node, yaml.Node]]:
        """Name, key and value of each entry that has a proper name."""
        seen: dict[str, int] = {}
        found = []
        for name_node, value in node.value:
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else ""
            dotted = f"{key}.{name}" if key else name
            if not name:
                self._checker.fault(self.place(name_node), key or "(key)", "A key is a plain text.")
            elif name in seen:
                message = f"This key stands twice; the first one is in line {seen[name]}."
                self._checker.fault(self.place(name_node), dotted, message)
            else:
                seen[name] = name_node.start_mark.line + 1
                self.places[dotted] = self.place(name_node)
                found.append((name, name_node, value))
        return found

    def plain(self, node: yaml.Node, key: str = "", depth: int = 0) -> Any:
        """A node as Python values."""
        self._nodes += 1
        if depth > _DEPTH_MAX or self._nodes > _NODES_MAX:
            raise ConfigError(f"{self.place(node)}: This is nested too deeply, or contains itself by an alias.")
        if node.tag not in _TAGS:
            self._checker.fault(self.place(node), key, f"The tag {node.tag!r} means nothing here; leave it out.")
        if isinstance(node, yaml.MappingNode):
            found = self.entries(node, key)
            return {name: self.plain(inner, f"{key}.{name}" if key else name, depth + 1) for name, _, inner in found}
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, f"{key}[{at}]", depth + 1) for at, item in enumerate(node.value)]
        return _scalar(node) if isinstance(node, yaml.ScalarNode) else None

    def _item(self, node: yaml.Node, key: str, depth: int) -> Any:
        self.places[key] = self.place(node)
        return self.plain(node, key, depth)


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
