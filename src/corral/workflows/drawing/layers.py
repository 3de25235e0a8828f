"""In which layer each state of a picture lies, and in which order: what leads somewhere is above it."""

from __future__ import annotations

import itertools

import msgspec

from corral.workflows.drawing.picture import Edge, Picture

_BENDS_MAX = 4_000
"""Places that ways are given in layers that they only go through; the rest go straight."""
_SWEEPS = 6


class Way(msgspec.Struct, kw_only=True):
    """A way downwards, and the places that it goes through: its source first, its target last."""

    edge: Edge
    items: list[str]


class Layers(msgspec.Struct, kw_only=True):
    """All of a picture in layers."""

    rows: list[list[str]]
    rank: dict[str, int]
    ways: list[Way]
    back: list[Edge]
    """Those that lead upwards."""
    loops: list[Edge]
    """Those that lead to where they come from."""
    above: dict[str, list[str]]
    below: dict[str, list[str]]


def layers_of(picture: Picture) -> Layers:
    """Put everything into layers."""
    edges = _merged(picture.edges)
    loops = [edge for edge in edges if edge.source == edge.target]
    edges = [edge for edge in edges if edge.source != edge.target]
    back = _leading_back(picture, edges)
    forward = [edge for edge in edges if edge not in back]
    rank = _ranks(picture, forward)
    rows: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for name, row in rank.items():
        rows[row].append(name)
    layers = Layers(rows=rows, rank=rank, ways=[], back=list(back), loops=loops, above={}, below={})
    _bend(layers, forward)
    _order(layers)
    return layers


def _merged(edges: list[Edge]) -> list[Edge]:
    """Two ways between the same states are one with both labels."""
    merged: dict[tuple[str, str, bool], Edge] = {}
    for edge in edges:
        key = (edge.source, edge.target, edge.kind in ("catch", "retry"))
        before = merged.get(key)
        label = " · ".join(filter(None, [before.label, edge.label])) if before else edge.label
        merged[key] = msgspec.structs.replace(edge, label=label)
    return list(merged.values())


def _leading_back(picture: Picture, edges: list[Edge]) -> dict[Edge, None]:
    """The edges that close a circle, as seen from the start."""
    out: dict[str, list[Edge]] = {}
    for edge in edges:
        out.setdefault(edge.source, []).append(edge)
    back: dict[Edge, None] = {}
    done: set[str] = set()
    open_: dict[str, None] = {}
    for root in [picture.start, *picture.nodes]:
        if root in done:
            continue
        stack = [(root, iter(out.get(root, ())))]
        open_[root] = None
        while stack:
            name, ahead = stack[-1]
            following = next(ahead, None)
            if following is None:
                stack.pop()
                open_.pop(name)
                done.add(name)
            elif following.target in open_:
                back[following] = None
            elif following.target not in done:
                open_[following.target] = None
                stack.append((following.target, iter(out.get(following.target, ()))))
    return back


def _ranks(picture: Picture, edges: list[Edge]) -> dict[str, int]:
    """The longest way from above to each state."""
    rank = dict.fromkeys([picture.start, *picture.nodes], 0)
    waiting = dict.fromkeys(rank, 0)
    out: dict[str, list[str]] = {}
    for edge in edges:
        waiting[edge.target] += 1
        out.setdefault(edge.source, []).append(edge.target)
    ready = [name for name, count in waiting.items() if not count]
    for name in ready:
        for target in out.get(name, ()):
            rank[target] = max(rank[target], rank[name] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return rank


def _bend(layers: Layers, edges: list[Edge]) -> None:
    """Give ways over several layers a place in each of them."""
    bends = 0
    for index, edge in enumerate(edges):
        items = [edge.source]
        between = range(layers.rank[edge.source] + 1, layers.rank[edge.target])
        if bends + len(between) <= _BENDS_MAX:
            for row in between:
                bends += 1
                bend = f"{index}/{row}"
                layers.rank[bend] = row
                layers.rows[row].append(bend)
                items.append(bend)
        items.append(edge.target)
        layers.ways.append(Way(edge=edge, items=items))
        for upper, lower in itertools.pairwise(items):
            layers.below.setdefault(upper, []).append(lower)
            layers.above.setdefault(lower, []).append(upper)


def _order(layers: Layers) -> None:
    """Each row in the order of the middle of what its items are connected with, down and up again a few times."""
    place = {item: float(index) for row in layers.rows for index, item in enumerate(row)}
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        near = layers.above if down else layers.below
        for row in layers.rows if down else reversed(layers.rows):
            wanted = {item: _mean([place[other] for other in near.get(item, ())], place[item]) for item in row}
            row.sort(key=wanted.__getitem__)
            place |= {item: float(index) for index, item in enumerate(row)}


def _mean(numbers: list[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise
