"""Several calls at once."""

from __future__ import annotations

import asyncio
import contextvars
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_scene import bounded, box_of, fault_code, quickest

from corral import ParallelToolExecutor, ToolFailed, tool
from corral.errors import QueueFull
from corral.messages import ToolCall, ToolReply


def call(number, *after, name="work", **arguments):
    return ToolCall(name=name, id=str(number), after=tuple(map(str, after)), input=arguments)


async def echo(asked):
    return ToolReply(name=asked.name, id=asked.id)


async def test_ten_that_take_100_ms_take_little_more_together():
    @tool
    async def work():
        await asyncio.sleep(0.1)
        return "done"

    box = box_of(work)
    executor, calls = ParallelToolExecutor(max_concurrent=10), [call(n) for n in range(10)]
    assert 0.1 <= await quickest(lambda: executor.run(box.call, calls), 0.13) <= 0.13


async def test_ten_that_block_threads_too():
    def work():
        time.sleep(0.1)
        return "done"

    box = box_of(tool(work), run=bounded())
    executor, calls = ParallelToolExecutor(max_concurrent=10), [call(n) for n in range(10)]
    assert 0.1 <= await quickest(lambda: executor.run(box.call, calls), 0.13) <= 0.13


async def test_no_more_at_once_than_may_be():
    running = most = 0

    async def work(asked):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return await echo(asked)

    await ParallelToolExecutor(max_concurrent=3).run(work, [call(n) for n in range(12)])
    assert most == 3
    assert ParallelToolExecutor()._max == 5
    with pytest.raises(ValueError, match="max_concurrent"):
        ParallelToolExecutor(0)


async def test_the_order_of_the_calls_is_kept_and_the_stream_is_as_they_come():
    gates = [asyncio.Event() for _ in range(3)]

    async def work(asked):
        await gates[int(asked.id)].wait()
        return await echo(asked)

    executor = ParallelToolExecutor()
    came = []
    gates[2].set()
    async for reply in executor.stream(work, [call(n) for n in range(3)]):
        came.append(reply.id)
        gates[1 if len(came) == 1 else 0].set()
    assert came == ["2", "1", "0"]
    assert [reply.id for reply in await executor.run(work, [call(n) for n in range(3)])] == ["0", "1", "2"]


async def test_one_that_fails_does_not_sink_the_others():
    async def work(asked):
        match asked.id:
            case "0":
                raise ToolFailed("no", code="not_found")
            case "1":
                raise QueueFull("full", retry_after_s=3)
            case "2":
                raise RuntimeError("broken")
        return await echo(asked)

    replies = await ParallelToolExecutor().run(work, [call(n) for n in range(5)])
    assert [fault_code(reply) for reply in replies] == ["tool_failed", "queue_full", "failed", "", ""]
    assert replies[1].fault.retry_after_s == 3


async def test_a_hung_tool_costs_its_timeout_and_nothing_else():
    async def work(asked):
        if asked.id == "1":
            await asyncio.Event().wait()  # and keeps no deadline
        return await echo(asked)

    begun = time.monotonic()
    replies = await ParallelToolExecutor(timeout_per_tool=0.05).run(work, [call(n) for n in range(3)])
    assert [fault_code(reply) for reply in replies] == ["", "timeout", ""]
    assert time.monotonic() - begun < 5

    @tool(timeout_s=9)
    async def hang():
        await asyncio.Event().wait()

    begun = time.monotonic()
    (reply,) = await ParallelToolExecutor(timeout_per_tool=0.1).run(box_of(hang).call, [call(1, name="hang")])
    assert fault_code(reply) == "timeout"
    assert 0.1 <= time.monotonic() - begun < 5


async def test_each_is_waited_for_as_long_as_it_may_take_and_no_longer(monkeypatch):
    monkeypatch.setattr("corral.tools.parallel._GRACE_S", 0.01)
    now = time.monotonic()
    ended = []

    async def work(asked):
        try:
            await asyncio.Event().wait()  # and keeps no deadline
        finally:
            ended.append(asked.id)

    within = {"0": 60.0, "1": 0.1, "2": 0.02, "3": 0.06}
    calls = [msgspec.structs.replace(call(n), deadline=now + within[str(n)]) for n in range(4)]
    turn = ParallelToolExecutor(timeout_per_tool=None).begin(work, calls)
    async with asyncio.timeout(20):
        replies = [await turn.next() for _ in range(3)]
    assert [(reply.id, fault_code(reply)) for reply in replies] == [
        ("2", "timeout"),
        ("3", "timeout"),
        ("1", "timeout"),
    ]
    assert "was not heard of within" in replies[0].fault.message
    await turn.close()
    await turn.close()
    assert ended == ["2", "3", "1", "0"]


async def test_a_reply_that_comes_when_it_is_given_up_counts(monkeypatch):
    monkeypatch.setattr("corral.tools.parallel._GRACE_S", 0.0)

    async def work(asked):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await echo(asked)

    replies = await ParallelToolExecutor(timeout_per_tool=0.01).run(work, [call(0), call(1)])
    assert [fault_code(reply) for reply in replies] == ["", ""]


