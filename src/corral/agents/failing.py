"""Why several agents together came to no answer: what a single one cannot fail for."""

from __future__ import annotations

from corral.errors import CorralError, RunStopped


class AgentsExceeded(RunStopped):
    """The request woke as many agents as it may."""

    code = "agents_exceeded"


class HandOffCycle(RunStopped):
    """The question went round in circles between agents."""

    code = "hand_off_cycle"


class UnknownMember(RunStopped):
    """Somebody was to go on who is no member of the team."""

    code = "unknown_member"


class AllFailed(RunStopped):
    """Every member of the team failed."""

    code = "all_failed"


class PlanFailed(RunStopped):
    """No plan came to its end."""

    code = "plan_failed"


class Unsupported(RunStopped):
    """The answer says what no tool supports, also when it was revised."""

    code = "unsupported"


class RoleFailed(CorralError):
    """A role could not decide what to do next."""

    status = 502
    code = "role_failed"
    retryable = True
