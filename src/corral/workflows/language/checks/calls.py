"""What a task hands to those whose arguments are known: what has to be there, and what nobody there would read."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.workflows.language.checks.value import Where
from corral.workflows.language.fault import nearest
from corral.workflows.language.resource import Resource, resource_of


class Call(msgspec.Struct, frozen=True):
    """The arguments of one kind of task."""

    required: str
    others: tuple[str, ...]


_CALLS: dict[tuple[str, str], Call] = {
    ("lambda", "invoke"): Call("FunctionName", ("Payload", "InvocationType", "LogType", "Qualifier", "ClientContext")),
    ("states", "startExecution"): Call("StateMachineArn", ("Input", "Name", "TraceHeader")),
    ("http", ""): Call("url", ("method", "headers", "query", "body")),
    ("approval", ""): Call(
        "message", ("choices", "assignee", "form", "details", "deadline_s", "otherwise", "escalate")
    ),
}


def arguments(state: dict[str, Any], where: Where) -> None:
    """The `Parameters` or the `Arguments` of a Task, where they are written out."""
    field = "Arguments" if where.language == "JSONata" else "Parameters"
    given, resource = state.get(field), state.get("Resource")
    found: Resource | None = resource_of(resource) if isinstance(resource, str) else None
    call = None if found is None else _CALLS.get((found.service, found.action))
    if call is None or not isinstance(given, dict):
        return
    here, suffix = where.at(field), ".$" if where.language == "JSONPath" else ""
    names = {name.removesuffix(suffix) if suffix else name: name for name in given}
    known = (call.required, *call.others)
    by = " by Step Functions" if found is not None and found.action else ""
    for name, written in names.items():
        if name not in known:
            here.fault(f"The field '{name}' is not supported{by}", hint=nearest(name, known), field=written)
    if call.required not in names:
        here.fault(f"The field '{call.required}' is required but was missing")
