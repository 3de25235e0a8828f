"""The history of an execution, as people read it: a line for each event, or a bar for each state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from corral.cli.output import dim

_SHORT = 100
_BAR = 40
_SIGNS = {"succeeded": "█", "failed": "x", "running": "▒", "aborted": "·"}
_TELLING = ("name", "error", "cause", "resource", "resourceType", "output", "input")


class Visit(msgspec.Struct):
    """A state while the execution was in it."""

    name: str
    kind: str
    began: float
    ended: float | None = None
    how: str = "running"
    tries: int = 0
    """How often its work was begun."""


def line_of(event: dict[str, Any], began: float) -> str:
    """An event in a line; its time is that since the first one."""
    after = dim(f"{event['at'] - began:8.3f}s")
    return f"{after}  {event['id']:>5}  {event['type']:<30} {about(event)}".rstrip()


def about(event: dict[str, Any]) -> str:
    """What there is to say about an event, shortly."""
    details = event["details"]
    told = [_short(details[name]) for name in _TELLING if details.get(name)]
    return "  ".join(told[:2])


def visits_of(events: Sequence[dict[str, Any]]) -> list[Visit]:
    """The states that the execution has been in, in order. A state whose end is not told is where it stands, or where it failed."""
    by_event: dict[int, Visit] = {}
    visits: list[Visit] = []
    for event in events:
        kind = event["type"]
        visit = by_event.get(event["previous_id"])
        if kind.endswith("StateEntered"):
            visit = Visit(event["details"].get("name", "?"), kind.removesuffix("StateEntered"), event["at"])
            visits.append(visit)
        elif visit is not None and kind.endswith("StateExited"):
            visit = next(
                (one for one in reversed(visits) if one.name == event["details"].get("name") and one.ended is None),
                visit,
            )
            visit.ended, visit.how = event["at"], "succeeded"
        elif visit is not None and kind.endswith("Scheduled"):
            visit.tries += 1
        if visit is not None:
            by_event[event["id"]] = visit
    _end_open(visits, events)
    return visits


def _end_open(visits: Sequence[Visit], events: Sequence[dict[str, Any]]) -> None:
    last = events[-1] if events else None
    how = {"ExecutionFailed": "failed", "ExecutionTimedOut": "failed", "ExecutionAborted": "aborted"}.get(
        "" if last is None else last["type"], ""
    )
    for visit in visits:
        if visit.ended is None and how and last is not None:
            visit.ended, visit.how = last["at"], how


def timeline(events: Sequence[dict[str, Any]], *, width: int = _BAR) -> list[str]:
    """A bar for each state, from when it was entered to when it was left."""
    visits = visits_of(events)
    if not visits:
        return []
    first, last = events[0]["at"], max(event["at"] for event in events)
    whole = max(last - first, 0.001)
    names = max(len(visit.name) for visit in visits)
    lines = []
    for visit in visits:
        ended = last if visit.ended is None else visit.ended
        start = min(int((visit.began - first) / whole * width), width - 1)
        length = max(1, min(width - start, round((ended - visit.began) / whole * width)))
        bar = " " * start + _SIGNS[visit.how] * length
        tries = f"  ({visit.tries} tries)" if visit.tries > 1 else ""
        how = "" if visit.how == "succeeded" else f"  {visit.how}"
        lines.append(f"{visit.name:<{names}}  {bar:<{width}}  {ended - visit.began:8.3f}s{tries}{how}")
    return lines


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"
