"""One worker's part of one account: what it holds of it, what its calls use of that, and what they have spent."""

from __future__ import annotations

import asyncio

import msgspec

from corral.limits.accounts import NOTHING, Account, Amount, Ask, Grant, Terms, decode_account, decode_terms, exchanged
from corral.limits.budget_rules import BudgetRule, Period
from corral.limits.budget_store import Change, KeptAccount, Place

_SHARE = 100
"""No more than this part of a budget is taken in advance."""
_SOON_S = 2.0
"""What is taken in advance lasts about so long."""
_MARGIN_S = 1.0
"""What is held is used no longer shortly before its lease runs out."""


_NEVER = (0.0, NOTHING)


class Standing(msgspec.Struct, frozen=True):
    """How a budget stands, as far as this worker knows."""

    level: float
    """Which part of it is spent or set aside."""
    spent: Amount
    terms: Terms
    resets_at: float | None


class Pocket:
    """Used on one loop."""

    __slots__ = (
        "_asked_at",
        "_held",
        "_held_until",
        "_refused",
        "_taken",
        "counted",
        "kept",
        "kept_at",
        "lock",
        "others",
        "period",
        "place",
        "rule",
        "said",
        "spent",
        "terms",
        "using",
    )  # fmt: skip

    def __init__(self, rule: BudgetRule, place: Place, period: Period) -> None:
        """Nothing is known of the account yet."""
        self.rule = rule
        self.place = place
        self.period = period
        self.lock = asyncio.Lock()
        """Of who talks with the store about it."""
        self.terms = rule.terms
        self.using = NOTHING
        """What calls in flight will probably cost."""
        self.said = NOTHING
        """What calls of this worker cost, in all."""
        self.counted = NOTHING
        """What of that the account has counted."""
        self.spent = NOTHING
        """By all, as the account last said."""
        self.others = NOTHING
        """What other workers held then."""
        self.kept: KeptAccount | None = None
        self.kept_at = (0.0, 0.0)
        """When that was: by the store's clock, and by ours."""
        self._held = NOTHING
        self._held_until = 0.0
        self._taken = NOTHING
        self._asked_at = 0.0
        self._refused = _NEVER

    # -- without the store

    @property
    def is_known(self) -> bool:
        """Whether the account was asked at all."""
        return self.kept is not None

    @property
    def is_clean(self) -> bool:
        """Whether the account knows all there is to know, and nothing is held."""
        return self.said == self.counted and self._held == NOTHING and self.using == NOTHING

    def covers(self, need: Amount, now: float) -> bool:
        """Whether what is held is enough for one more call."""
        if now >= self._held_until:
            return False
        used = self.using + (self.said - self.counted) + need
        return (used.nano <= self._held.nano or self.terms.nano is None) and (
            used.tokens <= self._held.tokens or self.terms.tokens is None
        )

    def refuses(self, need: Amount, now: float) -> bool:
        """Whether as much was refused a moment ago."""
        until, amount = self._refused
        return now < until and need.nano >= amount.nano and need.tokens >= amount.tokens

    def refuse(self, need: Amount, until: float) -> None:
        """There is not as much; until then nobody need ask."""
        self._refused = (until, need)

    def use(self, need: Amount) -> None:
        """A call begins that will probably cost so much."""
        self.using += need
        self._taken += need

    def settle(self, reserved: Amount, cost: Amount) -> None:
        """It cost so much."""
        self.using -= reserved
        self.said += cost
        self._refused = _NEVER

    def has_room(self, need: Amount) -> bool:
        """Whether it is within what may be spent, as far as is known here: for while the store is away."""
        most = self.rule.most_of(self.terms)
        used = self.spent + (self.said - self.counted) + self.using + need
        return (most.nano is None or used.nano <= most.nano) and (most.tokens is None or used.tokens <= most.tokens)

    def standing(self) -> Standing:
        """How it stands."""
        used = self.spent + (self.said - self.counted)
        return Standing(self.terms.level(used + self.using), used, self.terms, self.period.ends_at)

    def is_due(self, now: float) -> bool:
        """Whether the store should hear of it: of what was spent, of what is held too long, or for nothing."""
        if self.said != self.counted:
            return True
        if self._held == NOTHING:
            return False
        return now > self._held_until - self.rule.settings.lease_s / 2 or (
            self._held != self.using and self._taken == NOTHING
        )

    def is_changed_by(self, grant: Grant) -> bool:
        """Whether the account and this would know something new."""
        return self.said != self.counted or self._held != grant.held

    # -- with the store

    def knows(self, kept: KeptAccount, store_now: float, now: float) -> None:
        """This is what lies there."""
        self.kept, self.kept_at = kept, (store_now, now)
        self.terms = decode_terms(kept.terms) if kept.terms else self.rule.terms
        if kept.body:
            account = decode_account(kept.body)
            self.spent = account.spent

    def change(self, worker: str, need: Amount, now: float, *, ahead: bool = True) -> tuple[Change, Grant, Amount]:
        """What to put there, what came of it if it is put, and what is said by that. `ahead`: take some in advance."""
        kept = self.kept
        assert kept is not None  # noqa: S101 - read before
        store_now = self.kept_at[0] + (now - self.kept_at[1])
        account = decode_account(kept.body) if kept.body else Account()
        said = self.said
        ask = Ask(
            worker=worker,
            said=said,
            counted=self.counted,
            using=self.using,
            need=need,
            more=self._soon(now) if ahead else NOTHING,
            lease_s=self.rule.settings.lease_s,
            steps=self.rule.steps,
            hard=self.rule.hard_at,
        )
        changed, grant = exchanged(account, ask, terms=self.terms, most=self.rule.most_of(self.terms), now=store_now)
        change = Change(kept.place, kept.version, changed.encoded(), self.rule.keep_until(store_now))
        return change, grant, said

    def changed(self, grant: Grant, said: Amount, now: float) -> None:
        """It was put."""
        self.counted = said
        self.spent, self.others = grant.spent, grant.others
        self._held = grant.held
        lease_s = self.rule.settings.lease_s
        self._held_until = now + lease_s - min(_MARGIN_S, lease_s / 4)
        self._asked_at = now
        self._taken = NOTHING

    def _soon(self, now: float) -> Amount:
        """As much as calls took lately in a moment."""
        elapsed = max(now - self._asked_at, 0.001)
        share = min(1.0, _SOON_S / elapsed)
        taken, terms = self._taken, self.terms
        return Amount(_soon(taken.nano, terms.nano, share), _soon(taken.tokens, terms.tokens, share))


def _soon(taken: int, limit: int | None, share: float) -> int:
    soon = int(taken * share)
    return soon if limit is None else min(soon, limit // _SHARE)
