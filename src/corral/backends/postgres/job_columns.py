"""Drafts as the arrays that `enqueue_jobs` takes, and rows as the jobs that workers get."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.encoding import check_id, encode
from corral.context import EVERYTHING, Scope
from corral.errors import ValidationFailed
from corral.jobs.job import PRIORITY_MAX, Backoff, ClaimedJob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.jobs.job import JobDraft


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the database need not understand of a job."""

    version: str = ""
    tier: str = ""
    timeout_s: float | None = None
    backoff: Backoff = Backoff()
    traceparent: str = ""
    roles: tuple[str, ...] = ()
    scope: Scope = EVERYTHING


_spec = msgspec.json.Decoder(Spec)
_tags = msgspec.json.Decoder(tuple[str, ...])
_PLAIN = Spec()
_USUAL = Backoff()

_COUNT_MAX = 2**31 - 1


def columns_of(drafts: Sequence[JobDraft]) -> list[Any]:
    """The arguments of `enqueue_jobs`. What no draft has is none as a whole, which the function takes as a hint."""
    _check(drafts)
    keys: list[str | None] = [_key(draft) for draft in drafts]
    delays = [draft.delay_s for draft in drafts]
    dedupe = [draft.idempotency_key for draft in drafts]
    columns: list[Any] = [
        [draft.id for draft in drafts],
        [draft.tenant for draft in drafts],
        [draft.agent for draft in drafts],
        [draft.queue for draft in drafts],
        _unless_none([draft.session_id for draft in drafts]),
        _unless_none([draft.user_id for draft in drafts]),
        _unless_none([draft.batch_id for draft in drafts]),
        _unless_none([_tags_of(draft) for draft in drafts]),
        [PRIORITY_MAX - draft.priority for draft in drafts],
        [_lane(draft) for draft in drafts],
        [draft.weight for draft in drafts],
        _unless_none(keys),
        [draft.concurrency_limit if draft.concurrency_key is not None else 1 for draft in drafts],
        [draft.max_attempts for draft in drafts],
        _unless_none([draft.run_at for draft in drafts]),
        delays if any(delays) else None,
        _unless_none([draft.deadline_s for draft in drafts]),
        [_spec_of(draft) for draft in drafts],
        _unless_none([None if draft.callback is None else encode(draft.callback, "Callback") for draft in drafts]),
        [draft.input for draft in drafts],
    ]
    if _unless_none(dedupe) is None:
        return [*columns, None, None, None]
    return [*columns, dedupe, [draft.fingerprint for draft in drafts], [draft.dedupe_s for draft in drafts]]


def claimed_of(rows: Iterable[Sequence[Any]]) -> list[ClaimedJob]:
    """Jobs out of the rows of `claimed_jobs`."""
    return [_claimed(row) for row in rows]


def spec_of(body: bytes) -> Spec:
    """A spec out of its column."""
    return _PLAIN if body == b"{}" else _spec.decode(body)


def tags_of(text: str | None) -> tuple[str, ...]:
    """Tags out of their column."""
    return _tags.decode(text) if text else ()


def _claimed(row: Sequence[Any]) -> ClaimedJob:
    (
        job_id,
        token,
        tenant,
        agent,
        body,
        session_id,
        user_id,
        queue,
        priority,
        attempt,
        failures,
        max_attempts,
        deadline_at,
        created_at,
        claimed_at,
        has_journal,
        tags,
        kept,
        _,
    ) = row
    spec = spec_of(kept)
    return ClaimedJob(
        id=job_id,
        token=token,
        tenant=tenant,
        agent=agent,
        input=body,
        version=spec.version,
        session_id=session_id,
        user_id=user_id,
        tier=spec.tier,
        queue=queue,
        priority=priority,
        attempt=attempt,
        failures=failures,
        max_attempts=max_attempts,
        backoff=spec.backoff,
        timeout_s=spec.timeout_s,
        deadline_at=deadline_at,
        created_at=created_at,
        claimed_at=claimed_at,
        has_journal=has_journal,
        tags=tags_of(tags),
        traceparent=spec.traceparent,
        roles=spec.roles,
        scope=spec.scope,
    )


