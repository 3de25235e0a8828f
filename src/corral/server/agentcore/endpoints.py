"""The control plane of endpoints: names for versions of a runtime. `DEFAULT` is the latest one, whichever that is."""

from __future__ import annotations

from typing import Any

from corral.errors import ValidationFailed
from corral.memory.resource_store import Resource, ResourceDraft, ResourceExists, ResourceNotFound, ResourceStore
from corral.server.agentcore import runtime_shapes as shapes
from corral.server.agentcore.dialect import CONTROL
from corral.server.agentcore.memories import paged
from corral.server.agentcore.once import Once
from corral.server.agentcore.operations import Asked, Operation, QuotaExceeded, Row, Standing, operations_of
from corral.server.agentcore.runtimes import DEFAULT, ENDPOINT_KIND, Runtimes, moment

ENDPOINTS_MAX = 10
_PAGE = 10


class Endpoints:
    """`Create`, `Get`, `Update`, `Delete` and `ListAgentRuntimeEndpoint(s)`."""

    def __init__(self, store: ResourceStore, once: Once, runtimes: Runtimes) -> None:
        """Endpoints belong to runtimes."""
        self._store = store
        self._once = once
        self._runtimes = runtimes

    def operations(self) -> list[Operation]:
        """All five."""
        all_of, token = "/runtimes/{runtime_id}/runtime-endpoints/", (shapes.CLIENT_TOKEN,)
        one = f"{all_of}{{endpoint}}/"
        made = ("agentRuntimeEndpointArn", "agentRuntimeArn", "status")
        rows: list[Row] = [
            ("CreateAgentRuntimeEndpoint", "PUT", all_of, self.create, shapes.CREATE_ENDPOINT, 202, made, ()),
            ("GetAgentRuntimeEndpoint", "GET", one, self.show, None, 200, made, ()),
            ("UpdateAgentRuntimeEndpoint", "PUT", one, self.update, shapes.UPDATE_ENDPOINT, 202, made, ()),
            ("DeleteAgentRuntimeEndpoint", "DELETE", one, self.delete, None, 202, ("status",), token),
            ("ListAgentRuntimeEndpoints", "POST", all_of, self.listed, None, 200, ("runtimeEndpoints",), shapes.PAGING),
        ]
        return operations_of(rows, CONTROL)

    async def create(self, asked: Asked) -> Any:
        """Name a version; without one, the latest."""
        where = f"CreateAgentRuntimeEndpoint {asked.place['runtime_id']}"
        return await self._once(asked.tenant, where, asked.body, lambda: self._create(asked))

    async def _create(self, asked: Asked) -> Any:
        runtime, name = await self._runtimes.kept(asked), asked.body["name"]
        if name == DEFAULT:
            raise Standing(f"Every runtime has an endpoint {DEFAULT} already.")
        others = await self._store.find(asked.tenant, ENDPOINT_KIND, parent=runtime.id, limit=ENDPOINTS_MAX)
        if len(others.items) >= ENDPOINTS_MAX - 1:
            raise QuotaExceeded(f"A runtime has at most {ENDPOINTS_MAX} endpoints: delete one of them.")
        version = await self._checked(asked, runtime)
        body = {"version": version, "description": asked.body.get("description", "")}
        draft = ResourceDraft(kind=ENDPOINT_KIND, id=f"{runtime.id}/{name}", parent=runtime.id, name=name, body=body)
        try:
            (made,) = await self._store.create(asked.tenant, [draft])
        except ResourceExists:
            raise Standing(f"The runtime has an endpoint named {name} already.") from None
        return {
            **self._said(runtime, name, "CREATING"),
            "targetVersion": str(version),
            "agentRuntimeId": runtime.id,
            "endpointName": name,
            "createdAt": moment(made.created_at),
        }

    async def show(self, asked: Asked) -> Any:
        """One endpoint, and the version it names."""
        runtime = await self._runtimes.find(asked)
        return self._shown(runtime, await self._endpoint(asked, runtime))

    async def update(self, asked: Asked) -> Any:
        """Have it name another version: forward, or back."""
        where = f"UpdateAgentRuntimeEndpoint {asked.place['runtime_id']} {asked.place['endpoint']}"
        return await self._once(asked.tenant, where, asked.body, lambda: self._update(asked))

    async def _update(self, asked: Asked) -> Any:
        runtime = await self._runtimes.find(asked)
        endpoint = await self._endpoint(asked, runtime)
        if endpoint.name == DEFAULT:
            raise ValidationFailed(f"{DEFAULT} follows the latest version: make an endpoint of your own.")
        version = await self._checked(asked, runtime) if "agentRuntimeVersion" in asked.body else None
        before = endpoint.body["version"]
        body = {
            "version": version or before,
            "description": asked.body.get("description", endpoint.body["description"]),
        }
        changed = await self._store.change(asked.tenant, ENDPOINT_KIND, endpoint.id, body, revision=endpoint.revision)
        return {
            **self._said(runtime, endpoint.name, "UPDATING"),
            "liveVersion": str(before),
            "targetVersion": str(body["version"]),
            "createdAt": moment(changed.created_at),
            "lastUpdatedAt": moment(changed.updated_at),
        }

    async def delete(self, asked: Asked) -> Any:
        """Forget a name."""
        runtime = await self._runtimes.find(asked)
        endpoint = await self._endpoint(asked, runtime)
        if endpoint.name == DEFAULT:
            raise Standing(f"{DEFAULT} goes with its runtime.")
        await self._store.delete(asked.tenant, ENDPOINT_KIND, endpoint.id)
        return {"status": "DELETING", "agentRuntimeId": runtime.id, "endpointName": endpoint.name}

    async def listed(self, asked: Asked) -> Any:
        """`DEFAULT`, then the others, the latest first."""
        runtime = await self._runtimes.find(asked)
        size, token = int(asked.query.get("maxResults", _PAGE)), asked.query.get("nextToken")
        found = [] if token else [self._shown(runtime, _default(runtime))]
        if size == len(found):
            return paged({"runtimeEndpoints": found}, "+")
        cursor = None if token in {None, "+"} else token
        page = await self._store.find(
            asked.tenant, ENDPOINT_KIND, parent=runtime.id, limit=size - len(found), cursor=cursor
        )
        return paged(
            {"runtimeEndpoints": [*found, *(self._shown(runtime, one) for one in page.items)]}, page.next_cursor
        )

    async def _endpoint(self, asked: Asked, runtime: Resource) -> Resource:
        name = asked.place["endpoint"]
        if name == DEFAULT:
            return _default(runtime)
        endpoint = await self._store.get(asked.tenant, ENDPOINT_KIND, f"{runtime.id}/{name}")
        if endpoint is None:
            raise ResourceNotFound(f"Agent runtime {runtime.id} has no endpoint {name}.")
        return endpoint

    async def _checked(self, asked: Asked, runtime: Resource) -> int:
        number = int(asked.body.get("agentRuntimeVersion", runtime.body["latest"]))
        await self._runtimes.version(asked.tenant, runtime, number)
        return number

    def _said(self, runtime: Resource, name: str, status: str) -> dict[str, Any]:
        return {
            "agentRuntimeEndpointArn": self._runtimes.arns.endpoint(runtime.id, name),
            "agentRuntimeArn": self._runtimes.arns.runtime(runtime.id),
            "status": status,
        }

    def _shown(self, runtime: Resource, endpoint: Resource) -> dict[str, Any]:
        version = str(endpoint.body["version"])
        answer = {
            **self._said(runtime, endpoint.name, "READY"),
            "name": endpoint.name,
            "id": f"{endpoint.name}-{runtime.id[-10:]}",
            "liveVersion": version,
            "targetVersion": version,
            "createdAt": moment(endpoint.created_at),
            "lastUpdatedAt": moment(endpoint.updated_at),
        }
        description = endpoint.body["description"]
        return answer | ({"description": description} if description else {})


def _default(runtime: Resource) -> Resource:
    return Resource(
        kind=ENDPOINT_KIND,
        id=f"{runtime.id}/{DEFAULT}",
        body={"version": runtime.body["latest"], "description": ""},
        parent=runtime.id,
        name=DEFAULT,
        revision=0,
        created_at=runtime.created_at,
        updated_at=runtime.updated_at,
    )
