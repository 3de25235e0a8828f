"""Agents' runs and approvals as rows: the same columns on every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from corral.agents.store import (
    Approval,
    ApprovalClosed,
    ApprovalNotFound,
    Decision,
    Entry,
    RunBusy,
    RunInfo,
    RunLost,
    RunNotFound,
    RunOver,
    Tally,
)
from corral.backends.encoding import check_id, encode
from corral.messages import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.agents.store import ApprovalDraft, RunDraft

REFUSALS = {
    "no run": RunNotFound,
    "busy": RunBusy,
    "over": RunOver,
    "lost": RunLost,
    "no approval": ApprovalNotFound,
    "closed": ApprovalClosed,
}
"""What engines say instead of raising."""

_usage = msgspec.json.Decoder(Usage)


class Question(msgspec.Struct, frozen=True):
    """What no engine need understand of an approval."""

    call_id: str
    tool: str
    input: dict[str, Any]
    message: str
    rule: str


_question = msgspec.json.Decoder(Question)
_decision = msgspec.json.Decoder(Decision)


class TallyRow(NamedTuple):
    """A tally as the engines write it."""

    steps: int
    tool_calls: int
    usage: bytes
    cost_usd: float | None


def tally_row(tally: Tally) -> TallyRow:
    """What a run took, as columns."""
    return TallyRow(tally.steps, tally.tool_calls, encode(tally.usage, "The usage"), tally.cost_usd)


def check_draft(draft: RunDraft) -> None:
    """Refuse a run that an engine could not keep."""
    check_id("tenant", draft.tenant)
    check_id("run id", draft.id)
    check_id("agent", draft.agent)
    check_id("session id", draft.session_id, empty=True)
    check_id("user id", draft.user_id, empty=True)
    check_id("job id", draft.job_id, empty=True)
    check_id("parent's id", draft.parent_id, empty=True)
    if draft.idempotency_key is not None:
        check_id("idempotency key", draft.idempotency_key)


def run_of(row: Sequence[Any]) -> RunInfo:
    """A run out of the columns of `list` or `get`; the latter has the outcome as well."""
    (tenant, run_id, agent, state, session_id, user_id, job_id, parent_id, attempt, cancel, entries, *rest) = row
    steps, tool_calls, usage, cost_usd, error_code, created_at, updated_at, ended_at, resumable, *outcome = rest
    return RunInfo(
        tenant=tenant,
        id=run_id,
        agent=agent,
        state=state,
        session_id=session_id,
        user_id=user_id,
        job_id=job_id,
        parent_id=parent_id,
        attempt=attempt,
        cancel_requested=bool(cancel),
        entries=entries,
        tally=Tally(steps=steps, tool_calls=tool_calls, usage=_usage.decode(usage), cost_usd=cost_usd),
        error_code=error_code,
        created_at=created_at,
        updated_at=updated_at,
        ended_at=ended_at,
        resumable=bool(resumable),
        outcome=outcome[0] if outcome else None,
    )


def entry_of(row: Sequence[Any]) -> Entry:
    """An entry out of the columns number, time, kind, body."""
    seq, at, kind, body = row
    return Entry(seq=seq, at=at, kind=kind, body=body)


def question_row(draft: ApprovalDraft) -> bytes:
    """What is asked, as JSON."""
    check_id("approval's id", draft.id)
    asked = Question(draft.call_id, draft.tool, draft.input, draft.message, draft.rule)
    return encode(asked, "What is asked for")


def approval_of(row: Sequence[Any]) -> Approval:
    """An approval out of the columns of `approvals`."""
    (approval_id, run_id, agent, session_id, user_id, job_id, state, asked_at, expires_at, decided_at, *rest) = row
    question, decision = rest
    asked = _question.decode(question)
    answer = None if decision is None else _decision.decode(decision)
    return Approval(
        id=approval_id,
        run_id=run_id,
        agent=agent,
        session_id=session_id,
        user_id=user_id,
        job_id=job_id,
        call_id=asked.call_id,
        tool=asked.tool,
        input=asked.input,
        message=asked.message,
        rule=asked.rule,
        state=state,
        asked_at=asked_at,
        expires_at=expires_at,
        decided_at=decided_at,
        by="" if answer is None else answer.by,
        note="" if answer is None else answer.note,
        changed_input=None if answer is None else answer.input,
    )


def state_of(decision: Decision) -> str:
    """The state of an approval that was answered so."""
    return "approved" if decision.approve else "refused"
