"""Executions that are written down: begun, told, woken, stopped and looked at, by several processes, on both engines."""

from __future__ import annotations

import asyncio

import pytest
from engine_scene import ACTIVITY, ASKS, EACH, ONE_TASK, POLISHES, TENANT, WAITS, machine, task

from corral.errors import StoreUnavailable
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.execution import UNSET, Progress
from corral.workflows.failing import StateFailed
from corral.workflows.machine.happening import Stopped, TaskBeat, TaskFailed, TaskSucceeded, Woken
from corral.workflows.store import (
    ExecutionExists,
    ExecutionNotFound,
    ExecutionQuery,
    NotRedrivable,
    QuestionClosed,
    QuestionNotFound,
    TaskGone,
    TaskTokenInvalid,
    TooManyExecutions,
)

TEN = machine({f"P{i}": {"Type": "Pass", **({"Next": f"P{i + 1}"} if i < 9 else {"End": True})} for i in range(10)})
COUNTS = machine(
    {
        "Init": {"Type": "Pass", "Result": {"i": 0}, "Next": "More"},
        "More": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.i", "NumericLessThan": 400, "Next": "Add"}],
            "Default": "Done",
        },
        "Add": {"Type": "Pass", "Parameters": {"i.$": "States.MathAdd($.i, 1)"}, "Next": "More"},
        "Done": {"Type": "Succeed"},
    }
)
TWO = machine({"A": task("a", Next="B"), "B": task("b")})
BOTH = machine(
    {
        "Both": {
            "Type": "Parallel",
            "Branches": [machine({"A": task("a")}), machine({"B": task("b")})],
            "End": True,
        }
    }
)


# -- from start to end ------------------------------------------------------------------------------------------------------


async def test_what_needs_nobody_is_over_when_it_has_begun(open_house):
    house = await open_house({"ten": TEN})
    info = await house.start("ten", {"a": 1})
    assert (info.status, info.output, info.events, info.is_new) == ("SUCCEEDED", {"a": 1}, 22, True)
    assert info.arn == f"arn:aws:states:us-east-1:000000000000:execution:ten:{info.name}"
    assert await house.engine.describe(TENANT, info.id) == await house.engine.describe(TENANT, info.arn) == info
    assert (await house.types(info))[-1] == "ExecutionSucceeded"


async def test_a_task_is_given_out_and_its_end_carries_on(open_house):
    house = await open_house({"two": TWO})
    info = await house.start("two", {"n": 1})
    assert info.status == "RUNNING"
    (first,) = await house.given_out()
    assert (first.order.state, first.order.payload, first.facts.id) == ("A", {"n": 1}, info.id)
    again = await house.engine.work(TENANT, first.token)
    assert again is not None
    assert (again.order, again.facts) == (first.order, first.facts)
    await house.answer(first, {"n": 2})
    (second,) = await house.given_out()
    assert second.order.payload == {"n": 2}
    await house.answer(second, {"n": 3})
    over = await house.over(info)
    assert (over.status, over.output) == ("SUCCEEDED", {"n": 3})
    for token in (first.token, second.token):
        assert await house.engine.work(TENANT, token) is None
        with pytest.raises(TaskGone):
            await house.engine.answer(TENANT, token, TaskSucceeded(token, 1))
    with pytest.raises(TaskTokenInvalid):
        await house.engine.answer(TENANT, "nonsense", TaskSucceeded("nonsense", 1))
    with pytest.raises(TaskGone):
        await house.engine.answer("umbrella", first.token, TaskSucceeded(first.token, 1))


async def test_a_name_begins_once(open_house):
    house, other = await open_house({"one": ONE_TASK, "ten": TEN}), await open_house()
    begun = await asyncio.gather(
        *(one.start("one", {"a": 1, "b": 2}, name="n") for one in (house, other) for _ in range(5))
    )
    assert len({info.id for info in begun}) == 1
    assert sum(info.is_new for info in begun) == 1
    assert (await other.start("one", {"b": 2, "a": 1}, name="n")).is_new is False
    with pytest.raises(ExecutionExists):
        await other.start("one", {"a": 2}, name="n")
    (work,) = (house.works + other.works) or await house.given_out()
    await house.answer(work)
    with pytest.raises(ExecutionExists):
        await other.start("one", {"a": 1, "b": 2}, name="n")
    assert (await other.start("ten", name="n")).is_new
    assert (await house.start("one", {"a": 1}, name="n", tenant="umbrella")).is_new


