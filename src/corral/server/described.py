"""Handlers and what is said of them in `GET /openapi.json`, joined to routes."""

from __future__ import annotations

from collections.abc import Mapping

from corral.server.routes import Handler, Route
from corral.server.session_api import Described


def described_routes(handlers: Mapping[str, Handler], descriptions: Mapping[str, Described]) -> list[Route]:
    """A route for each address such as `GET /v1/jobs/{id}`; its room is the second part of its path."""
    routes = []
    for address, handler in handlers.items():
        method, _, path = address.partition(" ")
        said = descriptions[address]
        routes.append(
            Route(
                method=method,
                path=path,
                handler=handler,
                tag=path.split("/")[2],
                summary=said.summary,
                params=said.params,
                body=said.body,
                body_required=said.body_required,
                answers=said.answers,
                needs=said.needs,
            )
        )
    return routes
