"""Drafts of jobs as the file keeps them: checked and encoded on the caller's side, before anything waits for the writer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from corral.backends.encoding import check_id, encode
from corral.context import EVERYTHING
from corral.errors import ValidationFailed
from corral.jobs.job import PRIORITY_MAX, Backoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.jobs.job import JobDraft

# Python's sqlite3 binds text and numbers ten times faster than None, bools and bytes. So, where thousands are written,
# nothing is bound as "" or as this number, bytes as a bytearray; the queries undo it.
NO_NUMBER = math.inf

_DEFAULT_BACKOFF = Backoff()
_COUNT_MAX = 2**31 - 1


class DraftRow(NamedTuple):
    """A draft, ready to be written."""

    draft: JobDraft
    rank: int
    """10 minus priority: the lowest goes first."""
    key: str | None
    """What it shares slots by; jobs of one session go one after the other."""
    limit: int
    """How many of them run at once."""
    jobs: tuple[Any, ...]
    """Its columns in `jobs`, but for number, times and id."""
    queue: tuple[Any, ...]
    """Its columns in `job_queue`, but for number, times, state and pass."""


def draft_rows(drafts: Sequence[JobDraft]) -> list[DraftRow]:
    """Check and encode."""
    return [_row_of(draft) for draft in drafts]


def _row_of(draft: JobDraft) -> DraftRow:
    _check(draft)
    rank = PRIORITY_MAX - draft.priority
    key = draft.concurrency_key
    if key is None and draft.session_id is not None:
        key = f"session:{draft.session_id}"
    limit = draft.concurrency_limit if draft.concurrency_key is not None else 1
    backoff = "" if draft.backoff == _DEFAULT_BACKOFF else encode(draft.backoff, "The backoff").decode()
    tags = encode(draft.tags, "Tags").decode() if draft.tags else ""
    roles = encode(draft.roles, "Roles").decode() if draft.roles else ""
    scope = "" if draft.scope == EVERYTHING else encode(draft.scope, "The scope of a key").decode()
    callback = "" if draft.callback is None else encode(draft.callback, "The callback").decode()
    return DraftRow(
        draft,
        rank,
        key,
        limit,
        (
            draft.tenant, draft.agent, draft.version, draft.session_id or "", draft.user_id or "", draft.tier, draft.queue,
            draft.priority, draft.fairness_key, draft.weight, key or "", limit, _number(draft.deadline_s),
            _number(draft.timeout_s), draft.max_attempts, backoff, tags, draft.batch_id or "", callback,
            draft.traceparent, bytearray(draft.input), roles, scope,
        ),
        (
            draft.id, draft.tenant, draft.agent, draft.queue, rank, draft.fairness_key, draft.weight, key or "", limit,
            draft.max_attempts, 1 if callback else 0,
        ),
    )  # fmt: skip


def _number(value: float | None) -> float:
    return NO_NUMBER if value is None else value


def _check(draft: JobDraft) -> None:
    check_id("job id", draft.id)
    check_id("tenant", draft.tenant)
    check_id("agent", draft.agent)
    check_id("queue", draft.queue)
    for what, value in (
        ("session id", draft.session_id),
        ("user id", draft.user_id),
        ("concurrency key", draft.concurrency_key),
        ("idempotency key", draft.idempotency_key),
        ("batch id", draft.batch_id),
    ):
        if value is not None:
            check_id(what, value)
    for what, value in (
        ("version", draft.version),
        ("tier", draft.tier),
        ("fairness key", draft.fairness_key),
        ("fingerprint", draft.fingerprint),
        ("traceparent", draft.traceparent),
    ):
        if value:
            check_id(what, value)
    for tag in draft.tags:
        check_id("tag", tag)
    for role in draft.roles:
        check_id("role", role)
    _check_numbers(draft)


def _check_numbers(draft: JobDraft) -> None:
    if not 0 <= draft.priority <= PRIORITY_MAX:
        raise ValidationFailed(f"A priority of {draft.priority} is not known; take 0 to {PRIORITY_MAX}.")
    if not 0 < draft.weight < math.inf:
        raise ValidationFailed(f"A weight of {draft.weight:g} cannot share; take a number above 0.")
    if not 1 <= draft.concurrency_limit <= _COUNT_MAX:
        raise ValidationFailed(f"A concurrency limit of {draft.concurrency_limit} lets nothing run; take at least 1.")
    if not 1 <= draft.max_attempts <= _COUNT_MAX:
        raise ValidationFailed(f"A job of {draft.max_attempts} attempts cannot run; take at least 1.")
    for what, value in (
        ("run_at", draft.run_at),
        ("delay_s", draft.delay_s),
        ("deadline_s", draft.deadline_s),
        ("timeout_s", draft.timeout_s),
        ("dedupe_s", draft.dedupe_s),
    ):
        if value is not None and not math.isfinite(value):
            raise ValidationFailed(f"`{what}` is {value}; it has to be a number of seconds.")
