"""`GET /openapi.json`, made from the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from corral.server.http import Request
from corral.server.routes import Answer, Route

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

    def __init__(self, name: str, version: str) -> None:
        """The app's name and Corral's version."""
        self._name = name
        self._version = version
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
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
        return {
            "openapi": "3.1.0",
            "info": {"title": self._name, "version": self._version},
            "paths": paths,
            "components": {
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                }
            },
            "security": [{"bearer": []}, {"key": []}, {}],
        }


def _operation(route: Route) -> dict[str, Any]:
    named = {param.name: param for param in route.params}
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": named[name].schema if name in named else {"type": "string", "minLength": 1},
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    parameters += [
        {"name": p.name, "in": p.where, "required": p.required, "description": p.description, "schema": p.schema}
        for p in route.params
        if p.where != "path"
    ]
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
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
    return response


def _operation_id(route: Route) -> str:
    words = re.sub(r"[^a-zA-Z0-9]+", "_", route.path).strip("_") or "root"
    return f"{route.method.lower()}_{words}"
