"""Under load: who waits for a place, and what happens to the session's turn meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from runtime_scene import Gate, call_of, read, until

from corral.errors import AgentFailed, Overloaded
from corral.limits.line_counting import LineCounting
from corral.limits.overload import Overload
from corral.limits.priorities import Priorities
from corral.messages import Caller
from corral.models.llm import caller_of
from corral.observability.metrics import Metrics
from corral.runtime.ending import Ended
from corral.runtime.pipeline import compose, in_turn, in_turns
from corral.runtime.run import Runner
from corral.settings.priority_sections import PrioritySettings
from corral.settings.sections import SessionSettings


class Worker:
    """A road with a line, for one call at a time."""

    def __init__(self, road, **said):
        settings = PrioritySettings(adaptive=False, **said)
        self.overload = Overload(settings, Priorities(settings), concurrency_max=1, counting=LineCounting(Metrics()))
        self.gate = Gate()
        self.ran = []
        runner = Runner(road.threads, isolate=False, stream_chunk_size=0)
        turn = in_turn(road.turns, road.stores.sessions, SessionSettings())
        self.run = compose([Ended(runner, []).stage, *in_turns(turn, self.overload)], runner.run)

    async def agent(self, payload):
        self.ran.append(payload)
        await self.gate.wait()
        return payload

    def start(self, payload, tier="", **said):
        call = call_of(self.agent, payload, **said)
        call.context.tier = tier
        return asyncio.create_task(self.run(call))


@pytest.fixture
def make_worker(road):
    return lambda **said: Worker(road, **said)


def test_without_it_there_is_nothing_but_the_turn():
    assert in_turns(len, None) == [len]


async def test_the_more_urgent_runs_first(make_worker):
    worker = make_worker()
    calls = [worker.start("first")]
    await worker.gate.reached.wait()
    calls += [worker.start("usual"), worker.start("premium", tier="premium")]
    await until(lambda: worker.overload.waiting == 2)
    worker.gate.open.set()
    await asyncio.gather(*calls)
    assert worker.ran == ["first", "premium", "usual"]
    assert worker.overload.in_flight == 0


async def test_who_waits_for_a_turn_takes_nobody_s_place(make_worker):
    worker = make_worker()
    first = worker.start("first", session="s")
    await worker.gate.reached.wait()
    second = worker.start("second", session="s")
    worker.gate.open.set()
    await asyncio.gather(first, second)
    assert worker.ran == ["first", "second"]


async def test_who_is_shed_gives_its_turn_back(make_worker, road):
    worker = make_worker(waiting_max=1)
    first = worker.start("first")
    await worker.gate.reached.wait()
    shed = worker.start("shed", session="s")
    await until(lambda: worker.overload.waiting == 1)
    urgent = worker.start("urgent", tier="premium")
    with pytest.raises(Overloaded) as caught:
        await shed
    assert caught.value.retry_after_s >= 1
    worker.gate.open.set()
    await asyncio.gather(first, urgent, worker.start("again", session="s"))
    assert worker.ran == ["first", "urgent", "again"]


async def test_what_has_no_hope_is_told_before_anything_is_done_for_it(make_worker):
    worker = make_worker()
    slow = worker.start("slow")
    await worker.gate.reached.wait()
    worker.overload._hold_s = 60.0  # so long calls take here
    with pytest.raises(Overloaded, match="too late"):
        await worker.start("hopeless", session="s")
    worker.gate.open.set()
    await slow
    assert worker.ran == ["slow"]


async def test_a_stream_holds_its_place_to_its_end(make_worker):
    worker = make_worker()

    async def stream(payload):
        yield 1
        yield 2

    reply = await worker.run(call_of(stream))
    assert worker.overload.in_flight == 1
    assert await read(reply) == [1, 2]
    assert worker.overload.in_flight == 0


async def test_a_failure_leaves_its_place(make_worker):
    worker = make_worker()

    async def fails(payload):
        raise ValueError("no")

    with pytest.raises(AgentFailed):
        await worker.run(call_of(fails))
    assert worker.overload.in_flight == 0


async def test_models_are_asked_as_urgently_as_the_agent_was(make_worker):
    worker = make_worker()
    seen = []

    async def agent(payload, context):
        seen.append((caller_of(context, Caller()).priority, caller_of(context, Caller(priority=2)).priority))

    for tier, asked in (("premium", None), ("", None), ("premium", 1)):
        call = call_of(agent)
        call.context.tier, call.context.priority = tier, asked
        await worker.run(call)
    assert seen == [(9, 2), (3, 2), (1, 2)]
