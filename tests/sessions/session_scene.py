"""What the tests of this room share: the session they act in, and a hand on what passes between it and the store."""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict

from corral.errors import SessionBusy
from corral.sessions.event import SessionKey

KEY = SessionKey("acme", "s1")


class Interposed:
    """The real store, with a word before and after each call: to see what is called, to hold it up, to make it fail."""

    def __init__(self, store):
        self._store = store
        self.calls = defaultdict(int)
        self.before = {}
        self.after = {}

    def __getattr__(self, name):
        call = getattr(self._store, name)
        if not inspect.iscoroutinefunction(call):
            return call

        async def interposed(*args, **kwargs):
            self.calls[name] += 1
            if name in self.before:
                await self.before[name]()
            result = await call(*args, **kwargs)
            if name in self.after:
                await self.after[name]()
            return result

        return interposed


async def until(condition, seconds=10.0):
    """Wait until a condition holds that another process or thread brings about."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - another process or thread sets no event of ours
            await asyncio.sleep(0.002)
        return found


async def is_free(turns_store, key=KEY):
    """Whether nobody holds or waits for the turn, seen through the port."""
    try:
        await turns_store.join(key, "probe", policy="reject", lease_s=5, waiting_max=10)
    except SessionBusy:
        return False
    await turns_store.leave(key, "probe")
    return True
