"""What the addresses of events say of themselves in `GET /openapi.json`."""

from __future__ import annotations

from typing import Any

from corral.jobs.request import MOMENT_MAX
from corral.server.job_schemas import JOB_REQUEST, TIME, items, objects
from corral.server.routes import ID_PATTERN, Answer, Param
from corral.server.session_api import Described
from corral.workflows.starting import WORKFLOW_MAX
from corral.workflows.topics import NAME_PATTERN, TARGETS_MAX

Schema = dict[str, Any]

EVENTS_MAX = 100
"""In one request."""
_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_WORD: Schema = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": ID_PATTERN}
_NAME: Schema = {"type": "string", "pattern": NAME_PATTERN}
_OBJECT: Schema = {"type": "object"}
_PATTERN: Schema = {
    "type": "object",
    "description": 'As EventBridge writes it: `{"source": ["shop"], "detail": {"total": [{"numeric": [">", 100]}]}}`.',
}
_WORKFLOW: Schema = {**_WORD, "maxLength": WORKFLOW_MAX}
_PATH: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 256,
    "description": "Which part of the event it gets: `$.detail`.",
}
_JOB_TARGET: Schema = {
    **JOB_REQUEST,
    "properties": {name: schema for name, schema in JOB_REQUEST["properties"].items() if name != "input"},
}
_EVENT: Schema = {
    "type": "object",
    "properties": {
        "detail_type": {**_WORD, "description": "What kind of thing happened: `Order created`."},
        "source": {**_WORD, "description": "Where it comes from: `shop.orders`."},
        "topic": {**_NAME, "description": "`default`."},
        "detail": {**_OBJECT, "description": "What is to be known about it."},
        "id": {**_WORD, "description": "Published again with it within a day, the event begins nothing twice."},
        "time": {"type": "number", "minimum": 0, "maximum": MOMENT_MAX, "description": "When; none: now."},
        "resources": {"type": "array", "items": _WORD, "maxItems": 100},
    },
    "required": ["detail_type"],
    "additionalProperties": False,
}
_EVENTS: Schema = {
    "type": "object",
    "properties": {"events": {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": EVENTS_MAX}},
    "required": ["events"],
    "additionalProperties": False,
}
_BEGUN = objects(
    {
        "rule": _TEXT,
        "workflow": {**_TEXT_OR_NULL, "description": "What the job starts."},
        "job_id": {**_TEXT_OR_NULL, "description": "The job that does it."},
        "is_new": {"type": "boolean", "description": "false: it was begun when this event was published before."},
        "error": {**_TEXT_OR_NULL, "description": "Why nothing began."},
    }
)
_PUBLISHED = objects({"id": _TEXT, "begun": {"type": "array", "items": _BEGUN}})
_TARGET_SHAPES: list[Schema] = [
    {
        "type": "object",
        "properties": {
            what: schema,
            "input": {"description": "What it gets in the place of the event."},
            "input_path": _PATH,
        },
        "required": [what],
        "additionalProperties": False,
    }
    for what, schema in (("workflow", _WORKFLOW), ("job", _JOB_TARGET))
]
_TARGET: Schema = objects(
    {"workflow": _TEXT_OR_NULL, "job": {"type": ["object", "null"]}, "input": {}, "input_path": _TEXT},
    optional=("input",),
)
_RULE: dict[str, Schema] = {
    "topic": _NAME,
    "pattern": _PATTERN,
    "description": {"type": "string", "maxLength": 1000},
    "paused": {"type": "boolean"},
}
_RULE_REQUEST: Schema = {
    "type": "object",
    "properties": {
        **_RULE,
        "targets": {"type": "array", "items": {"oneOf": _TARGET_SHAPES}, "minItems": 1, "maxItems": TARGETS_MAX},
    },
    "required": ["targets"],
    "additionalProperties": False,
}
_SHOWN_RULE = objects(
    {"name": _NAME, **_RULE, "targets": {"type": "array", "items": _TARGET}, "created_at": TIME, "updated_at": TIME}
)
_MATCH: Schema = {
    "type": "object",
    "properties": {
        "pattern": _PATTERN,
        "event": {**_OBJECT, "description": 'As subscribers get it: `{"source": …, "detail": …}`.'},
    },
    "required": ["pattern", "event"],
    "additionalProperties": False,
}
_NAME_PARAM = Param("name", "path", schema=_NAME, required=True)
_NO_RULE = Answer("There is no such rule.")

DESCRIPTIONS: dict[str, Described] = {
    "POST /v1/events": Described(
        "Publish an event, or several: whoever waits for one like it begins",
        {
            202: Answer("What began, durably", items(_PUBLISHED)),
            413: Answer("An event is too large."),
            422: Answer("The id of an event stood for another one."),
            429: Answer("The queue is full, and nothing began: `Retry-After` says when to try again."),
        },
        (),
        {"oneOf": [_EVENT, _EVENTS]},
    ),
    "POST /v1/events/match": Described(
        "Try a pattern on an event",
        {200: Answer("Whether it matches", objects({"matches": {"type": "boolean"}}))},
        (),
        _MATCH,
        needs="developer",
    ),
    "GET /v1/events/rules": Described(
        "List your rules, by name",
        {200: Answer("The rules", items(_SHOWN_RULE))},
        (Param("topic", description="Only those of this topic.", schema=_NAME),),
    ),
    "GET /v1/events/rules/{name}": Described(
        "Describe a rule", {200: Answer("The rule", _SHOWN_RULE), 404: _NO_RULE}, (_NAME_PARAM,)
    ),
    "PUT /v1/events/rules/{name}": Described(
        "Make a rule, or replace the one of that name",
        {
            200: Answer("It was replaced", _SHOWN_RULE),
            201: Answer("It was made", _SHOWN_RULE),
            404: Answer("There is no such agent."),
            409: Answer("There are as many rules as there may be."),
        },
        (_NAME_PARAM,),
        _RULE_REQUEST,
        needs="developer",
    ),
    "DELETE /v1/events/rules/{name}": Described(
        "Remove a rule; what it began goes on",
        {204: Answer("It is gone"), 404: _NO_RULE},
        (_NAME_PARAM,),
        needs="developer",
    ),
}
