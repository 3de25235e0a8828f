"""Copies of entries in this process: what was used a moment ago need not be fetched."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from corral.cache.store import Kept
from corral.clock import SYSTEM_CLOCK, Clock

BYTES_MAX = 33_554_432
"""All copies together."""
_TENANTS_MAX = 10_000


class Copy(msgspec.Struct):
    """A value as it was when it came here, in this process' monotonic time."""

    kept: Kept
    came_at: float
    generation: int
    tags: tuple[str, ...]


class _Tenant(msgspec.Struct):
    generation: int | None
    """None: something was cleared here, and the store has not said since which one it is."""
    epoch: int


class LocalCopies:
    """At most so many copies and bytes; what was not used for the longest time goes first.

    A copy is given out for `sure_s` after the store was asked for it or given it: so late is seen what other workers clear or
    replace. What this process clears itself is gone at once. Without a store behind, copies are sure for ever.
    """

    def __init__(
        self, *, entries_max: int, sure_s: float | None, bytes_max: int = BYTES_MAX, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`sure_s`: none, there is no store behind."""
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._sure_s = float("inf") if sure_s is None else sure_s
        self._unsaid = 0 if sure_s is None else None
        """Without a store, nobody says it."""
        self._monotonic = clock.monotonic
        self._copies: OrderedDict[tuple[str, bytes], Copy] = OrderedDict()
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._epochs = 0
        self._forgotten_epoch = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._copies)

    def find(self, tenant: str, key: bytes) -> Kept | None:
        """What is surely good, as a store would give it."""
        place = (tenant, key)
        copy = self._copies.get(place)
        if copy is None:
            return None
        kept, since_s = copy.kept, self._monotonic() - copy.came_at
        if since_s >= self._sure_s or since_s >= kept.left_s or copy.generation != self.generation(tenant):
            self._remove(place)
            return None
        self._copies.move_to_end(place)
        return Kept(kept.value, kept.age_s + since_s, kept.fresh_s - since_s, kept.left_s - since_s)

    def generation(self, tenant: str) -> int | None:
        """The tenant's generation as the store said it last, if nothing was cleared here since."""
        known = self._tenants.get(tenant)
        return self._unsaid if known is None else known.generation

    def epoch(self, tenant: str) -> int:
        """Ask before the store is asked; what it says counts if nothing was cleared here meanwhile."""
        known = self._tenants.get(tenant)
        return self._forgotten_epoch if known is None else known.epoch

    def confirm(self, tenant: str, generation: int, epoch: int) -> bool:
        """The store says which generation it is. False: that is old news."""
        if self.epoch(tenant) != epoch:
            return False
        known = self._tenants.get(tenant)
        if known is None:
            self._know(tenant, _Tenant(generation, epoch))
        else:
            known.generation = generation
        return True

    def put(self, tenant: str, key: bytes, kept: Kept, generation: int, tags: tuple[str, ...] = ()) -> None:
        """Keep a copy, if it is not too large to be one of many."""
        copies, place, size = self._copies, (tenant, key), len(kept.value)
        if place in copies:
            self._remove(place)
        if size * 8 > self._bytes_max:
            return
        copies[place] = Copy(kept, self._monotonic(), generation, tags)
        self.bytes += size
        while len(copies) > self._entries_max or self.bytes > self._bytes_max:
            _, oldest = copies.popitem(last=False)
            self.bytes -= len(oldest.kept.value)

    def forget(self, tenant: str) -> None:
        """Somebody clears the tenant's entries: no copy is sure, and no answer of the store that is on its way."""
        self._epochs += 1
        self._know(tenant, _Tenant(None, self._epochs))

    def drop(self, tenant: str, tags: tuple[str, ...] | None) -> int:
        """Without a store behind: throw away the tenant's copies under any of these tags, or all of them."""
        gone = [
            place
            for place, copy in self._copies.items()
            if place[0] == tenant and (tags is None or not set(tags).isdisjoint(copy.tags))
        ]
        for place in gone:
            self._remove(place)
        return len(gone)

    def _know(self, tenant: str, known: _Tenant) -> None:
        self._tenants[tenant] = known
        if len(self._tenants) > _TENANTS_MAX:
            self._tenants.popitem(last=False)
            self._forgotten_epoch = self._epochs  # what is on its way for a tenant that was known counts no more

    def _remove(self, place: tuple[str, bytes]) -> None:
        self.bytes -= len(self._copies.pop(place).kept.value)
