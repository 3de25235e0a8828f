"""The layer that asks once for all who ask the same at the same time, in this process and in others beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

from corral.cache.entries import Refusal, read_value
from corral.cache.flight import Came, Flight, Place
from corral.cache.keys import KeyGenerator, checked_key
from corral.cache.replay import deltas_of, replayed
from corral.cache.sharing import Sharing
from corral.cache.shelf import Shelf
from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import DeadlineExceeded, ModelTimeout, PaceExceeded
from corral.messages import CallModel, Delta, ModelCall, ModelEvent, ModelReply, closing

_TOO_LATE = (ModelTimeout, PaceExceeded, DeadlineExceeded)


class Coalesced:
    """A `ModelLayer`, or part of `Cached`. The question belongs to nobody: who asked first may leave, and the others go on."""

    def __init__(
        self,
        shelf: Shelf,
        *,
        sharing: Sharing | None = None,
        generate: KeyGenerator | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`sharing`: questions whose answers are kept are shared with other processes."""
        self._shelf = shelf
        self._settings = shelf.settings
        self._counting = shelf.counting
        self._sharing = sharing
        self._generate = generate
        self._monotonic = clock.monotonic
        self._flights: dict[Place, Flight] = {}

    @property
    def flying(self) -> int:
        """Questions that may be joined."""
        return len(self._flights)

    def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Join a question that is on its way, or send one; nobody keeps the answer."""
        key = self._key_of(call)
        return proceed(call) if key is None else self.ask(call, key, proceed)

    def _key_of(self, call: ModelCall) -> bytes | None:
        """What to join by; none: this call goes alone."""
        coalesce, policy = self._settings.coalesce, call.policy
        if coalesce == "never" or policy.cache == "bypass" or not policy.idempotent:
            return None
        if coalesce == "auto" and call.temperature != 0 and call.seed is None:
            return None
        return checked_key(call, self._generate, self._shelf.counting)

    def ask(
        self, call: ModelCall, key: bytes, proceed: CallModel, came: Came | None = None
    ) -> AsyncIterator[ModelEvent]:
        """The same for a question that has a key already. `came` keeps the answer, whoever is still there to hear it."""
        place = (call.caller.tenant, key, call.policy.cache == "refresh")
        if place in self._flights:
            return self._together(call, place, proceed, came)
        return self._follow(call, place, proceed, came)

    # -- in this process ----------------------------------------------------------------------------------------------

    async def _together(
        self, call: ModelCall, place: Place, proceed: CallModel, came: Came | None
    ) -> AsyncIterator[ModelEvent]:
        begun = False
        while True:
            flight = self._flights.get(place)
            meanwhile = self._came_meanwhile(call, place) if flight is None and came is not None else None
            if meanwhile is not None:
                async for event in replayed(meanwhile, stream=call.stream):
                    yield event
                return
            try:
                async with closing(self._follow(call, place, proceed, came)) as events:
                    async for event in events:
                        begun = True
                        yield event
            except _TOO_LATE:
                # It was too late for who asked first. Who has more time asks again.
                if flight is None or begun or not self._has_longer(call, flight):
                    raise
            else:
                return

    async def _follow(
        self, call: ModelCall, place: Place, proceed: CallModel, came: Came | None
    ) -> AsyncGenerator[ModelEvent, None]:
        """Read along from the start; who is the first sends the question."""
        known = self._flights.get(place)
        flight = known or self._send(call, place, proceed, came)
        follower = flight.join()
        deltas = False
        try:
            while True:
                event = flight.at_hand(follower)
                if event is None:
                    left_s = None if call.deadline is None else call.deadline - self._monotonic()
                    if not await flight.more(left_s):
                        return
                elif type(event) is Delta:
                    deltas = True
                    if call.stream:
                        yield event
                else:
                    break
            reply: ModelReply = event  # type: ignore[assignment]  # the other kind of event
            if known is not None:
                reply = self._shared(call, reply, known)
            if call.stream and not deltas:
                for delta in deltas_of(reply):
                    yield delta
            yield reply
        finally:
            await flight.leave(follower)

    def _send(self, call: ModelCall, place: Place, proceed: CallModel, came: Came | None) -> Flight:
        """The question, on its way in a task of its own: whoever leaves, what comes of it is kept."""
        if came is not None and self._sharing is not None:
            _, key, anew = place
            proceed = proceed if anew else self._sharing.around(key, proceed, came)
        return Flight(self._flights, place, call, proceed, came)

    def _shared(self, call: ModelCall, reply: ModelReply, flight: Flight | None = None) -> ModelReply:
        """The answer as one's own: free, and in a copy that may be changed."""
        for name, note in () if flight is None else flight.call.notes.items():  # who answered, and why
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
        first = flight.call.deadline
        if first is None:
            return False
        return call.deadline is None or call.deadline > max(first, self._monotonic())

    def _came_meanwhile(self, call: ModelCall, place: Place) -> ModelReply | None:
        """What somebody else was answered since this call looked."""
        tenant, key, anew = place
        kept = None if anew else self._shelf.at_hand(tenant, key)
        found = None if kept is None or kept.fresh_s <= 0 else read_value(kept.value)
        if isinstance(found, Refusal):
            raise found.error()
        return None if found is None else self._shared(call, found)
