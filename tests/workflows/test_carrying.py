"""The sweep of executions: its life, what it finds, and what it leaves alone."""

from __future__ import annotations

import asyncio

from engine_scene import ONE_TASK, TENANT, WAITS, machine

from corral.observability.metrics import Metrics
from corral.workflows.counting import Counting
from corral.workflows.machine.happening import TaskStarted, TaskSucceeded
from corral.workflows.store import execution_key


async def test_its_life_may_be_told_twice_and_begin_again(open_house, clock):
    house = await open_house({"waits": WAITS})
    carrier = house.engine.carrier
    for _ in range(2):
        info = await house.start("waits")
        await carrier.start()
        await carrier.start()
        clock.turn(61)
        carrier.rouse()
        assert (await house.over(info)).status == "SUCCEEDED"
        await carrier.drain()
        await carrier.drain()
        await carrier.stop()
        await carrier.stop()
    info = await house.start("waits")
    clock.turn(61)
    carrier.rouse()
    assert (await house.engine.describe(TENANT, info.id)).status == "RUNNING"


async def test_it_is_woken_for_what_is_due_sooner(open_house, clock):
    both = {"waits": WAITS, "soon": machine({"W": {"Type": "Wait", "Seconds": 1, "End": True}})}
    house = await open_house(both)
    await house.engine.carrier.start()
    later = await house.start("waits")
    sooner = await house.start("soon")
    clock.turn(1.5)
    assert (await house.over(sooner)).status == "SUCCEEDED"
    assert (await house.engine.describe(TENANT, later.id)).status == "RUNNING"


async def test_hundreds_that_are_due_at_once_are_woken_by_two(open_house, clock):
    house, other = await open_house({"waits": WAITS}), await open_house()
    infos = await asyncio.gather(*(house.start("waits") for _ in range(120)))
    clock.turn(61)
    for one in (house, other):
        await one.engine.carrier.start()
    over = await asyncio.gather(*((house if n % 2 else other).over(info) for n, info in enumerate(infos)))
    assert {one.status for one in over} == {"SUCCEEDED"}
    assert {one.events for one in over} == {4}


async def test_what_is_noted_is_written_with_what_comes_next_or_in_a_moment(open_house):
    house = await open_house({"one": ONE_TASK})
    info = await house.start("one")
    (work,) = await house.given_out()
    house.engine.note(TENANT, info.id, TaskStarted(work.token))
    house.engine.note(TENANT, "unknown", TaskStarted(work.token))
    await house.engine.answer(TENANT, work.token, TaskSucceeded(work.token, 1))
    loaded = await house.stores.executions.get(TENANT, info.id)
    assert loaded is not None
    assert loaded.revision == 2
    other = await house.start("one")
    (work,) = await house.given_out()
    house.engine.note(TENANT, other.id, TaskStarted(work.token))
    with house.engine.following.bell(execution_key(TENANT, other.id)) as bell:
        while "LambdaFunctionStarted" not in await house.types(other):
            assert await bell.wait(20)


async def test_what_is_counted(open_house, clock):
    metrics = Metrics()
    house = await open_house({"one": ONE_TASK}, counting=Counting(metrics))
    info = await house.start("one")
    (work,) = await house.given_out()
    await house.answer(work)
    await house.over(info)
    await house.start("one")
    await house.engine.carrier.start()
    async with asyncio.timeout(20):
        while b"corral_workflows_open 1" not in metrics.render():
            clock.turn(61)
            house.engine.carrier.rouse()
            await asyncio.sleep(0.01)
    said = metrics.render().decode()
    for line in (
        'corral_workflows_executions_total{kind="STANDARD",status="RUNNING"} 2',
        'corral_workflows_executions_total{kind="STANDARD",status="SUCCEEDED"} 1',
        'corral_workflows_transitions_total{kind="STANDARD"} 2',
        'corral_workflows_moves_total{outcome="written"} 3',
        'corral_workflows_tasks_total{kind="job"} 2',
        "corral_workflows_first_task_seconds_count 2",
    ):
        assert line in said
