"""One turn at a time per session, across tasks, processes and machines.

The store keeps a line of tickets per session and decides. This side takes a ticket, waits to be woken when the line
moves, keeps the ticket alive meanwhile, and gives it back whatever happens. The state machine is in `docs/sessions.md`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError, DeadlineExceeded, Draining, SessionBusy, SessionQueueFull, TurnLost
from corral.sessions.event import Draft, SessionKey
from corral.sessions.heartbeat import Heartbeat, TurnStores
from corral.sessions.store import TurnPolicy, TurnStore
from corral.sessions.turn import Line, Place, Turn
from corral.settings.sections import SessionSettings

_log = logging.getLogger("corral.sessions")

_POLL_S = 0.65
"""How often waiters ask by themselves, give or take a quarter: a wake-up may be lost, and a lease that runs out wakes
nobody. So the turn of a worker that died is taken over within its lease and a second."""

_RETURN_PAUSE_S = 0.25
"""First pause between attempts to give a ticket back to a store that does not answer; it doubles."""

_NO_TICKET = (SessionBusy, SessionQueueFull, TurnLost)
"""Refusals after which the store certainly holds no ticket of ours."""


class Turns:
    """Takes turns for the requests of this process. All methods are called on one loop: the one that called `start`."""

    def __init__(
        self,
        store: TurnStore,
        open_turn_store: Callable[[], TurnStores],
        settings: SessionSettings,
        *,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`open_turn_store` makes a second connection for the heartbeat's thread; it is opened when first needed."""
        self._store = store
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._heartbeat = Heartbeat(open_turn_store, lease_s=settings.lease_s, clock=clock, report=self._void)
        self._lines: dict[SessionKey, Line] = {}
        self._unwatch: Callable[[], None] | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to listen for lines that move. Calling it again does nothing."""
        if self._unwatch is None and not self._stopping:
            self._unwatch = self._store.watch(self._woken)

    async def drain(self) -> None:
        """Return once no turn is held, waited for or being given back. The caller bounds how long to wait for that."""
        while self._lines or self._background:
            await self._idle.wait()
            if self._background:
                await asyncio.wait(list(self._background))

    async def stop(self) -> None:
        """Give every ticket back (who waits is told `Draining`), and end the heartbeat. Calling it again does nothing."""
        self._stopping = True
        for line in list(self._lines.values()):
            for turn in list(line.turns.values()):
                self._shut_out(turn)
        await self.drain()
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None
        await self._heartbeat.stop()

    def _shut_out(self, turn: Turn) -> None:
        if turn.place is Place.WAITING:
            turn.decide()
        elif turn.place is Place.HELD:
            self._lost(turn)
            self._return(turn)

    # -- taking ----------------------------------------------------------------------------------------------------

    async def take(self, key: SessionKey, *, policy: TurnPolicy = "enqueue", deadline: float | None = None) -> Turn:
        """Wait for this session's turn and hold it until `Turn.leave`. `deadline` is on the monotonic clock.

        Raises `DeadlineExceeded` when the turn did not come in time, `TurnLost` when another request took over while
        this one waited, `SessionBusy` (`reject` only), `SessionQueueFull`, `Draining`, `StoreUnavailable`. However it
        ends without a turn, the ticket is given back.
        """
        self._remaining(deadline)
        turn = Turn(key, self._leave)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key)
            self._idle.clear()
        line.turns[turn.token] = turn
        try:
            if not await self._join(line, turn, policy, deadline):
                await self._come(turn, deadline)
            self._remaining(None)
        except BaseException as error:
            asked = turn.place is not Place.QUEUED
            turn.place = Place.LEFT
            if asked and not isinstance(error, _NO_TICKET):
                self._return(turn)
            self._remove(turn)
            raise
        return turn

    def _remaining(self, deadline: float | None) -> float | None:
        """Seconds left to wait, or the reason not to."""
        if self._stopping:
            raise Draining
        if deadline is None:
            return None
        remaining = deadline - self._clock.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded("The session's turn did not come before the deadline.")
        return remaining

    @asynccontextmanager
    async def _in_time(self, deadline: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._remaining(deadline)):
                yield
        except TimeoutError:
            raise DeadlineExceeded("The session's turn did not come before the deadline.") from None

    async def _join(self, line: Line, turn: Turn, policy: TurnPolicy, deadline: float | None) -> bool:
        if len(line.turns) == 1:
            await line.joins.acquire()
        else:
            async with self._in_time(deadline):
                await line.joins.acquire()
        try:
            self._remaining(deadline)
            turn.place = Place.JOINING
            self._heartbeat.add(turn)
            settings = self._settings
            granted = await self._store.join(
                line.key, turn.token, policy=policy, lease_s=settings.lease_s, waiting_max=settings.waiting_max
            )
        finally:
            line.joins.release()
        turn.standing = True
        turn.place = Place.HELD if granted else Place.WAITING
        if granted and policy in ("interrupt", "rollback"):
            # The store has voided every earlier ticket. Those of this process need not be asked one by one.
            for earlier in line.before(turn):
                self._lost(earlier)
        if turn.nudged:
            self._look_after(line)
        return granted

    async def _come(self, turn: Turn, deadline: float | None) -> None:
        """Wait until the turn has come."""
        turn.decided = asyncio.get_running_loop().create_future()
        if self._poll is None:
            self._poll_later()
        async with self._in_time(deadline):
            await turn.decided
        if turn.lost:
            raise TurnLost

    # -- giving back -------------------------------------------------------------------------------------------------

    async def _leave(self, turn: Turn, drafts: Sequence[Draft], ttl_s: float | None) -> None:
        turn.place = Place.LEAVING
        try:
            await self._store.leave(turn.key, turn.token, drafts=drafts, ttl_s=ttl_s)
        except TurnLost:
            turn.lost = True
            raise
        except asyncio.CancelledError:
            # Nobody knows whether the store got it. Again, with the drafts: the turn's own fence lets them in only once.
            self._return(turn, drafts, ttl_s)
            raise
        except BaseException:
            self._return(turn)
            raise
        finally:
            turn.place = Place.LEFT
            self._remove(turn)

    def _remove(self, turn: Turn) -> None:
        self._heartbeat.remove(turn)
        line = self._lines.get(turn.key)
        if line is not None and line.turns.pop(turn.token, None) is not None and not line.turns:
            del self._lines[turn.key]
            if not self._lines:
                self._idle.set()

    def _return(self, turn: Turn, drafts: Sequence[Draft] = (), ttl_s: float | None = None) -> None:
        self._spawn(self._returned(turn, drafts, ttl_s))

    async def _returned(self, turn: Turn, drafts: Sequence[Draft], ttl_s: float | None) -> None:
        """Give a ticket back for somebody who cannot wait for it. After a lease the store does so by itself."""
        until = self._clock.monotonic() + self._settings.lease_s
        pause = _RETURN_PAUSE_S
        while True:
            try:
                await self._store.leave(turn.key, turn.token, drafts=drafts, ttl_s=ttl_s)
            except TurnLost:
                return
            except CorralError as error:
                if self._stopping or self._clock.monotonic() + pause >= until:
                    _log.warning("A session's turn could not be given back; its lease will free it: %s", error)
                    return
                await asyncio.sleep(pause * (1 + self._chance()))
                pause *= 2
            else:
                return

    # -- being woken -------------------------------------------------------------------------------------------------

    def _woken(self, key: SessionKey) -> None:
        line = self._lines.get(key)
        if line is not None and line.first() is not None:  # else the news is that ours has left
            self._look_after(line)

    def _look_after(self, line: Line) -> None:
        if line.looking:
            line.again = True
        else:
            line.looking = True
            self._spawn(self._look(line))

    async def _look(self, line: Line) -> None:
        """Ask the store about the first of ours in the line, until nothing more has moved."""
        try:
            moved = True
            while moved:
                line.again = False
                turn = line.first()
                if turn is None:
                    return
                if turn.place in (Place.QUEUED, Place.JOINING):
                    turn.nudged = True
                    return
                moved = await self._ask(turn) or line.again
        except CorralError as error:
            _log.debug("Cannot ask for a session's turn now, will ask again: %s", error)
        finally:
            line.looking = False

    async def _ask(self, turn: Turn) -> bool:
        """Has the turn come, or gone? True: it is gone, and the next in line is to be asked for."""
        try:
            granted = await self._store.claim(turn.key, turn.token)
        except TurnLost:
            self._lost(turn)
            return True
        if granted and turn.place is Place.WAITING:
            turn.grant()
        return False

    def _lost(self, turn: Turn) -> None:
        if turn.lose():
            self._remove(turn)

    def _void(self, tokens: list[str]) -> None:
        """The heartbeat has heard that these turns are gone."""
        void = set(tokens)
        for line in list(self._lines.values()):
            for token in void & line.turns.keys():
                self._lost(line.turns[token])

    # -- the safety net ------------------------------------------------------------------------------------------------

    def _poll_later(self) -> None:
        pause = _POLL_S * (0.75 + self._chance() / 2)
        self._poll = asyncio.get_running_loop().call_later(pause, self._ask_all)

    def _ask_all(self) -> None:
        self._poll = None
        waiting = False
        for line in list(self._lines.values()):
            first = line.first()
            if first is not None and first.place is Place.WAITING:
                waiting = True
                self._look_after(line)
            waiting = waiting or len(line.turns) > 1
        if waiting:
            self._poll_later()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
