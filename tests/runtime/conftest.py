from __future__ import annotations

import asyncio

import pytest

from corral.backends.open import open_stores
from corral.clock import SYSTEM_CLOCK
from corral.runtime.ending import Ended
from corral.runtime.idempotency import Idempotency
from corral.runtime.invocation import Invocations
from corral.runtime.pipeline import Door, admitted, compose, in_turn, validated
from corral.runtime.run import Runner
from corral.runtime.threads import AgentThreads
from corral.sessions.turns import Turns
from corral.settings.sections import RuntimeSettings, SessionSettings
from ready import ready_url


class Road:
    """The whole road of an invocation, as the service wires it, on a store of its own."""

    def __init__(self, url, runtime, sessions, *, on_error=None, isolate=False):
        self.stores = open_stores(url)
        self.turns = Turns(self.stores.turns, lambda: open_stores(url), sessions)
        self.invocations = Invocations()
        self.door = Door()
        self.threads = AgentThreads(4)
        self.idempotency = Idempotency(self.stores.invocations, runtime)
        self.seen = []
        self.waits = []
        runner = Runner(self.threads, isolate=isolate, stream_chunk_size=runtime.stream_chunk_size, on_error=on_error)
        self.run = compose(
            [
                validated(runtime),
                self.idempotency.stage,
                Ended(runner, [self.seen.append]).stage,
                admitted(self.invocations, self.door, runtime, SYSTEM_CLOCK),
                in_turn(self.turns, self.stores.sessions, sessions, self.waits.append),
            ],
            runner.run,
        )

    @property
    def outcomes(self):
        """How the calls ended that were seen to end."""
        return [call.outcome for call in self.seen]

    async def start(self):
        await self.stores.start()
        await self.turns.start()
        return self

    async def stop(self):
        self.invocations.cancel_all("draining")
        async with asyncio.timeout(20):
            await self.invocations.wait_idle()
            await self.idempotency.stop()
        self.invocations.close()
        await self.turns.stop()
        await self.threads.stop()
        await self.stores.stop()


@pytest.fixture
async def make_road(tmp_path):
    made = []

    async def make(*, runtime=None, sessions=None, **options):
        url = ready_url(tmp_path)
        road = Road(url, RuntimeSettings(**(runtime or {})), SessionSettings(**(sessions or {})), **options)
        made.append(road)
        return await road.start()

    yield make
    for road in made:
        await road.stop()


@pytest.fixture
async def road(make_road):
    return await make_road()
