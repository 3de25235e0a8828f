"""What is in a picture: states, and the ways between them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from corral.workflows.language.definition import (
    Body,
    Choice,
    Fail,
    Machine,
    Map,
    Parallel,
    Rule,
    State,
    Succeed,
    Task,
    UnsetType,
)
from corral.workflows.language.resource import resource_of

Way = Literal["next", "choice", "default", "catch", "retry"]

_LABEL_MAX = 42
_JOINED = {"And": " and ", "Or": " or "}


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """A way from one state to another."""

    source: str
    target: str
    kind: Way = "next"
    label: str = ""


class Picture(msgspec.Struct, kw_only=True):
    """A body of states."""

    title: str = ""
    start: str
    nodes: dict[str, Node]
    edges: list[Edge]


class Node(msgspec.Struct, kw_only=True):
    """A state."""

    id: str
    """Unique in the whole picture, and safe in any format."""
    name: str
    type: str
    caption: str = ""
    """Who does it, or how long it waits."""
    ends: bool = False
    bodies: list[Picture] = []


def picture_of(machine: Machine) -> Picture:
    """Everything in a machine."""
    return _Drawing().body(machine)


class _Drawing:
    """Gives numbers to states while it goes through a machine."""

    def __init__(self) -> None:
        self._count = 0

    def body(self, body: Body, title: str = "") -> Picture:
        ids = {name: self._id() for name in body.states}
        nodes = {ids[name]: self._node(ids[name], name, state) for name, state in body.states.items()}
        edges = [edge for name, state in body.states.items() for edge in _edges(ids[name], state, ids)]
        return Picture(title=title, start=ids[body.start_at], nodes=nodes, edges=edges)

    def _id(self) -> str:
        self._count += 1
        return f"s{self._count}"

    def _node(self, node_id: str, name: str, state: State) -> Node:
        node = Node(id=node_id, name=name, type=type(state).__name__, caption=_caption(state))
        node.ends = isinstance(state, Succeed | Fail) or bool(getattr(state, "end", False))
        if isinstance(state, Parallel):
            node.bodies = [self.body(branch, branch.comment) for branch in state.branches]
        elif isinstance(state, Map):
            node.bodies = [self.body(state.item_processor, "each item")]
        return node


def _edges(source: str, state: State, ids: dict[str, str]) -> list[Edge]:
    edges: list[Edge] = []
    following = getattr(state, "next", None)
    if following is not None:
        edges.append(Edge(source=source, target=ids[following]))
    if isinstance(state, Choice):
        edges += [
            Edge(source=source, target=ids[rule.next], kind="choice", label=_rule(rule)) for rule in state.choices
        ]
        if state.default is not None:
            edges.append(Edge(source=source, target=ids[state.default], kind="default", label="otherwise"))
    for catcher in getattr(state, "catch", ()):
        label = ", ".join(catcher.error_equals)
        edges.append(Edge(source=source, target=ids[catcher.next], kind="catch", label=_short(label)))
    retry = getattr(state, "retry", ())
    if retry:
        times = max(retrier.max_attempts for retrier in retry)
        edges.append(Edge(source=source, target=source, kind="retry", label=f"retry {times}x"))
    return edges


def _caption(state: State) -> str:
    match state:
        case Task():
            found = resource_of(state.resource)
            return _short(
                state.resource if found is None else " ".join(filter(None, [found.service, found.name or found.action]))
            )
        case Fail():
            return _short(state.error or "")
        case Map(item_processor=body):
            return "distributed" if body.processor_config.mode == "DISTRIBUTED" else ""
    seconds = getattr(state, "seconds", None)
    if isinstance(seconds, int | float):
        return f"{seconds:g} s"
    return _short(_bare(str(seconds or getattr(state, "timestamp", None) or "")))


def _rule(rule: Rule) -> str:
    if not isinstance(rule.condition, UnsetType):
        return _short(_bare(str(rule.condition)))
    return _short(_test(rule.test))


def _bare(expression: str) -> str:
    return expression.removeprefix("{%").removesuffix("%}").strip()


def _test(test: dict[str, Any]) -> str:
    for word, between in _JOINED.items():
        if word in test:
            return between.join(_test(inner) for inner in test[word])
    if "Not" in test:
        return f"not ({_test(test['Not'])})"
    operator = next((name for name in test if name not in ("Variable", "Comment")), "")
    return f"{test.get('Variable', '')} {operator} {test.get(operator, '')}"


def _short(text: str) -> str:
    return text if len(text) <= _LABEL_MAX else f"{text[: _LABEL_MAX - 1]}…"
