"""Sessions over HTTP: look at them, add to them, copy them, forget them. The tenant is always the credential's."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from corral.errors import EventNotFound, SessionNotFound, ValidationFailed
from corral.messages import Role
from corral.server.http import Header, Request
from corral.server.routes import Route
from corral.server.session_api import DESCRIPTIONS, Described
from corral.sessions.drafts import Defaults, check_id, check_state, drafts_of
from corral.sessions.event import EventQuery, SessionKey, SessionQuery
from corral.sessions.store import SessionStore, TierStore

PAGE_MAX = 1000
_PAGE = 100
_METADATA = "metadata."
_VERSION_MAX = 2**53
_VERSION_DIGITS = 15


class SessionRoutes:
    """Handlers of `/v1/sessions` and `/v1/actors`."""

    def __init__(self, store: SessionStore, tiers: TierStore, *, ttl_s: float | None = None) -> None:
        """`ttl_s`: how long a session lives after an event was added to it."""
        self._store = store
        self._tiers = tiers
        self._ttl_s = ttl_s

    def routes(self) -> list[Route]:
        """All of them; what each one says of itself stands in `session_api.py`."""
        handlers = {
            "GET /v1/sessions": self.list_sessions,
            "DELETE /v1/sessions": self.delete_all,
            "GET /v1/sessions/{session_id}": self.show,
            "DELETE /v1/sessions/{session_id}": self.delete,
            "GET /v1/sessions/{session_id}/events": self.list_events,
            "POST /v1/sessions/{session_id}/events": self.append,
            "DELETE /v1/sessions/{session_id}/events/{event_id}": self.delete_event,
            "POST /v1/sessions/{session_id}/fork": self.fork,
            "GET /v1/sessions/{session_id}/state": self.read_state,
            "PUT /v1/sessions/{session_id}/state": self.write_state,
            "GET /v1/session-tiers": self.show_tiers,
            "GET /v1/actors": self.list_actors,
            "DELETE /v1/actors/{actor}": self.forget_actor,
        }
        return [_route(address, handler, DESCRIPTIONS[address]) for address, handler in handlers.items()]

    # -- sessions ----------------------------------------------------------------------------------------------------

    async def list_sessions(self, request: Request) -> None:
        """`GET /v1/sessions`, the most recently active first."""
        query = request.query
        found = SessionQuery(limit=_limit(query), cursor=query.get("cursor"), actor=query.get("actor"))
        await request.respond_json(await self._store.sessions(request.context.tenant, found))

    async def show(self, request: Request) -> None:
        """`GET /v1/sessions/{session_id}`."""
        info = await self._store.get(_key(request))
        if info is None:
            raise _unknown(request)
        await request.respond_json(info)

    async def delete(self, request: Request) -> None:
        """`DELETE /v1/sessions/{session_id}`; a turn that runs there loses it."""
        key = _key(request)
        if not await self._store.delete(key.tenant, session_id=key.session_id):
            raise _unknown(request)
        await _respond_empty(request)

    async def delete_all(self, request: Request) -> None:
        """`DELETE /v1/sessions?confirm=all`."""
        if request.query.get("confirm") != "all":
            raise ValidationFailed("This deletes every session of your tenant. Say `?confirm=all` if you mean it.")
        await request.respond_json({"deleted_sessions": await self._store.delete(request.context.tenant)})

    async def fork(self, request: Request) -> None:
        """`POST /v1/sessions/{session_id}/fork`."""
        body = await _object(request, {"session_id", "at_event"})
        new_id = check_id(body.get("session_id"), "session id of the copy", "/session_id")
        at_event = body.get("at_event")
        if at_event is not None:
            check_id(at_event, "event id", "/at_event")
        copy = await self._store.fork(_key(request), new_id, at_event=at_event)
        await request.respond_json(copy, 201)

    # -- events ------------------------------------------------------------------------------------------------------

    async def list_events(self, request: Request) -> None:
        """`GET /v1/sessions/{session_id}/events`, newest first."""
        query = request.query
        key = _key(request)
        page = await self._store.events(
            key,
            EventQuery(
                limit=_limit(query),
                cursor=query.get("cursor"),
                branch=query.get("branch"),
                include_parents=_flag(query, "include_parents"),
                actor=query.get("actor"),
                roles=_roles(query),
                since=_since(query),
                metadata={
                    name.removeprefix(_METADATA): text for name, text in query.items() if name.startswith(_METADATA)
                },
            ),
        )
        if not page.items and await self._store.get(key) is None:
            raise _unknown(request)
        await request.respond_json(page)

    async def append(self, request: Request) -> None:
        """`POST /v1/sessions/{session_id}/events`: one event, or a list of them in one transaction."""
        key = _new_key(request)
        drafts = drafts_of(await request.json(), Defaults(actor=request.context.user_id or ""))
        if not drafts:
            raise ValidationFailed("The list is empty: send at least one event.")
        events = await self._store.append(key, drafts, ttl_s=self._ttl_s)
        await request.respond_json({"items": events}, 201)

    async def delete_event(self, request: Request) -> None:
        """`DELETE /v1/sessions/{session_id}/events/{event_id}`."""
        if not await self._store.delete_event(_key(request), request.params["event_id"]):
            raise EventNotFound
        await _respond_empty(request)

    # -- state -------------------------------------------------------------------------------------------------------

    async def read_state(self, request: Request) -> None:
        """`GET /v1/sessions/{session_id}/state`; the version is also the `ETag`."""
        state = await self._store.read_state(_new_key(request))
        await request.respond_json(state, headers=_etag(state.version))

    async def write_state(self, request: Request) -> None:
        """`PUT /v1/sessions/{session_id}/state`, compared with `expected_version` or `If-Match` if one is given."""
        key = _new_key(request)
        body = await _object(request, {"value", "expected_version"})
        if "value" not in body:
            raise _fault("/value", "This field is required.")
        expected = _if_match(request)
        if body.get("expected_version") is not None:
            expected = _version(body["expected_version"])
        check_state(body["value"])
        version = await self._store.write_state(key, body["value"], expected_version=expected)
        await request.respond_json({"version": version}, headers=_etag(version))

    # -- actors ------------------------------------------------------------------------------------------------------

    async def show_tiers(self, request: Request) -> None:
        """`GET /v1/session-tiers`."""
        await request.respond_json(await self._tiers.counts(request.context.tenant))

    async def list_actors(self, request: Request) -> None:
        """`GET /v1/actors`, by name."""
        query = request.query
        page = await self._store.actors(request.context.tenant, limit=_limit(query), cursor=query.get("cursor"))
        await request.respond_json(page)

    async def forget_actor(self, request: Request) -> None:
        """`DELETE /v1/actors/{actor}`: every session and event of one person. Nobody of that name: nothing to forget."""
        deleted = await self._store.delete(request.context.tenant, actor=request.params["actor"])
        await request.respond_json({"deleted_sessions": deleted})


def _route(address: str, handler: Any, said: Described) -> Route:
    method, _, path = address.partition(" ")
    return Route(
        method=method,
        path=path,
        handler=handler,
        tag="sessions",
        summary=said.summary,
        params=said.params,
        body=said.body,
        answers=said.answers,
        needs=said.needs,
    )


async def _respond_empty(request: Request) -> None:
    """204, which HTTP wants without a length."""
    request.status = 204
    await request.send({"type": "http.response.start", "status": 204, "headers": request.response_headers})
    await request.send({"type": "http.response.body", "body": b""})


def _key(request: Request) -> SessionKey:
    return SessionKey(request.context.tenant, request.params["session_id"])


def _new_key(request: Request) -> SessionKey:
    """The key of a session that need not be there yet, so its id has to be a good one."""
    return SessionKey(request.context.tenant, check_id(request.params["session_id"], "session id"))


def _unknown(request: Request) -> SessionNotFound:
    return SessionNotFound(f"There is no session {request.params['session_id'][:256]!r}.")


async def _object(request: Request, known: set[str]) -> dict[str, Any]:
    body = await request.json()
    if not isinstance(body, dict):
        raise ValidationFailed("The body must be a JSON object.")
    unknown = sorted(body.keys() - known)
    if unknown:
        raise _fault(f"/{unknown[0]}", f"This field is not known; there are {', '.join(sorted(known))}.")
    return body


def _limit(query: dict[str, str]) -> int:
    text = query.get("limit")
    if text is None:
        return _PAGE
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(PAGE_MAX)) or not 1 <= int(text) <= PAGE_MAX:
        raise ValidationFailed(f"`limit` is a number from 1 to {PAGE_MAX}, not {text[:40]!r}.")
    return int(text)


def _flag(query: dict[str, str], name: str) -> bool:
    text = query.get(name, "false")
    if text not in {"true", "false"}:
        raise ValidationFailed(f"`{name}` is true or false, not {text[:40]!r}.")
    return text == "true"


def _roles(query: dict[str, str]) -> tuple[Role, ...]:
    """One role, or several with commas between."""
    text = query.get("role")
    if text is None:
        return ()
    roles = tuple(role for role in get_args(Role) if role in text.split(","))
    if len(roles) != len(text.split(",")):
        raise ValidationFailed(f"`role` is one of {', '.join(get_args(Role))}, or several with commas between.")
    return roles


def _since(query: dict[str, str]) -> float | None:
    text = query.get("since")
    if text is None:
        return None
    try:
        since = msgspec.convert(text, float, strict=False)
    except msgspec.ValidationError:
        since = float("nan")
    if not abs(since) < float("inf"):
        raise ValidationFailed(f"`since` is a time in seconds since 1970, not {text[:40]!r}.")
    return since


def _version(value: Any) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or not 0 <= value <= _VERSION_MAX:
        raise _fault("/expected_version", "A version is a whole number, 0 or above.")
    return int(value)


def _if_match(request: Request) -> int | None:
    text = request.header(b"if-match")
    if text is None or text.strip() == "*":
        return None
    digits = text.strip().removeprefix("W/").strip('"')
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _VERSION_DIGITS):
        raise ValidationFailed(f"`If-Match` is a version as `ETag` gave it, not {text[:40]!r}.")
    return int(digits)


def _etag(version: int) -> tuple[Header]:
    return ((b"etag", b'"%d"' % version),)


def _fault(pointer: str, message: str) -> ValidationFailed:
    return ValidationFailed(message, errors=[{"pointer": pointer, "message": message}])
