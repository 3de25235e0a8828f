"""The control plane of runtimes: those that somebody declares, and the agents of the app, which are runtimes by themselves.

A change makes a new version, and no version is ever changed. What only the platform that starts containers needs (artifact,
role, network) is kept and given back, and has no effect here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from corral.clock import SYSTEM_CLOCK, Clock
from corral.memory.resource_store import (
    Resource,
    ResourceConflict,
    ResourceDraft,
    ResourceExists,
    ResourceNotFound,
    ResourceStore,
)
from corral.runtime.registry import Agents
from corral.server.agentcore import runtime_shapes as shapes
from corral.server.agentcore.dialect import CONTROL
from corral.server.agentcore.ids import Arns, fresh_id, runtime_id_of, runtime_name_of
from corral.server.agentcore.memories import paged
from corral.server.agentcore.once import Once
from corral.server.agentcore.operations import Asked, Operation, QuotaExceeded, Row, Standing, operations_of

RUNTIME_KIND, VERSION_KIND, ENDPOINT_KIND = "runtime", "runtime-version", "runtime-endpoint"
VERSIONS_MAX = 1000
DEFAULT = "DEFAULT"
_PAGE = 10
_ROLE = "arn:aws:iam::{}:role/corral"
_LIFECYCLE = {"idleRuntimeSessionTimeout": 900, "maxLifetime": 28_800}


def moment(at: float) -> str:
    """A time as this plane writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def version_id(runtime_id: str, version: int) -> str:
    """What a version is kept under."""
    return f"{runtime_id}:{version}"


