"""Jobs as the API shows them."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.errors import CorralError
from corral.jobs.desk import SubmittedBatch
from corral.jobs.job import Delivery, JobError, JobEvent, JobInfo
from corral.server.dialects import problem
from corral.server.http import PROBLEM, Header, Request
from corral.server.job_query import END_MARK

_HIDDEN = "***"
_STATUS_OF = {"deadline_exceeded": 504, "wait_timeout": 504, "validation_error": 400, "payload_too_large": 413}
"""The HTTP status that says the same as a job's error; any other one is a 500."""

_encode = msgspec.json.encode
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")


def shown(job: JobInfo) -> JobInfo:
    """A job without the secrets that may stand in its callback's headers."""
    if job.callback is None or not job.callback.headers:
        return job
    hidden = msgspec.structs.replace(job.callback, headers=dict.fromkeys(job.callback.headers, _HIDDEN))
    return msgspec.structs.replace(job, callback=hidden)


def shown_delivery(delivery: Delivery) -> dict[str, Any]:
    """A callback as it was sent, without secrets."""
    return {
        "id": delivery.id,
        "job_id": delivery.job_id,
        "url": delivery.callback.url,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "created_at": delivery.created_at,
        "next_at": delivery.next_at if delivery.status == "pending" else None,
        "answer": delivery.answer,
    }


def submitted(job_id: str, status: str) -> dict[str, Any]:
    """The answer to a job that was taken in."""
    path = f"/v1/jobs/{job_id}"
    return {
        "id": job_id,
        "status": status,
        "links": {
            "self": path,
            "events": f"{path}/events",
            "result": f"{path}/result",
            "cancel": f"{path}/cancel",
        },
    }


def submitted_batch(batch: SubmittedBatch) -> dict[str, Any]:
    """The answer to many that were taken in."""
    return {
        "id": batch.id,
        "total": len(batch.jobs),
        "jobs": batch.jobs,
        "links": {"self": f"/v1/jobs/batches/{batch.id}", "jobs": f"/v1/jobs?batch_id={batch.id}"},
    }


def location(path: str) -> Header:
    """Where it is to be found."""
    return b"location", path.encode()


async def respond_error(request: Request, job: JobInfo) -> None:
    """Answer with a job's error as a problem document."""
    error = job.error or JobError(code="cancelled", message=f"The job was {job.status}.", retryable=False)
    status = 409 if job.status == "cancelled" else _STATUS_OF.get(error.code, 500)
    content = problem(request, CorralError(error.message or f"The job {job.status}.")) | {
        "type": f"urn:corral:problem:{error.code.replace('_', '-')}",
        "title": "The job was cancelled." if job.status == "cancelled" else "The job failed.",
        "status": status,
        "code": error.code,
        "retryable": error.retryable,
        "job_id": job.id,
        "job_status": job.status,
    }
    await request.respond(status, _encode(content), PROBLEM)


# -- as events ------------------------------------------------------------------------------------------------------------


def status_of(job: JobInfo) -> dict[str, Any]:
    """What is told when the state of a job has changed."""
    return {
        "id": job.id,
        "status": job.status,
        "attempt": job.attempt,
        "failures": job.failures,
        "run_at": job.run_at,
        "awaits": job.awaits,
        "cancel_requested": job.cancel_requested,
    }


def ending_of(job: JobInfo) -> dict[str, Any]:
    """What is told in the end."""
    told: dict[str, Any] = {"id": job.id, "status": job.status, "attempt": job.attempt, "finished_at": job.finished_at}
    if job.status == "succeeded":
        told["result"] = job.result
    else:
        told["error"] = job.error
    return told


def event_frame(event: JobEvent) -> bytes:
    """An event of a job as a server-sent event: its number is the id."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.kind.encode(), one_line(event))


def status_frame(job: JobInfo) -> bytes:
    """A change of state. It has no id: it is not in the log, and is told anew to who comes back."""
    return b"event: status\ndata: %s\n\n" % one_line(status_of(job))


def end_frame(job: JobInfo, seq: int) -> bytes:
    """How it ended. Who comes back with this id is told that there is no more."""
    mark = END_MARK.encode()
    return b"id: %d%s\nevent: %s\ndata: %s\n\n" % (seq, mark, job.status.encode(), one_line(ending_of(job)))


def one_line(value: Any) -> bytes:
    """JSON on one line: the agent's own JSON may stand on several."""
    text: bytes = _encode(value)
    return text.translate(_LINE_ENDS) if b"\n" in text or b"\r" in text else text
