"""A picture as a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from corral.workflows.drawing.picture import Edge, Node, Picture

_SHAPES = {"Choice": ('{"', '"}'), "Succeed": ('(["', '"])'), "Fail": ('(["', '"])'), "Wait": ('(["', '"])')}
_BOX = ('["', '"]')
_CLASSES = {
    "succeeded": "fill:#d7f2de,stroke:#1f7a3d,color:#0b3d1d",
    "failed": "fill:#fbd9d9,stroke:#b3261e,color:#5c0f0b",
    "running": "fill:#d8e7fd,stroke:#1b5fc1,color:#0b2d63",
    "caught": "fill:#fdebd0,stroke:#b26a00,color:#5c3600",
    "stopped": "fill:#e6e6e6,stroke:#666666,color:#333333",
}


def status_class(status: str) -> str:
    """The class that a status is drawn with; empty: as if nothing were known."""
    word = status.upper()
    if word in ("TIMED_OUT", "ABORTED", "CANCELLED"):
        return "stopped"
    return word.lower() if word.lower() in _CLASSES else ""


def mermaid_of(picture: Picture, states: Mapping[str, str]) -> str:
    """The whole flowchart."""
    lines = ["flowchart TD", "    start(( ))", "    finish((( )))", f"    start --> {picture.start}"]
    lines += _body(picture, "    ")
    lines += [f"    {node.id} --> finish" for node in picture.nodes.values() if node.ends]
    for name, style in _CLASSES.items():
        coloured = [node.id for node in _all(picture) if status_class(states.get(node.name, "")) == name]
        if coloured:
            lines += [f"    classDef {name} {style}", f"    class {','.join(coloured)} {name}"]
    return "\n".join(lines) + "\n"


def _all(picture: Picture) -> Iterator[Node]:
    for node in picture.nodes.values():
        yield node
        for body in node.bodies:
            yield from _all(body)


def _body(picture: Picture, indent: str) -> Iterator[str]:
    for node in picture.nodes.values():
        yield from _node(node, indent)
    for edge in picture.edges:
        yield f"{indent}{_edge(edge)}"


def _node(node: Node, indent: str) -> Iterator[str]:
    label = _safe(node.name) + (f"<br/><small>{_safe(node.caption)}</small>" if node.caption else "")
    if not node.bodies:
        left, right = _SHAPES.get(node.type, _BOX)
        yield f"{indent}{node.id}{left}{label}{right}"
        return
    yield f'{indent}subgraph {node.id}["{label}"]'
    for index, body in enumerate(node.bodies):
        inner = indent + "    "
        yield f'{inner}subgraph {node.id}b{index}["{_safe(body.title) or " "}"]'
        yield from _body(body, inner + "    ")
        yield f"{inner}end"
    yield f"{indent}end"


def _edge(edge: Edge) -> str:
    arrow = "-.->" if edge.kind in ("catch", "retry") else "-->"
    label = f'|"{_safe(edge.label)}"|' if edge.label else ""
    return f"{edge.source} {arrow}{label} {edge.target}"


def _safe(text: str) -> str:
    """Nothing that Mermaid, or the page around it, would read as its own."""
    named = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\n": " ", "\r": " "}
    return "".join(named.get(letter, letter) for letter in text)
