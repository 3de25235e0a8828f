"""Copies of entries in this process: what was used a moment ago need not be fetched."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from corral.cache.store import Kept

BYTES_MAX = 33_554_432
"""All copies together."""
_TENANTS_MAX = 10_000


class Copy(msgspec.Struct):
    """A value, in this process' monotonic time."""

    value: bytes
    made_at: float
    fresh_until: float
    gone_at: float
    generation: int
    sure_until: float
    """Until then it is taken for what the store has."""
    tags: tuple[str, ...] = ()

    def kept(self, now: float) -> Kept:
        """As a store would give it."""
        return Kept(self.value, now - self.made_at, self.fresh_until - now, self.gone_at - now)


class _Tenant(msgspec.Struct):
    generation: int | None
    """None: something was cleared here, and the store has not said since which one it is."""
    epoch: int


class LocalCopies:
    """At most so many copies and bytes; what was not used for the longest time goes first.

    A copy is given out for `sure_s` after the store was asked for it or given it: so late is seen what other workers clear or
    replace. What this process clears itself is gone at once. Without a store behind, copies are sure for ever.
    """

    def __init__(self, *, entries_max: int, sure_s: float | None, bytes_max: int = BYTES_MAX) -> None:
        """`sure_s`: none, there is no store behind."""
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._sure_s = float("inf") if sure_s is None else sure_s
        self._copies: OrderedDict[tuple[str, bytes], Copy] = OrderedDict()
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._epochs = 0
        self._forgotten_epoch = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._copies)

    def find(self, tenant: str, key: bytes, now: float) -> Copy | None:
        """A copy that is surely good."""
        copy = self._copies.get((tenant, key))
        if copy is None:
            return None
        known = self._tenants.get(tenant)
        if known is None or copy.generation != known.generation or copy.gone_at <= now or copy.sure_until <= now:
            self._remove((tenant, key), copy)
            return None
        self._copies.move_to_end((tenant, key))
        return copy

    def generation(self, tenant: str) -> int | None:
        """The tenant's generation as the store said it last, if nothing was cleared here since."""
        known = self._tenants.get(tenant)
        return None if known is None else known.generation

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

    def put(self, tenant: str, key: bytes, kept: Kept, generation: int, now: float, tags: tuple[str, ...] = ()) -> None:
        """Keep a copy, if it is not too large to be one of many."""
        place = (tenant, key)
        copy = Copy(
            value=kept.value,
            made_at=now - kept.age_s,
            fresh_until=now + kept.fresh_s,
            gone_at=now + kept.left_s,
            generation=generation,
            sure_until=now + self._sure_s,
            tags=tags,
        )
        before = self._copies.get(place)
        if before is not None:
            self._remove(place, before)
        if len(copy.value) * 8 > self._bytes_max:
            return
        self._copies[place] = copy
        self.bytes += len(copy.value)
        while len(self._copies) > self._entries_max or self.bytes > self._bytes_max:
            self._remove(*next(iter(self._copies.items())))

    def forget(self, tenant: str) -> None:
        """Somebody clears the tenant's entries: no copy is sure, and no answer of the store that is on its way."""
        self._epochs += 1
        self._know(tenant, _Tenant(None, self._epochs))

    def drop(self, tenant: str, tags: tuple[str, ...] | None) -> int:
        """Without a store behind: throw away the tenant's copies under any of these tags, or all of them."""
        gone = [
            (place, copy)
            for place, copy in self._copies.items()
            if place[0] == tenant and (tags is None or not set(tags).isdisjoint(copy.tags))
        ]
        for place, copy in gone:
            self._remove(place, copy)
        return len(gone)

    def _know(self, tenant: str, known: _Tenant) -> None:
        self._tenants[tenant] = known
        if len(self._tenants) > _TENANTS_MAX:
            self._tenants.popitem(last=False)
            self._forgotten_epoch = self._epochs  # what is on its way for a tenant that was known counts no more

    def _remove(self, place: tuple[str, bytes], copy: Copy) -> None:
        del self._copies[place]
        self.bytes -= len(copy.value)
