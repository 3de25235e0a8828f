"""Events of a history as the service shows them: the details of each type have a member of their own."""

from __future__ import annotations

from typing import Any

from corral.workflows.machine.run import HistoryEvent

_DATA = frozenset({"input", "output", "parameters", "assignedVariables"})
"""What is left out where execution data is not asked for."""

_BARE = frozenset(
    {
        "LambdaFunctionStarted",
        "MapRunAborted",
        "MapRunSucceeded",
        "MapStateAborted",
        "MapStateFailed",
        "MapStateSucceeded",
        "ParallelStateAborted",
        "ParallelStateFailed",
        "ParallelStateStarted",
        "ParallelStateSucceeded",
        "TaskStateAborted",
        "WaitStateAborted",
    }
)
"""Types that have no details."""


def member_of(kind: str) -> str | None:
    """The member that has the details of a type of event; none: there are none."""
    if kind in _BARE:
        return None
    if kind.endswith("StateEntered"):
        return "stateEnteredEventDetails"
    if kind.endswith("StateExited"):
        return "stateExitedEventDetails"
    return f"{kind[0].lower()}{kind[1:]}EventDetails"


def shown_event(event: HistoryEvent, *, with_data: bool = True) -> dict[str, Any]:
    """One event."""
    shown: dict[str, Any] = {
        "timestamp": event.at,
        "type": event.type,
        "id": event.id,
        "previousEventId": event.previous_id,
    }
    member = member_of(event.type)
    if member is not None:
        details = event.details
        shown[member] = details if with_data else {key: value for key, value in details.items() if key not in _DATA}
    return shown
