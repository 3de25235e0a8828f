"""What the addresses of workflows and executions say of themselves in `GET /openapi.json`."""

from __future__ import annotations

from typing import Any

from corral.server.job_schemas import TIME, objects
from corral.server.routes import ID_PATTERN, Answer, Param
from corral.server.session_api import Described
from corral.server.workflow_shown import CAUSE_MAX, ERROR_MAX, STATUSES

Schema = dict[str, Any]

NAME_MAX = 80
TAGS_MAX = 50
PUBLISHED_MAX = 256
_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_TIME_OR_NULL: Schema = {"type": ["number", "null"], "description": "Seconds since 1970."}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_OBJECT: Schema = {"type": "object"}
_WORD: Schema = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": ID_PATTERN}
_NAME: Schema = {
    "type": "string",
    "pattern": "^[A-Za-z0-9_.-]{1,80}$",
    "description": "1 to 80 letters, digits, '_', '-' and '.'.",
}
_KIND: Schema = {"enum": ["STANDARD", "EXPRESS"], "description": "`EXPRESS`: in memory, short, fast, kept nowhere."}
_STATUS: Schema = {"enum": list(STATUSES)}
_DEFINITION: Schema = {
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}],
    "description": "Amazon States Language: an object, or text in JSON or YAML.",
}
_TAGS: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": 256},
    "propertyNames": {"minLength": 1, "maxLength": 128},
    "maxProperties": TAGS_MAX,
}
_PUBLISH: dict[str, Schema] = {
    "publish": {"type": "boolean", "description": "Keep it as a version, too."},
    "description": {"type": "string", "maxLength": PUBLISHED_MAX, "description": "Of the version."},
}
_CREATE: Schema = {
    "type": "object",
    "properties": {"name": _NAME, "definition": _DEFINITION, "kind": _KIND, "tags": _TAGS, **_PUBLISH},
    "required": ["name", "definition"],
    "additionalProperties": False,
}
_SAVE: Schema = {
    "type": "object",
    "properties": {"definition": _DEFINITION, "kind": _KIND, "tags": _TAGS, **_PUBLISH},
    "required": ["definition"],
    "additionalProperties": False,
}
_WORKFLOW: dict[str, Schema] = {
    "name": _TEXT,
    "arn": _TEXT,
    "kind": _KIND,
    "status": {"enum": ["active", "deleting"]},
    "revision": {**_TEXT, "description": "Another one with every change of what it does."},
    "versions": {"type": "array", "items": _COUNT, "description": "What was published of it, the latest first."},
    "aliases": {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": _COUNT}},
    "tags": {"type": "object", "additionalProperties": _TEXT},
    "created_at": TIME,
    "updated_at": TIME,
}
_WHOLE = objects(
    {
        **_WORKFLOW,
        "definition": _OBJECT,
        "graph": {**_TEXT, "description": "A picture of it, in Mermaid."},
        "published": {"type": ["integer", "null"], "description": "The version that this request published."},
    },
    optional=("published",),
)
_VERSION = objects({"version": _COUNT, "description": _TEXT, "created_at": TIME, "kind": _KIND})
_FAULT = objects(
    {
        "severity": {"enum": ["ERROR", "WARNING"]},
        "code": _TEXT,
        "message": _TEXT,
        "pointer": {**_TEXT, "description": "Where, as a JSON pointer."},
        "hint": _TEXT,
    }
)
_EXECUTION: dict[str, Schema] = {
    "id": _TEXT,
    "arn": _TEXT,
    "name": _TEXT,
    "workflow": _TEXT,
    "version": {"type": ["integer", "null"]},
    "alias": _TEXT_OR_NULL,
    "kind": _KIND,
    "status": _STATUS,
    "started_at": TIME,
    "stopped_at": _TIME_OR_NULL,
    "error": _TEXT_OR_NULL,
    "cause": _TEXT_OR_NULL,
    "redrives": _COUNT,
    "redriven_at": _TIME_OR_NULL,
    "events": {**_COUNT, "description": "How many its history has."},
    "map_run": {**_TEXT_OR_NULL, "description": "The ARN of the map run it is a child of."},
    "parent_id": {**_TEXT_OR_NULL, "description": "The execution whose Map began it."},
}
_ONE = objects({**_EXECUTION, "input": {}, "output": {"description": "Once it has succeeded."}}, optional=("output",))
_LISTED = objects(_EXECUTION)
_EVENT = objects(
    {"id": {"type": "integer", "minimum": 1}, "previous_id": _COUNT, "at": TIME, "type": _TEXT, "details": _OBJECT}
)
_HISTORY = objects(
    {
        "items": {"type": "array", "items": _EVENT},
        "next_after": {"type": ["integer", "null"], "description": "`after` of the next page."},
    }
)
_BEGIN: Schema = {
    "type": "object",
    "properties": {
        "input": {"description": "Any JSON; none: `{}`."},
        "name": {**_NAME, "description": "Taken once in a workflow; none: one is made."},
    },
    "additionalProperties": False,
}
_STOP: Schema = {
    "type": "object",
    "properties": {
        "error": {"type": ["string", "null"], "maxLength": ERROR_MAX},
        "cause": {"type": ["string", "null"], "maxLength": CAUSE_MAX},
    },
    "additionalProperties": False,
}


def _page(item: Schema) -> Schema:
    return objects({"items": {"type": "array", "items": item}, "next_cursor": _TEXT_OR_NULL})


_HEADER_ID: Schema = {"type": "string", "maxLength": 256, "pattern": ID_PATTERN}
_LIMIT = Param("limit", schema={"type": "integer", "minimum": 1, "maximum": 1000}, description="Items on a page.")
_CURSOR = Param(
    "cursor",
    description="`next_cursor` of the page before.",
    schema={"type": "string", "pattern": "^[A-Za-z0-9_-]{1,1000}$"},
)
_WAIT = Param(
    "wait",
    description="Wait this many seconds for its end, 300 at most: `5s`. `Prefer: wait=5` does the same.",
    schema={"type": "string", "pattern": "^[0-9]{1,9}([.][0-9]{1,9})?s?$"},
)
_AFTER = {"type": "integer", "minimum": 0, "maximum": 10**12}
_TIME_PARAM: Schema = {"type": "number"}
_NO_WORKFLOW = Answer("There is no such workflow.")
_NO_EXECUTION = Answer("There is no such execution.")
_WRONG = Answer("The definition is invalid: `errors` lists every fault with its pointer.")
_BEGUN = Answer("It has begun", _ONE)

_WORKFLOWS: dict[str, Described] = {
    "GET /v1/workflows": Described(
        "List workflows, the latest first",
        {200: Answer("A page of workflows", _page(objects(_WORKFLOW)))},
        (_LIMIT, _CURSOR),
    ),
    "POST /v1/workflows": Described(
        "Declare a workflow",
        {
            200: Answer("It was declared before, just so", _WHOLE),
            201: Answer("It was declared", _WHOLE),
            400: _WRONG,
            409: Answer("There is another one of that name."),
        },
        (),
        _CREATE,
        needs="developer",
    ),
    "POST /v1/workflows/validate": Described(
        "Say what is wrong with a definition",
        {
            200: Answer(
                "Every fault", objects({"valid": {"type": "boolean"}, "faults": {"type": "array", "items": _FAULT}})
            )
        },
        (),
        {
            "type": "object",
            "properties": {"definition": _DEFINITION, "kind": _KIND},
            "required": ["definition"],
            "additionalProperties": False,
        },
        needs="developer",
    ),
    "GET /v1/workflows/{name}": Described(
        "Describe a workflow, with its definition and a picture of it",
        {200: Answer("The workflow", _WHOLE), 404: _NO_WORKFLOW},
        (
            Param(
                "version",
                schema={"type": "integer", "minimum": 1, "maximum": 10**9},
                description="As it was published.",
            ),
        ),
    ),
    "PUT /v1/workflows/{name}": Described(
        "Declare a workflow, or change the one of that name; executions that run go on as they began",
        {
            200: Answer("It was changed", _WHOLE),
            201: Answer("It was declared", _WHOLE),
            400: _WRONG,
            409: Answer("It is being deleted."),
        },
        (),
        _SAVE,
        needs="developer",
    ),
    "DELETE /v1/workflows/{name}": Described(
        "Delete a workflow with its versions",
        {202: Answer("It goes with the last of its executions"), 204: Answer("It is gone"), 404: _NO_WORKFLOW},
        needs="developer",
    ),
    "GET /v1/workflows/{name}/versions": Described(
        "List what was published of a workflow, the latest first",
        {200: Answer("The versions", objects({"items": {"type": "array", "items": _VERSION}})), 404: _NO_WORKFLOW},
    ),
    "POST /v1/workflows/{name}/versions": Described(
        "Keep what a workflow does now as a version",
        {201: Answer("The version", _VERSION), 404: _NO_WORKFLOW, 409: Answer("There are as many as there may be.")},
        (),
        {"type": "object", "properties": {"description": _PUBLISH["description"]}, "additionalProperties": False},
        body_required=False,
        needs="developer",
    ),
    "GET /v1/workflows/{name}/graph": Described(
        "Draw a workflow",
        {200: Answer("The picture", {"type": "string"}, content_type="image/svg+xml"), 404: _NO_WORKFLOW},
        (
            Param(
                "format", schema={"enum": ["svg", "mermaid"]}, description="`svg`, or the text of a Mermaid diagram."
            ),
            Param("execution", schema=_WORD, description="Colour the states as this execution has been through them."),
        ),
    ),
    "POST /v1/workflows/{name}/executions": Described(
        "Begin an execution of a workflow, of a version (`triage:3`) or of an alias (`triage:LIVE`)",
        {
            200: Answer("It has ended in time", _ONE),
            202: _BEGUN,
            404: _NO_WORKFLOW,
            409: Answer("The name is taken, or the workflow is being deleted."),
            413: Answer("The input is too large."),
            422: Answer("The `Idempotency-Key` was used for something else."),
        },
        (Param("idempotency-key", "header", "Requests with the same key are one execution.", _HEADER_ID), _WAIT),
        _BEGIN,
        body_required=False,
    ),
}
_EXECUTIONS: dict[str, Described] = {
    "GET /v1/executions": Described(
        "List executions, newest first",
        {200: Answer("A page of executions", _page(_LISTED))},
        (
            Param(
                "status",
                description="Only these, one or several.",
                schema={"type": "array", "items": _STATUS, "minItems": 1},
            ),
            Param("workflow", description="Only of this workflow.", schema=_WORD),
            Param("name", description="Only those whose names begin so.", schema=_WORD),
            Param("map_run", description="Only the children of this map run, by its ARN.", schema=_WORD),
            Param("since", description="Begun at this time or later, in seconds since 1970.", schema=_TIME_PARAM),
            Param("until", description="Begun before this time.", schema=_TIME_PARAM),
            _LIMIT,
            _CURSOR,
        ),
    ),
    "GET /v1/executions/{id}": Described(
        "Describe an execution, by its id or its ARN",
        {200: Answer("The execution", _ONE), 404: _NO_EXECUTION},
        (_WAIT,),
    ),
    "GET /v1/executions/{id}/history": Described(
        "Read what happened, page by page",
        {200: Answer("Events", _HISTORY), 404: _NO_EXECUTION},
        (
            Param("after", description="`next_after` of the page before.", schema=_AFTER),
            _LIMIT,
            Param("reverse", description="The latest first.", schema={"enum": ["true", "false"]}),
        ),
    ),
    "GET /v1/executions/{id}/events": Described(
        "Follow an execution: its history as it is written, and what its tasks say meanwhile; without "
        "`Accept: text/event-stream` a page of its history",
        {
            200: Answer("Events so far, then live until it has ended; or a page", _HISTORY, streams=True),
            204: Answer("You heard it all."),
            404: _NO_EXECUTION,
        },
        (
            Param("after", description="Only events above this number.", schema=_AFTER),
            Param(
                "last-event-id",
                "header",
                "The id of the last event that came: go on behind it.",
                {"type": "string", "pattern": "^([0-9]{1,12}([.]end)?)?$"},
            ),
            _LIMIT,
        ),
    ),
    "POST /v1/executions/{id}/stop": Described(
        "Stop an execution; one that is over stays as it is",
        {200: Answer("The execution", _ONE), 404: _NO_EXECUTION},
        (),
        _STOP,
        body_required=False,
    ),
    "POST /v1/executions/{id}/redrive": Described(
        "Have an execution that failed go on from the states that failed",
        {202: Answer("It goes on", _ONE), 404: _NO_EXECUTION, 409: Answer("It did not fail.")},
        needs="operator",
    ),
    "POST /v1/executions/{id}/fork": Described(
        "Begin another execution of the very same definition, with the same input or with another one",
        {202: _BEGUN, 404: _NO_EXECUTION, 409: Answer("The name is taken."), 413: Answer("The input is too large.")},
        (),
        _BEGIN,
        body_required=False,
        needs="developer",
    ),
}
DESCRIPTIONS = _WORKFLOWS | _EXECUTIONS
