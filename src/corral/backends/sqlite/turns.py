"""Whose turn it is, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, check_key, encode, findable, rows_of
from corral.backends.queries import read_queries
from corral.backends.sqlite.appending import append
from corral.errors import SessionBusy, SessionQueueFull, TurnLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction
    from corral.sessions.event import Draft, SessionKey
    from corral.sessions.store import TurnPolicy

_SQL = read_queries(Path(__file__).with_name("turns.sql"))


class SqliteTurns:
    """A line of tickets per session. The first ticket holds; one that ran out is removed by whoever comes next."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lines = engine.lines

    async def join(self, key: SessionKey, turn: str, *, policy: TurnPolicy, lease_s: float, waiting_max: int) -> bool:
        """Take a ticket."""
        check_key(key)
        check_id("turn", turn)

        def run(transaction: Transaction) -> bool:
            return _join(transaction, key, turn, policy=policy, lease_s=lease_s, waiting_max=waiting_max)

        self._lines.joined(key, turn)
        try:
            granted = await self._engine.write(run)
        except BaseException:
            self._lines.left(key, turn)
            raise
        if granted:
            self._lines.granted(key, turn)
        self._engine.rouse()
        return granted

    async def claim(self, key: SessionKey, turn: str) -> bool:
        """Ask whether the turn has come."""
        if not findable(key.tenant, key.session_id, turn):
            raise TurnLost
        try:
            granted = await self._engine.write(lambda transaction: _claim(transaction, key, turn))
        except TurnLost:
            self._lines.left(key, turn)
            raise
        if granted:
            self._lines.granted(key, turn)
        return granted

    async def renew(self, turns: Sequence[tuple[SessionKey, str]], *, lease_s: float) -> list[str]:
        """Extend leases."""
        if not turns:
            return []

        def run(transaction: Transaction) -> list[str]:
            return [turn for key, turn in turns if not _renew(transaction, key, turn, lease_s)]

        return await self._engine.write(run)

    async def leave(
        self, key: SessionKey, turn: str, *, drafts: Sequence[Draft] = (), ttl_s: float | None = None
    ) -> None:
        """Append, and give the ticket back."""
        if not findable(key.tenant, key.session_id, turn):
            if drafts:
                raise TurnLost
            return
        rows = rows_of(drafts)

        def run(transaction: Transaction) -> None:
            ticket = (key.tenant, key.session_id, turn)
            if not rows:
                transaction.execute(_SQL["drop"], ticket)
            elif transaction.execute(_SQL["drop_first"], ticket).rowcount:
                append(transaction, key, drafts, rows, turn=turn, ttl_s=ttl_s)
            else:
                raise TurnLost
            transaction.woken.append(key)

        try:
            await self._engine.write(run)
        finally:
            self._lines.left(key, turn)

    def watch(self, woken: Callable[[SessionKey], None]) -> Callable[[], None]:
        """Be told when a line in which this process has a ticket may have moved."""
        return self._lines.watch(woken)


def _join(
    transaction: Transaction, key: SessionKey, turn: str, *, policy: TurnPolicy, lease_s: float, waiting_max: int
) -> bool:
    now = transaction.now
    if transaction.execute(_SQL["take_first"], (key.tenant, key.session_id, turn, now + lease_s)).rowcount:
        return True
    bound = {"tenant": key.tenant, "session_id": key.session_id, "turn": turn, "now": now}
    length, lapsed, last, joined = transaction.execute(_SQL["line"], bound).fetchone()
    if joined:
        return _claim(transaction, key, turn)
    live = length - lapsed
    if live and policy == "reject":
        raise SessionBusy
    if policy in {"enqueue", "reject"}:
        if live and live - 1 >= waiting_max:
            raise SessionQueueFull(f"{live - 1} requests already wait for this session's turn.")
        if lapsed:
            transaction.execute(_SQL["drop_lapsed"], bound)
    elif length:
        _void(transaction, bound | {"place": last + 1}, roll_back=policy == "rollback")
        transaction.woken.append(key)
        live = 0
    transaction.execute(_SQL["take"], bound | {"place": last + 1, "lease_until": now + lease_s})
    return not live


def _void(transaction: Transaction, bound: dict[str, object], *, roll_back: bool) -> None:
    voided = [turn for (turn,) in transaction.execute(_SQL["drop_before"], bound).fetchall()]
    if roll_back:
        transaction.execute(_SQL["roll_back"], bound | {"turns": encode(voided, "Turns").decode()})


def _claim(transaction: Transaction, key: SessionKey, turn: str) -> bool:
    bound: dict[str, object] = {
        "tenant": key.tenant,
        "session_id": key.session_id,
        "turn": turn,
        "now": transaction.now,
    }
    place = transaction.execute(_SQL["place"], bound).fetchone()
    if place is None:
        raise TurnLost
    bound["place"] = place[0]
    if transaction.execute(_SQL["live_before"], bound).fetchone():
        return False
    transaction.execute(_SQL["drop_before"], bound).fetchall()
    return True


def _renew(transaction: Transaction, key: SessionKey, turn: str, lease_s: float) -> bool:
    if not findable(key.tenant, key.session_id, turn):
        return False
    bound = (transaction.now + lease_s, key.tenant, key.session_id, turn)
    return transaction.execute(_SQL["renew"], bound).rowcount > 0
