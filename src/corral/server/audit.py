"""`/v1/audit`: who did what, by which rule. The tenant is always the credential's."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from corral.errors import ValidationFailed
from corral.jobs.request import check_fields, moment
from corral.security.store import AuditLog, AuditQuery, AuditRecord
from corral.server.http import Request
from corral.server.job_query import whole_number
from corral.server.routes import Answer, Param, Route

PAGE_MAX = 1000
_PAGE = 100
_WORD_MAX = 512
_WORDS = {
    "action": "What it was about, such as `tool.call`.",
    "subject": "On what: the tool's name.",
    "decision": "`allowed`, `denied`, `approval_required`, `approved`, `refused`, `done` or `failed`.",
    "rule": "The name of the rule that decided.",
    "actor": "Who: the user, else the agent.",
    "agent": "In which agent.",
    "session_id": "In which session.",
    "run_id": "In which run.",
}
_TIMES = {"since": "Not before this time, in seconds since 1970.", "until": "Before this time."}
_TEXT = {"type": "string"}
_ENTRY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "number": {"type": "integer", "minimum": 1, "description": "Its place among all entries of your tenant."},
        "id": _TEXT,
        "at": {"type": "number"},
        **dict.fromkeys(_WORDS, _TEXT),
        "reason": _TEXT,
        "details": {"type": "object"},
        "hash": {**_TEXT, "description": "Its place in the chain, in hexadecimal digits; see `/v1/audit/verify`."},
    },
    "required": ["number", "id", "at", "action", "subject", "decision"],
}
_LIST = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": _ENTRY}, "next_cursor": {"type": ["string", "null"]}},
    "required": ["items", "next_cursor"],
}


class AuditRoutes:
    """The handler of `/v1/audit`."""

    def __init__(self, log: AuditLog) -> None:
        """Reads `log`."""
        self._log = log

    def routes(self) -> list[Route]:
        """The one there is."""
        number = {"type": "integer", "minimum": 1, "maximum": PAGE_MAX}
        word = {"type": "string", "minLength": 1, "maxLength": _WORD_MAX}
        return [
            Route(
                method="GET",
                path="/v1/audit",
                needs="auditor",
                handler=self.entries,
                tag="security",
                summary="Your tenant's audit: what was decided and done, and by which rule; the latest first",
                params=(
                    *(Param(name, description=text, schema=word) for name, text in _WORDS.items()),
                    *(Param(name, description=text, schema={"type": "number"}) for name, text in _TIMES.items()),
                    Param("limit", description="Most entries on the page.", schema=number),
                    Param("cursor", description="The `next_cursor` of a page.", schema=word),
                ),
                answers={200: Answer("A page of entries", _LIST)},
            )
        ]

    async def entries(self, request: Request) -> None:
        """`GET /v1/audit`."""
        page = await self._log.entries(request.context.tenant, _asked(request))
        await request.respond_json({"items": [shown(one) for one in page.items], "next_cursor": page.next_cursor})


def shown(record: AuditRecord) -> dict[str, Any]:
    """An entry as people see it; whose tenant it is, they know."""
    entry = record.entry
    return {
        "number": record.number,
        **{name: getattr(entry, name) for name in entry.__struct_fields__ if name != "tenant"},
        "hash": record.hash.hex(),
    }


def _asked(request: Request) -> AuditQuery:
    """A misspelt parameter must not show more than was meant."""
    raw: bytes = request.scope.get("query_string", b"")
    given = dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)) if raw else {}
    check_fields(given, (*_WORDS, *_TIMES, "limit", "cursor"))
    for name, text in given.items():
        if not 0 < len(text) <= _WORD_MAX:
            raise ValidationFailed(f"`{name}` is text of 1 to {_WORD_MAX} characters.")
    asked: dict[str, Any] = {name: given.get(name) for name in (*_WORDS, "cursor")}
    asked |= {name: _moment(given[name], name) for name in _TIMES if name in given}
    return AuditQuery(limit=whole_number(given, "limit", _PAGE, low=1, high=PAGE_MAX), **asked)


def _moment(text: str, name: str) -> float:
    """Any time at all is a filter, also one long before there were entries; a text must be a real one."""
    try:
        value = msgspec.convert(text, float, strict=False)
    except msgspec.ValidationError:
        return moment(text, f"/{name}")
    return value if math.isfinite(value) else moment(value, f"/{name}")
