"""What callers may spend: set aside before a call in all budgets it belongs to, or in none; settled by what it cost.

A worker holds a little of each budget in advance, so that most calls need not wait for the store; near the end of a budget it
asks for each call. What a call was set aside is never given to another one, by whatever worker: so however many ask at once,
a budget is overspent by no more than what calls in flight cost beyond their estimates.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import StoreUnavailable
from corral.limits.accounts import NOTHING, Amount, Grant, shown_usd
from corral.limits.budget_news import (
    BudgetExceeded,
    BudgetNews,
    BudgetObserver,
    BudgetQueued,
    BudgetsUnavailable,
)
from corral.limits.budget_rules import BudgetRule, Period
from corral.limits.budget_store import BudgetStore, Change, Known, Place
from corral.limits.pocket import Pocket, Standing
from corral.messages import Caller

_log = logging.getLogger("corral.limits")

_KNOWN_MAX = 20_000
"""Accounts that are remembered here."""
_EVERY_S = 0.5
"""What was spent is in the store about so long after."""
_PATIENCE_S = 2.0
"""A store that does not answer for so long is away."""
_TRIES = 100
_QUIET_TRIES = 3
_JITTER_S = 0.002
_AWAY_S = 1.0
"""After a failure the store is left alone for so long."""
_REFUSED_S = 0.25
"""For so long who asks for as much is refused without asking, unless somebody here gives back."""
_PUT_OFF_MAX_S = 900.0
"""A job looks again at least so often: somebody may raise the budget meanwhile."""
_GROUP = 16
_STOP_S = 5.0


class Reservation:
    """What one call has set aside."""

    __slots__ = ("amount", "pockets")

    def __init__(self, pockets: Sequence[Pocket], amount: Amount) -> None:
        """Made by `Budgets.reserve`."""
        self.pockets = pockets
        self.amount = amount

    @property
    def usd(self) -> float:
        """How much money."""
        return self.amount.usd


class Budgets:
    """All budgets of one worker. Used on one loop; each step of its life may come twice."""

    def __init__(
        self,
        rules: Sequence[BudgetRule],
        store: BudgetStore,
        *,
        observer: BudgetObserver | None = None,
        clock: Clock = SYSTEM_CLOCK,
        every_s: float = _EVERY_S,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """Keeps to `rules` together with every worker on the same store."""
        self.rules = list(rules)
        self.store = store
        self.observer = observer or BudgetObserver()
        self.worker = new_id()
        self._clock = clock
        self._every_s = every_s
        self._chance = chance
        self._ahead_s = 0.0
        """How much later it is for the store than here."""
        self._known: OrderedDict[Place, Pocket] = OrderedDict()
        self._dirty: dict[Pocket, None] = {}
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._away_until = 0.0

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to tell the store what was spent. Calling it again does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._tend())

    async def drain(self) -> None:
        """Tell the store all that was spent until now, as far as it answers."""
        await self._tell_all(list(self._dirty), all_of_it=True)

    async def stop(self) -> None:
        """Tell what is left, and give back what is held. Calling it again does nothing."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self._tell_all(list(self._dirty), all_of_it=True)

    # -- what calls ask ----------------------------------------------------------------------------------------------

    def pockets(self, caller: Caller) -> list[Pocket]:
        """Its part of every budget that a call belongs to."""
        now = self.now()
        found = []
        for rule in self.rules:
            if rule.only and not rule.fits(caller):
                continue
            place = rule.place(caller, now)
            pocket = self._known.get(place)
            if pocket is None:
                pocket = self._remember(Pocket(rule, place, rule.period(now)))
            else:
                self._known.move_to_end(place)
            found.append(pocket)
        return found

    async def reserve(self, pockets: Sequence[Pocket], need: Amount) -> Reservation:
        """Set aside in all of them, or in none. Raises `BudgetExceeded`; `BudgetsUnavailable` where the store is away and must not be.

        What is neither settled nor given back is free again when its worker's lease runs out.
        """
        for _ in range(_TRIES):
            now = self._clock.monotonic()
            short = [one for one in pockets if one.lock.locked() or not one.covers(need, now)]
            if not short:
                return self._set_aside(pockets, need)
            for one in short:
                if one.refuses(need, now):
                    raise self._refused(one, need)
            try:
                refused = await self._fill(short, need)
            except StoreUnavailable:
                self._decide_alone(short, need)
                return self._set_aside(pockets, need)
            if refused is not None:
                raise self._refused(refused, need)
        raise BudgetsUnavailable(retry_after_s=_AWAY_S)

    def settle(self, reservation: Reservation, cost: Amount) -> None:
        """It cost so much. Settling twice is settling once."""
        pockets, reservation.pockets = reservation.pockets, ()
        for pocket in pockets:
            pocket.settle(reservation.amount, cost)
            self._dirty[pocket] = None
        if pockets:
            self._some.set()

    def correct(self, places: Sequence[Place], by: Amount) -> None:
        """What counted as spent in these accounts was more or less, by so much; they may be of a period that is over."""
        rules = {rule.name: rule for rule in self.rules}
        now = self.now()
        for place in places:
            rule = rules.get(place.budget)
            if rule is None:
                continue  # there is no such budget any more
            pocket = self._known.get(place)
            if pocket is None:
                period = rule.period(now)
                pocket = self._remember(
                    Pocket(rule, place, period if period.name == place.period else Period(place.period, now))
                )
            pocket.settle(NOTHING, by)
            self._dirty[pocket] = None
        self._some.set()

    async def standings(self, pockets: Sequence[Pocket]) -> list[tuple[Pocket, Standing]]:
        """How they stand; the store is asked only about those that were never seen here."""
        unknown = [pocket for pocket in pockets if not pocket.is_known]
        if unknown:
            with contextlib.suppress(StoreUnavailable):  # what is not known stands at nothing; `reserve` decides
                await self._fill(unknown, NOTHING, ahead=False)
        return [(pocket, pocket.standing()) for pocket in pockets]

    @property
    def has_ladders(self) -> bool:
        """Whether anything happens on the way to the end of one."""
        return any(rule.ladder for rule in self.rules)

    def gauge(self) -> None:
        """Tell how the budgets stand: of each the account that is used the most, as far as it is known here."""
        levels = dict.fromkeys((rule.name for rule in self.rules), 0.0)
        for pocket in self._known.values():
            name = pocket.place.budget
            levels[name] = max(levels[name], pocket.standing().level)
        for name, level in levels.items():
            self.observer.stands(name, level)

    def now(self) -> float:
        """The store's time, as far as it is known here."""
        return self._clock.now() + self._ahead_s

    def refusal(self, pocket: Pocket, need: Amount = NOTHING) -> BudgetExceeded:
        """The error that says why a call is not made, and when it may be."""
        rule, standing = pocket.rule, pocket.standing()
        resets_at = standing.resets_at
        wait_s = None if resets_at is None else max(1.0, resets_at - self.now())
        is_queued = rule.hard is not None and rule.hard.do == "queue" and wait_s is not None
        error = (BudgetQueued if is_queued else BudgetExceeded)(
            _explained(pocket, standing, need, resets_at),
            budget=rule.name,
            resets_at=resets_at,
            retry_after_s=wait_s,
        )
        if isinstance(error, BudgetQueued) and wait_s is not None:
            error.put_off_s = min(wait_s, _PUT_OFF_MAX_S)
        return error

    # -- inside ------------------------------------------------------------------------------------------------------

    def _remember(self, pocket: Pocket) -> Pocket:
        self._known[pocket.place] = pocket
        if len(self._known) > _KNOWN_MAX:
            for place, old in list(self._known.items())[:_GROUP]:
                if old.is_clean and old is not pocket:
                    del self._known[place]
        return pocket

    def _set_aside(self, pockets: Sequence[Pocket], need: Amount) -> Reservation:
        for pocket in pockets:
            pocket.use(need)
            self._dirty[pocket] = None
        self._some.set()
        return Reservation(pockets, need)

    def _decide_alone(self, short: Sequence[Pocket], need: Amount) -> None:
        """The store is away: each budget says what is done then."""
        for pocket in short:
            when_down = pocket.rule.settings.when_down
            if when_down == "closed":
                raise BudgetsUnavailable(
                    f"The store is away, and the budget {pocket.rule.name!r} lets nobody spend without it "
                    f"(`budgets.{pocket.rule.name}.when_down`).",
                    retry_after_s=_AWAY_S,
                )
            if when_down == "local" and not pocket.has_room(need):
                raise self._refused(pocket, need)

    def _refused(self, pocket: Pocket, need: Amount) -> BudgetExceeded:
        self.observer.refused(pocket.rule)
        return self.refusal(pocket, need)

    async def _fill(self, pockets: Sequence[Pocket], need: Amount, *, ahead: bool = True) -> Pocket | None:
        """Ask the store for enough in all of these, in one change. Returns the one that has too little, if there is one.

        Raises `StoreUnavailable`, soon.
        """
        async with AsyncExitStack() as stack:
            for pocket in sorted(pockets, key=_order):  # in one order: nobody waits for one who waits for him
                await stack.enter_async_context(pocket.lock)
            now = self._clock.monotonic()
            if now < self._away_until:
                raise StoreUnavailable
            short = [one for one in pockets if need == NOTHING or not one.covers(need, now)]
            if not short:
                return None  # somebody was here meanwhile
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    refused = await self._exchange(short, need, ahead=ahead)
            except (StoreUnavailable, TimeoutError) as error:
                self._lost(error)
                raise StoreUnavailable from None
            if self._away_until:
                self._away_until = 0.0
                _log.info("Budgets are counted with others again.")
            return refused

    async def _exchange(self, pockets: Sequence[Pocket], need: Amount, *, ahead: bool) -> Pocket | None:
        """Change what all know, as often as others were quicker: all of these accounts at once."""
        monotonic = self._clock.monotonic
        for attempt in range(_TRIES):
            now = monotonic()
            is_old = attempt == 0
            if any(not pocket.is_known for pocket in pockets):
                self._see(pockets, await self.store.read([pocket.place for pocket in pockets]))
                now, is_old = monotonic(), False
            plans = [_Plan(pocket, pocket.change(self.worker, need, now, ahead=ahead)) for pocket in pockets]
            if not ahead and all(plan.pocket.is_clean and not plan.grant.news for plan in plans):
                return None  # there is nothing to say; it was only looked at
            refused = next((plan.pocket for plan in plans if not plan.grant.given), None)
            if refused is not None:
                if is_old:  # nobody is refused for what was so a while ago
                    self._see(pockets, await self.store.read([pocket.place for pocket in pockets]))
                    continue
                refused.refuse(need, now + _REFUSED_S)
                plans = [one.without(self.worker, now) for one in plans]
                if not any(plan.says_something for plan in plans):
                    return refused
            done, known = await self.store.swap([plan.change for plan in plans])
            self._see(pockets, known)
            if done:
                for plan in plans:
                    plan.pocket.changed(plan.grant, plan.said, now)
                    self._dirty[plan.pocket] = None
                    self._tell(plan.pocket, plan.grant)
                self._some.set()
                return refused
            if attempt >= _QUIET_TRIES:  # others are at it as well
                await asyncio.sleep(self._chance() * _JITTER_S * attempt)
        raise StoreUnavailable("The budgets are changed by too many at once.")

    def _see(self, pockets: Sequence[Pocket], known: Known) -> None:
        now = self._clock.monotonic()
        self._ahead_s = known.now - self._clock.now()
        for pocket, kept in zip(pockets, known.accounts, strict=True):
            pocket.knows(kept, known.now, now)

    def _lost(self, error: Exception) -> None:
        if not self._away_until:
            _log.warning(
                "Budgets are not counted with others, the store is away: %s", str(error) or type(error).__name__
            )
        self._away_until = self._clock.monotonic() + _AWAY_S

    def _tell(self, pocket: Pocket, grant: Grant) -> None:
        rule, place = pocket.rule, pocket.place
        for step in grant.news:
            does = tuple(one.do for one in rule.ladder if one.at == step) or ("reject",)
            self.observer.reached(
                BudgetNews(
                    at=self.now(),
                    place=place,
                    step=step,
                    does=does,
                    spent=grant.spent,
                    limit_usd=pocket.terms.usd,
                    limit_tokens=pocket.terms.tokens,
                    resets_at=pocket.period.ends_at,
                    webhook=rule.settings.webhook,
                )
            )

    async def _tend(self) -> None:
        """Tell the store what was spent, hold what is used for longer, and give back what is not."""
        while True:
            if not self._dirty:
                self._some.clear()
                await self._some.wait()
            await asyncio.sleep(self._every_s)
            await self._tell_all(list(self._dirty))

    async def _tell_all(self, pockets: Sequence[Pocket], *, all_of_it: bool = False) -> None:
        now = self._clock.monotonic()
        due = [one for one in pockets if all_of_it or one.is_due(now)]
        for index in range(0, len(due), _GROUP):
            try:
                await self._fill(due[index : index + _GROUP], NOTHING, ahead=not all_of_it)
            except StoreUnavailable:
                return  # what was spent is told once it is back
        for pocket in pockets:
            if pocket.is_clean:
                self._dirty.pop(pocket, None)


