from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from runtime_scene import Gate, call_of, read, until

from corral.context import current_context, find_context
from corral.errors import AgentFailed, Cancelled, DeadlineExceeded, SessionBusy
from corral.runtime.reply import Reply, is_plain, is_response
from corral.runtime.run import agents_own
from corral.sessions.event import EventQuery

EVENTS = EventQuery(limit=10)

# -- every kind of agent ----------------------------------------------------------------------------------------------


def plain(payload):
    return {"got": payload}


async def asynchronous(payload, context):
    await asyncio.sleep(0)
    return {"got": payload, "request": context.request_id}


def streaming(payload):
    yield "a"
    yield {"got": payload}


async def async_streaming(payload):
    yield "a"
    await asyncio.sleep(0)
    yield {"got": payload}


def returns_generator(payload):
    return streaming(payload)


async def returns_async_generator(payload):
    return async_streaming(payload)


def returns_coroutine(payload):
    async def later():
        return {"got": payload}

    return later()


class Iterator:
    def __init__(self, *values):
        self.values = list(values)

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.values:
            raise StopAsyncIteration
        return self.values.pop(0)


@pytest.fixture(params=[False, True], ids=["shared loop", "isolated"])
async def any_road(request, make_road):
    return await make_road(isolate=request.param)


@pytest.mark.parametrize("fn", [plain, returns_coroutine])
async def test_values(any_road, fn):
    reply = await any_road.run(call_of(fn, 1))
    assert await read(reply) == {"got": 1}
    assert any_road.outcomes == ["ok"]


async def test_values_of_a_coroutine_with_context(any_road):
    reply = await any_road.run(call_of(asynchronous, 1, request_id="r"))
    assert await read(reply) == {"got": 1, "request": "r"}


@pytest.mark.parametrize("fn", [streaming, async_streaming, returns_generator, returns_async_generator])
async def test_streams(any_road, fn):
    reply = await any_road.run(call_of(fn, 1))
    assert any_road.outcomes == []
    assert len(any_road.invocations) == 1
    assert await read(reply) == ["a", {"got": 1}]
    assert any_road.outcomes == ["ok"]
    assert any_road.seen[0].first_at is not None
    await reply.stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(reply.stream)
    assert any_road.outcomes == ["ok"]


async def test_any_asynchronous_iterator_is_a_stream(any_road):
    async def agent(payload):
        return Iterator(1, 2)

    assert await read(await any_road.run(call_of(agent))) == [1, 2]


async def test_pieces_are_joined_when_the_operator_says_so(make_road):
    road = await make_road(runtime={"stream_chunk_size": 4})

    def agent(payload):
        yield from "abcdefg"

    assert await read(await road.run(call_of(agent))) == ["abcd", "efg"]


async def test_a_response_is_passed_on_as_it_is(any_road):
    class Response:
        status_code = 418
        raw_headers = ()

        async def __call__(self, scope, receive, send): ...

    response = Response()
    reply = await any_road.run(call_of(lambda payload: response))
    assert await read(reply) is response
    assert any_road.outcomes == ["ok"]


@pytest.mark.parametrize("fn", [asynchronous, lambda payload, context: context.request_id])
async def test_the_context_is_found_from_anywhere_inside(any_road, fn):
    found = []

    def inside():
        found.append(current_context().request_id)

    def threaded(payload, context):
        inside()
        thread = threading.Thread(target=lambda: found.append(find_context()))
        thread.start()
        thread.join()

    async def tasks(payload):
        inside()
        await asyncio.create_task(asyncio.to_thread(inside))

    def stream(payload):
        inside()
        yield 1
        inside()

    await any_road.run(call_of(threaded, request_id="thread"))
    await any_road.run(call_of(tasks, request_id="task"))
    await read(await any_road.run(call_of(stream, request_id="stream")))
    assert found == ["thread", None, "task", "task", "stream", "stream"]


