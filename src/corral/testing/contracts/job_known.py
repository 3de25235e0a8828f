"""What `job_machine` knows of a job without asking."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corral.jobs.states import TERMINAL, may_follow

if TYPE_CHECKING:
    from corral.jobs.job import Claim, EndingKind
    from corral.jobs.states import JobState


@dataclass
class Known:
    """What is known of a job without asking."""

    id: str
    key: str | None
    priority: int
    max_attempts: int
    is_late: bool
    """Its deadline was over when it came."""
    state: JobState = "queued"
    claim: Claim | None = None
    has_lapsed: bool = False
    to_cancel: bool = False
    attempt: int = 0
    failures: int = 0
    lost: list[tuple[Claim, EndingKind | None]] = field(default_factory=list)
    """Claims that are over, and with which ending."""
    journal: dict[str, bytes] = field(default_factory=dict)
    signals: int = 0
    heard: int = 0
    seq: int = 0
    ends: int = 0
    noted: int | None = 0
    """Attempts that failed; none: some may have been noted and others not."""

    def become(self, state: JobState) -> None:
        """Change, as jobs may."""
        assert may_follow(self.state, state), (self.state, state)
        self.state = state
        self.ends += state in TERMINAL and state != "discarded"

    def lose(self, ending: EndingKind | None) -> None:
        """The claim is over."""
        assert self.claim is not None
        self.lost.append((self.claim, ending))
        self.claim, self.has_lapsed = None, False

    def fail_attempt(self) -> None:
        """An attempt is noted."""
        self.failures += 1
        self.noted = None if self.noted is None else self.noted + 1