async def test_other_tenants_see_nothing(open_house):
    house = await open_house({"one": ONE_TASK})
    info = await house.start("one")
    (work,) = await house.given_out()
    engine = house.engine
    for call in (
        engine.describe("umbrella", info.id),
        engine.describe("umbrella", info.arn),
        engine.history("umbrella", info.id),
        engine.stop("umbrella", info.id),
        engine.redrive("umbrella", info.id),
        engine.fork("umbrella", info.id),
        engine.tell("umbrella", info.id, Stopped()),
        engine.ended("umbrella", info.id),
        anext(engine.follow("umbrella", info.id)),
    ):
        with pytest.raises(ExecutionNotFound):
            await call
    assert await engine.work("umbrella", work.token) is None
    assert (await engine.find("umbrella", ExecutionQuery())).items == []


async def test_large_values_are_kept_once_and_apart(open_house):
    house, other = (
        await open_house(
            {"five": machine({**{f"P{i}": {"Type": "Pass", "Next": f"P{i + 1}"} for i in range(5)}, "P5": task()})}
        ),
        await open_house(),
    )
    given = {"text": "x" * 200_000, "small": 1}
    info = await house.start("five", given)
    loaded = await house.stores.executions.load(TENANT, info.id)
    assert loaded is not None
    assert len(loaded.row.input) < 1000
    assert all(len(frame.body) < 3000 for frame in loaded.frames)
    assert sum(len(row.body) for row in await house.stores.executions.events(TENANT, info.id, first=1, last=99)) < 9000
    (work,) = await house.given_out()
    there = await other.engine.work(TENANT, work.token)
    assert there is not None
    assert there.order.payload == there.facts.input == given
    await other.answer(work, [given])
    over = await house.over(info)
    assert (over.input, over.output) == (given, [given])
    history = await other.engine.history(TENANT, info.id)
    entered = [event for event in history.events if event.type == "PassStateEntered"]
    assert len(entered) == 5
    assert all(event.details["input"] == history.events[0].details["input"] for event in entered)
    # Two values, and their two texts in the history.
    assert await house.stores.blobs.delete(TENANT, f"executions/{info.id}/") <= 4


async def test_what_is_told_together_is_written_together(open_house):
    house = await open_house({"each": EACH})
    saves = []
    save = house.stores.executions.save

    async def counted(moves):
        saves.append(moves)
        return await save(moves)

    house.stores.executions.save = counted
    info = await house.start("each", {"items": list(range(30))})
    works = await house.given_out(30)
    await asyncio.gather(*(house.answer(work, work.order.payload) for work in works))
    over = await house.over(info)
    assert (over.status, over.output) == ("SUCCEEDED", list(range(30)))
    assert len(saves) <= 4


async def test_many_processes_that_end_tasks_of_one_execution_at_once(open_house):
    houses = [await open_house({"each": EACH}) for _ in range(3)]
    info = await houses[0].start("each", {"items": list(range(40))})
    works = await houses[0].given_out(40)
    await asyncio.gather(*(houses[number % 3].answer(work, number) for number, work in enumerate(works)))
    over = await houses[1].over(info)
    assert over.status == "SUCCEEDED"
    assert sorted(over.output) == list(range(40))
    events = (await houses[2].engine.history(TENANT, info.id, limit=1000)).events
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert sum(event.type == "LambdaFunctionSucceeded" for event in events) == 40


async def test_what_one_process_remembers_is_not_believed_where_it_says_no(open_house):
    house, other = await open_house({"two": TWO}), await open_house()
    info = await house.start("two")
    (first,) = await house.given_out()
    await other.answer(first, 1)
    (second,) = await other.given_out()
    await house.answer(second, 2)
    assert (await other.over(info)).output == 2


