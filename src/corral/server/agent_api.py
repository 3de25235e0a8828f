"""What the addresses of agents' runs say of themselves in `GET /openapi.json`."""

from __future__ import annotations

from typing import Any

from corral.agents.store import RUN_STATES
from corral.server.agent_shown import STEP_MAX
from corral.server.job_schemas import TIME, objects
from corral.server.routes import ID_PATTERN, Answer, Param
from corral.server.session_api import Described

Schema = dict[str, Any]

_HEADER_ID: Schema = {"type": "string", "maxLength": 256, "pattern": ID_PATTERN}
_WORD: Schema = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": ID_PATTERN}
_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_TIME_OR_NULL: Schema = {"type": ["number", "null"], "description": "Seconds since 1970."}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_COST: Schema = {
    "type": ["number", "null"],
    "minimum": 0,
    "description": "null: a model was asked whose price is not known.",
}
_OBJECT: Schema = {"type": "object"}
_RUN_STATUS: Schema = {"enum": list(RUN_STATES)}
_USAGE = objects(dict.fromkeys(("input", "cache_read", "cache_write", "output", "reasoning"), _COUNT))

_RUN = objects(
    {
        "id": _TEXT,
        "agent": _TEXT,
        "status": _RUN_STATUS,
        "session_id": _TEXT_OR_NULL,
        "user_id": _TEXT_OR_NULL,
        "job_id": {**_TEXT_OR_NULL, "description": "The job in which it runs, and that goes on with it."},
        "parent_id": {**_TEXT_OR_NULL, "description": "The run whose first steps it began with."},
        "entries": _COUNT,
        "steps": _COUNT,
        "tool_calls": _COUNT,
        "usage": _USAGE,
        "cost_usd": _COST,
        "error_code": _TEXT_OR_NULL,
        "cancel_requested": {"type": "boolean"},
        "resumable": {"type": "boolean", "description": "Whether it can be gone on with, once nobody works on it."},
        "created_at": TIME,
        "updated_at": TIME,
        "ended_at": _TIME_OR_NULL,
        "output": {"description": "What it answered."},
        "message": {**_TEXT_OR_NULL, "description": "Why it failed."},
    },
    optional=("output", "message"),
)
_RESULT = objects(
    {
        "run_id": _TEXT,
        "agent": _TEXT,
        "status": {"enum": ["done", "paused"], "description": "`paused`: it waits for people."},
        "output": {"description": "The answer: a text, or the value where the agent has a type of output."},
        "approvals": {"type": "array", "items": _OBJECT, "description": "What people are asked now."},
        "usage": _USAGE,
        "cost_usd": _COST,
        "steps": _COUNT,
        "tool_calls": _COUNT,
        "notes": _OBJECT,
    }
)
_ENTRY = objects({"seq": {"type": "integer", "minimum": 1}, "at": TIME, "kind": _TEXT, "entry": _OBJECT})


def _page(item: Schema) -> Schema:
    items = {"type": "array", "items": item}
    return objects({"items": items, "next_cursor": _TEXT_OR_NULL})


_PROMPT: Schema = {"type": "string", "minLength": 1, "maxLength": 10_000}
_MESSAGES: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"role": {"enum": ["user", "assistant", "tool"]}, "content": {}},
        "required": ["role", "content"],
    },
    "description": "A conversation, the newest last.",
}
_STREAM: Schema = {"type": ["boolean", "null"], "description": "Answer with events as they happen."}
_START: Schema = {
    "type": "object",
    "properties": {
        "prompt": _PROMPT,
        "messages": _MESSAGES,
        "variables": {"type": ["object", "null"], "description": "For what the agent's instructions leave open."},
        "session_id": {"type": ["string", "null"], "minLength": 1, "maxLength": 100, "pattern": ID_PATTERN},
        "user_id": {"type": ["string", "null"], "minLength": 1, "maxLength": 100, "pattern": ID_PATTERN},
        "stream": _STREAM,
    },
    "oneOf": [{"required": ["prompt"]}, {"required": ["messages"]}],
    "additionalProperties": False,
}
_RESUME: Schema = {"type": "object", "properties": {"stream": _STREAM}, "additionalProperties": False}
_FORK: Schema = {
    "type": "object",
    "properties": {
        "step": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": STEP_MAX,
            "description": "Keep so many steps, with the results of their tools; null: all.",
        },
        "prompt": {**_PROMPT, "description": "Said after them; before the first step, in place of what was asked."},
        "messages": _MESSAGES,
        "session_id": {**_WORD, "description": "Where it speaks; left away: where the first run did."},
    },
    "not": {"required": ["prompt", "messages"]},
    "additionalProperties": False,
}

