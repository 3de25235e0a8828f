"""The tiers of a service's sessions: joins its stores to memory and to the archive."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from corral.backends.stores import Stores
from corral.clock import SYSTEM_CLOCK
from corral.errors import ConfigError, ModelAuthFailed, StoreUnavailable
from corral.memory.store import MemoryStore
from corral.models.aws import key_source
from corral.observability.metrics import Metrics
from corral.outbound.sigv4 import AwsKeys
from corral.sessions.archive_s3 import GetKeys
from corral.sessions.archives import archive_of
from corral.sessions.tier_counting import TierCounting
from corral.sessions.tiers import TieredSessions
from corral.settings.sections import Settings

_COUNT_S = 300.0
"""Counting a million sessions takes a store some tenths of a second: it is asked no more often."""


class KeptSessions(TieredSessions):
    """Sessions in tiers that are moved by who sweeps them."""

    counting: TierCounting | None = None
    metrics: Callable[[], Metrics] | None = None
    _counted_at = float("-inf")

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep what has expired, then move some of what is due to the archive."""
        swept = await super().expire(limit=limit)
        if swept < limit:
            swept += await self.sweep()
        await self._count()
        return swept

    def moved(self, to: str, events: int, size: int) -> None:
        """Events were moved."""
        if self.counting is not None:
            self.counting.moved(to, events, size)

    async def _count(self) -> None:
        if self.metrics is None:
            return
        if self.counting is None:
            self.counting = TierCounting(self.metrics())
        now = SYSTEM_CLOCK.monotonic()
        due = now - self._counted_at >= _COUNT_S
        if due:
            self._counted_at = now
        self.counting.show(await self.counts() if due else None, self.hot)


class TieredStores:
    """Stores whose sessions are in tiers, and whose memory may keep nothing personal; all else is theirs."""

    def __init__(self, stores: Stores, sessions: KeptSessions, memory: MemoryStore) -> None:
        self._stores = stores
        self.sessions = sessions
        self.memory = memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stores, name)

    async def stop(self) -> None:
        """Let go of the archive, and stop the stores."""
        await self.sessions.stop()
        await self._stores.stop()


def tiered_stores(settings: Settings, stores: Stores, metrics: Callable[[], Metrics] | None = None) -> Stores:
    """The same stores with their sessions in tiers, as the settings say. Raises `ConfigError` for an archive that cannot be.

    `metrics` is asked for when something is first swept.
    """
    tiers = settings.sessions.tiers
    sessions = KeptSessions(
        stores.sessions,
        stores.tiers,
        tiers,
        archive=archive_of(tiers, stores.url, usual_keys=_usual_keys()),
        shelf=getattr(stores, "shelf", None),
    )
    sessions.metrics = metrics
    if sessions.archiving is not None:
        sessions.archiving.watch = sessions
    return cast("Stores", TieredStores(stores, sessions, _memory(settings, stores)))


def _memory(settings: Settings, stores: Stores) -> MemoryStore:
    if settings.memory.redaction == "off":
        return stores.memory
    from corral.memory.masking import masked_memory  # noqa: PLC0415 - loaded where it is wanted

    return masked_memory(stores.memory)


def _usual_keys() -> GetKeys | None:
    """AWS credentials as all else that asks AWS finds them; none: there is no way to look."""
    try:
        source = key_source("archive", os.environ, "", SYSTEM_CLOCK)
    except ConfigError:
        return None

    async def keys() -> AwsKeys:
        try:
            return await source.keys()
        except ModelAuthFailed as error:
            raise StoreUnavailable(f"The archive of sessions cannot be asked: {error}") from error

    return keys
