"""AgentCore's container contract over a real socket: streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

import pytest

from corral.app import App
from serving import Frames


@pytest.fixture
def app():
    return App()


def data(value):
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


VALUES = ["text", 'quo"te\nline', "日本", {"a": [1, None]}, 1.5, None, True, [], ""]


@pytest.mark.parametrize("kind", ["async", "sync", "returned async", "returned sync"])
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
async def test_frames_to_the_byte(app, serve, kind, accept):
    async def asynchronous(payload):
        for value in VALUES:
            yield value

    def synchronous(payload):
        yield from VALUES

    async def returns_asynchronous(payload):
        return asynchronous(payload)

    def returns_synchronous(payload):
        return synchronous(payload)

    agents = {
        "async": asynchronous,
        "sync": synchronous,
        "returned async": returns_asynchronous,
        "returned sync": returns_synchronous,
    }
    app.entrypoint(agents[kind])
    server = await serve(app)
    answer = await server.invoke(1, accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.content == b"".join(data(value) for value in VALUES)


async def test_an_empty_stream_is_an_empty_200(app, serve):
    @app.entrypoint
    async def agent(payload):
        return
        yield

    server = await serve(app)
    answer = await server.invoke(1)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize("before", [[], ["a"]])
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_error_is_a_last_event(app, serve, kind, before):
    if kind == "async":

        @app.entrypoint
        async def agent(payload):
            for value in before:
                yield value
            raise KeyError("x")
    else:

        @app.entrypoint
        def agent(payload):
            yield from before
            raise KeyError("x")

    server = await serve(app)
    answer = await server.invoke(1)
    last = {"error": "'x'", "error_type": "KeyError", "message": "An error occurred during streaming"}
    assert (answer.status_code, answer.content) == (200, b"".join(map(data, [*before, last])))


async def test_an_error_without_words_is_a_last_event_without_words(app, serve):
    @app.entrypoint
    async def agent(payload):
        raise ValueError
        yield

    server = await serve(app)
    last = {"error": "", "error_type": "ValueError", "message": "An error occurred during streaming"}
    assert (await server.invoke(1)).content == data(last)


async def test_pieces_come_as_they_are_yielded(app, serve):
    go_on = asyncio.Event()

    @app.entrypoint
    async def agent(payload):
        yield "first"
        await go_on.wait()
        yield "second"

    server = await serve(app)
    async with server.stream() as response:
        frames = Frames(response)
        assert await frames.data() == "first"
        go_on.set()
        assert await frames.data() == "second"
        assert await frames.next() == {}


async def test_pieces_come_though_the_agent_computes_between_them(app, serve, may_block):
    got = threading.Event()

    @app.entrypoint
    async def agent(payload):
        yield "first"
        got.wait(0.05)  # blocks the loop, as careless agents do
        yield "second"

    server = await serve(app)
    async with server.stream() as response:
        frames = Frames(response)
        assert [await frames.data(), await frames.data()] == ["first", "second"]


@pytest.mark.parametrize("kind", ["async", "sync", "isolated"])
async def test_a_generator_is_closed_when_its_client_leaves(app, serve, kind):
    closed, go_on = threading.Event(), threading.Event()
    forgotten = asyncio.Event()

    async def asynchronous(payload):
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    def synchronous(payload):
        try:
            yield "first"
            while not closed.is_set():
                yield "more"
                go_on.wait(0.005)
        finally:
            closed.set()

    app.entrypoint(synchronous if kind == "sync" else asynchronous)
    server = await serve(app, runtime={"isolate": kind == "isolated"})
    async with server.client_of() as client, client.stream("POST", "/invocations", json=1) as response:
        assert await Frames(response).data() == "first"
        assert server.service.in_flight == 1
    await asyncio.to_thread(closed.wait, 10)
    assert closed.is_set()
    async with asyncio.timeout(10):
        while server.service.in_flight:  # noqa: ASYNC110 - the server sets no event of ours
            await asyncio.sleep(0.002)
    assert not forgotten.is_set()


async def test_an_agent_that_only_computes_is_stopped_when_its_client_leaves(app, serve):
    begun, ended = asyncio.Event(), asyncio.Event()

    @app.entrypoint
    async def agent(payload):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    server = await serve(app)
    asking = asyncio.create_task(server.invoke(1))
    await begun.wait()
    asking.cancel()
    await asyncio.wait_for(ended.wait(), 10)
    with contextlib.suppress(asyncio.CancelledError):
        await asking


async def test_a_stream_that_takes_too_long_ends_with_an_event(app, serve):
    @app.entrypoint
    async def agent(payload):
        yield "first"
        await asyncio.Event().wait()

    server = await serve(app, runtime={"timeout_s": 0.1})
    answer = await server.invoke(1)
    first, last = [json.loads(frame[6:]) for frame in answer.text.split("\n\n")[:-1]]
    assert first == "first"
    assert (last["error_type"], last["message"]) == ("DeadlineExceeded", "An error occurred during streaming")


async def test_a_stream_that_takes_too_long_to_be_read_ends_as_well(app, serve):
    """The deadline finds the worker waiting for a slow client, not for the agent."""
    closed = asyncio.Event()

    @app.entrypoint
    async def agent(payload):
        try:
            while True:
                yield "x" * 100_000
        finally:
            closed.set()

    server = await serve(app, runtime={"timeout_s": 0.3})
    async with server.stream() as response:
        await asyncio.wait_for(closed.wait(), 10)
        text = b"".join([piece async for piece in response.aiter_raw()]).decode()
    assert json.loads(text.rstrip("\n").rpartition("data: ")[2])["error_type"] == "DeadlineExceeded"


async def test_streams_run_side_by_side(app, serve):
    count = 0
    all_here = asyncio.Event()

    @app.entrypoint
    async def agent(payload):
        nonlocal count
        count += 1
        if count == 20:
            all_here.set()
        yield payload
        await all_here.wait()
        yield payload

    server = await serve(app)

    async def ask(number):
        return (await server.invoke(number)).content

    assert await asyncio.gather(*map(ask, range(20))) == [data(number) * 2 for number in range(20)]


async def test_large_pieces_arrive_whole(app, serve):
    large = "é" * 300_000

    @app.entrypoint
    async def agent(payload):
        yield large
        yield large

    server = await serve(app)
    assert (await server.invoke(1)).content == data(large) * 2


async def test_text_is_joined_when_the_operator_says_so(app, serve):
    @app.entrypoint
    def agent(payload):
        yield from "abcdefg"
        yield {"end": True}

    server = await serve(app, runtime={"stream_chunk_size": 3})
    assert (await server.invoke(1)).content == b"".join(map(data, ["abc", "def", "g", {"end": True}]))