async def test_what_is_cancelled_from_inside_is_no_reply():
    async def work(asked):
        if asked.id == "1":
            raise asyncio.CancelledError
        return await echo(asked)

    with pytest.raises(asyncio.CancelledError):
        await ParallelToolExecutor().run(work, [call(0), call(1)])


async def test_each_call_runs_in_a_copy_of_the_place_it_is_given():
    variable = contextvars.ContextVar("variable", default="outside")
    place = contextvars.copy_context()
    place.run(variable.set, "the place")
    seen = []

    async def work(asked):
        seen.append(variable.get())
        variable.set(asked.id)
        return await echo(asked)

    turn = ParallelToolExecutor(max_concurrent=1).begin(work, [call(0), call(1)], context=place)
    while await turn.next() is not None:
        pass
    await turn.close()
    assert [reply.id for reply in turn.all] == ["0", "1"]
    assert seen == ["the place", "the place"]
    assert variable.get() == "outside"


async def test_a_deadline_ends_all_of_them():
    @tool
    async def work(hang: bool = False):
        if hang:
            await asyncio.Event().wait()
        return "done"

    box = box_of(work)
    calls = [call(0), call(1, hang=True), call(2, 1), call(3, hang=True), call(4)]
    deadline = time.monotonic() + 0.1
    replies = await ParallelToolExecutor(max_concurrent=2, timeout_per_tool=None).run(
        box.call, calls, deadline=deadline
    )
    assert [fault_code(reply) for reply in replies] == ["", "timeout", "dependency_failed", "timeout", "timeout"]
    assert time.monotonic() < deadline + 5


async def test_calls_start_when_what_they_need_is_there():
    ended = []

    async def work(asked):
        assert set(asked.after) <= set(ended)
        await asyncio.sleep(0)
        ended.append(asked.id)
        return await echo(asked)

    calls = [call(0, 1, 2), call(1, 3), call(2, 3), call(3), call(4)]
    replies = await ParallelToolExecutor().run(work, calls)
    assert not any(reply.fault for reply in replies)
    assert ended.index("0") > max(ended.index("1"), ended.index("2"))


async def test_what_can_never_start_is_said_and_the_rest_goes_on():
    calls = [
        call(0, 1),
        call(1, 0),
        call(2, 0),
        call(3, 3),
        call(4, "nobody"),
        call(5, 4),
        call(6),
        call(7, 6),
    ]
    replies = await ParallelToolExecutor().run(echo, calls)
    assert [fault_code(reply) for reply in replies] == [
        *["invalid_input"] * 5,
        "dependency_failed",
        "",
        "",
    ]
    assert "cycle" in replies[0].fault.message
    assert "nobody" in replies[4].fault.message
    assert all(reply.attempts == 0 for reply in replies[:6])


async def test_what_needs_one_that_failed_is_not_called():
    made = []

    async def work(asked):
        made.append(asked.id)
        if asked.id == "0":
            raise RuntimeError
        return await echo(asked)

    replies = await ParallelToolExecutor().run(work, [call(0), call(1, 0), call(2, 1), call(3)])
    assert [fault_code(reply) for reply in replies] == ["failed", "dependency_failed", "dependency_failed", ""]
    assert made == ["0", "3"]


async def test_who_leaves_early_leaves_nothing_behind():
    cleaned = []

    async def work(asked):
        try:
            if asked.id != "0":
                await asyncio.Event().wait()
            return await echo(asked)
        finally:
            cleaned.append(asked.id)

    stream = ParallelToolExecutor().stream(work, [call(n) for n in range(4)])
    assert (await anext(stream)).id == "0"
    await stream.aclose()
    assert sorted(cleaned) == ["0", "1", "2", "3"]

    task = asyncio.create_task(ParallelToolExecutor().run(work, [call(n) for n in range(1, 4)]))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(cleaned) == 7


async def test_none_and_one():
    assert await ParallelToolExecutor().run(echo, []) == []
    (reply,) = await ParallelToolExecutor(timeout_per_tool=None).run(echo, [call(1)])
    assert reply.id == "1"


@given(st.data())
def test_whatever_needs_what_every_call_has_a_reply_and_no_call_is_early(data):
    count = data.draw(st.integers(0, 8))
    needs = [data.draw(st.lists(st.integers(0, count), max_size=3)) for _ in range(count)]
    fails = data.draw(st.sets(st.integers(0, 8)))
    made, ended = [], set()

    async def work(asked):
        assert set(asked.after) <= ended
        made.append(asked.id)
        await asyncio.sleep(0)
        if int(asked.id) in fails:
            raise RuntimeError
        ended.add(asked.id)
        return await echo(asked)

    async def run():
        executor = ParallelToolExecutor(max_concurrent=data.draw(st.integers(1, 4)), timeout_per_tool=None)
        calls = [call(n, *needs[n]) for n in range(count)]
        return [reply async for reply in executor.stream(work, calls)]

    replies = asyncio.run(run())
    assert sorted(reply.id for reply in replies) == sorted(map(str, range(count)))
    assert len(set(made)) == len(made)
    for reply in replies:
        assert (reply.fault is None) == (reply.id in ended)
