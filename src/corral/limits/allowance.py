"""One worker's part of one limit for one of those it is counted for: most decisions are made here, without asking the store.

A worker takes a little in advance, no more than a hundredth of the limit and no more than it uses in a moment, and gives back
what it did not use with the next exchange, or when that moment is over. So workers together keep to the limit, and a worker that dies
takes next to nothing along.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Literal

import msgspec

from corral.clock import Clock
from corral.errors import StoreUnavailable
from corral.limits.link import RETRY_S, Link
from corral.limits.store import Shared
from corral.limits.windows import CELLS, Ask, Grant, Window, decode_window, taken

Unit = Literal["requests", "tokens"]
WhenDown = Literal["local", "open", "closed"]

_SHARE = 0.01
"""Of the limit: what is taken in advance at most."""
_LEASE_MIN_S, _LEASE_MAX_S = 0.02, 5.0
_TRIES = 50
_QUIET_TRIES = 3
_JITTER_S = 0.002
_JITTER_MAX = 10


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """So much in so long."""

    limit: float
    window_s: float
    unit: Unit = "requests"
    when_down: WhenDown = "local"
    """What is done while the store is away: each worker keeps to its part, everybody passes, or nobody."""

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
        "_ahead_s", "_balance", "_chance", "_clock", "_exchange", "_fetched_at", "_key", "_known", "_known_at",
        "_left", "_link", "_local", "_news", "_refused", "_reset_at", "_used", "_waiting", "rate",
    )  # fmt: skip

    def __init__(
        self, key: str, rate: Rate, link: Link, clock: Clock, chance: Callable[[], float] = random.random
    ) -> None:
        """Nothing is taken yet."""
        self.rate = rate
        self._key = key
        self._link = link
        self._clock = clock
        self._chance = chance
        self._exchange = asyncio.Lock()
        self._balance = 0.0
        self._used = 0.0
        """Since the last exchange."""
        self._waiting = 0.0
        """What those want who wait for an exchange."""
        self._left = rate.limit
        """For all, after the last exchange."""
        self._fetched_at = self._reset_at = self._known_at = clock.monotonic()
        self._refused: _Refused | None = None
        self._known: Shared | None = None
        self._ahead_s = 0.0
        """Of the store's clock."""
        self._local = Window()
        self._news = False
        """Something was given back."""

    # -- deciding -----------------------------------------------------------------------------------------------------

    def take_now(self, cost: float) -> Standing | None:
        """Decide at once; none: the store has to be asked."""
        now = self._clock.monotonic()
        if cost > self.rate.limit:
            return self._standing(now, passes=False)
        refused = self._refused
        if refused is not None:
            if now >= refused.until:
                self._refused = None
            elif cost >= refused.cost:
                return self._standing(now, passes=False, wait_s=max(0.0, refused.free_at - now))
        if self._balance >= cost and now - self._fetched_at < self.rate.lease_s:
            self._balance -= cost
            self._used += cost
            return self._standing(now, passes=True)
        return self._decide_alone(cost) if self._link.is_down else None

    async def take(self, cost: float) -> Standing:
        """Decide, with the store where it has to be. Never raises for a store that is away."""
        found = self.take_now(cost)
        if found is not None:
            return found
        self._waiting += cost
        try:
            async with self._exchange:
                found = self.take_now(cost)  # somebody was here meanwhile
                if found is not None:
                    return found
                grant = await self._ask(cost)
        except StoreUnavailable:
            return self._decide_alone(cost)
        finally:
            self._waiting -= cost
        now = self._clock.monotonic()
        if self._balance < cost:
            if grant.wait_s is None:
                return self._standing(now, passes=False)
            # Remembered for a moment only: others may give back what they did not use.
            self._refused = _Refused(now + min(grant.wait_s, self.rate.lease_s), cost, now + grant.wait_s)
            return self._standing(now, passes=False, wait_s=grant.wait_s)
        self._balance -= cost
        self._used += cost
        return self._standing(now, passes=True)

    def give_back(self, amount: float) -> None:
        """It was not used after all; below zero: more was used. Others hear of it with the next exchange."""
        self._news = True
        self._balance += amount
        self._used = max(0.0, self._used - amount)
        if amount > 0:
            self._refused = None

    async def look(self, *, within_s: float = 0.0) -> Standing:
        """How it stands, taking nothing, as it was no longer ago than that. Never raises for a store that is away."""
        now = self._clock.monotonic
        known = self._known
        if known is None or now() - self._known_at >= within_s:
            try:
                known = await self._link.read(self._key)
            except StoreUnavailable:
                return self._decide_alone(1.0, looking=True)
            self._knows(known)
        at, rate, window = known.now + (now() - self._known_at), self.rate, _window_of(known)
        _, grant = taken(window, Ask(), limit=rate.limit, window_s=rate.window_s, now=at)
        left = max(0.0, rate.limit - grant.used + self._balance)
        if left >= 1:
            return Standing(True, left, grant.reset_s)
        _, refusal = taken(window, Ask(need=1.0), limit=rate.limit, window_s=rate.window_s, now=at)
        return Standing(False, left, grant.reset_s, refusal.wait_s or 0.0)

    async def release(self) -> None:
        """Give back what was taken in advance, and tell what was used beyond it. Raises `StoreUnavailable`."""
        async with self._exchange:
            if self._balance:
                await self._ask(0.0)

    async def clear(self) -> None:
        """Forget all that was taken. Raises `StoreUnavailable`."""
        async with self._exchange:
            self._balance = self._used = 0.0
            self._refused = None
            known = await self._link.read(self._key)
            done = not known.version
            while not done:
                done, known = await self._link.swap(self._key, known.version, Window().encoded())
            self._known, self._local, self._left = None, Window(), self.rate.limit

    @property
    def owes_from(self) -> float | None:
        """When there is something to tell the others, on the monotonic clock; none: there is nothing."""
        if not self._balance:
            return None
        return 0.0 if self._news else self._fetched_at + self.rate.lease_s

    # -- with others --------------------------------------------------------------------------------------------------

    async def _ask(self, need: float) -> Grant:
        """One exchange: what is left goes back, and what is needed now and soon is taken. Raises `StoreUnavailable`."""
        rate, now = self.rate, self._clock.monotonic
        elapsed = max(now() - self._fetched_at, 1e-6)
        soon = min(self._used / elapsed * rate.lease_s, rate.limit * _SHARE * self._link.part) if need else 0.0
        if rate.unit == "requests":
            soon = float(int(soon))
        if need:
            soon = max(soon, self._waiting - need)
        grant = await self._swap(need, need + soon)
        self._fetched_at = now()
        self._used = 0.0
        self._balance += grant.amount
        self._left = max(0.0, rate.limit - grant.used)
        self._reset_at = self._fetched_at + grant.reset_s
        return grant

    async def _swap(self, need: float, want: float) -> Grant:
        """Change what all know, as often as others were quicker."""
        rate, link, now = self.rate, self._link, self._clock.monotonic
        if self._known is None:
            self._knows(link.unknown() or await link.read(self._key))
        for attempt in range(_TRIES):
            known = self._known
            assert known is not None  # noqa: S101 - just read, or told by the last swap
            at = known.now + (now() - self._known_at)
            ask = Ask(need=need, want=want, back=self._balance)
            changed, grant = taken(_window_of(known), ask, limit=rate.limit, window_s=rate.window_s, now=at)
            if not grant.amount and not ask.back:  # there is nothing to take, and nothing to tell
                if known.version and (attempt or now() - self._known_at <= rate.lease_s):
                    return grant
                self._knows(await link.read(self._key))
                continue
            self._balance -= ask.back
            self._news = False
            try:
                done, known = await link.swap(self._key, known.version, changed.encoded())
            except BaseException:
                # It may have been made all the same: debts stay, and what was given back stays away.
                self._balance += min(0.0, ask.back)
                raise
            self._knows(known)
            if done:
                return grant
            self._balance += ask.back
            if attempt >= _QUIET_TRIES:  # others are at it as well
                await asyncio.sleep(self._chance() * _JITTER_S * min(attempt, _JITTER_MAX))
        raise StoreUnavailable(f"The limit {self._key!r} is changed by too many at once.")

    def _knows(self, known: Shared) -> None:
        self._known, self._known_at = known, self._clock.monotonic()
        self._ahead_s = known.now - self._clock.now()

    def _decide_alone(self, cost: float, *, looking: bool = False) -> Standing:
        """The store is away. What all had used before counts here as well, each worker its part of it."""
        rate, part = self.rate, self._link.part
        now = self._clock.monotonic()
        if rate.when_down == "open":
            return Standing(True, rate.limit, 0.0, alone=True)
        if rate.when_down == "closed":
            return Standing(False, 0.0, RETRY_S, RETRY_S, alone=True)
        if self._known is not None:
            cells = [(at, amount * part) for at, amount in _window_of(self._known).cells]
            self._known, self._local = None, Window(cells)
        least = 1.0 if rate.unit == "requests" else cost
        local, grant = taken(
            self._local,
            Ask(need=cost, want=cost),
            limit=max(rate.limit * part, least),
            window_s=rate.window_s,
            now=self._clock.now() + self._ahead_s,
        )
        passes = grant.amount >= cost
        if looking:
            return Standing(passes, max(0.0, rate.limit * part - grant.used + grant.amount), grant.reset_s, alone=True)
        self._local = local
        self._left = max(0.0, rate.limit * part - grant.used)
        self._reset_at = now + grant.reset_s
        return Standing(passes, self._left, grant.reset_s, None if passes else grant.wait_s, alone=True)

    def _standing(self, now: float, *, passes: bool, wait_s: float | None = None) -> Standing:
        return Standing(passes, max(0.0, self._left + self._balance), max(0.0, self._reset_at - now), wait_s)


class _Refused(msgspec.Struct, frozen=True):
    """What is refused again without asking."""

    until: float
    cost: float
    """This much and more."""
    free_at: float


def _window_of(known: Shared) -> Window:
    """What is not a window was not put there by us, and begins anew."""
    if not known.body:
        return Window()
    try:
        return decode_window(known.body)
    except msgspec.MsgspecError:
        return Window()
