"""Change single values in a YAML file's text and leave all else as people wrote it: comments, order, quotes."""

from __future__ import annotations

import itertools
import re
from typing import Any

import msgspec
import yaml

from corral.cli.failure import Exit, Failure

_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./:-]*(?<!:)")
_AMBIGUOUS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_INDENT = "  "


def set_value(text: str, key: str, value: Any) -> str:
    """`text` with `section.name` (or `name`) set to `value`."""
    section, _, name = key.rpartition(".")
    root = _mapping(_composed(text))
    if not section:
        return _set_in(text, root, name, value, indent="")
    entry = _find(root, section)
    if entry is None:
        return f"{_ended(text)}\n{section}:\n{_INDENT}{name}: {scalar(value)}\n".lstrip("\n")
    section_key, section_value = entry
    if isinstance(section_value, yaml.MappingNode):
        if section_value.flow_style:
            return _set_in_flow(text, section_value, name, value)
        indent = " " * section_value.start_mark.column
        return _set_in(text, section_value, name, value, indent=indent)
    end = section_key.end_mark.index + text[section_key.end_mark.index :].index(":") + 1
    if section_value.value:
        raise _not_editable(f"`{section}` holds a single value")
    return _inserted(text, _line_end(text, end), f"{_INDENT}{name}: {scalar(value)}")


def scalar(value: Any) -> str:
    """A value as one writes it after `key: `."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _AMBIGUOUS:
        return value
    # YAML reads JSON, but for a few characters that it wants escaped.
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", msgspec.json.encode(value).decode())


def _set_in(text: str, mapping: yaml.MappingNode | None, name: str, value: Any, *, indent: str) -> str:
    entry = _find(mapping, name)
    if entry is not None:
        return _replaced(text, entry[1], value, after=entry[0])
    line = f"{indent}{name}: {scalar(value)}"
    if mapping is None or not mapping.value:
        return f"{_ended(text)}{line}\n"
    if not indent:
        # Among the plain values at the top of the file, which come before the sections.
        leading = list(itertools.takewhile(lambda pair: isinstance(pair[1], yaml.ScalarNode), mapping.value))
        if not leading:
            start = text.rfind("\n", 0, mapping.value[0][0].start_mark.index) + 1
            return f"{text[:start]}{line}\n{text[start:]}"
        mapping = yaml.MappingNode(mapping.tag, leading, mapping.start_mark, mapping.end_mark)
    return _inserted(text, _line_end(text, _last_index(mapping)), line)


def _set_in_flow(text: str, mapping: yaml.MappingNode, name: str, value: Any) -> str:
    entry = _find(mapping, name)
    if entry is not None:
        return _replaced(text, entry[1], value, after=entry[0])
    start = mapping.start_mark.index + 1
    return f"{text[:start]}{name}: {scalar(value)}{', ' if mapping.value else ''}{text[start:]}"


def _replaced(text: str, node: yaml.Node, value: Any, *, after: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.style in {"|", ">"}:
        raise _not_editable(f"`{after.value}` in line {after.start_mark.line + 1} is more than one value")
    if not node.value and node.style is None:  # `key:` and nothing more
        colon = after.end_mark.index + text[after.end_mark.index :].index(":") + 1
        return f"{text[:colon]} {scalar(value)}{text[colon:]}"
    return f"{text[: node.start_mark.index]}{scalar(value)}{text[node.end_mark.index :]}"


def _last_index(mapping: yaml.MappingNode) -> int:
    """Where the last value ends; a block's own end mark lies behind the comments that follow it."""
    node: yaml.Node = mapping
    while isinstance(node, yaml.MappingNode | yaml.SequenceNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
        if isinstance(node, yaml.ScalarNode) and not node.value and isinstance(last, tuple):
            node = last[0]
    return int(node.end_mark.index)


def _inserted(text: str, at: int, line: str) -> str:
    before = text[:at]
    return f"{_ended(before)}{line}\n{text[at:]}"


def _line_end(text: str, index: int) -> int:
    """The start of the line after `index`."""
    if index and text[index - 1] == "\n":
        return index
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _find(mapping: yaml.MappingNode | None, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    pairs = mapping.value if mapping is not None else []
    return next(((key, value) for key, value in pairs if key.value == name), None)


def _composed(text: str) -> yaml.Node | None:
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    return node


def _mapping(node: yaml.Node | None) -> yaml.MappingNode | None:
    if node is None or isinstance(node, yaml.MappingNode):
        return node
    raise _not_editable("the file holds no `key: value` lines")


def _not_editable(why: str) -> Failure:
    return Failure(
        f"corral.yaml cannot be changed: {why}.", "Edit it by hand.", code="not_editable", status=Exit.INVALID
    )
