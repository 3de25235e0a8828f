"""The keys as one worker knows them: asked for once, and forgotten together as soon as any of them changes."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import OrderedDict

import msgspec

from corral.behind import Behind
from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import StoreUnavailable
from corral.security.key_store import KeyHead, KeyRecord, KeyStore
from corral.security.keys import digest_of, id_of_access_key, id_of_key, is_ours, is_whole

_log = logging.getLogger("corral.security")

FRESH_S = 1.0
"""For so long nobody asks whether a key has changed: what is revoked is refused by every worker after that."""
STALE_S = 60.0
"""For so long keys that are known are good although the store does not answer."""
KNOWN_MAX = 10_000
_USED_EVERY_S = 60.0
_WRITTEN_EVERY_S = 1.0


class Known(msgspec.Struct, frozen=True):
    """Who a credential says is calling."""

    tenant: str
    tier: str = ""
    roles: tuple[str, ...] = ()
    key_id: str = ""
    user_id: str = ""
    """Empty: the caller may say it."""
    agents: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


class _Entry:
    """A key, and when its use was last written down."""

    __slots__ = ("known", "noted_at", "record")

    def __init__(self, record: KeyRecord) -> None:
        grant = record.grant
        self.record = record
        self.noted_at = record.last_used_at or 0.0
        self.known = Known(record.tenant, grant.tier, grant.roles, record.id, agents=grant.agents, models=grant.models)


class KeyRing:
    """Tells whose key it is. One event loop; bounded, whatever is shown to it."""

    def __init__(
        self, store: KeyStore, *, clock: Clock = SYSTEM_CLOCK, fresh_s: float = FRESH_S, stale_s: float = STALE_S
    ) -> None:
        """Asks `store`, and writes there when keys were used: at most once a minute for each."""
        self._store = store
        self._clock = clock
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._head: KeyHead | None = None
        self._ask_again_at = 0.0
        self._trusted_until = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._known: OrderedDict[str, _Entry | None] = OrderedDict()
        self._used: Behind[tuple[str, float]] = Behind(
            store.touch,
            name="The use of keys",
            log=_log,
            every_s=_WRITTEN_EVERY_S,
            pending_max=KNOWN_MAX,
        )

    # -- asking

    async def in_use(self) -> bool:
        """Whether there ever was a key. While the store is away, what was known last: nobody can make one there."""
        if self._clock.monotonic() >= self._ask_again_at:
            await self._ask()
        return self._head is not None and self._head.version > 0

    async def find(self, key: str) -> Known | None:
        """Whose key this is; none: nobody's, or it is over. Raises `StoreUnavailable` when that cannot be known."""
        key_id = id_of_key(key)
        if not key_id:
            return None
        entry = await self._entry(key_id)
        if entry is None or entry.record.is_over(self._clock.now()):
            return None
        record, digest = entry.record, digest_of(key)
        if not hmac.compare_digest(record.digest, digest) and not (
            record.old_until > self._clock.now() and hmac.compare_digest(record.old_digest, digest)
        ):
            return None
        self._note(entry)
        return entry.known

    async def find_pair(self, access_key: str) -> tuple[KeyRecord, Known] | None:
        """The key to which the public half of a pair belongs, if it may sign. Its use is noted with `used`."""
        key_id = id_of_access_key(access_key)
        entry = await self._entry(key_id) if key_id else None
        if entry is None or not entry.record.grant.aws or entry.record.is_over(self._clock.now()):
            return None
        return entry.record, entry.known

    def used(self, key_id: str) -> None:
        """This key was good, just now."""
        entry = self._known.get(key_id)
        if entry is not None:
            self._note(entry)

    # -- life

    async def start(self) -> None:
        """Begin to write down what is used. Calling it again does nothing."""
        await self._used.start()

    async def drain(self) -> None:
        """Write down what was used until now."""
        await self._used.drain()

    async def stop(self) -> None:
        """Write what is left, and end. Calling it again does nothing."""
        if self._asking is not None:
            await asyncio.wait([self._asking])
        await self._used.stop()

    # -- inside

    async def _entry(self, key_id: str) -> _Entry | None:
        if self._clock.monotonic() >= self._ask_again_at:
            await self._ask()
        if key_id in self._known:
            self._known.move_to_end(key_id)
            return self._known[key_id]
        head = self._head
        if head is None or self._clock.monotonic() > self._trusted_until:
            raise StoreUnavailable("The store does not answer, so nobody can tell whose key this is. Try again soon.")
        if not is_ours(key_id, head.seal):
            return None
        record = await self._store.find(key_id)
        entry = None if record is None else _Entry(record)
        if self._head is head:  # else it changed meanwhile, and this may be from before
            self._known[key_id] = entry
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return entry

    def _note(self, entry: _Entry) -> None:
        now = self._clock.now()
        if now - entry.noted_at >= _USED_EVERY_S:
            entry.noted_at = now
            self._used.add((entry.record.id, now))

    async def _ask(self) -> None:
        """Ask what changed: one question at a time, whoever waits for it may leave."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._look())
            self._asking.add_done_callback(self._asked)
        await asyncio.shield(self._asking)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # those who wait have it

    async def _look(self) -> None:
        try:
            head = await self._store.head()
        except StoreUnavailable:
            self._ask_again_at = self._clock.monotonic() + self._fresh_s
            if self._known and self._clock.monotonic() > self._trusted_until:
                self._known.clear()
                _log.warning("The store does not say which keys are good: nobody is let in until it does.")
            return
        now = self._clock.monotonic()
        if head != self._head:
            self._head = head
            self._known.clear()
        self._ask_again_at = now + self._fresh_s
        self._trusted_until = now + self._stale_s


def is_key(text: str) -> bool:
    """Whether a text is a key, whole, of whatever installation."""
    return bool(id_of_key(text)) and is_whole(text)
