"""A worker under load: so many calls at once, the rest in line, and the lowest shed before the others have to wait for them.

A call holds its place until its end, a stream until its last piece: all of it is work. Its latency is counted until its first
piece: how long a stream is says nothing about load, and how fast its reader reads says nothing either.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import DeadlineExceeded, ModelTimeout, Overloaded
from corral.limits.adaptive import AdaptiveLimit
from corral.limits.fair_line import FairLine, Ticket
from corral.limits.line_counting import LineCounting
from corral.limits.priorities import Priorities, Rank
from corral.messages import (
    CallEmbedder,
    Caller,
    CallModel,
    EmbedCall,
    EmbedReply,
    ModelCall,
    ModelEvent,
    ModelReply,
    closing,
)
from corral.observability.metrics import Metrics
from corral.settings.priority_sections import PrioritySettings
from corral.settings.sections import Settings

_HOLD_STEP = 0.05
_RETRY_MAX_S = 60.0
_USUAL = Caller().priority
_CALM_S = 1.0
"""So long after the last one waited, jobs get their room back."""

C = TypeVar("C", ModelCall, EmbedCall)


class Place:
    """One of the calls that are served now."""

    __slots__ = ("_began_at", "_first_at", "_in_flight", "_is_over", "_overload", "_what", "tenant")

    def __init__(self, overload: Overload, what: str, tenant: str, began_at: float, in_flight: int) -> None:
        """Made by `Overload.enter`."""
        self._overload = overload
        self._what = what
        self.tenant = tenant
        self._began_at = began_at
        self._in_flight = in_flight
        self._first_at: float | None = None
        self._is_over = False

    def leave(self, error: BaseException | None = None, *, first_at: float | None = None) -> None:
        """It is over. What failed says nothing about load, unless time ran out. Leaving twice is leaving once."""
        if self._is_over:
            return
        self._is_over = True
        tells = error is None or isinstance(error, DeadlineExceeded | ModelTimeout)
        self._overload.left(self, self._what, self._began_at, self._in_flight, first_at=first_at, tells=tells)


class Overload:
    """One line of a worker, used on its loop."""

    def __init__(
        self,
        settings: PrioritySettings,
        priorities: Priorities,
        *,
        concurrency_max: int,
        counting: LineCounting,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Nobody is served yet; never more than `concurrency_max` are at once."""
        self._settings = settings
        self.priorities = priorities
        self._counting = counting
        self._monotonic = clock.monotonic
        self._adaptive: AdaptiveLimit | None = None
        if settings.adaptive:
            self._adaptive = AdaptiveLimit(
                least=settings.concurrency_min,
                most=concurrency_max,
                tolerance=settings.latency_tolerance,
            )
        self.limit = concurrency_max if self._adaptive is None else int(self._adaptive)
        """How many are served at once."""
        self.in_flight = 0
        self._tenants: Counter[str] = Counter()
        counting.limit.set(self.limit)
        self._line = FairLine(elder_turn=settings.elder_turn, tenants=settings.tenants)
        self._hold_s = 0.0
        self._calming: asyncio.TimerHandle | None = None
        self._on_calm: list[Callable[[], None]] = []
        self._loaded = False

    # -- coming and going --------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """One more would have to wait."""
        return self.in_flight >= self.limit or bool(self._line)

    def check(self, rank: Rank, tenant: str, deadline: float | None) -> None:
        """Raise `Overloaded` for a call that would not be served in time, before anything was done for it."""
        if self.is_full:
            now = self._monotonic()
            self._check(rank, tenant, self._until(deadline, now), now)

    async def enter(self, what: str, rank: Rank, tenant: str, deadline: float | None) -> Place:
        """A place, at once or when its turn has come. `what` is the agent or model; `deadline` is monotonic.

        Raises `Overloaded` as soon as it is clear that there will be none in time.
        """
        if not self._line and self.in_flight < self.limit:
            self._counting.passed(rank.name)
            self._take(tenant)
            return self._placed(what, tenant)
        now = self._monotonic()
        latest = self._until(deadline, now)
        self._check(rank, tenant, latest, now)
        loop = asyncio.get_running_loop()
        ticket = Ticket(rank, tenant, now, loop.create_future())
        self._make_room(ticket)
        self._line.add(ticket)
        self._counting.waits(rank.name, 1)
        self._load()
        timer = loop.call_later(latest - now, self._too_late, ticket)
        self._serve()
        try:
            await ticket.future
        except asyncio.CancelledError:
            if ticket.future.cancelled():
                if ticket in self._line:
                    self._remove(ticket)
                self._serve()
            elif ticket.future.exception() is None:  # it had just been its turn
                self._give_back(tenant)
            raise
        finally:
            timer.cancel()
        self._counting.waited(rank.name, self._monotonic() - now)
        return self._placed(what, tenant)

    def left(
        self, place: Place, what: str, began_at: float, in_flight: int, *, first_at: float | None, tells: bool
    ) -> None:
        """A place came free: called by it."""
        now = self._monotonic()
        held_s = now - began_at
        self._hold_s = held_s if not self._hold_s else self._hold_s + _HOLD_STEP * (held_s - self._hold_s)
        if self._adaptive is not None and tells:
            latency_s = held_s if first_at is None else max(0.0, first_at - began_at)
            if self._adaptive.ended(what, latency_s, max(in_flight, self.in_flight), now):
                self._counting.limit.value = self.limit = int(self._adaptive)
        self._give_back(place.tenant)

    def stop(self) -> None:
        """Refuse who still waits. Stopping twice is stopping once."""
        for ticket in list(self._line):
            self._remove(ticket)
            self._refuse(ticket, "stopped", "This worker is shutting down.", 1.0)
        if self._calming is not None:
            self._calming.cancel()
            self._calming = None
        self._on_calm.clear()

    # -- how it stands -----------------------------------------------------------------------------------------------

    @property
    def waiting_max(self) -> int:
        """How many may wait."""
        return self._settings.waiting_max

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    @property
    def is_loaded(self) -> bool:
        """Somebody waits, or did a moment ago: what nobody waits for takes less room."""
        return self._loaded

    def on_calm(self, told: Callable[[], None]) -> None:
        """Have it told when nobody waits any more."""
        self._on_calm.append(told)

    def jobs_at_once(self, concurrency: int) -> int:
        """How many jobs this process may run beside: all, or a part while callers wait."""
        return max(1, int(concurrency * self._settings.jobs_share)) if self._loaded else concurrency

    def shown(self) -> dict[str, Any]:
        """For `/health`."""
        return {"limit": self.limit, "in_flight": self.in_flight, "waiting": len(self._line)}

    # -- around calls to models --------------------------------------------------------------------------------------

    def asked(self, proceed: CallModel) -> CallModel:
        """Calls that come from outside, such as those of the gateway: each takes a place."""

        async def call_in_line(call: ModelCall) -> AsyncIterator[ModelEvent]:
            call, rank = self._ranked(call)
            place = await self.enter(f"model:{call.model}", rank, call.caller.tenant, call.deadline)
            self._met(call)
            failure: BaseException | None = None
            first_at: float | None = None
            try:
                async with closing(proceed(call)) as events:
                    async for event in events:
                        if first_at is None:
                            first_at = self._monotonic()
                        if type(event) is ModelReply:  # whoever has it reads no further
                            place.leave(first_at=first_at)
                        yield event
            except BaseException as error:
                failure = error
                raise
            finally:
                place.leave(failure, first_at=first_at)

        return call_in_line

    def embedded(self, proceed: CallEmbedder) -> CallEmbedder:
        """The same for texts that are embedded."""

        async def embed_in_line(call: EmbedCall) -> EmbedReply:
            call, rank = self._ranked(call)
            place = await self.enter(f"model:{call.model}", rank, call.caller.tenant, call.deadline)
            self._met(call)
            try:
                reply = await proceed(call)
            except BaseException as error:
                place.leave(error)
                raise
            place.leave()
            return reply

        return embed_in_line

    def _met(self, call: ModelCall | EmbedCall) -> None:
        caller = call.caller
        self.priorities.met(caller.tenant, caller.session_id, caller.user_id)

    def _ranked(self, call: C) -> tuple[C, Rank]:
        """The call with the priority of its caller's class, or the lower one that it asks for."""
        caller = call.caller
        session, user = caller.session_id or None, caller.user_id or None
        asked = None if caller.priority == _USUAL else caller.priority
        rank = self.priorities.rank(caller.tenant, caller.tier, session, user, asked)
        priority = rank.of_calls if asked is None else min(asked, rank.of_calls)
        caller = msgspec.structs.replace(caller, priority=priority)
        return msgspec.structs.replace(call, caller=caller), rank

    # -- inside ------------------------------------------------------------------------------------------------------

    def _until(self, deadline: float | None, now: float) -> float:
        latest = now + self._settings.wait_max_s
        return latest if deadline is None else min(latest, deadline)

    def _check(self, rank: Rank, tenant: str, latest: float, now: float) -> None:
        share = self._settings.tenant_share * self.limit
        over = {name for name, count in self._tenants.items() if count >= share}
        turns = self._line.ahead(rank, tenant, over) + max(0, self.in_flight - self.limit) + 1
        turns *= self._settings.elder_turn / (self._settings.elder_turn - 1)
        expected_s = max(turns * self._hold_s / self.limit, self._line.expected_s(rank, tenant, over))
        if now + expected_s > latest:
            self._counting.shed(rank.name, "late")
            raise Overloaded(
                f"This worker is busy: it would be your turn in about {max(1, math.ceil(expected_s))} s, which is too late.",
                retry_after_s=_retry_after(expected_s - (latest - now)),
            )

    def _make_room(self, ticket: Ticket) -> None:
        if len(self._line) < self._settings.waiting_max:
            return
        lowest = self._line.lowest(ticket.rank, ticket.tenant, self._settings.tenant_share)
        retry_after_s = _retry_after(len(self._line) * self._hold_s / self.limit / 2)
        if lowest is None:
            self._counting.shed(ticket.rank.name, "full")
            raise Overloaded(
                f"{len(self._line)} calls wait for this worker, and none of them is less urgent.",
                retry_after_s=retry_after_s,
            )
        self._remove(lowest)
        self._refuse(lowest, "displaced", "This worker is busy with what is more urgent.", retry_after_s)

    def _too_late(self, ticket: Ticket) -> None:
        if not ticket.future.done():
            self._remove(ticket)
            self._refuse(ticket, "timeout", "This worker is busy: it was not your turn in time.", _retry_after(1.0))
            self._serve()

    def _refuse(self, ticket: Ticket, reason: str, message: str, retry_after_s: float) -> None:
        if not ticket.future.done():  # else it has just gone away by itself
            self._counting.shed(ticket.rank.name, reason)
            ticket.future.set_exception(Overloaded(message, retry_after_s=retry_after_s))

    def _remove(self, ticket: Ticket) -> None:
        self._line.remove(ticket)
        self._counting.waits(ticket.rank.name, -1)

    def _serve(self) -> None:
        """Let those in for whom there is room."""
        now = self._monotonic()
        while self._line and self.in_flight < self.limit:
            ticket = self._line.take(now, self._is_over)
            self._counting.waits(ticket.rank.name, -1)
            if not ticket.future.done():  # else it has just gone away by itself
                self._take(ticket.tenant)
                ticket.future.set_result(None)
        if not self._line and self._loaded and self._calming is None:
            self._calming = asyncio.get_running_loop().call_later(_CALM_S, self._calm)

    def _is_over(self, tenant: str) -> bool:
        """Others wait, and this tenant has more than its share of the places."""
        waits = self._line.tenants
        return self._tenants[tenant] >= self._settings.tenant_share * self.limit and len(waits) > (tenant in waits)

    def _take(self, tenant: str) -> None:
        self.in_flight += 1
        self._counting.in_flight.value = self.in_flight
        self._tenants[tenant] += 1

    def _placed(self, what: str, tenant: str) -> Place:
        now = self._monotonic()
        if self._adaptive is not None:
            self._adaptive.began(self.in_flight, now, waits=bool(self._line))
        return Place(self, what, tenant, now, self.in_flight)

    def _give_back(self, tenant: str) -> None:
        self.in_flight -= 1
        self._counting.in_flight.value = self.in_flight
        left = self._tenants[tenant] - 1
        if left:
            self._tenants[tenant] = left
        else:
            del self._tenants[tenant]
        if self._line:
            self._serve()

    def _load(self) -> None:
        self._loaded = True
        if self._calming is not None:
            self._calming.cancel()
            self._calming = None

    def _calm(self) -> None:
        self._calming = None
        self._loaded = False
        for told in self._on_calm:
            told()


def lines_of(settings: Settings, metrics: Metrics) -> tuple[Overload, Overload] | None:
    """The two lines of one worker, where its settings ask for them: for agents, and for calls of the gateway.

    Two, because an agent may ask the gateway of its own server: in one line, agents that all hold places would wait for a place.
    """
    said = settings.priorities
    if not said.enabled:
        return None
    priorities, most = Priorities(said), settings.runtime.concurrency_max
    agents, models = (
        Overload(said, priorities, concurrency_max=most, counting=LineCounting(metrics, line))
        for line in ("agents", "models")
    )
    return agents, models


def _retry_after(seconds: float) -> float:
    return float(min(_RETRY_MAX_S, max(1, math.ceil(seconds))))
