"""`/v1/keys`: who is let in. For admins, each within the tenant of their own credential.

Where no key is asked for nobody is an admin: the first key is made on the machine.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import Forbidden, ValidationFailed
from corral.jobs.request import check_fields
from corral.security.issuing import GRACE_MAX_S, GRACE_S, TTL_MAX_S, KeyDesk, grant_of, shown, shown_once
from corral.security.roles import PLATFORM
from corral.server.agent_shown import body_of
from corral.server.http import Request
from corral.server.job_query import whole_number
from corral.server.routes import ID_PATTERN, Answer, Param, Route

PAGE_MAX = 1000
_CURSOR_MAX = 1024
_GRANT = ("name", "tier", "roles", "agents", "models", "aws")
_TEXT: dict[str, Any] = {"type": "string", "maxLength": 200, "pattern": ID_PATTERN}
_TIME: dict[str, Any] = {"type": ["number", "null"], "description": "Seconds since 1970."}
_WORDS: dict[str, Any] = {"type": "array", "items": {**_TEXT, "minLength": 1}, "maxItems": 50}
_LISTED: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_SECONDS: dict[str, Any] = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": TTL_MAX_S}
_ASKED: dict[str, Any] = {
    "name": {**_TEXT, "description": "What people call it."},
    "tier": _TEXT,
    "roles": {
        **_WORDS,
        "description": "`admin`, `operator`, `developer`, `invoker` or `auditor`, and words for tools.",
    },
    "agents": {**_WORDS, "description": "Patterns of the agents that it may run; none: all."},
    "models": {**_WORDS, "description": "Patterns of the models that it may ask for; none: all."},
    "aws": {"type": "boolean", "description": "With a pair for AWS's signatures."},
}
_CREATE: dict[str, Any] = {
    "type": "object",
    "properties": {**_ASKED, "ttl_s": {**_SECONDS, "description": "How long it is good; null: until it is revoked."}},
    "additionalProperties": False,
}
_ROTATE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "grace_s": {
            "type": "number",
            "minimum": 0,
            "maximum": GRACE_MAX_S,
            "default": GRACE_S,
            "description": "How long the old one is good.",
        },
        "ttl_s": {**_SECONDS, "description": "How long the new one is good; null: until the old one's time."},
    },
    "additionalProperties": False,
}
_KEY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "tenant": {"type": "string"},
        "state": {"enum": ["active", "expired", "revoked"]},
        "name": {"type": "string"},
        "tier": {"type": "string"},
        **dict.fromkeys(("roles", "agents", "models"), _LISTED),
        "access_key": {"type": ["string", "null"]},
        "created_at": {"type": "number"},
        "created_by": {"type": "string"},
        **dict.fromkeys(("rotated_at", "old_until", "expires_at", "last_used_at", "revoked_at"), _TIME),
    },
    "required": ["id", "tenant", "state", "roles"],
}
_SHOWN_ONCE: dict[str, Any] = {
    **_KEY,
    "properties": {**_KEY["properties"], "key": {"type": "string"}, "secret_key": {"type": "string"}},
    "required": ["id", "key"],
}
_LIST = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": _KEY}, "next_cursor": {"type": ["string", "null"]}},
    "required": ["items", "next_cursor"],
}
_ID = Param("id", "path", "The key's id.", {"type": "string"}, required=True)
_NONE = Answer("There is no such key.")
_OVER = Answer("The key is over.")
_ONCE = "Nobody sees its secrets again."


class KeyRoutes:
    """Handlers of `/v1/keys`."""

    def __init__(self, desk: KeyDesk, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """`desk` gives keys out."""
        self._desk = desk
        self._now = clock.now

    def routes(self) -> list[Route]:
        """All of them."""
        number = {"type": "integer", "minimum": 1, "maximum": PAGE_MAX}
        pages = (
            Param("limit", description="Most keys on the page.", schema=number),
            Param("cursor", description="The `next_cursor` of a page.", schema={"type": "string", "minLength": 1}),
        )
        of_one: dict[int, Answer] = {200: Answer("The key", _KEY), 404: _NONE}
        exchanged = {200: Answer(f"The new key. {_ONCE}", _SHOWN_ONCE), 404: _NONE, 409: _OVER}
        return [
            _route(
                "POST", "/v1/keys", self.create, f"Create a key. {_ONCE}", {201: Answer("It", _SHOWN_ONCE)}, _CREATE
            ),
            _route(
                "GET",
                "/v1/keys",
                self.listed,
                "Your tenant's keys",
                {200: Answer("A page of them", _LIST)},
                pages=pages,
            ),
            _route("GET", "/v1/keys/{id}", self.show, "Describe a key", of_one),
            _route("POST", "/v1/keys/{id}/rotate", self.rotate, "Exchange a key", exchanged, _ROTATE),
            _route("DELETE", "/v1/keys/{id}", self.revoke, "Revoke a key: nobody is let in with it any more", of_one),
        ]

    async def create(self, request: Request) -> None:
        """`POST /v1/keys`."""
        body = await body_of(request, (*_GRANT, "ttl_s"))
        grant = grant_of({name: body[name] for name in _GRANT if name in body})
        context = request.context
        if PLATFORM in grant.roles and PLATFORM not in context.roles:
            raise Forbidden(
                f"Only who has the role `{PLATFORM}` gives it to others: make such a key on the machine, with "
                f"`corral keys create --role {PLATFORM}`."
            )
        made = await self._desk.create(context.tenant, grant, ttl_s=_seconds(body, "ttl_s"), actor=_actor(request))
        await request.respond_json(shown_once(made, self._now()), 201, _PRIVATE)

    async def listed(self, request: Request) -> None:
        """`GET /v1/keys`, the latest first."""
        raw: bytes = request.scope.get("query_string", b"")
        given = dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)) if raw else {}
        check_fields(given, ("limit", "cursor"))
        limit = whole_number(given, "limit", 100, low=1, high=PAGE_MAX)
        cursor = given.get("cursor")
        if cursor is not None and not 0 < len(cursor) <= _CURSOR_MAX:
            raise ValidationFailed("`cursor` is the `next_cursor` of a page.")
        page = await self._desk.listed(request.context.tenant, limit=limit, cursor=cursor)
        now = self._now()
        await request.respond_json({"items": [shown(one, now) for one in page.items], "next_cursor": page.next_cursor})

    async def show(self, request: Request) -> None:
        """`GET /v1/keys/{id}`."""
        found = await self._desk.get(request.context.tenant, request.params["id"])
        await request.respond_json(shown(found, self._now()))

    async def rotate(self, request: Request) -> None:
        """`POST /v1/keys/{id}/rotate`."""
        body = await body_of(request, ("grace_s", "ttl_s"))
        grace_s = _number(body, "grace_s") if "grace_s" in body else GRACE_S
        made = await self._desk.rotate(
            request.context.tenant,
            request.params["id"],
            grace_s=grace_s,
            ttl_s=_seconds(body, "ttl_s"),
            actor=_actor(request),
        )
        await request.respond_json(shown_once(made, self._now()), 200, _PRIVATE)

    async def revoke(self, request: Request) -> None:
        """`DELETE /v1/keys/{id}`."""
        gone = await self._desk.revoke(request.context.tenant, request.params["id"], actor=_actor(request))
        await request.respond_json(shown(gone, self._now()))


_PRIVATE = ((b"cache-control", b"no-store"),)


def _route(
    method: str,
    path: str,
    handler: Any,
    summary: str,
    answers: dict[int, Answer],
    body: dict[str, Any] | None = None,
    *,
    pages: tuple[Param, ...] = (),
) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        tag="keys",
        needs="admin",
        summary=summary,
        params=(*((_ID,) if "{id}" in path else ()), *pages),
        body=body,
        body_required=False,
        answers=answers,
    )


def _actor(request: Request) -> str:
    context = request.context
    return f"key {context.key_id}" + (f", for {context.user_id}" if context.user_id else "")


def _seconds(body: dict[str, Any], name: str) -> float | None:
    return None if body.get(name) is None else _number(body, name)


def _number(body: dict[str, Any], name: str) -> float:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValidationFailed(
            f"`{name}` is a number of seconds.", errors=[{"pointer": f"/{name}", "message": "a number"}]
        )
    return float(value)
