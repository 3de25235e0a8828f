"""Which call of a tool follows which, and where its arguments come from: learned by looking on."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

Path: TypeAlias = tuple[str, ...]
"""Where in a JSON value something stands; `*` is any place of a list."""
Source: TypeAlias = tuple[str, Path | str]
"""Where an argument comes from: `result` or `input` of the call before, the `question`, or `always` the same."""

_BEGIN = ""
"""What goes before the first calls of a run."""
_LEAVES_MAX = 200
_DEPTH_MAX = 6
_TEXT_MAX = 200
"""Characters of an argument that is worth remembering."""
_SOURCES_MAX = 12
_TOKEN = re.compile(r"[^\s,;:!?()\[\]{}\"'<>]+")
_ABSENT = object()


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A call that has its result."""

    name: str
    input: dict[str, Any] = {}
    value: Any = None


class Likely(msgspec.Struct, frozen=True, kw_only=True):
    """A call that may come next, and how likely it is."""

    name: str
    input: dict[str, Any]
    chance: float
    given: float
    """How likely it is once it is known that this tool is called."""


class _Edge:
    """What is known of one call after another."""

    __slots__ = ("arguments", "count", "given")

    def __init__(self) -> None:
        self.count = 0
        self.given: Counter[str] = Counter()
        self.arguments: dict[str, Counter[Source]] = {}


class Transitions:
    """Learns for each scope apart: what one tenant asks for tells another nothing. Bounded in every direction."""

    def __init__(self, *, scopes_max: int = 256, edges_max: int = 200) -> None:
        """`scopes_max` are kept, those that were used last."""
        self._scopes_max = scopes_max
        self._edges_max = edges_max
        self._scopes: OrderedDict[str, _Scope] = OrderedDict()

    def learn(self, scope: str, before: Sequence[Done], question: str, calls: Sequence[Done]) -> None:
        """After `before` (the calls of one step; none: the run began) these were made."""
        known = self._scopes.get(scope)
        if known is None:
            known = self._scopes[scope] = _Scope(self._edges_max)
            if len(self._scopes) > self._scopes_max:
                self._scopes.popitem(last=False)
        self._scopes.move_to_end(scope)
        known.learn(before or [Done(name=_BEGIN)], question, calls)

    def likely(self, scope: str, before: Sequence[Done], question: str, *, seen_min: int = 2) -> list[Likely]:
        """What may come after these, the likeliest first; what was seen less often than `seen_min` is no pattern yet."""
        known = self._scopes.get(scope)
        if known is None:
            return []
        found: dict[bytes, Likely] = {}
        for one in known.likely(before or [Done(name=_BEGIN)], question, seen_min):
            key = canonical(one.name, one.input)
            if key not in found or found[key].chance < one.chance:
                found[key] = one
        return sorted(found.values(), key=lambda one: -one.chance)


class _Scope:
    def __init__(self, edges_max: int) -> None:
        self._edges_max = edges_max
        self._times: Counter[str] = Counter()
        self._edges: dict[tuple[str, str], _Edge] = {}

    def learn(self, before: Sequence[Done], question: str, calls: Sequence[Done]) -> None:
        for one in before:
            self._times[one.name] += 1
            followed = {call.name: call for call in calls}  # of several alike, one is the pattern
            for name, call in followed.items():
                edge = self._edges.get((one.name, name))
                if edge is None:
                    if len(self._edges) >= self._edges_max:
                        continue
                    edge = self._edges[one.name, name] = _Edge()
                edge.count += 1
                for argument, value in call.input.items():
                    edge.given[argument] += 1
                    sources = edge.arguments.setdefault(argument, Counter())
                    sources.update(_sources(value, one, question))
                    if len(sources) > _SOURCES_MAX:
                        for source, _ in sources.most_common()[_SOURCES_MAX:]:
                            del sources[source]

    def likely(self, before: Sequence[Done], question: str, seen_min: int) -> Iterator[Likely]:
        for one in before:
            times = self._times[one.name]
            for (first, name), edge in self._edges.items():
                if first == one.name and edge.count >= seen_min:
                    yield from _made(name, edge, edge.count / times, one, question, seen_min)


