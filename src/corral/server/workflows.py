"""`/v1/workflows`: what is to be done is declared, shown, drawn and begun. The tenant is always the credential's."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from corral.errors import Overloaded, StoreUnavailable, ValidationFailed
from corral.jobs.request import check_fields, fault
from corral.observability.traces import traceparent
from corral.server.counted import NOT_COUNTED, Counted
from corral.server.described import described_routes
from corral.server.http import Header, Request
from corral.server.job_query import wait_of, whole_number, word
from corral.server.routes import Route
from corral.server.workflow_api import DESCRIPTIONS
from corral.server.workflow_shown import (
    body_of,
    description_asked,
    draft_asked,
    name_asked,
    page_asked,
    shown_execution,
    shown_fault,
    shown_version,
    shown_workflow,
)
from corral.workflows.desk import Saved, WorkflowDesk
from corral.workflows.execution import ExecutionInfo
from corral.workflows.machine.run import Behalf
from corral.workflows.state_machine import StateMachine

_VERSION_MAX = 10**9
_REPLAYED: Header = (b"idempotent-replayed", b"true")


class WorkflowRoutes:
    """Handlers of `/v1/workflows`."""

    def __init__(self, desk: WorkflowDesk, counted: Counted = NOT_COUNTED) -> None:
        """`desk` knows definitions and executions; those that begin are `counted`."""
        self._desk = desk
        self._counted = counted

    def routes(self) -> list[Route]:
        """All of them; what each one says of itself stands in `workflow_api.py`."""
        return described_routes(
            {
                "GET /v1/workflows": self.list_workflows,
                "POST /v1/workflows": self.create,
                "POST /v1/workflows/validate": self.validate,
                "GET /v1/workflows/{name}": self.show,
                "PUT /v1/workflows/{name}": self.save,
                "DELETE /v1/workflows/{name}": self.remove,
                "GET /v1/workflows/{name}/versions": self.list_versions,
                "POST /v1/workflows/{name}/versions": self.publish,
                "GET /v1/workflows/{name}/graph": self.graph,
                "POST /v1/workflows/{name}/executions": self.begin,
            },
            DESCRIPTIONS,
        )

    # -- definitions --------------------------------------------------------------------------------------------------

    async def list_workflows(self, request: Request) -> None:
        """`GET /v1/workflows`, the latest first."""
        limit, cursor = page_asked(request)
        page = await self._desk.find(request.context.tenant, limit=limit, cursor=cursor)
        items = [shown_workflow(machine, self._desk.catalog.arns) for machine in page.items]
        await request.respond_json({"items": items, "next_cursor": page.next_cursor})

    async def create(self, request: Request) -> None:
        """`POST /v1/workflows`."""
        body = check_fields(await request.json(), ("name", "definition", "kind", "tags", "publish", "description"))
        draft = draft_asked(body, name_asked(body, required=True))
        await self._respond_saved(request, await self._desk.create(request.context.tenant, draft))

    async def save(self, request: Request) -> None:
        """`PUT /v1/workflows/{name}`: declare or change."""
        body = check_fields(await request.json(), ("definition", "kind", "tags", "publish", "description"))
        draft = draft_asked(body, request.params["name"])
        await self._respond_saved(request, await self._desk.save(request.context.tenant, draft))

    async def validate(self, request: Request) -> None:
        """`POST /v1/workflows/validate`."""
        from corral.workflows.language.fault import errors_of  # noqa: PLC0415 - what checks expressions is heavy
        from corral.workflows.language.looking import faults_in  # noqa: PLC0415 - as above

        draft = draft_asked(check_fields(await request.json(), ("definition", "kind")), "")
        found = await faults_in(draft.definition, kind=draft.kind or "STANDARD")
        answer = {"valid": not errors_of(found), "faults": [shown_fault(one) for one in found]}
        await request.respond_json(answer)

    async def show(self, request: Request) -> None:
        """`GET /v1/workflows/{name}`: with its definition and a picture."""
        given = check_fields(dict(request.query), ("version",))
        version = whole_number(given, "version", 0, low=1, high=_VERSION_MAX) if "version" in given else None
        machine = await self._desk.get(request.context.tenant, request.params["name"])
        await request.respond_json(await self._whole(request, machine, version))

    async def remove(self, request: Request) -> None:
        """`DELETE /v1/workflows/{name}`."""
        if await self._desk.remove(request.context.tenant, request.params["name"]):
            await request.respond_nothing()
        else:
            await request.respond_json({"status": "deleting"}, 202)

    async def list_versions(self, request: Request) -> None:
        """`GET /v1/workflows/{name}/versions`, the latest first."""
        found = await self._desk.versions(request.context.tenant, request.params["name"])
        await request.respond_json({"items": [shown_version(version) for version in found]})

    async def publish(self, request: Request) -> None:
        """`POST /v1/workflows/{name}/versions`."""
        description = description_asked(await body_of(request, ("description",)))
        version = await self._desk.publish(request.context.tenant, request.params["name"], description)
        await request.respond_json(shown_version(version), 201)

    async def graph(self, request: Request) -> None:
        """`GET /v1/workflows/{name}/graph`."""
        from corral.workflows.graph import mermaid, svg  # noqa: PLC0415 - few ask for pictures

        given = check_fields(dict(request.query), ("format", "execution"))
        form, execution_id = given.get("format", "svg"), word("execution", given.get("execution"))
        if form not in {"svg", "mermaid"}:
            raise fault("/format", "`format` is svg or mermaid.")
        tenant, name = request.context.tenant, request.params["name"]
        machine = await self._desk.get(tenant, name)
        drawn, states = await self._desk.machine(tenant, machine, execution_id)
        if form == "svg":
            await request.respond(200, svg(drawn, states=states).encode(), b"image/svg+xml")
        else:
            await request.respond(200, mermaid(drawn).encode(), b"text/plain; charset=utf-8")

    async def _respond_saved(self, request: Request, saved: Saved) -> None:
        whole = await self._whole(request, saved.machine)
        whole["published"] = None if saved.version is None else saved.version.number
        headers = [(b"location", f"/v1/workflows/{saved.machine.name}".encode())] if saved.is_new else []
        await request.respond_json(whole, 201 if saved.is_new else 200, headers)

    async def _whole(self, request: Request, machine: StateMachine, version: int | None = None) -> dict[str, Any]:
        from corral.workflows.graph import mermaid  # noqa: PLC0415 - few ask for pictures
        from corral.workflows.language.reading import read  # noqa: PLC0415 - what checks expressions is heavy

        text = await self._desk.definition(request.context.tenant, machine, version)
        view = shown_workflow(machine, self._desk.catalog.arns)
        return {**view, "definition": msgspec.json.decode(text), "graph": mermaid(read(text, kind=machine.setup.kind))}

    # -- executions -----------------------------------------------------------------------------------------------------

    async def begin(self, request: Request) -> None:
        """`POST /v1/workflows/{name}/executions`."""
        wait_s, applied = wait_of(request)
        body = await body_of(request, ("input", "name"))
        context, desk = request.context, self._desk
        name, key = name_asked(body, required=False), context.idempotency_key
        if name and key is not None:
            raise ValidationFailed("Give the execution a `name`, or send an `Idempotency-Key`: not both.")
        async with self._counted(request) as counting:
            info = await desk.begin(
                context.tenant,
                request.params["name"],
                body.get("input", {}),
                name=name,
                key=key,
                traceparent=traceparent(context),
                behalf=Behalf.of(context),
            )
            if not info.is_new:
                counting.undo()
        headers: list[Header] = [(b"location", f"/v1/executions/{info.id}".encode()), *applied]
        if not info.is_new:
            headers.append(_REPLAYED)
        if wait_s > 0 and not info.is_over:
            with suppress(Overloaded, StoreUnavailable):  # it has begun: who hears otherwise begins it again
                info = await desk.ended(context.tenant, info.id, wait_s=wait_s)
        await respond_begun(request, info, headers)


async def respond_begun(request: Request, info: ExecutionInfo, headers: list[Header]) -> None:
    """An execution that has begun: 200 when it is over, 202 while it goes on."""
    await request.respond_json(shown_execution(info), 200 if info.is_over else 202, headers)
