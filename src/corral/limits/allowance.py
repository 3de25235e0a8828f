"""One worker's part of one limit for one of those it is counted for: most decisions are made here, without asking the store.

A worker takes a little in advance, no more than a hundredth of the limit and no more than it uses in a moment, and gives back
what it did not use with the next exchange. So workers together keep to the limit, and a worker that dies takes next to nothing along.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Literal

import msgspec

from corral.clock import Clock
from corral.errors import StoreUnavailable
from corral.limits.store import LimitStore, Shared
from corral.limits.windows import CELLS, Ask, Grant, Window, decode_window, taken

Unit = Literal["requests", "tokens"]
WhenDown = Literal["local", "open", "closed"]

_SHARE = 0.01
"""Of the limit: what is taken in advance at most."""
_LEASE_MIN_S, _LEASE_MAX_S = 0.02, 5.0
_RETRY_STORE_S = 1.0
"""After a failure the store is left alone for so long."""
_TRIES = 50
_QUIET_TRIES = 3
_JITTER_S = 0.002


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """So much in so long."""

    limit: float
    window_s: float
    unit: Unit = "requests"
    when_down: WhenDown = "local"
    """What is done while the store is away: count in this worker alone, let everybody pass, or nobody."""

    @property
    def lease_s(self) -> float:
        """How long what was taken in advance may be used: a cell of time, so that it lies where it is used."""
        return min(_LEASE_MAX_S, max(_LEASE_MIN_S, self.window_s / CELLS))


class Standing(msgspec.Struct, frozen=True):
    """What somebody is told: whether it may pass, and how the limit stands."""

    passes: bool
    remaining: float
    reset_s: float
    retry_after_s: float | None = None
    alone: bool = False
    """The store is away, and this worker has decided by itself."""


class Allowance:
    """Used on one loop."""

    __slots__ = (
        "_alone_until", "_balance", "_chance", "_clock", "_exchange", "_fetched_at", "_key", "_known", "_known_at",
        "_left", "_local", "_refused_at", "_reset_at", "_store", "_used", "rate",
    )  # fmt: skip

    def __init__(
        self, key: str, rate: Rate, store: LimitStore, clock: Clock, chance: Callable[[], float] = random.random
    ) -> None:
        """Nothing is taken yet."""
        self.rate = rate
        self._key = key
        self._store = store
        self._clock = clock
        self._chance = chance
        self._exchange = asyncio.Lock()
        self._balance = 0.0
        self._used = 0.0
        """Since the last exchange."""
        self._left = rate.limit
        """For all, after the last exchange."""
        self._fetched_at = self._reset_at = self._known_at = clock.monotonic()
        self._refused_at: tuple[float, float] | None = None
        """Until when this much is refused without asking."""
        self._alone_until = 0.0
        self._known: Shared | None = None
        self._local = Window()

    # -- deciding -----------------------------------------------------------------------------------------------------

    def take_now(self, cost: float) -> Standing | None:
        """Decide at once; none: the store has to be asked."""
        now = self._clock.monotonic()
        if cost > self.rate.limit:
            return self._standing(now, passes=False)
        refused = self._refused_at
        if refused is not None:
            if now < refused[0] and cost >= refused[1]:
                return self._standing(now, passes=False, wait_s=refused[0] - now)
            if now >= refused[0]:
                self._refused_at = None
        if self._balance >= cost and now - self._fetched_at < self.rate.lease_s:
            self._balance -= cost
            self._used += cost
            return self._standing(now, passes=True)
        return None

    async def take(self, cost: float) -> Standing:
        """Decide, with the store where it has to be. Never raises for a store that is away."""
        found = self.take_now(cost)
        if found is not None:
            return found
        async with self._exchange:
            found = self.take_now(cost)  # somebody was here meanwhile
            if found is not None:
                return found
            now = self._clock.monotonic()
            if now < self._alone_until:
                return self._decide_alone(cost)
            try:
                grant = await self._ask(cost)
            except StoreUnavailable:
                self._alone_until = now + _RETRY_STORE_S
                self._known = None
                return self._decide_alone(cost)
        now = self._clock.monotonic()
        if grant.amount < cost:
            wait_s = self.rate.window_s if grant.wait_s is None else grant.wait_s
            self._refused_at = (now + wait_s, cost) if cost > 0 else None
            return self._standing(now, passes=False, wait_s=None if grant.wait_s is None else wait_s)
        self._balance -= cost
        self._used += cost
        return self._standing(now, passes=True)

    def give_back(self, amount: float) -> None:
        """It was not used after all; below zero: more was used. Others hear of it with the next exchange."""
        self._balance += amount
        self._used -= amount
        if amount > 0:
            self._refused_at = None

    async def release(self) -> None:
        """Give back what was taken in advance."""
        if self._balance:
            await self._ask(0.0)

    # -- with others --------------------------------------------------------------------------------------------------

    async def _ask(self, need: float) -> Grant:
        """One exchange: what is left goes back, and what is needed now and soon is taken. Raises `StoreUnavailable`."""
        rate, now = self.rate, self._clock.monotonic
        elapsed = max(now() - self._fetched_at, 1e-6)
        soon = min(self._used / elapsed * rate.lease_s, rate.limit * _SHARE) if need else 0.0
        if rate.unit == "requests":
            soon = float(int(soon))
        ask = Ask(need=need, want=need + soon, back=self._balance)
        self._balance = 0.0
        try:
            grant = await self._swap(ask)
        except BaseException:
            self._balance += ask.back
            raise
        self._fetched_at = now()
        self._used = 0.0
        self._balance += grant.amount
        self._left = max(0.0, rate.limit - grant.used)
        self._reset_at = self._fetched_at + grant.reset_s
        return grant

    async def _swap(self, ask: Ask) -> Grant:
        """Change what all know, as often as others were quicker."""
        rate, store, now = self.rate, self._store, self._clock.monotonic
        if self._known is None:
            self._known, self._known_at = await store.read(self._key), now()
        for attempt in range(_TRIES):
            known = self._known
            at = known.now + (now() - self._known_at)
            window = decode_window(known.body) if known.body else Window()
            changed, grant = taken(window, ask, limit=rate.limit, window_s=rate.window_s, now=at)
            is_fresh = attempt > 0 or now() - self._known_at <= rate.lease_s
            if is_fresh and not grant.amount and not ask.back:
                return grant  # there is nothing to take, and nothing to tell
            done, self._known = await store.swap(self._key, known.version, changed.encoded())
            self._known_at = now()
            if done:
                return grant
            if attempt >= _QUIET_TRIES:  # others are at it as well
                await asyncio.sleep(self._chance() * _JITTER_S * attempt)
        raise StoreUnavailable(f"The limit {self._key!r} is changed by too many at once.")

    def _decide_alone(self, cost: float) -> Standing:
        rate = self.rate
        now = self._clock.monotonic()
        if rate.when_down == "open":
            return Standing(True, rate.limit, 0.0, alone=True)
        if rate.when_down == "closed":
            return Standing(False, 0.0, _RETRY_STORE_S, _RETRY_STORE_S, alone=True)
        self._local, grant = taken(
            self._local, Ask(need=cost, want=cost), limit=rate.limit, window_s=rate.window_s, now=self._clock.now()
        )
        passes = grant.amount >= cost
        self._left = max(0.0, rate.limit - grant.used)
        self._reset_at = now + grant.reset_s
        return Standing(passes, self._left, grant.reset_s, None if passes else grant.wait_s, alone=True)

    def _standing(self, now: float, *, passes: bool, wait_s: float | None = None) -> Standing:
        return Standing(passes, self._left + self._balance, max(0.0, self._reset_at - now), wait_s)
