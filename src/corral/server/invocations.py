"""The addresses that run agents: AgentCore's `/invocations`, aliases of it, and our own `/v1/agents/…`."""

from __future__ import annotations

from typing import Any

from corral.errors import ConfigError, NotFound
from corral.runtime.health import Health
from corral.runtime.invocation import Invocation, Invocations
from corral.runtime.registry import DEFAULT_AGENT, Agent, Agents
from corral.runtime.works import is_works
from corral.server.answer import Answerer
from corral.server.cancelling import CancelNotes
from corral.server.dialects import CONTRACT, NATIVE
from corral.server.http import Request
from corral.server.routes import ID_PATTERN, Answer, Handler, Param, Route

_ANY_JSON: dict[str, Any] = {}
_HEADER_ID = {"type": "string", "maxLength": 256, "pattern": ID_PATTERN}
_HEADERS = (
    Param("x-session-id", "header", "The conversation this belongs to.", _HEADER_ID),
    Param("x-user-id", "header", "Who speaks.", _HEADER_ID),
    Param(
        "x-on-conflict",
        "header",
        "What to do when another request has the session's turn.",
        {"type": "string", "enum": ["enqueue", "reject", "interrupt", "rollback"]},
    ),
    Param(
        "x-corral-priority",
        "header",
        "How urgent this is: 9 first, 0 last; where `priorities` are on, never more than its caller is.",
        {"type": "string", "pattern": "^[0-9]$"},
    ),
)
_ID = {"type": ["string", "null"], "minLength": 1, "maxLength": 100, "pattern": ID_PATTERN}
_PROMPT = {"minLength": 1, "maxLength": 10_000}
# What our own API asks of every payload that is an object.
_LIMITED: dict[str, Any] = {"properties": {"prompt": _PROMPT, "message": _PROMPT, "session_id": _ID, "user_id": _ID}}
_DEBUG_ACTION = "_agent_core_app_action"


class InvocationRoutes:
    """Handlers of all addresses that run agents."""

    def __init__(
        self,
        agents: Agents,
        answerer: Answerer,
        invocations: Invocations,
        health: Health,
        elsewhere: CancelNotes,
        *,
        compatible: bool,
        debug: bool,
    ) -> None:
        """`elsewhere` reaches the server's other workers. `compatible`: behave as AgentCore's own runtime does where ours is stricter."""
        self._agents = agents
        self._answerer = answerer
        self._invocations = invocations
        self._health = health
        self._elsewhere = elsewhere
        self._strict = not compatible
        self._debug = debug

    def routes(self, aliases: dict[str, str]) -> list[Route]:
        """All of them, with the operator's aliases."""
        return [
            self._contract_route(
                "/invocations", self.invoke_default, "Run the app's main agent (AgentCore's contract)"
            ),
            *(
                self._contract_route(path, self._alias(path, agent), f"Run the agent {agent!r}", agent)
                for path, agent in aliases.items()
            ),
            *self._native_routes(),
        ]

    def _contract_route(self, path: str, handler: Handler, summary: str, agent: str = "") -> Route:
        return Route(
            method="POST",
            path=path,
            handler=handler,
            tag="runtime",
            dialect=CONTRACT,
            summary=summary,
            params=_HEADERS,
            body=_LIMITED if agent and self._strict else _ANY_JSON,
            runs=agent,
            answers={
                200: Answer(
                    "The agent's answer: JSON, or `data:` events when the agent streams.", _ANY_JSON, streams=True
                ),
                400: Answer("The body is not valid.", _ERROR),
                500: Answer("The agent failed.", _ERROR),
            },
        )

    def _native_routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/v1/agents",
                handler=self.list_agents,
                tag="agents",
                summary="List the agents",
                answers={200: Answer("The agents", _AGENTS)},
            ),
            Route(
                method="GET",
                path="/v1/agents/{name}",
                handler=self.show_agent,
                tag="agents",
                summary="Describe an agent",
                answers={200: Answer("The agent", _AGENT)},
            ),
            Route(
                method="POST",
                path="/v1/agents/{name}/invocations",
                handler=self.invoke_named,
                tag="agents",
                summary="Run an agent",
                params=_HEADERS,
                body=_LIMITED,
                runs="",
                answers={
                    200: Answer(
                        "The agent's answer: JSON, or events with ids that end in `done` or `error`.",
                        _ANY_JSON,
                        streams=True,
                    )
                },
            ),
            Route(
                method="GET",
                path="/v1/invocations",
                handler=self.list_running,
                tag="invocations",
                summary="List what runs in the worker that answers",
                answers={200: Answer("Running invocations", _RUNNING)},
            ),
            Route(
                method="DELETE",
                path="/v1/invocations/{request_id}",
                handler=self.cancel,
                tag="invocations",
                summary="Cancel a running invocation",
                answers={202: Answer("It is being cancelled", _CANCELLING)},
            ),
        ]

    async def invoke_default(self, request: Request) -> None:
        """`POST /invocations`."""
        payload = await request.json()
        if self._debug and type(payload) is dict and payload.get(_DEBUG_ACTION):
            status, content = self._health.debug_action(payload[_DEBUG_ACTION])
            await request.respond_json(content, status)
            return
        agent = self._agents.default()
        # Limits on the prompt belong to our own API; here the agent gets whatever JSON was sent.
        await self._answerer.answer(request, agent, payload, CONTRACT, strict=False)

    def _alias(self, path: str, name: str) -> Handler:
        if not path.startswith("/") or "{" in path:
            raise ConfigError(f"An alias is a path like `/agent`, not {path!r} (`server.aliases`).")
        if name != DEFAULT_AGENT and name not in {agent.name for agent in self._agents}:
            there = ", ".join(sorted(agent.name for agent in self._agents))
            raise ConfigError(f"{path} names the agent {name!r}; there is: {there} (`server.aliases`).")

        async def invoke_alias(request: Request) -> None:
            payload = await request.json()
            agent = self._agents.default() if name == DEFAULT_AGENT else self._agents.find(name)
            await self._answerer.answer(request, agent, payload, CONTRACT, strict=self._strict)

        return invoke_alias

    async def invoke_named(self, request: Request) -> None:
        """`POST /v1/agents/{name}/invocations`."""
        agent = self._agents.find(request.params["name"])
        await self._answerer.answer(request, agent, await request.json(), NATIVE, strict=True)

    async def list_agents(self, request: Request) -> None:
        """`GET /v1/agents`."""
        await request.respond_json({"agents": [described(agent) for agent in self._agents]})

    async def show_agent(self, request: Request) -> None:
        """`GET /v1/agents/{name}`."""
        await request.respond_json(described(self._agents.find(request.params["name"])))

    async def list_running(self, request: Request) -> None:
        """`GET /v1/invocations`."""
        now = request.started_at
        tenant = request.context.tenant
        running = [running_view(call, now) for call in self._invocations if call.context.tenant == tenant]
        await request.respond_json({"invocations": running})

    async def cancel(self, request: Request) -> None:
        """`DELETE /v1/invocations/{request_id}`."""
        request_id = request.params["request_id"]
        tenant = request.context.tenant
        found = self._invocations.find(tenant, request_id)
        if not found and not await self._elsewhere.ask(tenant, request_id):
            raise NotFound(f"No invocation with the request id {request_id[:200]!r} runs on this server.")
        for call in found:
            call.cancel("request")
        await request.respond_json({"request_id": request_id, "status": "cancelling"}, 202)


