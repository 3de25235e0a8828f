"""Which jobs a query means, newest first: the shortest walk that finds them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.encoding import encode, findable
from corral.backends.queries import read_queries
from corral.jobs.states import OPEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.jobs.job import JobQuery
    from corral.jobs.states import JobState

_SQL = read_queries(Path(__file__).with_name("job_finding.sql"))

_NUMBER_END = (1 << 63) - 1


class Finding:
    """A query of one tenant, checked and encoded on the caller's side."""

    def __init__(
        self, tenant: str, query: JobQuery, *, status: Sequence[JobState], job_id: str | None, limit: int, before: int
    ) -> None:
        """`status` counts, not the query's own; empty: any."""
        self._walk = _walk(query, status, job_id)
        self.can_be = findable(
            tenant, job_id, query.agent, query.queue, query.tag, query.session_id, query.user_id, query.batch_id
        )
        self._bound = {
            "tenant": tenant,
            "id": job_id,
            "status": encode(sorted(status), "The status").decode() if status else None,
            "agent": query.agent,
            "queue": query.queue,
            "tag": query.tag,
            "session_id": query.session_id,
            "user_id": query.user_id,
            "batch_id": query.batch_id,
            "since": query.since,
            "until": query.until,
            "before": min(before, _NUMBER_END),
            "limit": limit,
        }

    def numbers(self, view: View | Transaction) -> list[int]:
        """The numbers of the jobs."""
        return [row[0] for row in view.execute(_SQL[self._walk], self._bound).fetchall()]


def finding(
    tenant: str,
    query: JobQuery,
    *,
    status: Sequence[JobState] = (),
    job_id: str | None = None,
    limit: int,
    before: int | None = None,
) -> Finding | None:
    """What to look for; None: there can be no such job."""
    found = Finding(
        tenant, query, status=status, job_id=job_id, limit=limit, before=_NUMBER_END if before is None else before
    )
    return found if found.can_be else None


def _walk(query: JobQuery, status: Sequence[JobState], job_id: str | None) -> str:
    if job_id is not None:
        return "of_id"
    if query.batch_id is not None:
        return "of_batch"
    if status and OPEN.issuperset(status):
        return "of_open"
    if set(status) == {"failed"}:
        return "of_failed"
    return "of_tenant"


def info_rows(view: View, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """The jobs of these numbers as people see them in lists, newest first."""
    return view.execute(_SQL["infos"], (encode(numbers, "Numbers").decode(),)).fetchall()
