"""The control plane of memories: declare, look at, change and remove them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ValidationFailed
from corral.memory.resource_store import Resource, ResourceDraft, ResourceExists, ResourceNotFound, ResourceStore
from corral.memory.resources import MEMORY_KIND, MemoryResource, memory_of
from corral.server.agentcore import shapes
from corral.server.agentcore.dialect import MEMORY
from corral.server.agentcore.ids import Arns, bare, fresh_id
from corral.server.agentcore.once import Once
from corral.server.agentcore.operations import Asked, Operation
from corral.server.agentcore.strategies import check_strategies, modified, shown, strategy_of
from corral.server.routes import Param

_PAGE = 10
_ASIDES = ("encryptionKeyArn", "memoryExecutionRoleArn")
_INDEXED_MAX = 10
_TOKEN = Param("clientToken", "query", "Makes the request happen once.", shapes.TOKEN)

Forget = Callable[[str, str], Awaitable[None]]
"""Removes all that a tenant's memory of this id holds."""


class Memories:
    """`CreateMemory`, `GetMemory`, `UpdateMemory`, `DeleteMemory`, `ListMemories`."""

    def __init__(
        self, store: ResourceStore, once: Once, arns: Arns, forget: Forget, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`forget` is called before a memory is gone, and again should it fail."""
        self._store = store
        self._once = once
        self._arns = arns
        self._forget = forget
        self._now = clock.now

    def operations(self) -> list[Operation]:
        """All five."""
        one, view = "/memories/{memory_id}", Param("view", "query", "What is shown.", {"type": "string"})
        return [
            Operation(
                name="CreateMemory",
                needs="developer",
                method="POST",
                path="/memories/create",
                work=self.create,
                shape=shapes.CREATE_MEMORY,
                status=202,
                answers=("memory",),
                dialect=MEMORY,
            ),
            Operation(
                name="GetMemory",
                method="GET",
                path=f"{one}/details",
                work=self.show,
                answers=("memory",),
                query=(view,),
                dialect=MEMORY,
            ),
            Operation(
                name="UpdateMemory",
                needs="developer",
                method="PUT",
                path=f"{one}/update",
                work=self.update,
                shape=shapes.UPDATE_MEMORY,
                status=202,
                answers=("memory",),
                dialect=MEMORY,
            ),
            Operation(
                name="DeleteMemory",
                needs="developer",
                method="DELETE",
                path=f"{one}/delete",
                work=self.delete,
                status=202,
                answers=("memoryId", "status"),
                query=(_TOKEN,),
                dialect=MEMORY,
            ),
            Operation(
                name="ListMemories",
                method="POST",
                path="/memories/",
                work=self.listed,
                shape=shapes.LIST_MEMORIES,
                answers=("memories",),
                dialect=MEMORY,
            ),
        ]

    # -- for the data plane ----------------------------------------------------------------------------------------

    async def find(self, asked: Asked) -> MemoryResource:
        """The memory that a request is about, or `ResourceNotFound`: another tenant's is not there."""
        return memory_of(await self._resource(asked))

    async def _resource(self, asked: Asked) -> Resource:
        memory_id = bare(asked.place["memory_id"])
        resource = await self._store.get(asked.tenant, MEMORY_KIND, memory_id)
        if resource is None:
            raise ResourceNotFound(f"Memory not found: {memory_id}")
        return resource

    # -- operations ------------------------------------------------------------------------------------------------

    async def create(self, asked: Asked) -> Any:
        """Declare a memory; it can be used at once."""
        return await self._once(asked.tenant, "CreateMemory", asked.body, lambda: self._create(asked))

    async def _create(self, asked: Asked) -> Any:
        body, now = asked.body, self._now()
        memory = MemoryResource(
            id=fresh_id(body["name"]),
            name=body["name"],
            event_expiry_days=int(body["eventExpiryDuration"]),
            description=body.get("description", ""),
            strategies=[strategy_of(one, now) for one in body.get("memoryStrategies", ())],
            indexed_keys=body.get("indexedKeys", []),
            namespace_keys=body.get("namespaceKeys", []),
            asides={name: body[name] for name in _ASIDES if name in body},
        )
        check_strategies(memory)
        draft = ResourceDraft(kind=MEMORY_KIND, id=memory.id, name=memory.name, body=msgspec.to_builtins(memory))
        try:
            (made,) = await self._store.create(asked.tenant, [draft])
        except ResourceExists:
            raise ValidationFailed(f"Memory with name {memory.name} already exists") from None
        return {"memory": self._shown(memory_of(made))}

    async def show(self, asked: Asked) -> Any:
        """One memory."""
        return {"memory": self._shown(await self.find(asked))}

    async def update(self, asked: Asked) -> Any:
        """Change a memory, unless somebody else does so at the same time."""
        where = f"UpdateMemory {asked.place['memory_id']}"
        return await self._once(asked.tenant, where, asked.body, lambda: self._update(asked))

    async def _update(self, asked: Asked) -> Any:
        resource = await self._resource(asked)
        memory, body = memory_of(resource), asked.body
        indexed = memory.indexed_keys + body.get("addIndexedKeys", [])
        if len(indexed) > _INDEXED_MAX or len({one["key"] for one in indexed}) != len(indexed):
            raise ValidationFailed(f"A memory has at most {_INDEXED_MAX} indexed keys, each of them once.")
        changed = msgspec.structs.replace(
            memory,
            description=body.get("description", memory.description),
            event_expiry_days=int(body.get("eventExpiryDuration", memory.event_expiry_days)),
            strategies=self._strategies(memory, body.get("memoryStrategies", {})),
            indexed_keys=indexed,
            namespace_keys=body.get("namespaceKeys", memory.namespace_keys),
            asides=memory.asides | {name: body[name] for name in _ASIDES if name in body},
        )
        check_strategies(changed)
        kept = await self._store.change(
            asked.tenant, MEMORY_KIND, memory.id, msgspec.to_builtins(changed), revision=resource.revision
        )
        return {"memory": self._shown(memory_of(kept))}

    def _strategies(self, memory: MemoryResource, asked: dict[str, Any]) -> list[Any]:
        now = self._now()
        kept = {strategy.id: strategy for strategy in memory.strategies}
        for given in asked.get("modifyMemoryStrategies", ()):
            strategy_id = given["memoryStrategyId"]
            kept[strategy_id] = modified(_known(kept, strategy_id), given, now)
        for given in asked.get("deleteMemoryStrategies", ()):
            del kept[_known(kept, given["memoryStrategyId"]).id]
        return [*kept.values(), *(strategy_of(one, now) for one in asked.get("addMemoryStrategies", ()))]

    async def delete(self, asked: Asked) -> Any:
        """Remove a memory with its events and records. Said again with the same token, it is done already."""
        memory_id = bare(asked.place["memory_id"])
        return await self._once(
            asked.tenant, f"DeleteMemory {memory_id}", asked.query, lambda: self._delete(asked, memory_id)
        )

    async def _delete(self, asked: Asked, memory_id: str) -> Any:
        await self._resource(asked)
        await self._forget(asked.tenant, memory_id)
        await self._store.delete(asked.tenant, MEMORY_KIND, memory_id)
        return {"memoryId": memory_id, "status": "DELETING"}

    async def listed(self, asked: Asked) -> Any:
        """A tenant's memories, the latest first."""
        page = await self._store.find(
            asked.tenant,
            MEMORY_KIND,
            limit=int(asked.body.get("maxResults", _PAGE)),
            cursor=asked.body.get("nextToken"),
        )
        memories = [
            {
                "arn": self._arns.memory(resource.id),
                "id": resource.id,
                "status": "ACTIVE",
                "createdAt": resource.created_at,
                "updatedAt": resource.updated_at,
            }
            for resource in page.items
        ]
        return paged({"memories": memories}, page.next_cursor)

    def _shown(self, memory: MemoryResource) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "arn": self._arns.memory(memory.id),
            "id": memory.id,
            "name": memory.name,
            "eventExpiryDuration": memory.event_expiry_days,
            "status": "ACTIVE",
            "createdAt": memory.created_at,
            "updatedAt": memory.updated_at,
            "strategies": [shown(strategy) for strategy in memory.strategies],
            **memory.asides,
        }
        optional = {
            "description": memory.description,
            "indexedKeys": memory.indexed_keys,
            "namespaceKeys": memory.namespace_keys,
        }
        return answer | {name: value for name, value in optional.items() if value}


def paged(answer: dict[str, Any], cursor: str | None) -> dict[str, Any]:
    """An answer with the token of its next page, where there is one."""
    return answer if cursor is None else {**answer, "nextToken": cursor}


def _known(strategies: dict[str, Any], strategy_id: str) -> Any:
    if strategy_id not in strategies:
        raise ValidationFailed(f"This memory has no strategy {strategy_id[:200]}.")
    return strategies[strategy_id]
