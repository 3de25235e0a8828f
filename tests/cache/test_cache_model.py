"""The cache beside a dictionary, with a clock that is turned: whatever is done in whatever order, they say the same."""

from __future__ import annotations

import asyncio
import shutil
import tempfile

import pytest
from cache_scene import Layers, TurnedClock, answer, question
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from corral.backends.sqlite.stores import SqliteStores
from corral.cache.shelf import SURE_S
from corral.errors import NotCached
from ready import ready_url

TTL_S, STALE_S = 60.0, 30.0
tenants = st.sampled_from(["acme", "evil"])
texts = st.sampled_from(["a", "b", "c"])
tags = st.sampled_from([(), ("red",), ("red", "blue")])
workers = st.sampled_from([0, 1])


class Counter:
    """A model whose every answer is another one."""

    def __init__(self):
        self.said = 0

    async def __call__(self, call):
        self.said += 1
        yield answer(f"{self.said}")


class CacheMachine(RuleBasedStateMachine):
    """Two workers on one store."""

    @initialize()
    def begin(self):
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.mkdtemp()
        self.clock = TurnedClock()
        self.model = Counter()
        self.kept = {}
        self.loop.run_until_complete(self._open())

    async def _open(self):
        self.stores = SqliteStores(ready_url(self.folder), clock=self.clock)
        await self.stores.start()
        fields = {"clock": self.clock, "ttl_s": TTL_S, "stale_s": STALE_S, "local_max": 2}
        self.workers = [Layers(self.model, self.stores.cache, **fields) for _ in range(2)]
        for worker in self.workers:
            await worker.cached.start()

    def run(self, work):
        return self.loop.run_until_complete(work)

    async def _ask(self, worker, call):
        """Ask, and let what that began in the background come to its end."""
        layers = self.workers[worker]
        try:
            return await layers.ask(call)
        finally:
            while layers.cached._refreshing:
                await asyncio.wait(list(layers.cached._refreshing.values()))
            await layers.shelf.flush()

    @rule(worker=workers, tenant=tenants, text=texts, tagged=tags)
    def ask(self, worker, tenant, text, tagged):
        before = self.model.said
        reply = self.run(self._ask(worker, question(text, tenant=tenant, cache_tags=tagged)))
        at, said, _ = self.kept.get((tenant, text), (None, None, None))
        age = None if at is None else self.clock.at - at
        if age is None or age >= TTL_S + STALE_S:
            assert (reply.cached, reply.text) == ("", f"{before + 1}")
        elif age < TTL_S:
            assert (reply.cached, reply.text, self.model.said) == ("exact", said, before)
            return
        else:
            assert (reply.cached, reply.text) == ("stale", said)
            assert self.model.said == before + 1
        self.kept[tenant, text] = (self.clock.at, f"{self.model.said}", tagged)
        self.clock.at += SURE_S  # the other worker may still have the one before, for so long

    @rule(worker=workers, tenant=tenants, text=texts)
    def only(self, worker, tenant, text):
        at, said, _ = self.kept.get((tenant, text), (None, None, None))
        work = self._ask(worker, question(text, tenant=tenant, cache="only"))
        if at is None or self.clock.at - at >= TTL_S + STALE_S:
            with pytest.raises(NotCached):
                self.run(work)
        else:
            assert self.run(work).text == said

    @rule(worker=workers, tenant=tenants, text=texts)
    def refresh(self, worker, tenant, text):
        reply = self.run(self._ask(worker, question(text, tenant=tenant, cache="refresh")))
        assert (reply.cached, reply.text) == ("", f"{self.model.said}")
        self.kept[tenant, text] = (self.clock.at, reply.text, ())
        self.clock.at += SURE_S  # as above

    @rule(worker=workers, tenant=tenants, text=texts)
    def bypass(self, worker, tenant, text):
        assert self.run(self._ask(worker, question(text, tenant=tenant, cache="bypass"))).text == f"{self.model.said}"

    @rule(seconds=st.sampled_from([0.5, 1.0, 29.0, 31.0, 60.0]))
    def time_passes(self, seconds):
        self.clock.at += seconds

    @precondition(lambda self: self.kept)
    @rule(worker=workers, tenant=tenants, tag=st.sampled_from(["red", "blue", None]))
    def clear(self, worker, tenant, tag):
        gone = {
            place
            for place, (_, _, tagged) in self.kept.items()
            if place[0] == tenant and (tag is None or tag in tagged)
        }
        self.run(self.workers[worker].shelf.drop(tenant, tags=() if tag is None else (tag,)))
        for place in gone:
            del self.kept[place]
        self.clock.at += SURE_S  # for the other worker

    def teardown(self):
        async def close():
            for worker in self.workers:
                await worker.cached.stop()
            await self.stores.stop()

        self.run(close())
        self.loop.close()
        shutil.rmtree(self.folder)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
