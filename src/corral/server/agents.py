"""Agents' runs over HTTP: begin one, go on with it, cancel and fork it. The tenant is the credential's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from corral.agents.desk import RunDesk, stoppable
from corral.agents.event import AgentEvent, ApprovalAsked, Failed, Finished, Works
from corral.agents.store import OPEN, ApprovalQuery, RunBusy, RunInfo
from corral.context import Context
from corral.errors import NotFound, error_of
from corral.jobs.request import check_fields, fault
from corral.messages import closing
from corral.runtime.registry import Agent, Agents
from corral.runtime.works import as_object, is_works, variables_of
from corral.server.agent_api import DESCRIPTIONS
from corral.server.agent_shown import (
    body_of,
    entries_asked,
    flag,
    fork_asked,
    messages_asked,
    runs_asked,
    shown_entry,
    shown_result,
    shown_run,
)
from corral.server.answer import Answerer
from corral.server.described import described_routes
from corral.server.dialects import NATIVE
from corral.server.http import Request
from corral.server.routes import Route

_START = ("prompt", "messages", "variables", "session_id", "user_id", "stream")

Going = Callable[[Any, Context], Awaitable[AsyncIterator[AgentEvent]]]
"""Work for a request, by its payload and its context: what is wrong with the run is said before its first event."""


class AgentRunRoutes:
    """Handlers of `/v1/agents/{name}/runs` and `/v1/runs`."""

    def __init__(self, agents: Agents, answerer: Answerer, desk: RunDesk) -> None:
        """`answerer` runs what works for a request, with its session's turn."""
        self._agents = agents
        self._answerer = answerer
        self._desk = desk

    def routes(self) -> list[Route]:
        """All of them; what each one says of itself stands in `agent_api.py`."""
        handlers = {
            "POST /v1/agents/{name}/runs": self.begin,
            "GET /v1/runs": self.list_runs,
            "GET /v1/runs/{id}": self.show,
            "GET /v1/runs/{id}/entries": self.entries,
            "POST /v1/runs/{id}/resume": self.resume,
            "POST /v1/runs/{id}/cancel": self.cancel,
            "POST /v1/runs/{id}/fork": self.fork,
        }
        return described_routes(handlers, DESCRIPTIONS)

    # -- working

    async def begin(self, request: Request) -> None:
        """`POST /v1/agents/{name}/runs`."""
        agent = self._agents.find(request.params["name"])
        works = await self._works(agent)
        body = check_fields(await request.json(), _START)
        asked = messages_asked(body)
        if not asked:
            raise fault("/prompt", "Say what the agent is asked: a `prompt`, or `messages`.")
        variables = variables_of(works, body.get("variables"))

        async def going(payload: Any, context: Context) -> AsyncIterator[AgentEvent]:
            session = context.session_id if context.has_session else None
            if not _carries_on(works):  # a team: the runs are its members'
                return works.stream(asked, session=session, **variables)
            mark = msgspec.json.encode(["run", agent.name, payload], order="sorted").decode()
            keeper = await self._desk.begin(works.name, context, session=session or "", asked=mark)
            request.response_headers.append((b"x-run-id", keeper.run_id.encode()))
            return stoppable(
                works.name, keeper, self._desk.prepared(keeper, works.stream(asked, session=session, **variables))
            )

        await self._answer(request, agent.name, body, going, stream=flag(body, "stream"))

    async def resume(self, request: Request) -> None:
        """`POST /v1/runs/{id}/resume`."""
        body = await body_of(request, ("stream",))
        context = request.context
        run = await self._desk.get(context.tenant, request.params["id"])
        if run.job_id and run.state in OPEN:
            raise RunBusy(
                f"The job {run.job_id} works on this run: it goes on by itself when its approvals are answered, and when the "
                "job is tried again."
            )
        works: Any = await self._works_of(run)
        if run.session_id:
            context.session_id = run.session_id
        if run.user_id and context.user_id is None:
            context.user_id = run.user_id

        async def going(payload: Any, context: Context) -> AsyncIterator[AgentEvent]:  # noqa: ARG001 - it goes on with what it has
            keeper = await self._desk.take(context, run.id)
            request.response_headers.append((b"x-run-id", keeper.run_id.encode()))
            return stoppable(works.name, keeper, works.carry_on(keeper, stream=True))

        await self._answer(request, run.agent, {"resume": run.id}, going, stream=flag(body, "stream"))

    async def _answer(self, request: Request, name: str, payload: Any, going: Going, *, stream: bool) -> None:
        """Through the pipeline, as every invocation: admitted, with its session's turn, counted and traced."""

        async def streamed(payload: Any, context: Context) -> AsyncIterator[dict[str, Any]]:
            return _objects(await going(payload, context))

        async def waited(payload: Any, context: Context) -> dict[str, Any]:
            approvals: list[ApprovalAsked] = []
            async with closing(await going(payload, context)) as events:
                async for event in events:
                    if isinstance(event, ApprovalAsked):
                        approvals.append(event)
                    elif isinstance(event, Failed):
                        raise error_of(event.code, event.message)
                    elif isinstance(event, Finished):
                        result = shown_result(event, event.run_id, approvals)
                        if event.reason == "paused" and not approvals:  # it asked before, and does not ask again
                            result["approvals"] = await self._asked(context.tenant, event.run_id)
                        return result
            raise error_of("agent_error", "The run ended without saying how.")

        agent = Agent(name, streamed if stream else waited)
        await self._answerer.answer(request, agent, payload, NATIVE, strict=True)

    async def _asked(self, tenant: str, run_id: str) -> list[dict[str, Any]]:
        page = await self._desk.approvals(tenant, ApprovalQuery(run_id=run_id, states=("waiting",)))
        return [
            as_object(
                ApprovalAsked(
                    agent=one.agent,
                    approval=one.id,
                    message=one.message,
                    tool=one.tool,
                    input=one.input,
                    rule=one.rule,
                )
            )
            for one in page.items
        ]

    async def _works(self, agent: Agent) -> Works:
        await agent.ready()
        if not is_works(agent.target):
            raise NotFound(
                f"{agent.name!r} is code of yours, and its runs are not journalled: POST /v1/agents/{agent.name}/invocations "
                "runs it."
            )
        works: Works = agent.target
        return works

    async def _works_of(self, run: RunInfo) -> Works:
        """Whoever this run is of: an agent of the app, or a member of one of its teams."""
        waiting: list[Any] = []
        for agent in self._agents:
            await agent.ready()
            waiting.append(agent.target)
        seen: set[int] = set()
        while waiting:
            target = waiting.pop(0)
            if id(target) in seen:
                continue
            seen.add(id(target))
            if is_works(target) and target.name == run.agent and _carries_on(target):
                works: Works = target
                return works
            members = getattr(target, "members", ())
            waiting += members.values() if isinstance(members, dict) else members if _several(members) else ()
        raise NotFound(f"This app has no agent {run.agent!r} any more: the run cannot go on here.")

    # -- asking

    async def list_runs(self, request: Request) -> None:
        """`GET /v1/runs`."""
        page = await self._desk.find(request.context.tenant, runs_asked(request))
        items = [shown_run(run) for run in page.items]
        await request.respond_json({"items": items, "next_cursor": page.next_cursor})

    async def show(self, request: Request) -> None:
        """`GET /v1/runs/{id}`."""
        await request.respond_json(shown_run(await self._desk.get(request.context.tenant, request.params["id"])))

    async def entries(self, request: Request) -> None:
        """`GET /v1/runs/{id}/entries`."""
        after, limit = entries_asked(request)
        found = await self._desk.entries(request.context.tenant, request.params["id"], after=after, limit=limit)
        await request.respond_json({"items": [shown_entry(entry) for entry in found]})

    # -- changing

    async def cancel(self, request: Request) -> None:
        """`POST /v1/runs/{id}/cancel`."""
        run = await self._desk.cancel(request.context.tenant, request.params["id"])
        await request.respond_json(shown_run(run), 202 if run.state in OPEN else 200)

    async def fork(self, request: Request) -> None:
        """`POST /v1/runs/{id}/fork`."""
        body = await body_of(request, ("step", "prompt", "messages", "session_id"))
        step, messages, session = fork_asked(body)
        tenant, run_id = request.context.tenant, request.params["id"]
        run = await self._desk.fork(tenant, run_id, step=step, messages=messages, session=session)
        await request.respond_json(shown_run(run), 201, [(b"location", f"/v1/runs/{run.id}".encode())])


async def _objects(events: AsyncIterator[AgentEvent]) -> AsyncIterator[dict[str, Any]]:
    failed: Failed | None = None
    async with closing(events) as going:
        async for event in going:
            failed = event if isinstance(event, Failed) else None
            yield as_object(event)
    if failed is not None:
        raise error_of(failed.code, failed.message)


def _carries_on(works: Any) -> bool:
    """Whether a run of it can be gone on with."""
    return callable(getattr(works, "carry_on", None))


def _several(members: Any) -> bool:
    return isinstance(members, list | tuple)