def _check(drafts: Sequence[JobDraft]) -> None:
    """Refuse what could not be kept. Most drafts of a batch have most words in common: each word is looked at once."""
    for draft in drafts:
        check_id("job id", draft.id)
        _check_numbers(draft)
    for what, words in (
        ("tenant", {draft.tenant for draft in drafts}),
        ("agent", {draft.agent for draft in drafts}),
        ("queue", {draft.queue for draft in drafts}),
        ("session id", {draft.session_id for draft in drafts}),
        ("user id", {draft.user_id for draft in drafts}),
        ("batch id", {draft.batch_id for draft in drafts}),
        ("concurrency key", {draft.concurrency_key for draft in drafts}),
        ("idempotency key", {draft.idempotency_key for draft in drafts}),
    ):
        for word in words:
            if word is not None:
                check_id(what, word)
    for what, marks in (
        ("version", {draft.version for draft in drafts}),
        ("tier", {draft.tier for draft in drafts}),
        ("fairness key", {draft.fairness_key for draft in drafts}),
        ("fingerprint", {draft.fingerprint for draft in drafts}),
        ("traceparent", {draft.traceparent for draft in drafts}),
        ("role", {role for draft in drafts if draft.roles for role in draft.roles}),
        ("tag", {tag for draft in drafts if draft.tags for tag in draft.tags}),
    ):
        for mark in marks:
            check_id(what, mark, empty=what not in ("tag", "role"))


def _check_numbers(draft: JobDraft) -> None:
    if not 0 <= draft.priority <= PRIORITY_MAX:
        raise ValidationFailed(f"A priority of {draft.priority} is not known; take 0 to {PRIORITY_MAX}.")
    if not 0 < draft.weight < math.inf:
        raise ValidationFailed(f"A weight of {draft.weight:g} cannot share; take a number above 0.")
    if not 1 <= draft.concurrency_limit <= _COUNT_MAX:
        raise ValidationFailed(f"A concurrency limit of {draft.concurrency_limit} lets nothing run; take at least 1.")
    if not 1 <= draft.max_attempts <= _COUNT_MAX:
        raise ValidationFailed(f"A job of {draft.max_attempts} attempts cannot run; take at least 1.")
    if not math.isfinite(
        (draft.run_at or 0.0) + draft.delay_s + (draft.deadline_s or 0.0) + (draft.timeout_s or 0.0) + draft.dedupe_s
    ):
        raise ValidationFailed("A job's times have to be numbers of seconds.")


def _lane(draft: JobDraft) -> str:
    """Who shares with whom. Keys are a tenant's own: nobody gets more turns by taking somebody else's."""
    return f"{draft.tenant}\x1f{draft.fairness_key}" if draft.fairness_key else draft.tenant


def _key(draft: JobDraft) -> str | None:
    if draft.concurrency_key is not None:
        return draft.concurrency_key
    return None if draft.session_id is None else f"session:{draft.session_id}"


def _tags_of(draft: JobDraft) -> str | None:
    return encode(draft.tags, "A job's tags").decode() if draft.tags else None


def _spec_of(draft: JobDraft) -> bytes:
    if (
        not (draft.version or draft.tier or draft.traceparent or draft.timeout_s or draft.roles)
        and draft.backoff == _USUAL
        and draft.scope == EVERYTHING
    ):
        return b"{}"
    return encode(
        Spec(draft.version, draft.tier, draft.timeout_s, draft.backoff, draft.traceparent, draft.roles, draft.scope),
        "What a job asks for",
    )


def _unless_none(column: list[Any]) -> list[Any] | None:
    return column if any(value is not None for value in column) else None
