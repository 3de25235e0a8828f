"""`WS /v1/jobs/stream`: many jobs on one connection. Arrows show who speaks.

→ {"subscribe": [{"id": "…", "after": 0}]}        → {"unsubscribe": ["…"]}
← {"id": "…", "event": "piece", "seq": 1, "data": {…}}, as the events of `GET /v1/jobs/{id}/events`
← {"event": "error", "data": {"code": "…", "detail": "…"}, "id": "…"}, and the connection goes on
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from corral.context import Context
from corral.errors import CorralError, StoreUnavailable, ValidationFailed
from corral.jobs.bell import Bell
from corral.jobs.desk import JobDesk
from corral.jobs.follower import NOTHING, Follower, News
from corral.jobs.request import check_fields, fault
from corral.server.http import parse_json
from corral.server.job_shown import ending_of, status_of

SUBSCRIPTIONS_MAX = 1000
_MESSAGE_MAX = 1_048_576
_GOING_AWAY = 1012
_SEQ_MAX = 10**15
_DEPTH_MAX = 8
_PAUSE_S = 1.0


class JobSocket:
    """Serves `/v1/jobs/stream`."""

    def __init__(self, desk: JobDesk) -> None:
        """`desk` knows the jobs."""
        self._desk = desk

    async def __call__(self, websocket: Any, context: Context) -> None:
        """One connection, until the client or this worker leaves."""
        await websocket.accept()
        connection = _Connection(self._desk, websocket, context.tenant)
        telling = asyncio.create_task(connection.tell())
        hearing = asyncio.create_task(connection.hear())
        try:
            await asyncio.wait([telling, hearing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            connection.close()
            for task in (telling, hearing):
                task.cancel()
            await asyncio.wait([telling, hearing])
        for task in (telling, hearing):
            if not task.cancelled():
                task.result()


class _Connection:
    """What one client follows. One task hears what it asks for, another one tells it what is new."""

    def __init__(self, desk: JobDesk, websocket: Any, tenant: str) -> None:
        self._desk = desk
        self._websocket = websocket
        self._tenant = tenant
        self._followed: dict[str, Follower] = {}
        self._ready: dict[str, None] = {}
        """Jobs that may have something new, in the order in which they are told."""
        self._bell = Bell()
        self._forget_drain = desk.hub.on_drain(self._bell.ring)

    def close(self) -> None:
        """Follow nothing any more."""
        for follower in self._followed.values():
            follower.close()
        self._followed.clear()
        self._forget_drain()

    # -- what the client says

    async def hear(self) -> None:
        """Until the client leaves."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            try:
                if text is None:
                    raise ValidationFailed("Send JSON as text, not as bytes.")
                await self._asked(text)
            except CorralError as error:
                await self._send_error(error)

    async def _asked(self, text: str) -> None:
        if len(text) > _MESSAGE_MAX:
            raise ValidationFailed(f"The message has more than {_MESSAGE_MAX} characters: subscribe in parts.")
        body = check_fields(parse_json(text.encode("utf-8", "surrogatepass"), _DEPTH_MAX), ("subscribe", "unsubscribe"))
        leaving, coming = body.get("unsubscribe", []), body.get("subscribe", [])
        for name, given in (("unsubscribe", leaving), ("subscribe", coming)):
            if not isinstance(given, list):
                raise fault(f"/{name}", f"`{name}` is a list of jobs.")
        for at, one in enumerate(leaving):
            if not isinstance(one, str):
                raise fault(f"/unsubscribe/{at}", "This is the id of a job.")
            self._leave(one)
        for at, one in enumerate(coming):
            job_id, after = _subscription(one, f"/subscribe/{at}")
            await self._follow(job_id, after)

    async def _follow(self, job_id: str, after: int) -> None:
        self._leave(job_id)
        if len(self._followed) >= SUBSCRIPTIONS_MAX:
            raise ValidationFailed(f"A connection follows {SUBSCRIPTIONS_MAX} jobs at most: open another one.")

        def woken() -> None:
            self._ready[job_id] = None
            self._bell.ring()

        try:
            self._followed[job_id] = await self._desk.follow(self._tenant, job_id, woken, after=after)
        except CorralError as error:
            await self._send_error(error, job_id)
        else:
            woken()

    def _leave(self, job_id: str) -> None:
        follower = self._followed.pop(job_id, None)
        self._ready.pop(job_id, None)
        if follower is not None:
            follower.close()

    # -- what the client is told

    async def tell(self) -> None:
        """Until this worker leaves. A client that reads slowly holds up its own connection and nothing else."""
        while True:
            if self._desk.hub.draining:
                await self._websocket.close(_GOING_AWAY)
                return
            while self._ready:
                job_id = next(iter(self._ready))
                del self._ready[job_id]
                follower = self._followed.get(job_id)
                if follower is not None:
                    await self._tell_one(job_id, follower)
            await self._bell.wait()

    async def _tell_one(self, job_id: str, follower: Follower) -> None:
        if follower.gone and not follower.draining:
            self._leave(job_id)
            await self._send(
                {"id": job_id, "event": "error", "data": {"code": "job_not_found", "detail": "It was removed."}}
            )
            return
        try:
            news = await follower.take()
        except StoreUnavailable:
            asyncio.get_running_loop().call_later(_PAUSE_S, follower.woken)
            return
        if news is NOTHING or self._followed.get(job_id) is not follower:
            return
        if news.last:
            self._leave(job_id)
        else:
            self._ready[job_id] = None  # there may be more; the others have their turn first
        for message in _messages(job_id, news):
            await self._send(message)

    async def _send_error(self, error: CorralError, job_id: str | None = None) -> None:
        message: dict[str, Any] = {"event": "error", "data": {"code": error.code, "detail": error.message}}
        if job_id is not None:
            message["id"] = job_id
        await self._send(message)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._websocket.send({"type": "websocket.send", "text": msgspec.json.encode(message).decode()})


def _subscription(one: Any, pointer: str) -> tuple[str, int]:
    if isinstance(one, str):
        return one, 0
    given = check_fields(one, ("id", "after"), pointer) if isinstance(one, dict) else {}
    job_id, after = given.get("id"), given.get("after", 0)
    if not isinstance(job_id, str):
        raise fault(f"{pointer}/id", 'A subscription is such as {"id": "…", "after": 0}.')
    if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after <= _SEQ_MAX:
        raise fault(f"{pointer}/after", "`after` is the number of the last event that is known already, or 0.")
    return job_id, after


def _messages(job_id: str, news: News) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [
        {"id": job_id, "event": event.kind, "seq": event.seq, "data": event} for event in news.events
    ]
    if news.info is not None:
        if news.last:
            messages.append({"id": job_id, "event": news.info.status, "data": ending_of(news.info)})
        else:
            messages.insert(0, {"id": job_id, "event": "status", "data": status_of(news.info)})
    return messages
