"""What people ask of budgets and change about them: how they stand, how much may be spent, and to begin anew."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from corral.errors import NotFound, StoreUnavailable, ValidationFailed
from corral.limits.accounts import NOTHING, Account, Amount, Terms, decode_account, decode_terms, encode_terms
from corral.limits.budget_rules import BudgetRule, plain
from corral.limits.budget_store import BudgetStore, Change, KeptAccount, Place
from corral.limits.budgets import Budgets

_TRIES = 100


class BudgetNotFound(NotFound):
    """There is no such budget: `corral budgets list` shows those there are."""

    code = "budget_not_found"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """How one account stands."""

    place: Place
    terms: Terms
    spent: Amount
    held: Amount
    """Set aside by workers, for calls in flight and a little in advance."""
    level: float
    reached: tuple[str, ...]
    """The steps of its ladder that hold now."""
    resets_at: float | None
    is_changed: bool
    """An operator said how much, instead of the settings."""


class BudgetBooks:
    """Reads and changes the accounts themselves; workers hear of it when they next talk with the store."""

    def __init__(self, budgets: Budgets) -> None:
        """Of these."""
        self._budgets = budgets

    @property
    def _store(self) -> BudgetStore:
        return self._budgets.store

    def names(self, tenant: str) -> list[str]:
        """The budgets that may be a tenant's."""
        return [rule.name for rule in self._budgets.rules if _is_for(rule, tenant)]

    async def lines(self, tenant: str, budget: str = "", *, after: str = "", limit: int = 100) -> list[Line]:
        """A tenant's accounts in the periods that are now. One that nobody has used yet is there if all of a tenant share it."""
        found: list[Line] = []
        now = self._budgets.now()
        for rule in self._rules(tenant, budget):
            period = rule.period(now)
            kept = await self._store.accounts(tenant, rule.name, period.name, after=after, limit=limit - len(found))
            if not kept and not rule.by and not after:
                known = await self._store.read([Place(tenant, rule.name, "", period.name)])
                kept = known.accounts
            found += [_line(rule, one, now, period.ends_at) for one in kept]
            if len(found) >= limit:
                break
        return found

    async def set(self, tenant: str, budget: str, who: str, terms: Terms | None) -> Line:
        """Say how much may be spent from now on; none: as the settings say."""
        rule, place = self._place(tenant, budget, who)
        if terms is not None and terms.nano is None and terms.tokens is None:
            raise ValidationFailed("Say how much: `usd`, `tokens` or both.")
        await self._store.set_terms(place, encode_terms(terms) if terms is not None else b"")
        return await self._read(rule, place)

    async def reset(self, tenant: str, budget: str, who: str) -> Line:
        """Begin this period anew: nothing is spent yet. What calls in flight cost is counted."""
        rule, place = self._place(tenant, budget, who)
        known = await self._store.read([place])
        for _ in range(_TRIES):
            kept = known.accounts[0]
            if not kept.body:
                break
            account = Account(holds=decode_account(kept.body).holds)
            change = Change(place, kept.version, account.encoded(), rule.keep_until(known.now))
            done, known = await self._store.swap([change])
            if done:
                break
        else:
            raise StoreUnavailable("This budget is changed by too many at once; try again.")
        return await self._read(rule, place)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _rules(self, tenant: str, budget: str) -> Sequence[BudgetRule]:
        found = [rule for rule in self._budgets.rules if _is_for(rule, tenant) and budget in ("", rule.name)]
        if budget and not found:
            raise BudgetNotFound(f"There is no budget {budget[:100]!r}; there are: {_listed(self.names(tenant))}.")
        return found

    def _place(self, tenant: str, budget: str, who: str) -> tuple[BudgetRule, Place]:
        (rule,) = self._rules(tenant, budget) if budget else ()
        if bool(who) and not rule.by:
            raise ValidationFailed(f"The budget {budget!r} is shared by all of a tenant: leave `who` away.")
        return rule, Place(tenant, rule.name, plain(who), rule.period(self._budgets.now()).name)

    async def _read(self, rule: BudgetRule, place: Place) -> Line:
        known = await self._store.read([place])
        return _line(rule, known.accounts[0], known.now, rule.period(known.now).ends_at)


def _is_for(rule: BudgetRule, tenant: str) -> bool:
    patterns = rule.only.get("tenant")
    return patterns is None or any(fnmatchcase(tenant, one) for one in patterns)


def _line(rule: BudgetRule, kept: KeptAccount, now: float, resets_at: float | None) -> Line:
    account = decode_account(kept.body) if kept.body else Account()
    terms = decode_terms(kept.terms) if kept.terms else rule.terms
    held = account.held(now) if kept.body else NOTHING
    level = terms.level(account.spent)
    return Line(
        place=kept.place,
        terms=terms,
        spent=account.spent,
        held=held,
        level=level,
        reached=tuple(dict.fromkeys(step.do for step in rule.ladder if step.at <= level)),
        resets_at=resets_at,
        is_changed=bool(kept.terms),
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none (`budgets` in corral.yaml)"