# -- what survives ---------------------------------------------------------------------------------------------------------


async def test_time_passes_for_an_execution_whoever_began_it(open_house, clock):
    house, other = await open_house({"waits": WAITS}), await open_house()
    info = await house.start("waits")
    await other.engine.carrier.start()
    await other.engine.carrier.start()
    clock.turn(59.9)
    other.engine.carrier.rouse()
    assert (await house.engine.describe(TENANT, info.id)).status == "RUNNING"
    clock.turn(0.2)
    over = await house.over(info)
    assert (over.status, over.stopped_at) == ("SUCCEEDED", clock.time)


async def test_tasks_that_nobody_handed_on_are_found(open_house, clock):
    house, other = await open_house({"one": ONE_TASK}), await open_house()
    house.refuses = True
    info = await house.start("one")
    await house.engine.carrier.drain()
    other.do = lambda order: "done"
    await other.engine.carrier.start()
    clock.turn(3)
    assert (await house.over(info)).output == "done"
    assert house.effects == []


async def test_what_could_go_on_goes_on_after_a_crash(open_house, clock):
    house, other = await open_house({"counts": COUNTS}), await open_house()

    async def dies(moves):
        raise StoreUnavailable

    house.stores.executions.save = dies
    info = await house.start("counts")
    assert info.status == "RUNNING"
    await house.engine.carrier.drain()
    await other.engine.carrier.start()
    clock.turn(6)
    over = await other.over(info)
    assert (over.status, over.output) == ("SUCCEEDED", {"i": 400})


async def test_the_end_of_a_child_reaches_the_task_that_waits(open_house, clock):
    house, other = (
        await open_house(
            {"one": ONE_TASK, "ten": TEN, "fails": machine({"F": {"Type": "Fail", "Error": "E", "Cause": "c"}})}
        ),
        await open_house(),
    )
    for child, form in (("ten", "sync:2"), ("ten", "sync"), ("fails", "sync:2")):
        parent = await house.start("one")
        (work,) = await house.given_out()
        info = await other.start(child, {"a": 1}, answers=work.token, answer_form=form)
        over = await house.over(parent)
        if child == "fails":
            assert (over.status, over.error) == ("FAILED", "States.TaskFailed")
            assert '"Error":"E"' in over.cause
        else:
            assert over.output["ExecutionArn"] == info.arn
            assert over.output["Output"] == ({"a": 1} if form == "sync:2" else '{"a":1}')
    await other.engine.carrier.drain()
    assert await house.stores.executions.unhanded(before=clock.time + 9, limit=9) == []
    # Nobody waits any more.
    await other.start("ten", answers=work.token)
    await other.engine.carrier.drain()


async def test_a_store_that_is_away_is_said_and_the_sweep_goes_on(open_house, clock):
    house = await open_house({"waits": WAITS, "one": ONE_TASK})
    info = await house.start("waits")
    one = await house.start("one")
    (work,) = await house.given_out()
    executions = house.stores.executions
    there = executions.save, executions.take_due
    asked = asyncio.Event()

    async def away(*_args, **_more):
        asked.set()
        raise StoreUnavailable

    executions.save = executions.take_due = away
    await house.engine.carrier.start()
    await asked.wait()
    with pytest.raises(StoreUnavailable):
        await house.answer(work)
    executions.save, executions.take_due = there
    await house.answer(work, 1)
    assert (await house.over(one)).output == 1
    clock.turn(61)
    house.engine.carrier.rouse()
    assert (await house.over(info)).status == "SUCCEEDED"


async def test_a_machine_of_ours_that_breaks_fails_its_execution(open_house):
    house = await open_house({"two": TWO})
    tell = house.engine._mover._tell

    def breaks(run, machine, message, *, now):
        tell(run, machine, message, now=now)
        if isinstance(message, TaskSucceeded):
            raise RecursionError

    house.engine._mover._tell = breaks
    info = await house.start("two")
    (work,) = await house.given_out()
    await house.answer(work, 1)
    over = await house.over(info)
    assert (over.status, over.error) == ("FAILED", "States.Runtime")
    assert "RecursionError" in over.cause
    assert (await house.types(info))[-1] == "ExecutionFailed"


