"""The ASGI application: finds the route, says who calls, answers errors, and tells the observers."""

from __future__ import annotations

from typing import Protocol

from corral.clock import SYSTEM_CLOCK, Clock
from corral.context import Context
from corral.errors import CorralError, MethodNotAllowed, NotFound
from corral.observability.traces import traceparent
from corral.security.roles import check_role
from corral.server.agentcore.dialect import MEMORY
from corral.server.answer import write_error
from corral.server.aws import AWS
from corral.server.buckets import bucket_path
from corral.server.dialects import CONTRACT, NATIVE, Dialect
from corral.server.http import ClientGone, Receive, Request, Scope, Send
from corral.server.identity import Identity, context_of
from corral.server.routes import Router
from corral.server.unanswered import dialect_for, unanswered
from corral.server.websocket import WebSocketEndpoint


class Watcher(Protocol):
    """Who is told what happens."""

    def begin(self, context: Context) -> None:
        """A request has come; decide whether its trace is kept."""
        ...

    def request(self, request: Request) -> None:
        """A request was answered."""
        ...

    def unexpected(self, error: BaseException) -> None:
        """A bug of ours."""
        ...


class HttpApp:
    """All of HTTP. Whatever happens below, the client gets an answer and the worker goes on."""

    def __init__(
        self,
        router: Router,
        identity: Identity,
        websocket: WebSocketEndpoint,
        *,
        body_max_bytes: int,
        json_depth_max: int,
        watcher: Watcher,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`watcher` is told of every request."""
        self._router = router
        self._identity = identity
        self._websocket = websocket
        self._body_max_bytes = body_max_bytes
        self._json_depth_max = json_depth_max
        self._watcher = watcher
        self._monotonic = clock.monotonic
        self.closing = False
        """Every response asks the client to close its connection: this worker is on its way out."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or one WebSocket."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send, self._monotonic())
            return
        request = Request(scope, receive, send, self._monotonic())
        request.body_max_bytes = self._body_max_bytes
        request.json_depth_max = self._json_depth_max
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        try:
            await self._route(request, raw_path)
        except ClientGone as gone:
            request.failure = gone
        except CorralError as error:
            request.failure = error
            await write_error(request, error, request.dialect or dialect_of(request, raw_path))
        except Exception as error:  # noqa: BLE001 - the last line: a bug of ours is a 500, never a dropped connection
            request.failure = error
            self._watcher.unexpected(error)
            await write_error(request, error, request.dialect or dialect_of(request, raw_path))
        finally:
            self._watcher.request(request)
            request.failure = None  # its traceback holds this very request

    async def _route(self, request: Request, raw_path: bytes) -> None:
        signature = request.headers.get(b"authorization") or request.scope.get("query_string", b"")
        path = bucket_path(raw_path.partition(b"?")[0], signature)
        missing: CorralError | None = None
        try:
            route, request.params = self._router.find(request.method, path)
            request.route, request.quiet, request.dialect = route.path, route.quiet, route.dialect
        except (NotFound, MethodNotAllowed) as error:
            missing = error
        context = context_of(request)
        headers = request.response_headers
        headers.append((b"x-request-id", context.request_id.encode("latin-1", "replace")))
        if self.closing:
            headers.append((b"connection", b"close"))
        if missing is not None:
            await self._identity.identify(request, context, public=False)
            if isinstance(missing, MethodNotAllowed):
                headers.append((b"allow", self._router.allowed(path).encode()))
            raise unanswered(request, missing, self._router.routes)
        if not route.quiet:
            self._watcher.begin(context)
            headers.append((b"traceparent", traceparent(context).encode()))
        await self._identity.identify(request, context, public=route.public)
        if not route.public:
            check_role(context.roles, route.needs)
        await route.handler(request)


def dialect_of(request: Request, raw_path: bytes) -> Dialect:
    """Where there is no route, errors look as the API makes them look that was probably meant."""
    if raw_path.startswith(b"/runtimes/"):
        meant: Dialect = AWS
    elif raw_path.startswith(b"/memories/"):
        meant = MEMORY
    else:
        meant = CONTRACT if raw_path.startswith((b"/invocations", b"/ping")) else NATIVE
    return dialect_for(request, meant) if meant in {AWS, NATIVE} else meant