def test_outside_of_a_call_there_is_no_context():
    assert find_context() is None
    with pytest.raises(LookupError, match="No invocation runs here"):
        current_context()


# -- agents that fail -------------------------------------------------------------------------------------------------


def failing(raised):
    def synchronous(payload):
        raise raised

    async def asynchronous(payload):
        raise raised

    def stream(payload):
        yield "a"
        raise raised

    async def async_stream(payload):
        yield "a"
        raise raised

    return {"sync": synchronous, "async": asynchronous, "stream": stream, "async stream": async_stream}


KINDS = ["sync", "async", "stream", "async stream"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "raised", [ValueError("broken"), SystemExit("broken"), KeyboardInterrupt("broken"), asyncio.CancelledError()]
)
async def test_nothing_an_agent_raises_takes_the_worker_down(any_road, kind, raised):
    with pytest.raises(AgentFailed) as caught:
        await read(await any_road.run(call_of(failing(raised)[kind])))
    assert caught.value.original is raised or isinstance(raised, asyncio.CancelledError)
    assert caught.value.said == ("broken" if raised.args else "The agent was cancelled from inside.")
    assert any_road.outcomes == ["error"]
    assert await read(await any_road.run(call_of(plain, 2))) == {"got": 2}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_of_our_own_is_said_as_it_is(any_road, kind):
    with pytest.raises(SessionBusy):
        await read(await any_road.run(call_of(failing(SessionBusy())[kind])))
    assert any_road.outcomes == ["rejected"]


def test_an_agents_own_words_may_be_none():
    failed = AgentFailed("", original=ValueError())
    assert (failed.said, failed.detail, failed.answer_status) == ("", "", 500)
    assert failed.message == "The agent raised an error."


class ForHttp(Exception):
    def __init__(self, status_code, **more):
        self.status_code = status_code
        self.__dict__.update(more)


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (ForHttp(404, detail="nothing"), 404, "nothing"),
        (ForHttp(422, detail=["a", {"b": 1}]), 422, ["a", {"b": 1}]),
        (ForHttp(401), 500, "x"),  # the status that a client library was answered with is not ours
        (ForHttp("404", detail="nothing"), 500, "x"),
        (ForHttp(200, detail="nothing"), 500, "x"),
        (ForHttp(999, detail="nothing"), 500, "x"),
    ],
)
def test_an_error_made_for_http_is_answered_as_it_says(error, status, detail):
    failed = AgentFailed("x", original=error)
    assert (failed.answer_status, failed.detail) == (status, detail)


# -- on_error ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_on_error_answers_in_place_of_the_agent(make_road, kind):
    async def on_error(error, payload, context):
        return {"sorry": str(error), "payload": payload, "agent": context.agent}

    road = await make_road(on_error=on_error)
    reply = await road.run(call_of(failing(ValueError("broken"))[kind], 1, session="s"))
    sorry = {"sorry": "broken", "payload": 1, "agent": "main"}
    assert await read(reply) == (["a", sorry] if "stream" in kind else sorry)
    assert reply.degraded is ("stream" not in kind)
    assert road.outcomes == ["degraded"]
    events = await road.stores.sessions.events(road.seen[0].context.session._access.key, EVENTS)
    assert "broken" in str(events.items[0].content)


@pytest.mark.parametrize("kind", KINDS)
async def test_on_error_that_fails_hides_nothing(make_road, kind):
    def on_error(error, payload, context):
        raise KeyError("also broken")

    road = await make_road(on_error=on_error)
    with pytest.raises(AgentFailed, match=r"^broken$") as caught:
        await read(await road.run(call_of(failing(ValueError("broken"))[kind])))
    assert "on_error failed too: KeyError('also broken')" in caught.value.original.__notes__
    assert road.outcomes == ["error"]


