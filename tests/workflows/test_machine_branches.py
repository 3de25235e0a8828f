"""Branches, items, map runs; what is stopped, and what runs again."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from machine_scene import Scene, each, failing, machine, open_token, passing, task

from corral.workflows.failing import StateFailed
from corral.workflows.machine.happening import (
    ItemsRead,
    MapRunEnded,
    Redriven,
    Started,
    Stopped,
    TaskFailed,
    TaskSubmitted,
    TaskSucceeded,
    Woken,
)
from corral.workflows.machine.moves import tell
from corral.workflows.machine.order import CancelMapRun, CancelTask, StartMapRun, StartTask
from corral.workflows.machine.run import Frames, NotLoaded, Run

# -- branches and items ----------------------------------------------------------------------------------------------


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


# -- distributed -----------------------------------------------------------------------------------------------------


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
    assert scene.orders.count(CancelMapRun("")) == 1
    assert scene.ended is not None
    assert (scene.ended.status, scene.ended.error, scene.ended.cause) == ("ABORTED", "No", "more")
    assert scene.types[-2:] == ["MapRunAborted", "ExecutionAborted"]
    assert scene.history[-1].previous_id == scene.history[-2].id
    scene.ended = None
    scene.tell(Redriven())
    scene.tell(Stopped())
    assert scene.types[-4:] == ["ExecutionRedriven", "MapRunRedriven", "MapRunAborted", "ExecutionAborted"]


def test_a_map_run_beside_what_failed_is_aborted_once():
    both = {"Type": "Parallel", "Branches": [machine(A=task()), machine(M=distributed())], "End": True}
    scene = Scene(machine(P=both), [1])
    scene.tell(Started())
    scene.tell(TaskFailed(open_token(scene), "Bad"))
    assert scene.ended is not None
    assert scene.types.count("MapRunAborted") == 1
    at = scene.types.index("MapRunAborted")
    assert scene.types[at + 1] == "MapStateAborted"


def test_a_map_run_that_failed_is_not_aborted():
    scene = Scene(machine(M=distributed()), [1])
    scene.tell(Started())
    (order,) = [order for order in scene.orders if isinstance(order, StartMapRun)]
    scene.tell(MapRunEnded(frame=order.frame, error="E", arn=order.arn))
    assert scene.ended is not None
    assert "MapRunAborted" not in scene.types


def test_a_history_that_is_full_ends_with_the_end():
    scene = Scene(machine(M=distributed()), [1])
    scene.tell(Started())
    run = Run(scene.facts, scene.frames, next_event=len(scene.history) + 1, new_secret=lambda: "s", chance=lambda: 0.0)
    run.events_max = run.next_event
    tell(run, scene.machine, Stopped(), now=scene.now)
    assert [event.type for event in run.history] == ["ExecutionAborted"]


def test_an_execution_that_a_task_waits_for_is_stopped_with_it():
    start = "arn:aws:states:::states:startExecution.sync:2"
    for end, more in ((Stopped(), {}), (Woken(), {"TimeoutSeconds": 10})):
        scene = Scene(machine(A={"Type": "Task", "Resource": start, "End": True, **more}), {})
        scene.tell(Started())
        token = open_token(scene)
        scene.tell(TaskSubmitted(token, {"ExecutionArn": "arn:child"}))
        scene.now += 20
        scene.tell(end)
        assert scene.orders[-1] == CancelTask(token, "arn:child")
        assert scene.ended is not None


# -- stopping and driving again --------------------------------------------------------------------------------------


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
