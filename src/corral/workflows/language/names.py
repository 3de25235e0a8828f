"""Which names an expression uses: variables, and what it reaches for that is not there.

An expression is parsed, never evaluated. Names that it binds itself (`:=`, the arguments of a function) and built-in functions are
no variables of the workflow.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from corral.workflows.language import jsonata

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_VARIABLE = re.compile(r"(?<![$\w.])\$([^\W\d]\w*)")

_FUNCTIONS = """
    abs append assert average base64decode base64encode boolean ceil clone contains count decodeUrl decodeUrlComponent distinct each
    encodeUrl encodeUrlComponent error eval exists filter floor formatBase formatInteger formatNumber fromMillis hash join keys
    length lookup lowercase map match max merge millis min not now number pad parse parseInteger partition power random range
    reduce replace reverse round shuffle sift single sort split spread sqrt string substring substringAfter substringBefore sum
    toMillis trim type uppercase uuid zip
"""
_BUILT_IN = frozenset(_FUNCTIONS.split())


_SIMPLE = frozenset({str, int, float, bool, type(None)})


class Names(msgspec.Struct, frozen=True):
    """What an expression of JSONata names."""

    variables: tuple[str, ...] = ()
    """Without `$`, sorted; `states` is not among them."""
    bare: tuple[str, ...] = ()
    """What it takes from a document that is not there: `phone` in `phone.number`."""
    states: tuple[str, ...] = ()
    """Fields of `$states`."""
    root: bool = False
    """It uses `$$`."""


def variables_of_path(text: str) -> list[str]:
    """The variables in a path or in a call of an intrinsic function."""
    return sorted(set(_VARIABLE.findall(_QUOTED.sub("", text))))


@lru_cache(maxsize=4096)
def names_in(text: str) -> Names:
    """The names in an expression with its `{% %}`; nothing, where it cannot be parsed."""
    found = _Found()
    try:
        found.walk(jsonata.tree_of(text), outside=True)
    except (jsonata.Unreadable, RecursionError):
        return Names()
    return Names(
        variables=tuple(sorted(found.variables - found.bound - _BUILT_IN - {"states"})),
        bare=tuple(found.bare),
        states=tuple(found.states),
        root=found.root,
    )


class _Found:
    """Goes through a syntax tree. `outside`: what is looked at is not inside of a path, so a bare name has nothing to be a field of."""

    def __init__(self) -> None:
        self.variables: set[str] = set()
        self.bound: set[str] = set()
        self.bare: dict[str, None] = {}
        self.states: dict[str, None] = {}
        self.root = False

    def walk(self, node: Any, *, outside: bool) -> None:
        if isinstance(node, list | tuple):
            for inner in node:
                self.walk(inner, outside=outside)
            return
        kind = getattr(node, "type", None)
        if kind is None:
            return
        self._bind(node, kind)
        match kind:
            case "path":
                self._path(node, outside=outside)
            case "variable":
                self._variable(node.value, outside=outside)
                self._rest(node, outside=False)
            case "wildcard" | "descendant" if outside:
                self.bare["*" if kind == "wildcard" else "**"] = None
            case "bind":
                self.walk(node.rhs, outside=outside)
            case "function" | "partial":
                self.walk(node.procedure, outside=outside)
                self.walk(node.arguments, outside=outside)
            case "lambda" | "filter" | "sort" | "transform" | "index":
                self._rest(node, outside=False)
            case _:
                self._rest(node, outside=outside)

    def _rest(self, node: Any, *, outside: bool, without: str = "value") -> None:
        for name, inner in vars(node).items():
            if type(inner) in _SIMPLE or name in ("_outer_instance", without):
                continue
            self.walk(inner, outside=outside)

    def _path(self, node: Any, *, outside: bool) -> None:
        first, *others = node.steps
        if outside and first.type in ("name", "wildcard", "descendant"):
            self.bare[{"wildcard": "*", "descendant": "**"}.get(first.type, str(first.value))] = None
        self.walk(first, outside=outside and first.type not in ("name", "wildcard", "descendant"))
        if first.type == "variable" and first.value == "states" and others and others[0].type == "name":
            self.states[str(others[0].value)] = None
        self.walk(others, outside=False)
        self._rest(node, outside=False, without="steps")

    def _variable(self, name: str, *, outside: bool) -> None:
        if name == "$":
            self.root = True
        elif name:
            self.variables.add(name)
        elif outside:
            self.bare["$"] = None

    def _bind(self, node: Any, kind: str) -> None:
        for name in ("focus", "index"):
            bound = getattr(node, name, None)
            if isinstance(bound, str):
                self.bound.add(bound)
        if kind == "bind":
            self.bound.add(node.lhs.value)
        elif kind == "lambda":
            self.bound |= {argument.value for argument in node.arguments}
