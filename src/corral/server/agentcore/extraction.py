"""Jobs that learn from events and failed: which there are, and having one run again."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.errors import JobNotFound, ValidationFailed
from corral.jobs.job import JobInfo, JobQuery
from corral.jobs.store import JobRecords
from corral.memory.resource_store import ResourceNotFound
from corral.memory.resources import MemoryResource
from corral.server.agentcore import shapes
from corral.server.agentcore.dialect import MEMORY
from corral.server.agentcore.memories import Memories, paged
from corral.server.agentcore.operations import Asked, Operation

_PAGE = 20


class Extraction:
    """`ListMemoryExtractionJobs` and `StartMemoryExtractionJob`: the dead letters of the jobs room."""

    def __init__(self, records: JobRecords, memories: Memories, learner: str) -> None:
        """`learner` is the agent whose jobs they are."""
        self._records = records
        self._memories = memories
        self._learner = learner

    def operations(self) -> list[Operation]:
        """Both."""
        path = "/memories/{memory_id}/extractionJobs"
        return [
            Operation(
                name="ListMemoryExtractionJobs",
                method="POST",
                path=path,
                work=self.listed,
                shape=shapes.LIST_JOBS,
                answers=("jobs",),
                dialect=MEMORY,
            ),
            Operation(
                name="StartMemoryExtractionJob",
                needs="developer",
                method="POST",
                path=f"{path}/start",
                work=self.start,
                shape=shapes.START_JOB,
                answers=("jobId",),
                dialect=MEMORY,
            ),
        ]

    async def listed(self, asked: Asked) -> Any:
        """Failed jobs of a memory, newest first. A filter may leave fewer on a page than were asked for."""
        memory, body = await self._memories.find(asked), asked.body
        query = JobQuery(
            status=("failed",),
            agent=self._learner,
            tag=memory.id,
            limit=int(body.get("maxResults", _PAGE)),
            cursor=body.get("nextToken"),
        )
        page = await self._records.find(asked.tenant, query)
        jobs = []
        for listed in page.items:
            job = await self._records.get(asked.tenant, listed.id)
            shown = None if job is None else _shown(memory, job)
            if shown is not None and _wanted(memory, shown, body.get("filter", {})):
                jobs.append(shown)
        return paged({"jobs": jobs}, page.next_cursor)

    async def start(self, asked: Asked) -> Any:
        """Have a failed job run again; what it had answers to is not asked again."""
        memory = await self._memories.find(asked)
        job_id = asked.body["extractionJob"]["jobId"]
        try:
            job = await self._records.get(asked.tenant, job_id)
        except JobNotFound:
            job = None
        if job is None or job.agent != self._learner or memory.id not in job.tags:
            raise ResourceNotFound(f"Extraction job not found: {job_id}")
        if not await self._records.redrive(asked.tenant, JobQuery(), job_id=job_id):
            raise ValidationFailed(f"Job {job_id} has not failed: it is {job.status}.")
        return {"jobId": job_id}


def _shown(memory: MemoryResource, job: JobInfo) -> dict[str, Any]:
    about: dict[str, str] = msgspec.json.decode(job.input, type=dict[str, str])
    actor, session_id = about["session"].removeprefix(f"{memory.id}.").split(".", 1)
    return {
        "jobID": job.id,
        "messages": {"messagesList": [{"eventId": about["event"], "messageIndex": 0}]},
        "status": "FAILED",
        "failureReason": job.error.message if job.error else "",
        "actorId": actor,
        "sessionId": session_id,
    }


def _wanted(memory: MemoryResource, job: dict[str, Any], asked: dict[str, Any]) -> bool:
    """A job learns for all strategies of its memory."""
    strategy = asked.get("strategyId")
    if strategy is not None and memory.strategy(strategy) is None:
        return False
    return all(asked.get(name, job[name]) == job[name] for name in ("actorId", "sessionId"))
