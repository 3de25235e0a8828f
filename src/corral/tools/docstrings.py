"""What a function's docstring says: of the function, and of each of its parameters (Google's, NumPy's and Sphinx's ways)."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

_SECTIONS = {
    "args": "parameters",
    "arguments": "parameters",
    "parameters": "parameters",
    "params": "parameters",
    "keyword args": "parameters",
    "keyword arguments": "parameters",
    "other parameters": "parameters",
    "returns": "returns",
    "return": "returns",
    "yields": "returns",
    "raises": "left out",
    "example": "left out",
    "examples": "left out",
    "note": "said",
    "notes": "said",
    "see also": "left out",
    "references": "left out",
    "warns": "left out",
    "attributes": "left out",
    "todo": "left out",
}
_UNDERLINE = re.compile(r"^-{3,}\s*$")
_GOOGLE = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY = re.compile(r"^\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_SPHINX = re.compile(r"^:(param|parameter|arg|argument|key|keyword)\s+(?:[^:]*?\s)?\*{0,2}(\w+)\s*:\s*(.*)$")
_SPHINX_OTHER = re.compile(r"^:(\w+)[^:]*:\s*(.*)$")


class Doc(NamedTuple):
    """A docstring, taken apart."""

    said: str
    """What the function does, and what it returns."""
    parameters: dict[str, str]


def read_docstring(fn: object) -> Doc:
    """Take the docstring of `fn` apart; one that follows no convention is all description."""
    text = inspect.getdoc(fn) or ""
    said: list[str] = []
    returns: list[str] = []
    parameters: dict[str, list[str]] = {}
    lines = text.splitlines()
    section, numpy, at = "said", False, 0
    current: list[str] | None = None
    while at < len(lines):
        line = lines[at]
        underlined = at + 1 < len(lines) and bool(_UNDERLINE.match(lines[at + 1]))
        title = _SECTIONS.get(line.strip().rstrip(":").lower()) if underlined or _is_title(line) else None
        if title is not None:
            section, numpy, current = title, underlined, None
            at += 2 if underlined else 1
            continue
        if not numpy and section not in {"said", "left out"} and line and not line[0].isspace():
            section = "said"  # Google's sections are indented: this is prose again
        if line.startswith(":"):
            current = _sphinx(line, parameters, returns)
        elif section == "parameters":
            current = _parameter(line, numpy, parameters, current)
        elif section == "returns":
            returns.append(line)
        elif section == "said":
            if current is not None and line[:1].isspace():  # a Sphinx field goes on
                current.append(line)
            else:
                current = None
                said.append(line)
        at += 1
    description = _prose(said)
    if returned := _flat(returns):
        description = f"{description}\n\nReturns: {returned}".strip()
    return Doc(description, {name: _flat(words) for name, words in parameters.items()})


def _is_title(line: str) -> bool:
    return line.endswith(":") and not line[:1].isspace()


def _sphinx(line: str, parameters: dict[str, list[str]], returns: list[str]) -> list[str] | None:
    if match := _SPHINX.match(line):
        parameters[match[2]] = words = [match[3]]
        return words
    match = _SPHINX_OTHER.match(line)
    if match is not None and match[1] in {"return", "returns"}:
        returns.append(match[2])
        return returns
    return []  # of a field that is not told on


def _parameter(line: str, numpy: bool, parameters: dict[str, list[str]], current: list[str] | None) -> list[str] | None:
    """Take a line of a section of parameters; returns where its continuation goes."""
    text = line.strip()
    if not text:
        return current
    if numpy and not line[0].isspace() and (match := _NUMPY.match(text)):
        words: list[str] = []
        for name in match[1].split(","):
            parameters[name.strip()] = words
        return words
    indent = len(line) - len(line.lstrip())
    if not numpy and (match := _GOOGLE.match(text)) and (current is None or indent <= _INDENT_MAX):
        parameters[match[1]] = words = [match[2]]
        return words
    if current is not None:
        current.append(text)
    return current


_INDENT_MAX = 4
"""Deeper lines go on with what was said before."""


def _flat(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def _prose(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).strip()
