"""Values that may be lost, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries
from corral.backends.sqlite.cache_absence import CHUNK, Absence
from corral.backends.sqlite.many_rows import ManyRows
from corral.cache.store import Claimed, EntryDraft, Kept, Kind, KindStats, Looked, Tally

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("cache.sql"))
_ENTRIES, _VALUES = ManyRows(_SQL["put"]), ManyRows(_SQL["put_value"])
_TENANTS_MAX = 10_000


class SqliteCache:
    """One row per entry, and one per value."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._absence = Absence()
        self._newest: int | None = None
        """The newest entry as this process left it; none: it kept nothing yet."""
        self._of_others = 0
        self._surplus = _Surplus()
        self._generations: dict[str, int] = {}
        """As this process's own writes have found or left them."""

    def lacks(self, tenant: str, key: bytes, generation: int) -> bool:
        """Tell from memory."""
        return self._generations.get(tenant) == generation and self._absence.lacks(key)

    async def get(self, tenant: str, keys: Sequence[bytes]) -> Looked:
        """Look."""
        if not findable(tenant):
            return Looked({}, 0)

        def run(view: View) -> Looked:
            generation = _generation(view.connection, tenant)  # first: of a clearing in between, it is the elder one
            rows = {key: view.execute(_SQL["get"], (tenant, key, view.now)).fetchone() for key in keys}
            self._learn(view)
            return Looked({key: _kept(row, view.now) for key, row in rows.items() if row is not None}, generation)

        return await self._engine.read(run)

    async def put(self, tenant: str, drafts: Sequence[EntryDraft]) -> int:
        """Keep."""
        check_id("tenant", tenant)
        for tag in {tag for draft in drafts for tag in draft.tags}:
            check_id("tag", tag)
        self._absence.keeping([draft.key for draft in drafts])
        if len(self._generations) > _TENANTS_MAX:
            self._generations.clear()

        def run(transaction: Transaction) -> int:
            connection = transaction.connection
            self._look_for_others(connection)
            generation = self._generations[tenant] = _generation(connection, tenant)
            if connection.execute(_SQL["has_leases"]).fetchone()[0]:
                connection.executemany(_SQL["end_lease"], [(tenant, draft.key) for draft in drafts])
            kept = [draft for draft in drafts if draft.generation is None or draft.generation == generation]
            _put(transaction, tenant, kept)
            self._newest = _newest(connection)
            return len(kept)

        return await self._engine.write(run)

    async def claim(self, tenant: str, key: bytes, holder: str, *, lease_s: float) -> Claimed:
        """Take the right to ask."""
        check_id("tenant", tenant)

        def run(transaction: Transaction) -> Claimed:
            now = transaction.now
            row = transaction.execute(_SQL["get"], (tenant, key, now)).fetchone()
            if row is not None and row[2] > now:
                return Claimed(ours=False, kept=_kept(row, now))
            bound = (tenant, key, holder, now + lease_s, now)
            return Claimed(ours=transaction.execute(_SQL["claim"], bound).rowcount > 0)

        return await self._engine.write(run)

    async def release(self, tenant: str, key: bytes, holder: str) -> None:
        """Give it up."""
        if not findable(tenant, holder):
            return

        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL["release"], (tenant, key, holder))

        await self._engine.write(run)

    async def drop(self, tenant: str, *, tags: Sequence[str] = (), kind: Kind | None = None) -> int:
        """Throw away."""
        if not findable(tenant):
            return 0
        known = [tag for tag in tags if findable(tag)]

        def run(transaction: Transaction) -> int:
            self._generations.pop(tenant, None)
            self._surplus.forget()
            transaction.execute(_SQL["next_generation"], (tenant,))
            if not tags:
                return transaction.execute(_SQL["clear"], (tenant, kind)).rowcount
            return sum(transaction.execute(_SQL["clear_tag"], (tenant, tag, kind)).rowcount for tag in known)

        return await self._engine.write(run)

    async def tally(self, tallies: Sequence[Tally]) -> None:
        """Count."""
        known = [one for one in tallies if findable(one.tenant)]
        counts = [(one.tenant, one.kind, one.hits, one.misses, one.saved_usd) for one in known]

        def run(transaction: Transaction) -> None:
            transaction.connection.executemany(_SQL["count"], counts)
            uses = ((transaction.now, one.tenant, key) for one in known for key in one.used)
            transaction.connection.executemany(_SQL["used"], uses)

        await self._engine.write(run)

    async def stats(self, tenant: str) -> list[KindStats]:
        """Count what there is."""
        if not findable(tenant):
            return []

        def run(view: View) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
            return (
                view.execute(_SQL["stats"], (tenant,)).fetchall(),
                view.execute(_SQL["totals"], (tenant,)).fetchall(),
            )

        sizes, totals = await self._engine.read(run)
        there = {kind: (entries, size) for kind, entries, size in sizes}
        good = {kind: rest for kind, *rest in totals}
        return [
            KindStats(kind=kind, entries=entries, bytes=size, hits=hits, misses=misses, saved_usd=saved)
            for kind in sorted({*there, *good})
            for entries, size in [there.get(kind, (0, 0))]
            for hits, misses, saved in [good.get(kind, (0, 0, 0.0))]
        ]

    async def sweep(self, *, entries_max: int, bytes_max: int, limit: int = 1000) -> int:
        """Make room."""

        def run(transaction: Transaction) -> int:
            now = transaction.now
            transaction.execute(_SQL["end_leases"], (now, limit))
            gone = transaction.execute(_SQL["expire"], (now, limit)).rowcount
            if gone:
                self._surplus.forget()
            room = limit - gone
            if room <= 0:
                return gone
            (version,) = transaction.execute("PRAGMA data_version").fetchone()
            counted_for = (entries_max, bytes_max, version)
            over = self._surplus.of(counted_for)
            if over is None:
                entries, size = transaction.execute(_SQL["extent"]).fetchone()
                over = entries - entries_max
                if size > bytes_max:
                    return gone + transaction.execute(_SQL["evict"], (over, size - bytes_max, room)).rowcount
            if over > 0:
                evicted = transaction.execute(_SQL["evict_oldest"], (min(over, room),)).rowcount
                self._surplus.note(counted_for, over - evicted)
                gone += evicted
            return gone

        return await self._engine.write(run)

    def _look_for_others(self, connection: sqlite3.Connection) -> None:
        """Whether others have kept something since this process did.

        What else is written does not matter: a worker's heartbeat, which has a connection of its own, comes every few seconds.
        Others who took the newest entry away and kept one in its place go unnoticed: asking for that once more is all it costs.
        """
        if self._newest is not None and _newest(connection) != self._newest:
            self._of_others += 1
        self._absence.checked(connection, self._of_others)

    def _learn(self, view: View) -> None:
        """Each look reads some more of the keys that were there before."""
        chunk = self._absence.next_chunk()
        if chunk is None:
            return
        era, after = chunk
        try:
            rows = view.execute(_SQL["keys"], (after, CHUNK)).fetchall()
        except BaseException:
            self._absence.left()
            raise
        self._absence.read(era, rows)