async def test_on_error_is_not_asked_about_ends_that_are_no_errors(make_road):
    asked = []
    road = await make_road(on_error=lambda *args: asked.append(args))
    with pytest.raises(AgentFailed):
        await road.run(call_of(failing(SystemExit())["sync"]))
    with pytest.raises(SessionBusy):
        await road.run(call_of(failing(SessionBusy())["async"]))

    async def converts(payload):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("converted") from None

    call = call_of(converts)
    running = asyncio.create_task(road.run(call))
    await until(lambda: call.task)
    await asyncio.sleep(0.01)
    call.cancel("request")
    with pytest.raises(Cancelled):
        await running
    assert asked == []


# -- being cancelled --------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_ends_for_its_reason_and_its_task_goes_on(any_road):
    begun, closed = threading.Event(), threading.Event()

    async def agent(payload):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()

    call = call_of(agent, session="s")

    async def serve():
        with pytest.raises(DeadlineExceeded):
            await any_road.run(call)
        assert not asyncio.current_task().cancelling()
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return "answered"

    serving = asyncio.create_task(serve())
    await until(begun.is_set)
    call.cancel("client")
    call.cancel("deadline")
    assert await serving == "answered"
    await until(closed.is_set)
    assert any_road.outcomes == ["timeout"]
    assert len(any_road.invocations) == 0


async def test_a_cancelled_synchronous_agent_can_see_it(any_road):
    begun, seen = threading.Event(), threading.Event()

    def agent(payload, context):
        begun.set()
        while not context.cancelled:
            pass
        seen.set()

    call = call_of(agent)
    running = asyncio.create_task(any_road.run(call))
    await until(begun.is_set)
    call.cancel("request")
    with pytest.raises(Cancelled):
        await running
    await until(seen.is_set)


@pytest.mark.parametrize("kind", ["async stream", "stream"])
async def test_a_cancelled_stream_ends_for_its_reason(any_road, kind):
    go_on, closed = threading.Event(), threading.Event()

    async def async_stream(payload):
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            closed.set()

    def stream(payload):
        try:
            yield "a"
            go_on.wait(20)
            yield "b"
        finally:
            closed.set()

    call = call_of(async_stream if kind == "async stream" else stream)
    got = []

    async def serve():
        reply = await any_road.run(call)
        async for text in reply.stream:
            got.append(text)  # noqa: PERF401 - what came before the error is wanted

    serving = asyncio.create_task(serve())
    await until(lambda: got)
    call.cancel("deadline")
    with pytest.raises(DeadlineExceeded):
        await serving
    go_on.set()
    await until(closed.is_set)
    assert got == ['"a"']
    assert any_road.outcomes == ["timeout"]


async def test_a_call_that_was_cancelled_before_it_began_does_not_begin(road):
    call = call_of(plain)
    call.cancel("client")
    with pytest.raises(Cancelled):
        await road.run(call)
    assert road.outcomes == ["cancelled"]


async def test_a_stranger_who_cancels_the_task_gets_what_he_wants(road):
    gate = Gate()

    async def agent(payload):
        await gate.wait()

    serving = asyncio.create_task(road.run(call_of(agent, session="s")))
    await gate.reached.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert serving.cancelled()
    assert road.outcomes == ["cancelled"]
    assert await read(await road.run(call_of(plain, 1, session="s"))) == {"got": 1}


async def test_the_end_of_a_generator_is_no_failure():
    call = call_of(plain)
    ended = GeneratorExit()
    assert agents_own(ended, call) is ended


# -- replies ----------------------------------------------------------------------------------------------------------


def test_plain_values_are_told_from_others():
    assert all(is_plain(value) for value in ({}, "", 1, 1.0, True, [], (), None))
    assert not any(is_plain(value) for value in (object(), iter([]), type("S", (str,), {})(), {1}))
    assert not is_response(print)
    assert not is_response(SimpleNamespace(raw_headers=1, status_code=2))
    assert Reply(1).value == 1
