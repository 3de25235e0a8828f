from __future__ import annotations

import asyncio
import logging

import pytest
from runtime_scene import Gate, call_of, read, until
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from corral.errors import (
    AgentFailed,
    Cancelled,
    DeadlineExceeded,
    Draining,
    IdempotencyKeyReused,
    SessionBusy,
    StoreUnavailable,
)
from corral.runtime import idempotency
from corral.runtime.followed import FollowedRun, Pieces, ReplayGone
from corral.runtime.reply import Reply
from corral.sessions.event import SessionKey

KEY = SessionKey("default", "s")


class Counting:
    """An agent that counts its runs and is held up by the test."""

    def __init__(self, *, held=True):
        self.gate = Gate()
        self.runs = 0
        if not held:
            self.gate.open.set()

    async def value(self, payload):
        self.runs += 1
        await self.gate.wait()
        return {"run": self.runs, "got": payload}

    async def stream(self, payload):
        self.runs += 1
        for number in range(3):
            yield {"run": self.runs, "number": number}
            if number == 0:
                await self.gate.wait()

    async def fail(self, payload):
        self.runs += 1
        await self.gate.wait()
        raise ValueError(f"failed {self.runs}")

    async def fail_midway(self, payload):
        self.runs += 1
        yield "a"
        await self.gate.wait()
        raise ValueError(f"failed {self.runs}")

    async def refuse(self, payload):
        self.runs += 1
        await self.gate.wait()
        raise HTTPException(409, {"run": self.runs})

    async def respond(self, payload):
        self.runs += 1
        await self.gate.wait()
        return PlainTextResponse(f"run {self.runs}", 202, {"x-mine": "1"})


@pytest.fixture
async def counting():
    return Counting()


async def ask(road, fn, payload=None, key="k", **said):
    return await read(await road.run(call_of(fn, payload, key=key, **said)))


WANTED = {"value": {"run": 1, "got": "x"}, "stream": [{"run": 1, "number": number} for number in range(3)]}


# -- one run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["value", "stream"])
async def test_those_who_ask_while_it_runs_and_afterwards_get_the_one_run(road, counting, kind):
    fn = getattr(counting, kind)
    asking = [asyncio.create_task(ask(road, fn, "x")) for _ in range(10)]
    await counting.gate.reached.wait()
    asking += [asyncio.create_task(ask(road, fn, "x")) for _ in range(10)]
    await asyncio.sleep(0.01)
    counting.gate.open.set()
    assert [*(await asyncio.gather(*asking)), await ask(road, fn, "x")] == [WANTED[kind]] * 21
    await until(lambda: not road.idempotency._runs)
    reply = await road.run(call_of(fn, "x", key="k"))
    assert reply.replayed
    assert await read(reply) == WANTED[kind]
    assert counting.runs == 1
    assert road.outcomes == ["ok"]


@pytest.mark.parametrize("kind", ["value", "stream"])
async def test_without_a_key_every_request_is_a_run(road, kind):
    counting = Counting(held=False)
    for _ in range(3):
        await ask(road, getattr(counting, kind), "x", key=None)
    assert counting.runs == 3


@pytest.mark.parametrize("kind", ["fail", "fail_midway", "refuse"])
async def test_an_agents_failure_is_an_answer_too(road, kind):
    counting = Counting(held=False)
    errors = []
    for _ in range(2):
        with pytest.raises(AgentFailed) as caught:
            await ask(road, getattr(counting, kind))
        errors.append((caught.value.message, caught.value.answer_status, caught.value.detail))
        await until(lambda: not road.idempotency._runs)
    assert errors[0] == errors[1]
    assert errors[0][1:] == ((409, {"run": 1}) if kind == "refuse" else (500, "failed 1"))
    assert counting.runs == 1


async def test_a_deadline_that_passed_was_paid_for(make_road, counting):
    road = await make_road(runtime={"timeout_s": 0.05})
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            await ask(road, counting.value)
        await until(lambda: not road.idempotency._runs)
    assert counting.runs == 1


