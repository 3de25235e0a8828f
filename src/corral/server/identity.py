"""Who is calling, within which trace and session: read from the headers, the tenant from the credential alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from corral.clock import SYSTEM_CLOCK, Clock, new_id, new_span_id, new_trace_id
from corral.context import Context
from corral.errors import CorralError, Unauthenticated, ValidationFailed
from corral.observability.traces import join_trace
from corral.runtime.payload import is_id
from corral.security.issuing import SECRET_CHARS_MIN
from corral.security.keyring import KeyRing, Known
from corral.security.keys import PREFIX, aws_secret, digest_of
from corral.security.sigv4 import (
    SignatureRefused,
    SignedRequest,
    announced_payload,
    check_time,
    is_digest,
    is_good,
    signature_of,
)
from corral.security.tokens import Tokens, looks_signed
from corral.server.headers import forwardable_headers
from corral.server.http import Message, Receive, Request, Scope
from corral.settings.sections import ApiKey, SecuritySettings

SESSION_HEADER = b"x-amzn-bedrock-agentcore-runtime-session-id"
REQUEST_HEADER = b"x-amzn-bedrock-agentcore-runtime-request-id"
USER_HEADER = b"x-amzn-bedrock-agentcore-runtime-user-id"
_SESSION, _USER = (SESSION_HEADER, b"x-session-id"), (USER_HEADER, b"x-user-id")
_IDEMPOTENCY = (b"idempotency-key", b"amz-sdk-invocation-id")
_WORDS = (b"x-amz-bedrock-agentcore-identity-wat", b"workloadaccesstoken", b"oauth2callbackurl", b"x-timeout-s")
_TELLING = frozenset({REQUEST_HEADER, b"x-request-id", b"traceparent", *_SESSION, *_USER, *_IDEMPOTENCY, *_WORDS})
_SESSION_CHARS_MAX = 256
_REQUEST_ID_CHARS_MAX = 128
_TIMEOUT_S_MIN, _TIMEOUT_S_MAX = 0.1, 86_400.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})


class KeyRefused(Unauthenticated):
    """This key is not one that is let in here: it was mistyped, is over, or belongs to another server. `corral keys list` shows those there are."""


class ForbiddenOrigin(CorralError):
    """A web page of another site may not call this server."""

    status = 403
    code = "forbidden_origin"


class Identity:
    """Knows who is let in: keys of the settings and of the store, tokens of issuers, signatures made with our pairs.

    Where there is none of these, everybody is the default tenant, which only loopback may be.
    """

    def __init__(
        self,
        settings: SecuritySettings,
        ring: KeyRing | None = None,
        tokens: Tokens | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Without `ring` there are no keys but those of the settings, which are kept as digests."""
        self._keys = {digest_of(key.key): _known(key) for key in settings.api_keys}
        self._headers = {
            _mark_of(f"Bearer {key.key}".encode(errors="replace")): _known(key) for key in settings.api_keys
        }
        """The same by the header in which most requests show them."""
        self._open = settings.allow_unauthenticated
        self._ring = ring
        self._tokens = tokens
        self._secret = settings.secret
        self._now = clock.now
        self._always = bool(settings.api_keys or settings.jwt or settings.require_key)

    async def identify(self, request: Request, *, public: bool) -> None:
        """Say in the request's context who calls, or raise `Unauthenticated`, `ForbiddenOrigin`, or that nobody can tell now."""
        headers = request.headers
        if public and b"origin" not in headers:
            return
        required = self._always or (self._ring is not None and await self._ring.in_use())
        if not required and b"origin" in headers:
            self._check_origin(headers)
        if public or not required:
            return
        try:
            found = await self._find(request)
        except Unauthenticated:
            _challenge(request)
            raise
        if found is None:
            _challenge(request)
            raise KeyRefused if _credential(request.headers) else Unauthenticated
        _enter(request.context, found)

    def recognises(self, request: Request) -> bool:
        """Whether a request shows a key of the settings, as most do that are not public; all others are to `identify`."""
        shown = request.headers.get(b"authorization")
        if shown is None or not self._headers:
            return False
        known = self._headers.get(_mark_of(shown))
        if known is None:
            return False
        _enter(request.context, known)
        return True

    async def _find(self, request: Request) -> Known | None:
        shown = _credential(request.headers)
        if not shown:
            return await self._signed(request)
        found = self._keys.get(digest_of(shown))
        if found is None and self._ring is not None and shown.startswith(PREFIX):
            return await self._ring.find(shown)
        if found is None and self._tokens is not None and looks_signed(shown):
            return await self._tokens.find(shown)
        return found

    async def _signed(self, request: Request) -> Known | None:
        """Who signed the request, for clients of AWS. Its body is read once all else is as it should be."""
        if self._ring is None or len(self._secret) < SECRET_CHARS_MIN:
            return None
        headers = request.headers
        signature = signature_of(headers, request.query)
        if signature is None:
            return None
        check_time(signature, self._now())
        pair = await self._ring.find_pair(signature.access_key)
        if pair is None:
            raise SignatureRefused("The access key is not one that is let in.")
        record, known = pair
        payload = announced_payload(signature, headers)
        if is_digest(payload) and request.scope["type"] == "http":
            body = hashlib.sha256(await request.body()).hexdigest()
            if payload and payload != body:
                raise SignatureRefused("The body is not the one that was signed.")
            payload = body
        sent = _sent(request)
        turns = [record.turn] + [record.turn - 1] * (record.old_until > self._now())
        if not any(is_good(signature, aws_secret(self._secret, record.id, turn), sent, payload) for turn in turns):
            raise SignatureRefused("The signature is not good: another secret, or the request was changed on its way.")
        self._ring.used(record.id)
        return known

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Browsers name the page that calls. Where no key is asked for, only a page of this machine or host may."""
        try:
            origin = urlsplit(headers[b"origin"].decode("latin-1"))
            host = origin.hostname
        except ValueError:
            raise ForbiddenOrigin from None
        if host in _LOOPBACK:
            return
        if not (self._open and origin.netloc and origin.netloc.encode("latin-1") == headers.get(b"host")):
            raise ForbiddenOrigin


def _mark_of(shown: bytes) -> bytes:
    """What a header is known by: never what it says, and told in half the time of a digest that keys are kept by."""
    return hashlib.blake2b(shown, digest_size=32).digest()


def _enter(context: Context, known: Known) -> None:
    """Who calls is known."""
    context.tenant, context.tier, context.roles = known.tenant, known.tier, known.roles
    context.key_id = known.key_id
    context.agents_allowed, context.models_allowed = known.agents, known.models
    if known.user_id:
        context.user_id = known.user_id


def _credential(headers: Mapping[bytes, bytes]) -> str:
    bearer = headers.get(b"authorization", b"")
    if bearer[:7].lower() == b"bearer ":
        return bearer[7:].strip().decode("latin-1")
    return headers.get(b"x-api-key", b"").decode("latin-1")


def _challenge(request: Request) -> None:
    request.response_headers.append((b"www-authenticate", b'Bearer realm="corral"'))


def _known(key: ApiKey) -> Known:
    """Who a key of the settings says is calling; its id tells it from others, and tells nothing of it."""
    return Known(key.tenant, key.tier, tuple(key.roles), f"settings-{digest_of(key.key).hex()[:12]}")


def _sent(request: Request) -> SignedRequest:
    scope = request.scope
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    method: str = scope.get("method", "GET")
    return SignedRequest(method, path.partition(b"?")[0].decode("latin-1"), query.decode("latin-1"), scope["headers"])


def context_of(request: Request, agent: str = "") -> Context:
    """The context that the headers describe, also kept in `request`. Most requests call no agent: whoever calls one names it.

    What is malformed is replaced (request id, trace) or refused (ids).
    """
    headers = request.headers
    context = request.context = Context(new_id(), agent)
    context.trace_id, context.span_id = new_trace_id(), new_span_id()
    if not _TELLING.isdisjoint(headers):
        _tell(context, headers, request.started_at)
    context.attach_http(HttpView(request.scope, request.receive))
    return context


def _tell(context: Context, headers: Mapping[bytes, bytes], started_at: float) -> None:
    """What some requests say of themselves."""
    request_id = headers.get(REQUEST_HEADER) or headers.get(b"x-request-id")
    if request_id is not None and is_id(text := request_id.decode("latin-1"), _REQUEST_ID_CHARS_MAX):
        context.request_id = text
    given = headers.get(b"traceparent")
    if given is not None:
        join_trace(context, given.decode("latin-1"))
    context.session_id = _id(headers, *_SESSION)
    context.user_id = _id(headers, *_USER)
    context.idempotency_key = _id(headers, *_IDEMPOTENCY)
    token = headers.get(b"x-amz-bedrock-agentcore-identity-wat") or headers.get(b"workloadaccesstoken")
    if token:
        context.workload_access_token = token.decode("latin-1")
    callback = headers.get(b"oauth2callbackurl")
    if callback:
        context.oauth2_callback_url = callback.decode("latin-1")
    if b"x-timeout-s" in headers:
        context.deadline = started_at + _timeout(headers[b"x-timeout-s"])


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
