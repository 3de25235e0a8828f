"""Who is calling, within which trace and session: read from the headers, the tenant from the credential alone."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from corral.clock import new_id
from corral.context import Context
from corral.errors import CorralError, Unauthenticated, ValidationFailed
from corral.observability.traces import join_trace
from corral.runtime.payload import is_id
from corral.server.headers import forwardable_headers
from corral.server.http import Message, Receive, Request, Scope
from corral.settings.sections import ApiKey, SecuritySettings

SESSION_HEADER = b"x-amzn-bedrock-agentcore-runtime-session-id"
REQUEST_HEADER = b"x-amzn-bedrock-agentcore-runtime-request-id"
USER_HEADER = b"x-amzn-bedrock-agentcore-runtime-user-id"
_SESSION_CHARS_MAX = 256
_REQUEST_ID_CHARS_MAX = 128
_TIMEOUT_S_MIN, _TIMEOUT_S_MAX = 0.1, 86_400.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})


class ForbiddenOrigin(CorralError):
    """A web page of another site may not call this server."""

    status = 403
    code = "forbidden_origin"


class Identity:
    """Knows the keys. With none configured everybody is the default tenant, which only loopback may be."""

    def __init__(self, settings: SecuritySettings) -> None:
        """Keys are kept as digests, compared in constant time."""
        self._keys: list[tuple[bytes, ApiKey]] = [(_digest(key.key), key) for key in settings.api_keys]
        self._open = settings.allow_unauthenticated

    @property
    def required(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._keys)

    def identify(self, request: Request, context: Context, *, public: bool) -> None:
        """Set tenant, tier and roles, or raise `Unauthenticated`, `ForbiddenOrigin`."""
        headers = request.headers
        if b"origin" in headers:
            self._check_origin(headers)
        if not self._keys or public:
            return
        digest = _digest(_credential(headers))
        found: ApiKey | None = None
        for known, key in self._keys:  # all of them, so that the time taken tells nothing
            if hmac.compare_digest(known, digest):
                found = key
        if found is None:
            request.response_headers.append((b"www-authenticate", b'Bearer realm="corral"'))
            raise Unauthenticated
        context.tenant, context.tier = found.tenant, found.tier
        context.roles = tuple(found.roles)

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Browsers name the page that calls. Where no key is asked for, only a page of this machine or host may."""
        if self._keys:
            return
        try:
            origin = urlsplit(headers[b"origin"].decode("latin-1"))
            host = origin.hostname
        except ValueError:
            raise ForbiddenOrigin from None
        if host in _LOOPBACK:
            return
        if not (self._open and origin.netloc and origin.netloc.encode("latin-1") == headers.get(b"host")):
            raise ForbiddenOrigin


def _credential(headers: Mapping[bytes, bytes]) -> str:
    bearer = headers.get(b"authorization", b"")
    if bearer[:7].lower() == b"bearer ":
        return bearer[7:].strip().decode("latin-1")
    return headers.get(b"x-api-key", b"").decode("latin-1")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def context_of(request: Request, agent: str = "main") -> Context:
    """The context that the headers describe, also kept in `request`.

    What is malformed is replaced (request id, trace) or refused (ids).
    """
    headers = request.headers
    context = request.context = Context(_request_id(headers), agent)
    given = headers.get(b"traceparent")
    join_trace(context, None if given is None else given.decode("latin-1"))
    context.session_id = _id(headers, SESSION_HEADER, b"x-session-id")
    context.user_id = _id(headers, USER_HEADER, b"x-user-id")
    context.idempotency_key = _id(headers, b"idempotency-key", b"amz-sdk-invocation-id")
    token = headers.get(b"x-amz-bedrock-agentcore-identity-wat") or headers.get(b"workloadaccesstoken")
    if token:
        context.workload_access_token = token.decode("latin-1")
    callback = headers.get(b"oauth2callbackurl")
    if callback:
        context.oauth2_callback_url = callback.decode("latin-1")
    if b"x-timeout-s" in headers:
        context.deadline = request.started_at + _timeout(headers[b"x-timeout-s"])
    context.attach_http(HttpView(request.scope, request.receive))
    return context


class HttpView:
    """What a context knows of HTTP. It does not know the request, which knows the context: no cycle, no garbage."""

    __slots__ = ("_receive", "_scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        """Nothing is built yet."""
        self._scope = scope
        self._receive = receive

    def visible_headers(self) -> dict[str, str] | None:
        """The headers that an agent may see; none when there are none."""
        return forwardable_headers(self._scope["headers"])

    def as_starlette(self) -> Any:
        """The request as Starlette's type."""
        from starlette.requests import Request as StarletteRequest  # noqa: PLC0415 - only agents that ask for it pay

        return StarletteRequest(self._scope, self._receive_again())

    def _receive_again(self) -> Receive:
        """The body once more, which was read before the agent was called; then what really comes."""
        body: list[bytes] = [self._scope["corral.body"]] if "corral.body" in self._scope else []

        async def receive() -> Message:
            if body:
                return {"type": "http.request", "body": body.pop(), "more_body": False}
            return await self._receive()

        return receive


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(REQUEST_HEADER) or headers.get(b"x-request-id")
    if given is not None:
        text = given.decode("latin-1")
        if is_id(text, _REQUEST_ID_CHARS_MAX):
            return text
    return new_id()


def session_in_query(query: Mapping[str, str]) -> str | None:
    """The session that a query names, in whatever case."""
    wanted = SESSION_HEADER.decode()
    for name, value in query.items():
        if value and name.lower() == wanted:
            return _checked_id(f"The query parameter {name}", value)
    return None


def _id(headers: Mapping[bytes, bytes], *names: bytes) -> str | None:
    for name in names:
        value = headers.get(name)
        if value:
            return _checked_id(f"The header {name.decode()}", value.decode("latin-1"))
    return None


def _checked_id(what: str, text: str) -> str:
    if not is_id(text, _SESSION_CHARS_MAX):
        raise ValidationFailed(
            f"{what} is not an id: 1 to {_SESSION_CHARS_MAX} characters, none of them a control character."
        )
    return text


def _timeout(value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not _TIMEOUT_S_MIN <= seconds <= _TIMEOUT_S_MAX:  # refuses nan as well
        raise ValidationFailed(
            f"The header x-timeout-s is a number of seconds from 0.1 to 86400, not {value.decode('latin-1')[:40]!r}."
        )
    return seconds
