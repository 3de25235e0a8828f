"""What a service knows of the user's `App`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from corral.models.own import OwnFunctions
from corral.runtime.health import Health
from corral.runtime.registry import Agents
from corral.tools.policy import Rule
from corral.tools.toolbox import Toolbox
from corral.workflows.functions import Functions

if TYPE_CHECKING:
    from corral.workflows.builder import Workflow


class Hosted(Protocol):
    """The app that is served."""

    name: str
    debug: bool
    rules: list[Rule]
    compatible: bool
    agents: Agents
    tools: Toolbox
    functions: Functions
    workflows: list[Workflow]
    models: OwnFunctions
    health: Health
    on_error_hook: Callable[..., Any] | None
    websocket_handler: Callable[..., Any] | None
    warmups: list[Callable[[], Any]]
    shutdowns: list[Callable[[], Any]]
    lifespan_context: Callable[[Any], AbstractAsyncContextManager[Any]] | None

    def wrapped(self, asgi: Any) -> Any:
        """The service inside of the app's middleware."""
        ...
