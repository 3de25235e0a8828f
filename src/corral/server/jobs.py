"""Jobs over HTTP: hand them in, ask for them, change their minds. The tenant is always the credential's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from corral.context import EVERYTHING, check_scope
from corral.errors import NotFound
from corral.jobs.desk import JobDesk
from corral.jobs.job import JobInfo, signal_of
from corral.jobs.request import JobRequest, check_fields, fault, read_batch, read_request
from corral.jobs.states import TERMINAL
from corral.jobs.store import OutboxStore, ScheduleStore
from corral.limits.rules import Visitor, visitor_of
from corral.security.roles import check_lasting
from corral.server.counted import NOT_COUNTED, Counted
from corral.server.described import described_routes
from corral.server.http import Header, Request
from corral.server.job_api import DESCRIPTIONS
from corral.server.job_bodies import JobBodies
from corral.server.job_query import caller_of, filtered, listed, wait_of
from corral.server.job_schedules import JobSchedules
from corral.server.job_shown import (
    location,
    respond_error,
    shown,
    shown_delivery,
    submitted,
    submitted_batch,
)
from corral.server.job_socket import JobSocket
from corral.server.job_stream import JobStream
from corral.server.routes import Route
from corral.server.websocket import WebSocketHandler
from corral.settings.sections import JobSettings

_REPLAYED = (b"idempotent-replayed", b"true")
_SOON = (b"retry-after", b"1")
_DELIVERIES_MAX = 1000
_DELIVERY_ID_MAX = 200


class JobRoutes:
    """Handlers of `/v1/jobs`, `/v1/queues`, `/v1/schedules` and `/v1/callbacks`."""

    def __init__(
        self,
        desk: JobDesk,
        schedules: ScheduleStore,
        outbox: OutboxStore,
        *,
        settings: JobSettings,
        heartbeat_s: float = 15.0,
        counted: Counted = NOT_COUNTED,
        schedule_saved: Callable[[], None] = lambda: None,
    ) -> None:
        """`settings` say how much may be in one request; `heartbeat_s`: a stream says so often at least that it is there.

        `schedule_saved` is called when there is a new schedule. Jobs are `counted` when they are handed in.
        """
        self._counted = counted
        self._desk = desk
        self._outbox = outbox
        self._batch_max = settings.batch_max
        self._bodies = JobBodies(settings)
        self._stream = JobStream(desk, heartbeat_s=heartbeat_s)
        self._schedules = JobSchedules(schedules, desk, self._bodies, saved=schedule_saved)

    def routes(self) -> list[Route]:
        """All of them; what each one says of itself stands in `job_api.py`."""
        handlers = {
            "POST /v1/jobs": self.submit,
            "GET /v1/jobs": self.list_jobs,
            "POST /v1/jobs/batches": self.submit_batch,
            "GET /v1/jobs/batches/{id}": self.show_batch,
            "POST /v1/jobs/cancel": self.cancel_many,
            "POST /v1/jobs/redrive": self.redrive_many,
            "POST /v1/jobs/discard": self.discard_many,
            "GET /v1/jobs/{id}": self.show,
            "DELETE /v1/jobs/{id}": self.cancel,
            "GET /v1/jobs/{id}/result": self.result,
            "GET /v1/jobs/{id}/attempts": self.attempts,
            "GET /v1/jobs/{id}/events": self._stream.answer,
            "GET /v1/jobs/{id}/callbacks": self.callbacks,
            "POST /v1/jobs/{id}/cancel": self.cancel,
            "POST /v1/jobs/{id}/retry": self.retry,
            "POST /v1/jobs/{id}/discard": self.discard,
            "POST /v1/jobs/{id}/signals/{name}": self.signal,
            "POST /v1/callbacks/{id}/replay": self.replay_callback,
            "GET /v1/queues": self.queues,
            "GET /v1/queues/{name}": self.queue,
            **self._schedules.handlers(),
        }
        return described_routes(handlers, DESCRIPTIONS)

    def sockets(self) -> dict[str, WebSocketHandler]:
        """The WebSocket addresses."""
        return {"/v1/jobs/stream": JobSocket(self._desk)}

    # -- handing in

    async def submit(self, request: Request) -> None:
        """`POST /v1/jobs`."""
        wait_s, applied = wait_of(request)
        body = await self._bodies.many(request)
        if isinstance(body, dict) and "inputs" in body:
            await self._submit_batch(request, body)
            return
        desk, caller, asked = self._desk, caller_of(request), read_request(body)
        check_scope("agent", asked.agent, request.context.agents_allowed)
        info: JobInfo | None = None
        async with self._counted(request, _visitor(request, asked)) as counting:
            if wait_s > 0:
                job, info = await desk.run(caller, asked, wait_s)
            else:
                job = await desk.submit(caller, asked)
            if not job.is_new:
                counting.undo()
        headers: list[Header] = [location(f"/v1/jobs/{job.id}"), *applied]
        if not job.is_new:
            headers.append(_REPLAYED)
        if info is not None and info.status in TERMINAL:
            await request.respond_json(shown(info), 200, headers)
            return
        status = job.state if info is None else info.status
        await request.respond_json(submitted(job.id, status), 202, headers)

    async def submit_batch(self, request: Request) -> None:
        """`POST /v1/jobs/batches`."""
        await self._submit_batch(request, await self._bodies.many(request))

    async def _submit_batch(self, request: Request, body: Any) -> None:
        asked = read_batch(body, batch_max=self._batch_max)
        check_scope("agent", asked.agent, request.context.agents_allowed)
        async with self._counted(request, _visitor(request, asked), times=len(asked.inputs)) as counting:
            batch = await self._desk.submit_batch(caller_of(request), asked)
            if not batch.is_new:
                counting.undo()
        headers = [location(f"/v1/jobs/batches/{batch.id}"), *([] if batch.is_new else [_REPLAYED])]
        await request.respond_json(submitted_batch(batch), 202, headers)

    # -- asking

    async def show(self, request: Request) -> None:
        """`GET /v1/jobs/{id}`."""
        wait_s, applied = wait_of(request)
        job = await self._desk.get(request.context.tenant, request.params["id"], wait_s=wait_s)
        await request.respond_json(shown(job), headers=applied)

    async def result(self, request: Request) -> None:
        """`GET /v1/jobs/{id}/result`: the bare result, or why there is none."""
        wait_s, applied = wait_of(request)
        job = await self._desk.get(request.context.tenant, request.params["id"], wait_s=wait_s)
        if job.status == "succeeded":
            await request.respond_json(job.result, headers=applied)
        elif job.status in TERMINAL:
            await respond_error(request, job)
        else:
            await request.respond_json(submitted(job.id, job.status), 202, [_SOON, *applied])

    async def list_jobs(self, request: Request) -> None:
        """`GET /v1/jobs`, newest first."""
        page = await self._desk.find(request.context.tenant, listed(request))
        page = msgspec.structs.replace(page, items=[shown(job) for job in page.items])
        await request.respond_json(page)

    async def attempts(self, request: Request) -> None:
        """`GET /v1/jobs/{id}/attempts`."""
        found = await self._desk.attempts(request.context.tenant, request.params["id"])
        await request.respond_json({"items": found})

    async def show_batch(self, request: Request) -> None:
        """`GET /v1/jobs/batches/{id}`."""
        batch = await self._desk.batch(request.context.tenant, request.params["id"])
        ended = sum(count for state, count in batch.counts.items() if state in TERMINAL)
        await request.respond_json(
            {
                "id": batch.id,
                "total": batch.total,
                "ended": ended,
                "created_at": batch.created_at,
                "counts": batch.counts,
            }
        )

    async def queues(self, request: Request) -> None:
        """`GET /v1/queues`: all of them, and who works on them."""
        queues, workers = await self._desk.queues(), await self._desk.workers()
        per_s = round(sum(worker.per_s for worker in workers), 3)
        await request.respond_json({"queues": queues, "workers": workers, "per_s": per_s})

    async def queue(self, request: Request) -> None:
        """`GET /v1/queues/{name}`. One that nobody uses is empty: whoever scales by it gets a number in any case."""
        await request.respond_json(await self._desk.queue(request.params["name"]))

    # -- changing one

    async def cancel(self, request: Request) -> None:
        """`POST /v1/jobs/{id}/cancel`, `DELETE /v1/jobs/{id}`."""
        job = await self._desk.cancel(request.context.tenant, request.params["id"])
        await request.respond_json(shown(job), 200 if job.status in TERMINAL else 202)

    async def retry(self, request: Request) -> None:
        """`POST /v1/jobs/{id}/retry`, with another `input` or without.

        It runs with what the key of the first time may use: a limited key says nothing new to it.
        """
        body = check_fields(await self._bodies.one(request, {}), ("input",))
        tenant, job_id = request.context.tenant, request.params["id"]
        if "input" in body and request.context.scope != EVERYTHING:
            check_lasting(request.context.scope, (await self._desk.get(tenant, job_id)).agent)
        job = await self._desk.retry(tenant, job_id, body.get("input", msgspec.UNSET))
        await self._respond_open(request, job)

    async def discard(self, request: Request) -> None:
        """`POST /v1/jobs/{id}/discard`."""
        job = await self._desk.discard(request.context.tenant, request.params["id"])
        await request.respond_json(shown(job))

    async def signal(self, request: Request) -> None:
        """`POST /v1/jobs/{id}/signals/{name}`: the body is the value. The answer says what the job waits for all the same."""
        job_id, name = request.params["id"], request.params["name"]
        value = await self._bodies.value(request)
        job = await self._desk.signal(request.context.tenant, job_id, name, value)
        told = {"id": job_id, "signal": name, "status": job.status, "waits_for": signal_of(job.awaits) or None}
        await request.respond_json(told, 202)

    async def _respond_open(self, request: Request, job: JobInfo) -> None:
        await request.respond_json(shown(job), 202, [location(f"/v1/jobs/{job.id}")])

    # -- changing many

    async def cancel_many(self, request: Request) -> None:
        """`POST /v1/jobs/cancel`."""
        await _respond_ids(request, await self._desk.cancel_all(request.context.tenant, await filtered(request)))

    async def redrive_many(self, request: Request) -> None:
        """`POST /v1/jobs/redrive`."""
        query = await filtered(request)
        if wrong := set(query.status) - {"failed", "cancelled"}:
            raise fault(
                "/status", f"Jobs that failed or were cancelled can run again, not those that are {min(wrong)}."
            )
        await _respond_ids(request, await self._desk.redrive_all(request.context.tenant, query))

    async def discard_many(self, request: Request) -> None:
        """`POST /v1/jobs/discard`."""
        query = await filtered(request)
        if wrong := set(query.status) - {"failed"}:
            raise fault("/status", f"Jobs that failed can be put away, not those that are {min(wrong)}.")
        await _respond_ids(request, await self._desk.discard_all(request.context.tenant, query))

    # -- callbacks

    async def callbacks(self, request: Request) -> None:
        """`GET /v1/jobs/{id}/callbacks`."""
        tenant, job_id = request.context.tenant, request.params["id"]
        await self._desk.get(tenant, job_id)
        found = await self._outbox.deliveries(tenant, job_id=job_id, limit=_DELIVERIES_MAX)
        await request.respond_json({"items": [shown_delivery(delivery) for delivery in found]})

    async def replay_callback(self, request: Request) -> None:
        """`POST /v1/callbacks/{id}/replay`."""
        delivery_id = request.params["id"]
        known = len(delivery_id) <= _DELIVERY_ID_MAX and delivery_id.isprintable()
        if not known or not await self._outbox.replay(request.context.tenant, delivery_id):
            raise NotFound(f"There is no callback {delivery_id[:100]!r}.")
        await request.respond_json({"id": delivery_id, "status": "pending"}, 202)


def _visitor(request: Request, asked: JobRequest) -> Visitor:
    """Who asks: the body may name user and session."""
    context = request.context
    return msgspec.structs.replace(
        visitor_of(context),
        user=asked.user_id or context.user_id or "",
        session=asked.session_id or context.session_id or "",
        agent=asked.agent,
    )


async def _respond_ids(request: Request, ids: list[str]) -> None:
    await request.respond_json({"ids": ids, "count": len(ids)})