class _Surplus:
    """How many entries too many were found and are still there: they go some at a time, and counting all there are takes as long.

    That holds for the same limits, and while nobody else writes: `PRAGMA data_version` is another one then. What this process
    keeps meanwhile makes it too few, and the next count finds those; what it throws away otherwise has it forget.
    """

    def __init__(self) -> None:
        self._counted_for: tuple[int, int, int] | None = None
        self._left = 0

    def of(self, counted_for: tuple[int, int, int]) -> int | None:
        """So many, for these limits and this state of the file; none: they are to be counted."""
        return self._left if self._left > 0 and counted_for == self._counted_for else None

    def note(self, counted_for: tuple[int, int, int], left: int) -> None:
        """So many are left."""
        self._counted_for, self._left = counted_for, left

    def forget(self) -> None:
        """Entries went otherwise."""
        self._left = 0


def _newest(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute(_SQL["newest"]).fetchone()
    return int(number)


def _put(transaction: Transaction, tenant: str, drafts: Sequence[EntryDraft]) -> None:
    now, connection = transaction.now, transaction.connection
    rows = [_row(tenant, draft, now) for draft in drafts]
    entries = _ENTRIES.insert(connection, rows)
    numbers = {key: number for key, number, _ in entries}
    _VALUES.insert(connection, [(numbers[draft.key], bytearray(draft.value)) for draft in drafts])
    tagged = {number for _, number, tagged in entries if tagged}
    for draft in drafts if tagged else ():
        number = numbers[draft.key]
        if number in tagged:
            transaction.execute(_SQL["forget_tags"], (number,))
            connection.executemany(_SQL["put_tag"], ((tenant, tag, number) for tag in draft.tags))


def _row(tenant: str, draft: EntryDraft, now: float) -> tuple[Any, ...]:
    fresh_until = now + draft.ttl_s
    gone_at = fresh_until + draft.stale_s
    tagged = 1 if draft.tags else 0
    # Of types that sqlite3 takes as they are. For all others (bytes, booleans, None) it looks first whether they can be adapted.
    return (tenant, bytearray(draft.key), draft.kind, len(draft.value), tagged, now, fresh_until, gone_at, now)


def _generation(connection: sqlite3.Connection, tenant: str) -> int:
    row = connection.execute(_SQL["generation"], (tenant,)).fetchone()
    return 0 if row is None else int(row[0])


def _kept(row: Sequence[Any], now: float) -> Kept:
    value, created_at, fresh_until, expires_at = row
    return Kept(value, now - created_at, fresh_until - now, expires_at - now)
