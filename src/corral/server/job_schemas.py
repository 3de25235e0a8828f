"""What jobs, and requests for them, look like in `GET /openapi.json`."""

from __future__ import annotations

from typing import Any

from corral.jobs.request import MOMENT_MAX, NAME_PATTERN, SECONDS_MAX, TAGS_MAX
from corral.jobs.states import STATES
from corral.server.routes import ID_PATTERN

Schema = dict[str, Any]


def objects(properties: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """An object whose properties are all there, but for some."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def items(item: Schema) -> Schema:
    """A list under `items`."""
    return objects({"items": {"type": "array", "items": item}})


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


STATUS: Schema = {"enum": list(STATES)}
TIME: Schema = {"type": "number", "description": "Seconds since 1970."}
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": ID_PATTERN}
_TAG: Schema = {**_TEXT, "maxLength": 100}
QUEUE: Schema = {"type": "string", "pattern": NAME_PATTERN}
_ABOVE_ZERO: Schema = {"type": "number", "exclusiveMinimum": 0, "maximum": SECONDS_MAX}
_PAUSE: Schema = {"type": "number", "minimum": 0, "maximum": SECONDS_MAX}
_HEADERS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}

_BACKOFF: Schema = {
    "type": "object",
    "properties": {
        "initial_s": _or_null(_PAUSE),
        "factor": _or_null({"type": "number", "minimum": 1, "maximum": 100}),
        "max_s": _or_null(_ABOVE_ZERO),
        "jitter": _or_null({"type": "number", "minimum": 0, "maximum": 1}),
    },
    "additionalProperties": False,
}
_CALLBACK: Schema = {
    "type": "object",
    "properties": {
        "url": {
            "type": "string",
            "minLength": 1,
            "maxLength": 2048,
            "description": "https://…, called when it has ended.",
        },
        "headers": _or_null(_HEADERS),
    },
    "required": ["url"],
    "additionalProperties": False,
}
_MOMENT: Schema = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": MOMENT_MAX},
        {"type": "string", "description": "Such as `2026-11-21T09:00:00Z`."},
    ]
}
_COMMON: dict[str, Schema] = {
    "agent": {**_TEXT, "description": "Which agent of the app."},
    "version": _or_null(_TEXT),
    "session_id": _or_null({**_TEXT, "description": "Jobs of one session run one after the other."}),
    "user_id": _or_null(_TEXT),
    "queue": _or_null(QUEUE),
    "priority": _or_null({"type": "integer", "minimum": 0, "maximum": 10, "description": "Higher goes first; 5."}),
    "fairness_key": _or_null({**_TEXT, "description": "Jobs of different keys take turns."}),
    "weight": _or_null({"type": "number", "minimum": 0.01, "maximum": 100}),
    "concurrency_key": _or_null({**_TEXT, "description": "At most `concurrency_limit` of its jobs run at once."}),
    "concurrency_limit": _or_null(
        {"type": "integer", "minimum": 1, "maximum": 100_000, "description": "Only with a `concurrency_key`."}
    ),
    "run_at": _or_null(_MOMENT),
    "delay_s": _or_null(_PAUSE),
    "deadline_s": _or_null({**_ABOVE_ZERO, "description": "Given up, run or not, this long after it was handed in."}),
    "timeout_s": _or_null({**_ABOVE_ZERO, "description": "Longest run of one attempt."}),
    "max_attempts": _or_null({"type": "integer", "minimum": 1, "maximum": 1000}),
    "backoff": _or_null(_BACKOFF),
    "tags": _or_null({"type": "array", "items": _TAG, "maxItems": TAGS_MAX}),
    "callback": _or_null(_CALLBACK),
    "dedupe_s": _or_null({**_ABOVE_ZERO, "description": "How long the `Idempotency-Key` is remembered."}),
}
JOB_REQUEST: Schema = {
    "type": "object",
    "properties": {**_COMMON, "input": {"description": "What the agent gets: any JSON."}},
    "required": ["agent"],
    "additionalProperties": False,
}
BATCH_REQUEST: Schema = {
    "type": "object",
    "properties": {**_COMMON, "inputs": {"type": "array", "minItems": 1, "description": "One job for each."}},
    "required": ["agent", "inputs"],
    "additionalProperties": False,
}

_WORDS = ("agent", "queue", "tag", "session_id", "user_id", "batch_id")


def filtered_by(*states: str) -> Schema:
    """A filter, as it is sent to act on many jobs; `states` are those that make sense."""
    status: Schema = {"enum": list(states)}
    return {
        "type": "object",
        "properties": {
            "status": {"anyOf": [status, {"type": "array", "items": status, "minItems": 1}]},
            **dict.fromkeys(_WORDS, _TEXT),
            "since": {"type": "number", "description": "Created at this time or later, in seconds since 1970."},
            "until": {"type": "number", "description": "Created before this time."},
            "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "description": "How many at most (1000)."},
            "all": {"type": "boolean", "description": "True: no filter is meant."},
        },
        "anyOf": [
            {"properties": {"all": {"const": True}}, "required": ["all"]},
            *({"required": [name]} for name in ("status", *_WORDS, "since", "until")),
        ],
        "additionalProperties": False,
    }


IDS: Schema = objects({"ids": {"type": "array", "items": {"type": "string"}}, "count": {"type": "integer"}})

ERROR: Schema = objects(
    {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "type": {"type": "string", "description": "The class of the agent's own error."},
        "traceback": {"type": "string"},
        "retryable": {"type": "boolean"},
    },
    optional=("type", "traceback", "retryable"),
)
_NULLABLE: Schema = {"type": ["string", "null"]}
_TIME_OR_NULL: Schema = {"type": ["number", "null"]}
JOB: Schema = objects(
    {
        "id": {"type": "string"},
        "tenant": {"type": "string"},
        "agent": {"type": "string"},
        "version": {"type": "string"},
        "status": STATUS,
        "queue": {"type": "string"},
        "priority": {"type": "integer"},
        "session_id": _NULLABLE,
        "user_id": _NULLABLE,
        "tags": {"type": "array", "items": {"type": "string"}},
        "batch_id": _NULLABLE,
        "attempt": {"type": "integer"},
        "failures": {"type": "integer"},
        "max_attempts": {"type": "integer"},
        "created_at": TIME,
        "run_at": {**_TIME_OR_NULL, "description": "When it is due, or when its wait ends."},
        "started_at": _TIME_OR_NULL,
        "finished_at": _TIME_OR_NULL,
        "deadline_at": _TIME_OR_NULL,
        "worker": _NULLABLE,
        "cancel_requested": {"type": "boolean"},
        "awaits": {"type": "string", "description": "The signal it waits for."},
        "progress": {"description": "What it said last of how far it is."},
        "error": {"anyOf": [ERROR, {"type": "null"}]},
        "input": {"description": "Null in lists."},
        "result": {"description": "Null in lists, and where there is none."},
        "callback": {"type": ["object", "null"]},
        "last_seq": {"type": "integer", "description": "The number of its newest event."},
    }
)
LINKS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
SUBMITTED: Schema = objects({"id": {"type": "string"}, "status": STATUS, "links": LINKS})
SIGNALLED: Schema = objects(
    {
        "id": {"type": "string"},
        "signal": {"type": "string"},
        "status": STATUS,
        "waits_for": {**_NULLABLE, "description": "The signal that it waits for now; null: it waits for none."},
    }
)
SUBMITTED_BATCH: Schema = objects(
    {
        "id": {"type": "string"},
        "total": {"type": "integer"},
        "jobs": {"type": "array", "items": {"type": "string"}},
        "links": LINKS,
    }
)
BATCH: Schema = objects(
    {
        "id": {"type": "string"},
        "total": {"type": "integer"},
        "ended": {"type": "integer", "description": "How many of them have ended."},
        "created_at": TIME,
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}, "description": "By status."},
    }
)
PAGE: Schema = objects({"items": {"type": "array", "items": JOB}, "next_cursor": _NULLABLE})
ATTEMPTS: Schema = items(
    objects(
        {
            "attempt": {"type": "integer"},
            "worker": {"type": "string"},
            "started_at": TIME,
            "ended_at": TIME,
            "error": ERROR,
        }
    )
)
EVENTS: Schema = objects(
    {
        "items": {
            "type": "array",
            "items": objects(
                {
                    "seq": {"type": "integer"},
                    "attempt": {"type": "integer"},
                    "kind": {"type": "string"},
                    "at": TIME,
                    "data": {},
                }
            ),
        },
        "next_after": {"type": "integer", "description": "`after` for the next page."},
        "status": STATUS,
        "last_seq": {"type": "integer"},
    }
)
DELIVERIES: Schema = items(
    objects(
        {
            "id": {"type": "string"},
            "job_id": {"type": "string"},
            "url": {"type": "string"},
            "status": {"enum": ["pending", "delivered", "failed"]},
            "attempts": {"type": "integer"},
            "created_at": TIME,
            "next_at": _TIME_OR_NULL,
            "answer": {"type": "string", "description": "What came of the latest attempt."},
        }
    )
)
_QUEUE_STATS: dict[str, Schema] = {
    "queue": {"type": "string"},
    "queued": {"type": "integer"},
    "scheduled": {"type": "integer"},
    "running": {"type": "integer"},
    "waiting": {"type": "integer"},
    "oldest_queued_s": {"type": "number"},
}
_WORKERS: Schema = {"type": "array", "items": {"type": "object"}}
_PER_S: Schema = {"type": "number", "description": "Jobs that the workers ended per second lately."}
QUEUES: Schema = objects(
    {"queues": {"type": "array", "items": objects(_QUEUE_STATS)}, "workers": _WORKERS, "per_s": _PER_S}
)
QUEUE_NOW: Schema = objects({**_QUEUE_STATS, "workers": _WORKERS, "per_s": _PER_S})

_CATCH_UP: Schema = {"enum": ["skip", "one", "all"], "description": "What to do about times that nobody was there."}
_TIMES: dict[str, Schema] = {
    "cron": {"type": "string", "maxLength": 256, "description": "Five fields, or `@every 90s`, `@hourly`, …"},
    "timezone": {"type": "string", "maxLength": 256, "description": "Such as `Europe/Berlin`; `UTC`."},
    "catch_up": _CATCH_UP,
    "paused": {"type": "boolean"},
}
SCHEDULE_REQUEST: Schema = {
    "oneOf": [
        {
            "type": "object",
            "properties": {**_TIMES, "job": JOB_REQUEST},
            "required": ["cron", "job"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                **_TIMES,
                "workflow": {**_TEXT, "description": "What starts in the place of a job."},
                "input": {"description": "The workflow's input; none: `{}`."},
            },
            "required": ["cron", "workflow"],
            "additionalProperties": False,
        },
    ]
}
SCHEDULE: Schema = objects(
    {
        "name": {"type": "string"},
        "cron": {"type": "string"},
        "timezone": {"type": "string"},
        "catch_up": _CATCH_UP,
        "paused": {"type": "boolean"},
        "job": {"type": "object"},
        "workflow": {"type": ["string", "null"], "description": "What it starts in the place of a job."},
        "next_at": _TIME_OR_NULL,
        "last_at": _TIME_OR_NULL,
    }
)
