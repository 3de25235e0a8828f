"""`corral:job:AGENT`: a job of its own, with its own retries and its place among the dead letters; its end is the task's."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from corral.context import check_scope
from corral.jobs.job import Callback, JobDraft, JobInfo
from corral.jobs.store import JobStore
from corral.workflows.machine import tokens
from corral.workflows.machine.happening import TaskFailed, TaskSucceeded
from corral.workflows.tasks.task import Task

TASK_CALLBACK = "corral:task"
"""In the place of an address that is to be told of a job's end: a task waits for it."""
_TIME = re.compile(r"[0-9a-f]{12}")


def new_secret(now: float) -> str:
    """What nobody can guess in a task's token. It begins with the time, so that the jobs of a task sort by it."""
    return f"{int(now * 1000):012x}{secrets.token_urlsafe(16)}"


def job_id_of(token: str, what: str = "") -> str:
    """The id of the job that does `what` for a task: always the same one, and it sorts by time as the ids of jobs do."""
    found = _TIME.match(tokens.secret_of(token))
    time = found[0] if found else (tokens.execution_of(token) or "").replace("-", "")[:12].ljust(12, "0")
    chance = hashlib.sha256(f"{token}\n{what}".encode()).hexdigest()
    return f"{time[:8]}-{time[8:]}-7{chance[:3]}-{8 + int(chance[3], 16) % 4:x}{chance[4:7]}-{chance[7:19]}"


class Jobs:
    """Enqueues jobs for tasks."""

    def __init__(self, store: JobStore, draft: Callable[[str, str, Any], JobDraft]) -> None:
        """`draft` makes a job of tenant, agent and input; raises `NotFound` for an agent that does not exist."""
        self._store = store
        self._draft = draft

    async def do(self, task: Task) -> dict[str, Any]:
        """Enqueue it, once however often this is asked. The task ends when the job has."""
        context = task.context
        check_scope("agent", task.resource.name, context.agents_allowed)
        draft = msgspec.structs.replace(
            self._draft(task.tenant, task.resource.name, task.payload),
            id=job_id_of(task.token, "job"),
            callback=None if task.resource.pattern else Callback(TASK_CALLBACK, {"token": task.token}),
            session_id=_session(task.payload),
            user_id=context.user_id,
            tier=context.tier,
            roles=context.roles,
            scope=context.scope,
            traceparent=task.facts.traceparent,
        )
        (enqueued,) = await self._store.enqueue([draft])
        return {"JobId": enqueued.id, "Status": enqueued.state}


def end_of(job: JobInfo) -> TaskSucceeded | TaskFailed:
    """What a job's end says to the task that waits for it."""
    token = "" if job.callback is None else job.callback.headers.get("token", "")
    if job.status == "succeeded":
        return TaskSucceeded(token, None if job.result is None else msgspec.json.decode(job.result))
    error = job.error
    if error is None:
        return TaskFailed(token, f"Job.{job.status}", f"The job {job.id} was {job.status}.")
    return TaskFailed(token, error.type.rpartition(".")[2] or error.code, error.message)


def _session(payload: Any) -> str | None:
    found = payload.get("session") if isinstance(payload, dict) else None
    return found if isinstance(found, str) and found else None