async def test_what_ended_long_ago_is_forgotten(open_house, clock):
    house = await open_house({"one": ONE_TASK}, settings=WorkflowSettings(keep_s=3600, sweep_s=0.05))
    info = await house.start("one", {"text": "x" * 50_000})
    (work,) = await house.given_out()
    await house.answer(work)
    kept = await house.start("one")
    await house.engine.carrier.start()
    clock.turn(3700)

    async with asyncio.timeout(20):
        while (await house.engine.find(TENANT, ExecutionQuery(statuses=("SUCCEEDED",)))).items:
            house.engine.carrier.rouse()
            await asyncio.sleep(0.01)
    with pytest.raises(ExecutionNotFound):
        await house.engine.describe(TENANT, info.id)
    assert await house.stores.blobs.delete(TENANT, f"executions/{info.id}/") == 0
    assert (await house.engine.describe(TENANT, kept.id)).status == "RUNNING"


# -- what people do --------------------------------------------------------------------------------------------------------


async def test_stopping_ends_it_and_its_tasks(open_house):
    house = await open_house({"both": BOTH})
    info = await house.start("both")
    works = await house.given_out(2)
    over = await house.engine.stop(TENANT, info.arn, error="E", cause="because")
    assert (over.status, over.error, over.cause) == ("ABORTED", "E", "because")
    await house.engine.carrier.drain()
    assert sorted(house.cancelled) == sorted(work.token for work in works)
    assert await house.engine.stop(TENANT, info.id, error="again") == over
    with pytest.raises(TaskGone):
        await house.answer(works[0])


async def test_what_failed_goes_on_where_it_failed(open_house):
    house = await open_house({"two": TWO})
    info = await house.start("two")
    with pytest.raises(NotRedrivable):
        await house.engine.redrive(TENANT, info.id)
    (first,) = await house.given_out()
    await house.answer(first, {"n": 2})
    (second,) = await house.given_out()
    await house.engine.answer(TENANT, second.token, TaskFailed(second.token, "E", "c"))
    assert (await house.over(info)).status == "FAILED"
    going = await house.engine.redrive(TENANT, info.id)
    assert (going.status, going.redrives, going.stopped_at, going.error) == ("RUNNING", 1, None, None)
    (again,) = await house.given_out()
    assert (again.order.state, again.order.payload) == ("B", {"n": 2})
    assert again.token != second.token
    await house.answer(again, 3)
    assert (await house.over(info)).output == 3
    with pytest.raises(NotRedrivable):
        await house.engine.redrive(TENANT, info.id)
    types = await house.types(info)
    assert types.count("ExecutionRedriven") == 1
    assert types.count("LambdaFunctionSucceeded") == 2


async def test_a_fork_has_the_same_definition_and_perhaps_another_input(open_house, clock):
    house = await open_house({"ten": TEN})
    info = await house.start("ten", {"a": 1})
    clock.turn(1)
    same = await house.engine.fork(TENANT, info.arn)
    clock.turn(1)
    other = await house.engine.fork(TENANT, info.id, name="mine", input={"a": 2})
    assert (same.output, other.output, other.name) == ({"a": 1}, {"a": 2}, "mine")
    assert len({info.id, same.id, other.id}) == 3
    page = await house.engine.find(TENANT, ExecutionQuery(machine_arn=info.machine_arn))
    assert [one.id for one in page.items] == [other.id, same.id, info.id]
    assert page.items[0].input is page.items[0].output is UNSET