class Runtimes:
    """`Create`, `Get`, `Update`, `Delete` and `ListAgentRuntime(s)`, and `ListAgentRuntimeVersions`."""

    def __init__(
        self,
        store: ResourceStore,
        once: Once,
        arns: Arns,
        agents: Agents,
        account: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Agents of the app are there without anybody declaring them."""
        self._store = store
        self._once = once
        self.arns = arns
        self._agents = agents
        self._started_at = clock.now()
        self._setup: dict[str, Any] = {
            "agentRuntimeArtifact": {"codeConfiguration": {"runtime": "PYTHON_3_11", "entryPoint": ["agents.py"]}},
            "roleArn": _ROLE.format(account),
            "networkConfiguration": {"networkMode": "PUBLIC"},
        }

    def operations(self) -> list[Operation]:
        """All six."""
        one, token = "/runtimes/{runtime_id}/", (shapes.CLIENT_TOKEN,)
        made = ("agentRuntimeArn", "agentRuntimeId", "agentRuntimeVersion", "status")
        listed = ("agentRuntimes",)
        rows: list[Row] = [
            ("CreateAgentRuntime", "PUT", "/runtimes/", self.create, shapes.CREATE_RUNTIME, 202, made, ()),
            ("GetAgentRuntime", "GET", one, self.show, None, 200, made, (shapes.VERSION_ASKED,)),
            ("UpdateAgentRuntime", "PUT", one, self.update, shapes.UPDATE_RUNTIME, 202, made, ()),
            ("DeleteAgentRuntime", "DELETE", one, self.delete, None, 202, ("status",), (shapes.VERSION_ASKED, *token)),
            ("ListAgentRuntimes", "POST", "/runtimes/", self.listed, None, 200, listed, shapes.PAGING),
            ("ListAgentRuntimeVersions", "POST", f"{one}versions/", self.versions, None, 200, listed, shapes.PAGING),
        ]
        return operations_of(rows, CONTROL)

    # -- operations ------------------------------------------------------------------------------------------------

    async def create(self, asked: Asked) -> Any:
        """Declare a runtime: version 1, and its endpoint `DEFAULT`."""
        return await self._once(asked.tenant, "CreateAgentRuntime", asked.body, lambda: self._create(asked))

    async def _create(self, asked: Asked) -> Any:
        name = asked.body["agentRuntimeName"]
        if any(runtime_name_of(agent.name) == name for agent in self._agents):
            raise Standing(f"The app has an agent named {name}, which is a runtime already: change that one.")
        runtime_id = fresh_id(name)
        drafts = self._drafts(runtime_id, name, {key: asked.body[key] for key in shapes.KEPT if key in asked.body})
        try:
            runtime, *_ = await self._store.create(asked.tenant, drafts)
        except ResourceExists:
            raise Standing(f"An agent runtime named {name} exists already.") from None
        return self._said(runtime, {"status": "CREATING", "createdAt": moment(runtime.created_at)})

    def _drafts(self, runtime_id: str, name: str, setup: dict[str, Any]) -> list[ResourceDraft]:
        return [
            ResourceDraft(kind=RUNTIME_KIND, id=runtime_id, name=name, body={"name": name, "latest": 1}),
            _version(runtime_id, 1, setup),
        ]

    async def show(self, asked: Asked) -> Any:
        """A runtime in its latest version, or in another one."""
        runtime = await self.find(asked)
        number = int(asked.query.get("version", runtime.body["latest"]))
        version = await self.version(asked.tenant, runtime, number)
        return self._said(
            runtime,
            {
                **_LIFECYCLE_DEFAULT,
                **version.body,
                "agentRuntimeVersion": str(number),
                "agentRuntimeName": runtime.body["name"],
                "createdAt": moment(version.created_at),
                "lastUpdatedAt": moment(version.updated_at),
                "status": "READY",
            },
        )

    async def update(self, asked: Asked) -> Any:
        """The next version, which `DEFAULT` follows at once."""
        where = f"UpdateAgentRuntime {asked.place['runtime_id']}"
        return await self._once(asked.tenant, where, asked.body, lambda: self._update(asked))

    async def _update(self, asked: Asked) -> Any:
        runtime = await self.kept(asked)
        number = runtime.body["latest"] + 1
        if number > VERSIONS_MAX:
            raise QuotaExceeded(f"A runtime has at most {VERSIONS_MAX} versions: delete it, and declare it anew.")
        setup = {key: asked.body[key] for key in shapes.KEPT if key in asked.body}
        body = {**runtime.body, "latest": number}
        try:
            changed = await self._store.change(
                asked.tenant,
                RUNTIME_KIND,
                runtime.id,
                body,
                revision=runtime.revision,
                also=[_version(runtime.id, number, setup)],
            )
        except ResourceExists:
            raise ResourceConflict from None
        times = {"createdAt": moment(changed.created_at), "lastUpdatedAt": moment(changed.updated_at)}
        return self._said(changed, {"status": "UPDATING", **times})

    async def delete(self, asked: Asked) -> Any:
        """A runtime with its versions and endpoints, or one version that nothing points to."""
        runtime = await self.find(asked)
        asked_version = asked.query.get("version")
        if asked_version is not None:
            await self._delete_version(asked.tenant, runtime, int(asked_version))
            return {"status": "DELETING", "agentRuntimeId": runtime.id, "agentRuntimeVersion": asked_version}
        if self._of_app(runtime.id) is not None:
            raise Standing(f"{runtime.body['name']} is an agent of the app: take it out of the app's file.")
        await self._store.delete(asked.tenant, RUNTIME_KIND, runtime.id)
        return {"status": "DELETING", "agentRuntimeId": runtime.id}

    async def _delete_version(self, tenant: str, runtime: Resource, number: int) -> None:
        version = await self.version(tenant, runtime, number)
        cursor: str | None = None
        while True:
            page = await self._store.find(tenant, ENDPOINT_KIND, parent=runtime.id, cursor=cursor)
            pointing = [endpoint.name for endpoint in page.items if endpoint.body["version"] == number]
            if number == runtime.body["latest"] or pointing:
                raise Standing(f"Version {number} is in use by {', '.join(pointing) or DEFAULT}.")
            cursor = page.next_cursor
            if cursor is None:
                break
        await self._store.delete(tenant, VERSION_KIND, version.id)

    async def listed(self, asked: Asked) -> Any:
        """The app's agents by name, then what was declared, the latest first."""
        size, token = int(asked.query.get("maxResults", _PAGE)), asked.query.get("nextToken", "")
        found: list[Resource] = []
        if not token.startswith("+"):
            own = [one for one in self._own() if one.id > token]
            found, more = own[:size], own[size:]
            if more:
                return paged({"agentRuntimes": await self._summaries(asked.tenant, found)}, found[-1].id)
            if len(found) == size:
                return paged({"agentRuntimes": await self._summaries(asked.tenant, found)}, "+")
        page = await self._store.find(
            asked.tenant, RUNTIME_KIND, limit=size - len(found), cursor=token.removeprefix("+") or None
        )
        declared = [one for one in page.items if self._of_app(one.id) is None]
        summaries = await self._summaries(asked.tenant, [*found, *declared])
        return paged({"agentRuntimes": summaries}, None if page.next_cursor is None else f"+{page.next_cursor}")

    async def versions(self, asked: Asked) -> Any:
        """A runtime's versions, the latest first."""
        runtime = await self.find(asked)
        if runtime.revision == 0:
            return {"agentRuntimes": [self._summary(runtime, 1, self._setup, runtime.updated_at)]}
        page = await self._store.find(
            asked.tenant,
            VERSION_KIND,
            parent=runtime.id,
            limit=int(asked.query.get("maxResults", _PAGE)),
            cursor=asked.query.get("nextToken"),
        )
        versions = [self._summary(runtime, one.body["version"], one.body, one.updated_at) for one in page.items]
        return paged({"agentRuntimes": versions}, page.next_cursor)

    # -- what there is ---------------------------------------------------------------------------------------------

    async def find(self, asked: Asked) -> Resource:
        """The runtime of a request; one of the app's agents has revision 0 until it is changed. Raises `ResourceNotFound`."""
        runtime_id = asked.place["runtime_id"]
        runtime = await self._store.get(asked.tenant, RUNTIME_KIND, runtime_id) or self._of_app(runtime_id)
        if runtime is None:
            raise ResourceNotFound(f"Agent runtime not found: {runtime_id}")
        return runtime

    async def kept(self, asked: Asked) -> Resource:
        """The same, but kept: now an agent of the app has versions like any other."""
        runtime = await self.find(asked)
        if runtime.revision:
            return runtime
        try:
            kept, *_ = await self._store.create(
                asked.tenant, self._drafts(runtime.id, runtime.body["name"], self._setup)
            )
        except ResourceExists:
            return await self.find(asked)
        return kept

    async def version(self, tenant: str, runtime: Resource, number: int) -> Resource:
        """One version of it, or `ResourceNotFound`."""
        if runtime.revision == 0 and number == 1:
            draft = _version(runtime.id, 1, self._setup)
            return self._virtual(VERSION_KIND, draft.id, draft.body)
        version = await self._store.get(tenant, VERSION_KIND, version_id(runtime.id, number))
        if version is None:
            raise ResourceNotFound(f"Agent runtime {runtime.id} has no version {number}.")
        return version

    def _own(self) -> list[Resource]:
        found = [self._of_app(runtime_id_of(agent.name)) for agent in self._agents]
        return sorted((one for one in found if one is not None), key=lambda one: one.id)

    def _of_app(self, runtime_id: str) -> Resource | None:
        for agent in self._agents:
            if runtime_id_of(agent.name) == runtime_id:
                return self._virtual(RUNTIME_KIND, runtime_id, {"name": runtime_name_of(agent.name), "latest": 1})
        return None

    def _virtual(self, kind: str, resource_id: str, body: dict[str, Any]) -> Resource:
        at = self._started_at
        return Resource(
            kind=kind, id=resource_id, body=body, parent="", name="", revision=0, created_at=at, updated_at=at
        )

    # -- how it is said --------------------------------------------------------------------------------------------

    async def _summaries(self, tenant: str, runtimes: Sequence[Resource]) -> list[dict[str, Any]]:
        summaries = []
        for one in runtimes:
            runtime = one if one.revision else (await self._store.get(tenant, RUNTIME_KIND, one.id) or one)
            latest = runtime.body["latest"]
            version = await self.version(tenant, runtime, latest)
            summaries.append(self._summary(runtime, latest, version.body, runtime.updated_at))
        return summaries

    def _summary(self, runtime: Resource, version: int, setup: dict[str, Any], at: float) -> dict[str, Any]:
        name = runtime.body["name"]
        return {
            "agentRuntimeArn": self.arns.runtime(runtime.id),
            "agentRuntimeId": runtime.id,
            "agentRuntimeVersion": str(version),
            "agentRuntimeName": name,
            "description": setup.get("description", name),
            "lastUpdatedAt": moment(at),
            "status": "READY",
        }

    def _said(self, runtime: Resource, more: dict[str, Any]) -> dict[str, Any]:
        answer = {
            "agentRuntimeArn": self.arns.runtime(runtime.id),
            "agentRuntimeId": runtime.id,
            "agentRuntimeVersion": str(runtime.body["latest"]),
            "workloadIdentityDetails": {"workloadIdentityArn": self.arns.identity(runtime.id)},
            **more,
        }
        answer.pop("version", None)
        return answer


def _version(runtime_id: str, number: int, setup: dict[str, Any]) -> ResourceDraft:
    return ResourceDraft(
        kind=VERSION_KIND, id=version_id(runtime_id, number), parent=runtime_id, body={**setup, "version": number}
    )


_LIFECYCLE_DEFAULT = {"lifecycleConfiguration": _LIFECYCLE, "protocolConfiguration": {"serverProtocol": "HTTP"}}
