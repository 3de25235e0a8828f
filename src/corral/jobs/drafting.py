"""From what somebody asked for to what is enqueued: settings fill in what a request leaves out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_time_id
from corral.context import EVERYTHING, Scope
from corral.errors import ValidationFailed
from corral.jobs.callbacks import callback_check
from corral.jobs.job import PRIORITY_DEFAULT, QUEUE_DEFAULT, Backoff, Callback, JobDraft
from corral.jobs.request import AskedBackoff, AskedCallback, BatchRequest, JobRequest, check_input_size, moment
from corral.settings.sections import JobSettings

_SEPARATOR = "\x1f"
"""Between a tenant and a key of its own: neither may hold it."""

CheckInput = Callable[[str, Any], object]
"""Raises `NotFound` for an agent that does not exist, `ValidationFailed` for an input that it cannot take."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: from the credential and the headers, never from the body."""

    tenant: str
    tier: str = ""
    roles: tuple[str, ...] = ()
    scope: Scope = EVERYTHING
    session_id: str | None = None
    user_id: str | None = None
    idempotency_key: str | None = None
    traceparent: str = ""
    is_nobody: bool = False
    """A schedule: nobody waits for it."""


PriorityOf = Callable[[Caller, int | None], int]
"""Of who hands a job in and the priority asked for, the job's."""


def as_asked(_caller: Caller, asked: int | None) -> int:
    """Whoever it is."""
    return PRIORITY_DEFAULT if asked is None else asked


class Drafting:
    """Makes drafts of requests."""

    def __init__(
        self,
        settings: JobSettings,
        check_input: CheckInput,
        *,
        priority_of: PriorityOf = as_asked,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`check_input` knows the agents; `priority_of` what those who ask are worth."""
        self._settings = settings
        self._check_input = check_input
        self._priority_of = priority_of
        self._check_callback = callback_check(settings)
        self._backoff = Backoff(
            initial_s=settings.retry_initial_s,
            factor=settings.retry_factor,
            max_s=settings.retry_max_s,
            jitter=settings.retry_jitter,
        )
        self._now = clock.now

    def encoded(self, value: Any, pointer: str = "/input") -> bytes:
        """An input as it is kept. Raises `PayloadTooLarge`."""
        text = msgspec.json.encode(value)
        check_input_size(len(text), self._settings.input_max_bytes, pointer)
        return text

    def check(self, agent: str, value: Any, pointer: str = "/input") -> None:
        """Whether the agent is there and takes this. Raises `NotFound`, or `ValidationFailed` that says where."""
        try:
            self._check_input(agent, value)
        except ValidationFailed as error:
            faults = [{**one, "pointer": f"{pointer}{one.get('pointer', '')}"} for one in error.errors]
            raise ValidationFailed(f"{pointer}: {error.message}", errors=faults) from None

    def draft(self, caller: Caller, request: JobRequest) -> JobDraft:
        """The job that is asked for. Raises `NotFound`, `ValidationFailed`, `PayloadTooLarge`."""
        text = self.encoded(request.input)
        self.check(request.agent, request.input)
        return self._draft(caller, request, text, fingerprint_of(caller, request))

    def drafts(self, caller: Caller, request: BatchRequest, batch_id: str, fingerprint: str) -> Iterator[JobDraft]:
        """One job for each input, as they are asked for.

        The idempotency key of the whole becomes one for each; `fingerprint` is that of the whole.
        """
        for at, value in enumerate(request.inputs):
            text = self.encoded(value, f"/inputs/{at}")
            self.check(request.agent, value, f"/inputs/{at}")
            draft = self._draft(caller, request, text, fingerprint)
            key = None if draft.idempotency_key is None else f"{draft.idempotency_key}{_SEPARATOR}{at}"
            yield msgspec.structs.replace(draft, batch_id=batch_id, idempotency_key=key)

    def _draft(self, caller: Caller, request: JobRequest, text: bytes, fingerprint: str) -> JobDraft:
        settings = self._settings
        return JobDraft(
            id=new_time_id(self._now()),
            tenant=caller.tenant,
            agent=request.agent,
            input=text,
            version=request.version or "",
            session_id=caller.session_id or request.session_id,
            user_id=caller.user_id or request.user_id,
            tier=caller.tier,
            roles=caller.roles,
            scope=caller.scope,
            queue=request.queue or QUEUE_DEFAULT,
            priority=self._priority_of(caller, request.priority),
            # Nobody gets into another tenant's lane.
            fairness_key=f"{caller.tenant}{_SEPARATOR}{request.fairness_key}" if request.fairness_key else "",
            weight=request.weight or 1.0,
            concurrency_key=request.concurrency_key,
            concurrency_limit=request.concurrency_limit or 1,
            run_at=None if request.run_at is None else moment(request.run_at, "/run_at"),
            delay_s=request.delay_s or 0.0,
            deadline_s=request.deadline_s,
            timeout_s=request.timeout_s,
            max_attempts=request.max_attempts or settings.attempts_max,
            backoff=self._backoff if request.backoff is None else self._asked_backoff(request.backoff),
            idempotency_key=caller.idempotency_key,
            fingerprint=fingerprint,
            dedupe_s=request.dedupe_s or settings.dedupe_s,
            tags=tuple(request.tags or ()),
            callback=None if request.callback is None else self._callback(request.callback),
            traceparent=caller.traceparent,
        )

    def _asked_backoff(self, asked: AskedBackoff) -> Backoff:
        given = {name: value for name in asked.__struct_fields__ if (value := getattr(asked, name)) is not None}
        return msgspec.structs.replace(self._backoff, **given)

    def _callback(self, asked: AskedCallback) -> Callback:
        callback = Callback(asked.url, asked.headers or {})
        self._check_callback(callback)
        return callback


def fingerprint_of(caller: Caller, request: JobRequest) -> str:
    """What must be equal for two requests with one idempotency key to be one; empty where there is no key."""
    if caller.idempotency_key is None:
        return ""
    what = [request, caller.session_id, caller.user_id]
    return hashlib.blake2b(msgspec.json.encode(what, order="deterministic"), digest_size=16).hexdigest()