_CALLER = (
    Param("idempotency-key", "header", "Requests with the same key are one run.", _HEADER_ID),
    Param("x-session-id", "header", "The conversation this belongs to.", _HEADER_ID),
    Param("x-user-id", "header", "Who speaks.", _HEADER_ID),
    Param(
        "x-on-conflict",
        "header",
        "What to do when another request has the session's turn.",
        {"type": "string", "enum": ["enqueue", "reject", "interrupt", "rollback"]},
    ),
    Param(
        "x-corral-priority",
        "header",
        "How urgent this is: 9 first, 0 last; where `priorities` are on, never more than its caller is.",
        {"type": "string", "pattern": "^[0-9]$"},
    ),
)
_LIMIT = Param("limit", schema={"type": "integer", "minimum": 1, "maximum": 1000}, description="Items on a page.")
_CURSOR = Param(
    "cursor",
    description="`next_cursor` of the page before.",
    schema={"type": "string", "pattern": "^[A-Za-z0-9_-]{1,1000}$"},
)
_AGENT = Param("agent", description="Only of this agent.", schema=_WORD)
_NO_AGENT = Answer("There is no such agent, or it is not one that runs can be begun of.")
_NO_RUN = Answer("There is no such run.")
_BUSY = Answer("Somebody works on it, or it is over.")


def _several(status: Schema) -> Param:
    schema = {"type": "array", "items": status, "minItems": 1}
    return Param("status", description="Only these, one or several.", schema=schema)


DESCRIPTIONS: dict[str, Described] = {
    "POST /v1/agents/{name}/runs": Described(
        "Run an agent, and keep its journal: it can be resumed, cancelled and forked",
        {
            200: Answer("What came of it, or its events as they happen", _RESULT, streams=True),
            404: _NO_AGENT,
            409: _BUSY,
        },
        _CALLER,
        _START,
    ),
    "GET /v1/runs": Described(
        "List runs, newest first",
        {200: Answer("A page of runs", _page(_RUN))},
        (
            _several(_RUN_STATUS),
            _AGENT,
            Param("session_id", description="Only in this session.", schema=_WORD),
            Param("user_id", description="Only of this user.", schema=_WORD),
            Param("job_id", description="Only in this job.", schema=_WORD),
            Param(
                "since", description="Begun at this time or later, in seconds since 1970.", schema={"type": "number"}
            ),
            Param("until", description="Begun before this time.", schema={"type": "number"}),
            _LIMIT,
            _CURSOR,
        ),
    ),
    "GET /v1/runs/{id}": Described("Describe a run", {200: Answer("The run", _RUN), 404: _NO_RUN}),
    "GET /v1/runs/{id}/entries": Described(
        "Read a run's journal, the oldest entry first",
        {200: Answer("Entries", objects({"items": {"type": "array", "items": _ENTRY}})), 404: _NO_RUN},
        (
            Param("after", description="Only entries above this number.", schema={**_COUNT, "maximum": 10**12}),
            _LIMIT,
        ),
    ),
    "POST /v1/runs/{id}/resume": Described(
        "Go on with a run that is paused or was interrupted",
        {
            200: Answer("What came of it, or its events as they happen", _RESULT, streams=True),
            404: _NO_RUN,
            409: _BUSY,
        },
        _CALLER,
        _RESUME,
        body_required=False,
    ),
    "POST /v1/runs/{id}/cancel": Described(
        "Cancel a run, in whichever process it works",
        {200: Answer("It is over", _RUN), 202: Answer("It was asked to stop", _RUN), 404: _NO_RUN},
    ),
    "POST /v1/runs/{id}/fork": Described(
        "Begin a new run with the first steps of another one; resume it to have it work",
        {201: Answer("The new run", _RUN), 404: _NO_RUN},
        (),
        _FORK,
        body_required=False,
    ),
}
