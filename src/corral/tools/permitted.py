"""The layer that asks the policy: may this call be made, by which rule, and what do its words do to the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.messages import Audit, AuditEntry, ToolReply
from corral.tools.failing import failed
from corral.tools.policy import Policy, Ruling
from corral.tools.stack import RunTool, Use

_SAID_MAX = 1_000


class Permitted:
    """Every decision is written down before anything happens; what had side effects, once more when it is over."""

    def __init__(
        self,
        policy: Policy,
        audit: Audit | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        id_of: Callable[[], str] = new_id,
    ) -> None:
        """Without `audit`, nothing is written down."""
        self.policy = policy
        self._audit = audit
        self._clock = clock
        self._id_of = id_of

    async def __call__(self, use: Use, proceed: RunTool) -> ToolReply:
        """Answer what is not allowed, or go on."""
        call, tool = use.call, use.tool
        ruling = self.policy.decide(call, tool)
        call.notes["rule"], call.notes["decision"] = ruling.rule, ruling.decision
        self._write(use, ruling.decision, ruling, reason=ruling.reason, input=call.input)
        if ruling.decision != "allowed":
            return failed(call, _CODES[ruling.decision], _told(tool.name, ruling))
        try:
            reply = await proceed(use)
        except BaseException as error:
            self._over(use, ruling, "failed", reason=type(error).__name__)
            raise
        fault = reply.fault
        if fault is None:
            self._over(use, ruling, "done", cached=reply.cached, attempts=reply.attempts)
        else:
            self._over(use, ruling, "failed", reason=f"{fault.code}: {fault.message}", attempts=reply.attempts)
        # What went wrong is told in the other side's words as well.
        return tainted(reply, f"tool:{tool.name}") if tool.marks.untrusted else reply

    def _over(self, use: Use, ruling: Ruling, decision: str, *, reason: str = "", **details: Any) -> None:
        if use.tool.marks.side_effects:
            self._write(use, decision, ruling, reason=reason, **details)

    def _write(self, use: Use, decision: str, ruling: Ruling, *, reason: str, **details: Any) -> None:
        if self._audit is None:
            return
        call = use.call
        caller = call.caller
        said: dict[str, Any] = {"call": call.id, **details}
        if call.tainted:
            said["tainted"] = list(call.tainted)
        if call.approved_by:
            said["approved_by"] = call.approved_by
        if use.tool.marks.source:
            said["source"] = use.tool.marks.source
        self._audit(
            AuditEntry(
                id=self._id_of(),
                at=self._clock.now(),
                tenant=caller.tenant,
                action="tool.call",
                subject=use.tool.name,
                decision=decision,
                rule=ruling.rule,
                reason=reason[:_SAID_MAX],
                actor=caller.user_id or caller.agent,
                agent=caller.agent,
                session_id=caller.session_id,
                run_id=caller.run_id,
                details=said,
            )
        )


_CODES = {"denied": "denied", "approval_required": "approval_required"}


def tainted(reply: ToolReply, source: str) -> ToolReply:
    """The reply, and where its words came from."""
    return reply if source in reply.tainted else msgspec.structs.replace(reply, tainted=(*reply.tainted, source))


def _told(name: str, ruling: Ruling) -> str:
    because = f": {ruling.reason}" if ruling.reason else ""
    if ruling.decision == "denied":
        return f"{name} was not called. The rule {ruling.rule!r} forbids it{because}. Do not try again; go on without, or say so."
    return f"{name} was not called. The rule {ruling.rule!r} asks for a person's approval first{because}."
