"""How much may be learnt in a day: counted in the store, so that all workers share one allowance per tenant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError
from corral.memory.resource_store import Resource, ResourceConflict, ResourceDraft, ResourceExists, ResourceStore

BUDGET_KIND = "memory-budget"
_DAY_S = 86_400.0
_KEPT_S = 3 * _DAY_S
_TRIES = 20


class BudgetUsedUp(CorralError):
    """Today's allowance for learning is used up."""

    status = 429
    code = "learning_budget_used_up"


class DayBudget:
    """Calls and tokens that a tenant has left today (UTC)."""

    def __init__(self, store: ResourceStore, *, calls: int, tokens: int, clock: Clock = SYSTEM_CLOCK) -> None:
        """At most so many calls are begun, and none once so many tokens were used."""
        self._store = store
        self._calls = calls
        self._tokens = tokens
        self._now = clock.now

    async def reserve(self, tenant: str) -> bool:
        """Count one call. False: today's allowance is used up, and nothing was counted."""
        return await self._add(tenant, calls=1, tokens=0)

    async def used(self, tenant: str, tokens: int) -> None:
        """Count tokens, which were used whatever the allowance says."""
        await self._add(tenant, calls=0, tokens=tokens)

    async def left(self, tenant: str) -> bool:
        """Whether anything is left today."""
        return self._fits(await self._today(tenant))

    def renewed_in_s(self) -> float:
        """Until there is a new allowance."""
        return _DAY_S - self._now() % _DAY_S

    async def _today(self, tenant: str) -> Resource | None:
        return await self._store.get(tenant, BUDGET_KIND, self._day())

    def _day(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).date().isoformat()

    def _fits(self, found: Resource | None) -> bool:
        return found is None or (found.body["calls"] < self._calls and found.body["tokens"] < self._tokens)

    async def _add(self, tenant: str, *, calls: int, tokens: int) -> bool:
        for _ in range(_TRIES):
            found = await self._today(tenant)
            if calls and not self._fits(found):
                return False
            try:
                await self._write(tenant, found, calls, tokens)
            except (ResourceConflict, ResourceExists):
                continue  # another worker counted at the same time
            return True
        raise ResourceConflict("Too many workers count the same tenant's budget at once; the job is tried again.")

    async def _write(self, tenant: str, found: Resource | None, calls: int, tokens: int) -> None:
        if found is None:
            body: Any = {"calls": calls, "tokens": tokens}
            draft = ResourceDraft(kind=BUDGET_KIND, id=self._day(), body=body, ttl_s=_KEPT_S)
            await self._store.create(tenant, [draft])
            return
        body = {"calls": found.body["calls"] + calls, "tokens": found.body["tokens"] + tokens}
        await self._store.change(tenant, BUDGET_KIND, found.id, body, revision=found.revision)
