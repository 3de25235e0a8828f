"""The ASGI application: finds the route, says who calls, answers errors, and tells the observers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError, MethodNotAllowed, NotFound
from corral.server.answer import write_error
from corral.server.aws import AWS
from corral.server.dialects import CONTRACT, NATIVE, Dialect
from corral.server.http import ClientGone, Receive, Request, Scope, Send
from corral.server.identity import Identity, context_of
from corral.server.routes import Router
from corral.server.websocket import WebSocketEndpoint

RequestObserver = Callable[[Request], None]


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
        observers: Sequence[RequestObserver] = (),
        unexpected: Callable[[BaseException], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`observers` are told of each request that was answered; `unexpected` of errors that are bugs of ours."""
        self._router = router
        self._identity = identity
        self._websocket = websocket
        self._body_max_bytes = body_max_bytes
        self._json_depth_max = json_depth_max
        self._observers = observers
        self._unexpected = unexpected
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
            await write_error(request, error, dialect_of(raw_path))
        except Exception as error:  # noqa: BLE001 - the last line: a bug of ours is a 500, never a dropped connection
            request.failure = error
            self._unexpected(error)
            await write_error(request, error, dialect_of(raw_path))
        finally:
            for observe in self._observers:
                observe(request)

    async def _route(self, request: Request, raw_path: bytes) -> None:
        context = context_of(request)
        headers = request.response_headers
        headers.append((b"x-request-id", context.request_id.encode("latin-1", "replace")))
        if self.closing:
            headers.append((b"connection", b"close"))
        path = raw_path.partition(b"?")[0]
        try:
            route, request.params = self._router.find(request.method, path)
        except (NotFound, MethodNotAllowed) as error:
            self._identity.identify(request, context, public=False)
            if isinstance(error, MethodNotAllowed):
                headers.append((b"allow", self._router.allowed(path).encode()))
            raise
        request.route = route.path
        self._identity.identify(request, context, public=route.public)
        await route.handler(request)


def dialect_of(raw_path: bytes) -> Dialect:
    """Errors look as the API that was called makes them look."""
    if raw_path.startswith(b"/runtimes/"):
        return AWS
    return CONTRACT if raw_path.startswith((b"/invocations", b"/ping")) else NATIVE
