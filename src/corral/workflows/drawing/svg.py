"""A picture that has its places, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape, quoteattr

from corral.workflows.drawing.layout import SMALL_LETTER, TITLE, Layout, Point, Route, Spot
from corral.workflows.drawing.mermaid import status_class

_TOP = 40.0
_STYLE = """
svg{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;--ink:#1c2430;--soft:#667085;--line:#8793a5;--box:#fff;--inside:#f6f8fb}
@media(prefers-color-scheme:dark){svg{--ink:#e6eaf0;--soft:#9aa4b2;--line:#7b8798;--box:#1d2530;--inside:#151b24}}
text{fill:var(--ink);text-anchor:middle}text.s{font-size:10.5px;fill:var(--soft)}text.l{font-size:10.5px;fill:var(--soft)}
rect.n,path.n{fill:var(--box);stroke:var(--line);stroke-width:1.3}rect.i{fill:var(--inside);stroke:var(--line);stroke-dasharray:2 3}
rect.b{fill:var(--box);opacity:.85}path.e{fill:none;stroke:var(--line);stroke-width:1.4}path.d{stroke-dasharray:5 4}
circle.e{fill:var(--line)}circle.o{fill:none;stroke:var(--line);stroke-width:1.6}
.succeeded>.n{fill:#d7f2de;stroke:#1f7a3d}.failed>.n{fill:#fbd9d9;stroke:#b3261e}.running>.n{fill:#d8e7fd;stroke:#1b5fc1}
.caught>.n{fill:#fdebd0;stroke:#b26a00}.stopped>.n{fill:#e2e5ea;stroke:#667085}
.succeeded>text,.failed>text,.running>text,.caught>text,.stopped>text{fill:#1c2430}
"""
_ARROW = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
    '<path d="M0 0L8 4L0 8z" fill="#8793a5"/></marker></defs>'
)


def svg_of(layout: Layout, states: Mapping[str, str], title: str = "") -> str:
    """The whole document."""
    width, height = max(layout.width, 160.0), layout.height + 2 * _TOP
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" ',
            f'height="{height:.0f}" role="img"><title>{escape(title or "Workflow")}</title><style>{_STYLE}</style>{_ARROW}',
            f'<g transform="translate(0 {_TOP:.0f})">',
            *_ends(layout),
            *_body(layout, states),
            "</g></svg>",
        ]
    )


def _ends(layout: Layout) -> Iterator[str]:
    """Where it begins, and where it may end."""
    first = layout.spots[layout.start]
    yield f'<circle class="e" cx="{first.x:.1f}" cy="-20" r="6"/>'
    yield f'<path class="e" d="M{first.x:.1f} -14L{first.x:.1f} {first.y:.1f}" marker-end="url(#a)"/>'
    for spot in layout.spots.values():
        if spot.node.ends:
            x, y = spot.x, spot.y + spot.height
            yield f'<path class="e" d="M{x:.1f} {y:.1f}v9"/><circle class="o" cx="{x:.1f}" cy="{y + 15:.1f}" r="6"/>'
            yield f'<circle class="e" cx="{x:.1f}" cy="{y + 15:.1f}" r="3.2"/>'


def _body(layout: Layout, states: Mapping[str, str]) -> Iterator[str]:
    for route in layout.routes:
        yield _path(route)
    for spot in layout.spots.values():
        yield from _state(spot, states)
    for route in layout.routes:
        yield _label(route)


def _state(spot: Spot, states: Mapping[str, str]) -> Iterator[str]:
    status = states.get(spot.node.name, "")
    said = f"{spot.node.type}: {spot.node.name}" + (f" ({status})" if status else "")
    yield f"<g class={quoteattr(status_class(status))}><title>{escape(said)}</title>"
    yield _shape(spot)
    middle = spot.y + (22 if spot.inner else spot.height / 2 + 4)
    if spot.node.caption:
        yield f'<text x="{spot.x:.1f}" y="{middle - 6:.1f}">{escape(spot.node.name)}</text>'
        yield f'<text class="s" x="{spot.x:.1f}" y="{middle + 9:.1f}">{escape(spot.node.caption)}</text>'
    else:
        yield f'<text x="{spot.x:.1f}" y="{middle:.1f}">{escape(spot.node.name)}</text>'
    for inner in spot.inner:
        x, y = spot.x - spot.width / 2 + inner.x, spot.y + inner.y
        width, height = inner.layout.width, inner.layout.height + TITLE
        yield f'<rect class="i" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>'
        if inner.title:
            yield f'<text class="s" x="{x + width / 2:.1f}" y="{y + 13:.1f}">{escape(inner.title)}</text>'
        yield f'<g transform="translate({x:.1f} {y + TITLE:.1f})">'
        yield from _body(inner.layout, states)
        yield "</g>"
    yield "</g>"


def _shape(spot: Spot) -> str:
    left, top, width, height = spot.x - spot.width / 2, spot.y, spot.width, spot.height
    if spot.node.type == "Choice":
        cut = 14
        return (
            f'<path class="n" d="M{left + cut:.1f} {top:.1f}H{left + width - cut:.1f}L{left + width:.1f} {top + height / 2:.1f}'
            f'L{left + width - cut:.1f} {top + height:.1f}H{left + cut:.1f}L{left:.1f} {top + height / 2:.1f}z"/>'
        )
    round_ = height / 2 if spot.node.type in ("Succeed", "Fail", "Wait") else 8
    return f'<rect class="n" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{round_:.0f}"/>'


def _path(route: Route) -> str:
    dashed = " d" if route.edge.kind in ("catch", "retry") else ""
    shape = _corners(route.points) if route.back else _curve(route.points)
    return f'<path class="e{dashed}" d="{shape}" marker-end="url(#a)"/>'


def _curve(points: list[Point]) -> str:
    """From point to point, leaving and arriving downwards."""
    (x, y), *others = points
    made = f"M{x:.1f} {y:.1f}"
    for to_x, to_y in others:
        half = (y + to_y) / 2
        straight = abs(to_x - x) < 1
        made += (
            f"L{to_x:.1f} {to_y:.1f}"
            if straight
            else f"C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f}"
        )
        x, y = to_x, to_y
    return made


def _corners(points: list[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _label(route: Route) -> str:
    if route.label is None:
        return ""
    x, y = route.label
    width = SMALL_LETTER * len(route.edge.label) + 6
    return (
        f'<rect class="b" x="{x - width / 2:.1f}" y="{y - 9:.1f}" width="{width:.1f}" height="13" rx="3"/>'
        f'<text class="l" x="{x:.1f}" y="{y + 1:.1f}">{escape(route.edge.label)}</text>'
    )
