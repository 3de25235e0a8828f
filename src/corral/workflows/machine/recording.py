"""The history: what is written down about an execution, in the words of AWS's history events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from corral.workflows.failing import DATA_LIMIT, DATA_MAX_BYTES, RUNTIME, StateFailed
from corral.workflows.language.resource import Resource
from corral.workflows.machine.order import StartTask

WHOLE: dict[str, Any] = {"truncated": False}
"""Beside every input and output: all of it is there."""

_encode = msgspec.json.Encoder().encode


NESTED_MAX = 500
"""Objects and arrays in each other: readers and writers of JSON go no deeper than about a thousand."""


def text_of(value: Any) -> str:
    """A value as JSON text. Raises `StateFailed` where it is nested too deep."""
    return _encoded(value).decode()


def bounded_text_of(value: Any, who: str) -> str:
    """A value as JSON text. Raises `StateFailed` where there is too much of it; `who` gave it."""
    raw = _encoded(value)
    if len(raw) > DATA_MAX_BYTES:
        raise too_large(who)
    return raw.decode()


def _encoded(value: Any) -> bytes:
    try:
        raw = _encode(value)
    except RecursionError:
        raise too_deep() from None
    if raw.count(b"{") + raw.count(b"[") > NESTED_MAX and _is_deep(value):
        raise too_deep()
    return raw


def _is_deep(value: Any) -> bool:
    layer = [value]
    for _depth in range(NESTED_MAX):
        members = (one for outer in layer for one in (outer.values() if isinstance(outer, dict) else outer))
        layer = [one for one in members if isinstance(one, dict | list)]
        if not layer:
            return False
    return True


def too_deep() -> StateFailed:
    """What is said of a result that nobody could read."""
    return StateFailed(RUNTIME, f"A value is nested at most {NESTED_MAX} deep.", prefixed=True)


def too_large(who: str) -> StateFailed:
    """What is said of a result that nobody can take."""
    return StateFailed(
        DATA_LIMIT,
        f"The state/task '{who}' returned a result with a size exceeding the maximum number of bytes service limit.",
    )


def entered(name: str, text: str) -> dict[str, Any]:
    """Of a state's beginning."""
    return {"name": name, "input": text, "inputDetails": WHOLE}


def exited(name: str, text: str, assigned: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of a state's end."""
    details = {"name": name, "output": text, "outputDetails": WHOLE}
    if assigned:
        details["assignedVariables"] = {key: text_of(value) for key, value in assigned.items()}
        details["assignedVariablesDetails"] = WHOLE
    return details


def failed(error: str | None, cause: str | None) -> dict[str, Any]:
    """Of whatever failed: what was not said is not there."""
    details: dict[str, Any] = {}
    if error is not None:
        details["error"] = error
    if cause is not None:
        details["cause"] = cause
    return details


def scheduled(order: StartTask, region: str, text: str, timeout_s: float | None) -> tuple[str, dict[str, Any]]:
    """Of a task that is to be done: the event's type and its details."""
    resource = order.resource
    details: dict[str, Any]
    if resource.is_integration:
        kind = "TaskScheduled"
        details = {**named(resource), "region": region, "parameters": text}
    else:
        kind = "ActivityScheduled" if resource.service == "activity" else "LambdaFunctionScheduled"
        details = {"resource": resource.text, "input": text, "inputDetails": WHOLE}
    if timeout_s is not None:
        details["timeoutInSeconds"] = int(timeout_s)
    if order.heartbeat_s is not None and kind != "LambdaFunctionScheduled":
        details["heartbeatInSeconds"] = int(order.heartbeat_s)
    if isinstance(order.credentials, dict) and "RoleArn" in order.credentials and kind != "ActivityScheduled":
        details["taskCredentials"] = {"roleArn": order.credentials["RoleArn"]}
    return kind, details


def named(resource: Resource) -> dict[str, Any]:
    """What events of an integration call it: the service, and what is asked of it."""
    action = resource.action or resource.name or resource.service
    service = resource.service if resource.action else f"corral:{resource.service}"
    return {"resourceType": service, "resource": f"{action}.{resource.pattern}" if resource.pattern else action}
