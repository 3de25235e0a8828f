"""What is to be kept is written behind the backs of those who ask: many at a time, and never for them to wait for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any

import msgspec

from corral.cache.counting import CacheCounting
from corral.cache.store import CacheStore, EntryDraft, Kind, Tally
from corral.errors import CorralError

_log = logging.getLogger("corral.cache")

_PENDING_MAX = 2_000
_PENDING_BYTES_MAX = 33_554_432
_BATCH = 500
GATHER_S = 0.01
"""Others will come meanwhile: a transaction for one entry costs more than the entry."""
_TALLY_S = 5.0
_SWEEP_S = 60.0
_SWEEP_LIMIT = 1000
_USED_MAX = 10_000
_END_S = 5.0


class _Count(msgspec.Struct):
    hits: int = 0
    misses: int = 0
    saved_usd: float = 0.0
    used: dict[bytes, None] = msgspec.field(default_factory=dict)


class Writing:
    """One task that writes, counts and sweeps. What cannot be written is dropped and counted."""

    def __init__(
        self,
        store: CacheStore,
        counting: CacheCounting,
        *,
        entries_max: int,
        bytes_max: int,
        gather_s: float = GATHER_S,
    ) -> None:
        """`entries_max` and `bytes_max` are the store's, over all tenants. Nobody but this process sees an entry for `gather_s`."""
        self._store = store
        self._counting = counting
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._pending: defaultdict[str, list[EntryDraft]] = defaultdict(list)
        """By tenant."""
        self._bytes = 0
        """Of what was not written yet."""
        self._gather_s = gather_s
        self._came = self._went = 0
        self._counts: dict[tuple[str, Kind], _Count] = {}
        self._used = 0
        self._written = 0
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        """Somebody waits for what is pending."""
        self._moved = asyncio.Event()
        """More of it has gone."""
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin. Starting twice is starting once."""
        if self._task is None:
            self._ending = False
            self._task = asyncio.create_task(self._work())

    async def flush(self) -> None:
        """Until what is pending now was written, or given up."""
        came = self._came
        while self._task is not None and self._went < came:
            self._moved.clear()
            self._hurry.set()
            await self._moved.wait()

    async def stop(self) -> None:
        """Write what is pending, within a few seconds, and end. Stopping twice is stopping once."""
        task, self._task = self._task, None
        if task is None:
            return
        self._ending = True
        self._some.set()
        self._hurry.set()
        _, late = await asyncio.wait([task], timeout=_END_S)
        if late:
            task.cancel()
            await asyncio.wait([task])
            self._pending.clear()  # it is given up
            self._bytes, self._went = 0, self._came
            self._moved.set()

    # -- what there is to do ------------------------------------------------------------------------------------------

    def put(self, tenant: str, draft: EntryDraft) -> bool:
        """Write this soon. False: too much is pending."""
        size = self._bytes + len(draft.value)
        if self._came - self._went >= _PENDING_MAX or size > _PENDING_BYTES_MAX or self._ending:
            self._counting.trouble("dropped")
            return False
        if not self._pending:
            self._some.set()
        self._pending[tenant].append(draft)
        self._bytes = size
        self._came += 1
        return True

    def count(self, tenant: str, kind: Kind, hits: int, misses: int, saved_usd: float, used: bytes | None) -> None:
        """Something was looked for."""
        found = self._counts.get((tenant, kind))
        if found is None:
            found = self._counts[tenant, kind] = _Count()
        found.hits += hits
        found.misses += misses
        found.saved_usd += saved_usd
        if used is not None and used not in found.used and self._used < _USED_MAX:
            found.used[used] = None
            self._used += 1

    # -- doing it -----------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        tally_at, sweep_at = loop.time() + _TALLY_S, loop.time() + _SWEEP_S
        while True:
            if not self._pending and not self._ending:
                await _until(self._some, min(tally_at, sweep_at))
            self._some.clear()
            if self._pending:
                await _until(self._hurry, loop.time() + self._gather_s)
            self._hurry.clear()
            await self._write()
            now = loop.time()
            if self._counts and (now >= tally_at or self._ending):
                await self._attempt(self._tally())
            tally_at = now + _TALLY_S if now >= tally_at else tally_at
            if now >= sweep_at or self._written > self._entries_max // 10 + _BATCH:
                sweep_at, self._written = now + _SWEEP_S, 0
                await self._attempt(self._sweep())
            if self._ending and not self._pending:
                return

    async def _write(self) -> None:
        """What is pending now. What comes meanwhile is gathered again: else a store that is busy got one after the other."""
        pending, self._pending, size = self._pending, defaultdict(list), self._bytes
        for tenant, drafts in pending.items():
            for start in range(0, len(drafts), _BATCH):
                batch = drafts[start : start + _BATCH]
                await self._attempt(self._store.put(tenant, batch))
                self._written += len(batch)
                self._went += len(batch)
                self._moved.set()
        self._bytes -= size

    async def _tally(self) -> None:
        counts, self._counts, self._used = self._counts, {}, 0
        await self._store.tally(
            [
                Tally(tenant, kind, one.hits, one.misses, one.saved_usd, tuple(one.used))
                for (tenant, kind), one in counts.items()
            ]
        )

    async def _sweep(self) -> None:
        gone = _SWEEP_LIMIT
        while gone >= _SWEEP_LIMIT:
            gone = await self._store.sweep(entries_max=self._entries_max, bytes_max=self._bytes_max, limit=_SWEEP_LIMIT)

    async def _attempt(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except CorralError as error:
            self._counting.trouble("write")
            _log.debug("The cache could not be written: %s", error)
        except Exception:  # noqa: BLE001 - a fault of ours must not end the task
            self._counting.trouble("write")
            _log.exception("The cache could not be written.")


async def _until(event: asyncio.Event, when: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(when):
            await event.wait()
