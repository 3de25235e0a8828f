"""Definitions that tests begin with."""

from __future__ import annotations

import copy
from typing import Any

PASS: dict[str, Any] = {"Type": "Pass", "End": True}
TASK: dict[str, Any] = {"Type": "Task", "Resource": "corral:function:work", "End": True}


def machine(states: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A machine of these states, which begins with the first of them."""
    made = copy.deepcopy(states or {"One": PASS})
    return {"StartAt": next(iter(made)), "States": made, **more}


def one(**fields: Any) -> dict[str, Any]:
    """A machine with one state, `One`, that ends."""
    ends = fields.get("Type") in ("Succeed", "Fail", "Choice") or "Next" in fields
    return machine({"One": fields if ends else {**fields, "End": True}})


def a_map(**fields: Any) -> dict[str, Any]:
    """A machine with one Map."""
    return one(**{"Type": "Map", "ItemProcessor": machine(), **fields})


def distributed(**fields: Any) -> dict[str, Any]:
    """A machine with one distributed Map."""
    config = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    return one(**{"Type": "Map", "ItemProcessor": {"ProcessorConfig": config, **machine()}, **fields})


def choice(*rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A machine that decides, and ends in `One`."""
    return machine({"Route": {"Type": "Choice", "Choices": list(rules), **fields}, "One": PASS})


LARGE: dict[str, Any] = machine(
    {
        "Begin": {
            "Type": "Pass",
            "Parameters": {"a.$": "$.a", "b.$": "States.Format('{}', $.b)", "c": [1, {"d.$": "$$.Execution.Id"}]},
            "ResultPath": "$.begun",
            "Assign": {"count": 1, "who.$": "$.who"},
            "Next": "Work",
        },
        "Work": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": "work", "Payload.$": "$"},
            "ResultSelector": {"value.$": "$.Payload"},
            "TimeoutSeconds": 60,
            "HeartbeatSeconds": 10,
            "Retry": [
                {"ErrorEquals": ["Busy"], "IntervalSeconds": 2, "MaxAttempts": 5, "BackoffRate": 1.5},
                {"ErrorEquals": ["States.ALL"], "MaxDelaySeconds": 30, "JitterStrategy": "FULL"},
            ],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Broken", "ResultPath": "$.error"}],
            "Next": "Route",
        },
        "Route": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.value", "NumericGreaterThan": 10, "Next": "Both", "Assign": {"large": True}},
                {
                    "And": [
                        {"Variable": "$.kind", "StringMatches": "a*"},
                        {"Not": {"Variable": "$who", "IsPresent": False}},
                    ],
                    "Next": "Each",
                },
            ],
            "Default": "Pause",
        },
        "Both": {
            "Type": "Parallel",
            "Branches": [
                machine({"Left": {**TASK, "Resource": "corral:agent:left"}}),
                machine({"Right": {**TASK, "Resource": "corral:tool:right"}}),
            ],
            "ResultPath": "$.both",
            "Next": "Each",
        },
        "Each": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemSelector": {"item.$": "$$.Map.Item.Value"},
            "MaxConcurrency": 3,
            "ToleratedFailurePercentage": 5.5,
            "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, **machine({"Item": TASK})},
            "Next": "Ask",
        },
        "Ask": {
            "Type": "Task",
            "QueryLanguage": "JSONata",
            "Resource": "corral:approval",
            "Arguments": {"message": "{% 'Go on with ' & $states.input.name & '?' %}", "choices": ["yes", "no"]},
            "Output": "{% $states.result.decision %}",
            "Next": "Pause",
        },
        "Pause": {"Type": "Wait", "Seconds": 5, "Next": "Done"},
        "Done": {"Type": "Succeed", "OutputPath": "$.both"},
        "Broken": {"Type": "Fail", "ErrorPath": "$.error.Error", "Cause": "It broke."},
    },
    Comment="Everything once",
    TimeoutSeconds=3600,
    Version="1.0",
)
"""A definition in which everything stands once, and nothing is wrong."""
