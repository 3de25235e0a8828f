"""The layer that answers a question with the answer that was given to exactly the same one."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator
from contextvars import Context
from typing import Any, Literal

import msgspec

from corral.cache.coalescing import Coalesced
from corral.cache.counting import Result
from corral.cache.entries import Refusal, may_be_kept, read_value, refusal_value, reply_value
from corral.cache.flight import Came
from corral.cache.keys import KeyGenerator, checked_key
from corral.cache.replay import replayed
from corral.cache.shelf import Shelf
from corral.cache.store import EntryDraft, Kept
from corral.clock import new_id
from corral.errors import CorralError, ModelRequestInvalid, NotCached
from corral.messages import CallModel, ModelCall, ModelEvent, ModelReply, closing

_log = logging.getLogger("corral.cache")

REFRESHES_MAX = 16
"""Answers that are fetched anew at the same time; what is stale beyond that stays so for a moment."""
_REFRESH_S = 120.0
_REFRESH_AGAIN_S = 10.0
"""After a failure nobody tries it again for so long."""
_STOP_S = 5.0

Mode = Literal["use", "bypass", "refresh", "only"]


class Cached:
    """A `ModelLayer`. `start` and `stop` belong to it; after `drain` it begins nothing in the background."""

    def __init__(
        self, shelf: Shelf, *, generate: KeyGenerator | None = None, coalesced: Coalesced | None = None
    ) -> None:
        """Settings are the shelf's. `generate`: what makes two questions the same, in somebody's own words.

        `coalesced`: asks what was not kept, once for all who ask it at the same time.
        """
        settings = shelf.settings
        self.shelf = shelf
        """Where the answers are; clearing it here is seen here at once."""
        self._generate = generate
        self._coalesced = None if settings.coalesce == "never" else coalesced
        self._usual: Mode = "use" if settings.exact else "bypass"
        self._settings = settings
        self._counting = shelf.counting
        self._refreshing: dict[tuple[str, bytes], asyncio.Task[None]] = {}
        self._draining = False

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin. Starting twice is starting once."""
        self._draining = False
        await self.shelf.start()

    async def drain(self) -> None:
        """Begin no more refreshes."""
        self._draining = True

    async def stop(self) -> None:
        """Give running refreshes a few seconds, write what is to be kept, and end. Stopping twice is stopping once."""
        self._draining = True
        tasks: set[asyncio.Task[None]] = set(self._refreshing.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_STOP_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self.shelf.stop()

    # -- the layer ----------------------------------------------------------------------------------------------------

    def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Answer with what was kept, or go on and keep what comes."""
        mode: Mode = call.policy.cache or self._usual
        key = None if mode == "bypass" else self.key_of(call)
        if key is None:
            self._note(call, "bypass")
            if mode == "only":
                raise NotCached("This call's answer is never kept: see `cache.temperature_max`.")
            return self._unkept(call, proceed)
        call.notes["cache.key"] = key.hex()
        tenant = call.caller.tenant
        # Who refreshes looks as well: whether something was cleared meanwhile, only the store can tell.
        kept = self.shelf.at_hand(tenant, key)
        if kept is None and not self.shelf.lacks(tenant, key):
            return self._looked(call, key, mode, proceed)
        return self._kept_or_asked(call, key, kept, mode, proceed)

    async def _looked(self, call: ModelCall, key: bytes, mode: Mode, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        kept = await self.shelf.look(call.caller.tenant, key)
        async with closing(self._kept_or_asked(call, key, kept, mode, proceed)) as events:
            async for event in events:
                yield event

    def _kept_or_asked(
        self, call: ModelCall, key: bytes, kept: Kept | None, mode: Mode, proceed: CallModel
    ) -> AsyncIterator[ModelEvent]:
        found = None if kept is None or mode == "refresh" else read_value(kept.value)
        if kept is not None and found is not None:
            reply = self._answer(call, key, kept, found, proceed, mode)
            return replayed(reply, stream=call.stream, pause_s=call.policy.replay_chunks_s)
        self._note(call, "miss")
        tenant = call.caller.tenant
        self.shelf.count(tenant, "answer", misses=1)
        if mode == "only":
            raise NotCached
        came = functools.partial(self.keep, call, key, self.shelf.generation(tenant))
        if self._coalesced is None or not call.policy.idempotent:
            return _told(proceed(call), came)
        return self._coalesced.ask(call, key, proceed, came)

    def _unkept(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        return proceed(call) if self._coalesced is None else self._coalesced(call, proceed)

    # -- what other layers of this room use ---------------------------------------------------------------------------

    def key_of(self, call: ModelCall) -> bytes | None:
        """The key of a call whose answer may be kept; none: it may not, or it has no key."""
        if call.temperature is not None and call.temperature > self._settings.temperature_max:
            return None
        return checked_key(call, self._generate, self._counting)

    def keep(
        self, call: ModelCall, key: bytes, generation: int | None, outcome: ModelReply | ModelRequestInvalid
    ) -> bool:
        """Keep an answer, or a refusal that would come again. False: it is not kept, or was already."""
        policy, settings = call.policy, self._settings
        if generation is None or call.notes.get("cache.kept"):
            return False
        if isinstance(outcome, ModelReply):
            ttl_s = settings.ttl_s if policy.cache_ttl_s is None else policy.cache_ttl_s
            stale_s = settings.stale_s
            value = reply_value(outcome) if ttl_s > 0 and may_be_kept(outcome) else None
        else:
            ttl_s, stale_s = settings.negative_ttl_s, 0.0
            value = refusal_value(outcome) if ttl_s > 0 else None
        if value is None:
            return False
        draft = EntryDraft(
            key=key, value=value, ttl_s=ttl_s, stale_s=stale_s, tags=policy.cache_tags, generation=generation
        )
        call.notes["cache.kept"] = True
        return self.shelf.keep(call.caller.tenant, draft)

    # -- an answer that was kept --------------------------------------------------------------------------------------

    def _answer(
        self, call: ModelCall, key: bytes, kept: Kept, found: ModelReply | Refusal, proceed: CallModel, mode: Mode
    ) -> ModelReply:
        stale = kept.fresh_s <= 0
        tenant = call.caller.tenant
        notes = call.notes
        notes["cache.age_s"] = round(kept.age_s, 3)
        if isinstance(found, Refusal):
            self._note(call, "hit", "negative")
            self.shelf.count(tenant, "answer", hits=1, used=key)
            raise found.error()
        if stale and mode != "only":
            self._refresh(call, key, proceed)
        cost = found.cost_usd
        if cost is not None:
            notes["cache.saved_usd"] = cost
            self._counting.saved("exact", cost)
        self._note(call, "stale" if stale else "hit")
        self.shelf.count(tenant, "answer", hits=1, saved_usd=cost or 0.0, used=key)
        return msgspec.structs.replace(found, cached="stale" if stale else "exact", cost_usd=0.0)

    def _note(
        self, call: ModelCall, result: Literal["hit", "miss", "stale", "bypass"], counted: Result = "hit"
    ) -> None:
        call.notes["cache.kind"] = "exact"
        call.notes["cache.result"] = result
        self._counting.looked("exact", counted if result == "hit" else result)

    # -- fetching anew ------------------------------------------------------------------------------------------------

    def _refresh(self, call: ModelCall, key: bytes, proceed: CallModel) -> None:
        """Fetch a new answer in the background: one for all workers, and nothing of the caller's request goes along."""
        place = (call.caller.tenant, key)
        if self._draining or place in self._refreshing or len(self._refreshing) >= REFRESHES_MAX:
            return
        work = self._fetch(call, key, proceed)
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._refreshing[place] = task
        task.add_done_callback(lambda _: self._refreshing.pop(place, None))

    async def _fetch(self, call: ModelCall, key: bytes, proceed: CallModel) -> None:
        tenant, shelf, holder = call.caller.tenant, self.shelf, new_id()
        claimed = await shelf.claim(tenant, key, holder, lease_s=_REFRESH_AGAIN_S)
        generation = shelf.generation(tenant)
        if claimed is not None and not claimed.ours:
            if claimed.kept is not None and generation is not None:
                shelf.learn(tenant, key, claimed.kept, generation)
            return
        fresh: dict[str, Any] = {"cache.refresh": True}
        policy = msgspec.structs.replace(call.policy, cache="refresh")
        anew = msgspec.structs.replace(call, stream=False, deadline=None, notes=fresh, policy=policy)
        try:
            async with asyncio.timeout(_REFRESH_S), closing(self._unkept(anew, proceed)) as events:
                async for event in events:
                    if type(event) is ModelReply and not self.keep(anew, key, generation, event):
                        await shelf.release(tenant, key, holder)
        except ModelRequestInvalid as error:
            self.keep(anew, key, generation, error)
        except (CorralError, TimeoutError) as error:
            self._counting.trouble("refresh")
            _log.debug("A stale answer could not be fetched anew: %s", error)
        except Exception:  # noqa: BLE001 - nobody else would hear of a fault of ours
            self._counting.trouble("refresh")
            _log.exception("A stale answer could not be fetched anew.")


async def _told(asked: AsyncIterator[ModelEvent], came: Came) -> AsyncIterator[ModelEvent]:
    """The same events; `came` is told the answer, or the refusal."""
    try:
        async with closing(asked) as events:
            async for event in events:
                if type(event) is ModelReply:
                    came(event)
                yield event
    except ModelRequestInvalid as error:
        came(error)
        raise
