"""`/v1/tools`: what tools there are, and calling one. The tenant is always the credential's."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from corral.context import enter_context, leave_context
from corral.errors import NotFound, ValidationFailed
from corral.jobs.request import check_fields
from corral.messages import Caller, ToolCall, ToolReply
from corral.server.http import Request, parse_json
from corral.server.routes import Answer, Param, Route
from corral.tools.catalog import Catalog, Listed
from corral.tools.stack import RunTool, Use

_NAME_MAX = 64
_TEXT = {"type": "string"}
_NUMBER = {"type": ["number", "null"]}
_TOOL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "description": _TEXT,
        "parameters": {"type": "object", "description": "JSON schema of its arguments."},
        "returns": {"type": ["object", "null"], "description": "JSON schema of its result, where it says."},
        "agents": {"type": "array", "items": _TEXT, "description": "The agents that have it; none: it is the app's."},
        "source": {"type": "string", "description": "Where it comes from."},
        "read_only": {"type": "boolean"},
        "idempotent": {"type": "boolean"},
        "approval": {"type": "boolean"},
        "untrusted": {"type": "boolean"},
        "permissions": {"type": "array", "items": _TEXT},
        "timeout_s": _NUMBER,
        "retries": {"type": ["integer", "null"]},
        "cost_usd": _NUMBER,
        "concurrency": {"type": ["integer", "null"]},
        "cache_ttl_s": _NUMBER,
        "cache_scope": {"enum": ["tenant", "user", "session", "public"]},
        "output_max_bytes": {"type": ["integer", "null"]},
    },
    "required": ["name", "description", "parameters", "agents", "source", "read_only", "idempotent"],
}
_REPLY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "content": {"type": "array", "items": {"type": "object"}, "description": "What a model would read."},
        "value": {"description": "The result as JSON."},
        "fault": {
            "type": ["object", "null"],
            "properties": {
                "code": _TEXT,
                "message": _TEXT,
                "retryable": {"type": "boolean"},
                "retry_after_s": _NUMBER,
            },
            "required": ["code", "message", "retryable"],
        },
        "tainted": {"type": "array", "items": _TEXT},
        "cached": {"enum": ["", "kept", "replayed", "speculated"]},
        "attempts": {"type": "integer", "minimum": 0},
        "duration_s": {"type": "number"},
        "cost_usd": _NUMBER,
        "artefact": {
            "type": "string",
            "description": "Where the whole result lies, if `content` is only its beginning.",
        },
    },
    "required": ["name", "content", "value", "fault", "cached", "attempts", "duration_s"],
}
_AGENT = Param(
    "agent",
    description="The tool of this agent, where several have one of that name.",
    schema={"type": "string", "minLength": 1, "maxLength": _NAME_MAX},
)


class ReadArtefact(Protocol):
    """Where long results lie."""

    def __call__(self, caller: Caller, name: str) -> Awaitable[bytes | None]:
        """The whole; none: it is not there, or not this caller's."""
        ...


