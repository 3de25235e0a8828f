"""`GET /openapi.json`, made from the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from corral.runtime.registry import DEFAULT_AGENT, Agent, Agents
from corral.server.http import Request
from corral.server.routes import Answer, Route

_ABOUT = """\
Every POST that runs an agent takes an `Idempotency-Key` header (any text of up to 256 characters, best a UUID): requests with the
same key are one run, and the answer says `Idempotent-Replayed: true` when it is an earlier run's. The same key with another
payload is answered 422. `X-Timeout-S` (0.1 to 86400) bounds the run in seconds. A `traceparent` header is continued. Every response has an `X-Request-Id`."""

_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "retryable": {"type": "boolean"},
        "request_id": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["type", "title", "status", "detail", "code"],
}


class OpenApiRoute:
    """Describes all routes, itself included."""

    def __init__(self, name: str, version: str, agents: Agents) -> None:
        """The app's name, Corral's version, and the agents, whose payloads have types of their own."""
        self._name = name
        self._version = version
        self._agents = agents
        self._routes: list[Route] = []

    def route(self) -> Route:
        """`GET /openapi.json`."""
        return Route(
            method="GET",
            path="/openapi.json",
            handler=self.show,
            tag="about",
            summary="This description",
            answers={200: Answer("OpenAPI 3.1", {"type": "object"})},
        )

    def describes(self, routes: Iterable[Route]) -> None:
        """Name the routes, once they are all known."""
        self._routes = list(routes)

    async def show(self, request: Request) -> None:
        """The document."""
        await request.respond_json(self.document())

    def document(self) -> dict[str, Any]:
        """The document as a value."""
        paths: dict[str, dict[str, Any]] = {}
        for route in self._routes:
            for path, operation in self._operations(route):
                paths.setdefault(path, {})[route.method.lower()] = operation
        return {
            "openapi": "3.1.0",
            "info": {"title": self._name, "version": self._version, "description": _ABOUT},
            "paths": paths,
            "components": {
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                }
            },
            "security": [{"bearer": []}, {"key": []}, {}],
        }

    def _operations(self, route: Route) -> Iterator[tuple[str, dict[str, Any]]]:
        """A route that runs agents is described once for each agent, with what that one takes."""
        if route.runs is None:
            yield route.path, _operation(route)
        elif "{name}" not in route.path:
            agent = next((agent for agent in self._agents if agent.name == (route.runs or DEFAULT_AGENT)), None)
            yield route.path, _operation(_taking(route, agent))
        else:
            for agent in self._agents:
                yield route.path.replace("{name}", agent.name), _operation(_taking(route, agent), agent.name)


def _taking(route: Route, agent: Agent | None) -> Route:
    entrypoint = None if agent is None else agent.entrypoint
    if entrypoint is None or entrypoint.payload is None:
        return route
    schema = _inlined(entrypoint.payload.schema())
    return msgspec.structs.replace(route, body={"allOf": [schema, route.body]} if route.body else schema)


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references into itself, which would point elsewhere inside of a larger document."""
    definitions = schema.get("$defs", {})

    def resolved(part: Any, seen: frozenset[str]) -> Any:
        if isinstance(part, list):
            return [resolved(item, seen) for item in part]
        if not isinstance(part, dict):
            return part
        name = str(part.get("$ref", "")).rpartition("/")[2]
        if name in definitions:
            return {} if name in seen else resolved(definitions[name], seen | {name})
        return {key: resolved(value, seen) for key, value in part.items() if key != "$defs"}

    found: dict[str, Any] = resolved(schema, frozenset())
    return found


def _operation(route: Route, agent: str = "") -> dict[str, Any]:
    named = {param.name: param for param in route.params}
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": named[name].schema if name in named else {"type": "string", "minLength": 1},
        }
        for name in re.findall(r"{(\w+)}", route.path)
        if not (agent and name == "name")
    ]
    parameters += [
        {"name": p.name, "in": p.where, "required": p.required, "description": p.description, "schema": p.schema}
        for p in route.params
        if p.where != "path"
    ]
    operation: dict[str, Any] = {
        "operationId": _operation_id(route) + (f"_{agent}" if agent else ""),
        "summary": f"{route.summary} ({agent})" if agent else route.summary,
        "tags": [route.tag],
        "parameters": parameters,
        "responses": {str(status): _response(answer) for status, answer in route.answers.items()},
    }
    operation["responses"]["default"] = {
        "description": "An error",
        "content": {"application/problem+json": {"schema": _PROBLEM}, "application/json": {"schema": {}}},
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.body_required,
            "content": {"application/json": {"schema": route.body}},
        }
    if route.public:
        operation["security"] = []
    return operation


def _response(answer: Answer) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.description}
    if answer.schema is not None:
        response["content"] = {answer.content_type: {"schema": answer.schema}}
        if answer.streams:
            response["content"]["text/event-stream"] = {"schema": {"type": "object"}}  # of each event
    return response


def _operation_id(route: Route) -> str:
    words = re.sub(r"[^a-zA-Z0-9]+", "_", route.path).strip("_") or "root"
    return f"{route.method.lower()}_{words}"