async def test_what_was_refused_may_be_asked_again(road):
    counting = Counting(held=False)
    road.door.draining = True
    with pytest.raises(Draining):
        await ask(road, counting.value, "x", session="s")
    road.door.draining = False
    await until(lambda: not road.idempotency._runs)
    turn = await road.turns.take(KEY)
    with pytest.raises(SessionBusy):
        await ask(road, counting.value, "x", session="s", on_conflict="reject")
    await turn.leave()
    await until(lambda: not road.idempotency._runs)
    assert await ask(road, counting.value, "x", session="s") == WANTED["value"]


async def test_a_run_that_was_cancelled_may_be_asked_again(road, counting):
    call = call_of(counting.value, "x", key="k")
    asking = asyncio.create_task(road.run(call))
    await counting.gate.reached.wait()
    call.cancel("request")
    with pytest.raises(Cancelled):
        await asking
    counting.gate.open.set()
    await until(lambda: not road.idempotency._runs)
    assert (await ask(road, counting.value, "x"))["run"] == 2


@pytest.mark.parametrize("other", [{"payload": "y"}, {"session": "other"}, {"agent": "other"}])
@pytest.mark.parametrize("ended", [False, True])
async def test_another_request_with_the_same_key_is_refused(road, counting, other, ended):
    first = asyncio.create_task(ask(road, counting.value, "x", session="s"))
    await counting.gate.reached.wait()
    if ended:
        counting.gate.open.set()
        await first
        await until(lambda: not road.idempotency._runs)
    with pytest.raises(IdempotencyKeyReused):
        await ask(road, counting.value, **{"payload": "x", "session": "s", **other})
    counting.gate.open.set()
    await first


async def test_tenants_do_not_share_keys(road):
    counting = Counting(held=False)
    assert (await ask(road, counting.value, tenant="acme"))["run"] == 1
    assert (await ask(road, counting.value, tenant="other"))["run"] == 2


async def test_a_gentler_answer_is_kept_as_what_it_is(make_road):
    asked = []
    road = await make_road(on_error=lambda *args: asked.append(args) or "sorry")
    counting = Counting(held=False)
    for replayed in (False, True):
        reply = await road.run(call_of(counting.fail, key="k"))
        assert (reply.degraded, reply.replayed, await read(reply)) == (True, replayed, "sorry")
        await until(lambda: not road.idempotency._runs)
    assert len(asked) == 1


# -- responses that the agent builds itself -----------------------------------------------------------------------------


async def test_a_response_is_kept_with_status_and_headers(road):
    counting = Counting(held=False)
    for _ in range(2):
        response = await ask(road, counting.respond)
        assert (response.status_code, response.body, response.headers["x-mine"]) == (202, b"run 1", "1")
        await until(lambda: not road.idempotency._runs)


async def test_a_response_that_streams_is_for_one_client_and_is_not_kept(road):
    gate = Gate()
    runs = []

    async def agent(payload):
        runs.append(1)
        await gate.wait()
        return StreamingResponse(iter(["a"]))

    asking = [asyncio.create_task(ask(road, agent))]
    await gate.reached.wait()
    asking.append(asyncio.create_task(ask(road, agent)))
    await asyncio.sleep(0)
    gate.open.set()
    got = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(answer) for answer in got} == {StreamingResponse, ReplayGone}
    await until(lambda: not road.idempotency._runs)
    await ask(road, agent)
    assert len(runs) == 2


def test_an_answer_that_has_no_body_at_hand_cannot_be_kept():
    response = Response("text")
    response.body = "text"
    assert idempotency.kept_value(Reply(response=response)) is None


# -- clients that leave and come back -----------------------------------------------------------------------------------


async def test_a_run_goes_on_when_its_client_leaves_and_is_found_again(road, counting):
    first = asyncio.create_task(ask(road, counting.stream, "x"))
    await counting.gate.reached.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert road.idempotency._runs
    again = asyncio.create_task(ask(road, counting.stream, "x"))
    await asyncio.sleep(0.01)
    counting.gate.open.set()
    assert await again == WANTED["stream"]
    assert counting.runs == 1
    assert road.outcomes == ["ok"]


async def test_a_stream_that_is_closed_early_is_one_that_was_left(road, counting):
    reply = await road.run(call_of(counting.stream, "x", key="k"))
    await anext(reply.stream)
    await reply.stream.aclose()
    counting.gate.open.set()
    await until(lambda: road.outcomes)
    assert road.outcomes == ["ok"]
    assert await ask(road, counting.stream, "x") == WANTED["stream"]
    assert counting.runs == 1


