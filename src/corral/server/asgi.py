"""The ASGI application: finds the route, says who calls, answers errors, and tells the observers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Protocol

from corral.clock import SYSTEM_CLOCK, Clock
from corral.context import Context
from corral.errors import CorralError, MethodNotAllowed, NotFound
from corral.observability.traces import traceparent
from corral.security.roles import check_role
from corral.server.agentcore.dialect import MEMORY
from corral.server.answer import write_error
from corral.server.aws import AWS
from corral.server.buckets import ROOT, SIGNED, bucket_path
from corral.server.dialects import CONTRACT, NATIVE, Dialect
from corral.server.http import ClientGone, Receive, Request, Scope, Send
from corral.server.identity import Identity, context_of
from corral.server.routes import Route, Router
from corral.server.unanswered import dialect_for, unanswered
from corral.server.websocket import WebSocketEndpoint


class Watcher(Protocol):
    """Who is told what happens."""

    @property
    def begin(self) -> Callable[[Context], object]:
        """Told when a request has come: decides whether its trace is kept."""
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
        request = Request(scope, receive, send, self._monotonic(), self._body_max_bytes, self._json_depth_max)
        try:
            route = self._found(request)
            if route is None:
                await self._refuse(request)
            if route.public:
                await self._identity.identify(request, public=True)
            else:
                if not self._identity.recognises(request):
                    await self._identity.identify(request, public=False)
                check_role(request.context.roles, route.needs)
            await route.handler(request)
        except ClientGone as gone:
            request.failure = gone
        except CorralError as error:
            request.failure = error
            await write_error(request, error, request.dialect or dialect_of(request))
        except Exception as error:  # noqa: BLE001 - the last line: a bug of ours is a 500, never a dropped connection
            request.failure = error
            self._watcher.unexpected(error)
            await write_error(request, error, request.dialect or dialect_of(request))
        finally:
            self._watcher.request(request)
            request.failure = None  # its traceback holds this very request

    def _found(self, request: Request) -> Route | None:
        """What answers a request, if anything does. From here on the request has a context, and headers that any answer has."""
        route: Route | None = None
        try:
            route, request.params = self._router.find(request.method, path_of(request))
            request.route, request.quiet, request.dialect = route.path, route.quiet, route.dialect
        except (NotFound, MethodNotAllowed):
            request.params = {}
        context = context_of(request)
        headers = [(b"x-request-id", context.request_id.encode("latin-1", "replace"))]
        request.response_headers = headers
        if self.closing:
            headers.append((b"connection", b"close"))
        if route is not None and not route.quiet:
            self._watcher.begin(context)
            headers.append((b"traceparent", traceparent(context).encode()))
        return route

    async def _refuse(self, request: Request) -> NoReturn:
        """What is not there is said to nobody but those who are let in."""
        await self._identity.identify(request, public=False)
        path = path_of(request)
        try:
            self._router.find(request.method, path)
        except MethodNotAllowed as error:
            request.response_headers.append((b"allow", self._router.allowed(path).encode()))
            raise unanswered(request, error, self._router.routes) from None
        except NotFound as error:
            raise unanswered(request, error, self._router.routes) from None
        raise AssertionError("It was not there before.")


def path_of(request: Request) -> bytes:
    """Where a request is answered, as the router knows it."""
    scope = request.scope
    path: bytes = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    signature = request.headers.get(b"authorization") or scope.get("query_string", b"")
    return bucket_path(path, signature) if path.startswith(ROOT) or signature.count(SIGNED) else path


def dialect_of(request: Request) -> Dialect:
    """Where there is no route, errors look as the API makes them look that was probably meant."""
    path = path_of(request)
    if path.startswith(b"/runtimes/"):
        meant: Dialect = AWS
    elif path.startswith(b"/memories/"):
        meant = MEMORY
    else:
        meant = CONTRACT if path.startswith((b"/invocations", b"/ping")) else NATIVE
    return dialect_for(request, meant) if meant in {AWS, NATIVE} else meant
