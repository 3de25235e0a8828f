"""Tells people that a question is put to them: as an event that rules can listen to, and as a signed call where one is set.

Both are jobs before the news counts as told: nothing is lost, and what is told again is the same job.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, rfc3339
from corral.errors import ConfigError, OutboundRefused
from corral.jobs.job import Enqueued, JobDraft
from corral.jobs.running import Outcome, RunningJob
from corral.jobs.webhooks import GONE, Notice, Webhooks, notice_of
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.arns import parse
from corral.workflows.execution import Escalated
from corral.workflows.tasks.jobs import job_id_of
from corral.workflows.topics import Event, Topics

NOTICE = "corral.notice"
"""The name of its jobs, in the place of an agent's."""
TOPIC = "corral"
"""Where the house publishes what happens to itself."""
SOURCE = "corral.approvals"
DETAIL_TYPE = "Approval escalated"

Enqueue: TypeAlias = Callable[[Sequence[JobDraft]], Awaitable[list[Enqueued]]]


class Escalations:
    """Tells of questions that are put to somebody else."""

    def __init__(
        self,
        topics: Topics,
        enqueue: Enqueue,
        settings: WorkflowSettings,
        *,
        secret: str,
        allow: Sequence[str] = (),
        for_s: float = 86_400.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`secret` signs calls as it does callbacks of jobs, and `for_s` is how long one is tried.

        Raises `ConfigError` for a webhook that can never be called.
        """
        self._topics = topics
        self._enqueue = enqueue
        self._queue = settings.queue
        self._url = settings.approvals_webhook
        self._webhooks = Webhooks(secret if self._url else "", allow, for_s=for_s, clock=clock)
        if self._url:
            self._check()

    def _check(self) -> None:
        if not self._webhooks.can_sign:
            raise ConfigError(
                "`workflows.approvals_webhook` needs a secret to sign with: set `jobs.callback_secret` as well."
            )
        try:
            self._webhooks.check(self._url)
        except OutboundRefused as error:
            raise ConfigError(
                f"`workflows.approvals_webhook` cannot be called: {error.message} "
                "(`jobs.callback_allow` names private networks that may be.)"
            ) from None

    async def tell(self, news: Escalated) -> None:
        """Publish it, and have the webhook called. Told again, it begins nothing twice."""
        detail = detail_of(news)
        event = Event(
            topic=TOPIC, source=SOURCE, detail_type=DETAIL_TYPE, detail=detail, id=_event_id(news), time=news.at
        )
        await self._topics.publish(news.tenant, [event])
        if self._url:
            await self._enqueue([self._draft(news, detail)])

    def _draft(self, news: Escalated, detail: dict[str, Any]) -> JobDraft:
        body = msgspec.json.encode(
            {"type": "approval.escalated", "timestamp": rfc3339(news.at), "data": detail}
        ).decode()
        notice = Notice(_event_id(news), body)
        return self._webhooks.draft(notice, tenant=news.tenant, handler=NOTICE, queue=self._queue)

    async def run(self, job: RunningJob) -> Outcome:
        """Call the webhook. A call that fails is tried again as jobs are; `410 Gone` ends it."""
        if not self._url:
            return Outcome(b'"There is no webhook any more."')
        status = await self._webhooks.send(notice_of(job), self._url)
        if status == GONE:
            raise OutboundRefused("The webhook answered 410: its receiver wants no more.")
        return Outcome(msgspec.json.encode(status))

    async def stop(self) -> None:
        """End. Calling it again does nothing."""
        await self._webhooks.stop()


def detail_of(news: Escalated) -> dict[str, Any]:
    """What is told: who is asked what, where to answer, and nothing of what was handed to the execution."""
    question = news.question
    payload = question.payload if isinstance(question.payload, dict) else {}
    return {
        "approval_id": question.id,
        "assignee": news.assignee,
        "step": news.step,
        "message": payload.get("message"),
        "choices": payload.get("choices", ["approve", "reject"]),
        "workflow": parse(question.execution_arn).name,
        "state": question.state_name,
        "execution_id": question.execution_id,
        "asked_at": question.asked_at,
        "expires_at": question.expires_at,
    }


def _event_id(news: Escalated) -> str:
    return job_id_of(news.question.id, f"escalated {news.step}")
