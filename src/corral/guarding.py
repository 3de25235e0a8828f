"""Who is let in, how much they may use, and what is written down of it. What is off is not there, and costs nothing."""

from __future__ import annotations

from corral.backends.stores import Stores
from corral.observability.metrics import Metrics
from corral.security.audit import AuditWriter
from corral.server.audit import AuditRoutes
from corral.server.routes import Route
from corral.settings.sections import Settings


class Guarding:
    """The guards of one service. Each step of its life may come twice."""

    def __init__(self, settings: Settings, stores: Stores, metrics: Metrics) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._stores = stores
        self.audit = AuditWriter(stores.audit, metrics) if settings.security.audit else None

    def routes(self) -> list[Route]:
        """What is asked and changed over HTTP."""
        return AuditRoutes(self._stores.audit).routes()

    async def start(self) -> None:
        """Begin to write."""
        if self.audit is not None:
            await self.audit.start()

    async def stop(self) -> None:
        """Write what is left."""
        if self.audit is not None:
            await self.audit.stop()
