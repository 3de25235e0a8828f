"""Names become places: balanced, left alone when they fail, and someone else asked when they do not answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ModelFailed, ModelUnavailable
from corral.messages import CallEmbedder, CallModel, EmbedCall, EmbedReply, ModelCall, ModelEvent, ModelReply, close
from corral.models.balancing import Balancing, Cost, Headroom
from corral.models.fleet import Deployment, Fleet
from corral.models.hedging import HedgeBudget, race
from corral.models.naming import Chain, Naming
from corral.models.planning import Place, Plan
from corral.models.retrying import ELSEWHERE
from corral.settings.model_sections import ModelSettings

_TIGHT_FOR_TWO = 0.2
"""With less headroom than this nobody is asked twice."""
_HERD = 0.1
"""Who waits for the same place does not come back at the same moment."""

Abandoned = Callable[[ModelCall, str], None]
"""A deployment was asked, and its answer not waited for: what it cost is to be accounted all the same."""


class Attempt:
    """One question to one deployment: what it takes from it is given back, and how it went is written down."""

    __slots__ = ("_deployment", "_era", "_monotonic", "_started", "first_at", "outcome")

    def __init__(self, deployment: Deployment, monotonic: Callable[[], float]) -> None:
        """Take a pass. Raises `ModelUnavailable` if another call has just taken the only one."""
        self._deployment = deployment
        self._monotonic = monotonic
        self._started = started = monotonic()
        era = deployment.breaker.enter(started)
        if era is None:
            raise ModelUnavailable(f"{deployment.name} {deployment.reason(started)}", model=deployment.name)
        self._era = era
        self.first_at: float | None = None
        """When the first piece came, of an answer that came in pieces."""
        self.outcome = ""
        deployment.live.in_flight += 1

    def answered(self, *, stream: bool) -> None:
        """A whole answer is there."""
        now = self._monotonic()
        total_s = now - self._started
        first_s = total_s if self.first_at is None else self.first_at - self._started
        self.outcome = "ok"
        deployment = self._deployment
        deployment.breaker.succeeded(self._era)
        deployment.live.answered(first_s=first_s, total_s=total_s, stream=stream, now=now)

    def refused(self, error: ModelFailed, deadline: float | None) -> None:
        """There will be none."""
        now = self._monotonic()
        self.outcome = error.code
        self._deployment.refused(self._era, error, now, too_late=deadline is not None and now >= deadline)

    def over(self, attempts: list[dict[str, Any]]) -> bool:
        """Give back what is held; whether the answer was not waited for."""
        deployment, outcome = self._deployment, self.outcome
        deployment.live.in_flight -= 1
        if not outcome:
            deployment.breaker.left(self._era)
        ms = int((self._monotonic() - self._started) * 1_000_000) / 1000  # `round` takes ten times as long
        attempts.append({"deployment": deployment.name, "outcome": outcome or "abandoned", "ms": ms})
        return not outcome


class Deployed:
    """Asks the places that a name stands for, one after the other, until one answers.

    Once anything was passed on, its end is the call's end: nobody hears the beginning of two answers. Places that failed
    too often or asked for a pause are left alone. What was done is in the notes: `attempts`, `deployment`, `fallback`.
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        headroom: Headroom = lambda _: 1.0,
        cost: Cost = lambda _: None,
        context_tokens: Callable[[str], int | None] = lambda _: None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        abandoned: Abandoned = lambda _call, _deployment: None,
    ) -> None:
        """Raises `ConfigError` for names that lead nowhere. All callables are asked with `provider/model`."""
        self.fleet = Fleet(breaker_failures=settings.breaker_failures, breaker_s=settings.breaker_s, clock=clock)
        self.naming = Naming(settings.names, context_tokens=context_tokens, providers=settings.providers)
        self.hedges = HedgeBudget(settings.hedge_share_max) if settings.hedge else None
        self._balancing = Balancing(headroom=headroom, cost=cost, chance=chance)
        self._headroom = headroom
        self._pause_max_s = settings.retry_max_s
        self._monotonic = clock.monotonic
        self._chance = chance
        self._sleep = sleep
        self._abandoned = abandoned

    async def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """The layer."""
        notes = call.notes
        plan = self._plan(self.naming.chain(call.model))
        attempts: list[dict[str, Any]] = notes.setdefault("attempts", [])
        already, begun = len(attempts), False
        if already:  # another model, to which this call was put before
            notes.pop("hedged", None)
            notes.pop("fallback", None)
        while (place := plan.next(self._monotonic()) or await self._after_pause(plan, call.deadline)) is not None:
            notes[ELSEWHERE] = plan.ready(self._monotonic())
            events = self._asked(place, call, proceed, attempts)
            if self.hedges is not None and call.policy.idempotent:
                events = self._hedged(events, place, plan, call, proceed, attempts)
            try:
                try:
                    async for event in events:
                        if not begun:
                            begun = True
                            self._note(notes, plan, place)
                        yield event
                finally:
                    await close(events)
                return  # noqa: TRY300 - an `else` would have to come after the yields
            except ModelFailed as error:
                if begun:
                    raise
                if not plan.goes_on(place, error) or self._is_late(call.deadline):
                    failure = plan.failure(call.model, self._monotonic())
                    if failure is error or len(attempts) == already + 1:
                        raise
                    raise failure from error
        raise plan.failure(call.model, self._monotonic())

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """The same for embeddings, but for fallbacks: another model's vectors mean something else."""
        chain = self.naming.chain(call.model)
        plan = self._plan(Chain(chain.stages[:1], chain.fallback_on))
        attempts: list[dict[str, Any]] = call.notes.setdefault("attempts", [])
        while (place := plan.next(self._monotonic()) or await self._after_pause(plan, call.deadline)) is not None:
            call.notes[ELSEWHERE] = plan.ready(self._monotonic())
            attempt = Attempt(place.deployment, self._monotonic)
            try:
                reply = await proceed(msgspec.structs.replace(call, model=place.deployment.name))
            except ModelFailed as error:
                attempt.refused(error, call.deadline)
                if not plan.goes_on(place, error) or self._is_late(call.deadline):
                    raise
            else:
                attempt.answered(stream=False)
                call.notes["deployment"] = place.deployment.name
                return reply
            finally:
                attempt.over(attempts)
        raise plan.failure(call.model, self._monotonic())

    def status(self) -> list[dict[str, Any]]:
        """Each deployment: its breaker, its pauses, how fast it is."""
        return self.fleet.status()

    def p95(self, model: str, stream: bool) -> float | None:
        """How slow a name's quickest place is lately; none: not enough is known."""
        places = self.naming.chain(model).stages[0].deployments
        known = [self.fleet.p95(name, stream=stream) for name, _ in places]
        return min((one for one in known if one is not None), default=None)

    # -- one call ------------------------------------------------------------------------------------------------------

    def _plan(self, chain: Chain) -> Plan:
        return Plan(chain, self.fleet, self._balancing, self.naming, self._monotonic())

    async def _after_pause(self, plan: Plan, deadline: float | None) -> Place | None:
        """Where all places only want a short pause, and nobody was asked yet: the first that is ready after it."""
        now = self._monotonic()
        pause = plan.cooling_s(now) if plan.is_fresh else None
        if pause is None or pause > self._pause_max_s:
            return None
        pause *= 1 + _HERD * self._chance()
        if deadline is not None and now + pause >= deadline:
            return None
        await self._sleep(pause)
        return plan.next(self._monotonic())

    async def _asked(
        self, place: Place, call: ModelCall, proceed: CallModel, attempts: list[dict[str, Any]]
    ) -> AsyncIterator[ModelEvent]:
        """Ask one place once, and learn from it."""
        name = place.deployment.name
        attempt = Attempt(place.deployment, self._monotonic)
        try:
            events = proceed(call if call.model == name else msgspec.structs.replace(call, model=name))
            try:
                async for event in events:
                    if type(event) is ModelReply:
                        attempt.answered(stream=call.stream)
                    elif attempt.first_at is None:
                        attempt.first_at = self._monotonic()
                    yield event
            finally:
                await close(events)
        except ModelFailed as error:
            attempt.refused(error, call.deadline)
            raise
        finally:
            if attempt.over(attempts):
                self._abandoned(call, name)

    def _hedged(
        self,
        events: AsyncIterator[ModelEvent],
        place: Place,
        plan: Plan,
        call: ModelCall,
        proceed: CallModel,
        attempts: list[dict[str, Any]],
    ) -> AsyncIterator[ModelEvent]:
        """The same events; or a twin's, if that one is faster once these are late."""
        hedges = self.hedges
        now = self._monotonic()
        late_s = place.deployment.live.p95(stream=call.stream, now=now)
        if hedges is None or late_s is None:
            return events
        hedges.earn()
        notes: dict[str, Any] = {}
        asked: list[Place] = []

        def second() -> AsyncIterator[ModelEvent] | None:
            now = self._monotonic()
            twin = plan.twin(place, now)
            ready = twin.deployment.is_ready(now) and self._headroom(twin.deployment.name) >= _TIGHT_FOR_TWO
            if not ready or self._is_late(call.deadline) or not hedges.spend():
                return None
            plan.take(twin)
            asked.append(twin)
            # Layers below write into the notes of a call: two that run at once must not write into the same.
            return self._asked(twin, msgspec.structs.replace(call, notes=notes), proceed, attempts)

        def won() -> None:
            hedges.won += 1
            call.notes.update(notes)
            call.notes["hedged"] = asked[0].deployment.name

        return race(events, second, after=lambda: self._sleep(late_s), won=won)

    def _note(self, notes: dict[str, Any], plan: Plan, place: Place) -> None:
        notes["deployment"] = notes.get("hedged", place.deployment.name)
        if place.stage:
            notes["fallback"] = plan.detour(place)
        notes.pop(ELSEWHERE, None)

    def _is_late(self, deadline: float | None) -> bool:
        return deadline is not None and self._monotonic() >= deadline
