"""The layer that asks once for all who ask the same at the same time, in this process and in others beside it."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

from corral.cache.entries import Refusal, read_value
from corral.cache.exact import Cached, checked_key
from corral.cache.flight import Came, Flight
from corral.cache.keys import KeyGenerator
from corral.cache.replay import deltas_of, replayed
from corral.cache.sharing import Sharing
from corral.cache.shelf import Shelf
from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import DeadlineExceeded, ModelRequestInvalid, ModelTimeout, PaceExceeded
from corral.messages import CallModel, Delta, ModelCall, ModelEvent, ModelReply, closing

Key = tuple[str, bytes, bool]
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
        self._flights: dict[Key, Flight] = {}

    @property
    def flying(self) -> int:
        """Questions that may be joined."""
        return len(self._flights)

    def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Join a question that is on its way, or send one."""
        key = self._key_of(call)
        if key is None:
            return proceed(call)
        if key in self._flights or self._came_meanwhile(call, key) is not None:
            return self._together(call, key, proceed)
        return self._follow(call, key, proceed)

    async def _together(self, call: ModelCall, key: Key, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        begun = False
        while True:
            flight = self._flights.get(key)
            if flight is None:
                meanwhile = self._came_meanwhile(call, key)
                if meanwhile is not None:
                    async for event in replayed(meanwhile, stream=call.stream):
                        yield event
                    return
            try:
                async with closing(self._follow(call, key, proceed)) as events:
                    async for event in events:
                        begun = True
                        yield event
            except _TOO_LATE:
                # It was too late for who asked first. Who has more time asks again.
                if flight is None or begun or not self._has_longer(call, flight):
                    raise
            else:
                return

    def _key_of(self, call: ModelCall) -> Key | None:
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

    def _send(self, call: ModelCall, place: Key, proceed: CallModel) -> Flight:
        """The question, on its way in a task of its own: whoever leaves, what comes of it is kept."""

        def ended(flight: Flight) -> None:
            if self._flights.get(place) is flight:
                del self._flights[place]

        came: Came | None = None
        if self._cached is not None and "cache.key" in call.notes:
            generation = self._shelf.generation(call.caller.tenant)
            came = functools.partial(self._cached.keep, call, place[1], generation)
            if self._sharing is not None and not place[2]:
                proceed = self._sharing.around(place[1], proceed, came)
        flight = self._flights[place] = Flight(proceed(call), ended, came)
        flight.deadline, flight.notes = call.deadline, call.notes
        return flight

    async def _follow(self, call: ModelCall, key: Key, proceed: CallModel) -> AsyncGenerator[ModelEvent, None]:
        """Read along from the start; who is the first sends the question."""
        known = self._flights.get(key)
        leads = known is None
        flight = known or self._send(call, key, proceed)
        follower = flight.join()
        deltas = False
        try:
            while True:
                event = flight.at_hand(follower) or await flight.read(follower, self._left_s(call))
                if event is None:
                    return
                if type(event) is Delta:
                    deltas = True
                    if call.stream:
                        yield event
                    continue
                reply: ModelReply = event  # type: ignore[assignment]  # the other kind of event
                if not leads:
                    reply = self._shared(call, reply, flight)
                if call.stream and not deltas:
                    for delta in deltas_of(reply):
                        yield delta
                yield reply
                return
        except ModelRequestInvalid:
            if not leads and self._cached is not None:
                call.notes["cache.kept"] = True  # by who asked
            raise
        finally:
            await flight.leave(follower)

    def _left_s(self, call: ModelCall) -> float | None:
        return None if call.deadline is None else call.deadline - self._monotonic()

    def _shared(self, call: ModelCall, reply: ModelReply, flight: Flight | None = None) -> ModelReply:
        """The answer as one's own: free, and in a copy that may be changed."""
        for name, note in () if flight is None else flight.notes.items():  # who answered, and why
            if not name.startswith("cache."):
                call.notes.setdefault(name, note)
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

    def _came_meanwhile(self, call: ModelCall, place: Key) -> ModelReply | None:
        """Between this call's look and its question, somebody else's answer may have come."""
        tenant, key, anew = place
        if anew or self._cached is None or "cache.key" not in call.notes:
            return None
        kept = self._shelf.at_hand(tenant, key)
        if kept is None or kept.fresh_s <= 0:
            return None
        found = read_value(kept.value)
        if found is None:
            return None
        if isinstance(found, Refusal):
            call.notes["cache.kept"] = True
            raise found.error()
        return self._shared(call, found)
