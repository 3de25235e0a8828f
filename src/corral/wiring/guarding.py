"""Who is let in, how much they may use, and what is written down of it. What is off is not there, and costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from corral.backends.stores import Stores
from corral.jobs.drafting import Caller
from corral.jobs.job import PRIORITY_DEFAULT
from corral.limits.overload import Overload, lines_of
from corral.messages import CallEmbedder, CallModel
from corral.observability.metrics import Metrics
from corral.security.book import AuditBook
from corral.security.issuing import KeyDesk
from corral.security.keyring import KeyRing
from corral.security.tokens import Tokens
from corral.server.asgi import Watcher
from corral.server.audit import AuditRoutes
from corral.server.audit_proof import AuditProofRoutes
from corral.server.audited import RequestAudit
from corral.server.http import Request
from corral.server.identity import Identity
from corral.server.keys import KeyRoutes
from corral.server.limiting import Limiting
from corral.server.routes import Route
from corral.server.spending import Spending
from corral.settings.sections import Settings


class Guarding:
    """The guards of one service. Each step of its life may come twice."""

    def __init__(self, settings: Settings, stores: Stores, metrics: Metrics) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._stores = stores
        self.book = AuditBook(settings, stores.audit, metrics)
        self.audit = self.book.writer
        self._requests: RequestAudit | None = None
        security = settings.security
        self.ring = KeyRing(stores.keys)
        self.tokens = Tokens(security.jwt, stores.keys) if security.jwt else None
        self.identity = Identity(security, self.ring, self.tokens)
        self._keys = KeyRoutes(KeyDesk(stores.keys, secret=security.secret, audit=self.audit))
        lines = lines_of(settings, metrics)
        self._lines: tuple[Overload, ...] = lines or ()
        self.overload = None if lines is None else lines[0]
        self._models = None if lines is None else lines[1]
        self.limiting = Limiting(settings, stores.limits, metrics, self.audit)
        self.spending = Spending(settings, stores.budgets, metrics, self.audit, stores.jobs.enqueue)

    # -- under load: who goes first, and how many at once

    @property
    def waiting_max(self) -> int:
        """How many calls may wait in line, beside those that are served."""
        return 0 if self.overload is None else self.overload.waiting_max

    def in_line(self, call: CallModel, embed: CallEmbedder) -> tuple[CallModel, CallEmbedder]:
        """The gateway's way to the models."""
        return (call, embed) if self._models is None else (self._models.asked(call), self._models.embedded(embed))

    def priority_of(self, caller: Caller, asked: int | None) -> int:
        """The priority of a job that is handed in."""
        if self.overload is None:
            return PRIORITY_DEFAULT if asked is None else asked
        if caller.is_nobody:
            return self.overload.priorities.background.priority if asked is None else asked
        return self.overload.priorities.of_job(caller.tenant, caller.tier, caller.session_id, caller.user_id, asked)

    def jobs_at_once(self, concurrency: int) -> int:
        """How many jobs this process runs beside: fewer while callers wait."""
        return min([concurrency, *(line.jobs_at_once(concurrency) for line in self._lines)])

    def on_calm(self, told: Callable[[], None]) -> None:
        """Have it told when callers wait no more."""
        for line in self._lines:
            line.on_calm(told)

    def shown(self) -> dict[str, Any]:
        """For `/health`."""
        if self.overload is None or self._models is None:
            return {}
        return {"load": {"agents": self.overload.shown(), "models": self._models.shown()}}

    def routes(self) -> list[Route]:
        """What is asked and changed over HTTP."""
        proof = AuditProofRoutes(self._stores.audit, self.book.keeper, self.book.keys)
        return [
            *AuditRoutes(self._stores.audit).routes(),
            *proof.routes(),
            *self._keys.routes(),
            *self.limiting.routes(),
            *self.spending.routes(),
        ]

    async def expire(self) -> int:
        """Sweep what of the audit is old."""
        return await self.book.keeper.expire()

    def refused(self, request: Request) -> None:
        """A WebSocket's handshake was refused."""
        if self._requests is not None:
            self._requests.refused(request)

    def watching(self, watcher: Watcher, routes: list[Route]) -> Watcher:
        """Who is told of requests: also who writes down what was refused and changed."""
        if self.audit is None:
            return watcher
        self._requests = RequestAudit(self.audit, routes, watcher)
        return self._requests

    async def start(self) -> None:
        """Begin to write."""
        await self.book.start()
        await self.ring.start()
        await self.limiting.start()
        await self.spending.start()

    async def stop(self) -> None:
        """Write what is left."""
        for line in self._lines:
            line.stop()
        await self.spending.stop()
        await self.limiting.stop()
        if self._requests is not None:
            self._requests.stop()
        await self.ring.stop()
        if self.tokens is not None:
            await self.tokens.stop()
        await self.book.stop()
