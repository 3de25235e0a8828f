"""How urgent a call is: premium users before active sessions before new users before what nobody waits for."""

from __future__ import annotations

from collections import OrderedDict
from fnmatch import fnmatchcase

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.settings.priority_sections import PrioritySettings

_MOST = 10
_MOST_OF_CALLS = 9
_KNOWN_MAX = 20_000
"""Sessions and users that are remembered here: of others, the next message is a first one."""
_TIERS_MAX = 1_000


class Rank(msgspec.Struct, frozen=True):
    """A class of callers, and what it counts."""

    name: str
    score: float
    priority: int
    """The same from 1 to 10, as jobs have it."""

    @property
    def of_calls(self) -> int:
        """The same as calls to models have it: 9 is the most."""
        return min(self.priority, _MOST_OF_CALLS)


class Priorities:
    """Knows the classes, and for a while who was here. What it knows of sessions and users is this process's own."""

    def __init__(self, settings: PrioritySettings, clock: Clock = SYSTEM_CLOCK) -> None:
        """`settings` say what each class counts."""
        weights = settings.weights
        scores = {name: float(getattr(weights, name)) for name in weights.__struct_fields__}
        top = max([*scores.values(), *settings.tiers.values()])
        self.ranks = {name: _rank(name, score, top) for name, score in scores.items()}
        """All classes but those of `tiers`, by name."""
        self._premium = self.ranks["premium_user"]
        self._active = self.ranks["active_session"]
        self._known = self.ranks["known_user"]
        self._new = self.ranks["new_user"]
        self.background = self.ranks["background_task"]
        self._patterns = [(pattern, self._premium) for pattern in settings.premium_tiers]
        self._patterns += [(pattern, _rank(pattern, score, top)) for pattern, score in settings.tiers.items()]
        everything = {*self.ranks.values(), *(rank for _, rank in self._patterns)}
        self._descending = sorted(everything, key=lambda rank: -rank.score)
        self._active_s = settings.active_session_s
        self._new_s = settings.new_user_s
        self._monotonic = clock.monotonic
        self._tiers: dict[str, Rank | None] = {}
        self._sessions: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._users: OrderedDict[tuple[str, str], float] = OrderedDict()

    def rank(self, tenant: str, tier: str, session: str | None, user: str | None, asked: int | None = None) -> Rank:
        """The highest class that fits. `asked` is the priority a caller asks for: a lower one than its own is granted."""
        found = self._new
        now = self._monotonic()
        if user:
            first = self._users.get((tenant, user))
            if first is not None and now - first >= self._new_s:
                found = self._known
        if session:
            last = self._sessions.get((tenant, session))
            if last is not None and now - last < self._active_s and self._active.score > found.score:
                found = self._active
        if tier:
            own = self._of_tier(tier)
            if own is not None and own.score > found.score:
                found = own
        if asked is None or asked >= found.of_calls:
            return found
        return next((rank for rank in self._descending if rank.priority <= asked), self._descending[-1])

    def met(self, tenant: str, session: str | None, user: str | None) -> None:
        """A call of theirs was let in: they are known from now on."""
        now = self._monotonic()
        if session:
            _remember(self._sessions, (tenant, session), now)
        if user:
            key = (tenant, user)
            _remember(self._users, key, self._users.get(key, now))

    def of_job(self, tenant: str, tier: str, session: str | None, user: str | None, asked: int | None) -> int:
        """The priority of a job that is handed in: its caller's own, or what it asks for where that is lower."""
        own = self.rank(tenant, tier, session, user).priority
        return own if asked is None else min(asked, own)

    def _of_tier(self, tier: str) -> Rank | None:
        if tier in self._tiers:
            return self._tiers[tier]
        fitting = [rank for pattern, rank in self._patterns if fnmatchcase(tier, pattern)]
        found = max(fitting, key=lambda rank: rank.score, default=None)
        if len(self._tiers) < _TIERS_MAX:
            self._tiers[tier] = found
        return found


def _rank(name: str, score: float, top: float) -> Rank:
    return Rank(name, score, max(1, round(_MOST * score / top)))


def _remember(known: OrderedDict[tuple[str, str], float], key: tuple[str, str], at: float) -> None:
    known[key] = at
    known.move_to_end(key)
    if len(known) > _KNOWN_MAX:
        known.popitem(last=False)
