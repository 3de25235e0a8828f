"""WebSockets: the app's own handler at `/ws` and the addresses of ours, with the same context as an invocation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from corral.context import Context, check_scope, enter_context
from corral.errors import CorralError
from corral.runtime.registry import DEFAULT_AGENT
from corral.security.roles import check_role
from corral.server.counted import NOT_COUNTED, Counted
from corral.server.http import Receive, Request, Scope, Send
from corral.server.identity import HttpView, Identity, context_of, session_in_query

WebSocketHandler = Callable[[Any, Context], Awaitable[None]]
_FAILED = 1011


APP_PATH = "/ws"
"""Where the handler registered with `@app.websocket` answers."""


class WebSocketEndpoint:
    """Serves a handler at each address that has one."""

    def __init__(
        self,
        handlers: Mapping[str, WebSocketHandler | None],
        identity: Identity,
        failed: Callable[[BaseException], None],
        counted: Counted = NOT_COUNTED,
        refused: Callable[[Request], None] | None = None,
    ) -> None:
        """`handlers` by path; `failed` is told of an error in one of them. Messages to the app's own are `counted`.

        `refused` is told of handshakes without the right to one.
        """
        self._refused = refused
        self._counted = counted
        self._handlers = {path.encode(): handler for path, handler in handlers.items()}
        self._identity = identity
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send, started_at: float) -> None:
        """One connection. Without a handler, or a credential, the handshake is refused."""
        from starlette.websockets import WebSocket, WebSocketDisconnect  # noqa: PLC0415 - only who has a handler pays

        request = Request(scope, receive, send, started_at)
        asked: bytes = scope.get("raw_path") or scope["path"].encode()
        path = asked.partition(b"?")[0]
        is_of_app = path == APP_PATH.encode()
        try:
            context = context_of(request, DEFAULT_AGENT if is_of_app else "")
            await self._identity.identify(request, public=False)
            check_role(context.roles, "invoker")
            if is_of_app:
                check_scope("agent", context.agent, context.agents_allowed)
            # A presigned URL cannot carry headers: the session then travels in the query.
            context.session_id = context.session_id or session_in_query(request.query)
        except CorralError as error:
            if self._refused is not None:
                known = path in self._handlers
                request.failure, request.status, request.route = error, error.status, path.decode() if known else ""
                self._refused(request)
            await send({"type": "websocket.close", "code": 1008})
            return
        handler = self._handlers.get(path)
        if handler is None:
            await send({"type": "websocket.close", "code": _FAILED})
            return
        if is_of_app:
            receive = self._counted.receiving(context, receive, send)
        websocket = WebSocket(scope, receive, send)
        context.attach_http(WebSocketView(scope, receive, websocket))
        enter_context(context)
        try:
            await handler(websocket, context)
        except WebSocketDisconnect:
            return
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it raises, the worker goes on
            self._failed(error)
            await _close(websocket)


class WebSocketView(HttpView):
    """What a context knows of HTTP, where the request is a WebSocket."""

    __slots__ = ("_websocket",)

    def __init__(self, scope: Scope, receive: Receive, websocket: Any) -> None:
        """Keep the one WebSocket object there is."""
        super().__init__(scope, receive)
        self._websocket = websocket

    def as_starlette(self) -> Any:
        """The WebSocket that the handler has as well."""
        return self._websocket


async def _close(websocket: Any) -> None:
    """Close with 1011, or refuse the handshake, unless the handler or the client closed already."""
    from starlette.websockets import WebSocketState  # noqa: PLC0415 - as above

    if websocket.application_state is not WebSocketState.DISCONNECTED:
        await websocket.close(code=_FAILED)
