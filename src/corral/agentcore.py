"""The names of AgentCore's own SDK, so that an existing agent moves by changing one import.

    from corral.agentcore import BedrockAgentCoreApp      # was: bedrock_agentcore
    app = BedrockAgentCoreApp()

The app behaves as the SDK's does, where ours is stricter or faster by default: any JSON payload is taken, async agents
run on a loop of their own, and nothing is recorded in sessions unless the agent does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from corral.app import App
from corral.clock import new_id
from corral.context import Context, enter_context, find_context
from corral.runtime.health import PingStatus

RequestContext = Context

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

__all__ = ["BedrockAgentCoreApp", "BedrockAgentCoreContext", "PingStatus", "RequestContext"]


class BedrockAgentCoreApp(App):
    """An `App` that behaves as AgentCore's own does, to the byte."""

    compatible = True

    def __init__(
        self, debug: bool = False, lifespan: Lifespan | None = None, middleware: Sequence[Any] | None = None
    ) -> None:
        """`lifespan(app)` is entered at start; `middleware` are Starlette's `Middleware(cls, …)`, outermost first."""
        super().__init__(debug=debug)
        self.lifespan_context = lifespan
        self.middleware = list(middleware or ())

    def wrapped(self, asgi: Any) -> Any:
        """The service inside of the app's middleware."""
        for cls, args, kwargs in reversed(self.middleware):
            asgi = cls(asgi, *args, **kwargs)
        return asgi


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
        _own_context().attach_http(_GivenHeaders(headers))


def _own_context(request_id: str = "") -> Context:
    context = find_context()
    if context is None:
        context = Context(request_id or new_id())
        enter_context(context)
    return context


class _GivenHeaders:
    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def visible_headers(self) -> Mapping[str, str]:
        return self._headers

    def as_starlette(self) -> None:
        return None
