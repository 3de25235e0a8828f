"""The states of a job and the ways between them: the only place that says so. Drawn in `docs/jobs.md`."""

from __future__ import annotations

from typing import Literal, get_args

JobState = Literal["scheduled", "queued", "running", "waiting", "succeeded", "failed", "cancelled", "discarded"]

STATES: tuple[JobState, ...] = get_args(JobState)

OPEN: frozenset[JobState] = frozenset({"scheduled", "queued", "running", "waiting"})
"""Something may still happen by itself."""

TERMINAL: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled", "discarded"})
"""Nothing happens any more, unless a person asks for it. A failed job lies among the dead letters."""

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    # Its time comes, or a wait for a signal is over.
    "scheduled": frozenset({"queued", "cancelled", "failed"}),
    # A worker claims it; its deadline passes; somebody cancels it.
    "queued": frozenset({"running", "cancelled", "failed"}),
    # It ends; it is tried again later (`scheduled`) or at once (`queued`: handed back, or its worker died); it waits.
    "running": frozenset({"succeeded", "failed", "cancelled", "scheduled", "queued", "waiting"}),
    # The signal came or the time for it ran out.
    "waiting": frozenset({"queued", "cancelled", "failed"}),
    "succeeded": frozenset(),
    # A person has it run once more, or puts it away.
    "failed": frozenset({"queued", "discarded"}),
    "cancelled": frozenset({"queued"}),
    "discarded": frozenset(),
}


def may_follow(before: JobState, after: JobState) -> bool:
    """Whether a job in state `before` may become `after`."""
    return after in TRANSITIONS[before]