class _Plan:
    """What is to be put in one account."""

    __slots__ = ("change", "grant", "pocket", "said")

    def __init__(self, pocket: Pocket, planned: tuple[Change, Grant, Amount]) -> None:
        self.pocket = pocket
        self.change, self.grant, self.said = planned

    def without(self, worker: str, now: float) -> _Plan:
        """Where another account has too little, nothing is taken of this one."""
        return _Plan(self.pocket, self.pocket.change(worker, NOTHING, now, ahead=False)) if self.grant.given else self

    @property
    def says_something(self) -> bool:
        """Whether the account would not be the same without it."""
        return bool(self.grant.news) or self.pocket.is_changed_by(self.grant)


def _order(pocket: Pocket) -> tuple[str, str, str, str]:
    place = pocket.place
    return (place.tenant, place.budget, place.period, place.who)


def _explained(pocket: Pocket, standing: Standing, need: Amount, resets_at: float | None) -> str:
    """What is used up, for whom, and what to do."""
    rule, terms, place = pocket.rule, standing.terms, pocket.place
    limits = [] if terms.usd is None else [shown_usd(terms.usd)]
    limits += [] if terms.tokens is None else [f"{terms.tokens:,} tokens"]
    whose = f" of {place.who!r}" if place.who else ""
    span = "" if rule.settings.period == "total" else f" a {rule.settings.period}"
    spent = [] if terms.usd is None else [shown_usd(standing.spent.usd)]
    spent += [] if terms.tokens is None else [f"{standing.spent.tokens:,} tokens"]
    wanted = [] if terms.usd is None else [shown_usd(need.usd)]
    wanted += [] if terms.tokens is None else [f"{need.tokens:,} tokens"]
    when = (
        ""
        if resets_at is None
        else f" It is whole again at {datetime.fromtimestamp(resets_at, UTC):%Y-%m-%d %H:%M} UTC."
    )
    return (
        f"The budget {rule.name!r}{whose} allows {' and '.join(limits)}{span}: {' and '.join(spent)} are spent, and this call may "
        f"take {' and '.join(wanted)}.{when} An operator can raise it with `corral budgets set`."
    )
