"""How a run that is over lets its job go: from what came out of the handler, and from what it was asked to stop for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from corral.errors import Cancelled, DeadlineExceeded, Draining, PayloadTooLarge
from corral.jobs.job import Ending, JobError
from corral.jobs.retrying import Retrying, describe, put_off_s

if TYPE_CHECKING:
    from corral.jobs.running import Outcome, RunningJob, StopReason

_NOBODY = "put_off"
"""What no signal is called: it waits for time to pass."""


def succeeded(job: RunningJob, outcome: Outcome, result_max_bytes: int, retrying: Retrying) -> Ending | None:
    """The ending of a run that came to an end by itself."""
    if job.stop_reason == "lost":
        return None
    stuck = _by_journal(job)
    if stuck is not None:
        return stuck
    if len(outcome.result) > result_max_bytes:
        too_large = PayloadTooLarge(
            f"The result has {len(outcome.result)} bytes, and {result_max_bytes} are allowed (`jobs.result_max_bytes`): "
            "store it elsewhere and return where it is."
        )
        return _judged(job, too_large, retrying)
    return Ending(claim=job.claim, kind="succeeded", result=outcome.result)


def ending_of(job: RunningJob, error: BaseException, retrying: Retrying) -> Ending | None:
    """The ending of a run that raised. None: the job is somebody else's, and nothing may be written."""
    reason = job.stop_reason
    if reason == "lost":
        return None
    stuck = _by_journal(job)
    if stuck is not None and reason is None:
        return stuck
    return _by_reason(job, error, retrying, reason or _reason_of(job, error))


def _by_reason(job: RunningJob, error: BaseException, retrying: Retrying, reason: StopReason | None) -> Ending:
    match reason:
        case "cancelled":
            said = describe(error, retryable=False) if isinstance(error, Cancelled) else None
            return Ending(claim=job.claim, kind="cancelled", error=said)
        case "draining":
            return released(job)
        case "deadline":
            return _out_of_time(job)
        case "timeout":
            return _timed_out(job, retrying)
        case _:
            return _put_off(job, error) or _judged(job, error, retrying)


def _put_off(job: RunningJob, error: BaseException) -> Ending | None:
    """What cannot be paid for now waits until it can."""
    seconds = put_off_s(error)
    if seconds is None:
        return None
    return Ending(claim=job.claim, kind="waiting", awaits=_NOBODY, wait_until=job.store_now() + seconds)


def _reason_of(job: RunningJob, error: BaseException) -> StopReason | None:
    """The runtime may have stopped the run before we did."""
    if isinstance(error, DeadlineExceeded) and job.now() >= job.deadline:
        return "deadline" if job.is_past_its_deadline() else "timeout"
    if isinstance(error, Draining):
        return "draining"
    return "cancelled" if isinstance(error, Cancelled) else None


def released(job: RunningJob) -> Ending:
    """Handed back unharmed."""
    return Ending(claim=job.claim, kind="released")


def refused(job: RunningJob, error: Exception) -> Ending:
    """The store does not take how it ended, such as a result that it cannot keep."""
    return Ending(claim=job.claim, kind="failed", error=describe(error, retryable=False))


def _by_journal(job: RunningJob) -> Ending | None:
    """What the journal has to say goes first: an agent may have caught what was raised into it."""
    if not job.has_journal:
        return None
    journal = job.journal
    if journal.fault is not None:
        return Ending(claim=job.claim, kind="failed", error=describe(journal.fault, retryable=False))
    if journal.suspended is not None:
        suspended = journal.suspended
        return Ending(claim=job.claim, kind="waiting", awaits=suspended.awaits, wait_until=suspended.until)
    return None


def _judged(job: RunningJob, error: BaseException, retrying: Retrying) -> Ending:
    claimed = job.claimed
    verdict = retrying.judge(
        error, failures=claimed.failures, max_attempts=claimed.max_attempts, backoff=claimed.backoff
    )
    return Ending(claim=job.claim, kind=verdict.kind, error=verdict.error, delay_s=verdict.delay_s)


def _timed_out(job: RunningJob, retrying: Retrying) -> Ending:
    seconds = job.deadline - job.started_at
    ending = _judged(job, DeadlineExceeded(f"The attempt took longer than {seconds:g} s."), retrying)
    error = ending.error
    return (
        ending
        if error is None
        else msgspec.structs.replace(ending, error=msgspec.structs.replace(error, code="timeout"))
    )


def _out_of_time(job: RunningJob) -> Ending:
    error = JobError(
        code=DeadlineExceeded.code,
        message="The job's deadline passed while it ran.",
        type="DeadlineExceeded",
        retryable=False,
    )
    return Ending(claim=job.claim, kind="failed", error=error)
