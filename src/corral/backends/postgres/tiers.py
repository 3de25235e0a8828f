"""What of the sessions lies in the archive, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.cold import kept_event, metadata_of, segment_of
from corral.backends.cursor import write_cursor
from corral.backends.encoding import findable
from corral.backends.queries import read_queries
from corral.sessions.event import Batch, Idle, SessionKey, Stamp, TierCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.sessions.event import KeptEvent, Segment

_SQL = read_queries(Path(__file__).with_name("tiers.sql"))

_STRETCH = 5_000
"""Sessions looked at by one `idle`: a few milliseconds of the database."""


class PostgresTiers:
    """Segments by session, and the names of objects that are nobody's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def stamp(self, key: SessionKey) -> Stamp | None:
        """The session's numbers."""
        if not findable(key.tenant, key.session_id):
            return None
        row = await self._engine.fetch_one(_SQL["stamp"], key.tenant, key.session_id)
        return Stamp(*row) if row else None

    def cursor_at(self, seq: int) -> str:
        """The cursor behind a place."""
        return write_cursor(seq)

    async def idle(
        self, after: int, *, idle_s: float, events_max: int, limit: int = 100
    ) -> tuple[list[Idle], int | None]:
        """Look for sessions that were left alone."""
        rows = await self._engine.fetch(_SQL["idle"], after, after + _STRETCH, idle_s, events_max, limit)
        (last,) = await self._engine.fetch_one(_SQL["last_number"])
        found = [
            Idle(SessionKey(tenant, session_id), number, cold_seq, 0 if left_alone else events_max // 2)
            for number, tenant, session_id, cold_seq, left_alone in rows
        ]
        upto = found[-1].number if len(found) == limit else after + _STRETCH
        return found, upto if upto < last else None

    async def begin(self, idle: Idle, name: str, *, events_max: int, bytes_max: int, spare_s: float) -> Batch | None:
        """Read what may go."""
        args = (idle.number, idle.cold_seq, idle.keep, name, spare_s, events_max, bytes_max)
        rows = await self._engine.fetch(_SQL["begin"], *args, again=False)
        return Batch(idle, name, [kept_event(row) for row in rows]) if rows else None

    async def end(self, segment: Segment, *, cold_seq: int) -> bool:
        """Make a segment, and remove its events."""
        (done,) = await self._engine.fetch_one(
            _SQL["end"],
            segment.number,
            cold_seq,
            segment.first_seq,
            segment.last_seq,
            segment.events,
            segment.bytes,
            segment.object,
            segment.digest,
            segment.cold_at,
            segment.next_expiry,
            again=False,
        )
        return bool(done)

    async def segments(self, key: SessionKey) -> list[Segment]:
        """The session's segments."""
        if not findable(key.tenant, key.session_id):
            return []
        return [segment_of(row) for row in await self._engine.fetch(_SQL["segments"], key.tenant, key.session_id)]

    async def restore(self, segment: Segment, events: Sequence[KeptEvent]) -> bool:
        """Bring events back."""
        columns = (
            [one.seq for one in events],
            [one.created_at for one in events],
            [one.expires_at for one in events],
            [one.role for one in events],
            [one.actor for one in events],
            [one.branch for one in events],
            [one.turn for one in events],
            [one.labels for one in events],
            [metadata_of(one) for one in events],
            [bytes(one.content) for one in events],
        )
        (done,) = await self._engine.fetch_one(_SQL["restore"], segment.number, segment.object, *columns, again=False)
        return bool(done)

    async def expiring(self, *, limit: int = 10) -> list[Segment]:
        """Segments with something past its time."""
        return [segment_of(row) for row in await self._engine.fetch(_SQL["expiring"], limit)]

    async def cold_of_actor(self, tenant: str, actor: str, *, limit: int = 10) -> list[SessionKey]:
        """Where an actor's words may lie in the archive."""
        if not findable(tenant, actor):
            return []
        rows = await self._engine.fetch(_SQL["cold_of_actor"], tenant, actor, limit)
        return [SessionKey(*row) for row in rows]

    async def litter(self, *, limit: int = 100) -> list[str]:
        """Objects to be deleted."""
        return [name for (name,) in await self._engine.fetch(_SQL["sweep_litter"], limit)]

    async def swept(self, names: Sequence[str]) -> None:
        """Objects that are gone."""
        await self._engine.fetch(_SQL["swept"], list(names))

    async def counts(self, tenant: str | None = None) -> TierCounts:
        """How much is where."""
        if not findable(tenant):
            return TierCounts()
        row = await self._engine.fetch_one(_SQL["counts"], tenant)
        sessions, warm, cold, warm_events, cold_events, cold_bytes, mean = row
        return TierCounts(
            sessions=sessions,
            warm_sessions=warm,
            warm_events=warm_events,
            warm_bytes=int(mean * warm_events),
            cold_sessions=cold,
            cold_events=cold_events,
            cold_bytes=cold_bytes,
        )
