"""Who may ask how often, and for how many tokens: any mix of limits, all of which a request has to pass.

limiter = RateLimiter(limits={"free_tier": {"requests_per_minute": 10, "tokens_per_day": 50_000}})

@limiter.limit
async def handler(payload, context): ...
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, ParamSpec, TypeVar

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.context import Context, find_context
from corral.errors import ConfigError, CorralError
from corral.limits.allowance import Allowance, Rate, Standing, Unit, WhenDown
from corral.limits.store import LimitStore, Shared

P = ParamSpec("P")
R = TypeVar("R")

Mark = Literal["tenant", "key", "user", "session", "tier", "agent", "model"]
MARKS: tuple[Mark, ...] = ("tenant", "key", "user", "session", "tier", "agent", "model")

WINDOWS: dict[str, float] = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_WINDOW_NAMES = {seconds: name for name, seconds in WINDOWS.items()}
_NAMED = re.compile(r"(requests|tokens)_per_(second|minute|hour|day)")
_TIER = re.compile(r"(.+)_tier")
_KNOWN_MAX = 100_000
"""Identities whose limits are remembered here; of others, what was taken in advance is lost."""


class RateExceeded(CorralError):
    """You have asked as often as you may for now."""

    status = 429
    code = "rate_exceeded"
    retryable = True


class LimitsUnavailable(CorralError):
    """Whether you may ask cannot be found out now; try again in a moment."""

    status = 503
    code = "limits_unavailable"
    retryable = True


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and for what. Everything but the tenant may be unknown."""

    tenant: str = "default"
    key: str = ""
    user: str = ""
    session: str = ""
    tier: str = ""
    agent: str = ""
    model: str = ""


class RateRule(msgspec.Struct, frozen=True, kw_only=True):
    """One limit: for whom, counted by what, and how much."""

    name: str
    rate: Rate
    by: tuple[Mark, ...] = ("user",)
    """Whoever has all of these in common shares it; always within one tenant."""
    only: Mapping[str, tuple[str, ...]] = {}
    """For whom it is: patterns by mark, such as `{"tier": ("free", "trial*")}`. Empty: for everybody."""

    def fits(self, visitor: Visitor) -> bool:
        """Whether it is for this one."""
        return all(any(fnmatchcase(getattr(visitor, mark), one) for one in some) for mark, some in self.only.items())


class Passed(msgspec.Struct, frozen=True):
    """How one limit stands after a decision."""

    rule: RateRule
    standing: Standing


class Admission:
    """A request that was let in: what it was charged, and how its limits stand."""

    __slots__ = ("_charged", "stands")

    def __init__(self, charged: Sequence[tuple[RateRule, Allowance, float]], stands: Sequence[Passed]) -> None:
        """Made by `RateLimiter.admit`."""
        self._charged = charged
        self.stands = stands

    def settle(self, tokens: float) -> None:
        """It took so many tokens in truth."""
        for rule, allowance, charge in self._charged:
            if rule.rate.unit == "tokens":
                allowance.give_back(charge - tokens)
        self._charged = ()

    def undo(self) -> None:
        """It was not carried out after all: nothing counts."""
        for _, allowance, charge in self._charged:
            allowance.give_back(charge)
        self._charged = ()


