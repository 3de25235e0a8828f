"""The layer that asks once for all who ask the same at the same time, in this process and in others beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

import msgspec

from corral.cache.entries import Refusal, read_value
from corral.cache.exact import Cached, checked_key
from corral.cache.flight import Flight
from corral.cache.keys import KeyGenerator
from corral.cache.replay import replayed
from corral.cache.sharing import Sharing
from corral.cache.shelf import Shelf
from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import DeadlineExceeded, ModelRequestInvalid, ModelTimeout, PaceExceeded
from corral.messages import CallModel, Delta, ModelCall, ModelEvent, ModelReply

_TOO_LATE = (ModelTimeout, PaceExceeded, DeadlineExceeded)


class Coalesced:
    """A `ModelLayer`, below `Cached`. The question belongs to nobody: who asked first may leave, and the others go on."""

    def __init__(
        self,
        shelf: Shelf,
        *,
        cached: Cached | None = None,
        sharing: Sharing | None = None,
        generate: KeyGenerator | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`cached`: keeps what comes, whoever is still there to hear it. `sharing`: with other processes; needs `cached`."""
        self._shelf = shelf
        self._settings = shelf.settings
        self._counting = shelf.counting
        self._cached = cached
        self._sharing = sharing
        self._generate = generate
        self._monotonic = clock.monotonic
        self._flights: dict[tuple[str, bytes, bool], Flight] = {}

    @property
    def flying(self) -> int:
        """Questions that may be joined."""
        return len(self._flights)

    async def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Join a question that is on its way, or send one."""
        key = self._key_of(call)
        if key is None:
            async with aclosing(cast("AsyncGenerator[ModelEvent, None]", proceed(call))) as events:
                async for event in events:
                    yield event
            return
        begun = False
        while True:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = self._send(call, key, proceed)
            try:
                async with aclosing(self._follow(call, flight, leads=leads)) as events:
                    async for event in events:
                        begun = True
                        yield event
            except _TOO_LATE:
                # It was too late for who asked first. Who has more time asks again.
                if leads or begun or not self._has_longer(call, flight):
                    raise
            else:
                return

    def _key_of(self, call: ModelCall) -> tuple[str, bytes, bool] | None:
        """What to join by; none: this call goes alone."""
        coalesce, policy = self._settings.coalesce, call.policy
        if coalesce == "never" or policy.cache == "bypass" or not policy.idempotent:
            return None
        noted = call.notes.get("cache.key")
        if noted is None and coalesce == "auto" and call.temperature != 0 and call.seed is None:
            return None
        key = checked_key(call, self._generate, self._shelf) if noted is None else bytes.fromhex(noted)
        return None if key is None else (call.caller.tenant, key, policy.cache == "refresh")

    # -- in this process ----------------------------------------------------------------------------------------------

    def _send(self, call: ModelCall, key: tuple[str, bytes, bool], proceed: CallModel) -> Flight:
        def ended(flight: Flight) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]

        flight = Flight(lambda: self._ask(call, key[1], proceed), ended)
        flight.deadline = call.deadline
        return flight

    async def _follow(self, call: ModelCall, flight: Flight, *, leads: bool) -> AsyncGenerator[ModelEvent, None]:
        follower = flight.join()
        deltas = False
        try:
            while True:
                within_s = None if call.deadline is None else call.deadline - self._monotonic()
                event = await flight.read(follower, within_s)
                if event is None:
                    return
                if type(event) is Delta:
                    deltas = True
                    if call.stream:
                        yield event
                    continue
                reply = cast("ModelReply", event)
                if not leads:
                    reply = self._shared(call, reply)
                async for told in replayed(reply, stream=call.stream and not deltas):
                    yield told
                return
        except ModelRequestInvalid:
            if not leads and self._cached is not None:
                call.notes["cache.kept"] = True  # by who asked
            raise
        finally:
            await flight.leave(follower)

    def _shared(self, call: ModelCall, reply: ModelReply) -> ModelReply:
        """The answer as one's own: free, and in a copy that may be changed."""
        self._counting.looked("shared", "hit")
        call.notes["cache.shared"] = True
        if reply.cost_usd:
            call.notes["cache.saved_usd"] = reply.cost_usd
            self._counting.saved("shared", reply.cost_usd)
        content = msgspec.msgpack.decode(msgspec.msgpack.encode(reply.content))
        return msgspec.structs.replace(reply, content=content, cached=reply.cached or "shared", cost_usd=0.0)

    def _has_longer(self, call: ModelCall, flight: Flight) -> bool:
        if flight.deadline is None:
            return False
        return call.deadline is None or call.deadline > max(flight.deadline, self._monotonic())

    # -- asking -------------------------------------------------------------------------------------------------------

    async def _ask(self, call: ModelCall, key: bytes, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """The question itself, in the flight's task: whoever leaves, what comes of it is kept."""
        cached = self._cached if "cache.key" in call.notes else None
        generation = None if cached is None else self._shelf.generation(call.caller.tenant)
        if cached is not None and call.policy.cache != "refresh":
            meanwhile = self._came_meanwhile(call, key)
            if meanwhile is not None:
                yield meanwhile
                return
            if self._sharing is not None:
                proceed = self._sharing.around(key, proceed)
        kept = False
        try:
            async with aclosing(cast("AsyncGenerator[ModelEvent, None]", proceed(call))) as events:
                async for event in events:
                    if type(event) is ModelReply and cached is not None:
                        kept = cached.keep(call, key, generation, event)
                    yield event
        except ModelRequestInvalid as error:
            kept = cached is not None and cached.keep(call, key, generation, error)
            raise
        finally:
            if self._sharing is not None:
                if kept:
                    self._sharing.kept(call.caller.tenant, key)
                else:
                    await self._sharing.give_up(call.caller.tenant, key)

    def _came_meanwhile(self, call: ModelCall, key: bytes) -> ModelReply | None:
        """Between this call's look and its question, somebody else's answer may have come."""
        kept = self._shelf.at_hand(call.caller.tenant, key)
        if kept is None or kept.fresh_s <= 0:
            return None
        found = read_value(kept.value)
        if found is None:
            return None
        if isinstance(found, Refusal):
            call.notes["cache.kept"] = True
            raise found.error()
        return self._shared(call, found)
