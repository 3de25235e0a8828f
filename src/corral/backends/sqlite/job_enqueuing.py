"""Enqueue jobs inside a transaction: shared by producers and schedules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.encoding import encode
from corral.backends.queries import read_queries
from corral.backends.sqlite.job_drafts import NO_NUMBER
from corral.backends.sqlite.job_moves import Moves
from corral.errors import IdempotencyKeyReused, JobStateConflict, QueueFull
from corral.jobs.job import Enqueued

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.job_drafts import DraftRow
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("job_enqueuing.sql"))

# A queue that is full empties while its workers work; when is not known, so ask again soon.
_FULL_RETRY_S = 1.0


def enqueue(transaction: Transaction, rows: Sequence[DraftRow], *, depth_max: int | None = None) -> list[Enqueued]:
    """Enqueue all, in order; nothing was written yet when this raises."""
    known = _known(transaction, rows)
    fresh = [row for row in rows if not known or known.get(row.draft.id) is None]
    if depth_max is not None:
        _check_depth(transaction, fresh, depth_max)
    if not known:
        return _insert(transaction, rows)
    made = {answer.id: answer for answer in _insert(transaction, fresh)}
    answers = []
    told = set()
    for row in rows:
        earlier = known.get(row.draft.id)
        answer = made.get(row.draft.id if earlier is None else earlier.id, earlier)
        assert answer is not None  # noqa: S101 - what is not known was made
        if earlier is not None or answer.id in told:
            answer = Enqueued(answer.id, is_new=False, state=answer.state)
        told.add(answer.id)
        answers.append(answer)
    return answers


def _known(transaction: Transaction, rows: Sequence[DraftRow]) -> dict[str, Enqueued | None]:
    """For ids of drafts that are not new: the job they stand for. Empty when all are new, as nearly always."""
    ids = [row.draft.id for row in rows]
    there = transaction.execute(_SQL["by_ids"], (encode(ids, "Ids").decode(),)).fetchall()
    known: dict[str, Enqueued | None] = {}
    if there:
        tenants = {row.draft.id: row.draft.tenant for row in rows}
        for job_id, tenant, state in there:
            if tenants[job_id] != tenant:
                raise JobStateConflict(f"The job id {job_id} is taken; take a fresh one.")
            known[job_id] = Enqueued(job_id, is_new=False, state=state)
    asked: dict[tuple[str, str], DraftRow] = {}
    for row in rows:
        draft = row.draft
        if draft.idempotency_key is None or draft.id in known:
            continue
        first = asked.setdefault((draft.tenant, draft.idempotency_key), row)
        if first is not row and first.draft.id != draft.id:
            _check_fingerprint(draft.fingerprint, first.draft.fingerprint)
            known[draft.id] = known.get(first.draft.id) or Enqueued(first.draft.id, is_new=False, state="queued")
            continue
        found = transaction.execute(_SQL["request"], (draft.tenant, draft.idempotency_key, transaction.now)).fetchone()
        if found is not None:
            fingerprint, job_id, state = found
            _check_fingerprint(draft.fingerprint, fingerprint)
            known[draft.id] = Enqueued(job_id, is_new=False, state=state)
    if not known and len(set(ids)) < len(ids):
        known[ids[0]] = None
    return known


def _check_fingerprint(asked: str, kept: str) -> None:
    if asked != kept:
        raise IdempotencyKeyReused


def _check_depth(transaction: Transaction, rows: Sequence[DraftRow], depth_max: int) -> None:
    more: dict[str, int] = {}
    for row in rows:
        more[row.draft.queue] = more.get(row.draft.queue, 0) + 1
    for queue, jobs in more.items():
        found = transaction.execute(_SQL["open"], (queue,)).fetchone()
        if (found[0] if found else 0) + jobs > depth_max:
            raise QueueFull(f"The queue {queue!r} holds {depth_max} jobs at most.", retry_after_s=_FULL_RETRY_S)


def _insert(transaction: Transaction, rows: Sequence[DraftRow]) -> list[Enqueued]:
    if not rows:
        return []
    now = transaction.now
    moves = Moves(transaction)
    place = moves.place
    (number,) = transaction.execute(_SQL["last_number"]).fetchone()
    jobs: dict[str, tuple[Any, ...]] = {}
    queued = []
    requests = []
    answers = []
    for row in rows:
        draft = row.draft
        if draft.id in jobs:
            continue
        number += 1
        due_at = draft.run_at if draft.run_at is not None else now + draft.delay_s
        deadline_at = NO_NUMBER if draft.deadline_s is None else now + draft.deadline_s
        jobs[draft.id] = (number, draft.id, now, deadline_at, *row.jobs)
        at = NO_NUMBER
        if due_at > now:
            state = "scheduled"
            moves.news.put_off(due_at)
        else:
            due_at = NO_NUMBER
            if row.key is None or moves.has_slot(draft.tenant, row.key, row.limit):
                state = "ready"
                at = place(draft.queue, row.rank, draft.tenant, draft.fairness_key, draft.weight)
            else:
                state = "parked"
        queued.append((number, state, at, now, due_at, deadline_at, *row.queue))
        moves.opened(draft.queue, 1)
        answers.append(Enqueued(draft.id, is_new=True, state="scheduled" if state == "scheduled" else "queued"))
        if draft.idempotency_key is not None:
            key = (draft.tenant, draft.idempotency_key, draft.fingerprint, draft.id, now + draft.dedupe_s)
            requests.append(key)
    transaction.connection.executemany(_SQL["insert_job"], jobs.values())
    transaction.connection.executemany(_SQL["insert_queued"], queued)
    if requests:
        transaction.connection.executemany(_SQL["remember"], requests)
    moves.close()
    return answers