@pytest.mark.parametrize("kind", ["value", "stream"])
async def test_a_run_that_nobody_follows_any_more_is_cancelled_after_its_grace(make_road, counting, kind):
    road = await make_road(runtime={"rejoin_grace_s": 0.05})
    asking = asyncio.create_task(ask(road, getattr(counting, kind), "x", session="s"))
    await counting.gate.reached.wait()
    asking.cancel()
    await until(lambda: road.outcomes)
    assert road.outcomes == ["cancelled"]
    await until(lambda: not road.idempotency._runs)
    counting.gate.open.set()
    await ask(road, getattr(counting, kind), "x", session="s")
    assert counting.runs == 2


async def test_a_client_that_leaves_before_it_began_may_still_come_back(make_road, counting):
    road = await make_road()
    turn = await road.turns.take(KEY)
    first = asyncio.create_task(ask(road, counting.value, "x", session="s"))
    await until(lambda: road.idempotency._runs)
    first.cancel()
    await asyncio.wait([first])
    again = asyncio.create_task(ask(road, counting.value, "x", session="s"))
    await asyncio.sleep(0.01)
    await turn.leave()
    counting.gate.open.set()
    assert await again == WANTED["value"]


# -- streams larger than what is kept -----------------------------------------------------------------------------------


async def test_a_long_stream_waits_for_its_slowest_reader_and_is_not_kept(make_road):
    road = await make_road(runtime={"idempotency_reply_max_bytes": 50})
    made = []

    async def agent(payload):
        for number in range(100):
            made.append(number)
            yield f"{number:08}"

    slow = await road.run(call_of(agent, key="k"))
    fast = await road.run(call_of(agent, key="k"))
    quick = asyncio.create_task(read(fast))
    assert await anext(slow.stream) == '"00000000"'
    await asyncio.sleep(0.01)
    assert len(made) < 20
    assert not quick.done()
    rest = await read(slow)
    assert [len(await quick), len(rest), len(made)] == [100, 99, 100]
    await until(lambda: not road.idempotency._runs)
    assert len(await ask(road, agent)) == 100
    assert len(made) == 200


async def test_who_comes_late_to_a_long_stream_is_told(make_road):
    road = await make_road(runtime={"idempotency_reply_max_bytes": 50})
    gate = Gate()

    async def agent(payload):
        for number in range(20):
            yield f"{number:08}"
        await gate.wait()

    early = await road.run(call_of(agent, key="k"))
    reading = asyncio.create_task(read(early))
    await gate.reached.wait()
    with pytest.raises(ReplayGone):
        await ask(road, agent)
    gate.open.set()
    assert len(await reading) == 20


async def test_a_long_stream_that_everybody_left_is_cancelled_and_gives_its_turn_back(make_road):
    road = await make_road(runtime={"idempotency_reply_max_bytes": 50, "rejoin_grace_s": 0.05})
    closed = []

    async def agent(payload):
        try:
            while True:
                yield "12345678"
        finally:
            closed.append(1)

    reply = await road.run(call_of(agent, key="k", session="s"))
    await anext(reply.stream)
    await asyncio.sleep(0.01)
    await reply.stream.aclose()
    await until(lambda: road.outcomes)
    assert (road.outcomes, closed) == (["cancelled"], [1])
    turn = await road.turns.take(KEY, policy="reject")
    await turn.leave()


def test_pieces_are_let_go_from_the_front():
    pieces = Pieces(5)
    for piece in ("aa", "bb", "cc"):
        pieces.add(piece)
    assert pieces.is_full()
    assert pieces.all() == ["aa", "bb", "cc"]
    pieces.forget_before(0)
    assert pieces.complete
    pieces.forget_before(2)
    assert (len(pieces), pieces[2], pieces.complete, pieces.is_full()) == (3, "cc", False, False)


async def test_a_run_that_ends_without_an_answer_was_cancelled():
    run = FollowedRun(call_of(lambda payload: 1), "f", "t", grace_s=0, held_bytes_max=1)
    run.finished(Cancelled())
    with pytest.raises(Cancelled):
        await run.reply()


