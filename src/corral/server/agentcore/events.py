"""The data plane of memories: what was said. Events are those of the sessions room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from corral.clock import new_id
from corral.errors import EventNotFound, ValidationFailed
from corral.memory.resource_store import ResourceNotFound
from corral.memory.resources import MemoryResource
from corral.server.agentcore import shapes
from corral.server.agentcore.dialect import MEMORY
from corral.server.agentcore.event_words import draft_of, key_of, prefix_of, query_of, root_of, shown
from corral.server.agentcore.memories import Memories, paged
from corral.server.agentcore.once import Once
from corral.server.agentcore.operations import Asked, Operation
from corral.sessions.event import EventQuery, SessionEvent, SessionKey, SessionQuery
from corral.sessions.store import SessionStore

_PAGE = 20
_SESSION = "/memories/{memory_id}/actor/{actor_id}/sessions/{session_id}"

Notice = Callable[[SessionKey, MemoryResource, SessionEvent], Awaitable[None]]
"""Told of every new event, so that something is learnt from it later. Never asks a model, and raises nothing."""


class Events:
    """`CreateEvent`, `GetEvent`, `DeleteEvent`, `ListEvents`, `ListSessions`, `ListActors`."""

    def __init__(self, store: SessionStore, memories: Memories, once: Once, notice: Notice) -> None:
        """Memories say how long events are kept."""
        self._store = store
        self._memories = memories
        self._once = once
        self._notice = notice

    def operations(self) -> list[Operation]:
        """All six."""
        return [
            Operation(
                name="CreateEvent",
                method="POST",
                path="/memories/{memory_id}/events",
                work=self.create,
                shape=shapes.CREATE_EVENT,
                status=201,
                answers=("event",),
                dialect=MEMORY,
            ),
            Operation(
                name="GetEvent",
                method="GET",
                path=f"{_SESSION}/events/{{event_id}}",
                work=self.show,
                answers=("event",),
                dialect=MEMORY,
            ),
            Operation(
                name="DeleteEvent",
                method="DELETE",
                path=f"{_SESSION}/events/{{event_id}}",
                work=self.delete,
                answers=("eventId",),
                dialect=MEMORY,
            ),
            Operation(
                name="ListEvents",
                method="POST",
                path=_SESSION,
                work=self.listed,
                shape=shapes.LIST_EVENTS,
                answers=("events",),
                dialect=MEMORY,
            ),
            Operation(
                name="ListSessions",
                method="POST",
                path="/memories/{memory_id}/actor/{actor_id}/sessions",
                work=self.sessions,
                shape=shapes.LIST_SESSIONS,
                answers=("sessionSummaries",),
                dialect=MEMORY,
            ),
            Operation(
                name="ListActors",
                method="POST",
                path="/memories/{memory_id}/actors",
                work=self.actors,
                shape=shapes.LIST_ACTORS,
                answers=("actorSummaries",),
                dialect=MEMORY,
            ),
        ]

    async def create(self, asked: Asked) -> Any:
        """Append an event; durable when it is answered."""
        memory = await self._memories.find(asked)
        return await self._once(
            asked.tenant, f"CreateEvent {memory.id}", asked.body, lambda: self._create(asked, memory)
        )

    async def _create(self, asked: Asked, memory: MemoryResource) -> Any:
        body = asked.body
        actor_id, session_id = body["actorId"], body.get("sessionId") or new_id()
        key = key_of(asked.tenant, memory.id, actor_id, session_id)
        try:
            (event,) = await self._store.append(key, [draft_of(memory, body, await self._root(key, body))])
        except EventNotFound:
            root = body.get("branch", {}).get("rootEventId", "")
            raise ValidationFailed(f"The session has no event {root} for the branch to leave at.") from None
        await self._notice(key, memory, event)
        return {"event": shown(memory.id, actor_id, session_id, event)}

    async def _root(self, key: SessionKey, body: dict[str, Any]) -> str:
        """Where a branch that goes on has left its parent: every event of it says so."""
        branch = body.get("branch", {})
        if not branch or "rootEventId" in branch:
            return ""
        latest = await self._store.events(key, EventQuery(branch=branch["name"], limit=1))
        return root_of(latest.items[0]) if latest.items else ""

    async def show(self, asked: Asked) -> Any:
        """One event."""
        memory, place = await self._memories.find(asked), asked.place
        found = await self._store.events(
            self._key(asked, memory), EventQuery(event_id=place["event_id"], actor=place["actor_id"])
        )
        if not found.items:
            raise _no_event(asked)
        return {"event": shown(memory.id, place["actor_id"], place["session_id"], found.items[0])}

    async def delete(self, asked: Asked) -> Any:
        """Remove one event."""
        memory = await self._memories.find(asked)
        if not await self._store.delete_event(self._key(asked, memory), asked.place["event_id"]):
            raise _no_event(asked)
        return {"eventId": asked.place["event_id"]}

    async def listed(self, asked: Asked) -> Any:
        """Events of a session, newest first. One that has none is empty."""
        memory, place, body = await self._memories.find(asked), asked.place, asked.body
        page = await self._store.events(self._key(asked, memory), query_of(body, limit=_size(body)))
        payload = body.get("includePayloads", True)
        events = [shown(memory.id, place["actor_id"], place["session_id"], one, payload=payload) for one in page.items]
        return paged({"events": events}, page.next_cursor)

    async def sessions(self, asked: Asked) -> Any:
        """An actor's sessions, the most recently active first."""
        memory, actor_id, body = await self._memories.find(asked), asked.place["actor_id"], asked.body
        prefix = prefix_of(memory.id, actor_id)
        query = SessionQuery(limit=_size(body), cursor=body.get("nextToken"), actor=actor_id, prefix=prefix)
        page = await self._store.sessions(asked.tenant, query)
        infos = page.items
        if body.get("filter", {}).get("eventFilter"):
            infos = [info for info in infos if await self._has_events(SessionKey(asked.tenant, info.session_id))]
        summaries = [
            {"sessionId": info.session_id.removeprefix(prefix), "actorId": actor_id, "createdAt": info.created_at}
            for info in infos
        ]
        return paged({"sessionSummaries": summaries}, page.next_cursor)

    async def actors(self, asked: Asked) -> Any:
        """Who has sessions in a memory, by name."""
        memory, body = await self._memories.find(asked), asked.body
        page = await self._store.actors(
            asked.tenant, limit=_size(body), cursor=body.get("nextToken"), prefix=prefix_of(memory.id)
        )
        return paged({"actorSummaries": [{"actorId": info.actor} for info in page.items]}, page.next_cursor)

    async def forget(self, tenant: str, memory_id: str) -> None:
        """Remove all sessions of a memory."""
        prefix = prefix_of(memory_id)
        while infos := (await self._store.sessions(tenant, SessionQuery(prefix=prefix))).items:
            await asyncio.gather(*(self._store.delete(tenant, session_id=info.session_id) for info in infos))

    async def _has_events(self, key: SessionKey) -> bool:
        return bool((await self._store.events(key, EventQuery(limit=1))).items)

    @staticmethod
    def _key(asked: Asked, memory: MemoryResource) -> SessionKey:
        return key_of(asked.tenant, memory.id, asked.place["actor_id"], asked.place["session_id"])


def _size(body: dict[str, Any]) -> int:
    return int(body.get("maxResults", _PAGE))


def _no_event(asked: Asked) -> ResourceNotFound:
    return ResourceNotFound(f"Event not found: {asked.place['event_id']}")