def _made(name: str, edge: _Edge, chance: float, before: Done, question: str, seen_min: int) -> Iterator[Likely]:
    """The call with arguments from where they came most often; from a list, one call for each of its first items."""
    values: dict[str, list[Any]] = {}
    given = 1.0
    for argument, sources in edge.arguments.items():
        if edge.given[argument] * 2 < edge.count:
            continue  # mostly left out
        for source, hits in sources.most_common():
            found = list(_resolved(source, before, question)) if hits >= seen_min else []
            if found:
                values[argument] = found
                given *= hits / edge.count
                break
        else:
            return
    several = max((len(found) for found in values.values()), default=1)
    for number in range(several):
        yield Likely(
            name=name,
            input={argument: found[min(number, len(found) - 1)] for argument, found in values.items()},
            chance=chance * given,
            given=given,
        )


# -- where a value comes from ------------------------------------------------------------------------------------------


def _sources(value: Any, before: Done, question: str) -> set[Source]:
    if isinstance(value, dict | list) or (isinstance(value, str) and len(value) > _TEXT_MAX):
        return set()
    found: set[Source] = {("always", msgspec.json.encode(value).decode())}
    found.update(("result", path) for path, leaf in _leaves(before.value) if _same(leaf, value))
    found.update(("input", path) for path, leaf in _leaves(before.input) if _same(leaf, value))
    if isinstance(value, str) and value in _tokens(question):
        found.add(("question", _shape(value)))
    return found


def _resolved(source: Source, before: Done, question: str) -> Iterator[Any]:
    kind, where = source
    if kind == "always":
        yield msgspec.json.decode(str(where))
    elif kind == "question":
        yield from [token for token in _tokens(question) if _shape(token) == where][:1]
    else:
        root = before.value if kind == "result" else before.input
        yield from _at(root, where if isinstance(where, tuple) else ())


def _at(value: Any, path: Path) -> Iterator[Any]:
    if not path:
        if value is not None and not isinstance(value, dict | list):
            yield value
        return
    first, rest = path[0], path[1:]
    if first == "*" and isinstance(value, list):
        for one in value[:_LEAVES_MAX]:
            yield from _at(one, rest)
    elif isinstance(value, dict) and (found := value.get(first, _ABSENT)) is not _ABSENT:
        yield from _at(found, rest)


def _leaves(value: Any) -> Iterator[tuple[Path, Any]]:
    """Values and where they stand, the first so many."""
    waiting: list[tuple[Path, Any]] = [((), value)]
    left = _LEAVES_MAX
    while waiting and left:
        path, one = waiting.pop()
        if isinstance(one, dict) and len(path) < _DEPTH_MAX:
            waiting += [((*path, str(name)), inner) for name, inner in list(one.items())[:_LEAVES_MAX]]
        elif isinstance(one, list) and len(path) < _DEPTH_MAX:
            waiting += [((*path, "*"), inner) for inner in one[:_LEAVES_MAX]]
        elif one is not None:
            left -= 1
            yield path, one


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other and one not in ("", True, False)


def _tokens(text: str) -> list[str]:
    return [found.rstrip(".") for found in _TOKEN.findall(text[:4_000])]


def _shape(token: str) -> str:
    """What tokens of a kind have in common: `T-1234` and `T-77` are `A-9`."""
    kinds = ("9" if char.isdigit() else "A" if char.isupper() else "a" if char.isalpha() else char for char in token)
    shape = ""
    for kind in kinds:
        if not shape.endswith(kind):
            shape += kind
    return shape


def canonical(name: str, given: dict[str, Any]) -> bytes:
    """The same for the same call, in whatever order its arguments stand."""
    return msgspec.json.encode((name, given), order="sorted")
