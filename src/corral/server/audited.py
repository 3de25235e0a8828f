"""Writes down which requests were refused, and what was changed over HTTP by those who look after things."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.context import Context
from corral.messages import Audit, AuditEntry
from corral.security.roles import Role
from corral.server.asgi import Watcher
from corral.server.http import Request
from corral.server.routes import Route
from corral.server.stepfunctions.operations import needed_for

REFUSED = {401: "unauthenticated", 402: "budget", 403: "forbidden", 429: "limited", 503: "overloaded"}
"""Answers that were refusals, and what was missing."""
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_RIGHTS = frozenset({"operator", "admin"})
_DEFINITIONS = frozenset({"workflows", "events", "schedules", "jobs", "agentcore", "cache"})
"""Tags of what developers change and others rely on."""
_STEP_FUNCTIONS = "stepfunctions"
_HARMLESS = ("Validate", "Test")
_EVERY_S = 60.0
_ALIKE_MAX = 1000
"""Refusals of different kinds that are counted at once; the others together."""
_FINE = 400
_WORD_MAX = 200


class RequestAudit:
    """Told of every request, and tells who counts and traces them. Equal refusals of one caller are one entry at once, and one more with their number a minute later."""

    def __init__(
        self,
        audit: Audit,
        routes: Iterable[Route],
        watcher: Watcher,
        *,
        clock: Clock = SYSTEM_CLOCK,
        every_s: float = _EVERY_S,
        alike_max: int = _ALIKE_MAX,
    ) -> None:
        """What `routes` need decides which changes are written down. `watcher` is told of all requests first."""
        self.begin = watcher.begin
        self.unexpected = watcher.unexpected
        self._tell = watcher.request
        self._audit = audit
        self._clock = clock
        self._every_s = every_s
        self._alike_max = alike_max
        self._written: dict[tuple[str, str], Role | None] = {
            (one.method, one.path): None if one.tag == _STEP_FUNCTIONS else one.needs
            for one in routes
            if _is_written(one)
        }
        self._counts: dict[tuple[str, ...], _Refusals] = {}
        self._timer: asyncio.TimerHandle | None = None

    def request(self, request: Request) -> None:
        """A request was answered."""
        self._tell(request)
        at = (request.method, request.route)
        if request.status in REFUSED:
            self.refused(request)
        elif at in self._written:
            self._changed(request, self._written[at])

    def stop(self) -> None:
        """Write down what was counted. Calling it again does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write_counts()

    # -- refusals

    def refused(self, request: Request) -> None:
        """A request or a WebSocket was refused."""
        status = request.status
        context: Context | None = getattr(request, "context", None)
        if context is None or status not in REFUSED or (status == 503 and request.quiet):  # noqa: PLR2004 - a health check says no for other reasons
            return
        code = str(getattr(request.failure, "code", "") or REFUSED[status])
        who = context.key_id or _client_of(request)
        alike = (context.tenant, who, request.route, str(status), code)
        counted = self._counts.get(alike)
        if counted is None and len(self._counts) >= self._alike_max:
            alike = (context.tenant, "", "(others)", str(status), "")
            counted = self._counts.get(alike)
        if counted is not None:
            counted.count += 1
            counted.last_at = self._clock.now()
            return
        entry = AuditEntry(
            id=new_id(),
            at=self._clock.now(),
            tenant=context.tenant,
            action="request.refused",
            subject=f"{request.method} {request.route or '(none)'}",
            decision="denied",
            rule=code,
            reason=str(getattr(request.failure, "message", ""))[:_WORD_MAX],
            actor=context.key_id or context.user_id or "",
            agent=context.agent,
            session_id=context.session_id or "",
            run_id=context.request_id,
            details={"status": status, "client": _client_of(request)},
        )
        self._audit(entry)
        self._counts[alike] = _Refusals(entry)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self._write_counts()

    def _write_counts(self) -> None:
        counts, self._counts = self._counts, {}
        for counted in counts.values():
            if not counted.count:
                continue
            first = counted.first
            details = {**first.details, "count": counted.count, "first": first.id, "last_at": counted.last_at}
            self._audit(
                msgspec.structs.replace(
                    first, id=new_id(), at=self._clock.now(), run_id="", session_id="", details=details
                )
            )

    # -- changes

    def _changed(self, request: Request, needs: Role | None) -> None:
        """`needs` is none where many operations have one address."""
        context: Context = request.context
        operation = ""
        if needs is None:
            operation = (request.header(b"x-amz-target") or "").rpartition(".")[2][:_WORD_MAX]
            needs = needed_for(operation)
            if needs == "invoker" or operation.startswith(_HARMLESS):
                return
        status = request.status
        failed = not 0 < status < _FINE or request.failure is not None
        details = {"status": status, "path": str(request.scope.get("path", ""))[:_WORD_MAX], "needs": needs}
        if operation:
            details["operation"] = operation
        self._audit(
            AuditEntry(
                id=new_id(),
                at=self._clock.now(),
                tenant=context.tenant,
                action="api.change",
                subject=f"{request.method} {request.route}",
                decision="failed" if failed else "done",
                rule=str(getattr(request.failure, "code", "")) if failed else "",
                actor=context.key_id or context.user_id or "",
                session_id=context.session_id or "",
                run_id=context.request_id,
                details=details,
            )
        )


class _Refusals:
    """Refusals that are like the first one."""

    __slots__ = ("count", "first", "last_at")

    def __init__(self, first: AuditEntry) -> None:
        self.first = first
        self.count = 0
        self.last_at = math.nan


def _is_written(route: Route) -> bool:
    if route.method not in _CHANGES or route.public:
        return False
    if route.needs in _RIGHTS or route.tag == _STEP_FUNCTIONS:
        return True
    return route.needs == "developer" and route.tag in _DEFINITIONS


def _client_of(request: Request) -> str:
    client = request.scope.get("client")
    return str(client[0]) if client else ""
