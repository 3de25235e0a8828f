"""What of the sessions lies in the archive, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.cold import kept_event, metadata_of, segment_of
from corral.backends.cursor import write_cursor
from corral.backends.encoding import findable
from corral.backends.queries import read_queries
from corral.sessions.event import Batch, Idle, SessionKey, Stamp, TierCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.sessions.event import KeptEvent, Segment

_SQL = read_queries(Path(__file__).with_name("tiers.sql"))

_STRETCH = 5_000
"""Sessions looked at by one `idle`: a few milliseconds of one reader."""


class SqliteTiers:
    """Segments by session, and the names of objects that are nobody's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def stamp(self, key: SessionKey) -> Stamp | None:
        """The session's numbers."""
        if not findable(key.tenant, key.session_id):
            return None
        row = await self._engine.read(
            lambda view: view.execute(_SQL["stamp"], (key.tenant, key.session_id, view.now)).fetchone()
        )
        return Stamp(*row) if row else None

    def cursor_at(self, seq: int) -> str:
        """The cursor behind a place."""
        return write_cursor(seq)

    async def idle(
        self, after: int, *, idle_s: float, events_max: int, limit: int = 100
    ) -> tuple[list[Idle], int | None]:
        """Look for sessions that were left alone."""

        def run(view: View) -> tuple[list[Any], int]:
            bound = {
                "after": after,
                "upto": after + _STRETCH,
                "before": view.now - idle_s,
                "now": view.now,
                "events_max": events_max,
                "limit": limit,
            }
            return view.execute(_SQL["idle"], bound).fetchall(), view.execute(_SQL["last_number"]).fetchone()[0]

        rows, last = await self._engine.read(run)
        found = [
            Idle(SessionKey(tenant, session_id), number, cold_seq, 0 if left_alone else events_max // 2)
            for number, tenant, session_id, cold_seq, left_alone in rows
        ]
        upto = found[-1].number if len(found) == limit else after + _STRETCH
        return found, upto if upto < last else None

    async def begin(self, idle: Idle, name: str, *, events_max: int, bytes_max: int, spare_s: float) -> Batch | None:
        """Read what may go."""

        def run(transaction: Transaction) -> list[KeptEvent]:
            if not _untouched(transaction, idle.number, idle.cold_seq):
                return []
            events = _oldest(transaction, idle, events_max=events_max, bytes_max=bytes_max)
            if events:
                transaction.execute(_SQL["note_litter"], (name, transaction.now + spare_s))
            return events

        events = await self._engine.write(run)
        return Batch(idle, name, events) if events else None

    async def end(self, segment: Segment, *, cold_seq: int) -> bool:
        """Make a segment, and remove its events."""

        def run(transaction: Transaction) -> bool:
            bound = {**msgspec.structs.asdict(segment), "now": transaction.now}
            del bound["key"]
            if not _untouched(transaction, segment.number, cold_seq):
                return False
            if transaction.execute(_SQL["count_upto"], bound).fetchone()[0] != segment.events:
                return False
            if not transaction.execute(_SQL["take_from_litter"], (segment.object,)).rowcount:
                return False
            for query in ("set_cold", "remove_cold", "add_segment"):
                transaction.execute(_SQL[query], bound)
            return True

        return await self._engine.write(run)

    async def segments(self, key: SessionKey) -> list[Segment]:
        """The session's segments."""
        if not findable(key.tenant, key.session_id):
            return []
        rows = await self._engine.read(
            lambda view: view.execute(_SQL["segments"], (key.tenant, key.session_id, view.now)).fetchall()
        )
        return [segment_of(row) for row in rows]

    async def restore(self, segment: Segment, events: Sequence[KeptEvent]) -> bool:
        """Bring events back."""

        def run(transaction: Transaction) -> bool:
            number, now = segment.number, transaction.now
            bound = {"number": number, "object": segment.object, "now": now}
            if not transaction.execute(_SQL["take_segment"], bound).rowcount:
                return False
            for one in events:
                if one.expires_at is None or one.expires_at > now:
                    transaction.execute(_SQL["bring_back"], _row(number, one))
            transaction.execute(_SQL["set_warm"], bound)
            return True

        return await self._engine.write(run)

    async def expiring(self, *, limit: int = 10) -> list[Segment]:
        """Segments with something past its time."""
        rows = await self._engine.read(
            lambda view: view.execute(_SQL["expiring"], {"now": view.now, "limit": limit}).fetchall()
        )
        return [segment_of(row) for row in rows]

    async def cold_of_actor(self, tenant: str, actor: str, *, limit: int = 10) -> list[SessionKey]:
        """Where an actor's words may lie in the archive."""
        if not findable(tenant, actor):
            return []
        rows = await self._engine.read(
            lambda view: view.execute(_SQL["cold_of_actor"], (tenant, actor, limit)).fetchall()
        )
        return [SessionKey(*row) for row in rows]

    async def litter(self, *, limit: int = 100) -> list[str]:
        """Objects to be deleted."""

        def run(transaction: Transaction) -> list[str]:
            bound = {"now": transaction.now, "limit": limit}
            return [name for (name,) in transaction.execute(_SQL["sweep_litter"], bound).fetchall()]

        return await self._engine.write(run)

    async def swept(self, names: Sequence[str]) -> None:
        """Objects that are gone."""

        def run(transaction: Transaction) -> None:
            for name in names:
                transaction.execute(_SQL["swept"], (name,))

        await self._engine.write(run)

    async def counts(self, tenant: str | None = None) -> TierCounts:
        """How much is where."""
        if not findable(tenant):
            return TierCounts()

        def run(view: View) -> TierCounts:
            bound = {"tenant": tenant, "now": view.now}
            sessions, warm, cold, warm_events = view.execute(_SQL["count_sessions"], bound).fetchone()
            cold_events, cold_bytes = view.execute(_SQL["count_segments"], bound).fetchone()
            mean = view.execute(_SQL["mean_size"], bound).fetchone()[0]
            return TierCounts(
                sessions=sessions,
                warm_sessions=warm,
                warm_events=warm_events,
                warm_bytes=int(mean * warm_events),
                cold_sessions=cold,
                cold_events=cold_events,
                cold_bytes=cold_bytes,
            )

        return await self._engine.read(run)


def _untouched(transaction: Transaction, number: int, cold_seq: int) -> bool:
    """Whether a session is cold up to that place, and nobody has its turn."""
    session = transaction.execute(_SQL["session"], (number, transaction.now)).fetchone()
    if session is None or session[2] != cold_seq:
        return False
    return transaction.execute(_SQL["has_turn"], session[:2]).fetchone() is None


def _oldest(transaction: Transaction, idle: Idle, *, events_max: int, bytes_max: int) -> list[KeptEvent]:
    bound = {"number": idle.number, "keep": idle.keep, "now": transaction.now, "limit": events_max}
    last = transaction.execute(_SQL["last_to_go"], bound).fetchone()
    if last is None:
        return []
    events: list[KeptEvent] = []
    size = 0
    for row in transaction.execute(_SQL["oldest"], {**bound, "upto": last[0]}):
        *_, metadata, content = row
        size += len(content) + len(metadata or b"")
        if events and size > bytes_max:
            break
        events.append(kept_event(row))
    return events


def _row(number: int, one: KeptEvent) -> tuple[Any, ...]:
    return (
        number << 32 | one.seq, one.created_at, one.expires_at, one.role, one.actor, one.branch, one.turn, one.labels,
        metadata_of(one), bytes(one.content),
    )  # fmt: skip
