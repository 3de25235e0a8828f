"""Who is let in, how much they may use, and what is written down of it. What is off is not there, and costs nothing."""

from __future__ import annotations

from corral.backends.stores import Stores
from corral.observability.metrics import Metrics
from corral.security.book import AuditBook
from corral.server.audit import AuditRoutes
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

    def routes(self) -> list[Route]:
        """What is asked and changed over HTTP."""
        return AuditRoutes(self._stores.audit).routes()

    async def start(self) -> None:
        """Begin to write."""
        await self.book.start()

    async def stop(self) -> None:
        """Write what is left."""
        await self.book.stop()
