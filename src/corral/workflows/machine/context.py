"""The context object: what expressions see of the execution itself (`$$`, `$states.context`)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from corral.clock import rfc3339
from corral.workflows.machine.run import Frame, Run

moment = lru_cache(maxsize=1024)(rfc3339)
"""A time as the context object tells it: many frames tell the same one."""


def context_object(run: Run, frame: Frame) -> dict[str, Any]:
    """What a frame's state sees."""
    facts, place = run.facts, frame.place
    execution: dict[str, Any] = {
        "Id": facts.arn,
        "Input": facts.input,
        "Name": facts.name,
        "RoleArn": facts.role_arn or None,
        "StartTime": moment(facts.started_at),
    }
    if facts.kind == "STANDARD":
        execution["RedriveCount"] = run.redrives
        if "redriven" in run.frames[""].place:
            execution["RedriveTime"] = moment(run.frames[""].place["redriven"])
    state: dict[str, Any] = {"EnteredTime": moment(place["at"]), "Name": frame.state}
    if "attempt" in place:
        state["RetryCount"] = place["attempt"]
    context = {
        "Execution": execution,
        "State": state,
        "StateMachine": {"Id": facts.machine_arn, "Name": facts.machine_name},
    }
    if "shown" in place:
        context["Task"] = {"Token": place["shown"]}
    item = _item(run, frame)
    if item:
        context["Map"] = item
    return context


def _item(run: Run, frame: Frame) -> dict[str, Any]:
    """`Map`: the item of the nearest Map around."""
    while frame.parent is not None:
        around = run.frames[frame.parent]
        items = around.place.get("items")
        if items is not None:
            return item_context(frame.index, items[frame.index])
        frame = around
    return run.facts.map_context


def item_context(index: int, value: Any) -> dict[str, Any]:
    """`Map`, of an item of an array."""
    return {"Item": {"Index": index, "Value": value}}
