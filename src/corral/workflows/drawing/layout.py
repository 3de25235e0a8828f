"""Where everything in a picture is put: states in layers from top to bottom, with as few crossings as a few sweeps find.

A way that goes over several layers is given a place in each of them; one that leads back goes around on the right. All of it takes
time in proportion to what is drawn: pictures of definitions that nobody would look at become plainer, not slower.
"""

from __future__ import annotations

import msgspec

from corral.workflows.drawing.layers import Layers, layers_of
from corral.workflows.drawing.picture import Edge, Node, Picture

Point = tuple[float, float]

LETTER = 7.2
SMALL_LETTER = 5.9
PAD = 16.0
HEADER = 40.0
TITLE = 18.0
_HEIGHT = 44.0
_WIDTH_MIN = 96.0
_GAP_X = 34.0
_GAP_Y = 46.0
_LINE = 15.0
_LANE = 12.0
_SWEEPS = 8


class Inner(msgspec.Struct, kw_only=True):
    """A body inside of a state's box. `x` and `y` are from the box's corner."""

    title: str
    layout: Layout
    x: float
    y: float


class Spot(msgspec.Struct, kw_only=True):
    """A state that has its place: `x` is its middle, `y` its upper edge."""

    node: Node
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    inner: list[Inner] = []


class Route(msgspec.Struct, kw_only=True):
    """A way that has its place."""

    edge: Edge
    points: list[Point]
    label: Point | None = None
    back: bool = False


class Layout(msgspec.Struct, kw_only=True):
    """A body that has its place."""

    width: float
    height: float
    start: str
    spots: dict[str, Spot]
    routes: list[Route]


def lay_out(picture: Picture) -> Layout:
    """Give everything its place."""
    spots = {node.id: _spot(node) for node in picture.nodes.values()}
    return _Layouter(picture, spots).layout()


def _spot(node: Node) -> Spot:
    width = max(_WIDTH_MIN, LETTER * len(node.name) + 2 * PAD, SMALL_LETTER * len(node.caption) + 2 * PAD)
    if not node.bodies:
        return Spot(node=node, width=width, height=_HEIGHT)
    inner: list[Inner] = []
    x, height = PAD, 0.0
    for body in node.bodies:
        layout = lay_out(body)
        inner.append(Inner(title=body.title, layout=layout, x=x, y=HEADER))
        x += max(layout.width, SMALL_LETTER * len(body.title)) + PAD
        height = max(height, layout.height + TITLE)
    return Spot(node=node, width=max(width, x), height=HEADER + height + PAD, inner=inner)