async def test_history_is_read_both_ways(open_house):
    house = await open_house({"counts": COUNTS, "one": ONE_TASK})
    info = await house.over(await house.start("counts"))
    ways = {}
    for reverse in (False, True):
        for limit in (60, 1000):
            found, after = [], None
            while True:
                page = await house.engine.history(TENANT, info.id, after=after, limit=limit, reverse=reverse)
                found += [event.id for event in page.events]
                assert len(page.events) <= limit
                if page.next is None:
                    break
                after = page.next
            ways[reverse, limit] = found
    forward = list(range(1, info.events + 1))
    assert all(found == (forward[::-1] if reverse else forward) for (reverse, _), found in ways.items())
    running = await house.start("one")
    assert (await house.engine.history(TENANT, running.id)).next is None
    assert (await house.engine.history(TENANT, running.id, after=99)).events == []


# -- watching --------------------------------------------------------------------------------------------------------------


async def test_whoever_follows_sees_all_of_it_live_from_any_process(open_house):
    house, other = await open_house({"two": TWO}), await open_house()
    info = await house.start("two")
    seen: list[str] = []
    progress: list[Progress] = []
    reached = asyncio.Event()

    async def watch() -> None:
        async for event in other.engine.follow(TENANT, info.id):
            if isinstance(event, Progress):
                progress.append(event)
                reached.set()
            else:
                seen.append(event.type)

    watching = asyncio.create_task(watch())
    (first,) = await house.given_out()
    other.told.setdefault(first.token, asyncio.Queue()).put_nowait("half")
    await reached.wait()
    assert progress == [Progress(state="A", token=first.token, data="half")]
    await house.answer(first)
    (second,) = await house.given_out()
    await house.answer(second)
    async with asyncio.timeout(20):
        await watching
    assert seen == await house.types(info)
    tail = [event async for event in other.engine.follow(TENANT, info.id, after=len(seen) - 1)]
    assert [event.type for event in tail] == ["ExecutionSucceeded"]


# -- activities and questions ----------------------------------------------------------------------------------------------


async def test_work_is_fetched_by_whoever_waits_for_it_anywhere(open_house):
    house, other = await open_house({"polishes": POLISHES}), await open_house()
    assert await other.engine.take_activity(TENANT, ACTIVITY, wait_s=0) is None
    waiting = [
        asyncio.create_task(one.engine.take_activity(TENANT, ACTIVITY, worker="ann", wait_s=20))
        for one in (house, other)
    ]
    await asyncio.sleep(0)
    infos = [await house.start("polishes", {"n": number}) for number in range(2)]
    works = await asyncio.gather(*waiting)
    assert sorted(work.order.payload["n"] for work in works) == [0, 1]
    for work in works:
        await other.engine.answer(TENANT, work.token, TaskBeat(work.token))
        await other.answer(work, "shiny")
    assert [(await house.over(info)).output for info in infos] == ["shiny"] * 2
    events = (await house.engine.history(TENANT, infos[0].id)).events
    (started,) = [event for event in events if event.type == "ActivityStarted"]
    assert started.details["workerName"] == "ann"


async def test_a_heartbeat_frees_what_a_worker_that_vanished_has_taken(open_house):
    """As on AWS: work that was fetched is its worker's until it is late; that of one that must be heard of is free sooner."""
    retry = [{"ErrorEquals": ["States.HeartbeatTimeout"], "IntervalSeconds": 1, "MaxAttempts": 3}]
    polish = POLISHES["States"]["Polish"]
    beats = machine({"Polish": {**polish, "HeartbeatSeconds": 5, "TimeoutSeconds": 3600, "Retry": retry}})
    house = await open_house({"beats": beats, "polishes": POLISHES})
    info = await house.start("beats", {"n": 1})
    lost = await house.engine.take_activity(TENANT, ACTIVITY, worker="vanished", wait_s=0)
    assert lost is not None
    patient = await house.start("polishes", {"n": 2})
    silent = await house.engine.take_activity(TENANT, ACTIVITY, worker="vanished", wait_s=0)
    assert silent is not None
    for seconds in (4.9, 0.2, 1.0):
        assert await house.engine.take_activity(TENANT, ACTIVITY, wait_s=0) is None
        house.clock.turn(seconds)
        for one in (info, patient):
            await house.engine.tell(TENANT, one.id, Woken())
    again = await house.engine.take_activity(TENANT, ACTIVITY, worker="ann", wait_s=0)
    assert again is not None
    assert (again.facts.id, again.order.attempt, again.order.payload) == (info.id, 1, {"n": 1})
    with pytest.raises(TaskGone):
        await house.engine.answer(TENANT, lost.token, TaskSucceeded(lost.token, "late"))
    for _ in range(3):
        house.clock.turn(4.0)
        await house.engine.answer(TENANT, again.token, TaskBeat(again.token))
    await house.answer(again, "shiny")
    assert (await house.over(info)).output == "shiny"
    house.clock.turn(1_000_000)
    await house.engine.tell(TENANT, patient.id, Woken())
    assert (await house.engine.describe(TENANT, patient.id)).status == "RUNNING", "nobody said how long it may take"
    await house.answer(silent, "at last")
    assert (await house.over(patient)).output == "at last"


