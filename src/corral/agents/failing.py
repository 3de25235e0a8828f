"""Why agents came to no answer: one by itself, and several together."""

from __future__ import annotations

from corral.errors import CorralError


class RunStopped(CorralError):
    """The agent was stopped before it came to an end."""

    status = 422
    code = "run_stopped"


class StepsExceeded(RunStopped):
    """The agent took as many steps as it may, and was not done."""

    code = "steps_exceeded"


class ToolCallsExceeded(RunStopped):
    """The agent wanted more calls of tools than it may make."""

    code = "tool_calls_exceeded"


class HandOffsExceeded(RunStopped):
    """The agents handed the work on more often than they may."""

    code = "hand_offs_exceeded"


class TimeExceeded(RunStopped):
    """The agent took longer than it may."""

    status = 504
    code = "time_exceeded"


class TokensExceeded(RunStopped):
    """The agent used more tokens than it may."""

    code = "tokens_exceeded"


class CostExceeded(RunStopped):
    """The agent cost more than it may."""

    code = "cost_exceeded"


class LoopDetected(RunStopped):
    """The agent does the same again and again, and learns nothing from it."""

    code = "loop_detected"


class OutputMisfit(RunStopped):
    """The agent's answer does not have the shape that was asked for, also when it was asked to mend it."""

    status = 502
    code = "output_misfit"


class GuardRefused(RunStopped):
    """A guard refused what was asked, or what was to be answered."""

    code = "refused"


# -- several together -----------------------------------------------------------------------------------------------------


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