class _Layouter:
    """Puts one body in its place."""

    def __init__(self, picture: Picture, spots: dict[str, Spot]) -> None:
        self._picture = picture
        self._spots = spots
        self._layers: Layers = layers_of(picture)
        self._widths = {
            item: spots[item].width if item in spots else _LANE for row in self._layers.rows for item in row
        }
        self._x: dict[str, float] = {}
        self._tops: list[float] = []
        self._bottoms: list[float] = []
        self._labels: dict[str, int] = {}

    def layout(self) -> Layout:
        for way in self._layers.ways:
            if way.edge.label:
                first = way.items[1]
                self._widths[first] = max(self._widths[first], SMALL_LETTER * len(way.edge.label) + 8)
                self._labels[first] = self._labels.get(first, 0) + 1
        self._put_x()
        self._put_y()
        for name, spot in self._spots.items():
            spot.x, spot.y = self._x[name], self._tops[self._layers.rank[name]]
        right = max(self._x[item] + self._widths[item] / 2 for item in self._x)
        routes = [*self._forward(), *self._loops()]
        back = self._backward(right)
        labels = [(route.label[0], route.edge.label) for route in [*routes, *back] if route.back and route.label]
        edges = [route.points[1][0] for route in back] + [x + SMALL_LETTER * len(text) / 2 for x, text in labels]
        width = max([right, *edges]) + PAD
        return Layout(
            width=width,
            height=(self._bottoms[-1] if self._bottoms else 0.0) + PAD,
            start=self._picture.start,
            spots=self._spots,
            routes=[*routes, *back],
        )

    def _put_x(self) -> None:
        """First side by side, then towards those that lead there, and those that are led to."""
        for row in self._layers.rows:
            x = -sum(self._widths[item] + _GAP_X for item in row) / 2
            for item in row:
                self._x[item] = x + self._widths[item] / 2
                x += self._widths[item] + _GAP_X
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            near = self._layers.above if down else self._layers.below
            for row in self._layers.rows if down else reversed(self._layers.rows):
                self._settle(row, near)
        left = min((self._x[item] - self._widths[item] / 2 for item in self._x), default=0.0)
        for item in self._x:
            self._x[item] += PAD - left

    def _settle(self, row: list[str], near: dict[str, list[str]]) -> None:
        """As near to where each wants to be as the room beside it allows: pushed from the left, from the right, and the mean of both."""
        wanted = [self._mean(item, near) for item in row]
        pushed = list(wanted)
        for index in range(1, len(row)):
            pushed[index] = max(wanted[index], pushed[index - 1] + self._between(row[index - 1], row[index]))
        pulled = list(wanted)
        for index in range(len(row) - 2, -1, -1):
            pulled[index] = min(wanted[index], pulled[index + 1] - self._between(row[index], row[index + 1]))
        for item, first, second in zip(row, pushed, pulled, strict=True):
            self._x[item] = (first + second) / 2

    def _between(self, left: str, right: str) -> float:
        return (self._widths[left] + self._widths[right]) / 2 + _GAP_X

    def _mean(self, item: str, near: dict[str, list[str]]) -> float:
        others = near.get(item, ())
        return sum(self._x[other] for other in others) / len(others) if others else self._x[item]

    def _put_y(self) -> None:
        top = PAD
        for index, row in enumerate(self._layers.rows):
            stacked = max((self._labels.get(item, 0) for item in row), default=0)
            if index:
                top += _GAP_Y + _LINE * max(0, stacked - 1)
            height = max((self._spots[item].height for item in row if item in self._spots), default=_HEIGHT)
            self._tops.append(top)
            top += height
            self._bottoms.append(top)

    def _forward(self) -> list[Route]:
        ports = self._ports()
        stacked: dict[str, int] = {}
        routes: list[Route] = []
        for index, way in enumerate(self._layers.ways):
            source, target = self._spots[way.edge.source], self._spots[way.edge.target]
            points: list[Point] = [(ports[index, True], source.y + source.height)]
            if source.y + source.height < self._bottoms[self._layers.rank[way.edge.source]]:
                points.append((ports[index, True], self._bottoms[self._layers.rank[way.edge.source]]))
            for item in way.items[1:-1]:
                rank = self._layers.rank[item]
                points += [(self._x[item], self._tops[rank]), (self._x[item], self._bottoms[rank])]
            points.append((ports[index, False], target.y))
            label = None
            if way.edge.label:
                first = way.items[1]
                stacked[first] = stacked.get(first, 0) + 1
                label = (self._x[first], self._tops[self._layers.rank[first]] - 12 - _LINE * (stacked[first] - 1))
            routes.append(Route(edge=way.edge, points=points, label=label))
        return routes

    def _ports(self) -> dict[tuple[int, bool], float]:
        """Where each way leaves its state and arrives: beside the others of that state, in the order in which they lie."""
        at: dict[tuple[str, bool], list[tuple[float, int]]] = {}
        for index, way in enumerate(self._layers.ways):
            at.setdefault((way.edge.source, True), []).append((self._x[way.items[1]], index))
            at.setdefault((way.edge.target, False), []).append((self._x[way.items[-2]], index))
        ports: dict[tuple[int, bool], float] = {}
        for (name, leaves), ways in at.items():
            step = min(22.0, (self._spots[name].width - 20) / len(ways))
            for place, (_x, index) in enumerate(sorted(ways)):
                ports[index, leaves] = self._x[name] + step * (place - (len(ways) - 1) / 2)
        return ports

    def _backward(self, right: float) -> list[Route]:
        routes: list[Route] = []
        for lane, edge in enumerate(self._layers.back):
            source, target = self._spots[edge.source], self._spots[edge.target]
            x = right + PAD + _LANE * lane
            from_y, to_y = source.y + source.height / 2, target.y + target.height * 0.75
            points = [
                (source.x + source.width / 2, from_y),
                (x, from_y),
                (x, to_y),
                (target.x + target.width / 2, to_y),
            ]
            label = (x, (from_y + to_y) / 2) if edge.label else None
            routes.append(Route(edge=edge, points=points, label=label, back=True))
        return routes

    def _loops(self) -> list[Route]:
        routes: list[Route] = []
        for edge in self._layers.loops:
            spot = self._spots[edge.source]
            x, y = spot.x + spot.width / 2, spot.y + 10
            points = [(x, y), (x + 14, y), (x + 14, y + 16), (x, y + 16)]
            label = (x + 18 + SMALL_LETTER * len(edge.label) / 2, y + 12)
            routes.append(Route(edge=edge, points=points, label=label, back=True))
        return routes
