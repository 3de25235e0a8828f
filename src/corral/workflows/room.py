"""How many executions a tenant may have open: counted seldom, and never more often than they can become too many."""

from __future__ import annotations

from corral.clock import Clock
from corral.workflows.store import Executions, TooManyExecutions

_AGAIN_S = 1.0
"""How often a tenant that has too many is counted again."""
_SHARE = 8
"""Other processes begin executions as well: after this part of what is left, look again."""
_TENANTS_MAX = 10_000


class Room:
    """What this process believes to be left for each tenant. Several processes together may let in a few too many."""

    def __init__(self, store: Executions, *, most: int, clock: Clock) -> None:
        """`most` executions of one tenant may be open."""
        self._store = store
        self._most = most
        self._clock = clock
        self._left: dict[str, int] = {}
        self._full: dict[str, float] = {}

    async def enter(self, tenant: str) -> None:
        """One more. Raises `TooManyExecutions`."""
        left = self._left.get(tenant, 0)
        if left <= 0:
            left = await self._count(tenant)
        self._left[tenant] = left - 1

    async def _count(self, tenant: str) -> int:
        now = self._clock.monotonic()
        if self._full.get(tenant, now) > now:
            raise self._too_many(tenant)
        left = self._most - await self._store.open_count(tenant, limit=self._most)
        if left <= 0:
            self._full[tenant] = now + _AGAIN_S
            raise self._too_many(tenant)
        self._full.pop(tenant, None)
        if len(self._left) >= _TENANTS_MAX:
            self._left.clear()
        return max(1, left // _SHARE)

    def _too_many(self, tenant: str) -> TooManyExecutions:
        return TooManyExecutions(
            f"The tenant {tenant!r} has {self._most} open executions; more are begun when some have ended "
            "(setting `workflows.open_max`).",
            retry_after_s=_AGAIN_S,
        )
