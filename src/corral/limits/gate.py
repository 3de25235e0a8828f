"""One worker's way through one limit: a lease of what all share, calls that pass on it, and calls that wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable

from corral.clock import Clock
from corral.errors import PaceExceeded
from corral.limits.buckets import MINUTE_S, Ask, Grant, Heard, Rule, closed, exchange, opened
from corral.limits.learning import hear, hear_refusal
from corral.limits.line import Line, Waiter
from corral.limits.store import LimitStore

_log = logging.getLogger("corral.limits")

WAITING_MAX = 10_000
"""Calls that may wait for one limit in one worker."""
_SWAPS_MAX = 50
_LOW = 0.3
"""With so little left of a lease the next one is fetched, before calls have to wait for it."""
_AHEAD = 1.25
_SPARE_SLOTS = 2
_MORE, _LESS = 4.0, 0.5
"""How a wish grows while calls wait although all of it is granted, and shrinks to what calls take lately once they do not."""
_EXCHANGES_PER_LEASE = 40
"""At most so many, on the average: the row is shared."""
_AT_ONCE_MAX = 4.0
"""Of these, so many may follow each other at once while calls wait."""


class Gate:
    """Passes calls while the lease lasts, without asking anybody; fetches the next lease in the background.

    It belongs to one event loop. What it holds of the shared limit is given back when nobody calls for half a lease.
    """

    def __init__(
        self,
        key: str,
        rule: Rule,
        store: LimitStore,
        *,
        holder: str,
        lease_s: float,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`key` names the limit among all workers, `holder` this worker."""
        self.key = key
        self.rule = rule
        self._store = store
        self._holder = holder
        self._lease_s = lease_s
        self._apart_s = lease_s / _EXCHANGES_PER_LEASE
        self._monotonic = clock.monotonic
        self._chance = chance
        self._line = Line()
        # What is held: part of the lease that was granted last, good until then on our own clock.
        self._tokens = self._requests = 0.0
        self._slots = 0
        self._until = 0.0
        self._granted = Grant()
        self._wished = Ask(holder=holder, seq=0, lease_s=lease_s)
        """What the last exchange asked for."""
        self._tokens_low = self._requests_low = 0.0
        self.used = 0
        self._most_used = 0
        # What the store is still to hear.
        self._refund = 0.0
        self._heard: Heard | None = None
        self._seq = 0
        # How much calls take lately, per second.
        self._taken = self._taken_requests = 0.0
        self._rate = self._requests_rate = 0.0
        self._asked_at = 0.0
        self._exchanges = _AT_ONCE_MAX
        """So many exchanges were left to be made at once after the last one."""
        self._frozen_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._asking: asyncio.Task[None] | None = None
        self._ask_again = False
        self._outage_s: float | None = None
        self._failing = False
        self._stopping = False
        self._meters_tokens = rule.tokens_per_minute is not None
        self._meters_requests = rule.requests_per_minute is not None
        self._tokens_max = rule.tokens_max if self._meters_tokens else 0.0

    # -- passing -----------------------------------------------------------------------------------------------------

    # A call is charged no more at first than the bucket can hold: the rest when it is known what it took. Where no tokens are
    # metered it is charged none, so that calls take turns one by one, however long they are.

    def try_enter(self, tokens: float) -> bool:
        """Pass at once if there is room and nobody waits."""
        tokens = tokens if tokens < self._tokens_max else self._tokens_max  # noqa: FURB136 - for every call, in a third of the time
        if self._line.waiting or not self._fits(tokens, self._monotonic()):
            return False
        self._pass(tokens)
        return True

    async def enter(self, tokens: float, *, priority: int, deadline: float) -> None:
        """Wait for room. Raises `PaceExceeded` as soon as it is clear that there is none before `deadline` (monotonic)."""
        tokens = min(tokens, self._tokens_max)
        now = self._monotonic()
        expected_s = self._expected_s(tokens, priority, now)
        if now + expected_s > deadline or self._line.waiting >= WAITING_MAX:
            raise self._exceeded(expected_s, deadline - now)
        loop = asyncio.get_running_loop()
        waiter = Waiter(priority, deadline, tokens, loop.create_future())
        self._line.add(waiter)
        timer = loop.call_later(deadline - now, self._too_late, waiter)
        self._serve()
        if not waiter.is_over:
            self._ask_soon(0.0 if self._granted.wait_s is None or self._line.waiting == 1 else self._lease_s / 2)
        try:
            await waiter.future
        except asyncio.CancelledError:
            if waiter.future.cancelled():
                self._line.left(waiter)
                self._ask_soon(0.0)
            elif waiter.future.exception() is None:  # it had just been its turn
                self.leave(tokens, 0.0, sent=False)
            raise
        finally:
            timer.cancel()

    def leave(self, tokens: float, truth: float, *, sent: bool = True) -> None:
        """A call is over, and took `truth` instead of the `tokens` it entered with."""
        self.used -= 1
        if self._meters_tokens:
            self._refund += (tokens if tokens < self._tokens_max else self._tokens_max) - truth  # noqa: FURB136 - as above
        if not sent and self._meters_requests and self._monotonic() < self._until:
            self._requests += 1.0
        if self._slots > self._granted.slots_fair and self.rule.concurrency is not None:
            self._slots = max(self.used, self._granted.slots_fair)  # others wait for what came free
            self._ask_soon(self._apart_s)
        if self._line.waiting:
            self._serve()
            if self._line.waiting and self._refund > 0:
                self._ask_soon(self._lease_s / 10)

    def hear(self, seen: object) -> None:
        """What the provider said about its limits."""
        self._heard = hear(self._heard, seen)

    def refused(self, retry_after_s: float | None) -> None:
        """The provider allows no more for now: all workers are to hear of it."""
        self._heard = hear_refusal(self._heard, retry_after_s)
        pause_s = 1.0 if retry_after_s is None else retry_after_s
        self._frozen_until = max(self._frozen_until, self._monotonic() + pause_s)
        self._ask_soon(0.0)

    # -- how it stands -----------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Calls that wait here."""
        return self._line.waiting

    @property
    def held(self) -> tuple[float, float, int]:
        """Tokens, requests and slots that this worker has in hand."""
        return self._tokens, self._requests, self._slots

    def headroom(self) -> float:
        """How much room there is: 1, all of it; 0, calls wait."""
        now = self._monotonic()
        if self._line.waiting or now < self._frozen_until:
            return 0.0
        room = 1.0
        if self.rule.concurrency:
            room = 1.0 - self.used / max(
                1, min(self.rule.concurrency, self._granted.slots_fair or self.rule.concurrency)
            )
        if self._seq and self._meters_tokens:
            there = self._granted.tokens_left + self._granted.tokens_per_s * (now - self._asked_at) + self._tokens
            room = min(room, there / self.rule.tokens_max)
        return min(1.0, max(0.0, room))

    def left(self) -> tuple[float, float]:
        """Tokens and requests in the shared buckets, as they were last seen."""
        return self._granted.tokens_left, self._granted.requests_left

    # -- life --------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Give back what is held. Calls that wait are told that there is no room. Stopping twice is stopping once."""
        self._stopping = True
        self._cancel_timer()
        while (waiter := self._line.first()) is not None:
            self._line.take(waiter)
            waiter.future.set_exception(self._exceeded(None, 0.0))
        if self._asking is not None:
            await asyncio.wait([self._asking])
        if self._slots or self._tokens or self._requests or self._refund or self._heard is not None:
            with contextlib.suppress(Exception):  # what cannot be given back is free again when the lease is over
                await self._swap(self._ask(self._monotonic(), giving_back=True))
            self._slots, self._tokens, self._requests = self.used, 0.0, 0.0

    # -- inside ------------------------------------------------------------------------------------------------------

    def _fits(self, tokens: float, now: float) -> bool:
        return (
            self._frozen_until <= now < self._until
            and (self.used < self._slots or self.rule.concurrency is None)
            and (self._requests >= 1.0 or not self._meters_requests)
            and (self._tokens >= tokens or not self._meters_tokens)
        )

    def _pass(self, tokens: float) -> None:
        self.used = used = self.used + 1
        self._most_used = used if used > self._most_used else self._most_used  # noqa: FURB136 - as above
        if self._meters_tokens:
            self._tokens = left = self._tokens - tokens
            self._taken += tokens
            if left < self._tokens_low:
                self._ask_soon(self._apart_s)
        if self._meters_requests:
            self._requests = left = self._requests - 1.0
            self._taken_requests += 1.0
            if left < self._requests_low:
                self._ask_soon(self._apart_s)

    def _serve(self) -> None:
        """Let those pass who fit, in order."""
        now = self._monotonic()
        while (waiter := self._line.first()) is not None and self._fits(waiter.tokens, now):
            self._line.take(waiter)
            self._pass(waiter.tokens)
            waiter.future.set_result(None)

    def _too_late(self, waiter: Waiter) -> None:
        if not waiter.is_over:
            waiter.future.set_exception(self._exceeded(None, 0.0))
            self._line.left(waiter)
            self._serve()
            if self._line.waiting:
                self._ask_soon(0.0)

    def _expected_s(self, tokens: float, priority: int, now: float) -> float:
        """When it may be a call's turn at the earliest, as far as is known here."""
        wait_s = max(0.0, self._frozen_until - now)
        granted = self._granted
        taking_turns = granted.waiting + 1
        since = max(0.0, now - self._asked_at)
        tokens_ahead, calls_ahead = self._line.ahead(priority)
        if self._meters_tokens and granted.tokens_per_s:
            there = self._tokens + max(0.0, self._refund) + granted.tokens_left + granted.tokens_per_s * since
            missing = tokens_ahead + tokens - there
            wait_s = max(wait_s, missing * taking_turns / granted.tokens_per_s)
        if self._meters_requests and granted.requests_per_s:
            missing = calls_ahead + 1 - self._requests - granted.requests_left - granted.requests_per_s * since
            wait_s = max(wait_s, missing * taking_turns / granted.requests_per_s)
        return wait_s

    def _exceeded(self, expected_s: float | None, left_s: float) -> PaceExceeded:
        if self._stopping:
            return PaceExceeded(
                f"This worker is shutting down, and {self.key!r} had no room for the call yet.", retry_after_s=1.0
            )
        if expected_s is None:
            expected_s = max(0.1, self._expected_s(0.0, 0, self._monotonic()))
        return PaceExceeded(
            f"The limits of {self.key!r} leave no room for this call for about {expected_s:.1f} s more, and it can wait "
            f"{max(0.0, left_s):.1f} s: try again later, or raise `models.providers` limits if the provider allows more.",
            provider=self.key.partition("/")[0],
            retry_after_s=max(0.1, expected_s),
        )

    # -- leases ------------------------------------------------------------------------------------------------------

    def _ask_soon(self, in_s: float) -> None:
        """Exchange with the store then, or before; at most so often that the shared row stays cool.

        While calls wait, a few may follow each other at once: after a pause nothing is held, and nobody knows how many will come.
        """
        if self._stopping:
            return
        if self._asking is not None:
            self._ask_again = self._ask_again or in_s < self._lease_s / 4
            return
        now = self._monotonic()
        at = now + in_s
        if not self._line.waiting or self._exchanges_left(now) < 1.0:
            at = max(at, self._asked_at + max(1.0, 1.0 - self._exchanges) * self._apart_s)
        if at >= self._timer_at:
            return
        self._cancel_timer()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_later(at - now, self._begin)

    def _exchanges_left(self, now: float) -> float:
        return min(_AT_ONCE_MAX, self._exchanges + (now - self._asked_at) / self._apart_s)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, math.inf

    def _begin(self) -> None:
        self._cancel_timer()
        if self._asking is None and not self._stopping:
            self._ask_again = False
            self._asking = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        now = self._monotonic()
        ask = self._ask(now)
        try:
            grant = await self._swap(ask)
        except Exception as error:  # noqa: BLE001 - whatever ails the store, calls go on within our own share
            self._alone(ask, error)
        else:
            self._take(ask, grant, now)
        self._asking = None
        self._serve()
        self._ask_next()

    def _ask_next(self) -> None:
        """When to exchange again: at once, when what is missing will be there, before the lease ends, or not at all."""
        half_s = self._lease_s / 2
        if self._failing:
            self._ask_soon(half_s * (0.5 + self._chance() / 2))
        elif self._ask_again:
            self._ask_again = False
            self._ask_soon(0.0)
        elif self._line.waiting:
            wait_s = self._granted.wait_s
            self._ask_soon(0.0 if wait_s is None else min(wait_s, half_s))
        elif self.used or self._slots or self._tokens or self._requests or self._refund:
            self._ask_soon(half_s)

    def _ask(self, now: float, *, giving_back: bool = False) -> Ask:
        """What we have, what we need, and what we heard. Until the answer comes, no more is ours than what we keep."""
        self._seq += 1
        passed_s = max(now - self._asked_at, 1e-3)
        if self._asked_at:
            self._rate = _mean(self._rate, self._taken / passed_s, passed_s / self._lease_s)
            self._requests_rate = _mean(self._requests_rate, self._taken_requests / passed_s, passed_s / self._lease_s)
        self._exchanges = self._exchanges_left(now) - 1.0
        self._asked_at = now
        ask = Ask(holder=self._holder, seq=self._seq, lease_s=self._lease_s, used=self.used, refund=self._refund)
        if self._failing:
            ask.used = self._slots  # what was taken on our own account is settled when it is over
        elif now < self._until:
            ask.back_tokens, ask.back_requests = self._tokens, self._requests
        else:
            ask.back_tokens, ask.back_requests = min(0.0, self._tokens), min(0.0, self._requests)
        ask.heard = self._heard
        idle = not (self._line.waiting or self._taken or self._taken_requests or self.used or self._most_used)
        if not giving_back and not idle:
            self._wish(ask)
            if not self._line.waiting and not self._failing and now < self._until:
                ask.keep_tokens = max(0.0, min(self._tokens, ask.want_tokens))
                ask.keep_requests = max(0.0, min(self._requests, ask.want_requests))
                ask.used = max(self.used, min(self._slots, self.used + _SPARE_SLOTS))
        self._wished = ask
        self._slots = ask.used
        if not self._failing:
            self._tokens, self._requests = ask.keep_tokens, ask.keep_requests
        self._refund = self._taken = self._taken_requests = 0.0
        self._heard, self._most_used = None, self.used
        return ask

    def _wish(self, ask: Ask) -> None:
        first = self._line.first()
        if first is not None:
            ask.need_tokens, ask.need_requests, ask.need_slots = first.tokens, 1.0, 1
            if self.rule.concurrency is None:
                ask.need_slots = 0
        ahead_s = self._lease_s / 2 * _AHEAD
        growth = self._growth()
        ask.want_tokens = self._line.tokens + max(self._rate * ahead_s, self._wished.want_tokens * growth)
        ask.want_requests = self._line.waiting + math.ceil(
            max(self._requests_rate * ahead_s, self._wished.want_requests * growth)
        )
        ask.want_slots = max(self.used, self._most_used) + self._line.waiting + _SPARE_SLOTS
        if growth > 1.0:
            ask.want_slots = max(ask.want_slots, int(self._wished.want_slots * growth))

    def _growth(self) -> float:
        """How much to wish in parts of the last wish. Where calls wait although that was granted, nobody knows yet how many come."""
        wished, granted = self._wished, self._granted
        is_whole = (
            (granted.tokens >= wished.want_tokens or not self._meters_tokens)
            and (granted.requests >= wished.want_requests or not self._meters_requests)
            and (granted.slots >= wished.want_slots or self.rule.concurrency is None)
        )
        if self._line.waiting and is_whole and not self._failing:
            return _MORE
        return _LESS

    async def _swap(self, ask: Ask) -> Grant:
        """Make the exchange on what is there; again, if somebody else was faster."""
        shared = await self._store.read(self.key)
        for _ in range(_SWAPS_MAX):
            state = opened(shared.body, self.rule, shared.now)
            grant = exchange(state, self.rule, ask, shared.now)
            done, shared = await self._store.swap(self.key, shared.version, closed(state))
            if done:
                return grant
        raise TimeoutError(f"{_SWAPS_MAX} others changed {self.key!r} first")

    def _take(self, ask: Ask, grant: Grant, asked_at: float) -> None:
        if self._failing:
            self._failing = False
            self._refund += self._tokens  # taken on our own account, and not used
            self._tokens = self._requests = 0.0
            _log.info("The limits of %s are shared between workers again.", self.key)
        self._granted = grant
        self._tokens_low, self._requests_low = grant.tokens * _LOW, grant.requests * _LOW
        # Less what calls used of it while we asked.
        self._tokens += grant.tokens - ask.keep_tokens
        self._requests += grant.requests - ask.keep_requests
        self._slots = grant.slots
        self._until = asked_at + ask.lease_s
        self._frozen_until = (
            max(self._frozen_until, asked_at + grant.frozen_s) if grant.frozen_s else self._frozen_until
        )

    def _alone(self, ask: Ask, error: Exception) -> None:
        """The store does not answer: go on with the part that was ours lately, and account for it later."""
        now = self._monotonic()
        if not self._failing:
            self._failing = True
            _log.warning("The limits of %s are not shared for now, each worker keeps to its part: %s", self.key, error)
            self._outage_s = now - ask.lease_s / 2
            self._tokens, self._requests = 0.0, 0.0  # the store forgets that lease, and we do as well
        part = 1.0 / self._granted.holders
        passed_s = min(now - (self._outage_s or now), self._lease_s)
        self._outage_s = now
        self._heard = ask.heard if self._heard is None else self._heard
        self._refund += min(0.0, ask.refund)  # debts stay; what was to be given back may have been
        if self._meters_tokens:
            per_s = self._granted.tokens_per_s or (self.rule.tokens_per_minute or 0.0) / MINUTE_S
            more = max(0.0, min(per_s * part * passed_s, self.rule.tokens_max * part - self._tokens))
            self._tokens += more
            self._refund -= more
        if self._meters_requests:
            per_s = self._granted.requests_per_s or (self.rule.requests_per_minute or 0.0) / MINUTE_S
            self._requests = min(self._requests + per_s * part * passed_s, 1.0 + per_s * part * self._lease_s)
        self._slots = max(self.used, int((self.rule.concurrency or 0) * part), 1)
        self._until = now + self._lease_s


def _mean(old: float, new: float, share: float) -> float:
    share = min(1.0, share)
    return old + share * (new - old)
