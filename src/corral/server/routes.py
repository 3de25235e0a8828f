"""Addresses and what answers them. Matching is on the raw path, so an encoded `/` inside an ARN or an id stays inside.

A route says enough about itself for `GET /openapi.json`; a test compares what is served with what is described.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote

import msgspec

from corral.errors import ConfigError, MethodNotAllowed, NotFound
from corral.security.roles import Role
from corral.server.dialects import NATIVE, Dialect
from corral.server.http import Request

Handler = Callable[[Request], Awaitable[None]]


ID_PATTERN = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"
"""What ids look like in the description: no control characters, as `runtime.payload.is_id` checks."""


class Param(msgspec.Struct, frozen=True):
    """A path, query or header parameter, for the description."""

    name: str
    where: str = "query"
    description: str = ""
    schema: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})
    required: bool = False


class Answer(msgspec.Struct, frozen=True):
    """One possible answer, for the description."""

    description: str
    schema: dict[str, Any] | None = None
    content_type: str = "application/json"
    streams: bool = False
    """It may come as a stream of events as well."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one address. `{name}` in the path is one segment, decoded."""

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    public: bool = False
    """Answered without a credential: health checks."""
    needs: Role = "invoker"
    """The least role that may call it."""
    quiet: bool = False
    """Not written to the access log."""
    params: tuple[Param, ...] = ()
    body: dict[str, Any] | None = None
    body_required: bool = True
    answers: dict[int, Answer] = {}
    dialect: Dialect = NATIVE
    """How its errors look."""
    runs: str | None = None
    """The agent it runs (empty: the main one, or the one in its path), whose payload type belongs in its description."""


class Router:
    """Finds the route of a request: exact paths by one look-up, the others segment by segment."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """All routes there are."""
        self.routes = list(routes)
        self._exact: dict[bytes, dict[str, Route]] = {}
        self._at: dict[tuple[str, bytes], Route] = {}
        """The same by method and path."""
        self._patterns: list[tuple[list[str], dict[str, Route]]] = []
        by_path: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            methods = by_path.setdefault(route.path, {})
            if route.method in methods:
                raise ConfigError(f"{route.method} {route.path} is taken: choose another path (`server.aliases`).")
            methods[route.method] = route
        for path, methods in by_path.items():
            if "{" in path:
                self._patterns.append((path.split("/"), methods))
            else:
                self._exact[path.encode()] = methods
                self._at.update({(method, path.encode()): route for method, route in methods.items()})
        # A literal segment goes before a parameter in the same place.
        self._patterns.sort(key=lambda pattern: [segment.startswith("{") for segment in pattern[0]])

    def find(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """The route and its path parameters. Raises `NotFound`, `MethodNotAllowed` (which names what is allowed)."""
        route = self._at.get((method, raw_path))
        if route is not None:
            return route, {}
        methods, params = self._match(raw_path)
        route = methods.get(method)
        if route is None and method == "HEAD":
            route = methods.get("GET")
        if route is None:
            raise MethodNotAllowed(f"This address answers {', '.join(sorted(methods))}, not {method}.")
        return route, params

    def allowed(self, raw_path: bytes) -> str:
        """The methods of an address, for the `Allow` header."""
        methods, _ = self._match(raw_path)
        return ", ".join(sorted(methods))

    def _match(self, raw_path: bytes) -> tuple[dict[str, Route], dict[str, str]]:
        exact = self._exact.get(raw_path)
        if exact is not None:
            return exact, {}
        # Decoded segment by segment: an encoded `/` is not a separator, and other encoded characters are themselves.
        segments = [unquote(segment) for segment in raw_path.decode("latin-1").split("/")]
        if b"%" in raw_path and not any("/" in segment for segment in segments):
            methods = self._exact.get("/".join(segments).encode())
            if methods is not None:
                return methods, {}
        for pattern, methods in self._patterns:
            if len(pattern) != len(segments):
                continue
            params: dict[str, str] = {}
            for expected, given in zip(pattern, segments, strict=True):
                if expected[:1] == "{":
                    if not given:
                        break
                    params[expected[1:-1]] = given
                elif expected != given:
                    break
            else:
                return methods, params
        raise NotFound(f"There is nothing at {raw_path.decode('latin-1')[:200]}.")
