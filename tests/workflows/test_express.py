"""Executions from start to end in one process."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from machine_scene import facts_of

from corral.workflows import express
from corral.workflows.failing import StateFailed
from corral.workflows.language.reading import machine_of
from corral.workflows.machine.happening import TaskFailed, TaskSucceeded

TASK = {"Type": "Task", "Resource": "corral:function:f", "End": True}


def machine(states, **whole):
    return machine_of({"StartAt": next(iter(states)), "States": states, **whole})


async def run(states, given=None, call_task=None, **whole):
    how = {key: whole.pop(key) for key in ("limit_s",) if key in whole}
    return await express.run(machine(states, **whole), facts_of(given, kind="EXPRESS"), call_task, **how)


async def test_tasks_are_called_and_waits_pass():
    seen = []

    async def call(order, facts):
        seen.append((order.payload, facts.name))
        return TaskSucceeded(order.token, order.payload + 1)

    states = {
        "A": {**TASK, "Next": "W"},
        "W": {"Type": "Wait", "Seconds": 0, "Next": "P"},
        "P": {"Type": "Pass", "Parameters": {"n.$": "$"}, "End": True},
    }
    del states["A"]["End"]
    ended, history = await run(states, 1, call)
    assert ended.output == {"n": 2}
    assert seen == [(1, "x")]
    assert [event.id for event in history] == list(range(1, len(history) + 1))


async def test_branches_and_items_go_on_together():
    running = most = 0

    async def call(order, _facts):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return TaskSucceeded(order.token, order.payload * 2)

    body = {"StartAt": "T", "States": {"T": TASK}}
    states = {"M": {"Type": "Map", "ItemProcessor": body, "MaxConcurrency": 5, "End": True}}
    ended, _ = await run(states, list(range(20)), call)
    assert ended.output == [2 * one for one in range(20)]
    assert most == 5


@pytest.mark.parametrize("how", ["told", "raised", "broken"])
async def test_tasks_fail_in_three_ways_and_are_tried_again(how):
    calls = 0

    async def call(order, _facts):
        nonlocal calls
        calls += 1
        if calls > 2:
            return TaskSucceeded(order.token, calls)
        if how == "told":
            return TaskFailed(order.token, "States.TaskFailed", "odd")
        if how == "raised":
            raise StateFailed("States.TaskFailed", "odd")
        raise ValueError("odd")

    retry = [
        {"ErrorEquals": ["States.TaskFailed"], "IntervalSeconds": 1, "MaxDelaySeconds": 2, "JitterStrategy": "FULL"}
    ]
    whole = machine({"T": {**TASK, "Retry": retry}})
    ended, history = await express.run(whole, facts_of({}), call, chance=lambda: 0.001)
    assert ended.output == 3
    assert [event.type for event in history].count("TaskFailed") == 2


async def test_what_takes_too_long_is_stopped_with_its_tasks():
    stopped = []

    async def call(order, _facts):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(order.state)

    ended, history = await run({"T": TASK}, {}, call, limit_s=0.05)
    assert ended.status == "TIMED_OUT"
    assert history[-1].type == "ExecutionTimedOut"
    assert stopped == ["T"]
    ended, _ = await run(
        {
            "T": {**TASK, "TimeoutSeconds": 1},
        },
        {},
        call,
        TimeoutSeconds=0.05,
    )
    assert ended.status == "TIMED_OUT"


async def test_whoever_is_cancelled_leaves_nothing_behind():
    began, stopped = asyncio.Event(), asyncio.Event()

    async def call(_order, _facts):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    going = asyncio.create_task(run({"T": TASK}, {}, call))
    await began.wait()
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert stopped.is_set()


async def test_siblings_of_what_failed_are_cancelled():
    stopped = []

    async def call(order, _facts):
        if order.state == "Bad":
            raise StateFailed("Odd")
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(order.state)

    branches = [{"StartAt": name, "States": {name: TASK}} for name in ("Good", "Bad")]
    ended, _ = await run({"Both": {"Type": "Parallel", "Branches": branches, "End": True}}, {}, call)
    assert (ended.status, ended.error, stopped) == ("FAILED", "Odd", ["Good"])


async def test_a_distributed_map_needs_an_execution_that_is_kept():
    body = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
        "StartAt": "P",
        "States": {"P": {"Type": "Pass", "End": True}},
    }
    ended, _ = await run({"M": {"Type": "Map", "ItemProcessor": body, "End": True}}, [1])
    assert (ended.status, ended.cause) == ("FAILED", "A distributed Map needs a STANDARD execution.")


async def test_an_endless_loop_is_stopped_lets_others_run_and_keeps_a_bounded_history():
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(tick())
    loop = {
        "A": {"Type": "Pass", "Next": "B"},
        "B": {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsPresent": True, "Next": "A"}], "Default": "A"},
    }
    ended, history = await run(loop, {}, limit_s=0.4)
    other.cancel()
    assert ended.status == "TIMED_OUT"
    assert ticks > 5
    assert len(history) <= express.HISTORY_KEPT + 1


async def test_slow_expressions_are_thought_about_in_threads():
    seen = set()

    async def call(order, _facts):
        seen.add(threading.current_thread().name)
        return TaskSucceeded(order.token, order.payload)

    slow = "{% $reduce([1..3000], function($a, $b) {$a + $b}) %}"
    states = {"A": {"Type": "Pass", "Output": slow, "Next": "T"}, "T": TASK}
    whole = machine(states, QueryLanguage="JSONata")
    with ThreadPoolExecutor(1, "thinker") as threads:
        ended, history = await express.run(whole, facts_of({}), call, threads=threads)
    assert ended.output == 4_501_500
    assert not any(name.startswith("thinker") for name in seen)
    assert [event.id for event in history] == list(range(1, len(history) + 1))
