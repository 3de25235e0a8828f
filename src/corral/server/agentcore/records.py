"""The data plane of memories: what was learnt. Records are those of the memory room."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError, StoreUnavailable, ValidationFailed
from corral.memory.resource_store import ResourceNotFound
from corral.memory.resources import HISTORY, MemoryResource
from corral.memory.store import Item, ItemDraft, MemoryStore
from corral.server.agentcore import shapes
from corral.server.agentcore.dialect import MEMORY
from corral.server.agentcore.memories import Memories, paged
from corral.server.agentcore.once import Once
from corral.server.agentcore.operations import Asked, Operation
from corral.server.agentcore.record_words import created, selection_of, shown, updated, view_of
from corral.server.agentcore.search import Search
from corral.server.routes import Param

_PAGE = 20
_TOP_K = 10
_TOKEN_CHARS_MAX = 4
_RECORDS = "/memories/{memory_id}/memoryRecords"
_NAMESPACE = Param("namespace", "query", "Where the record has to be.", shapes.NAMESPACE)

Done = dict[str, Any]


class Records:
    """Retrieve, list, get and delete records, one by one or in batches."""

    def __init__(
        self, store: MemoryStore, memories: Memories, once: Once, search: Search, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`search` finds what a question is about."""
        self._store = store
        self._memories = memories
        self._once = once
        self._search = search
        self._now = clock.now

    def operations(self) -> list[Operation]:
        """All seven."""
        batches = [
            ("BatchCreateMemoryRecords", "batchCreate", self.create, shapes.BATCH_CREATE, 201),
            ("BatchUpdateMemoryRecords", "batchUpdate", self.update, shapes.BATCH_UPDATE, 200),
            ("BatchDeleteMemoryRecords", "batchDelete", self.delete_many, shapes.BATCH_DELETE, 200),
        ]
        return [
            Operation(
                name="RetrieveMemoryRecords",
                method="POST",
                path="/memories/{memory_id}/retrieve",
                work=self.retrieve,
                shape=shapes.RETRIEVE,
                answers=("memoryRecordSummaries",),
                dialect=MEMORY,
            ),
            Operation(
                name="ListMemoryRecords",
                method="POST",
                path=_RECORDS,
                work=self.listed,
                shape=shapes.LIST_RECORDS,
                answers=("memoryRecordSummaries",),
                dialect=MEMORY,
            ),
            Operation(
                name="GetMemoryRecord",
                method="GET",
                path="/memories/{memory_id}/memoryRecord/{record_id}",
                work=self.show,
                answers=("memoryRecord",),
                query=(_NAMESPACE,),
                dialect=MEMORY,
            ),
            Operation(
                name="DeleteMemoryRecord",
                needs="developer",
                method="DELETE",
                path=f"{_RECORDS}/{{record_id}}",
                work=self.delete,
                answers=("memoryRecordId",),
                query=(_NAMESPACE,),
                dialect=MEMORY,
            ),
            *(
                Operation(
                    name=name,
                    needs="developer",
                    method="POST",
                    path=f"{_RECORDS}/{verb}",
                    work=work,
                    shape=shape,
                    status=status,
                    answers=("successfulRecords", "failedRecords"),
                    dialect=MEMORY,
                )
                for name, verb, work, shape, status in batches
            ),
        ]

    # -- looking ---------------------------------------------------------------------------------------------------

    async def retrieve(self, asked: Asked) -> Any:
        """The records that fit a question best."""
        memory, body = await self._memories.find(asked), asked.body
        criteria = body["searchCriteria"]
        selection = selection_of(memory, body, criteria)
        top = int(criteria.get("topK", _TOP_K))
        first, size = _place(body.get("nextToken")), int(body.get("maxResults", top))
        found = await self._search(asked.tenant, selection, criteria["searchQuery"], limit=top)
        summaries = [shown(item, score=score) for item, score in found[first : first + size]]
        after = first + size
        return paged({"memoryRecordSummaries": summaries}, str(after) if after < len(found) else None)

    async def listed(self, asked: Asked) -> Any:
        """Records of a namespace, those last changed first."""
        memory, body = await self._memories.find(asked), asked.body
        page = await self._store.items(
            view_of(asked.tenant),
            selection_of(memory, body, body),
            limit=int(body.get("maxResults", _PAGE)),
            cursor=body.get("nextToken"),
        )
        return paged({"memoryRecordSummaries": [shown(item) for item in page.items]}, page.next_cursor)

    async def show(self, asked: Asked) -> Any:
        """One record."""
        memory = await self._memories.find(asked)
        item = await self._item(asked.tenant, memory, asked.place["record_id"], asked.query.get("namespace"))
        expires = {} if item.expires_at is None else {"expiresAt": item.expires_at}
        return {"memoryRecord": {**shown(item), **expires}}

    async def _item(self, tenant: str, memory: MemoryResource, record_id: str, namespace: str | None) -> Item:
        item = await self._store.get(view_of(tenant), record_id, space=memory.id)
        if item is None or namespace not in {None, item.namespace.name}:
            raise ResourceNotFound(f"Memory record not found: {record_id}")
        return item

    # -- changing --------------------------------------------------------------------------------------------------

    async def create(self, asked: Asked) -> Any:
        """Write records, each by itself."""
        memory, body = await self._memories.find(asked), asked.body

        async def write(given: dict[str, Any]) -> str:
            record_id = f"mem-{uuid.uuid4()}"
            await self._put(asked.tenant, created(memory, record_id, given, body.get("recordExpirySpecification", {})))
            return record_id

        where = f"BatchCreateMemoryRecords {memory.id}"
        return await self._once(asked.tenant, where, body, lambda: _each(body["records"], write))

    async def update(self, asked: Asked) -> Any:
        """Change records, each by itself."""
        memory, body = await self._memories.find(asked), asked.body

        async def write(given: dict[str, Any]) -> str:
            source = (given.get("sourceNamespaces") or [None])[0]
            item = await self._item(asked.tenant, memory, given["memoryRecordId"], source)
            expiry = body.get("recordExpirySpecification", {})
            await self._put(asked.tenant, updated(memory, item, given, expiry, self._now()))
            return item.id

        return await _each(body["records"], write)

    async def delete_many(self, asked: Asked) -> Any:
        """Remove records, each by itself."""
        memory = await self._memories.find(asked)

        async def remove(given: dict[str, Any]) -> str:
            return await self._remove(asked.tenant, memory, given["memoryRecordId"], given.get("namespace"))

        return await _each(asked.body["records"], remove)

    async def delete(self, asked: Asked) -> Any:
        """Remove one record."""
        memory = await self._memories.find(asked)
        namespace = asked.query.get("namespace")
        return {"memoryRecordId": await self._remove(asked.tenant, memory, asked.place["record_id"], namespace)}

    async def forget(self, tenant: str, memory_id: str) -> None:
        """Remove all records of a memory."""
        for space in (f"{memory_id}{HISTORY}", memory_id):
            await self._store.erase(tenant, space=space)

    async def _put(self, tenant: str, draft: ItemDraft) -> None:
        await self._store.put(view_of(tenant), [draft])

    async def _remove(self, tenant: str, memory: MemoryResource, record_id: str, namespace: str | None) -> str:
        """The record and its earlier words: those first, so that they are not left behind."""
        item = await self._item(tenant, memory, record_id, namespace)
        view = view_of(tenant)
        earlier = [f"{record_id}.v{version}" for version in range(1, item.version + 1)]
        await self._store.delete(view, earlier, space=f"{memory.id}{HISTORY}")
        await self._store.delete(view, [record_id], space=memory.id)
        return record_id


