from __future__ import annotations

import asyncio
import contextlib
import contextvars

import pytest

from corral.runtime import chunks
from corral.runtime.chunks import joined


async def of(*values):
    for value in values:
        await asyncio.sleep(0)
        yield value


async def read(source):
    return [value async for value in source]


@pytest.fixture
def patient(monkeypatch):
    """Nothing is sent early because a machine is slow."""
    monkeypatch.setattr(chunks, "_HELD_S_MAX", 60.0)


@pytest.mark.parametrize("size", [0, 1])
async def test_nothing_is_joined_unless_asked_for(size):
    source = of("a")
    assert joined(source, size) is source
    await source.aclose()


@pytest.mark.usefixtures("patient")
async def test_texts_are_joined_until_they_are_long_enough():
    assert await read(joined(of(*"abcdefgh"), 3)) == ["abc", "def", "gh"]
    assert await read(joined(of("abcd", "", "e", "f"), 2)) == ["abcd", "ef"]
    assert await read(joined(of(), 3)) == []


@pytest.mark.usefixtures("patient")
async def test_other_values_go_as_they_are_and_in_order():
    assert await read(joined(of({"n": 1}, "a", "b", 2, None, "c", ["x"]), 5)) == [{"n": 1}, "ab", 2, None, "c", ["x"]]


@pytest.mark.usefixtures("patient")
async def test_the_texts_before_an_error_are_sent_before_it():
    async def failing():
        yield "a"
        yield "b"
        raise ValueError("broken")

    source = joined(failing(), 10)
    assert await anext(source) == "ab"
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            await anext(source)
    await source.aclose()


async def test_after_the_end_there_is_only_the_end():
    source = joined(of("a"), 10)
    assert await read(source) == ["a"]
    with pytest.raises(StopAsyncIteration):
        await anext(source)
    await source.aclose()
    await source.aclose()


async def test_text_is_not_held_back_while_the_agent_thinks():
    go_on = asyncio.Event()

    async def thoughtful():
        yield "a"
        await go_on.wait()
        yield "b"

    source = joined(thoughtful(), 10)
    assert await anext(source) == "a"
    go_on.set()
    assert await anext(source) == "b"
    await source.aclose()


async def test_the_agent_stays_in_one_task_and_one_context():
    variable = contextvars.ContextVar("variable", default=0)

    async def agent():
        tasks = set()
        for number in range(5):
            tasks.add(asyncio.current_task())
            variable.set(variable.get() + 1)
            async with asyncio.timeout(5):
                yield {"number": number}
        yield {"tasks": len(tasks), "count": variable.get()}

    assert (await read(joined(agent(), 4)))[-1] == {"tasks": 1, "count": 5}


async def test_the_agent_does_not_run_far_ahead():
    made = 0

    async def eager():
        nonlocal made
        while True:
            made += 1
            yield {"made": made}

    source = joined(eager(), 4)
    for _ in range(10):
        await anext(source)
        await asyncio.sleep(0)
    assert made < 10 + 2 * chunks._AHEAD_MAX
    await source.aclose()


class Closable:
    """An iterator that is no generator."""

    def __init__(self, fails=None):
        self.closed = 0
        self.fails = fails

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.Event().wait()

    async def aclose(self):
        self.closed += 1
        if self.fails is not None:
            raise self.fails


async def test_leaving_closes_the_source_whether_it_was_read_or_not():
    unread, waiting, plain = Closable(), Closable(), joined(aiter(Plain()), 5)
    await joined(unread, 5).aclose()
    assert unread.closed == 1
    source = joined(waiting, 5)
    reading = asyncio.create_task(anext(source))
    await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.wait([reading])
    await source.aclose()
    assert waiting.closed == 1
    assert await read(plain) == ["x"]
    await plain.aclose()


class Plain:
    """An iterator that cannot be closed."""

    def __init__(self):
        self.values = ["x"]

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.values:
            raise StopAsyncIteration
        return self.values.pop()


async def test_an_agent_that_will_not_end_or_fails_at_its_end_does_not_hang_the_reader():
    async def stubborn():
        while True:
            yield "a"
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    source = joined(stubborn(), 5)
    assert await anext(source) == "a"
    await source.aclose()

    failing = joined(Closable(ValueError("no end")), 5)
    with pytest.raises(ValueError, match="no end"):
        await failing.aclose()


async def test_an_agent_that_cancels_itself_is_an_error_and_not_the_end_of_the_reader():
    async def quitter():
        yield "a"
        raise asyncio.CancelledError

    source = joined(quitter(), 1000)
    assert await anext(source) == "a"
    with pytest.raises(asyncio.CancelledError):
        await anext(source)
    await source.aclose()
