"""What the addresses of memory say of themselves in `GET /openapi.json`."""

from __future__ import annotations

from typing import Any, get_args

from corral.memory.library import Ingested
from corral.memory.reading import MEDIA_TYPES
from corral.memory.remembered import RECORD_CHARS_MAX
from corral.memory.searching import QUERY_CHARS_MAX
from corral.memory.store import Kind, Operator, Scope
from corral.server.routes import ID_PATTERN, Answer, Param
from corral.server.session_api import Described

NAME_MAX = 256
IDS_MAX = 1000
SECONDS_MAX = 1e9
URL_PATTERN = "^https?://[!-~]+$"
BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

_TEXT: dict[str, Any] = {"type": "string"}
_NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": NAME_MAX, "pattern": ID_PATTERN}
_SCOPE: dict[str, Any] = {"enum": list(get_args(Scope))}
_OWNED = "[^\\x00-\\x1f\\x7f-\\x9f]{1,256}"
_PLACE: dict[str, Any] = {
    "type": "string",
    "pattern": f"^(public|tenant|user|session|team:{_OWNED})$",
    "description": "For whom it is kept: `team:support`; by default the user whom `X-User-Id` names, else the tenant.",
}
_LINE: dict[str, Any] = {"type": "string", "pattern": ID_PATTERN}
_TIME: dict[str, Any] = {"type": "number", "description": "Seconds since 1970."}
_TTL: dict[str, Any] = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": SECONDS_MAX}
_METADATA: dict[str, Any] = {"type": "object", "description": "Text, numbers and lists of text can be filtered by."}
_CURSOR: dict[str, Any] = {"type": ["string", "null"], "description": "Fetches the next page; null: this was the last."}


def _object(*optional: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": [name for name in fields if name not in optional],
        "additionalProperties": False,
    }


def _page(item: dict[str, Any]) -> dict[str, Any]:
    items = {"type": "array", "items": item}
    return {"type": "object", "properties": {"items": items, "next_cursor": _CURSOR}, "required": ["items"]}


_NAMESPACE = _object("owner", "space", name=_TEXT, scope=_SCOPE, owner=_TEXT, space=_TEXT)
_CITATION = _object(
    document=_TEXT,
    chunk=_TEXT,
    title=_TEXT,
    source=_TEXT,
    place={"type": "string", "description": "The headings above it, its page, or when it was said."},
    ordinal={"type": "integer"},
    start={"type": "integer", "description": "Its first character in the document."},
)
_RESULT = _object(
    text=_TEXT,
    score={"type": "number", "description": "Comparable within one search only."},
    kind={"enum": list(get_args(Kind))},
    id=_TEXT,
    namespace=_NAMESPACE,
    metadata={"type": "object"},
    at=_TIME,
    citation=_CITATION,
)
_FILTER = _object(
    "op",
    "value",
    key={"type": "string", "minLength": 1, "maxLength": NAME_MAX},
    op={"enum": list(get_args(Operator))},
    value={"type": ["string", "number", "boolean", "null"]},
)
_ITEM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "kind": {"enum": list(get_args(Kind))},
        "namespace": _NAMESPACE,
        "title": _TEXT,
        "source": _TEXT,
        "text": {"type": "string", "description": "Of a record."},
        "metadata": {"type": "object"},
        "strategy": {"type": "string", "description": "What extracted it; empty: nobody did, it was said so."},
        "events": {"type": "array", "items": _TEXT, "description": "The session events it was extracted from."},
        "at": _TIME,
        "created_at": _TIME,
        "updated_at": _TIME,
        "expires_at": {"type": ["number", "null"]},
        "version": {"type": "integer", "minimum": 1},
        "chunks": {"type": "integer", "minimum": 0},
    },
    "required": ["id", "kind", "namespace", "title", "source", "text", "metadata", "at", "version", "chunks"],
}
_CHUNK = _object(id=_TEXT, item=_TEXT, ordinal={"type": "integer"}, text=_TEXT, place=_TEXT, start={"type": "integer"})
_INGESTED = _object(
    **{
        name: {"enum": ["new", "changed", "same"]} if name == "outcome" else {"type": "integer", "minimum": 0}
        for name in Ingested.__struct_fields__
        if name not in {"id", "title"}
    },
    id=_TEXT,
    title=_TEXT,
)
_JOB = _object(job_id={"type": "string", "description": "Look at it under `/v1/jobs/{job_id}`."}, id=_TEXT)
_GONE = _object(deleted={"type": "array", "items": _TEXT})

