"""What the addresses of sessions say of themselves in `GET /openapi.json`."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from corral.messages import Role
from corral.security.roles import Role as Needed
from corral.server.routes import ID_PATTERN, Answer, Param


class Described(msgspec.Struct, frozen=True):
    """One method of one address, in words and schemas."""

    summary: str
    answers: dict[int, Answer]
    params: tuple[Param, ...] = ()
    body: dict[str, Any] | None = None
    body_required: bool = True
    needs: Needed = "invoker"
    """The least role that may ask."""


_ID: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": ID_PATTERN}
_ROLE: dict[str, Any] = {"enum": list(get_args(Role))}
_TIME: dict[str, Any] = {"type": "number", "description": "Seconds since 1970."}
_TIME_OR_NEVER: dict[str, Any] = {"type": ["number", "null"], "description": "Seconds since 1970; null: never."}
_CURSOR: dict[str, Any] = {"type": ["string", "null"], "description": "Fetches the next page; null: this was the last."}

_DRAFT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "role": _ROLE,
        "content": {"description": "Text, a list of parts with a `type` each, or any JSON."},
        "actor": {"type": ["string", "null"], "maxLength": 256, "pattern": ID_PATTERN},
        "branch": {"type": ["string", "null"], "minLength": 1, "maxLength": 256, "pattern": ID_PATTERN},
        "branch_root": {"type": ["string", "null"], "minLength": 1, "maxLength": 256, "pattern": ID_PATTERN},
        "metadata": {"type": ["object", "null"]},
        "ttl_s": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1e10},
    },
    "required": ["role", "content"],
    "additionalProperties": False,
}
_EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+#[0-9a-f]+$"},
        "session_id": {"type": "string"},
        "seq": {"type": "integer", "minimum": 1},
        "role": _ROLE,
        "content": {"type": "array", "items": {"type": "object"}},
        "actor": {"type": "string"},
        "branch": {"type": "string"},
        "turn": {"type": ["string", "null"], "description": "The turn that wrote it."},
        "metadata": {"type": "object"},
        "created_at": _TIME,
        "expires_at": _TIME_OR_NEVER,
    },
    "required": ["id", "session_id", "seq", "role", "content", "actor", "branch", "turn", "metadata", "created_at"],
}
_TIERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        name: {"type": "integer", "minimum": 0, "description": about}
        for name, about in {
            "sessions": "All sessions.",
            "warm_sessions": "With events in the store.",
            "warm_events": "Events in the store; deleted ones are counted until their session goes.",
            "warm_bytes": "Estimated from the newest events.",
            "cold_sessions": "With events in the archive; one may be both.",
            "cold_events": "Events in the archive.",
            "cold_bytes": "Of the objects there, compressed.",
        }.items()
    },
}
_SESSION: dict[str, Any] = {
    "type": "object",
    "properties": {
        "session_id": {"type": "string"},
        "actor": {"type": "string"},
        "created_at": _TIME,
        "updated_at": _TIME,
        "events": {"type": "integer", "description": "Events appended so far; deleted ones stay counted."},
        "expires_at": _TIME_OR_NEVER,
        "metadata": {"type": "object"},
    },
    "required": ["session_id", "actor", "created_at", "updated_at", "events"],
}
_ACTOR: dict[str, Any] = {
    "type": "object",
    "properties": {"actor": {"type": "string"}, "sessions": {"type": "integer"}, "last_seen_at": _TIME},
    "required": ["actor", "sessions", "last_seen_at"],
}
_VERSION: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 2**53}
_DELETED: dict[str, Any] = {
    "type": "object",
    "properties": {"deleted_sessions": {"type": "integer"}},
    "required": ["deleted_sessions"],
}


def _page(item: dict[str, Any]) -> dict[str, Any]:
    items = {"type": "array", "items": item}
    return {"type": "object", "properties": {"items": items, "next_cursor": _CURSOR}, "required": ["items"]}


_SESSION_ID = Param("session_id", "path", "The session's id, percent-encoded.", _ID, required=True)
_PAGING = (
    Param("limit", schema={"type": "integer", "minimum": 1, "maximum": 1000}, description="Items on a page (100)."),
    Param(
        "cursor",
        schema={"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        description="`next_cursor` of the page before.",
    ),
)
_IF_MATCH = Param(
    "if-match",
    "header",
    "The expected version, as `ETag` gave it.",
    {"type": "string", "pattern": '^((W/)?"[0-9]{1,15}"|[0-9]{1,15}|[*])$'},
)
_SPEAKER = Param(
    "x-user-id", "header", "Who speaks where an event names no actor.", {"type": "string", "maxLength": 256}
)
_NO_SESSION = Answer("There is no such session.")

DESCRIPTIONS: dict[str, Described] = {
    "GET /v1/sessions": Described(
        "List sessions, the most recently active first",
        {200: Answer("A page of sessions", _page(_SESSION))},
        (*_PAGING, Param("actor", description="Only sessions in which this actor appears.")),
    ),
    "DELETE /v1/sessions": Described(
        "Delete every session of your tenant",
        {200: Answer("All are gone", _DELETED)},
        (Param("confirm", description="`all`", schema={"enum": ["all"]}, required=True),),
        needs="operator",
    ),
    "GET /v1/sessions/{session_id}": Described(
        "Describe a session",
        {200: Answer("The session", _SESSION), 404: _NO_SESSION},
        (_SESSION_ID,),
    ),
    "DELETE /v1/sessions/{session_id}": Described(
        "Delete a session",
        {204: Answer("It is gone"), 404: _NO_SESSION},
        (_SESSION_ID,),
    ),
    "GET /v1/sessions/{session_id}/events": Described(
        "List what was said, newest first",
        {200: Answer("A page of events", _page(_EVENT)), 404: _NO_SESSION},
        (
            _SESSION_ID,
            *_PAGING,
            Param("branch", description="Only this branch."),
            Param(
                "include_parents",
                description="With `branch`: also what came before the branch left its parent.",
                schema={"type": "boolean"},
            ),
            Param("actor", description="Only what this actor said."),
            Param("role", description="Only this role, or several with commas between.", schema=_ROLE),
            Param("since", description="Only from this time on, in seconds since 1970.", schema={"type": "number"}),
            Param("metadata.KEY", description="Only events whose metadata has KEY with exactly this value."),
        ),
    ),
    "POST /v1/sessions/{session_id}/events": Described(
        "Append an event, or several in one transaction; the session is made when it is new",
        {201: Answer("The events as they were kept", _page(_EVENT))},
        (_SESSION_ID, _SPEAKER),
        {"anyOf": [_DRAFT, {"type": "array", "items": _DRAFT, "minItems": 1, "maxItems": 1000}]},
    ),
    "DELETE /v1/sessions/{session_id}/events/{event_id}": Described(
        "Delete an event",
        {204: Answer("It is gone"), 404: Answer("There is no such event.")},
        (_SESSION_ID, Param("event_id", "path", "The event's id, percent-encoded (`%23` for `#`).", required=True)),
    ),
    "POST /v1/sessions/{session_id}/fork": Described(
        "Copy a session under a new id, whole or up to and including an event",
        {
            201: Answer("The copy", _SESSION),
            404: Answer("There is no such session, or no such event in it."),
            409: Answer("The new id is taken."),
        },
        (_SESSION_ID,),
        {
            "type": "object",
            "properties": {"session_id": _ID, "at_event": {**_ID, "type": ["string", "null"]}},
            "required": ["session_id"],
            "additionalProperties": False,
        },
    ),
    "GET /v1/sessions/{session_id}/state": Described(
        "Read the state document; version 0: none was written yet",
        {
            200: Answer(
                "The document and its version",
                {"type": "object", "properties": {"value": {}, "version": _VERSION}, "required": ["value", "version"]},
            )
        },
        (_SESSION_ID,),
    ),
    "PUT /v1/sessions/{session_id}/state": Described(
        "Replace the state document (64 KB at most), if it still has the version that you name",
        {
            200: Answer(
                "The new version", {"type": "object", "properties": {"version": _VERSION}, "required": ["version"]}
            ),
            409: Answer("Somebody else has written since."),
        },
        (_SESSION_ID, _IF_MATCH),
        {
            "type": "object",
            "properties": {"value": {}, "expected_version": {**_VERSION, "type": ["integer", "null"]}},
            "required": ["value"],
            "additionalProperties": False,
        },
    ),
    "GET /v1/session-tiers": Described(
        "How much of your tenant's sessions lies in the store (warm) and in the archive (cold)",
        {200: Answer("Sessions, events and bytes", _TIERS)},
        needs="operator",
    ),
    "GET /v1/actors": Described(
        "List who spoke in your tenant's sessions, by name",
        {200: Answer("A page of actors", _page(_ACTOR))},
        _PAGING,
    ),
    "DELETE /v1/actors/{actor}": Described(
        "Forget an actor: their sessions, and what they said in others'",
        {200: Answer("They are forgotten", _DELETED)},
        (Param("actor", "path", "The actor, percent-encoded.", required=True),),
        needs="operator",
    ),
}
