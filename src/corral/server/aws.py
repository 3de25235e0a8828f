"""The AWS data plane for runtimes, as boto3's `bedrock-agentcore` client speaks it.

An ARN arrives percent-encoded in the path, so routes match on the raw path. An agent's failure is 424: boto3 would run a
500 three times.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from corral.clock import new_id
from corral.errors import AgentFailed, BadRequest, Cancelled, CorralError, DeadlineExceeded, NotFound, ValidationFailed
from corral.runtime.encoding import to_json
from corral.runtime.invocation import Invocations
from corral.runtime.registry import Agent, Agents
from corral.server.agentcore.ids import runtime_id_of
from corral.server.answer import Answerer
from corral.server.dialects import ContractDialect, ErrorBody, retry_headers, said_outside
from corral.server.http import JSON, Header, Request, parse_json
from corral.server.identity import SESSION_HEADER
from corral.server.routes import ID_PATTERN, Answer, Param, Route
from corral.sessions.event import SessionKey
from corral.sessions.store import TurnStore

_ERROR_TYPE = b"x-amzn-errortype"
_ERRORS: dict[int, str] = {
    400: "ValidationException",
    401: "UnauthorizedException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    409: "RetryableConflictException",
    413: "ValidationException",
    422: "ValidationException",
    424: "RuntimeClientError",
    429: "ThrottlingException",
}
_AGENT_FAILED = 424
_CONFLICT = 409
_SHAPE = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
_ARN = Param("arn", "path", "The runtime's ARN or id, percent-encoded.", required=True)
_QUALIFIER = Param("qualifier", "query", "The endpoint's name; `DEFAULT` when absent.")
_SESSION = Param(
    SESSION_HEADER.decode(), "header", "The session.", {"type": "string", "maxLength": 256, "pattern": ID_PATTERN}
)
_STOPPED_SESSION = msgspec.structs.replace(
    _SESSION, required=True, schema={"type": "string", "minLength": 1, "maxLength": 256, "pattern": ID_PATTERN}
)


class AwsDialect(ContractDialect):
    """Success as the container says it; errors as the service does."""

    def error(self, request: Request, error: BaseException) -> ErrorBody:
        """The error's name in a header, its message in the body."""
        del request
        status, name = aws_error(error)
        content: dict[str, object] = {"message": said_outside(error)}
        if isinstance(error, ValidationFailed):
            content["reason"] = "fieldValidationFailed"
            content["fieldList"] = [
                {"name": str(fault.get("pointer", "")), "message": str(fault.get("message", ""))}
                for fault in error.errors
            ]
        headers = [(_ERROR_TYPE, name.encode()), *retry_headers(error)]
        return ErrorBody(status, to_json(content).encode(), JSON, headers)

    def headers(self, request: Request) -> Sequence[Header]:
        """The session, which the caller may have left to us."""
        return ((SESSION_HEADER, (request.context.session_id or "").encode("latin-1", "replace")),)


def aws_error(error: BaseException) -> tuple[int, str]:
    """Status and name of an error as the service gives them."""
    if isinstance(error, AgentFailed):
        return _AGENT_FAILED, "RuntimeClientError"
    status = error.status if isinstance(error, CorralError) else 500
    if isinstance(error, DeadlineExceeded | Cancelled):
        return _AGENT_FAILED, "RuntimeClientError"  # it ran, and was paid for: not to be run again
    if status == _CONFLICT and not getattr(error, "retryable", False):
        return status, "ConflictException"  # under the other name boto3 would ask again
    if status == 422:  # noqa: PLR2004 - HTTP's own number; the service has no such status
        status = 400
    return status, _ERRORS.get(status, "InternalServerException")


AWS = AwsDialect()


