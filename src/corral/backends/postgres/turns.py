"""Whose turn it is, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, check_key, findable, rows_of
from corral.backends.postgres.columns import columns_of
from corral.backends.postgres.failures import OutcomeUnknown
from corral.backends.queries import read_queries
from corral.errors import SessionBusy, SessionQueueFull, TurnLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.backends.postgres.engine import Engine
    from corral.sessions.event import Draft, SessionKey
    from corral.sessions.store import TurnPolicy

_SQL = read_queries(Path(__file__).with_name("turns.sql"))

_REFUSALS = {"busy": SessionBusy, "full": SessionQueueFull, "lost": TurnLost}


class PostgresTurns:
    """A line of tickets per session, moved by functions that hold the line's lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lines = engine.lines

    async def join(self, key: SessionKey, turn: str, *, policy: TurnPolicy, lease_s: float, waiting_max: int) -> bool:
        """Take a ticket."""
        check_key(key)
        check_id("turn", turn)
        self._lines.joined(key, turn)
        try:
            granted = await self._ask(
                "join", key.tenant, key.session_id, turn, policy, lease_s, waiting_max, about=turn
            )
        except BaseException:
            self._lines.left(key, turn)
            raise
        if granted:
            self._lines.granted(key, turn)
        return granted

    async def claim(self, key: SessionKey, turn: str) -> bool:
        """Ask whether the turn has come."""
        if not findable(key.tenant, key.session_id, turn):
            raise TurnLost
        try:
            (waits,) = await self._engine.fetch_one(_SQL["waits"], key.tenant, key.session_id, turn)
            granted = not waits and await self._ask("claim", key.tenant, key.session_id, turn)
        except TurnLost:
            self._lines.left(key, turn)
            raise
        if granted:
            self._lines.granted(key, turn)
        return granted

    async def renew(self, turns: Sequence[tuple[SessionKey, str]], *, lease_s: float) -> list[str]:
        """Extend leases."""
        real = [(key.tenant, key.session_id, turn) for key, turn in turns]
        real = sorted(ticket for ticket in real if findable(*ticket))
        if not real:
            return [turn for _, turn in turns]
        tenants, sessions, names = (list(column) for column in zip(*real, strict=True))
        rows = await self._engine.fetch(_SQL["renew"], tenants, sessions, names, lease_s)
        renewed = {tuple(row) for row in rows}
        return [turn for key, turn in turns if (key.tenant, key.session_id, turn) not in renewed]

    async def leave(
        self, key: SessionKey, turn: str, *, drafts: Sequence[Draft] = (), ttl_s: float | None = None
    ) -> None:
        """Append, and give the ticket back."""
        if not findable(key.tenant, key.session_id, turn):
            if drafts:
                raise TurnLost
            return
        args = (key.tenant, key.session_id, turn, ttl_s, *columns_of(rows_of(drafts)))
        try:
            try:
                (refused,) = await self._engine.fetch_one(_SQL["leave"], *args, again=not drafts, about=turn)
            except OutcomeUnknown as unknown:
                # The ticket tells: it goes together with the words. If it still stands, nothing was written.
                (refused,) = await self._engine.fetch_one(_SQL["leave"], *args, again=False, about=turn)
                if refused:
                    raise unknown from None
        finally:
            self._lines.left(key, turn)
        if refused:
            raise TurnLost
        self._lines.moved([key])

    def watch(self, woken: Callable[[SessionKey], None]) -> Callable[[], None]:
        """Be told when a line in which this process has a ticket may have moved."""
        unwatch = self._lines.watch(woken)
        self._engine.listen()
        return unwatch

    async def _ask(self, query: str, *args: object, about: str | None = None) -> bool:
        refused, granted = await self._engine.fetch_one(_SQL[query], *args, about=about)
        if refused:
            raise _REFUSALS[refused]
        return bool(granted)