class ToolRoutes:
    """Handlers of `/v1/tools` and `/v1/artefacts`."""

    def __init__(self, catalog: Catalog, run: RunTool, read_artefact: ReadArtefact) -> None:
        """Tools are called by `run`, through all layers: what the policy forbids an agent it forbids here."""
        self._catalog = catalog
        self._run = run
        self._read = read_artefact

    def routes(self) -> list[Route]:
        """All four."""
        return [
            Route(
                method="GET",
                path="/v1/tools",
                handler=self.list_tools,
                tag="tools",
                summary="All tools: the app's own, its agents', and those that come from elsewhere",
                params=(_AGENT,),
                answers={
                    200: Answer(
                        "By name",
                        {
                            "type": "object",
                            "properties": {"items": {"type": "array", "items": _TOOL}},
                            "required": ["items"],
                        },
                    )
                },
            ),
            Route(
                method="GET",
                path="/v1/tools/{name}",
                handler=self.show,
                tag="tools",
                summary="One tool: its arguments, its marks, and who has it",
                params=(_AGENT,),
                answers={200: Answer("The tool", _TOOL)},
            ),
            Route(
                method="POST",
                path="/v1/tools/{name}/call",
                handler=self.call,
                tag="tools",
                summary="Call a tool, as an agent would; with an Idempotency-Key it has one effect, however often this is sent",
                params=(_AGENT,),
                body={
                    "type": "object",
                    "properties": {"input": {"type": "object", "description": "The arguments."}},
                    "additionalProperties": False,
                },
                body_required=False,
                answers={
                    200: Answer(
                        "What came of it; a call that failed, does not fit or is not allowed has a `fault`", _REPLY
                    )
                },
            ),
            Route(
                method="GET",
                path="/v1/artefacts/{name}",
                handler=self.artefact,
                tag="tools",
                summary="A result that was too long for a conversation, as a whole",
                answers={200: Answer("The result", {"type": "string"}, content_type="text/plain")},
            ),
        ]

    async def list_tools(self, request: Request) -> None:
        """`GET /v1/tools`."""
        agent = _agent(request)
        found = [one for one in self._catalog.tools() if not agent or agent in one.agents]
        await request.respond_json({"items": [shown(one) for one in found]})

    async def show(self, request: Request) -> None:
        """`GET /v1/tools/{name}`."""
        await request.respond_json(shown(self._catalog.find(request.params["name"], _agent(request))))

    async def call(self, request: Request) -> None:
        """`POST /v1/tools/{name}/call`."""
        tool = self._catalog.find(request.params["name"], _agent(request)).tool
        given = await _input(request)
        context = request.context
        call = ToolCall(
            name=tool.name,
            input=given,
            caller=caller_of(request),
            idempotency_key=f"http {context.idempotency_key}" if context.idempotency_key else "",
            deadline=context.deadline,
        )
        token = enter_context(context)
        try:
            reply = await self._run(Use(tool, call))
        finally:
            leave_context(token)
        await request.respond_json(reply_shown(reply))

    async def artefact(self, request: Request) -> None:
        """`GET /v1/artefacts/{name}`."""
        name = request.params["name"]
        body = await self._read(caller_of(request), name)
        if body is None:
            raise NotFound(f"There is no artefact {name[:100]!r}, or its time is over.")
        await request.respond(200, body, b"text/plain; charset=utf-8")


def caller_of(request: Request) -> Caller:
    """Who asks, as the credential and the headers say."""
    context = request.context
    return Caller(
        tenant=context.tenant,
        tier=context.tier,
        user_id=context.user_id or "",
        session_id=context.session_id or "",
        run_id=context.request_id,
        roles=context.roles,
    )


def shown(listed: Listed) -> dict[str, Any]:
    """A tool as people see it."""
    tool = listed.tool
    marks = tool.marks
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.spec.parameters,
        "returns": tool.returns,
        "agents": list(listed.agents),
        **{name: getattr(marks, name) for name in marks.__struct_fields__},
    }


def reply_shown(reply: ToolReply) -> dict[str, Any]:
    """What came of a call, with all its fields."""
    fault = reply.fault
    return {
        "name": reply.name,
        "content": reply.content,
        "value": reply.value,
        "fault": None if fault is None else {name: getattr(fault, name) for name in fault.__struct_fields__},
        "tainted": reply.tainted,
        "cached": reply.cached,
        "attempts": reply.attempts,
        "duration_s": round(reply.duration_s, 6),
        "cost_usd": reply.cost_usd,
        "artefact": reply.artefact,
    }


def _agent(request: Request) -> str:
    given = request.query
    check_fields(dict.fromkeys(given, ""), ("agent",))
    agent = given.get("agent", "")
    if "agent" in given and not 0 < len(agent) <= _NAME_MAX:
        raise ValidationFailed(f"`agent` is text of 1 to {_NAME_MAX} characters.")
    return agent


async def _input(request: Request) -> dict[str, Any]:
    raw = await request.body()
    given = check_fields(parse_json(raw, request.json_depth_max), ("input",)).get("input", {}) if raw else {}
    if not isinstance(given, dict):
        raise ValidationFailed("`input` is a JSON object with the tool's arguments.")
    return given
