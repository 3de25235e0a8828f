"""Tasks, how they fail, and what Retry and Catch make of it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from machine_scene import ECHO, Scene, failing, machine, open_token, passing, task

from corral.workflows.failing import StateFailed
from corral.workflows.machine import tokens
from corral.workflows.machine.happening import (
    ItemsRead,
    MapRunEnded,
    Redriven,
    Started,
    Stopped,
    TaskBeat,
    TaskFailed,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
)
from corral.workflows.machine.order import StartTask

# -- Retry and Catch -------------------------------------------------------------------------------------------------


def starts(scene: Scene, kind: str = "TaskScheduled") -> list[float]:
    return [event.at for event in scene.history if event.type == kind]


def test_delays_grow_up_to_a_limit():
    rule = {
        "ErrorEquals": ["States.ALL"],
        "IntervalSeconds": 2,
        "BackoffRate": 3,
        "MaxAttempts": 4,
        "MaxDelaySeconds": 20,
    }
    scene = Scene(machine(A=task(Retry=[rule])), {}, failing("Broken"))
    assert scene.run().error == "Broken"
    assert [later - sooner for sooner, later in pairwise(starts(scene))] == [2, 6, 18, 20]


def test_jitter_is_chance_within_the_delay():
    rule = {
        "ErrorEquals": ["States.ALL"],
        "IntervalSeconds": 10,
        "MaxAttempts": 9,
        "BackoffRate": 1,
        "JitterStrategy": "FULL",
    }
    scene = Scene(machine(A=task(Retry=[rule])), {}, failing("Broken"))
    scene.run()
    waits = [later - sooner for sooner, later in pairwise(starts(scene))]
    assert len(waits) == 9
    assert len(set(waits)) == 9
    assert all(0 <= wait <= 10 for wait in waits)


def test_every_rule_counts_for_itself_and_all_is_forgotten_on_the_way_out():
    errors = iter(["A", "B", "A", "A", "ok", "A", "ok"])

    def do(_order: StartTask) -> Any:
        error = next(errors)
        if error != "ok":
            raise StateFailed(error)
        return {}

    rules = [
        {"ErrorEquals": ["A"], "MaxAttempts": 3, "IntervalSeconds": 1},
        {"ErrorEquals": ["B"], "MaxAttempts": 1, "IntervalSeconds": 1},
    ]
    definition = machine(
        One=task(Retry=rules, Next="Two"), Two=task(Retry=rules, Parameters={"n.$": "$$.State.RetryCount"})
    )
    scene = Scene(definition, {}, do)
    assert scene.run().status == "SUCCEEDED"
    attempts = [order.attempt for order in scene.orders if isinstance(order, StartTask)]
    assert attempts == [0, 1, 2, 3, 4, 0, 1]
    assert len({order.token for order in scene.orders if isinstance(order, StartTask)}) == 7


@pytest.mark.parametrize("name", ["States.ALL", "States.Runtime"])
def test_what_cannot_go_on_is_not_caught(name):
    rules = [{"ErrorEquals": [name], "Next": "Sorry"}]
    broken = task(OutputPath="$.nowhere", Catch=rules, Retry=[{"ErrorEquals": [name]}])
    ended = Scene(machine(A=broken, Sorry=passing()), {}, lambda _order: {}).run()
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")


def test_a_caught_error_is_put_into_the_raw_input():
    rules = [{"ErrorEquals": ["Odd"], "ResultPath": "$.error", "Next": "Sorry", "Assign": {"e.$": "$.Error"}}]
    sorry = passing(Parameters={"in.$": "$", "e.$": "$e"})
    ended = Scene(machine(A=task(InputPath="$.a", Catch=rules), Sorry=sorry), {"a": 1}, failing("Odd")).run()
    assert ended.output == {"in": {"a": 1, "error": {"Error": "Odd", "Cause": "why"}}, "e": "Odd"}


def test_a_catch_that_cannot_be_evaluated_fails_what_is_around():
    inner = {
        **task(Catch=[{"ErrorEquals": ["States.ALL"], "Output": "{% $nothing %}", "Next": "P"}]),
        "QueryLanguage": "JSONata",
    }
    outer = {
        "Type": "Parallel",
        "Branches": [machine(A=inner, P=passing())],
        "Catch": [{"ErrorEquals": ["States.QueryEvaluationError"], "Next": "Sorry"}],
        "End": True,
    }
    scene = Scene(machine(Both=outer, Sorry=passing()), {}, failing("Odd"))
    assert scene.run().status == "SUCCEEDED"
    (event,) = [event for event in scene.history if event.type == "EvaluationFailed"]
    assert event.details["location"] == "Catch[0]/Output"
    del outer["Catch"]
    ended = Scene(machine(Both=outer), {}, failing("Odd")).run()
    assert "specified for the field 'Catch[0]/Output' returned nothing" in (ended.cause or "")


def test_a_failure_that_need_not_be_tried_again_is_still_caught():
    rules = {"Retry": [{"ErrorEquals": ["States.ALL"]}], "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Sorry"}]}
    scene = Scene(machine(A=task(**rules), Sorry=passing()), {})
    scene.tell(Started())
    scene.tell(TaskFailed(open_token(scene), "Odd", retryable=False))
    assert scene.ended is not None
    assert scene.types.count("TaskScheduled") == 1


# -- tasks -----------------------------------------------------------------------------------------------------------


def test_words_about_other_tasks_change_nothing():
    scene = Scene(machine(A=task()), {})
    scene.tell(Started())
    token = open_token(scene)
    others = [
        tokens.make(scene.facts.id, "", "guessed"),
        tokens.make(scene.facts.id, "/7.7", "s0"),
        "rubbish",
        "",
        "?",
    ]
    before = (len(scene.history), len(scene.orders))
    for other in others:
        for message in (
            TaskSucceeded(other),
            TaskFailed(other),
            TaskStarted(other),
            TaskBeat(other),
            TaskSubmitted(other),
        ):
            scene.tell(message)
    scene.tell(Started())
    scene.tell(ItemsRead("", 1))
    scene.tell(MapRunEnded(""))
    scene.tell(Redriven())
    assert (len(scene.history), len(scene.orders)) == before
    scene.tell(TaskSucceeded(token, 1))
    assert scene.ended is not None
    length = len(scene.history)
    scene.tell(TaskSucceeded(token, 2))
    scene.tell(Stopped())
    assert len(scene.history) == length


def test_a_token_is_shown_where_somebody_else_answers():
    waiting = {
        "Type": "Task",
        "Resource": "corral:function:ask.waitForTaskToken",
        "Parameters": {"token.$": "$$.Task.Token"},
        "End": True,
    }
    scene = Scene(machine(A=waiting), {})
    scene.tell(Started())
    order = scene.open[open_token(scene)]
    assert order.payload == {"token": order.token}
    assert tokens.execution_of(order.token) == scene.facts.id
    scene.tell(TaskStarted(order.token))
    scene.tell(TaskSubmitted(order.token, {"asked": True}))
    scene.tell(TaskSubmitted(order.token, {"asked": True}))
    scene.tell(TaskSucceeded(order.token, "yes"))
    assert scene.types[2:-1] == ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded", "TaskStateExited"]
    assert scene.ended is not None
    assert scene.ended.output == "yes"


@pytest.mark.parametrize(
    ("resource", "at", "types"),
    [
        (ECHO, "start", ["TaskStartFailed"]),
        (ECHO, "schedule", ["TaskStartFailed"]),
        (ECHO, "submit", ["TaskStarted", "TaskSubmitFailed"]),
        ("arn:aws:lambda:us-east-1:000000000000:function:f", "schedule", ["LambdaFunctionScheduleFailed"]),
        ("arn:aws:lambda:us-east-1:000000000000:function:f", "", ["LambdaFunctionStarted", "LambdaFunctionFailed"]),
        ("arn:aws:states:us-east-1:000000000000:activity:a", "", ["ActivityStarted", "ActivityFailed"]),
    ],
)
def test_where_a_task_failed_stands_in_the_history(resource, at, types):
    scene = Scene(machine(A=task(Resource=resource)), {})
    scene.tell(Started())
    scene.tell(TaskFailed(open_token(scene), "Odd", at=at))
    assert scene.types[3:-1] == types


def test_a_resource_that_nobody_serves_fails_the_execution():
    ended = Scene(machine(A=task(Resource="arn:aws:states:::sqs:sendMessage")), {}).run()
    assert ended.error == "States.Runtime"
    assert "is not served here" in (ended.cause or "")
