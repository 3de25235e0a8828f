"""Where in a request a run has its place, so that a later attempt of its job finds the same run there, whoever was quicker this time."""

from __future__ import annotations

import contextvars

_place: contextvars.ContextVar[str] = contextvars.ContextVar("corral_place", default="")


def current_place() -> str:
    """The place of what runs here: digits and dots; empty: the request itself."""
    return _place.get()


def enter_place(context: contextvars.Context, number: int) -> None:
    """Have what runs in this context stand at its place below ours."""
    above = _place.get()
    context.run(_place.set, f"{above}.{number}" if above else str(number))