async def test_work_that_is_over_is_not_given_out(open_house):
    house = await open_house({"polishes": POLISHES})
    gone, left = await house.start("polishes"), await house.start("polishes")
    await house.engine.stop(TENANT, gone.id)
    work = await house.engine.take_activity(TENANT, ACTIVITY, wait_s=0)
    assert work is not None
    assert work.facts.id == left.id
    assert await house.engine.take_activity(TENANT, ACTIVITY, wait_s=0) is None


async def test_a_question_is_answered_once(open_house):
    house, other = await open_house({"asks": ASKS}), await open_house()
    info = await house.start("asks")
    (asked,) = (await other.engine.approvals(TENANT, states=("new",))).items
    assert (asked.payload, asked.execution_arn, asked.state_name) == ({"message": "May I?"}, info.arn, "Ask")
    assert (asked.is_open, asked.answer) == (True, UNSET)
    answers = [TaskSucceeded(asked.id, {"choice": choice}) for choice in ("yes", "no")]
    both = await asyncio.gather(
        house.engine.decide(TENANT, asked.id, answers[0]),
        other.engine.decide(TENANT, asked.id, answers[1]),
        return_exceptions=True,
    )
    (refused,) = [one for one in both if isinstance(one, QuestionClosed)]
    (closed,) = [one for one in both if one is not refused]
    assert (closed.is_open, closed.answered_at) == (False, house.clock.time)
    assert (await house.over(info)).output == closed.answer
    again = answers[0] if closed.answer == answers[0].output else answers[1]
    assert await other.engine.decide(TENANT, asked.id, again) == closed
    assert (await other.engine.approvals(TENANT, states=("new",))).items == []
    assert (await other.engine.approvals(TENANT, execution_id=info.id)).items == [closed]
    for tenant, token in (("umbrella", asked.id), (TENANT, "none")):
        with pytest.raises(QuestionNotFound):
            await other.engine.approval(tenant, token)


async def test_a_question_that_nobody_waits_for_is_closed(open_house):
    house = await open_house({"asks": ASKS})
    info = await house.start("asks")
    await house.engine.stop(TENANT, info.id)
    (asked,) = (await house.engine.approvals(TENANT)).items
    assert (asked.is_open, asked.answer) == (False, UNSET)
    with pytest.raises(QuestionClosed):
        await house.engine.decide(TENANT, asked.id, TaskSucceeded(asked.id, 1))


async def test_ten_thousand_waits_are_rows_and_nothing_else(open_house):
    house = await open_house({"asks": ASKS})
    tasks = len(asyncio.all_tasks())
    for _ in range(20):
        await asyncio.gather(*(house.start("asks", {"n": 1}) for _ in range(10)))
    await house.engine.carrier.drain()
    assert len(asyncio.all_tasks()) <= tasks + 2
    assert not house.works


# -- express ---------------------------------------------------------------------------------------------------------------


