"""Topics: an event that is published begins what somebody wants begun when one like it comes.

Each subscriber gets a job of its own, all of them in one transaction: when publishing has answered, nothing is lost any more. An
event has an id; published again with it, as who heard no answer does, it begins nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_time_id, rfc3339
from corral.errors import CorralError, NotFound, PayloadTooLarge, ValidationFailed
from corral.jobs.job import Enqueued, JobDraft
from corral.jobs.request import fault
from corral.jobs.schedules import STARTER
from corral.observability.metrics import Metrics
from corral.workflows.failing import DATA_MAX_BYTES, StateFailed
from corral.workflows.language.paths import find, is_path
from corral.workflows.language.scope import Scope
from corral.workflows.matching import check_pattern, matches
from corral.workflows.starting import WORKFLOW_MAX
from corral.workflows.topic_store import EventRule, Target, TopicStore

_log = logging.getLogger("corral.workflows")

RULES_MAX = 300
"""Of one tenant."""
TARGETS_MAX = 10
"""Of one rule."""
BEGUN_MAX = 5000
"""By all events of one request."""
TOPIC_DEFAULT = "default"
NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_NAME = re.compile(NAME_PATTERN)
_SEPARATOR = "\x1f"
_DEDUPE_S = 86_400.0

MakeJob: TypeAlias = Callable[[str, object], JobDraft]
"""The job of a tenant that a request stands for. Raises `NotFound`, `ValidationFailed`."""
Enqueue: TypeAlias = Callable[[Sequence[JobDraft]], Awaitable[list[Enqueued]]]
"""All of them or none. Raises `QueueFull`, `IdempotencyKeyReused`."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, as it is published."""

    detail_type: str
    """What kind of thing: `Order created`."""
    detail: dict[str, Any] = {}
    source: str = "corral"
    """Where it comes from: `shop.orders`."""
    topic: str = TOPIC_DEFAULT
    id: str = ""
    """Empty: one is made."""
    time: float | None = None
    """When it happened; none: now."""
    resources: tuple[str, ...] = ()


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What an event began for one subscriber."""

    rule: str
    workflow: str = ""
    job: str = ""
    """The id of the job that does it, or that starts the workflow."""
    is_new: bool = True
    """False: this event was published before."""
    error: str = ""
    """Why nothing began: what the rule names is not there any more, or does not take such an event."""


class TopicCounting:
    """The numbers of events: `corral_events_*`."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        """Declare them. Without `metrics` nobody looks. Topics and rules are no labels: tenants name them."""
        m = metrics or Metrics()
        self._published = m.counter("corral_events_published_total", "Events that were published.")
        self._matched = m.counter("corral_events_matched_total", "Subscribers that events were meant for.")
        self._begun = m.counter(
            "corral_events_begun_total",
            "What events began: a `workflow` or a `job`; `again` for what they had begun before, `refused` for what cannot be begun.",
            "what",
        )

    def published(self, events: int, begun: Iterable[Begun]) -> None:
        """So many events were published together, and this is what came of them."""
        self._published.value().value += events
        for one in begun:
            self._matched.value().value += 1
            what = ("workflow" if one.workflow else "job") if one.is_new else "refused" if one.error else "again"
            self._begun.value(what).value += 1


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event."""

    id: str
    begun: tuple[Begun, ...] = ()


