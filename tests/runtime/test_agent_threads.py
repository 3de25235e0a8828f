from __future__ import annotations

import asyncio
import contextvars
import sys
import threading

import pytest
from runtime_scene import until

from corral.runtime import threads as module
from corral.runtime.threads import AgentThreads

VARIABLE = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
async def threads():
    found = AgentThreads(4)
    yield found
    await found.stop()


# -- calls ------------------------------------------------------------------------------------------------------------


async def test_a_synchronous_call_runs_in_a_thread_with_the_callers_context(threads):
    VARIABLE.set("mine")

    def agent(payload):
        assert threading.current_thread() is not threading.main_thread()
        VARIABLE.set(VARIABLE.get() + "!")
        return payload, VARIABLE.get()

    assert await threads.call(agent, 1) == (1, "mine!")
    assert VARIABLE.get() == "mine"


@pytest.mark.parametrize(
    ("raised", "seen"), [(ValueError("x"), ValueError), (SystemExit(3), SystemExit), (StopIteration(), RuntimeError)]
)
async def test_what_a_synchronous_call_raises_is_raised_here(threads, raised, seen):
    def agent():
        raise raised

    with pytest.raises(seen):
        await threads.call(agent)
    assert await threads.call(lambda: "still works") == "still works"


async def test_an_isolated_call_runs_on_another_loop_with_the_callers_context(threads):
    VARIABLE.set("mine")

    async def agent(payload):
        await asyncio.sleep(0)
        return payload, VARIABLE.get(), asyncio.get_running_loop()

    payload, variable, loop = await threads.call_isolated(agent, 1)
    assert (payload, variable) == (1, "mine")
    assert loop is not asyncio.get_running_loop()
    assert (await threads.call_isolated(agent, 2))[2] is loop


@pytest.mark.parametrize("leave", [lambda: sys.exit(3), lambda: (_ for _ in ()).throw(KeyboardInterrupt)])
async def test_an_isolated_agent_that_exits_does_not_end_its_loop(threads, leave):
    async def agent():
        leave()

    with pytest.raises((SystemExit, KeyboardInterrupt)):
        await threads.call_isolated(agent)

    async def other():
        return "still works"

    assert await asyncio.wait_for(threads.call_isolated(other), 5) == "still works"


async def test_cancelling_reaches_an_isolated_agent(threads):
    begun, ended = threading.Event(), threading.Event()

    async def agent():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    call = asyncio.create_task(threads.call_isolated(agent))
    await until(begun.is_set)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(ended.is_set)


async def test_an_isolated_agent_may_cancel_itself(threads):
    async def agent():
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await threads.call_isolated(agent)


# -- synchronous streams ----------------------------------------------------------------------------------------------


async def test_a_synchronous_stream_is_read_in_one_thread(threads):
    VARIABLE.set("mine")

    def agent():
        for number in range(200):
            yield number, threading.get_ident(), VARIABLE.get()

    values = [value async for value in threads.iterate(agent())]
    assert [number for number, _, _ in values] == list(range(200))
    assert {(thread, variable) for _, thread, variable in values} == {(values[0][1], "mine")}
    assert values[0][1] != threading.get_ident()


@pytest.mark.parametrize("raised", [ValueError("x"), SystemExit(3)])
async def test_what_a_synchronous_stream_raises_comes_after_its_values(threads, raised):
    def agent():
        yield 1
        raise raised

    stream = threads.iterate(agent())
    assert await anext(stream) == 1
    with pytest.raises(type(raised)):
        await anext(stream)


async def test_an_iterator_that_is_no_generator_streams_as_well(threads):
    assert [value async for value in threads.iterate(iter([1, 2]))] == [1, 2]


async def test_a_synchronous_stream_is_closed_when_its_reader_leaves(threads):
    closed = threading.Event()

    def agent():
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    stream = threads.iterate(agent())
    assert await anext(stream) == "x"
    await stream.aclose()
    await until(closed.is_set)


async def test_a_synchronous_stream_does_not_run_far_ahead(threads):
    made = []

    def agent():
        for number in range(10_000):
            made.append(number)
            yield number

    stream = threads.iterate(agent())
    assert await anext(stream) == 0
    await until(lambda: len(made) > module._AHEAD_MAX)
    assert len(made) <= module._AHEAD_MAX + 2
    assert [await anext(stream) for _ in range(1000)] == list(range(1, 1001))
    await stream.aclose()


async def test_a_stream_that_waits_in_its_thread_is_left_by_its_reader_at_once(threads):
    go_on, closed = threading.Event(), threading.Event()

    def agent():
        try:
            yield "x"
            go_on.wait(20)
            yield "y"
        finally:
            closed.set()

    stream = threads.iterate(agent())
    assert await anext(stream) == "x"
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not closed.is_set()
    go_on.set()
    await until(closed.is_set)


