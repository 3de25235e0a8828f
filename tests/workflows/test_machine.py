"""What an execution does when something happens to it."""

from __future__ import annotations

import pytest
from machine_scene import Scene, each, failing, machine, open_token, passing, task

from corral.workflows.machine.happening import Started, TaskBeat, TaskStarted, Woken
from corral.workflows.machine.order import CancelTask, StartTask

# -- history ---------------------------------------------------------------------------------------------------------


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


# -- data ------------------------------------------------------------------------------------------------------------


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


# -- time ------------------------------------------------------------------------------------------------------------


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
