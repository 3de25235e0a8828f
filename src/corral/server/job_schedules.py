"""`/v1/schedules`: jobs that come again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import NotFound, ValidationFailed
from corral.jobs.desk import JobDesk
from corral.jobs.job import Schedule
from corral.jobs.request import check_fields, fault
from corral.jobs.schedules import STARTER, Planned, check_name, job_of, planned
from corral.jobs.store import ScheduleStore
from corral.security.roles import check_lasting
from corral.server.http import Request
from corral.server.job_bodies import JobBodies
from corral.server.routes import Handler

SCHEDULES_MAX = 1000
"""Of one tenant."""
_TEXT_MAX = 256


class JobSchedules:
    """Handlers of `/v1/schedules`."""

    def __init__(
        self,
        store: ScheduleStore,
        desk: JobDesk,
        bodies: JobBodies,
        *,
        saved: Callable[[], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`bodies` reads requests; `desk` says whether a schedule's job can be made; `saved` is called when there is a new one."""
        self._saved = saved
        self._bodies = bodies
        self._store = store
        self._desk = desk
        self._now = clock.now

    def handlers(self) -> dict[str, Handler]:
        """By address."""
        return {
            "GET /v1/schedules": self.list_schedules,
            "GET /v1/schedules/{name}": self.show,
            "PUT /v1/schedules/{name}": self.save,
            "DELETE /v1/schedules/{name}": self.remove,
        }

    async def list_schedules(self, request: Request) -> None:
        """`GET /v1/schedules`, by name."""
        found = await self._store.schedules(request.context.tenant)
        await request.respond_json({"items": [_shown(schedule) for schedule in found]})

    async def show(self, request: Request) -> None:
        """`GET /v1/schedules/{name}`."""
        name = request.params["name"]
        for schedule in await self._store.schedules(request.context.tenant):
            if schedule.name == name:
                await request.respond_json(_shown(schedule))
                return
        raise _unknown(name)

    async def save(self, request: Request) -> None:
        """`PUT /v1/schedules/{name}`: create or replace."""
        tenant, name = request.context.tenant, check_name(request.params["name"])
        said = _said(await self._bodies.one(request))
        check_lasting(request.context.scope, None if said.workflow is not None else said.job.get("agent"))
        known = {schedule.name: schedule for schedule in await self._store.schedules(tenant)}
        before = known.get(name)
        if before is None and len(known) >= SCHEDULES_MAX:
            raise ValidationFailed(f"There are {len(known)} schedules; at most {SCHEDULES_MAX}: remove some.")
        try:
            self._desk.check(tenant, job_of(said))  # a job that cannot be made is told now
        except ValidationFailed as error:
            where = "/job" if said.workflow is None else ""
            faults: list[dict[str, object]] = [
                {**one, "pointer": f"{where}{one.get('pointer', '')}"} for one in error.errors
            ]
            said_so = "; ".join(f"{one['pointer']}: {one['message']}" for one in faults)
            raise ValidationFailed(said_so or f"/job: {error.message}", errors=faults) from None
        last_at = None if before is None else before.last_at
        schedule = await planned(tenant, name, said, now=self._now(), last_at=last_at)
        await self._store.save(schedule)
        self._saved()
        await request.respond_json(_shown(schedule), 201 if before is None else 200)

    async def remove(self, request: Request) -> None:
        """`DELETE /v1/schedules/{name}`. Jobs that it made already stay."""
        name = check_name(request.params["name"])
        if not await self._store.remove(request.context.tenant, name):
            raise _unknown(name)
        request.status = 204
        await request.send({"type": "http.response.start", "status": 204, "headers": request.response_headers})
        await request.send({"type": "http.response.body", "body": b""})


def _said(body: Any) -> Planned:
    given = check_fields(body, Planned.__struct_fields__)
    try:
        said = msgspec.convert(given, Planned)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        pointer = where.rstrip("`").replace(".", "/")
        faults: list[dict[str, object]] = [{"pointer": pointer, "message": f"{message}."}]
        raise ValidationFailed(f"{pointer or 'The body'}: {message}.", errors=faults) from None
    for name in ("cron", "timezone"):
        if len(getattr(said, name)) > _TEXT_MAX:
            raise fault(f"/{name}", f"`{name}` has more than {_TEXT_MAX} characters.")
    job_of(said)
    return said


def _shown(schedule: Schedule) -> dict[str, Any]:
    view = {name: getattr(schedule, name) for name in schedule.__struct_fields__ if name != "tenant"}
    callback = schedule.job.get("callback")
    if isinstance(callback, dict) and isinstance(callback.get("headers"), dict):
        hidden = {**callback, "headers": dict.fromkeys(callback["headers"], "***")}
        view["job"] = {**schedule.job, "callback": hidden}
    wanted = schedule.job.get("input") if schedule.job.get("agent") == STARTER else None
    view["workflow"] = wanted.get("workflow") if isinstance(wanted, dict) else None
    return view


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no schedule {name[:100]!r}.")