_PAGING = (
    Param("limit", schema={"type": "integer", "minimum": 1, "maximum": 1000}, description="Items on a page (100)."),
    Param(
        "cursor",
        schema={"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        description="`next_cursor` of the page before.",
    ),
)
_HEADER_ID = {"type": "string", "maxLength": 256, "pattern": ID_PATTERN}
_WHO = (
    Param("x-user-id", "header", "Whose memory is meant, besides the tenant's own.", _HEADER_ID),
    Param("x-session-id", "header", "The session whose memory is meant as well.", _HEADER_ID),
)
_WHERE = (
    Param("namespace", description="Only in this namespace.", schema=_NAME),
    Param("scope", description="Only of this scope.", schema=_SCOPE),
)
_ID = Param("id", "path", "The id, percent-encoded.", _NAME, required=True)
_NONE = Answer("There is nothing like this among what you may see.")
_FORBIDDEN = Answer("You may not write there.")

_DOCUMENT_FIELDS = _object(
    "text",
    "data",
    "url",
    "media_type",
    "source",
    "title",
    "namespace",
    "scope",
    "metadata",
    "ttl_s",
    "wait",
    text={"type": "string", "description": "What it says; one of `text`, `data` and `url`."},
    data={"type": "string", "pattern": BASE64, "description": "The file, base64."},
    url={
        "type": "string",
        "maxLength": 2048,
        "pattern": URL_PATTERN,
        "description": "Where it is to be fetched from, by a job.",
    },
    media_type={"enum": list(MEDIA_TYPES), "description": "Else as the source's name says."},
    source={
        **_LINE,
        "maxLength": 2048,
        "description": "The same source again takes the place of what there is.",
    },
    title={**_LINE, "maxLength": 500},
    namespace=_NAME,
    scope=_PLACE,
    metadata=_METADATA,
    ttl_s=_TTL,
    wait={"type": "boolean", "description": "false: by a job, however small it is."},
)
_DOCUMENT = {**_DOCUMENT_FIELDS, "oneOf": [{"required": [name]} for name in ("text", "data", "url")]}
_RECORD = _object(
    "id",
    "namespace",
    "scope",
    "metadata",
    "events",
    "ttl_s",
    text={"type": "string", "maxLength": RECORD_CHARS_MAX, "pattern": "[!-~]"},
    id=_NAME,
    namespace=_NAME,
    scope=_PLACE,
    metadata=_METADATA,
    events={"type": "array", "items": _NAME, "maxItems": 100},
    ttl_s=_TTL,
)

DESCRIPTIONS: dict[str, Described] = {
    "POST /v1/memory/documents": Described(
        "Take a document in: at once where it is small, else by a job",
        {200: Answer("It is in", _INGESTED), 202: Answer("A job takes it in", _JOB), 403: _FORBIDDEN},
        _WHO,
        _DOCUMENT,
        needs="developer",
    ),
    "GET /v1/memory/items": Described(
        "List what is remembered, last changed first",
        {200: Answer("A page", _page(_ITEM))},
        (
            *_WHO,
            *_PAGING,
            *_WHERE,
            Param("prefix", description="Only in namespaces whose names begin so.", schema=_NAME),
            Param("kind", description="Only of this kind.", schema={"enum": list(get_args(Kind))}),
            Param("source", description="Only from this source.", schema={"type": "string", "minLength": 1}),
        ),
    ),
    "GET /v1/memory/items/{id}": Described(
        "One document or record", {200: Answer("What is known of it", _ITEM), 404: _NONE}, (_ID, *_WHO)
    ),
    "DELETE /v1/memory/items/{id}": Described(
        "Forget a document or a record, with all that hangs on it",
        {204: Answer("It is forgotten"), 404: _NONE},
        (_ID, *_WHO),
        needs="developer",
    ),
    "GET /v1/memory/items/{id}/chunks": Described(
        "The chunks of a document, in order",
        {200: Answer("From `first` on", _page(_CHUNK)), 404: _NONE},
        (
            _ID,
            *_WHO,
            Param(
                "first",
                description="The first ordinal (0).",
                schema={"type": "integer", "minimum": 0, "maximum": 10**9},
            ),
            _PAGING[0],
        ),
    ),
    "POST /v1/memory/records": Described(
        "Remember a fact",
        {201: Answer("It is remembered", _ITEM), 403: _FORBIDDEN, 409: Answer("The id is taken.")},
        _WHO,
        _RECORD,
        needs="developer",
    ),
    "PATCH /v1/memory/records/{id}": Described(
        "Correct a fact: what is left out stays",
        {200: Answer("As it is now", _ITEM), 404: _NONE, 409: Answer("Somebody else has changed it since.")},
        (_ID, *_WHO),
        {
            **_object(
                "text",
                "metadata",
                "version",
                text=_RECORD["properties"]["text"],
                metadata=_METADATA,
                version={"type": ["integer", "null"], "minimum": 1, "maximum": 2**53},
            ),
            "minProperties": 1,
        },
        needs="developer",
    ),
    "POST /v1/memory/search": Described(
        "Find what is remembered by what it says",
        {200: Answer("The best, best first", _object(items={"type": "array", "items": _RESULT}))},
        _WHO,
        _object(
            "k",
            "namespace",
            "prefix",
            "scopes",
            "kinds",
            "filters",
            query={"type": "string", "minLength": 1, "maxLength": QUERY_CHARS_MAX},
            k={"type": "integer", "minimum": 1, "maximum": 100},
            namespace=_NAME,
            prefix=_NAME,
            scopes={"type": "array", "items": _SCOPE, "maxItems": 5},
            kinds={"type": "array", "items": {"enum": list(get_args(Kind))}, "maxItems": 3},
            filters={"type": "array", "items": _FILTER, "maxItems": 10},
        ),
    ),
    "GET /v1/memory/namespaces": Described(
        "The namespaces in which something is, by name",
        {
            200: Answer(
                "All of them",
                _page(
                    _object(
                        namespace=_NAMESPACE,
                        items={"type": "integer"},
                        chunks={"type": "integer"},
                        updated_at=_TIME,
                    )
                ),
            )
        },
        _WHO,
    ),
    "GET /v1/memory/export": Described(
        "Everything that is remembered and that you may see, whole, as lines of JSON",
        {200: Answer("One item a line, documents with their chunks", content_type="application/x-ndjson")},
        (*_WHO, *_WHERE),
        needs="developer",
    ),
    "POST /v1/memory/jobs": Described(
        "Fetch documents again from where they came (`refresh`), or place everything by its meaning anew (`reindex`)",
        {202: Answer("A job does it", _object(job_id=_TEXT))},
        _WHO,
        _object(
            "ids",
            "prefix",
            do={"enum": ["refresh", "reindex"]},
            ids={"type": "array", "items": _NAME, "maxItems": IDS_MAX},
            prefix={"type": "string", "maxLength": NAME_MAX, "pattern": ID_PATTERN},
        ),
        needs="developer",
    ),
    "DELETE /v1/memory": Described(
        "Forget everything of a user, a session or a team, or of your whole tenant",
        {200: Answer("How many items", _object(deleted_items={"type": "integer", "minimum": 0}))},
        (
            Param(
                "of",
                description="`user:ada`, `session:…`, `team:…`, or `all`.",
                schema={"type": "string", "pattern": f"^(all|(user|session|team):{_OWNED})$"},
                required=True,
            ),
        ),
        needs="operator",
    ),
}