async def test_express_runs_are_written_nowhere(open_house):
    async def call(order, facts):
        if order.payload == "fail":
            raise StateFailed("E", "c")
        return TaskSucceeded(order.token, [order.payload])

    house = await open_house({"one": ONE_TASK}, call_task=call)
    result = await house.engine.start_sync(house.request("one", 1, kind="EXPRESS", name="n"))
    assert (result.info.status, result.info.output, result.history[-1].type) == ("SUCCEEDED", [1], "ExecutionSucceeded")
    assert ":express:one:n:" in result.info.arn
    failed = await house.engine.start_sync(house.request("one", "fail", kind="EXPRESS"))
    assert (failed.info.status, failed.info.error) == ("FAILED", "E")
    begun = await house.start("one", 2, kind="EXPRESS")
    assert begun.status == "RUNNING"
    await house.engine.express.drain()
    over = await house.engine.describe(TENANT, begun.arn)
    assert (over.status, over.output) == ("SUCCEEDED", [2])
    page = await house.engine.history(TENANT, begun.id, limit=2, reverse=True)
    assert [event.type for event in page.events] == ["ExecutionSucceeded", "TaskStateExited"]
    assert (await house.engine.find(TENANT, ExecutionQuery())).items == []
    with pytest.raises(ExecutionNotFound):
        await house.engine.describe("umbrella", begun.id)


# -- what is hostile -------------------------------------------------------------------------------------------------------


async def test_expressions_that_take_long_do_not_hold_the_others_up(open_house):
    endless = "{% ($f := function($n) { $f($n + 1) }; $f(0)) %}"
    house = await open_house(
        {
            "bomb": machine({"B": {"Type": "Pass", "Output": [endless] * 3, "End": True}}, QueryLanguage="JSONata"),
            "ten": TEN,
        }
    )
    begun = asyncio.create_task(house.start("bomb"))
    others = 0
    while not begun.done():
        assert (await house.start("ten")).status == "SUCCEEDED"
        others += 1
    failed = await begun
    assert (failed.status, failed.error) == ("FAILED", "States.QueryEvaluationError")
    assert others > 1


async def test_one_execution_lets_others_have_their_turn(open_house, clock):
    class Hurried:
        """Every look at the clock takes a while."""

        def now(self):
            return clock.now()

        def monotonic(self):
            clock.turn(0.03)
            return clock.monotonic()

    house = await open_house({"ten": TEN})
    house.engine._mover._clock = Hurried()
    info = await house.start("ten")
    assert info.status == "RUNNING"
    over = await house.over(info)
    assert (over.status, over.events) == ("SUCCEEDED", 22)


async def test_a_tenant_has_only_so_many_open_at_once(open_house, clock):
    house = await open_house({"one": ONE_TASK, "ten": TEN}, settings=WorkflowSettings(open_max=3))
    begun = [await house.start("one") for _ in range(3)]
    with pytest.raises(TooManyExecutions, match="open_max"):
        await house.start("ten")
    assert (await house.start("one", tenant="umbrella")).is_new
    await house.engine.stop(TENANT, begun[0].id)
    clock.turn(1.1)
    assert (await house.start("ten")).status == "SUCCEEDED"


async def test_a_history_has_an_end(open_house):
    house = await open_house({"counts": COUNTS}, settings=WorkflowSettings(events_max=700))
    over = await house.over(await house.start("counts"))
    assert (over.status, over.error, over.events) == ("FAILED", "States.Runtime", 700)
    assert "(700)" in over.cause


@pytest.mark.parametrize("wrong", ["half a pair: \ud800", {"x": object()}])
async def test_what_cannot_be_written_fails_the_execution(open_house, wrong):
    house = await open_house({"two": TWO})
    info = await house.start("two")
    (work,) = await house.given_out()
    await house.answer(work, wrong)
    over = await house.over(info)
    assert (over.status, over.error) == ("FAILED", "States.Runtime")
    assert await house.types(info) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "LambdaFunctionScheduled",
        "ExecutionFailed",
    ]


async def test_an_execution_whose_definition_is_gone_can_be_stopped(open_house):
    house, other = await open_house({"two": TWO}), await open_house()
    info = await house.start("two")
    del other.definitions["two"]
    over = await other.engine.stop(TENANT, info.id)
    assert over.status in {"ABORTED", "FAILED"}
