"""The limits of a service on who asks: built out of its settings, and lent to what its agents limit themselves."""

from __future__ import annotations

import asyncio

from corral.limits.lent import Lent, here
from corral.limits.places import Per, Places
from corral.limits.rate_counting import RateCounting
from corral.limits.rates import Rates
from corral.limits.rules import rules_of
from corral.limits.store import LimitStore
from corral.messages import Audit
from corral.observability.metrics import Metrics
from corral.runtime.pipeline import Stage
from corral.runtime.rated import rated
from corral.server.counted import NOT_COUNTED, Counted
from corral.server.limits import LimitRoutes
from corral.server.routes import Route
from corral.settings.rate_sections import ConcurrencySettings, RateSettings
from corral.settings.sections import Settings


class Limiting:
    """Rates and places. Each step of its life may come twice; what is off is none."""

    def __init__(self, settings: Settings, store: LimitStore, metrics: Metrics, audit: Audit | None) -> None:
        """`store` is what all workers share. Nothing is opened yet. Raises `ConfigError` for limits that cannot be kept."""
        self._store = store
        self._workers = settings.server.workers
        self._lent: Lent | None = None
        limits = settings.limits
        rules = rules_of({name: said(one) for name, one in limits.rates.items()})
        most = _most(limits.concurrency)
        counting = RateCounting(metrics) if rules or most else None
        self.rates = Rates(rules, store=store, workers=self._workers, counting=counting) if rules else None
        alone = self._workers == 1 and settings.server.role == "all" and settings.store.url.startswith("sqlite")
        self.places = (
            Places(
                most,
                store=None if alone and not settings.store.hot else store,
                wait_s=limits.concurrency.wait_s,
                when_down=limits.concurrency.when_down,
                workers=self._workers,
                counting=counting,
            )
            if most
            else None
        )
        self.counted = Counted(self.rates) if self.rates is not None else NOT_COUNTED
        self.counted_models = Counted(self.rates, as_openai=True) if self.rates is not None else NOT_COUNTED
        self._routes = LimitRoutes(self.rates, audit)

    def stages(self) -> list[Stage]:
        """What an invocation passes; nothing where there are no limits."""
        return [rated(self.rates, self.places)] if self.rates is not None or self.places is not None else []

    def routes(self) -> list[Route]:
        """What is asked and changed over HTTP."""
        return self._routes.routes()

    async def start(self) -> None:
        """Lend the store to limiters of the app's own."""
        if self._lent is None:
            self._lent = Lent(self._store, asyncio.get_running_loop(), self._workers)
            here.use(self._lent)

    async def stop(self) -> None:
        """Give back what was taken in advance."""
        lent, self._lent = self._lent, None
        if lent is not None:
            before = here.use(None)
            if before is not lent:  # another service of this process has taken over
                here.use(before)
        if self.places is not None:
            await self.places.stop()
        if self.rates is not None:
            await self.rates.stop()


def said(settings: RateSettings) -> dict[str, object]:
    """As `rules_of` reads it."""
    said = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return {name: value for name, value in said.items() if value is not None and value not in ([], {})}


def _most(settings: ConcurrencySettings) -> dict[Per, int]:
    said: dict[Per, int | None] = {
        "session": settings.per_session,
        "user": settings.per_user,
        "key": settings.per_key,
        "tenant": settings.per_tenant,
    }
    return {per: most for per, most in said.items() if most is not None}
