"""Keeps tickets alive from a thread of its own, so that a blocked loop or a synchronous agent never loses a turn."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from corral.clock import Clock
from corral.sessions.store import TurnStore
from corral.sessions.turn import Turn

_log = logging.getLogger("corral.sessions")

_BATCH_MAX = 500
"""Tickets renewed by one call to the store."""


class TurnStores(Protocol):
    """A connection to the store that the heartbeat opens for itself (any `corral.backends.stores.Stores`)."""

    @property
    def turns(self) -> TurnStore:
        """Whose turn it is."""
        ...

    async def start(self) -> None:
        """Connect."""
        ...

    async def stop(self) -> None:
        """Close."""
        ...


class Heartbeat:
    """One daemon thread that renews every live ticket of this process about three times per lease.

    The thread starts with the first turn; it opens its store when a turn is still there after a sixth of its lease.
    A request that is faster than that costs two dictionary operations.
    """

    def __init__(
        self,
        open_stores: Callable[[], TurnStores],
        *,
        lease_s: float,
        clock: Clock,
        report: Callable[[list[str]], None],
    ) -> None:
        """`report` is called, on the loop that added the turns, with the tokens that the store no longer knows."""
        self._open_stores = open_stores
        self._lease_s = lease_s
        self._clock = clock
        self._report = report
        self._live: dict[str, Turn] = {}
        self._home: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def add(self, turn: Turn) -> None:
        """Keep this ticket alive until `remove`."""
        turn.renewed_at = self._clock.monotonic()
        self._live[turn.token] = turn
        if self._thread is None:
            self._home = asyncio.get_running_loop()
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._main, args=(self._loop,), name="corral-heartbeat", daemon=True)
            self._thread.start()

    def remove(self, turn: Turn) -> None:
        """Let this ticket go."""
        self._live.pop(turn.token, None)

    async def stop(self) -> None:
        """End the thread and close its store."""
        if self._thread is not None and self._loop is not None:
            loop, self._loop = self._loop, None
            loop.call_soon_threadsafe(self._stopping.set)
            await asyncio.to_thread(self._thread.join)

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._beat())

    async def _beat(self) -> None:
        stores: TurnStores | None = None
        failing = False
        while not self._stopping.is_set():
            pause = self._lease_s / 3
            due = self._due()
            if due:
                try:
                    if stores is None:
                        stores = await self._opened()
                    await self._renew(stores.turns, due)
                    failing = False
                except Exception as error:  # noqa: BLE001 - whatever ails the store, the next attempt may succeed
                    level = logging.DEBUG if failing else logging.WARNING  # one warning per outage
                    _log.log(level, "Cannot renew %d session turns, will try again: %s", len(due), error)
                    failing = True
                    pause = min(pause, 0.5)
            await self._pause(pause)
        if stores is not None:
            await _closed(stores)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _opened(self) -> TurnStores:
        stores = self._open_stores()
        try:
            await stores.start()
        except BaseException:
            await _closed(stores)
            raise
        return stores

    def _due(self) -> list[Turn]:
        # One C call under the interpreter's lock, so the owning loop may go on adding and removing meanwhile.
        live = list(self._live.values())
        latest = self._clock.monotonic() - self._lease_s / 6
        return [turn for turn in live if turn.renewed_at <= latest]

    async def _renew(self, store: TurnStore, due: Sequence[Turn]) -> None:
        for batch in _batches(due):
            # Noted before asking: a ticket that was only just being taken may be unknown to the store without being lost.
            standing = {turn.token for turn in batch if turn.standing}
            asked_at = self._clock.monotonic()
            void = await store.renew([(turn.key, turn.token) for turn in batch], lease_s=self._lease_s)
            for turn in batch:
                turn.renewed_at = asked_at
            lost = [token for token in void if token in standing]
            if lost and self._home is not None:
                self._home.call_soon_threadsafe(self._report, lost)


def _batches(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    for start in range(0, len(turns), _BATCH_MAX):
        yield turns[start : start + _BATCH_MAX]


async def _closed(stores: TurnStores) -> None:
    try:
        await stores.stop()
    except Exception as error:  # noqa: BLE001 - it is being given up anyway
        _log.debug("The heartbeat's store did not close cleanly: %s", error)
