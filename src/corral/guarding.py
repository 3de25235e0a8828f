"""Who is let in, how much they may use, and what is written down of it. What is off is not there, and costs nothing."""

from __future__ import annotations

from corral.backends.stores import Stores
from corral.observability.metrics import Metrics
from corral.security.book import AuditBook
from corral.server.asgi import Watcher
from corral.server.audit import AuditRoutes
from corral.server.audit_proof import AuditProofRoutes
from corral.server.audited import RequestAudit, Watching
from corral.server.routes import Route
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

    def routes(self) -> list[Route]:
        """What is asked and changed over HTTP."""
        proof = AuditProofRoutes(self._stores.audit, self.book.keeper, self.book.keys)
        return [*AuditRoutes(self._stores.audit).routes(), *proof.routes()]

    def watching(self, watcher: Watcher, routes: list[Route]) -> Watcher:
        """Who is told of requests: also who writes down what was refused and changed."""
        if self.audit is None:
            return watcher
        self._requests = RequestAudit(self.audit, routes)
        return Watching(watcher, self._requests)

    async def start(self) -> None:
        """Begin to write."""
        await self.book.start()

    async def stop(self) -> None:
        """Write what is left."""
        if self._requests is not None:
            self._requests.stop()
        await self.book.stop()
