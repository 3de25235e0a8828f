"""What a budget says: for whom it is, for which time, and what happens on the way to its end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from corral.errors import ConfigError
from corral.limits.accounts import Terms, amount_of
from corral.limits.budget_store import Place
from corral.messages import Caller
from corral.settings.budget_sections import BudgetSettings, LadderStep

MARKS = ("tenant", "user", "session", "run", "agent", "tier")
TAG = "tag:"
_FIELDS = {"user": "user_id", "session": "session_id", "run": "run_id"}
_WHO_CHARS_MAX = 200
_DAY_S = 86_400.0
_KEEP_S = {"day": 40 * _DAY_S, "month": 400 * _DAY_S}
_KEEP_RUNS_S = 90 * _DAY_S
"""Accounts of single runs and sessions are forgotten so long after their last change."""


class Period(msgspec.Struct, frozen=True):
    """One day, one month, or all time."""

    name: str
    ends_at: float | None
    """In seconds since 1970."""


class BudgetRule:
    """One budget of the settings, checked."""

    __slots__ = (
        "_keep_s",
        "_period",
        "_zone",
        "by",
        "hard",
        "hard_at",
        "ladder",
        "name",
        "only",
        "settings",
        "steps",
        "terms",
    )

    def __init__(self, name: str, settings: BudgetSettings) -> None:
        """Raises `ConfigError` that says what is wrong."""
        self.name = name
        self.settings = settings
        self.by = tuple(mark for mark in settings.by if mark != "tenant")  # which every budget is counted by
        self.only = settings.only
        self.ladder: tuple[LadderStep, ...] = tuple(settings.ladder)
        for mark in (*settings.by, *self.only):
            if mark not in MARKS and not (mark.startswith(TAG) and len(mark) > len(TAG)):
                raise ConfigError(f"budgets.{name} says {mark!r}: there are {', '.join(MARKS)}, and `tag:NAME`.")
        if settings.usd is None and settings.tokens is None:
            raise ConfigError(f"budgets.{name} says neither `usd` nor `tokens`: say how much may be spent.")
        missing = [step for step in self.ladder if step.do == "smaller_model" and not step.to]
        if missing:
            raise ConfigError(f"budgets.{name}.ladder: `smaller_model` needs `to`, the model to ask instead.")
        self.hard = next((step for step in self.ladder if step.do in ("queue", "reject")), None)
        """From which step on calls are refused; none: at the end."""
        self.hard_at = 1.0 if self.hard is None else self.hard.at
        self.steps = tuple(sorted({step.at for step in self.ladder} | {self.hard_at}))
        """Where somebody is told."""
        nano = None if settings.usd is None else amount_of(settings.usd).nano
        self.terms = Terms(nano, settings.tokens)
        self._zone = _zone(name, settings.zone)
        self._period: Period | None = None
        runs = settings.period == "total" and ("run" in self.by or "session" in self.by)
        self._keep_s = _KEEP_RUNS_S if runs else _KEEP_S.get(settings.period)

    def most_of(self, terms: Terms) -> Terms:
        """Beyond what calls are refused."""
        return terms.cut(self.hard_at)

    def fits(self, caller: Caller) -> bool:
        """Whether it is for this one."""
        return all(
            any(fnmatchcase(value_of(caller, mark), pattern) for pattern in patterns)
            for mark, patterns in self.only.items()
        )

    def who(self, caller: Caller) -> str:
        """Of those it is counted for, which one this is; empty: they all are one."""
        if len(self.by) == 1:
            return plain(value_of(caller, self.by[0]))
        return plain(",".join(f"{mark}={value_of(caller, mark)}" for mark in self.by))

    def place(self, caller: Caller, now: float) -> Place:
        """The account that a call belongs to."""
        return Place(caller.tenant, self.name, self.who(caller), self.period(now).name)

    def period(self, now: float) -> Period:
        """The one that is now."""
        found = self._period
        if found is None or (found.ends_at is not None and now >= found.ends_at):
            found = self._period = period_of(self.settings.period, now, self._zone)
        return found

    def keep_until(self, now: float) -> float | None:
        """Until when an account is kept that was changed now; none: for ever."""
        return None if self._keep_s is None else now + self._keep_s


def period_of(kind: str, now: float, zone: tzinfo = UTC) -> Period:
    """The period in which a moment lies."""
    if kind == "total":
        return Period("", None)
    day = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if kind == "day":
        return Period(f"{day:%Y-%m-%d}", (day + timedelta(days=1)).timestamp())
    first = day.replace(day=1)
    return Period(f"{first:%Y-%m}", (first + timedelta(days=32)).replace(day=1).timestamp())


def rules_of(budgets: Mapping[str, BudgetSettings]) -> list[BudgetRule]:
    """All budgets of the settings. Raises `ConfigError`."""
    return [BudgetRule(name, settings) for name, settings in budgets.items()]


def value_of(caller: Caller, mark: str) -> str:
    """What a call says of a mark; empty: nothing."""
    if mark.startswith(TAG):
        return caller.tags.get(mark[len(TAG) :], "")
    value: str = getattr(caller, _FIELDS.get(mark, mark))
    return value


def plain(text: str) -> str:
    """As every store can keep it; what is too long or holds control characters ends in a digest of all of it."""
    if len(text) <= _WHO_CHARS_MAX and text.isprintable():
        return text
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    shown = "".join(one if one.isprintable() else "?" for one in text[: _WHO_CHARS_MAX - 20])
    return f"{shown}~{digest}"


def _zone(name: str, zone: str) -> tzinfo:
    if zone == "UTC":
        return UTC
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"budgets.{name}.zone: there is no time zone {zone!r}; write `Europe/Berlin`.") from None
