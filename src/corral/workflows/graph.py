"""Pictures of a definition: Mermaid text for pages, and an SVG that needs nothing else.

Branches and what is done with items are boxes inside of their state. What happens on errors is dashed: a line to where a Catch leads,
and a loop where there is a Retry. States of an execution can be coloured by how they went.
"""

from __future__ import annotations

from collections.abc import Mapping

from corral.workflows.drawing.layout import lay_out
from corral.workflows.drawing.mermaid import mermaid_of
from corral.workflows.drawing.picture import picture_of
from corral.workflows.drawing.svg import svg_of
from corral.workflows.language.definition import Machine


def mermaid(machine: Machine, states: Mapping[str, str] | None = None) -> str:
    """A Mermaid flowchart. `states`: how states of an execution went, by name, such as `FAILED`."""
    return mermaid_of(picture_of(machine), states or {})


def svg(machine: Machine, states: Mapping[str, str] | None = None, title: str = "") -> str:
    """A self-contained SVG, for light and dark pages. `states` as above."""
    return svg_of(lay_out(picture_of(machine)), states or {}, title)
