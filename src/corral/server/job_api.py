"""What the addresses of jobs say of themselves in `GET /openapi.json`."""

from __future__ import annotations

from corral.jobs.states import STATES
from corral.server import job_schemas as schemas
from corral.server.routes import ID_PATTERN, Answer, Param
from corral.server.session_api import Described

_HEADER_ID = {"type": "string", "maxLength": 256, "pattern": ID_PATTERN}
_CALLER = (
    Param("idempotency-key", "header", "Requests with the same key are one job.", _HEADER_ID),
    Param("x-session-id", "header", "The conversation this belongs to.", _HEADER_ID),
    Param("x-user-id", "header", "Who speaks.", _HEADER_ID),
)
_WAIT = Param(
    "wait",
    description="Wait this many seconds for its end, 300 at most: `5s`. `Prefer: wait=5` does the same.",
    schema={"type": "string", "pattern": "^[0-9]{1,9}([.][0-9]{1,9})?s?$"},
)
_LIMIT = Param("limit", schema={"type": "integer", "minimum": 1, "maximum": 1000}, description="Items on a page.")
_WORD = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": ID_PATTERN}
_FILTERS = (
    Param(
        "status",
        description="Only these, one or several.",
        schema={"type": "array", "items": schemas.STATUS, "minItems": 1},
    ),
    Param("agent", description="Only of this agent.", schema=_WORD),
    Param("queue", description="Only in this queue.", schema=_WORD),
    Param("tag", description="Only with this tag.", schema=_WORD),
    Param("session_id", description="Only of this session.", schema=_WORD),
    Param("user_id", description="Only of this user.", schema=_WORD),
    Param("batch_id", description="Only of this batch.", schema=_WORD),
    Param("since", description="Created at this time or later, in seconds since 1970.", schema={"type": "number"}),
    Param("until", description="Created before this time.", schema={"type": "number"}),
    _LIMIT,
    Param(
        "cursor",
        description="`next_cursor` of the page before.",
        schema={"type": "string", "pattern": "^[A-Za-z0-9_-]{1,1000}$"},
    ),
)
_SEQ = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
_NO_JOB = Answer("There is no such job.")
_WRONG_STATE = Answer("It is not in a state in which this can be done.")
_TOO_LARGE = Answer("An input, or all of them together, is too large (`jobs.input_max_bytes`, `jobs.batch_max_bytes`).")
_FULL = Answer("The queue is full: `Retry-After` says when to try again.")
_ACCEPTED = Answer("It is in the queue", schemas.SUBMITTED)
_JOB = Answer("The job", schemas.JOB)
_CANCEL = Described(
    "Cancel a job: at once where it waits; what runs is asked to stop",
    {
        200: Answer("It is cancelled", schemas.JOB),
        202: Answer("It was asked to stop", schemas.JOB),
        404: _NO_JOB,
        409: _WRONG_STATE,
    },
)
_IDS = {200: Answer("Those that it hit; ask again until there are none", schemas.IDS)}
_SCHEDULE_NAME = Param(
    "name", "path", schema={"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}, required=True
)
_NO_SCHEDULE = Answer("There is no such schedule.")

DESCRIPTIONS: dict[str, Described] = {
    "POST /v1/jobs": Described(
        "Hand in a job, or one for each of `inputs`; with `wait`, answer with its end when that comes in time",
        {
            200: Answer("It has ended in time", schemas.JOB),
            202: Answer("It is in the queue", {"anyOf": [schemas.SUBMITTED, schemas.SUBMITTED_BATCH]}),
            404: Answer("There is no such agent."),
            413: _TOO_LARGE,
            422: Answer("The `Idempotency-Key` was used for something else."),
            429: _FULL,
        },
        (*_CALLER, _WAIT),
        {"anyOf": [schemas.JOB_REQUEST, schemas.BATCH_REQUEST]},
    ),
    "GET /v1/jobs": Described("List jobs, newest first", {200: Answer("A page of jobs", schemas.PAGE)}, _FILTERS),
    "POST /v1/jobs/batches": Described(
        "Hand in many jobs under one handle, all or none",
        {
            202: Answer("They are in the queue", schemas.SUBMITTED_BATCH),
            404: Answer("There is no such agent."),
            413: _TOO_LARGE,
            422: Answer("The `Idempotency-Key` was used for something else."),
            429: _FULL,
        },
        _CALLER,
        schemas.BATCH_REQUEST,
    ),
    "GET /v1/jobs/batches/{id}": Described(
        "Say how far a batch is", {200: Answer("Its progress", schemas.BATCH), 404: Answer("There is no such batch.")}
    ),
    "POST /v1/jobs/cancel": Described(
        "Cancel many jobs by a filter", _IDS, (), schemas.filtered_by(*STATES), needs="operator"
    ),
    "POST /v1/jobs/redrive": Described(
        "Have dead letters run again by a filter, each from its last finished step",
        _IDS,
        (),
        schemas.filtered_by("failed", "cancelled"),
        needs="operator",
    ),
    "POST /v1/jobs/discard": Described(
        "Put dead letters away by a filter", _IDS, (), schemas.filtered_by("failed"), needs="operator"
    ),
    "GET /v1/jobs/{id}": Described(
        "Describe a job; the first 8 characters of its id or more will do where no other begins so",
        {200: _JOB, 404: _NO_JOB},
        (_WAIT,),
    ),
    "DELETE /v1/jobs/{id}": _CANCEL,
    "GET /v1/jobs/{id}/result": Described(
        "Read the bare result; a job that failed is answered with its error",
        {200: Answer("The result", {}), 202: Answer("It has not ended yet", schemas.SUBMITTED), 404: _NO_JOB},
        (_WAIT,),
    ),
    "GET /v1/jobs/{id}/attempts": Described(
        "List the attempts that did not end well", {200: Answer("The attempts", schemas.ATTEMPTS), 404: _NO_JOB}
    ),
    "GET /v1/jobs/{id}/events": Described(
        "Follow what a job says: as events with `Accept: text/event-stream`, else a page of them",
        {
            200: Answer("Events so far, then live until it has ended; or a page", schemas.EVENTS, streams=True),
            204: Answer("You heard it all."),
            404: _NO_JOB,
        },
        (
            Param("after", description="Only events above this number.", schema=_SEQ),
            Param(
                "last-event-id",
                "header",
                "The id of the last event that came: go on behind it.",
                {"type": "string", "pattern": "^([0-9]{1,15}([.]end)?)?$"},
            ),
            _LIMIT,
        ),
    ),
    "GET /v1/jobs/{id}/callbacks": Described(
        "List its callbacks, and what came of them", {200: Answer("The callbacks", schemas.DELIVERIES), 404: _NO_JOB}
    ),
    "POST /v1/jobs/{id}/cancel": _CANCEL,
    "POST /v1/jobs/{id}/retry": Described(
        "Have a job that failed or was cancelled run again: from its last finished step, or with a new `input`",
        {202: Answer("It is in the queue again", schemas.JOB), 404: _NO_JOB, 409: _WRONG_STATE, 413: _TOO_LARGE},
        (),
        {"type": "object", "properties": {"input": {}}, "additionalProperties": False},
        body_required=False,
        needs="operator",
    ),
    "POST /v1/jobs/{id}/discard": Described(
        "Put a dead letter away", {200: _JOB, 404: _NO_JOB, 409: _WRONG_STATE}, needs="operator"
    ),
    "POST /v1/jobs/{id}/signals/{name}": Described(
        "Tell a job what it waits for, or will: the body is the value",
        {
            202: Answer("It is told; it may wait for something else all the same", schemas.SIGNALLED),
            404: _NO_JOB,
            409: _WRONG_STATE,
        },
        (),
        {},
        body_required=False,
    ),
    "POST /v1/callbacks/{id}/replay": Described(
        "Send a callback once more",
        {
            202: Answer("It is sent again", schemas.objects({"id": {"type": "string"}, "status": {"type": "string"}})),
            404: Answer("There is no such callback."),
        },
        needs="operator",
    ),
    "GET /v1/queues": Described(
        "Show all queues and workers, of all tenants together: the signal to scale on",
        {200: Answer("Queues and workers", schemas.QUEUES)},
        needs="operator",
    ),
    "GET /v1/queues/{name}": Described(
        "Show one queue, and who works on it",
        {200: Answer("The queue; empty where nobody uses it", schemas.QUEUE_NOW)},
        (Param("name", "path", schema=schemas.QUEUE, required=True),),
        needs="operator",
    ),
    "GET /v1/schedules": Described(
        "List your schedules, by name", {200: Answer("The schedules", schemas.items(schemas.SCHEDULE))}
    ),
    "GET /v1/schedules/{name}": Described(
        "Describe a schedule", {200: Answer("The schedule", schemas.SCHEDULE), 404: _NO_SCHEDULE}
    ),
    "PUT /v1/schedules/{name}": Described(
        "Make a schedule, or replace the one of that name",
        {
            200: Answer("It was replaced", schemas.SCHEDULE),
            201: Answer("It was made", schemas.SCHEDULE),
            404: Answer("There is no such agent."),
            413: _TOO_LARGE,
        },
        (_SCHEDULE_NAME,),
        schemas.SCHEDULE_REQUEST,
        needs="developer",
    ),
    "DELETE /v1/schedules/{name}": Described(
        "Remove a schedule; jobs that it made already stay",
        {204: Answer("It is gone"), 404: _NO_SCHEDULE},
        (_SCHEDULE_NAME,),
        needs="developer",
    ),
}