class RateLimiter:
    """Keeps to limits together with every worker on the same store. Used on one loop; without a store it counts alone."""

    def __init__(
        self,
        rules: Sequence[RateRule] = (),
        *,
        limits: Mapping[str, Mapping[str, float]] | None = None,
        store: LimitStore | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`limits` by name, as in `{"free_tier": {"requests_per_minute": 10}}`: those of `free_tier` are for the tier `free`.

        They are counted by user, unless they say otherwise (`by`, `only`, `when_down`). Raises `ConfigError`.
        """
        self.rules = [*rules, *(rules_of(limits) if limits else ())]
        self._store: LimitStore = store or _Alone(clock)
        self._clock = clock
        self._known: OrderedDict[bytes, Allowance] = OrderedDict()

    async def admit(self, visitor: Visitor, *, tokens: float = 1.0) -> Admission:
        """Let a request in, charged with so many tokens until `settle` says how many it took.

        Raises `RateExceeded` where one of its limits is used up, and nothing counts then; `LimitsUnavailable` where the store is
        away and a limit lets nobody in without it.
        """
        charged: list[tuple[RateRule, Allowance, float]] = []
        stands: list[Passed] = []
        for rule in self.rules:
            if not rule.fits(visitor):
                continue
            allowance = self._allowance(rule, visitor)
            cost = 1.0 if rule.rate.unit == "requests" else max(1.0, tokens)
            standing = allowance.take_now(cost) or await allowance.take(cost)
            stands.append(Passed(rule, standing))
            if not standing.passes:
                Admission(charged, ()).undo()
                raise _refusal(rule, standing, cost)
            charged.append((rule, allowance, cost))
        return Admission(charged, stands)

    def limit(self, handler: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        """Have a handler of yours called only as often as its caller may: who that is says the request it runs in."""

        @functools.wraps(handler)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> R:
            await self.admit(visitor_of(find_context() or _given(args)))
            return await handler(*args, **kwargs)

        if not inspect.iscoroutinefunction(handler):
            raise ConfigError("`limit` is for coroutine functions: `async def`.")
        return limited

    async def stop(self) -> None:
        """Give back what was taken in advance. Stopping twice is stopping once."""
        known, self._known = list(self._known.values()), OrderedDict()
        for allowance in known:
            try:
                await allowance.release()
            except CorralError:
                return  # the store is away: what was taken is free again a window later

    def _allowance(self, rule: RateRule, visitor: Visitor) -> Allowance:
        words = [rule.name, visitor.tenant, *(getattr(visitor, mark) for mark in rule.by)]
        place = hashlib.blake2b("\x1f".join(words).encode(errors="surrogatepass"), digest_size=16).digest()
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = Allowance(f"rates:{place.hex()}", rule.rate, self._store, self._clock)
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(place)
        return found


def rules_of(limits: Mapping[str, Mapping[str, Any]]) -> list[RateRule]:
    """Limits as people write them. Raises `ConfigError` that says what is wrong."""
    return [rule for name, said in limits.items() for rule in _rules_named(name, said)]


def _rules_named(name: str, said: Mapping[str, Any]) -> list[RateRule]:
    """Beside limits, `by`, `only` and `when_down` may be said of all of them."""
    by = tuple(said.get("by") or ("user",))
    unknown = [mark for mark in by if mark not in MARKS]
    if unknown:
        raise ConfigError(f"The limit {name!r} is counted by {unknown[0]!r}; there are {', '.join(MARKS)}.")
    tier = _TIER.fullmatch(name)
    only: Mapping[str, Any] = said.get("only") or ({"tier": tier[1]} if tier else {})
    patterns = {mark: (one,) if isinstance(one, str) else tuple(one) for mark, one in only.items()}
    strange = sorted(set(patterns) - set(MARKS))
    if strange:
        raise ConfigError(f"The limit {name!r} is only for some {strange[0]!r}; there are {', '.join(MARKS)}.")
    when_down: WhenDown = said.get("when_down") or "local"
    if when_down not in ("local", "open", "closed"):
        raise ConfigError(f"`when_down` of the limit {name!r} is local, open or closed, not {when_down!r}.")
    rules = []
    for word, amount in said.items():
        if word in ("by", "only", "when_down"):
            continue
        named = _NAMED.fullmatch(word)
        if named is None:
            raise ConfigError(f"The limit {name!r} says {word!r}: say it as `requests_per_minute` or `tokens_per_day`.")
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not amount > 0:
            raise ConfigError(f"`{word}` of the limit {name!r} is a number above 0, not {amount!r}.")
        unit: Unit = "requests" if named[1] == "requests" else "tokens"
        rate = Rate(limit=float(amount), window_s=WINDOWS[named[2]], unit=unit, when_down=when_down)
        rules.append(RateRule(name=f"{name}.{word}", rate=rate, by=by, only=patterns))
    return rules


def visitor_of(context: Context | None) -> Visitor:
    """Who asks, as the request says that runs here."""
    if context is None:
        return Visitor()
    return Visitor(
        tenant=context.tenant,
        user=context.user_id or "",
        session=context.session_id or "",
        tier=context.tier,
        agent=context.agent,
    )


def _given(args: Sequence[object]) -> Context | None:
    return next((one for one in args if isinstance(one, Context)), None)


def _refusal(rule: RateRule, standing: Standing, cost: float) -> CorralError:
    if standing.alone and rule.rate.when_down == "closed":
        return LimitsUnavailable(retry_after_s=standing.retry_after_s)
    window = _WINDOW_NAMES.get(rule.rate.window_s) or f"{rule.rate.window_s:g} s"
    what = f"{rule.rate.limit:g} {rule.rate.unit} per {window}"
    if standing.retry_after_s is None:
        return RateExceeded(f"This asks for {cost:g} {rule.rate.unit} at once, and `{rule.name}` allows {what}.")
    return RateExceeded(
        f"`{rule.name}` allows {what}: try again in {max(1, round(standing.retry_after_s))} s.",
        retry_after_s=standing.retry_after_s,
    )


def headers_of(stands: Sequence[Passed]) -> list[tuple[bytes, bytes]]:
    """How the limits stand: `RateLimit-*` of the one with the least left, and the policies of all."""
    if not stands:
        return []
    tight = min(stands, key=lambda one: one.standing.remaining / one.rule.rate.limit)
    policies = ", ".join(f"{one.rule.rate.limit:g};w={one.rule.rate.window_s:g};name={one.rule.name}" for one in stands)
    return [
        (b"ratelimit-limit", b"%d" % tight.rule.rate.limit),
        (b"ratelimit-remaining", b"%d" % max(0, int(tight.standing.remaining))),
        (b"ratelimit-reset", b"%d" % (int(tight.standing.reset_s) + 1)),
        (b"ratelimit-policy", policies.encode()),
    ]


class _Alone:
    """A store for one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[int, bytes]] = {}

    async def read(self, key: str) -> Shared:
        version, body = self._kept.get(key, (0, b""))
        return Shared(body, version, self._clock.now())

    async def swap(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        known = self._kept.get(key, (0, b""))[0]
        if known == version:
            self._kept[key] = (version + 1, body)
        return known == version, await self.read(key)
