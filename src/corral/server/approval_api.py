"""What the addresses of approvals say of themselves in `GET /openapi.json`."""

from __future__ import annotations

from typing import Any

from corral.server.approval_shown import KINDS, NOTE_MAX, STATUSES
from corral.server.job_schemas import TIME, objects
from corral.server.routes import ID_PATTERN, Answer, Param
from corral.server.session_api import Described

Schema = dict[str, Any]

_WORD: Schema = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": ID_PATTERN}
_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_TIME_OR_NULL: Schema = {"type": ["number", "null"], "description": "Seconds since 1970."}
_STATUS: Schema = {
    "enum": list(STATUSES),
    "description": "`answered`: with a choice of its own. `withdrawn`: nobody waits for an answer any more.",
}
_APPROVAL = objects(
    {
        "id": _TEXT,
        "kind": {"enum": list(KINDS), "description": "Who asks: an agent that wants to call a tool, or a workflow."},
        "run_id": _TEXT_OR_NULL,
        "agent": _TEXT_OR_NULL,
        "session_id": _TEXT_OR_NULL,
        "user_id": {**_TEXT_OR_NULL, "description": "For whom the run works."},
        "job_id": _TEXT_OR_NULL,
        "tool": _TEXT_OR_NULL,
        "input": {"type": "object", "description": "What the tool is to be called with."},
        "execution_id": _TEXT_OR_NULL,
        "workflow": _TEXT_OR_NULL,
        "state": _TEXT_OR_NULL,
        "message": _TEXT,
        "details": {"description": "Shown beside the message."},
        "choices": {"type": "array", "items": _TEXT, "description": "What may be answered."},
        "form": {"type": ["object", "null"], "description": "A JSON schema of what is to be filled in with it."},
        "assignee": {**_TEXT_OR_NULL, "description": "Who should answer now."},
        "rule": {**_TEXT, "description": "Which rule wants it."},
        "status": _STATUS,
        "asked_at": TIME,
        "expires_at": _TIME_OR_NULL,
        "decided_at": _TIME_OR_NULL,
        "decision": {**_TEXT_OR_NULL, "description": "Which of the choices."},
        "by": _TEXT_OR_NULL,
        "note": _TEXT_OR_NULL,
        "filled": {"type": ["object", "null"], "description": "The form as it was filled in."},
        "changed_input": {"type": ["object", "null"], "description": "What the tool is called with instead."},
    }
)
_DECISION: Schema = {
    "type": "object",
    "properties": {
        "decision": {
            "type": "string",
            "minLength": 1,
            "maxLength": 200,
            "description": "One of its `choices`; for a tool `approve` or `refuse`.",
        },
        "note": {"type": ["string", "null"], "maxLength": NOTE_MAX, "description": "Why; the model reads a refusal's."},
        "input": {"type": ["object", "null"], "description": "With `approve`: call the tool with this instead."},
        "form": {"type": ["object", "null"], "description": "The form, filled in."},
    },
    "required": ["decision"],
    "additionalProperties": False,
}
_NO_APPROVAL = Answer("Nobody was asked for such an approval.")

DESCRIPTIONS: dict[str, Described] = {
    "GET /v1/approvals": Described(
        "List what people are asked by agents and by workflows, newest first",
        {
            200: Answer(
                "A page of approvals",
                objects({"items": {"type": "array", "items": _APPROVAL}, "next_cursor": _TEXT_OR_NULL}),
            )
        },
        (
            Param(
                "status",
                description="Only these, one or several.",
                schema={"type": "array", "items": _STATUS, "minItems": 1},
            ),
            Param("kind", description="Only what tools, or only what workflows ask.", schema={"enum": list(KINDS)}),
            Param("agent", description="Only of this agent.", schema=_WORD),
            Param("run_id", description="Only of this run.", schema=_WORD),
            Param("execution_id", description="Only of this execution.", schema=_WORD),
            Param("limit", schema={"type": "integer", "minimum": 1, "maximum": 1000}, description="Items on a page."),
            Param(
                "cursor",
                description="`next_cursor` of the page before.",
                schema={"type": "string", "pattern": "^[A-Za-z0-9_-]{1,4000}$"},
            ),
        ),
    ),
    "GET /v1/approvals/{id}": Described(
        "Describe an approval", {200: Answer("The approval", _APPROVAL), 404: _NO_APPROVAL}
    ),
    "POST /v1/approvals/{id}": Described(
        "Answer an approval, once and for all: an execution, or a run in a job, goes on by itself then",
        {200: Answer("The approval", _APPROVAL), 404: _NO_APPROVAL, 409: Answer("It was answered, or has expired.")},
        (Param("x-user-id", "header", "Who answers.", {"type": "string", "maxLength": 256, "pattern": ID_PATTERN}),),
        _DECISION,
    ),
}