async def _each(
    records: Sequence[dict[str, Any]], work: Callable[[dict[str, Any]], Coroutine[Any, Any, str]]
) -> dict[str, list[Done]]:
    """What became of every record of a batch: one that fails does not sink the others."""
    outcomes = await asyncio.gather(*(_outcome(given, work) for given in records))
    return {
        "successfulRecords": [one for one in outcomes if one["status"] == "SUCCEEDED"],
        "failedRecords": [one for one in outcomes if one["status"] == "FAILED"],
    }


async def _outcome(given: dict[str, Any], work: Callable[[dict[str, Any]], Coroutine[Any, Any, str]]) -> Done:
    name = {"requestIdentifier": given["requestIdentifier"]} if "requestIdentifier" in given else {}
    try:
        return {"memoryRecordId": await work(given), "status": "SUCCEEDED", **name}
    except StoreUnavailable:
        raise
    except CorralError as error:
        return {
            "memoryRecordId": given.get("memoryRecordId", ""),
            "status": "FAILED",
            "errorCode": error.status,
            "errorMessage": error.message,
            **name,
        }


def _place(token: str | None) -> int:
    if token is None:
        return 0
    if not (token.isascii() and token.isdigit()) or len(token) > _TOKEN_CHARS_MAX:
        raise ValidationFailed("The nextToken is not one that was given out; leave it away to start again.")
    return int(token)
