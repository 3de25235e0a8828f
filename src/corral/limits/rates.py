"""Who may ask how often, and for how many tokens: any mix of limits, all of which a request has to pass."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError, StoreUnavailable
from corral.limits.allowance import Allowance, Standing
from corral.limits.link import Link
from corral.limits.rate_counting import RateCounting
from corral.limits.rules import RateRule, Visitor, rules_of
from corral.limits.store import FORGOTTEN_S, LimitStore, Shared

Where = Literal["everywhere", "door", "model"]
"""`door`: where a request comes in, tokens are only looked at; `model`: where it is known which model is asked, they count."""
How = Literal["request", "tokens", "look"]

_KNOWN_MAX = 20_000
"""Identities whose limits are remembered here."""
_TELL_S = 0.25
"""What was given back is told to others so much later, together."""
_TOLD_MAX = 500


class RateExceeded(CorralError):
    """You have asked as often as you may for now."""

    status = 429
    code = "rate_exceeded"
    retryable = True

    def __init__(
        self, message: str | None = None, *, retry_after_s: float | None = None, stands: Sequence[Passed] = ()
    ) -> None:
        """`stands`: how the limits stand, the one that refuses last."""
        super().__init__(message, retry_after_s=retry_after_s)
        self.stands = stands


class LimitsUnavailable(CorralError):
    """Whether you may ask cannot be found out now; try again in a moment."""

    status = 503
    code = "limits_unavailable"
    retryable = True


class Passed(msgspec.Struct, frozen=True):
    """How one limit stands after a decision."""

    rule: RateRule
    standing: Standing


_Charge = tuple[RateRule, Allowance, float]


class Admission:
    """A request that was let in: what it was charged, and how its limits stand."""

    __slots__ = ("_charged", "_owe", "stands")

    def __init__(self, charged: Sequence[_Charge], stands: Sequence[Passed], owe: Callable[[Allowance], None]) -> None:
        """Made by `Rates.admit`."""
        self._charged = charged
        self._owe = owe
        self.stands = stands

    def settle(self, tokens: float) -> None:
        """It took so many tokens in truth. Settling twice is settling once."""
        charged, self._charged = self._charged, ()
        for rule, allowance, charge in charged:
            if rule.rate.unit == "tokens" and charge != tokens:
                allowance.give_back(charge - tokens)
                self._owe(allowance)

    def undo(self) -> None:
        """It was not carried out after all: nothing counts."""
        charged, self._charged = self._charged, ()
        for _, allowance, charge in charged:
            allowance.give_back(charge)
            self._owe(allowance)


class Rates:
    """Keeps to limits together with every worker on the same store. Used on one loop; without a store it counts alone."""

    def __init__(
        self,
        rules: Sequence[RateRule] = (),
        *,
        limits: Mapping[str, Mapping[str, Any]] | None = None,
        store: LimitStore | None = None,
        workers: int = 1,
        counting: RateCounting | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`limits` by name, as in `{"free_tier": {"requests_per_minute": 10}}`: those of `free_tier` are for the tier `free`.

        They are counted by user, unless they say otherwise (`by`, `only`, `when_down`). While the store is away, each of so many
        `workers` keeps to its part. Raises `ConfigError`.
        """
        self.rules = [*rules, *(rules_of(limits) if limits else ())]
        self._plan: dict[Where, list[tuple[RateRule, How]]] = {
            "everywhere": [(rule, "request" if _counts_requests(rule) else "tokens") for rule in self.rules],
            "door": [
                (rule, "request" if _counts_requests(rule) else "look")
                for rule in self.rules
                if not rule.asks_for_model
            ],
            "model": [
                (rule, "request" if _counts_requests(rule) else "tokens")
                for rule in self.rules
                if rule.asks_for_model or not _counts_requests(rule)
            ],
        }
        self._counting = counting
        self._clock = clock
        self._link = Link(
            store or _Alone(clock),
            clock,
            workers=workers,
            failed=(lambda: None) if counting is None else counting.store_failed,
        )
        self._known: OrderedDict[tuple[str, ...], Allowance] = OrderedDict()
        self._owing: list[tuple[float, int, Allowance]] = []
        """A heap: when to tell others what was given back, or what was taken in advance and not used."""
        self._owed = itertools.count()
        self._teller: asyncio.Task[None] | None = None

    async def admit(
        self, visitor: Visitor, *, times: float = 1.0, tokens: float = 1.0, where: Where = "everywhere"
    ) -> Admission:
        """Let a request in, or so many together, charged with so many tokens until `settle` says how many it took.

        Raises `RateExceeded` where one of its limits is used up, and nothing counts then; `LimitsUnavailable` where the store is
        away and a limit lets nobody in without it.
        """
        charged: list[_Charge] = []
        stands: list[Passed] = []
        admission = Admission(charged, stands, self._owe)
        try:
            for rule, how in self._plan[where]:
                if not rule.fits(visitor):
                    continue
                cost = times if how == "request" else max(1.0, tokens)
                allowance = self._allowance(rule, visitor)
                if how == "look":
                    standing = await allowance.look(within_s=rule.rate.lease_s)
                else:
                    standing = allowance.take_now(cost) or await self._taken(allowance, cost)
                stands.append(Passed(rule, standing))
                if not standing.passes:
                    raise self._refusal(rule, cost, stands)  # noqa: TRY301 - what was charged is undone below, as for every end
                if how != "look":
                    charged.append((rule, allowance, cost))
        except BaseException:
            admission.undo()
            raise
        if self._counting is not None and stands:
            self._counting.admitted(stands)
        return admission

    async def standing(self, visitor: Visitor) -> list[Passed]:
        """How every limit stands that is for this one. Nothing is taken."""
        return [Passed(rule, await self._allowance(rule, visitor).look()) for rule in self.rules if rule.fits(visitor)]

    async def reset(self, visitor: Visitor) -> list[str]:
        """Forget what this one took, everywhere; the names of the limits. Raises `StoreUnavailable`."""
        named = []
        for rule in self.rules:
            if rule.fits(visitor):
                await self._allowance(rule, visitor).clear()
                named.append(rule.name)
        return named

    async def drain(self) -> None:
        """Tell others what was given back, and what was taken in advance and not used."""
        owing, self._owing = self._owing, []
        for at in range(0, len(owing), _TOLD_MAX):
            await asyncio.gather(*(_release(allowance) for _, _, allowance in owing[at : at + _TOLD_MAX]))

    async def stop(self) -> None:
        """Give back what was taken in advance. Stopping twice is stopping once."""
        teller, self._teller = self._teller, None
        if teller is not None:
            teller.cancel()
            await asyncio.wait([teller])
        known, self._known = self._known, OrderedDict()
        for allowance in known.values():
            self._owe(allowance, wake=False)
        await self.drain()

    # -- inside

    async def _taken(self, allowance: Allowance, cost: float) -> Standing:
        standing = await allowance.take(cost)
        self._owe(allowance)
        return standing

    def _allowance(self, rule: RateRule, visitor: Visitor) -> Allowance:
        place = rule.place(visitor)
        found = self._known.get(place)
        if found is not None:
            self._known.move_to_end(place)
            return found
        key = hashlib.blake2b(repr(place).encode(errors="surrogatepass"), digest_size=16).hexdigest()
        found = self._known[place] = Allowance(f"rates:{key}", rule.rate, self._link, self._clock)
        if len(self._known) > _KNOWN_MAX:
            _, oldest = self._known.popitem(last=False)
            self._owe(oldest)
        return found

    def _owe(self, allowance: Allowance, *, wake: bool = True) -> None:
        since = allowance.owes_from
        if since is None:
            return
        due = max(since, self._clock.monotonic() + _TELL_S)
        heapq.heappush(self._owing, (due, next(self._owed), allowance))
        if self._teller is None and wake:
            self._teller = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        monotonic = self._clock.monotonic
        while self._owing:
            await asyncio.sleep(_TELL_S)
            due: list[Awaitable[None]] = []
            while self._owing and self._owing[0][0] <= monotonic() and len(due) < _TOLD_MAX:
                _, _, allowance = heapq.heappop(self._owing)
                since = allowance.owes_from
                if since is not None and since > monotonic():  # it has taken anew meanwhile
                    self._owe(allowance)
                else:
                    due.append(_release(allowance))
            await asyncio.gather(*due)
        self._teller = None

    def _refusal(self, rule: RateRule, cost: float, stands: Sequence[Passed]) -> CorralError:
        standing = stands[-1].standing
        if self._counting is not None:
            self._counting.refused(rule.name, alone=standing.alone)
        if standing.alone and rule.rate.when_down == "closed":
            return LimitsUnavailable(retry_after_s=standing.retry_after_s)
        if standing.retry_after_s is None:
            return RateExceeded(
                f"This asks for {cost:g} {rule.rate.unit} at once, and `{rule.name}` allows {rule.said}.", stands=stands
            )
        return RateExceeded(
            f"`{rule.name}` allows {rule.said}: try again in {max(1, round(standing.retry_after_s))} s.",
            retry_after_s=standing.retry_after_s,
            stands=stands,
        )


async def _release(allowance: Allowance) -> None:
    try:
        await allowance.release()
    except StoreUnavailable:
        return  # debts stay, and are told with its next exchange


def _counts_requests(rule: RateRule) -> bool:
    return rule.rate.unit == "requests"


class _Alone:
    """A store for one process. What nobody changed for a day is forgotten, and what is too much as well, the oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[int, bytes]] = OrderedDict()

    async def read(self, key: str) -> Shared:
        version, body = self._kept.get(key, (0, b""))
        return Shared(body, version, self._clock.now())

    async def swap(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        known = self._kept.get(key, (0, b""))[0]
        if known == version:
            self._kept[key] = (version + 1 if version else int(self._clock.now() * 1e6), body)
            self._kept.move_to_end(key)
            if len(self._kept) > 5 * _KNOWN_MAX:
                self._kept.popitem(last=False)
        return known == version, await self.read(key)

    async def forget(self, *, idle_s: float = FORGOTTEN_S, limit: int = 1000) -> int:
        del idle_s, limit
        return 0