class AwsRoutes:
    """`InvokeAgentRuntime`, `StopRuntimeSession` and `GetAgentCard`."""

    def __init__(self, agents: Agents, answerer: Answerer, invocations: Invocations, turns: TurnStore) -> None:
        """The runtime named in an ARN is the agent of that name, else the app's main agent."""
        self._agents = agents
        self._answerer = answerer
        self._invocations = invocations
        self._turns = turns

    def routes(self) -> list[Route]:
        """All three."""
        return [
            Route(
                method="POST",
                path="/runtimes/{arn}/invocations",
                handler=self.invoke,
                tag="aws",
                dialect=AWS,
                summary="InvokeAgentRuntime",
                params=(_ARN, _QUALIFIER, _SESSION),
                body={},
                runs="",
                answers={
                    200: Answer("The agent's answer", {}, streams=True),
                    400: Answer("The request is not valid", _SHAPE),
                    404: Answer("No such runtime", _SHAPE),
                    424: Answer("The agent failed", _SHAPE),
                },
            ),
            Route(
                method="POST",
                path="/runtimes/{arn}/stopruntimesession",
                handler=self.stop,
                tag="aws",
                dialect=AWS,
                summary="StopRuntimeSession",
                params=(_ARN, _QUALIFIER, _STOPPED_SESSION),
                body={"type": "object"},
                body_required=False,
                answers={
                    200: Answer("The session's work was stopped", {"type": "object"}),
                    400: Answer("The request is not valid", _SHAPE),
                    404: Answer("No such runtime", _SHAPE),
                },
            ),
            Route(
                method="GET",
                path="/runtimes/{arn}/invocations/.well-known/agent-card.json",
                handler=self.card,
                tag="aws",
                dialect=AWS,
                summary="GetAgentCard",
                params=(_ARN, _QUALIFIER, _SESSION),
                answers={
                    200: Answer("What the agent says of itself", {"type": "object"}),
                    400: Answer("The request is not valid", _SHAPE),
                    404: Answer("No such runtime", _SHAPE),
                },
            ),
        ]

    async def invoke(self, request: Request) -> None:
        """`POST /runtimes/{arn}/invocations`."""
        agent = self._agent(request.params["arn"])
        payload = await request.json()
        request.context.session_id = request.context.session_id or new_id()
        await self._answerer.answer(request, agent, payload, AWS, strict=False)

    async def stop(self, request: Request) -> None:
        """`POST /runtimes/{arn}/stopruntimesession`."""
        self._agent(request.params["arn"])
        body = await request.body()
        if body and not isinstance(parse_json(body, request.json_depth_max), dict):
            raise ValidationFailed("The body is an object with a clientToken, or empty.")
        session_id = request.context.session_id
        if session_id is None:
            raise ValidationFailed(f"The header {SESSION_HEADER.decode()} names the session to stop.")
        key = SessionKey(request.context.tenant, session_id)
        for call in self._invocations:
            if call.context.tenant == key.tenant and call.context.session_id == session_id:
                call.cancel("request")
        # Whoever holds the turn or waits for it in another worker loses it to us, who give it back at once.
        token = new_id()
        await self._turns.join(key, token, policy="interrupt", lease_s=1.0, waiting_max=1)
        await self._turns.leave(key, token)
        headers = ((SESSION_HEADER, session_id.encode("latin-1", "replace")),)
        await request.respond(200, msgspec.json.encode({"runtimeSessionId": session_id}), JSON, headers)

    async def card(self, request: Request) -> None:
        """`GET /runtimes/{arn}/invocations/.well-known/agent-card.json`: A2A's card."""
        arn = request.params["arn"]
        agent = self._agent(arn)
        ready = agent.entrypoint
        said = (ready.description if ready else "") or f"The agent {agent.name}."
        host = request.header(b"host") or "localhost"
        card = {
            "protocolVersion": "0.3.0",
            "name": agent.name,
            "description": said,
            "url": f"{request.scope.get('scheme', 'http')}://{host}/runtimes/{quote(arn, safe='')}/invocations",
            "preferredTransport": "HTTP+JSON",
            "version": "1",
            "capabilities": {"streaming": ready is not None and ready.streams},
            "defaultInputModes": ["application/json"],
            "defaultOutputModes": ["application/json", "text/event-stream"],
            "skills": [{"id": agent.name, "name": agent.name, "description": said, "tags": []}],
        }
        request.context.session_id = request.context.session_id or new_id()
        await request.respond(200, msgspec.json.encode(card), JSON, AWS.headers(request))

    def _agent(self, arn: str) -> Agent:
        return agent_of(self._agents, arn)


def agent_of(agents: Agents, arn: str) -> Agent:
    """`arn:aws:bedrock-agentcore:REGION:ACCOUNT:runtime/NAME-SUFFIX[:VERSION]`, or the bare id."""
    name = arn
    if arn.startswith("arn:"):
        parts = arn.split(":", 5)
        if len(parts) < 6 or not parts[5].startswith("runtime/"):  # noqa: PLR2004 - an ARN has six parts
            raise BadRequest(f"{arn[:200]!r} is not the ARN of a runtime.")
        name = parts[5].removeprefix("runtime/").partition(":")[0].partition("/")[0]
    for candidate in (name, name.rpartition("-")[0]):
        if any(agent.name == candidate for agent in agents):
            return agents.find(candidate)
    for agent in agents:
        if runtime_id_of(agent.name) == name:  # its name has letters that a runtime's has not
            return agent
    if not name:
        raise NotFound("The address names no runtime.")
    return agents.default()
