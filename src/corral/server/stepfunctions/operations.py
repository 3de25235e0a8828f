"""One address for all operations: the header says which, the table says what it takes, and its work says the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import msgspec

from corral.errors import NotFound, ValidationFailed
from corral.security.roles import Role, check_role
from corral.server.agentcore.checking import Shape, faults_of
from corral.server.dialects import NATIVE
from corral.server.http import Request, parse_json
from corral.server.routes import Answer, Param, Route
from corral.server.stepfunctions.dialect import AWS_JSON, STEP_FUNCTIONS, UnknownOperation
from corral.server.stepfunctions.shapes import HIDDEN, SHAPES
from corral.workflows.language.fault import nearest

SERVICE = "AWSStepFunctions"
_TARGET = b"x-amz-target"
_SHOWN_CHARS = 1000
_WRITTEN = ("Create", "Update", "Delete", "Publish", "Tag", "Untag", "Validate", "Test")
"""How operations begin that change what is declared, or help to write it."""
_FAULT = {
    "type": "object",
    "properties": {"__type": {"type": "string"}, "message": {"type": "string"}},
    "required": ["__type", "message"],
}
_ABOUT = (
    "An operation of Step Functions, in its JSON protocol: `X-Amz-Target` names it, the body has its members."
    " Made for AWS's own clients: `boto3.client('stepfunctions', endpoint_url=…)`."
)


class Asked(msgspec.Struct, frozen=True):
    """One request, checked."""

    tenant: str
    body: dict[str, Any]
    request: Request

    @property
    def traceparent(self) -> str:
        """The trace that it belongs to."""
        return self.request.header(b"traceparent") or ""


Work = Callable[[Asked], Awaitable[dict[str, Any]]]


class Api(Protocol):
    """A part of the service."""

    def operations(self) -> dict[str, Work]:
        """What it answers, by the operation's name."""
        ...


class StepFunctions:
    """All operations of the service, at one address."""

    def __init__(self, parts: Iterable[Api]) -> None:
        """Every operation is some part's."""
        self._work: dict[str, Work] = {}
        for part in parts:
            self._work.update(part.operations())

    def route(self) -> Route:
        """`POST /`."""
        targets = [f"{SERVICE}.{name}" for name in sorted(self._work)]
        target = Param(_TARGET.decode(), "header", "The operation.", {"type": "string", "enum": targets})
        return Route(
            method="POST",
            path="/",
            handler=self.answer,
            tag="stepfunctions",
            dialect=STEP_FUNCTIONS,
            summary=_ABOUT,
            params=(target,),
            body={"type": "object"},
            answers={
                200: Answer("The operation is done", {"type": "object"}, AWS_JSON.decode()),
                400: Answer("The operation is refused", _FAULT, AWS_JSON.decode()),
                404: Answer("No operation is named"),
            },
        )

    async def answer(self, request: Request) -> None:
        """One operation."""
        target = request.header(_TARGET)
        if target is None:  # somebody who does not mean AWS
            request.dialect = NATIVE
            raise NotFound(
                "There is nothing at / but AWS's JSON protocols: the header X-Amz-Target names an operation."
            )
        request.response_headers.append((b"x-amzn-requestid", request.context.request_id.encode("latin-1", "replace")))
        service, _, name = target.partition(".")
        work = self._work.get(name) if service == SERVICE else None
        if work is None:
            raise UnknownOperation(self._unknown(target, name if service == SERVICE else ""))
        check_role(request.context.roles, needed_for(name))
        raw = await request.body()
        body = parse_json(raw, request.json_depth_max) if raw else {}
        check(body, SHAPES[name])
        body = {member: value for member, value in body.items() if value is not None}
        done = await work(Asked(request.context.tenant, body, request))
        await request.respond(200, msgspec.json.encode(done), AWS_JSON)

    def _unknown(self, target: str, name: str) -> str:
        """`name`: of an operation of this service, as far as the header goes."""
        said = f"The header X-Amz-Target names no operation that is answered here: {target[:100]!r}."
        if not name:
            return f"{said} There are those of {SERVICE}, such as {SERVICE}.StartExecution."
        return " ".join(filter(None, (said, nearest(name, self._work), f"There are: {', '.join(sorted(self._work))}.")))


def needed_for(operation: str) -> Role:
    """The least role that may ask: all have one address, and not one weight."""
    if operation in {"RedriveExecution", "UpdateMapRun"}:
        return "operator"
    return "developer" if operation.startswith(_WRITTEN) else "invoker"


def check(body: Any, shape: Shape) -> None:
    """Refuse what does not fit, worded as the service words it."""
    if not isinstance(body, dict):
        raise ValidationFailed("The body must be a JSON object.")
    given = {member: value for member, value in body.items() if value is not None}
    faults = faults_of(given, shape)
    if faults:
        count = f"{len(faults)} validation error{'' if len(faults) == 1 else 's'} detected: "
        raise ValidationFailed(count + "; ".join(_worded(given, place, constraint) for place, constraint in faults))


def _worded(body: dict[str, Any], place: str, constraint: str) -> str:
    value = _value_at(body, place)
    if value is None:
        shown = " null"
    elif place.rpartition(".")[2] in HIDDEN:
        shown = ""
    else:
        shown = f" '{_shown(value)}'"
    return f"Value{shown} at '{place}' failed to satisfy constraint: {constraint}"


def _shown(value: Any) -> str:
    return (value if isinstance(value, str) else msgspec.json.encode(value).decode())[:_SHOWN_CHARS]


def _value_at(body: Any, place: str) -> Any:
    """What stands at `routingConfiguration.1.member.weight`."""
    found = body
    for step in place.split("."):
        if isinstance(found, list):
            found = found[int(step) - 1] if step.isdigit() else found
        elif isinstance(found, dict) and step != "member":
            found = found.get(step)
    return found


def paged(answer: dict[str, Any], cursor: str | None) -> dict[str, Any]:
    """The answer, and how to go on."""
    return answer if cursor is None else {**answer, "nextToken": cursor}


def page_size(asked: Asked, *, default: int = 100) -> int:
    """How many are asked for; 0 is as many as if nothing was said."""
    return int(asked.body.get("maxResults") or default)


def without_nothing(answer: dict[str, Any]) -> dict[str, Any]:
    """The members that are there."""
    return {name: value for name, value in answer.items() if value is not None}
