"""What the suites of jobs share: short ways to enqueue, claim and end.

Engines keep their own time, so leases here are long or over at once, and what is to come later comes very soon.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from corral.clock import new_time_id
from corral.jobs.job import Backoff, Ending, JobDraft, JobError, JobQuery

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.jobs.job import ClaimedJob, EndingKind, JobInfo

TENANT = "acme"
LEASE_S = 3600.0
BROKEN = JobError("agent_error", "It broke.")
ALL = JobQuery()


def draft(name: str = "", **more: Any) -> JobDraft:
    """A job; its name is its first tag, for ids are long."""
    more.setdefault("tags", (name,) if name else ())
    more.setdefault("backoff", Backoff(initial_s=0.0, jitter=0.0))
    return JobDraft(**{"id": new_time_id(time.time()), "tenant": TENANT, "agent": "main", "input": b'{"x":1}', **more})


async def enqueue(stores: Stores, *drafts: JobDraft) -> list[str]:
    """Enqueue; the ids."""
    return [job.id for job in await stores.jobs.enqueue(drafts)]


async def claim(stores: Stores, limit: int = 100, *, lease_s: float = LEASE_S, **more: Any) -> list[ClaimedJob]:
    """Claim what is ready."""
    claimed = await stores.jobs.claim("w", **{"queues": (), "limit": limit, "lease_s": lease_s, **more})
    return claimed.jobs


async def names(stores: Stores, limit: int = 100, **more: Any) -> list[str]:
    """Claim what is ready, by name."""
    return [job.tags[0] for job in await claim(stores, limit, **more)]


async def end(stores: Stores, job: ClaimedJob, kind: EndingKind = "succeeded", **more: Any) -> bool:
    """Let one job go."""
    if kind == "succeeded":
        more.setdefault("result", b'"done"')
    if kind in {"failed", "retry"}:
        more.setdefault("error", BROKEN)
    if kind == "waiting":
        more.setdefault("awaits", "signal:x#1")
    return (await stores.jobs.settle([Ending(claim=job.claim, kind=kind, **more)]))[0]


async def info(stores: Stores, job_id: str, tenant: str = TENANT) -> JobInfo:
    """One job, which is there."""
    found = await stores.job_records.get(tenant, job_id)
    assert found is not None
    return found


async def status(stores: Stores, job_id: str) -> str:
    """The state of one job."""
    return (await info(stores, job_id)).status


async def failed_one(stores: Stores, **more: Any) -> str:
    """The id of a job that lies among the dead letters."""
    (job_id,) = await enqueue(stores, draft(**more))
    (job,) = [one for one in await claim(stores) if one.id == job_id]
    assert await end(stores, job, "failed")
    return job_id
