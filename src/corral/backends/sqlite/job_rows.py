"""Jobs as people and workers see them, out of rows; on the caller's side, so that the writer decodes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.sqlite.job_claiming import token_of
from corral.context import EVERYTHING, Scope
from corral.jobs.job import Backoff, Callback, ClaimedJob, JobError, JobInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

_words = msgspec.json.Decoder(tuple[str, ...])
_scope = msgspec.json.Decoder(Scope)
_backoff = msgspec.json.Decoder(Backoff)
_callback = msgspec.json.Decoder(Callback)
error_of = msgspec.json.Decoder(JobError).decode

_PLAIN_BACKOFF = Backoff()
_NULL = msgspec.Raw(b"null")


def claimed_job(row: Sequence[Any], nonce: str, now: float) -> ClaimedJob:
    """What a worker gets, out of the columns of a claim's walk."""
    (
        number, job_id, tenant, agent, body, version, session_id, user_id, tier, queue, priority, attempt, failures,
        max_attempts, backoff, timeout_s, deadline_at, created_at, has_journal, tags, traceparent, roles, scope,
    ) = row  # fmt: skip
    return ClaimedJob(
        id=job_id,
        token=token_of(nonce, number),
        tenant=tenant,
        agent=agent,
        input=body,
        version=version,
        session_id=session_id,
        user_id=user_id,
        tier=tier,
        queue=queue,
        priority=priority,
        attempt=attempt + 1,
        failures=failures,
        max_attempts=max_attempts,
        backoff=_PLAIN_BACKOFF if backoff is None else _backoff.decode(backoff),
        timeout_s=timeout_s,
        deadline_at=deadline_at,
        created_at=created_at,
        claimed_at=now,
        has_journal=bool(has_journal),
        tags=() if tags is None else _words.decode(tags),
        traceparent=traceparent,
        roles=() if roles is None else _words.decode(roles),
        scope=EVERYTHING if scope is None else _scope.decode(scope),
    )


def job_info(row: Sequence[Any]) -> JobInfo:
    """A job, out of the columns of a list, or of those and input and result."""
    (
        _, job_id, tenant, agent, version, status, queue, priority, session_id, user_id, tags, batch_id, attempt,
        failures, max_attempts, created_at, due_at, started_at, finished_at, deadline_at, worker, cancel, awaits,
        progress, error, callback, last_seq, *bodies,
    ) = row  # fmt: skip
    body, result = bodies or (None, None)
    return JobInfo(
        id=job_id,
        tenant=tenant,
        agent=agent,
        version=version,
        status=status,
        queue=queue,
        priority=priority,
        session_id=session_id,
        user_id=user_id,
        tags=() if tags is None else _words.decode(tags),
        batch_id=batch_id,
        attempt=attempt,
        failures=failures,
        max_attempts=max_attempts,
        created_at=created_at,
        run_at=due_at,
        started_at=started_at,
        finished_at=finished_at,
        deadline_at=deadline_at,
        worker=worker,
        cancel_requested=bool(cancel),
        awaits=awaits or "",
        progress=None if progress is None else msgspec.Raw(progress),
        error=None if error is None else error_of(error),
        input=_NULL if body is None else msgspec.Raw(body),
        result=None if result is None else msgspec.Raw(result),
        callback=None if callback is None else _callback.decode(callback),
        last_seq=last_seq,
    )
