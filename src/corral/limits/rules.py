"""Which limits there are, and for whom: as people write them, checked and made into rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import msgspec

from corral.context import Context
from corral.errors import ConfigError
from corral.limits.allowance import Rate, Unit, WhenDown

Mark = Literal["tenant", "key", "user", "session", "tier", "agent", "model"]
MARKS: tuple[Mark, ...] = get_args(Mark)

WINDOWS: dict[str, float] = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_WINDOW_NAMES = {seconds: name for name, seconds in WINDOWS.items()}
_NAMED = re.compile(r"(requests|tokens)_per_(second|minute|hour|day)")
_TIER = re.compile(r"(.+)_tier")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MORE = ("by", "only", "when_down")


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

    @property
    def asks_for_model(self) -> bool:
        """Whether it can be decided only where it is known which model is asked."""
        return "model" in self.by or "model" in self.only

    def fits(self, visitor: Visitor) -> bool:
        """Whether it is for this one. Without a session, nothing is counted by session."""
        if "session" in self.by and not visitor.session:
            return False
        return all(any(fnmatchcase(getattr(visitor, mark), one) for one in some) for mark, some in self.only.items())

    def place(self, visitor: Visitor) -> tuple[str, ...]:
        """What all have in common who share it. Somebody without a name goes by the key."""
        words = [self.name, visitor.tenant]
        for mark in self.by:
            word = getattr(visitor, mark)
            words.append(word or f"\0{visitor.key}" if mark == "user" else word)
        return tuple(words)

    @property
    def said(self) -> str:
        """For people: `10 requests per minute`."""
        rate = self.rate
        return f"{rate.limit:g} {rate.unit} per {_WINDOW_NAMES.get(rate.window_s) or f'{rate.window_s:g} s'}"


def visitor_of(context: Context | None) -> Visitor:
    """Who asks, as the request says that runs here."""
    if context is None:
        return Visitor()
    return Visitor(
        tenant=context.tenant,
        key=context.key_id,
        user=context.user_id or "",
        session=context.session_id or "",
        tier=context.tier,
        agent=context.agent,
    )


def rules_of(limits: Mapping[str, Mapping[str, Any]]) -> list[RateRule]:
    """Limits as people write them. Raises `ConfigError` that says what is wrong."""
    return [rule for name, said in limits.items() for rule in _rules_named(name, said)]


def _rules_named(name: str, said: Mapping[str, Any]) -> list[RateRule]:
    """Beside limits, `by`, `only` and `when_down` may be said of all of them."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"A limit's name is 1 to 64 letters, digits, `_`, `-` and `.`, such as `free_tier`: not {name!r}."
        )
    given = said.get("by") or ("user",)
    by = (given,) if isinstance(given, str) else tuple(given)
    unknown = [mark for mark in by if mark not in MARKS]
    if unknown:
        raise ConfigError(f"The limit {name!r} is counted by {unknown[0]!r}; there are {', '.join(MARKS)}.")
    when_down: WhenDown = said.get("when_down") or "local"
    if when_down not in get_args(WhenDown):
        raise ConfigError(f"`when_down` of the limit {name!r} is local, open or closed, not {when_down!r}.")
    only = _only(name, said)
    rules = [
        RateRule(name=f"{name}.{word}", rate=_rate(name, word, amount, when_down), by=by, only=only)
        for word, amount in said.items()
        if word not in _MORE
    ]
    if not rules:
        raise ConfigError(f"The limit {name!r} allows nothing yet: say `requests_per_minute`, `tokens_per_day`, ….")
    return rules


def _only(name: str, said: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """`free_tier` is for the tier `free`, or of just that name, unless it says for whom it is."""
    tier = _TIER.fullmatch(name)
    only: Mapping[str, Any] = said.get("only") or ({"tier": (tier[1], name)} if tier else {})
    strange = sorted(set(only) - set(MARKS))
    if strange:
        raise ConfigError(f"The limit {name!r} is only for some {strange[0]!r}; there are {', '.join(MARKS)}.")
    return {mark: (one,) if isinstance(one, str) else tuple(one) for mark, one in only.items()}


def _rate(name: str, word: str, amount: object, when_down: WhenDown) -> Rate:
    named = _NAMED.fullmatch(word)
    if named is None:
        raise ConfigError(f"The limit {name!r} says {word!r}: say it as `requests_per_minute` or `tokens_per_day`.")
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < float("inf"):
        raise ConfigError(f"`{word}` of the limit {name!r} is a number above 0, not {amount!r}.")
    unit: Unit = "requests" if named[1] == "requests" else "tokens"
    return Rate(limit=float(amount), window_s=WINDOWS[named[2]], unit=unit, when_down=when_down)
