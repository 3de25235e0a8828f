"""An app without agents, for a file that has nothing but functions: `FUNCTIONS = {name: handler(event, context)}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from corral.app import App


class FunctionsOnly(App):
    """Serves workflows, and the functions that their tasks call."""

    needs_agents = False


def host(name: str, handlers: Mapping[str, Callable[..., Any]]) -> App:
    """An app of these functions."""
    app = FunctionsOnly(name)
    app.functions.add_handlers(handlers)
    return app
