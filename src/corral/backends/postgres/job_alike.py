"""The usual batch: jobs that differ in nothing but their ids and inputs, and that are ready at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import astuple

from corral.backends.encoding import check_id
from corral.backends.postgres.job_columns import columns_of
from corral.jobs.job import JobDraft

if TYPE_CHECKING:
    from collections.abc import Sequence

_ID, _INPUT = (JobDraft.__struct_fields__.index(name) for name in ("id", "input"))


def alike_of(drafts: Sequence[JobDraft]) -> list[Any] | None:
    """The arguments of the query `enqueue_alike`: what all have in common once, instead of once for each.

    None: they are not alike, or wait for a time, for each other or for an earlier job, and go the long way.
    """
    first = drafts[0]
    if first.session_id is not None or first.concurrency_key is not None or first.idempotency_key is not None:
        return None
    if first.run_at is not None or first.delay_s:
        return None
    shared = _shared(first)
    if any(_shared(draft) != shared for draft in drafts):
        return None
    for draft in drafts:
        check_id("job id", draft.id)
    columns = columns_of([first])
    once = [None if column is None else column[0] for column in columns]
    (
        _,
        tenant,
        agent,
        queue,
        _,
        user,
        batch,
        tags,
        rank,
        lane,
        weight,
        _,
        limit,
        attempts,
        _,
        _,
        deadline_s,
        spec,
        callback,
        *_,
    ) = once
    ids, inputs = [draft.id for draft in drafts], [draft.input for draft in drafts]
    return [
        ids,
        inputs,
        tenant,
        agent,
        queue,
        user,
        batch,
        tags,
        rank,
        lane,
        weight,
        limit,
        attempts,
        deadline_s,
        spec,
        callback,
        min(ids),
        max(ids),
        max(map(len, inputs)),
    ]


def _shared(draft: JobDraft) -> list[Any]:
    """All of a draft but its id and its input."""
    values = list(astuple(draft))
    values[_ID] = values[_INPUT] = None
    return values
