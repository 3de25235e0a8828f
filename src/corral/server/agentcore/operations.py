"""What every operation has in common: its place is checked, its body is checked, and its answer is JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from corral.errors import CorralError, CursorNotFound, ValidationFailed
from corral.security.roles import Role
from corral.server.agentcore.checking import Shape, check, outlined
from corral.server.agentcore.shapes import PLACES, camel, described, places
from corral.server.dialects import Dialect
from corral.server.http import Request, parse_json
from corral.server.routes import Answer, Param, Route

_LEVELS = 1
"""How deep bodies are described."""
_FAULT = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}

Work = Callable[["Asked"], Awaitable[Any]]


class QuotaExceeded(CorralError):
    """There are as many of these as there may be."""

    status = 402
    code = "quota_exceeded"


class Standing(CorralError):
    """What is there already does not allow this."""

    status = 409
    code = "conflict"


class Asked(msgspec.Struct, frozen=True):
    """One request, checked."""

    tenant: str
    place: dict[str, str]
    """The parameters in its address."""
    body: dict[str, Any]
    query: dict[str, str]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the service."""

    name: str
    method: str
    path: str
    work: Work
    shape: Shape | None = None
    """Of its body; none: it has none."""
    status: int = 200
    answers: tuple[str, ...] = ()
    """Members that every answer has."""
    query: tuple[Param, ...] = ()
    dialect: Dialect
    needs: Role = "invoker"
    """The least role that may ask."""


Row = tuple[str, str, str, Work, Shape | None, int, tuple[str, ...], tuple[Param, ...]]
"""Name, method, path, work, shape of the body, status, members of the answer, query."""


def operations_of(rows: Sequence[Row], dialect: Dialect) -> list[Operation]:
    """Operations of which invokers may do those that only look."""
    return [
        Operation(
            name=name,
            method=method,
            path=path,
            work=work,
            shape=shape,
            status=status,
            answers=answers,
            query=query,
            dialect=dialect,
            needs="invoker" if name.startswith(("Get", "List")) else "developer",
        )
        for name, method, path, work, shape, status, answers, query in rows
    ]


class Api(Protocol):
    """A part of the service."""

    def operations(self) -> list[Operation]:
        """What it answers."""
        ...


def route_of(operation: Operation) -> Route:
    """The operation at its address."""

    async def handle(request: Request) -> None:
        asked = await _asked(request, operation)
        try:
            answer = await operation.work(asked)
        except CursorNotFound:
            raise ValidationFailed(
                "The nextToken is not one that was given out; leave it away to start again."
            ) from None
        await request.respond_json(answer, operation.status)

    return Route(
        method=operation.method,
        path=operation.path,
        handler=handle,
        tag="agentcore",
        summary=operation.name,
        dialect=operation.dialect,
        needs=operation.needs,
        params=(*places(operation.path), *operation.query),
        body=None if operation.shape is None else outlined(operation.shape, _LEVELS),
        body_required=bool(operation.shape and operation.shape.get("required")),
        answers={
            operation.status: Answer(f"{operation.name} is done", described({name: {} for name in operation.answers})),
            400: Answer("The request is not valid", _FAULT),
            404: Answer("There is no such thing", _FAULT),
            409: Answer("Something else stands against it", _FAULT),
        },
    )


async def _asked(request: Request, operation: Operation) -> Asked:
    for name, value in request.params.items():
        check(value, PLACES.get(name, {}), at=camel(name))
    query = request.query
    for param in operation.query:
        if param.name in query:
            check(_typed(query[param.name], param.schema), param.schema, at=param.name)
    body: Any = {}
    raw = await request.body()
    if operation.shape is not None and raw:
        body = parse_json(raw, request.json_depth_max)
        if not isinstance(body, dict):
            raise ValidationFailed("The body must be a JSON object.")
    if operation.shape is not None:
        check(body, operation.shape)
    return Asked(request.context.tenant, request.params, body, query)


def _typed(text: str, shape: Shape) -> object:
    """A query parameter as what it stands for."""
    if shape.get("type") == "integer" and text.isascii() and text.removeprefix("-").isdigit() and len(text) < 16:  # noqa: PLR2004 - longer ones are no number of ours
        return int(text)
    return text
