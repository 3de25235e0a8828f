"""Where answers are kept: copies at hand, and the store behind them. Whatever the store does, no call fails for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from corral.cache.counting import CacheCounting
from corral.cache.local import LocalCopies
from corral.cache.store import CacheStore, Claimed, EntryDraft, Kept, Kind, KindStats, Looked
from corral.cache.writing import GATHER_S, Writing
from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError
from corral.observability.metrics import Metrics
from corral.settings.model_sections import CacheSettings

_log = logging.getLogger("corral.cache")

T = TypeVar("T")

SURE_S = 1.0
"""What another worker cleared or replaced may be given out for so long."""
_ANSWER_S = 0.5
"""A store that takes longer is no help: asking the model is the alternative."""
_PAUSE_S = 1.0
_PAUSE_MAX_S = 30.0
_BATCH_MAX = 500


class Shelf:
    """One for a process, on one event loop."""

    def __init__(
        self,
        store: CacheStore | None,
        settings: CacheSettings | None = None,
        *,
        counting: CacheCounting | None = None,
        clock: Clock = SYSTEM_CLOCK,
        sure_s: float = SURE_S,
        gather_s: float = GATHER_S,
    ) -> None:
        """Without a store, the copies in this process are all there is. With one, they are in it after `gather_s`."""
        self.settings = CacheSettings() if settings is None else settings
        self.counting = CacheCounting(Metrics()) if counting is None else counting
        self._store = store
        self._local = LocalCopies(
            entries_max=self.settings.local_max, sure_s=None if store is None else sure_s, clock=clock
        )
        self._writing: Writing | None = None
        if store is not None:
            self._writing = Writing(
                store,
                self.counting,
                entries_max=self.settings.entries_max,
                bytes_max=self.settings.bytes_max,
                gather_s=gather_s,
            )
        self._asking: dict[tuple[str, bytes], list[asyncio.Future[Kept | None]]] = {}
        self._batch: dict[str, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._away_until = 0.0
        self._pause_s = _PAUSE_S

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to write behind. Starting twice is starting once."""
        if self._writing is not None:
            self._writing.start()

    async def flush(self) -> None:
        """Until what is to be kept now was written, or given up."""
        if self._writing is not None:
            await self._writing.flush()

    async def stop(self) -> None:
        """Write what is pending, and end. Stopping twice is stopping once."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        if self._writing is not None:
            await self._writing.stop()

    # -- looking ------------------------------------------------------------------------------------------------------

    def at_hand(self, tenant: str, key: bytes) -> Kept | None:
        """A copy that is surely good, without waiting."""
        return self._local.find(tenant, key)

    def lacks(self, tenant: str, key: bytes) -> bool:
        """Whether what is not at hand is surely not kept at all: told without waiting. False says nothing."""
        if self._store is None:
            return True
        generation = self._local.generation(tenant)
        return generation is not None and self._store.lacks(tenant, key, generation)

    async def find(self, tenant: str, key: bytes) -> Kept | None:
        """The entry, fresh or stale."""
        kept = self.at_hand(tenant, key)
        return kept if kept is not None or self.lacks(tenant, key) else await self.look(tenant, key)

    async def look(self, tenant: str, key: bytes) -> Kept | None:
        """The same where it is not at hand, nor surely lacking. Those who look at the same time ask the store together."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Kept | None] = loop.create_future()  # one's own: who leaves takes nobody's
        asked = self._asking.get((tenant, key))
        if asked is None:
            self._asking[tenant, key] = [answer]
            batch = self._batch.get(tenant)
            if batch is None:
                batch = self._batch[tenant] = []
                loop.call_soon(self._send, tenant)
            batch.append(key)
        else:
            asked.append(answer)
        kept = await answer
        return self.at_hand(tenant, key) if kept is None else kept  # it may have come meanwhile

    async def find_many(self, tenant: str, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        """Those of these entries that are there: one question to the store, and no copies of what is so many."""
        unique = list(dict.fromkeys(keys))
        if self._store is None:
            return {key: kept for key in unique if (kept := self.at_hand(tenant, key)) is not None}
        return await self._look(self._store, tenant, unique, copies=False)

    def _send(self, tenant: str) -> None:
        task = asyncio.get_running_loop().create_task(self._ask(tenant, self._batch.pop(tenant)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, tenant: str, keys: list[bytes]) -> None:
        assert self._store is not None  # noqa: S101 - who asks has looked
        found: dict[bytes, Kept] = {}
        try:
            for start in range(0, len(keys), _BATCH_MAX):
                found |= await self._look(self._store, tenant, keys[start : start + _BATCH_MAX])
        finally:
            for key in keys:
                kept = found.get(key)
                for answer in self._asking.pop((tenant, key)):
                    if not answer.done():
                        answer.set_result(kept)

    async def _look(
        self, store: CacheStore, tenant: str, keys: Sequence[bytes], *, copies: bool = True
    ) -> dict[bytes, Kept]:
        local, epoch = self._local, self._local.epoch(tenant)
        looked: Looked | None = await self._answer(store.get(tenant, keys))
        if looked is None:
            return {}
        if local.confirm(tenant, looked.generation, epoch) and copies:
            for key, kept in looked.found.items():
                local.put(tenant, key, kept, looked.generation)
        return looked.found

    # -- keeping ------------------------------------------------------------------------------------------------------

    def generation(self, tenant: str) -> int | None:
        """What the tenant's entries are now, as far as is known here: ask before asking a model. None: keep nothing."""
        return self._local.generation(tenant)

    def keep(self, tenant: str, draft: EntryDraft) -> bool:
        """Keep an entry: at hand at once, in the store a moment later. False: the store will not get it.

        With a draft's `generation`, what was cleared meanwhile is kept nowhere.
        """
        known = self._local.generation(tenant)
        copies = draft.kind != "vector" or self._store is None
        if copies and known is not None and (draft.generation is None or draft.generation == known):
            kept = Kept(draft.value, 0.0, draft.ttl_s, draft.ttl_s + draft.stale_s)
            self._local.put(tenant, draft.key, kept, known, draft.tags)
        return self._writing is None or self._writing.put(tenant, draft)

    def learn(self, tenant: str, key: bytes, kept: Kept, generation: int) -> None:
        """The store has this, as it said by the way."""
        if generation == self._local.generation(tenant):
            self._local.put(tenant, key, kept, generation)

    def count(
        self,
        tenant: str,
        kind: Kind,
        *,
        hits: int = 0,
        misses: int = 0,
        saved_usd: float = 0.0,
        used: bytes | None = None,
    ) -> None:
        """For the statistics, and for what goes first when there is no more room."""
        if self._writing is not None:
            self._writing.count(tenant, kind, hits, misses, saved_usd, used)

    # -- who asks -----------------------------------------------------------------------------------------------------

    async def claim(self, tenant: str, key: bytes, holder: str, *, lease_s: float) -> Claimed | None:
        """As the store's; none: it does not answer."""
        if self._store is None:
            return None
        return await self._answer(self._store.claim(tenant, key, holder, lease_s=lease_s))

    async def release(self, tenant: str, key: bytes, holder: str) -> None:
        """As the store's."""
        if self._store is not None:
            await self._answer(self._store.release(tenant, key, holder))

    # -- what people ask for ------------------------------------------------------------------------------------------

    async def drop(self, tenant: str, *, tags: Sequence[str] = (), kind: Kind | None = None) -> int:
        """Throw a tenant's entries away. Raises `StoreUnavailable`: then it is not known whether they went.

        Afterwards this process gives none of them; others may, for `SURE_S` more.
        """
        if self._store is None:
            return self._local.drop(tenant, tuple(tags) or None)
        self._local.forget(tenant)
        await self.flush()  # what was kept before, and is not meant, would not be accepted any more
        try:
            return await self._store.drop(tenant, tags=tags, kind=kind)
        finally:
            self._local.forget(tenant)

    async def stats(self, tenant: str) -> list[KindStats]:
        """What there is, and what it was good for, some seconds ago."""
        return [] if self._store is None else await self._store.stats(tenant)

    async def _answer(self, question: Awaitable[T]) -> T | None:
        """What the store says, if it says it soon; one that was away is left alone for a while."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._away_until:
            close = getattr(question, "close", None)
            if close is not None:
                close()
            self.counting.trouble("read")
            return None
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await question
        except (CorralError, TimeoutError) as error:
            self.counting.trouble("read")
            level = logging.WARNING if self._pause_s == _PAUSE_S else logging.DEBUG  # one warning per outage
            _log.log(level, "The cache's store does not answer, and calls go on without it: %r", error)
            self._away_until = loop.time() + self._pause_s
            self._pause_s = min(self._pause_s * 2, _PAUSE_MAX_S)
            return None
        self._pause_s = _PAUSE_S
        return answer
