"""What an execution does when something happens to it."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
from machine_scene import Scene

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
    Woken,
)
from corral.workflows.machine.moves import tell
from corral.workflows.machine.order import CancelMapRun, CancelTask, StartMapRun, StartTask
from corral.workflows.machine.run import Frames, NotLoaded, Run

ECHO = "corral:function:echo"


def machine(**states: dict[str, Any]) -> dict[str, Any]:
    return {"StartAt": next(iter(states)), "States": states}


def task(**fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": ECHO, **({} if "Next" in fields else {"End": True}), **fields}


def passing(**fields: Any) -> dict[str, Any]:
    return {"Type": "Pass", **({} if "Next" in fields else {"End": True}), **fields}


def each(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"Type": "Map", "ItemProcessor": machine(One=body), "End": True, **fields}


def failing(error: str, cause: str = "why") -> Any:
    def do(_order: StartTask) -> Any:
        raise StateFailed(error, cause)

    return do


def open_token(scene: Scene, index: int = 0) -> str:
    return list(scene.open)[index]


# -- history ------------------------------------------------------------------------------------------------------------


def test_events_are_numbered_and_know_what_came_before_them():
    scene = Scene(machine(A=passing(Next="B"), B=passing()), {"x": 1})
    assert scene.run().output == {"x": 1}
    assert [(event.id, event.previous_id, event.type) for event in scene.history] == [
        (1, 0, "ExecutionStarted"),
        (2, 0, "PassStateEntered"),
        (3, 2, "PassStateExited"),
        (4, 3, "PassStateEntered"),
        (5, 4, "PassStateExited"),
        (6, 5, "ExecutionSucceeded"),
    ]
    whole = {"truncated": False}
    assert scene.history[1].details == {"name": "A", "input": '{"x":1}', "inputDetails": whole}
    assert scene.history[2].details == {"name": "A", "output": '{"x":1}', "outputDetails": whole}
    assert scene.history[-1].details == {"output": '{"x":1}', "outputDetails": whole}


def test_branches_have_chains_of_events_of_their_own():
    branch = machine(P=passing())
    scene = Scene(machine(Both={"Type": "Parallel", "Branches": [branch, branch], "End": True}), {})
    assert scene.run().output == [{}, {}]
    by_id = {event.id: event for event in scene.history}
    exits = [event for event in scene.history if event.type == "PassStateExited"]
    assert [by_id[event.previous_id].type for event in exits] == ["PassStateEntered", "PassStateEntered"]
    assert len({event.previous_id for event in exits}) == 2
    entered = [event for event in scene.history if event.type == "PassStateEntered"]
    assert [by_id[event.previous_id].type for event in entered] == ["ParallelStateStarted"] * 2


def chain(scene: Scene) -> list[tuple[int, str]]:
    return [(event.previous_id, event.type) for event in scene.history]


def test_some_events_are_passed_by():
    """What comes after them follows the event before."""
    scene = Scene(machine(M=each(passing(), MaxConcurrency=1)), [1, 2])
    scene.run()
    assert chain(scene) == [
        (0, "ExecutionStarted"),
        (0, "MapStateEntered"),
        (2, "MapStateStarted"),
        (3, "MapIterationStarted"),
        (4, "PassStateEntered"),
        (5, "PassStateExited"),
        (6, "MapIterationSucceeded"),
        (3, "MapIterationStarted"),
        (8, "PassStateEntered"),
        (9, "PassStateExited"),
        (10, "MapIterationSucceeded"),
        (11, "MapStateSucceeded"),
        (11, "MapStateExited"),
        (13, "ExecutionSucceeded"),
    ]
    rules = [{"ErrorEquals": ["States.ALL"], "Next": "Sorry"}]
    both = {"Type": "Parallel", "Branches": [machine(A=task())], "Catch": rules, "End": True}
    scene = Scene(machine(Both=both, Sorry=passing()), {}, failing("Odd"))
    scene.run()
    assert chain(scene)[6:10] == [
        (6, "TaskFailed"),
        (7, "TaskStateAborted"),
        (7, "ParallelStateFailed"),
        (9, "ParallelStateExited"),
    ]
    scene = Scene(machine(M=each({"Type": "Fail"})), [1])
    scene.run()
    assert chain(scene)[4:] == [
        (4, "FailStateEntered"),
        (5, "MapIterationFailed"),
        (5, "MapStateFailed"),
        (7, "ExecutionFailed"),
    ]


def test_assigned_variables_stand_in_the_history():
    scene = Scene(machine(A=passing(Assign={"x": {"y": [1]}}, Next="B"), B=passing(Parameters={"z.$": "$x.y[0]"})), {})
    assert scene.run().output == {"z": 1}
    assert scene.history[2].details["assignedVariables"] == {"x": '{"y":[1]}'}
    assert scene.history[2].details["assignedVariablesDetails"] == {"truncated": False}


def test_the_events_of_a_task_say_who_does_it():
    agent = {**task(), "Resource": "corral:agent:support", "TimeoutSeconds": 60, "HeartbeatSeconds": 5}
    scene = Scene(machine(A=agent), {"q": 1}, lambda order: order.payload)
    scene.run()
    assert scene.types[2:5] == ["TaskScheduled", "TaskStarted", "TaskSucceeded"]
    named = {"resourceType": "corral:agent", "resource": "support"}
    assert scene.history[2].details == {
        **named,
        "region": "us-east-1",
        "parameters": '{"q":1}',
        "timeoutInSeconds": 60,
        "heartbeatInSeconds": 5,
    }
    assert scene.history[3].details == named


def test_a_history_that_is_full_ends_the_execution():
    loop = machine(A=passing(Next="B"), B={"Type": "Choice", "Choices": [], "Default": "A"})
    scene = Scene(loop, {}, written_down=False)
    ended = scene.run()
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert ended.cause == "The execution reached the maximum number of history events (25000)."
    assert len(scene.history) == 25_000
    assert scene.types[-1] == "ExecutionFailed"


def test_much_work_is_done_in_several_transactions():
    scene = Scene(machine(A=passing(Next="B"), B={"Type": "Choice", "Choices": [], "Default": "A"}), {})
    scene.tell(Started())
    assert scene.unfinished
    (root,) = scene.frames
    assert root.wake_at is not None
    assert root.wake_at > scene.now
    before = len(scene.history)
    scene.tell(Woken())
    assert len(scene.history) > before


# -- data ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["JSONPath", "JSONata"])
def test_what_is_too_large_fails_the_state(language):
    scene = Scene({**machine(A=passing(), B=task()), "QueryLanguage": language}, "x" * 262_143)
    ended = scene.run()
    assert ended.error == "States.DataLimitExceeded"
    assert ended.cause is not None
    assert ended.cause.startswith("The state/task 'A' returned a result with a size exceeding")
    caught = task(Catch=[{"ErrorEquals": ["States.DataLimitExceeded"], "Next": "Sorry"}])
    scene = Scene(machine(A=caught, Sorry=passing()), {}, lambda _order: "x" * 262_144)
    assert scene.run().status == "SUCCEEDED"
    assert "TaskFailed" in scene.types


def test_too_many_variables_are_refused():
    scene = Scene(machine(A=passing(Assign={"a.$": "$", "b.$": "$"})), "x" * 200_000)
    assert scene.run().error == "States.DataLimitExceeded"


def test_inner_scopes_see_outer_variables_and_lose_their_own():
    body = machine(
        In=passing(Assign={"inner.$": "$x"}, Next="Out"), Out=passing(Parameters={"a.$": "$x", "b.$": "$inner"})
    )
    definition = machine(
        Start=passing(Assign={"x": 1}, Next="Both"),
        Both={"Type": "Parallel", "Branches": [body, body], "Next": "After"},
        After=passing(Parameters={"x.$": "$x"}, Assign={"y.$": "$inner"}),
    )
    ended = Scene(definition, {}).run()
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    definition["States"]["After"] = passing(Parameters={"x.$": "$x"})
    assert Scene(definition, {}).run().output == {"x": 1}


def test_nothing_matches_and_nothing_is_the_default():
    choice = {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsPresent": True, "Next": "A"}]}
    ended = Scene(machine(C=choice, A=passing()), {}).run()
    assert ended.error == "States.Runtime"
    assert "does not point to a next state" in (ended.cause or "")
    ended = Scene(machine(C={**choice, "Default": "A"}, A=passing()), {}).run()
    assert ended.status == "SUCCEEDED"


@pytest.mark.parametrize(("name", "status"), [("States.NoChoiceMatched", "SUCCEEDED"), ("States.ALL", "FAILED")])
def test_that_nothing_matches_is_caught_by_its_own_name(name, status):
    choice = {"Type": "Choice", "Choices": [{"Variable": "$.x", "NumericEquals": 1, "Next": "A"}]}
    rules = [{"ErrorEquals": [name], "Next": "Sorry"}]
    around = {"Type": "Parallel", "Branches": [machine(C=choice, A=passing())], "Catch": rules, "End": True}
    assert Scene(machine(Both=around, Sorry=passing()), {"x": 2}).run().status == status


def test_a_variable_that_is_not_there_fails_its_choice():
    choice = {"Type": "Choice", "Choices": [{"Variable": "$.x", "NumericEquals": 1, "Next": "A"}], "Default": "A"}
    ended = Scene(machine(C=choice, A=passing()), {}).run()
    assert ended.error == "States.Runtime"
    assert "Invalid path '$.x': The choice state's condition path references an invalid value." in (ended.cause or "")


# -- time ---------------------------------------------------------------------------------------------------------------


def test_a_wait_ends_when_its_time_has_come():
    scene = Scene(machine(W={"Type": "Wait", "Seconds": 100, "Next": "P"}, P=passing()), {})
    began = scene.now
    scene.tell(Started())
    assert [frame.wake_at for frame in scene.frames] == [began + 100]
    scene.now = began + 99
    scene.tell(Woken())
    assert scene.ended is None
    scene.now = began + 100
    scene.tell(Woken())
    assert scene.ended is not None


def test_an_execution_has_a_deadline_that_nobody_catches():
    slow = task(Catch=[{"ErrorEquals": ["States.ALL"], "Next": "P"}])
    scene = Scene({**machine(A=slow, P=passing()), "TimeoutSeconds": 30}, {})
    began = scene.now
    ended = scene.run()
    assert (ended.status, ended.error, scene.now) == ("TIMED_OUT", None, began + 30)
    assert scene.types[-1] == "ExecutionTimedOut"
    assert scene.orders[-1] == CancelTask(next(order.token for order in scene.orders if isinstance(order, StartTask)))


def test_the_time_of_a_task_counts_from_its_start():
    scene = Scene(machine(A=task(TimeoutSeconds=10)), {})
    scene.tell(Started())
    token, began = open_token(scene), scene.now
    scene.now = began + 9
    scene.tell(TaskStarted(token))
    assert [frame.wake_at for frame in scene.frames] == [began + 19]
    ended = scene.go_on()
    assert (ended.status, ended.error, ended.cause) == ("FAILED", "States.Timeout", None)
    assert scene.types[-2:] == ["TaskTimedOut", "ExecutionFailed"]


@pytest.mark.parametrize("name", ["States.Timeout", "States.HeartbeatTimeout"])
def test_a_task_that_does_not_beat_is_given_up(name):
    slow = task(HeartbeatSeconds=5, Catch=[{"ErrorEquals": [name], "Next": "Sorry"}])
    scene = Scene(machine(A=slow, Sorry=passing()), {})
    scene.tell(Started())
    token, began = open_token(scene), scene.now
    scene.tell(TaskStarted(token))
    for beat in range(1, 4):
        scene.now = began + 4 * beat
        scene.tell(TaskBeat(token))
        scene.tell(Woken())
    assert scene.go_on().output == {"Error": "States.Timeout", "Cause": ""}
    assert scene.now == began + 17
    assert CancelTask(token) in scene.orders


def test_states_task_failed_names_everything_but_timeouts():
    rules = [{"ErrorEquals": ["States.TaskFailed"], "Next": "Sorry"}]
    late = Scene(machine(A=task(TimeoutSeconds=1, Catch=rules), Sorry=passing()), {}).run()
    assert late.error == "States.Timeout"
    broken = Scene(machine(A=task(Catch=rules), Sorry=passing()), {}, failing("Odd")).run()
    assert broken.output == {"Error": "Odd", "Cause": "why"}


# -- Retry and Catch -----------------------------------------------------------------------------------------------------


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


# -- tasks ---------------------------------------------------------------------------------------------------------------


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


# -- branches and items --------------------------------------------------------------------------------------------------


def test_as_many_items_go_on_as_may():
    scene = Scene(machine(M=each(task(), MaxConcurrency=3)), list(range(8)))
    scene.tell(Started())
    done = 0
    while scene.ended is None:
        assert len(scene.open) == min(3, 8 - done)
        token = open_token(scene, len(scene.open) // 2)
        order = scene.open.pop(token)
        scene.tell(TaskSucceeded(token, order.payload * 10))
        done += 1
    assert scene.ended.output == [0, 10, 20, 30, 40, 50, 60, 70]


def test_without_a_limit_forty_items_go_on():
    scene = Scene(machine(M=each(task())), list(range(100)))
    scene.tell(Started())
    assert len(scene.open) == 40


def test_a_map_sees_its_item_in_the_context_and_an_inner_one_its_own():
    inner = each(passing(Parameters={"i.$": "$$.Map.Item.Index", "v.$": "$$.Map.Item.Value"}))
    ended = Scene(machine(M=each(inner)), [["a", "b"], ["c"]]).run()
    assert ended.output == [[{"i": 0, "v": "a"}, {"i": 1, "v": "b"}], [{"i": 0, "v": "c"}]]


def test_no_items_are_no_work():
    scene = Scene(machine(M=each(task())), [])
    assert scene.run().output == []
    assert scene.types[2:4] == ["MapStateStarted", "MapStateSucceeded"]


def test_one_item_that_fails_stops_the_others():
    scene = Scene(machine(M=each(task())), [1, 2, 3])
    scene.tell(Started())
    first, second, third = list(scene.open)
    scene.tell(TaskSucceeded(first))
    scene.tell(TaskFailed(second, "Odd", "why"))
    assert scene.ended is not None
    assert (scene.ended.error, scene.ended.cause) == ("Odd", "why")
    assert scene.orders[-1] == CancelTask(third)
    tail = scene.types[scene.types.index("TaskFailed") :]
    assert tail == [
        "TaskFailed",
        "TaskStateAborted",
        "MapIterationFailed",
        "TaskStateAborted",
        "MapIterationAborted",
        "MapStateFailed",
        "ExecutionFailed",
    ]


def test_a_failed_parallel_is_tried_again_from_the_beginning():
    branches = [machine(A=task()), machine(W={"Type": "Wait", "Seconds": 1000, "End": True})]
    both = {
        "Type": "Parallel",
        "Branches": branches,
        "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 1}],
        "End": True,
    }
    scene = Scene(machine(Both=both), {}, failing("Odd"))
    assert scene.run().error == "Odd"
    assert scene.types.count("ParallelStateStarted") == 2
    assert scene.types.count("ParallelStateFailed") == 1
    assert scene.types.count("WaitStateAborted") == 2
    assert scene.now < scene.facts.started_at + 100


def test_a_selector_that_fails_stops_the_items_before_it():
    rules = [{"ErrorEquals": ["States.ALL"], "Next": "Sorry"}]
    selector = {"n": "{% $number($states.context.Map.Item.Value) %}"}
    over = {**each(task()), "ItemSelector": selector, "Items": ["1", "x"], "QueryLanguage": "JSONata", "Catch": rules}
    scene = Scene(machine(M=over, Sorry=passing()), {})
    scene.tell(Started())
    assert scene.ended is not None
    assert scene.ended.status == "SUCCEEDED"
    assert not scene.open
    assert not list(scene.frames)
    assert "MapIterationAborted" in scene.types


def test_a_hundred_thousand_items_are_too_many():
    over = {**each(passing()), "Items": "{% [1..100000] %}", "QueryLanguage": "JSONata"}
    ended = Scene(machine(M=over), {}).run()
    assert ended.status == "FAILED"
    assert ended.error in ("States.DataLimitExceeded", "States.QueryEvaluationError")


def test_done_children_are_asked_for_when_they_are_needed():
    definition = machine(M=each(task()))
    scene = Scene(definition, [1, 2])
    scene.tell(Started())
    first, second = list(scene.open)
    scene.tell(TaskSucceeded(first, "a"))
    frames = list(scene.frames)
    undone = [deepcopy(frame) for frame in frames if not frame.done]
    assert len(undone) == len(frames) - 1

    def run_of(frames: Frames) -> Run:
        return Run(scene.facts, frames, next_event=99, new_secret=lambda: "s", chance=lambda: 0.5)

    with pytest.raises(NotLoaded) as missing:
        tell(run_of(Frames(undone)), scene.machine, TaskSucceeded(second, "b"), now=scene.now)
    assert missing.value.parent == ""
    scene.tell(TaskSucceeded(second, "b"))
    assert scene.ended is not None
    assert scene.ended.output == ["a", "b"]


# -- distributed ----------------------------------------------------------------------------------------------------------


def distributed(**fields: Any) -> dict[str, Any]:
    over = each(passing(), **fields)
    over["ItemProcessor"]["ProcessorConfig"] = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    return over


def test_a_distributed_map_is_done_by_somebody_else():
    scene = Scene(machine(M=distributed(ItemsPath="$.items")), {"items": [1, 2]})
    scene.tell(Started())
    (order,) = scene.orders
    assert isinstance(order, StartMapRun)
    assert order.spec["items"] == [1, 2]
    scene.now += 10
    scene.tell(Woken())
    assert [type(one) for one in scene.orders] == [StartMapRun, StartMapRun]
    assert scene.orders[1] == order
    scene.tell(ItemsRead(order.frame, 2))
    assert [frame.wake_at for frame in scene.frames] == [None]
    scene.tell(MapRunEnded(frame=order.frame, result=[3], arn="another"))
    assert scene.ended is None
    scene.tell(MapRunEnded(frame=order.frame, result=[3, 4], arn=order.arn))
    assert scene.ended is not None
    assert scene.ended.output == [3, 4]
    assert scene.types[2:6] == ["MapStateStarted", "MapRunStarted", "MapRunSucceeded", "MapStateSucceeded"]


def test_a_map_run_that_fails_can_be_driven_again():
    scene = Scene(machine(M=distributed()), [1])
    scene.tell(Started())
    (order,) = scene.orders
    assert isinstance(order, StartMapRun)
    scene.tell(MapRunEnded(frame=order.frame, error="States.ExceedToleratedFailureThreshold", cause="too many"))
    assert scene.types[-3:] == ["MapRunFailed", "MapStateFailed", "ExecutionFailed"]
    scene.tell(Redriven())
    again = scene.orders[-1]
    assert isinstance(again, StartMapRun)
    assert (again.arn, again.redrive) == (order.arn, True)
    assert scene.types[-2:] == ["ExecutionRedriven", "MapRunRedriven"]
    scene.tell(MapRunEnded(frame=order.frame, result=[1], arn=order.arn))
    assert scene.ended is not None
    assert scene.ended.status == "SUCCEEDED"


def test_a_map_run_is_stopped_with_its_execution():
    scene = Scene(machine(M=distributed()), [1])
    scene.tell(Started())
    scene.tell(Stopped("No", "more"))
    assert CancelMapRun("") in scene.orders
    assert scene.ended is not None
    assert (scene.ended.status, scene.ended.error, scene.ended.cause) == ("ABORTED", "No", "more")


# -- stopping and driving again -------------------------------------------------------------------------------------------


def test_a_stopped_execution_hears_nothing():
    scene = Scene({**machine(A=task()), "TimeoutSeconds": 10}, {})
    scene.tell(Started())
    token = open_token(scene)
    scene.tell(Stopped())
    assert scene.types[-1] == "ExecutionAborted"
    assert [frame.wake_at for frame in scene.frames] == [None]
    before = len(scene.history)
    scene.now += 100
    for message in (Woken(), TaskSucceeded(token, 1), Stopped(), Started()):
        scene.tell(message)
    assert len(scene.history) == before
    scene.tell(Redriven())
    assert scene.history[-2].details == {"redriveCount": 1}
    scene.tell(TaskSucceeded(token, 1))
    assert scene.ended is None
    assert [frame.wake_at for frame in scene.frames] == [scene.now + 10]
    scene.tell(TaskSucceeded(open_token(scene), 2))
    assert scene.ended is not None
    assert scene.ended.output == 2


def test_only_what_had_not_succeeded_runs_again():
    ran: list[Any] = []
    broken = {2, 3}

    def do(order: StartTask) -> Any:
        ran.append(order.payload)
        if order.payload in broken:
            raise StateFailed("Odd")
        return order.payload * 10

    branch = machine(W={"Type": "Wait", "Seconds": 5, "Next": "T"}, T=task(Parameters=9))
    definition = machine(
        Both={
            "Type": "Parallel",
            "Branches": [machine(M=each(task(), MaxConcurrency=2, ItemsPath="$.items")), branch],
            "End": True,
        }
    )
    scene = Scene(definition, {"items": [1, 2, 3, 4]}, do)
    assert scene.run().status == "FAILED"
    assert ran == [1, 2]
    broken.clear()
    ran.clear()
    scene.tell(Redriven())
    ended = scene.go_on()
    assert ended.output == [[10, 20, 30, 40], 90]
    assert sorted(ran) == [2, 3, 4, 9]
    assert scene.types.count("ExecutionRedriven") == 1


def test_retries_begin_anew_when_an_execution_is_driven_again():
    scene = Scene(machine(A=task(Retry=[{"ErrorEquals": ["Odd"], "MaxAttempts": 2}])), {}, failing("Odd"))
    scene.run()
    scene.tell(Redriven())
    scene.go_on()
    assert [order.attempt for order in scene.orders if isinstance(order, StartTask)] == [0, 1, 2, 0, 1, 2]


def test_a_state_whose_result_was_of_no_use_runs_again_as_a_whole():
    over = each(passing(), ResultSelector={"x.$": "States.ArrayGetItem($, $.nowhere)"})
    scene = Scene(machine(M=over), [1])
    assert scene.run().status == "FAILED"
    scene.tell(Redriven())
    assert scene.go_on().status == "FAILED"
    assert scene.types.count("MapStateStarted") == 2


def test_results_that_nobody_could_take_are_not_collected():
    """Each is small enough, and all together are not: the state fails long before the last item."""
    scene = Scene(machine(M=each(passing(Result="x" * 100_000))), list(range(1000)))
    ended = scene.run()
    assert ended.error == "States.DataLimitExceeded"
    assert scene.types.count("MapIterationSucceeded") < 60


def test_what_is_done_keeps_its_result_alone():
    scene = Scene(machine(M=each(task())), [1, 2])
    scene.tell(Started())
    scene.tell(TaskSucceeded(open_token(scene), "a"))
    (done,) = [frame for frame in scene.frames if frame.done]
    assert (done.result, done.input, done.variables, list(done.place)) == ("a", None, {}, ["event"])


def test_whoever_is_tired_goes_on_in_the_next_transaction():
    scene = Scene(machine(A=passing(Next="B"), B=passing(Next="C"), C=passing()), {})
    run = Run(scene.facts, Frames(), new_secret=lambda: "s", chance=lambda: 0.5)
    run.is_tired = lambda: True
    moves = 0
    tell(run, scene.machine, Started(), now=scene.now)
    while run.ended is None:
        assert run.unfinished
        tell(run, scene.machine, Woken(), now=scene.now)
        moves += 1
    assert moves == 5
    assert not run.unfinished
