"""Of several processes with the same question one asks, and the others wait for its answer to be kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from corral.cache.entries import Refusal, read_value
from corral.cache.flight import Came
from corral.cache.shelf import Shelf
from corral.cache.store import Kept
from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import ModelRequestInvalid
from corral.messages import CallModel, ModelCall, ModelEvent, ModelReply, closing

LEASE_S = 15.0
"""After so long somebody else asks, if who asked has died."""
WAIT_MAX_S = 30.0
"""How long to wait for another process; then one asks oneself."""
_LOOK_S = 0.005
_LOOK_MAX_S = 0.1
_CLAIM_S = 0.3


class Sharing:
    """A lease in the store says who asks. Losing the lease, or the store, costs a second question and nothing else."""

    def __init__(
        self, shelf: Shelf, *, lease_s: float = LEASE_S, wait_max_s: float = WAIT_MAX_S, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """Worth its two writes a question where more than one process asks."""
        self._shelf = shelf
        self._lease_s = lease_s
        self._wait_max_s = wait_max_s
        self._monotonic = clock.monotonic
        self._holder = new_id()
        self._held: set[tuple[str, bytes]] = set()

    def around(self, key: bytes, proceed: CallModel, came: Came) -> CallModel:
        """The same question, asked here only if nobody else does. `came` keeps what is answered, or notes that it did."""

        async def shared(call: ModelCall) -> AsyncIterator[ModelEvent]:
            reply = await self._elsewhere(call, key)
            if reply is not None:
                yield reply
                return
            keeping = asyncio.create_task(self._keep_on(call.caller.tenant, key))
            try:
                async with closing(proceed(call)) as events:
                    async for event in events:
                        yield event
            except ModelRequestInvalid as error:
                came(error)
                raise
            finally:
                keeping.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await keeping
                await self._end(call, key)

        return shared

    async def _end(self, call: ModelCall, key: bytes) -> None:
        """What is going to be in the store ends the lease; if that is not kept, somebody else may ask."""
        place = (call.caller.tenant, key)
        if place in self._held:
            self._held.discard(place)
            if not call.notes.get("cache.kept"):
                await self._shelf.release(*place, self._holder)

    async def _elsewhere(self, call: ModelCall, key: bytes) -> ModelReply | None:
        """What another process was answered; none: ask here."""
        tenant, shelf, now = call.caller.tenant, self._shelf, self._monotonic
        until = now() + self._wait_max_s
        if call.deadline is not None:
            until = min(until, call.deadline)
        pause_s, claim_at = _LOOK_S, now()
        while True:
            kept: Kept | None
            if now() >= claim_at:
                claimed = await shelf.claim(tenant, key, self._holder, lease_s=self._lease_s)
                if claimed is None:
                    return None
                if claimed.ours:
                    self._held.add((tenant, key))
                    return None
                kept = claimed.kept
                claim_at = now() + _CLAIM_S
            else:
                kept = await shelf.find(tenant, key)
            if kept is not None and kept.fresh_s > 0:
                return self._read(call, key, kept)
            if now() >= until:
                return None
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LOOK_MAX_S)

    def _read(self, call: ModelCall, key: bytes, kept: Kept) -> ModelReply | None:
        shelf, tenant = self._shelf, call.caller.tenant
        generation = shelf.generation(tenant)
        if generation is not None:
            shelf.learn(tenant, key, kept, generation)
        found = read_value(kept.value)
        if found is None:
            return None
        shelf.counting.looked("shared", "hit")
        call.notes["cache.shared"] = True
        if isinstance(found, Refusal):
            call.notes["cache.kept"] = True
            raise found.error()
        cost = found.cost_usd
        if cost:
            call.notes["cache.saved_usd"] = cost
            shelf.counting.saved("shared", cost)
        shelf.count(tenant, "answer", hits=1, saved_usd=cost or 0.0, used=key)
        return msgspec.structs.replace(found, cached="shared", cost_usd=0.0)

    async def _keep_on(self, tenant: str, key: bytes) -> None:
        """Hold the lease for as long as the model takes."""
        while (tenant, key) in self._held:
            await asyncio.sleep(self._lease_s / 3)
            await self._shelf.claim(tenant, key, self._holder, lease_s=self._lease_s)
