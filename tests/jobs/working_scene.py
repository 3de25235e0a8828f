"""What the tests of workers share: jobs to enqueue, a hand on the store, and what a worker told its observer."""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict

import msgspec

from corral.clock import SYSTEM_CLOCK, new_time_id
from corral.errors import StoreUnavailable
from corral.jobs.job import Backoff, JobDraft
from corral.jobs.running import Outcome

TENANT = "acme"
AT_ONCE = Backoff(initial_s=0, jitter=0)


def draft(value=None, **fields):
    fields.setdefault("backoff", AT_ONCE)
    return JobDraft(
        id=new_time_id(SYSTEM_CLOCK.now()), tenant=TENANT, agent="main", input=msgspec.json.encode(value), **fields
    )


async def until(condition, seconds=10.0):
    """Wait until a condition holds that another thread, process or the store brings about."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.002)


class Interposed:
    """The real store, with a word before and after each call: to hold it up, to make it fail, to see what is called."""

    def __init__(self, store):
        self._store = store
        self.calls = defaultdict(list)
        self.before = {}
        self.after = {}
        self.down = False

    def __getattr__(self, name):
        call = getattr(self._store, name)
        if not inspect.iscoroutinefunction(call):
            return call

        async def interposed(*args, **kwargs):
            if self.down:
                raise StoreUnavailable("down")
            self.calls[name].append(args)
            if name in self.before:
                await self.before[name]()
            result = await call(*args, **kwargs)
            if name in self.after:
                await self.after[name]()
            return result

        return interposed


class HeartbeatOf:
    """What a heartbeat opens, on a store that is open already."""

    def __init__(self, stores):
        self._stores = stores
        self.jobs = Interposed(stores.jobs)

    async def start(self):
        await self._stores.start()

    async def stop(self):
        await self._stores.stop()


class Seen:
    """An observer that remembers."""

    def __init__(self):
        self.claims = []
        self.ends = []
        self._arrived = asyncio.Event()

    def claimed(self, job, waited_s):
        assert waited_s is None or waited_s >= 0
        self.claims.append(job)

    def ended(self, job, ending, run_s):
        assert run_s >= 0
        self.ends.append((job, ending))
        self._arrived.set()

    @property
    def endings(self):
        return [ending for _, ending in self.ends]

    async def count(self, number):
        """Wait until so many runs have ended."""
        async with asyncio.timeout(20):
            while len(self.ends) < number:
                self._arrived.clear()
                await self._arrived.wait()
        return self.endings


class Agent:
    """A handler whose answer can be held up."""

    def __init__(self, answer=None):
        self.answer = answer
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.stopped = asyncio.Event()
        self.jobs = []

    async def __call__(self, job):
        self.jobs.append(job)
        self.began.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        return Outcome(msgspec.json.encode(self.answer))


async def echo(job):
    return Outcome(job.claimed.input)
