"""`/v1/executions`: what became of workflows that were begun, live or afterwards; and changing their minds."""

from __future__ import annotations

from corral.jobs.request import check_fields
from corral.server.described import described_routes
from corral.server.execution_stream import ExecutionStream
from corral.server.http import Header, Request
from corral.server.job_query import wait_of
from corral.server.routes import Route
from corral.server.workflow_api import DESCRIPTIONS
from corral.server.workflow_shown import (
    CAUSE_MAX,
    ERROR_MAX,
    body_of,
    executions_asked,
    history_asked,
    name_asked,
    shown_event,
    shown_execution,
    text_asked,
)
from corral.server.workflows import respond_begun
from corral.workflows.desk import WorkflowDesk


class ExecutionRoutes:
    """Handlers of `/v1/executions`."""

    def __init__(self, desk: WorkflowDesk, *, heartbeat_s: float = 15.0) -> None:
        """`heartbeat_s`: a stream says so often at least that it is there."""
        self._desk = desk
        self._stream = ExecutionStream(desk, heartbeat_s=heartbeat_s)

    def routes(self) -> list[Route]:
        """All of them; what each one says of itself stands in `workflow_api.py`."""
        return described_routes(
            {
                "GET /v1/executions": self.list_executions,
                "GET /v1/executions/{id}": self.show,
                "GET /v1/executions/{id}/history": self.history,
                "GET /v1/executions/{id}/events": self.events,
                "POST /v1/executions/{id}/stop": self.stop,
                "POST /v1/executions/{id}/redrive": self.redrive,
                "POST /v1/executions/{id}/fork": self.fork,
            },
            DESCRIPTIONS,
        )

    async def list_executions(self, request: Request) -> None:
        """`GET /v1/executions`, newest first."""
        query = executions_asked(request, self._desk.catalog.arns)
        page = await self._desk.engine.find(request.context.tenant, query)
        items = [shown_execution(info) for info in page.items]
        await request.respond_json({"items": items, "next_cursor": page.next_cursor})

    async def show(self, request: Request) -> None:
        """`GET /v1/executions/{id}`; with `wait` as soon as it has ended."""
        check_fields(dict(request.query), ("wait",))
        wait_s, applied = wait_of(request)
        tenant, execution_id = request.context.tenant, request.params["id"]
        info = await self._desk.engine.describe(tenant, execution_id)
        if wait_s > 0 and not info.is_over:
            info = await self._desk.ended(tenant, info.id, wait_s=wait_s)
        await request.respond_json(shown_execution(info), headers=applied)

    async def history(self, request: Request) -> None:
        """`GET /v1/executions/{id}/history`."""
        after, limit, reverse = history_asked(request)
        await self._respond_history(request, after, limit, reverse=reverse)

    async def events(self, request: Request) -> None:
        """`GET /v1/executions/{id}/events`: live, or a page."""
        if "text/event-stream" in (request.header(b"accept") or "") and request.method != "HEAD":
            await self._stream.answer(request)
        else:
            after, limit, _ = history_asked(request)
            await self._respond_history(request, after, limit, reverse=False)

    async def _respond_history(self, request: Request, after: int | None, limit: int, *, reverse: bool) -> None:
        page = await self._desk.engine.history(
            request.context.tenant, request.params["id"], after=after, limit=limit, reverse=reverse
        )
        await request.respond_json({"items": [shown_event(event) for event in page.events], "next_after": page.next})

    async def stop(self, request: Request) -> None:
        """`POST /v1/executions/{id}/stop`."""
        body = await body_of(request, ("error", "cause"))
        error, cause = text_asked(body, "error", ERROR_MAX), text_asked(body, "cause", CAUSE_MAX)
        tenant, engine = request.context.tenant, self._desk.engine
        known = await engine.describe(tenant, request.params["id"])
        await request.respond_json(shown_execution(await engine.stop(tenant, known.id, error=error, cause=cause)))

    async def redrive(self, request: Request) -> None:
        """`POST /v1/executions/{id}/redrive`."""
        tenant, engine = request.context.tenant, self._desk.engine
        known = await engine.describe(tenant, request.params["id"])
        await request.respond_json(shown_execution(await engine.redrive(tenant, known.id)), 202)

    async def fork(self, request: Request) -> None:
        """`POST /v1/executions/{id}/fork`, with an edited `input` or the same."""
        body = await body_of(request, ("input", "name"))
        name = name_asked(body, required=False)
        given = {"given": body["input"]} if "input" in body else {}
        info = await self._desk.fork(
            request.context.tenant, request.params["id"], name=name, scope=request.context.scope, **given
        )
        headers: list[Header] = [(b"location", f"/v1/executions/{info.id}".encode())]
        await respond_begun(request, info, headers)