def described(agent: Agent) -> dict[str, Any]:
    """An agent as the API shows it."""
    entrypoint = agent.entrypoint
    view: dict[str, Any] = {"name": agent.name, "ready": entrypoint is not None, **_made_of(agent.target)}
    if entrypoint is not None:
        view |= {"description": entrypoint.description, "streaming": entrypoint.streams}
        if entrypoint.payload is not None:
            view["payload_schema"] = entrypoint.payload.schema()
    return view


def _made_of(target: Any) -> dict[str, Any]:
    """What is known of an agent of ours, or of a team; of others, that they are code."""
    if not is_works(target):
        return {"kind": "code"}
    members = getattr(target, "members", ())
    names = members if isinstance(members, dict) else [getattr(member, "name", "") for member in members]
    view: dict[str, Any] = {"kind": "team" if names else "agent"}
    if names:
        view["members"] = sorted(names)
    tools = getattr(target, "tools", None)
    if tools is not None:
        view["tools"] = [spec.name for spec in tools.specs()]
    if getattr(target, "model", ""):
        view["model"] = str(target.model)
    if getattr(target, "open_variables", ()):
        view["variables"] = list(target.open_variables)
    return view


def running_view(call: Invocation, now: float) -> dict[str, Any]:
    """A running invocation as the API shows it."""
    context = call.context
    return {
        "request_id": context.request_id,
        "agent": call.agent.name,
        "session_id": context.session_id,
        "user_id": context.user_id,
        "running_s": round(now - call.started_at, 3),
    }


_ERROR = {"type": "object", "properties": {"error": {}, "details": {}}, "required": ["error"]}
_AGENT = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "ready": {"type": "boolean"},
        "kind": {"enum": ["agent", "team", "code"]},
        "tools": {"type": "array", "items": {"type": "string"}},
        "members": {"type": "array", "items": {"type": "string"}},
        "variables": {"type": "array", "items": {"type": "string"}, "description": "What callers give a value for."},
        "model": {"type": "string"},
        "description": {"type": "string"},
        "streaming": {"type": "boolean"},
        "payload_schema": {"type": "object"},
    },
    "required": ["name", "ready", "kind"],
}
_AGENTS = {"type": "object", "properties": {"agents": {"type": "array", "items": _AGENT}}, "required": ["agents"]}
_RUNNING = {
    "type": "object",
    "properties": {"invocations": {"type": "array", "items": {"type": "object"}}},
    "required": ["invocations"],
}
_CANCELLING = {"type": "object", "properties": {"request_id": {"type": "string"}, "status": {"type": "string"}}}
