"""What people are asked as the API shows it, and what requests about it ask for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from corral.agents.store import APPROVAL_STATES, Approval, ApprovalQuery, ApprovalState, Decision
from corral.errors import CorralError, ValidationFailed
from corral.jobs.request import check_fields, fault
from corral.server.approval_pages import Place, read_places
from corral.server.http import Request
from corral.server.job_query import PAGE, PAGE_MAX, whole_number, word
from corral.workflows.arns import parse
from corral.workflows.execution import Question
from corral.workflows.store import TaskState
from corral.workflows.tasks.approvals import Asked, asked_of

KINDS = ("tool", "workflow")
STATUSES: tuple[str, ...] = (*APPROVAL_STATES, "answered")
NOTE_MAX = 10_000
_CHOICE_MAX = 200
_CURSOR_MAX = 4000
_OF_TOOLS = ("approve", "refuse")
_STATUS_OF = {"approve": "approved", "refuse": "refused", "reject": "refused"}


class ApprovalsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The query of a list."""

    statuses: tuple[str, ...]
    kind: str | None
    agent: str | None
    run_id: str | None
    execution_id: str | None
    limit: int
    places: list[Place]

    @property
    def wants_tools(self) -> bool:
        """Whether what agents ask may be among it."""
        known = not self.statuses or any(status in APPROVAL_STATES for status in self.statuses)
        return known and self.kind != "workflow" and self.execution_id is None

    @property
    def wants_workflows(self) -> bool:
        """Whether what workflows ask may be among it."""
        return self.kind != "tool" and self.agent is None and self.run_id is None

    def of_tools(self, limit: int, cursor: str | None) -> ApprovalQuery:
        """The same, asked of agents' runs."""
        states: tuple[ApprovalState, ...] = tuple(state for state in APPROVAL_STATES if state in self.statuses)
        return ApprovalQuery(states=states, agent=self.agent, run_id=self.run_id, limit=limit, cursor=cursor)


def approvals_asked(request: Request) -> ApprovalsAsked:
    """The query of `GET /v1/approvals`. `status` may come several times, or with commas between."""
    raw: bytes = request.scope.get("query_string", b"")
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True) if raw else []
    known = ("status", "kind", "agent", "run_id", "execution_id", "limit", "cursor")
    given = check_fields(dict(pairs), known)
    statuses = [part for name, text in pairs if name == "status" for part in text.split(",")]
    for status in statuses:
        if status not in STATUSES:
            raise fault("/status", f"`status` is one of {', '.join(STATUSES)}, not {status[:40]!r}.")
    if given.get("kind", "tool") not in KINDS:
        raise fault("/kind", f"`kind` is {' or '.join(KINDS)}.")
    cursor = given.get("cursor")
    if cursor is not None and not 0 < len(cursor) <= _CURSOR_MAX:
        raise ValidationFailed("`cursor` is the `next_cursor` of a page.")
    return ApprovalsAsked(
        statuses=tuple(dict.fromkeys(statuses)),
        kind=given.get("kind"),
        agent=word("agent", given.get("agent")),
        run_id=word("run_id", given.get("run_id")),
        execution_id=word("execution_id", given.get("execution_id")),
        limit=whole_number(given, "limit", PAGE, low=1, high=PAGE_MAX),
        places=read_places(cursor, len(KINDS)),
    )


def task_states(statuses: Sequence[str]) -> tuple[TaskState, ...]:
    """Where a workflow's questions of these statuses are to be looked for."""
    if not statuses or ("waiting" in statuses and len(statuses) > 1):
        return ()
    return ("new",) if "waiting" in statuses else ("closed",)


def decision_asked(body: dict[str, Any], *, user_id: str) -> Decision:
    """What a person says to the call of a tool."""
    said = body.get("decision")
    if said not in _OF_TOOLS:
        raise fault("/decision", "`decision` is `approve` or `refuse`.")
    changed = body.get("input")
    if changed is not None and not isinstance(changed, dict):
        raise fault("/input", "`input` is an object: what the tool is to be called with instead.")
    if changed is not None and said == "refuse":
        raise fault("/input", "What is refused is not called: leave `input` away, or approve.")
    return Decision(approve=said == "approve", by=user_id, note=_note(body), input=changed)


def answer_asked(body: dict[str, Any]) -> dict[str, Any]:
    """What a person says to a workflow."""
    said, form = body.get("decision"), body.get("form")
    if not isinstance(said, str) or not 0 < len(said) <= _CHOICE_MAX:
        raise fault("/decision", "`decision` is one of the `choices` of the approval.")
    if body.get("input") is not None:
        raise fault("/input", "`input` is for calls of tools: what a workflow asks for stands in its `form`.")
    if form is not None and not isinstance(form, dict):
        raise fault("/form", "`form` is an object: the form, filled in.")
    return {"decision": said, "note": _note(body), "form": form}


def _note(body: dict[str, Any]) -> str:
    note = body.get("note")
    if note is not None and (not isinstance(note, str) or len(note) > NOTE_MAX):
        raise fault("/note", f"`note` is a text of at most {NOTE_MAX} characters.")
    return note or ""


# -- shown ------------------------------------------------------------------------------------------------------------------


def shown_approval(approval: Approval) -> dict[str, Any]:
    """What an agent asks before it calls a tool, and what was answered."""
    decision = {"approved": "approve", "refused": "refuse"}.get(approval.state)
    return {
        "id": approval.id,
        "kind": "tool",
        "run_id": approval.run_id,
        "agent": approval.agent,
        "session_id": approval.session_id or None,
        "user_id": approval.user_id or None,
        "job_id": approval.job_id or None,
        "tool": approval.tool,
        "input": approval.input,
        "execution_id": None,
        "workflow": None,
        "state": None,
        "message": approval.message,
        "details": None,
        "choices": _OF_TOOLS,
        "form": None,
        "assignee": None,
        "rule": approval.rule,
        "status": approval.state,
        "asked_at": approval.asked_at,
        "expires_at": approval.expires_at,
        "decided_at": approval.decided_at,
        "decision": decision,
        "by": approval.by or None,
        "note": approval.note or None,
        "filled": None,
        "changed_input": approval.changed_input,
    }


def shown_question(question: Question) -> dict[str, Any]:
    """What a workflow asks, and what was answered."""
    asked = Asked(message="")
    with contextlib.suppress(CorralError):  # what cannot be asked fails its task, and is shown for as long as it stands
        asked = asked_of(question.payload)
    answer = question.answer if isinstance(question.answer, dict) else {}
    decision = answer.get("decision")
    if question.is_open:
        status = "waiting"
    elif decision is None:
        status = "withdrawn"
    else:
        status = _STATUS_OF.get(decision, "answered")
    until = question.answered_at or time.time()
    return {
        "id": question.id,
        "kind": "workflow",
        "run_id": None,
        "agent": None,
        "session_id": None,
        "user_id": None,
        "job_id": None,
        "tool": None,
        "input": {},
        "execution_id": question.execution_id,
        "workflow": parse(question.execution_arn).name,
        "state": question.state_name,
        "message": asked.message,
        "details": asked.details,
        "choices": asked.choices,
        "form": asked.form,
        "assignee": asked.assignee_after(until - question.asked_at) or None,
        "rule": "",
        "status": status,
        "asked_at": question.asked_at,
        "expires_at": question.expires_at,
        "decided_at": question.answered_at,
        "decision": decision,
        "by": answer.get("by") or None,
        "note": answer.get("note") or None,
        "filled": answer.get("form"),
        "changed_input": None,
    }