async def test_an_error_in_a_streams_clean_up_is_raised_or_forgotten_but_never_hangs(threads):
    class Untidy:
        def __init__(self):
            self.closed = threading.Event()

        def stream(self):
            try:
                yield 1
                yield 2
            finally:
                self.closed.set()
                raise ValueError("untidy")

    read, left = Untidy(), Untidy()
    with pytest.raises(ValueError, match="untidy"):
        _ = [value async for value in threads.iterate(read.stream())]
    stream = threads.iterate(left.stream())
    await anext(stream)
    await stream.aclose()
    await until(left.closed.is_set)


def test_a_stream_whose_loop_has_ended_ends_as_well():
    go_on, closed = threading.Event(), threading.Event()

    def agent():
        try:
            yield 1
            go_on.wait(20)
            while True:
                yield 2
        finally:
            closed.set()

    threads = AgentThreads(1)

    async def leave():
        stream = threads.iterate(agent())
        pump = stream.ag_frame.f_locals["self"]
        await anext(stream)
        return stream, pump

    loop = asyncio.new_event_loop()
    stream, pump = loop.run_until_complete(leave())
    loop.close()
    go_on.set()
    assert closed.wait(10)
    assert pump._stopped
    threads._pool.close()
    del stream


# -- isolated streams -------------------------------------------------------------------------------------------------


async def test_an_isolated_stream_stays_in_one_task(threads):
    VARIABLE.set("mine")

    async def agent():
        tasks = set()
        for number in range(200):
            tasks.add(asyncio.current_task())
            async with asyncio.timeout(5):
                yield number, VARIABLE.get()
        yield len(tasks), asyncio.get_running_loop()

    *values, (tasks, loop) = [value async for value in threads.iterate_isolated(agent())]
    assert values == [(number, "mine") for number in range(200)]
    assert tasks == 1
    assert loop is not asyncio.get_running_loop()


@pytest.mark.parametrize("raised", [ValueError("x"), SystemExit(3), asyncio.CancelledError()])
async def test_what_an_isolated_stream_raises_comes_after_its_values(threads, raised):
    async def agent():
        yield 1
        raise raised

    stream = threads.iterate_isolated(agent())
    assert await anext(stream) == 1
    with pytest.raises(type(raised)):
        await anext(stream)
    assert [value async for value in threads.iterate_isolated(agent_of(1, 2))] == [1, 2]


async def agent_of(*values):
    for value in values:
        yield value


async def test_an_isolated_stream_is_closed_when_its_reader_leaves(threads):
    closed = threading.Event()

    async def agent():
        try:
            yield "x"
            await asyncio.Event().wait()
        finally:
            closed.set()

    stream = threads.iterate_isolated(agent())
    assert await anext(stream) == "x"
    await stream.aclose()
    await until(closed.is_set)


async def test_an_isolated_stream_does_not_run_far_ahead_nor_on_when_its_reader_has_left(threads):
    made, closed = [], threading.Event()

    async def agent():
        try:
            while True:
                made.append(1)
                try:
                    yield "x"
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    continue
        finally:
            closed.set()

    stream = threads.iterate_isolated(agent())
    await anext(stream)
    await until(lambda: len(made) > module._AHEAD_MAX)
    assert len(made) <= module._AHEAD_MAX + 3
    await stream.aclose()
    await until(closed.is_set)


async def test_an_isolated_source_that_cannot_be_closed_is_left_alone(threads):
    class Source:
        def __init__(self):
            self.values = [1, 2]

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.values:
                raise StopAsyncIteration
            return self.values.pop()

    assert [value async for value in threads.iterate_isolated(Source())] == [2, 1]


async def test_an_isolated_source_that_cannot_end_does_not_hang_its_reader(threads):
    class Source:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

        async def aclose(self):
            raise ValueError("no end")

    with pytest.raises(ValueError, match="no end"):
        _ = [value async for value in threads.iterate_isolated(Source())]


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_stopping_ends_what_runs_on_the_isolated_loop_and_may_be_said_twice(threads):
    begun, ended = threading.Event(), threading.Event()

    async def agent():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    call = asyncio.create_task(threads.call_isolated(agent))
    await until(begun.is_set)
    thread = threads._isolated
    await threads.stop()
    await threads.stop()
    assert ended.is_set()
    assert not thread.is_alive()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_stream_that_outlives_the_isolated_loop_can_still_be_closed(threads):
    stream = threads.iterate_isolated(agent_of(1, 2))
    assert await anext(stream) == 1
    await threads.stop()
    await stream.aclose()


def test_an_isolated_stream_whose_home_has_ended_ends_as_well():
    threads = AgentThreads(1)
    go_on, closed = threading.Event(), threading.Event()

    async def agent():
        try:
            yield 1
            while not go_on.is_set():  # noqa: ASYNC110 - set from another thread
                await asyncio.sleep(0.001)
            yield 2
        finally:
            closed.set()

    async def leave():
        stream = threads.iterate_isolated(agent())
        await anext(stream)
        return stream

    loop = asyncio.new_event_loop()
    stream = loop.run_until_complete(leave())
    loop.close()
    go_on.set()
    assert closed.wait(10)
    asyncio.run(threads.stop())
    del stream