class Topics:
    """Rules, and events that are matched against them."""

    def __init__(
        self,
        rules: TopicStore,
        make_job: MakeJob,
        enqueue: Enqueue,
        *,
        region: str = "us-east-1",
        account: str = "000000000000",
        counting: TopicCounting | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`region` and `account` are what events say of themselves."""
        self._rules = rules
        self._make_job = make_job
        self._enqueue = enqueue
        self._place = {"account": account, "region": region}
        self._counting = counting or TopicCounting()
        self._now = clock.now

    # -- rules

    async def rules(self, tenant: str, *, topic: str | None = None) -> list[EventRule]:
        """All of a tenant, or those of a topic, by name."""
        return await self._rules.rules(tenant, topic=topic)

    async def rule(self, tenant: str, name: str) -> EventRule:
        """One of them. Raises `NotFound`."""
        found = await self._rules.get(tenant, name)
        if found is None:
            raise _unknown(name)
        return found

    async def save(self, rule: EventRule) -> tuple[EventRule, bool]:
        """Make a rule, or replace the one of that name; whether it is new. Raises `ValidationFailed`, `RulesFull`."""
        check_name("name", rule.name)
        check_name("topic", rule.topic)
        check_pattern(rule.pattern)
        if not 1 <= len(rule.targets) <= TARGETS_MAX:
            raise fault("/targets", f"A rule has 1 to {TARGETS_MAX} targets, each a workflow or a job.")
        for at, target in enumerate(rule.targets):
            self._check_target(rule.tenant, target, f"/targets/{at}")
        return await self._rules.save(rule, rules_max=RULES_MAX)

    async def remove(self, tenant: str, name: str) -> None:
        """Remove. What it began goes on. Raises `NotFound`."""
        if not await self._rules.remove(tenant, name):
            raise _unknown(name)

    def _check_target(self, tenant: str, target: Target, pointer: str) -> None:
        if bool(target.workflow) == bool(target.job):
            raise fault(pointer, 'A target is a `workflow`, or a `job` such as {"agent": "mailer"}: one of them.')
        if len(target.workflow) > WORKFLOW_MAX:
            raise fault(f"{pointer}/workflow", f"The name of a workflow has at most {WORKFLOW_MAX} characters.")
        if not is_path(target.input_path):
            raise fault(f"{pointer}/input_path", "`input_path` is a path into the event, such as `$.detail`.")
        if target.job:
            if "input" in target.job:
                raise fault(
                    f"{pointer}/job/input", "A target's `input` stands beside its `job`; none: the event itself."
                )
            given = {} if target.input is msgspec.UNSET else {"input": target.input}
            try:
                self._make_job(tenant, {**target.job, **given})
            except ValidationFailed as error:
                if target.input is msgspec.UNSET and all(
                    str(one.get("pointer", "")).startswith("/input") for one in error.errors
                ):
                    return  # whether the agent takes the event shows when one comes
                raise fault(f"{pointer}/job", error.message) from None

    # -- events

    async def publish(self, tenant: str, events: Sequence[Event], *, traceparent: str = "") -> list[Published]:
        """Begin what waits for these events: everything or, where this raises, nothing.

        Raises `ValidationFailed`, `PayloadTooLarge`, `QueueFull`, and `IdempotencyKeyReused` for an id that stood for another
        event.
        """
        listening: dict[str, list[EventRule]] = {}
        for topic in {event.topic: None for event in events}:
            listening[topic] = await self._rules.listening(tenant, check_name("topic", topic))
        plans: list[tuple[str, list[_Plan]]] = []
        begun = 0
        for event in events:
            shown = self._shown(event)
            wanted = [
                self._plan(tenant, rule, at, shown, _mark_of(event), traceparent)
                for rule in listening[event.topic]
                if matches(rule.pattern, shown)
                for at in range(len(rule.targets))
            ]
            plans.append((shown["id"], wanted))
            begun += len(wanted)
            if begun > BEGUN_MAX:
                raise ValidationFailed(
                    f"These events would begin more than {BEGUN_MAX} jobs and workflows: publish fewer of them at once."
                )
            await asyncio.sleep(0)  # others are being served meanwhile
        drafts = [plan.draft for _, wanted in plans for plan in wanted if plan.draft is not None]
        enqueued = iter(await self._enqueue(drafts) if drafts else [])
        published = [
            Published(id=event_id, begun=tuple(plan.begun(enqueued) for plan in wanted)) for event_id, wanted in plans
        ]
        self._counting.published(len(published), (begun for one in published for begun in one.begun))
        return published

    def _plan(self, tenant: str, rule: EventRule, at: int, shown: dict[str, Any], mark: str, traceparent: str) -> _Plan:
        """What an event begins for one subscriber. One that cannot be begun is no reason to leave out the others."""
        target = rule.targets[at]
        try:
            draft = self._make_job(tenant, _request(target, shown))
        except CorralError as error:
            _log.warning("The rule %s (tenant %s) began nothing: %s", rule.name, tenant, error.message)
            return _Plan(rule.name, target.workflow, None, error.message)
        draft = msgspec.structs.replace(
            draft,
            idempotency_key=_SEPARATOR.join(("event", shown["id"], rule.name, str(at))),
            fingerprint=mark,
            dedupe_s=_DEDUPE_S,
            tags=(*draft.tags, f"rule:{rule.name}"),
            traceparent=traceparent,
        )
        return _Plan(rule.name, target.workflow, draft, "")

    def _shown(self, event: Event) -> dict[str, Any]:
        """An event as patterns and subscribers see it: in EventBridge's form."""
        now = self._now()
        at = now if event.time is None else event.time
        shown: dict[str, Any] = {
            "version": "0",
            "id": event.id or new_time_id(now),
            "detail-type": event.detail_type,
            "source": event.source,
            **self._place,
            "time": rfc3339(at),
            "resources": list(event.resources),
            "detail": event.detail,
        }
        size = len(msgspec.json.encode(shown))
        if size > DATA_MAX_BYTES:
            raise PayloadTooLarge(
                f"The event has {size} bytes, and {DATA_MAX_BYTES} are the most: publish a reference."
            )
        return shown


class _Plan(msgspec.Struct, frozen=True):
    """What is to begin for one subscriber; without a draft, why it cannot."""

    rule: str
    workflow: str
    draft: JobDraft | None
    error: str

    def begun(self, enqueued: Iterator[Enqueued]) -> Begun:
        """What became of it; takes its own out of what was enqueued, which is in the order of the drafts."""
        if self.draft is None:
            return Begun(rule=self.rule, workflow=self.workflow, is_new=False, error=self.error)
        job = next(enqueued)
        return Begun(rule=self.rule, workflow=self.workflow, job=job.id, is_new=job.is_new)


def _request(target: Target, shown: dict[str, Any]) -> dict[str, Any]:
    """The job that a subscriber gets. Raises `ValidationFailed` where the event has not what it is to be given."""
    if target.input is not msgspec.UNSET:
        given = target.input
    else:
        try:
            given = find(target.input_path, Scope(input=shown))
        except StateFailed as error:
            raise ValidationFailed(
                f"The event has nothing at {target.input_path}: {error.cause or error.error}"
            ) from None
    if target.workflow:
        return {"agent": STARTER, "input": {"workflow": target.workflow, "input": given}}
    return {**target.job, "input": given}


def _mark_of(event: Event) -> str:
    """What makes an event published again the same event."""
    return hashlib.blake2b(msgspec.json.encode(event, order="deterministic"), digest_size=16).hexdigest()


def check_name(what: str, name: str) -> str:
    """A rule's or a topic's name, or `ValidationFailed`."""
    if not _NAME.fullmatch(name):
        raise fault(
            f"/{what}",
            f"A {what} has letters, digits, '.', '_' and '-', at most 100 of them, and begins with a letter or a digit.",
        )
    return name


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no rule {name[:100]!r}.")
