"""The budgets of a service: built out of its settings, counted, written into the audit, and told to who wants to know."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from corral.behind import Behind
from corral.clock import SYSTEM_CLOCK, Clock, new_id, new_time_id, rfc3339
from corral.errors import ConfigError, CorralError, OutboundRefused, StoreUnavailable
from corral.jobs.job import JobDraft
from corral.jobs.running import Handler, Outcome, RunningJob
from corral.jobs.webhooks import Notice, Webhooks, notice_of
from corral.limits.budget_books import BudgetBooks
from corral.limits.budget_counting import BudgetCounting
from corral.limits.budget_manager import here
from corral.limits.budget_news import BudgetNews, BudgetObserver
from corral.limits.budget_rules import BudgetRule, rules_of
from corral.limits.budget_store import BudgetStore, Place
from corral.limits.budgets import Budgets
from corral.messages import Audit, AuditEntry
from corral.observability.metrics import Metrics
from corral.outbound.client import Outbound
from corral.server.budgets import BudgetRoutes
from corral.server.routes import Route
from corral.settings.sections import JobSettings, Settings
from corral.workflows.topics import Event

_log = logging.getLogger("corral.limits")

_PENDING_MAX = 10_000
_TELL_EVERY_S = 0.1
_REACHED = "budget.reached"

NEWS = "corral.news"
"""The name of its jobs, in the place of an agent's; and their queue, which processes take from that run no other jobs."""

Enqueue = Callable[[Sequence[JobDraft]], Awaitable[object]]
"""Durable when it returns."""
Publish = Callable[[str, list[Event]], Awaitable[object]]
"""Hands a tenant's events to who waits for them."""


