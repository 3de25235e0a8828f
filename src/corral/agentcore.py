"""The names of AgentCore's own SDK, so that an existing agent moves by changing one import.

    from corral.agentcore import BedrockAgentCoreApp      # was: bedrock_agentcore
    app = BedrockAgentCoreApp()

The app behaves as the SDK's does, where ours is stricter or faster by default: any JSON payload is taken, async agents
run on a loop of their own, and nothing is recorded in sessions unless the agent does it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from corral.app import App
from corral.clock import new_id
from corral.context import Context, enter_context, find_context
from corral.runtime.health import PingStatus

if TYPE_CHECKING:
    from corral.server.http import Receive, Scope, Send

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

__all__ = ["BedrockAgentCoreApp", "BedrockAgentCoreContext", "PingStatus", "RequestContext"]


class _AnyContext(type):
    """Every context is a `RequestContext`, whoever made it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Context)


class RequestContext(Context, metaclass=_AnyContext):
    """What an entrypoint gets as `context`; made by hand in the tests of an agent."""

    __slots__ = ()

    def __init__(
        self, session_id: str | None = None, request_headers: Mapping[str, str] | None = None, request: Any = None
    ) -> None:
        """A context with a request id of its own."""
        super().__init__(new_id())
        self.session_id = session_id
        self.attach_http(_Given(request_headers, request))


class BedrockAgentCoreApp(App):
    """An `App` that behaves as AgentCore's own does, to the byte."""

    compatible = True
    logger = logging.getLogger("corral.app")
    """For the agent's own log lines, under the name that agents know it by."""

    def __init__(
        self, debug: bool = False, lifespan: Lifespan | None = None, middleware: Sequence[Any] | None = None
    ) -> None:
        """`lifespan(app)` is entered at start; `middleware` are Starlette's `Middleware(cls, …)`, outermost first."""
        super().__init__(debug=debug)
        self.lifespan_context = lifespan
        self.middleware = list(middleware or ())
        self.state = SimpleNamespace()
        """Where a lifespan keeps what it opened; `context.request.app.state` is the same."""

    def wrapped(self, asgi: Any) -> Any:
        """The service inside of the app's middleware."""
        for cls, args, kwargs in reversed(self.middleware):
            asgi = cls(asgi, *args, **kwargs)

        async def with_app(scope: Scope, receive: Receive, send: Send) -> None:
            scope["app"] = self
            if self.middleware:
                scope.pop("corral.connection", None)  # by which what middleware changes would be passed by
            await asgi(scope, receive, send)

        return with_app


class BedrockAgentCoreContext:
    """What the current request says, from anywhere inside of it."""

    @classmethod
    def get_request_id(cls) -> str | None:
        """The request's id."""
        context = find_context()
        return None if context is None else context.request_id

    @classmethod
    def get_session_id(cls) -> str | None:
        """The session's id, if the request named one."""
        context = find_context()
        return None if context is None else context.session_id

    @classmethod
    def get_request_headers(cls) -> Mapping[str, str] | None:
        """The headers an agent may see."""
        context = find_context()
        return None if context is None else context.request_headers

    @classmethod
    def get_workload_access_token(cls) -> str | None:
        """The workload access token of the request."""
        context = find_context()
        return None if context is None else context.workload_access_token

    @classmethod
    def get_oauth2_callback_url(cls) -> str | None:
        """Where a user comes back to after having agreed."""
        context = find_context()
        return None if context is None else context.oauth2_callback_url

    @classmethod
    def set_request_context(cls, request_id: str, session_id: str | None = None) -> None:
        """Name the request and the session from here on, also where no request runs (tests, scripts)."""
        context = _own_context(request_id)
        context.request_id = request_id
        context.session_id = session_id

    @classmethod
    def set_workload_access_token(cls, token: str) -> None:
        """Use this workload access token from here on."""
        _own_context().workload_access_token = token

    @classmethod
    def set_oauth2_callback_url(cls, workload_callback_url: str) -> None:
        """Use this callback URL from here on."""
        _own_context().oauth2_callback_url = workload_callback_url

    @classmethod
    def set_request_headers(cls, headers: Mapping[str, str]) -> None:
        """Show these headers from here on."""
        _own_context().attach_http(_Given(headers))

    @classmethod
    def get_routing_experiment_arn(cls) -> str | None:
        """The experiment that AgentCore's gateway counts this request to."""
        return _baggage("aws.agentcore.gateway.routing_experiment_arn")

    @classmethod
    def get_routing_experiment_variant(cls) -> str | None:
        """The experiment's variant that this request belongs to."""
        return _baggage("aws.agentcore.gateway.routing_experiment_variant_name")

    @classmethod
    def get_config_bundle(cls) -> dict[str, Any]:
        """Nothing: AWS keeps configuration bundles, and Corral does not ask it."""
        return {}


def _baggage(name: str) -> str | None:
    """One entry of W3C baggage."""
    headers = BedrockAgentCoreContext.get_request_headers() or {}
    for entry in headers.get("baggage", "").split(","):
        key, _, value = entry.partition(";")[0].partition("=")
        if key.strip() == name:
            return unquote(value.strip())
    return None


def _own_context(request_id: str = "") -> Context:
    context = find_context()
    if context is None:
        context = Context(request_id or new_id())
        enter_context(context)
    return context


class _Given:
    """Headers and request that somebody set by hand."""

    def __init__(self, headers: Mapping[str, str] | None, request: Any = None) -> None:
        self._headers = headers
        self._request = request

    def visible_headers(self) -> Mapping[str, str] | None:
        return self._headers

    def as_starlette(self) -> Any:
        return self._request