# -- several workers on one store ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["value", "stream"])
async def test_another_worker_waits_for_the_answer(make_road, counting, kind):
    here, there = await make_road(), await make_road()
    first = asyncio.create_task(ask(here, getattr(counting, kind), "x"))
    await counting.gate.reached.wait()
    second = asyncio.create_task(ask(there, getattr(counting, kind), "x"))
    await asyncio.sleep(0.1)
    assert not second.done()
    counting.gate.open.set()
    assert await first == await second == WANTED[kind]
    assert counting.runs == 1


async def test_another_worker_takes_over_when_the_first_gave_up(make_road, counting):
    here, there = await make_road(), await make_road()
    call = call_of(counting.value, "x", key="k")
    first = asyncio.create_task(here.run(call))
    await counting.gate.reached.wait()
    second = asyncio.create_task(ask(there, counting.value, "x"))
    call.cancel("request")
    counting.gate.open.set()
    assert (await second)["run"] == 2
    with pytest.raises(Cancelled):
        await first


@pytest.mark.parametrize("who", ["operator", "caller"])
async def test_waiting_for_another_worker_has_an_end(make_road, counting, who):
    here = await make_road()
    there = await make_road(runtime={"timeout_s": 0.05 if who == "operator" else 300})
    first = asyncio.create_task(ask(here, counting.value, "x"))
    await counting.gate.reached.wait()
    now = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded):
        await ask(there, counting.value, "x", deadline=now + 0.05 if who == "caller" else None)
    counting.gate.open.set()
    await first


async def test_a_run_keeps_its_claim_as_long_as_it_goes_on(make_road, counting, monkeypatch):
    monkeypatch.setattr(idempotency, "_LEASE_S", 0.15)
    here, there = await make_road(), await make_road()
    first = asyncio.create_task(ask(here, counting.value, "x"))
    await counting.gate.reached.wait()
    second = asyncio.create_task(ask(there, counting.value, "x"))
    await asyncio.sleep(0.5)
    assert counting.runs == 1
    counting.gate.open.set()
    assert await first == await second


# -- a store that is away -----------------------------------------------------------------------------------------------


class Away:
    """A store of which some calls fail."""

    def __init__(self, store, *broken):
        self._store = store
        self._broken = broken
        self.asked = []

    def __getattr__(self, name):
        async def call(*args, **kwargs):
            self.asked.append(name)
            if name in self._broken:
                raise StoreUnavailable("The store is away.")
            return await getattr(self._store, name)(*args, **kwargs)

        return call


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(road, caplog):
    road.idempotency._store = Away(road.stores.invocations, "finish")
    counting = Counting(held=False)
    with caplog.at_level(logging.WARNING, "corral.runtime"):
        assert await ask(road, counting.value, "x") == WANTED["value"]
        await until(lambda: not road.idempotency._runs)
    assert "could not be kept: The store is away." in caplog.text


async def test_without_a_store_a_request_with_a_key_is_refused(road):
    road.idempotency._store = Away(road.stores.invocations, "begin")
    counting = Counting(held=False)
    with pytest.raises(StoreUnavailable):
        await ask(road, counting.value, "x")
    assert counting.runs == 0


async def test_a_claim_that_cannot_be_renewed_is_tried_again(road, counting, monkeypatch):
    monkeypatch.setattr(idempotency, "_LEASE_S", 0.03)
    store = road.idempotency._store = Away(road.stores.invocations, "renew")
    first = asyncio.create_task(ask(road, counting.value, "x"))
    await until(lambda: store.asked.count("renew") >= 2)
    counting.gate.open.set()
    assert await first == WANTED["value"]


# -- the end ------------------------------------------------------------------------------------------------------------


async def test_stopping_waits_for_the_last_answers_to_be_kept(road, counting):
    await road.idempotency.stop()
    first = asyncio.create_task(ask(road, counting.value, "x"))
    await counting.gate.reached.wait()
    stopping = asyncio.create_task(road.idempotency.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()
    counting.gate.open.set()
    await stopping
    assert not road.idempotency._runs
    assert await first == WANTED["value"]


async def test_a_run_whose_task_is_cancelled_by_a_stranger_tells_its_followers(road, counting):
    first = asyncio.create_task(ask(road, counting.value, "x"))
    await counting.gate.reached.wait()
    for task in road.idempotency._tasks:
        task.cancel()
    with pytest.raises(Cancelled):
        await first