class Spending:
    """Budgets and their news. Each step of its life may come twice."""

    def __init__(
        self,
        settings: Settings,
        store: BudgetStore,
        metrics: Metrics,
        audit: Audit | None,
        enqueue: Enqueue,
        *,
        outbound: Outbound | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Webhooks are called by jobs, which `enqueue` takes. Nothing is opened yet. Raises `ConfigError` for budgets that cannot be kept."""
        rules = rules_of(settings.budgets)
        self._audit = audit
        self._counting = BudgetCounting(metrics)
        self._is_lent = False
        self.telling = Telling(rules, settings, enqueue, outbound=outbound, clock=clock)
        self.handlers: dict[str, Handler] = {NEWS: self.telling.run}
        """The house's own jobs."""
        observer = _Observer(self._counting, audit, self.telling, clock)
        self.budgets = Budgets(rules, store, observer=observer, clock=clock, chance=random.random)

    def routes(self) -> list[Route]:
        """What is asked and changed over HTTP."""
        return BudgetRoutes(BudgetBooks(self.budgets), self._audit).routes()

    @property
    def is_on(self) -> bool:
        """Whether anybody has a budget."""
        return bool(self.budgets.rules)

    def jobs_of(self, settings: Settings) -> JobSettings | None:
        """Which jobs these processes run: those of the settings, and the calls of webhooks, which a gateway makes as well; none: none."""
        jobs, calls = settings.jobs, self.telling.calls
        if settings.runs_jobs:
            return msgspec.structs.replace(jobs, queues=[*jobs.queues, NEWS]) if jobs.queues and calls else jobs
        if settings.keeps_house and calls:
            return msgspec.structs.replace(jobs, queues=[NEWS], concurrency=1)
        return None

    async def start(self) -> None:
        """Begin, where anybody has a budget."""
        if not self._is_lent:
            self._is_lent = True
            here.use(self.budgets.store)
        if self.is_on:
            await self.budgets.start()
            await self.telling.start()

    async def stop(self) -> None:
        """Tell what was spent, and what was reached."""
        if self._is_lent:
            self._is_lent = False
            before = here.use(None)
            if before is not self.budgets.store:  # another service of this process has taken over
                here.use(before)
        await self.budgets.stop()
        await self.telling.stop()


class _Observer(BudgetObserver):
    def __init__(self, counting: BudgetCounting, audit: Audit | None, telling: Telling, clock: Clock) -> None:
        self._counting = counting
        self._audit = audit
        self._telling = telling
        self._clock = clock

    def reached(self, news: BudgetNews) -> None:
        """Counted, logged, written down and told."""
        place = news.place
        self._counting.reached(place.budget, news.step)
        _log.warning(
            "The budget %s%s has reached %g of itself: %s from now on.",
            *(place.budget, f" of {place.who}" if place.who else "", news.step, ", ".join(news.does)),
        )
        if self._audit is not None:
            details: dict[str, Any] = {
                "step": news.step,
                "spent_usd": news.spent.usd,
                "spent_tokens": news.spent.tokens,
            }
            self._write(place, "budget.step", ",".join(news.does), details)
        self._telling.tell(news)

    def refused(self, rule: BudgetRule) -> None:
        """Counted; that the request was refused is written down where it was."""
        self._counting.refused(rule.name)

    def degraded(self, rule: BudgetRule, step: str) -> None:
        """Counted; the reply, the trace and the header say it as well."""
        self._counting.degraded(rule.name, step)

    def stands(self, budget: str, level: float) -> None:
        """A gauge."""
        self._counting.stands(budget, level)

    def _write(self, place: Place, action: str, decision: str, details: dict[str, Any]) -> None:
        if self._audit is not None:
            self._audit(
                AuditEntry(
                    id=new_id(),
                    at=self._clock.now(),
                    tenant=place.tenant,
                    action=action,
                    subject=place.budget,
                    decision=decision,
                    rule=f"budgets.{place.budget}",
                    actor=place.who,
                    details=details,
                )
            )


class Telling:
    """Publishes steps that were reached, and has addresses called, by jobs: never in anybody's way."""

    def __init__(
        self,
        rules: Sequence[BudgetRule],
        settings: Settings,
        enqueue: Enqueue | None = None,
        *,
        outbound: Outbound | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Raises `ConfigError` where there is no secret to sign with, or an address that may not be called."""
        self.publish: Publish | None = None
        """Where events go."""
        jobs = settings.jobs
        self._enqueue = enqueue
        self._urls = {rule.name: rule.settings.webhook for rule in rules if rule.settings.webhook}
        self._webhooks = Webhooks(
            jobs.callback_secret, jobs.callback_allow, for_s=jobs.callback_for_s, outbound=outbound, clock=clock
        )
        for name, url in self._urls.items():
            if not self._webhooks.can_sign:
                raise ConfigError(f"budgets.{name}.webhook needs a secret to sign with: set `jobs.callback_secret`.")
            try:
                self._webhooks.check(url)
            except OutboundRefused as error:
                raise ConfigError(f"budgets.{name}.webhook: {error.message}") from None
        self._line: Behind[tuple[str, BudgetNews]] = Behind(
            self._send, name="News of budgets", log=_log, every_s=_TELL_EVERY_S, pending_max=_PENDING_MAX
        )

    @property
    def calls(self) -> bool:
        """Whether any address is called."""
        return bool(self._urls)

    async def start(self) -> None:
        """Begin."""
        await self._line.start()

    async def stop(self) -> None:
        """Hand on what is left."""
        await self._line.stop()
        await self._webhooks.stop()

    def tell(self, news: BudgetNews) -> None:
        """Soon."""
        self._line.add((new_time_id(news.at), news))

    async def _send(self, group: list[tuple[str, BudgetNews]]) -> None:
        """All of a group, or it comes again: events and jobs that are there already are not begun twice."""
        await asyncio.gather(*(self._send_one(*one) for one in group))

    async def _send_one(self, message_id: str, news: BudgetNews) -> None:
        place = news.place
        try:
            if self.publish is not None:
                event = Event(detail_type=_REACHED, detail=detail_of(news), id=message_id, time=news.at)
                await self.publish(place.tenant, [event])
            if news.webhook and self._enqueue is not None:
                notice = Notice(message_id, body_of(news).decode(), place.budget)
                await self._enqueue([self._webhooks.draft(notice, tenant=place.tenant, handler=NEWS, queue=NEWS)])
        except StoreUnavailable:
            raise
        except CorralError as error:  # trying again is useless
            _log.warning("News of the budget %s cannot be told: %s", place.budget, error.message)

    async def run(self, job: RunningJob) -> Outcome:
        """Call the webhook. A call that fails is tried again as jobs are; `410 Gone` is an answer as well."""
        notice = notice_of(job)
        url = self._urls.get(notice.about)
        if url is None:
            return Outcome(b'"There is no webhook any more."')
        return Outcome(msgspec.json.encode(await self._webhooks.send(notice, url)))


def body_of(news: BudgetNews) -> bytes:
    """What a receiver gets."""
    return msgspec.json.encode({"type": _REACHED, "timestamp": rfc3339(news.at), "data": detail_of(news)})


def detail_of(news: BudgetNews) -> dict[str, Any]:
    """What is said of a step."""
    place = news.place
    return {
        "tenant": place.tenant,
        "budget": place.budget,
        "who": place.who,
        "period": place.period,
        "step": news.step,
        "does": list(news.does),
        "spent_usd": news.spent.usd,
        "spent_tokens": news.spent.tokens,
        "limit_usd": news.limit_usd,
        "limit_tokens": news.limit_tokens,
        "resets_at": news.resets_at,
    }


def check_budgets(settings: Settings) -> None:
    """Raise `ConfigError` for budgets that cannot be kept."""
    rules = rules_of(settings.budgets)
    if any(rule.settings.webhook for rule in rules):
        Telling(rules, settings)
