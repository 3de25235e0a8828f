"""What a bridge stands between: somebody else's queue on one side, the desk that takes jobs on the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from corral.jobs.states import JobState


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was received, and is ours until its visibility runs out."""

    id: str
    """The same each time it is received."""
    receipt: str
    """What this reception is called: to extend, release or delete it."""
    request: dict[str, Any]
    """The job it stands for, as in `POST /v1/jobs`."""
    order: str = ""
    """Messages of one order are handed in one after the other, as they came; empty: the order does not matter."""


class Submitted(msgspec.Struct, frozen=True):
    """A job that is durable."""

    id: str
    state: JobState


class TryAgainError(Exception):
    """It did not work this time, and may do so in a moment."""


class RefusedError(Exception):
    """This message is not wanted, however often it comes."""


class ShutOutError(Exception):
    """Nothing will be taken from us: there is no use in going on."""


class MessageQueue(Protocol):
    """The queue of others. Every method may be called from any thread, and raises `TryAgainError` or `ShutOutError`."""

    def receive(self, limit: int) -> list[Message]:
        """Wait for messages, and take up to `limit` (at most ten) for the visibility time."""
        ...

    def extend(self, messages: Sequence[Message]) -> list[Message]:
        """Keep them for another visibility time, from now; those that are not ours any more."""
        ...

    def release(self, messages: Sequence[Message]) -> None:
        """Give them back: others may receive them at once."""
        ...

    def delete(self, messages: Sequence[Message]) -> list[Message]:
        """They are done; those that could not be deleted, and will come again."""
        ...


class Desk(Protocol):
    """Where jobs are handed in. Every method may be called from any thread, and raises the three errors above."""

    def submit(self, request: dict[str, Any], *, key: str) -> Submitted:
        """Hand in a job. The same key is the same job, however often it is handed in."""
        ...

    def wait(self, job_id: str, *, seconds: float) -> JobState:
        """The state of a job: as soon as it has ended, or after that time."""
        ...

    def retry(self, job_id: str) -> None:
        """Have a job that failed run again."""
        ...
