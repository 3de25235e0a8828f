"""Moves executions: load, tell the machine what happened, write it down, and again if somebody else was quicker.

Messages for one execution that wait here are told together and written in one transaction. Nobody owns an execution: two
processes that move the same one meet at its revision, one of them is refused, and begins again from what is there now.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from corral.clock import Clock, new_id
from corral.errors import StoreUnavailable
from corral.workflows.doing import Tell
from corral.workflows.handing import Handing
from corral.workflows.holding import Held, HeldExecutions, Key
from corral.workflows.keeping import Keeping, Pocket, facts_of, kept_facts, outcome_of
from corral.workflows.language.definition import Machine
from corral.workflows.machine.happening import (
    MapRunEnded,
    Message,
    Redriven,
    Started,
    TaskFailed,
    TaskSubmitted,
    TaskSucceeded,
    Woken,
)
from corral.workflows.machine.order import CancelMapRun, CancelTask
from corral.workflows.machine.run import Frames, NotLoaded, Run
from corral.workflows.machines import Machines
from corral.workflows.store import ExecutionNotFound, ExecutionRow, Executions, Move
from corral.workflows.writing import Tasks, answer_task, break_off, map_token, tasks_of, wake_at

_log = logging.getLogger("corral.workflows")

_BATCH_MAX = 64
"""Messages that are told in one transaction."""
_AT_ONCE_S = 0.05
"""How long one transaction's moves keep the loop from everybody else."""
_THREADS = 2
_NOTE_S = 0.05
_PAUSE_S = 0.002
_PAUSE_MAX_S = 0.1
_ENTERED = "StateEntered"
_REDRIVABLE = frozenset({"FAILED", "TIMED_OUT", "ABORTED"})


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A move that was written down."""

    key: Key
    move: Move
    is_new: bool
    entered: int
    """States that were entered."""


class _Waiting(NamedTuple):
    message: Message
    at: float
    heard: asyncio.Future[bool] | None = None
    answer: bytes | None = None


class _Attempt(msgspec.Struct):
    """What is known from the tries before."""

    count: int = 0
    complete: dict[str, None] = {}
    """Frames whose done children are needed."""
    broken: Exception | None = None
    """How the machine broke off: now the execution fails."""


class _Thought(NamedTuple):
    """What a try came to."""

    accepted: list[bool]
    pocket: Pocket
    move: Move
    tasks: Tasks


class _Line:
    """Messages that wait for one execution, and whether somebody is at it."""

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.working = False
        self.timer: asyncio.TimerHandle | None = None


class Mover:
    """Moves all executions that this process has news for."""

    def __init__(  # noqa: PLR0913 - its parts, and what tests turn; all by name
        self,
        store: Executions,
        *,
        keeping: Keeping,
        machines: Machines,
        handing: Handing,
        tell: Tell,
        moved: Callable[[Moved], None],
        refused: Callable[[], None],
        events_max: int,
        clock: Clock,
        chance: Callable[[], float],
        new_secret: Callable[[], str],
    ) -> None:
        """`moved` is told of everything that was written, on this loop; `refused` of each time somebody else was quicker."""
        self._store = store
        self._keeping = keeping
        self._machines = machines
        self._handing = handing
        self._tell = tell
        self._moved = moved
        self._refused = refused
        self._events_max = events_max
        self._clock = clock
        self._chance = chance
        self._new_secret = new_secret
        self._lines: dict[Key, _Line] = {}
        self._memory = HeldExecutions()
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads: ThreadPoolExecutor | None = None

    # -- what others call -------------------------------------------------------------------------------------------

    async def begin(self, row: ExecutionRow, given: object) -> ExecutionRow:
        """Begin an execution and move it as far as it goes, in one transaction. Answers with the one that has its ARN."""
        kept = kept_facts(row)
        facts = facts_of(row, kept, given)
        await self._machines.get(row.tenant, kept.digest)
        held = Held(row=row, kept=kept, facts=facts, frames=Frames(), size=0)
        batch = [_Waiting(Started(), row.started_at)]
        run = self._run(held)
        try:
            thought = await self._thought(run, held, batch, _Attempt())
        except Exception as error:  # noqa: BLE001 - the execution fails, not the worker
            _log.exception("Execution %s cannot begin", row.arn)
            held.frames = Frames()
            run = self._run(held)
            thought = await self._thought(run, held, batch, _Attempt(broken=error))
        row = msgspec.structs.replace(row, input=thought.pocket.value(given))
        await thought.pocket.put_down()
        found = await self._store.begin(row, thought.move)
        if found.id == row.id:
            held.row = row
            held.size = self._keeping.weight(row.tenant, row.input or b"")
            self._settled((row.tenant, row.id), held, run, thought, is_new=True)
            if run.unfinished:
                self._put((row.tenant, row.id), _Waiting(Woken(), self._clock.now()))
        return found

    async def tell(self, tenant: str, execution_id: str, message: Message, *, answer: bytes | None = None) -> bool:
        """Tell an execution what happened; written down when this returns. False: it changed nothing.

        `answer` is kept with the approval that the message ends. Raises `ExecutionNotFound`. If the caller is cancelled, it
        happens all the same.
        """
        heard: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._put((tenant, execution_id), _Waiting(message, self._clock.now(), heard, answer))
        return await heard

    def note(self, tenant: str, execution_id: str, message: Message) -> None:
        """Tell it with the next message, or in a moment: what is soon overtaken need not be written by itself."""
        key = (tenant, execution_id)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        line.waiting.append(_Waiting(message, self._clock.now()))
        if not line.working and line.timer is None:
            line.timer = asyncio.get_running_loop().call_later(_NOTE_S, self._begin_work, key, line)

    def seen(self, row: ExecutionRow) -> None:
        """It stands so: what is remembered of it is no good if somebody else has moved it since."""
        self._memory.seen(row)

    async def drain(self) -> None:
        """Wait until every message that was told has been written down."""
        for key, line in list(self._lines.items()):
            self._begin_work(key, line)
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    # -- one execution after the other ------------------------------------------------------------------------------

    def _put(self, key: Key, waiting: _Waiting) -> None:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        line.waiting.append(waiting)
        self._begin_work(key, line)

    def _begin_work(self, key: Key, line: _Line) -> None:
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        if not line.working:
            line.working = True
            task = asyncio.get_running_loop().create_task(self._work(key, line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, key: Key, line: _Line) -> None:
        try:
            while line.waiting:
                batch = [line.waiting.popleft() for _ in range(min(len(line.waiting), _BATCH_MAX))]
                try:
                    accepted = await self._move(key, line, batch)
                except Exception as error:  # noqa: BLE001 - whatever it was, those who told it hear of it
                    self._memory.take(key)
                    _refuse(batch, error)
                else:
                    for one, yes in zip(batch, accepted, strict=True):
                        if one.heard is not None and not one.heard.done():
                            one.heard.set_result(yes)
        finally:
            line.working = False
            if not line.waiting:
                self._lines.pop(key, None)

    async def _move(self, key: Key, line: _Line, batch: Sequence[_Waiting]) -> list[bool]:
        attempt = _Attempt()
        while True:
            accepted = await self._try(key, line, batch, attempt)
            if accepted is not None:
                return accepted
            attempt.count += 1

    async def _try(self, key: Key, line: _Line, batch: Sequence[_Waiting], attempt: _Attempt) -> list[bool] | None:
        """Which messages changed something; none: try again."""
        remembered = self._memory.take(key) if attempt.count == 0 else None
        held = remembered or await self._load(key, attempt.complete)
        run = self._run(held)
        try:
            thought = await self._thought(run, held, batch, attempt)
        except NotLoaded as missing:
            attempt.complete[missing.parent] = None
            return None
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - the execution fails, not the worker; the next try says so
            if remembered is None:
                _log.exception("Execution %s cannot go on", held.row.arn)
                attempt.broken = error
            return None
        if not any(thought.accepted):
            if remembered is not None:
                return None  # somebody else may have moved it since: what is in the store decides
            self._memory.keep(key, held)
            return thought.accepted
        await thought.pocket.put_down()
        (written,) = await self._store.save([thought.move])
        if not written:
            self._refused()
            await asyncio.sleep(self._chance() * min(_PAUSE_MAX_S, _PAUSE_S * 2.0 ** min(attempt.count, 10)))
            return None
        self._settled(key, held, run, thought)
        if run.unfinished:
            line.waiting.appendleft(_Waiting(Woken(), self._clock.now()))
        return thought.accepted

    async def _thought(self, run: Run, held: Held, batch: Sequence[_Waiting], attempt: _Attempt) -> _Thought:
        """What comes of some messages, ready to be written."""
        row = held.row
        at = max([row.updated_at, *(one.at for one in batch)])
        if attempt.broken is not None and row.status == "RUNNING":
            break_off(run, attempt.broken, at)
            accepted = [True for _ in batch]
        else:
            machine = await self._machines.get(row.tenant, held.kept.digest)
            accepted = await self._all_told(run, held, machine, batch)
        pocket = Pocket(self._keeping, row.tenant, row.id)
        move, tasks = self._written(run, held, pocket, batch, at, accepted)
        return _Thought(accepted, pocket, move, tasks)

    async def _load(self, key: Key, complete: dict[str, None]) -> Held:
        loaded = await self._store.load(*key, complete=list(complete))
        if loaded is None:
            raise ExecutionNotFound
        row, frames = loaded.row, loaded.frames
        kept = kept_facts(row)
        given = await self._keeping.value(row.tenant, row.input)
        read = Frames([await self._keeping.frame(row.tenant, frame) for frame in frames], complete=complete)
        size = self._keeping.weight(row.tenant, row.input or b"")
        held = Held(row=row, kept=kept, facts=facts_of(row, kept, given), frames=read, size=size)
        for frame in frames:
            held.weigh(frame.id, self._keeping.weight(row.tenant, frame.body))
        return held

    def _run(self, held: Held) -> Run:
        run = Run(
            held.facts,
            held.frames,
            next_event=held.row.next_event,
            redrives=held.row.redrives,
            new_secret=self._new_secret,
            chance=self._chance,
        )
        run.events_max = self._events_max
        until = self._clock.monotonic() + _AT_ONCE_S
        run.is_tired = lambda: self._clock.monotonic() > until
        return run

    async def _all_told(self, run: Run, held: Held, machine: Machine, batch: Sequence[_Waiting]) -> list[bool]:
        """Which messages changed something. Machines whose expressions may take long think in a thread of their own."""

        def told() -> list[bool]:
            accepted, now = [], held.row.updated_at
            for one in batch:
                now = max(now, one.at)  # no history runs backwards
                accepted.append(self._told(run, held, machine, one.message, now))
            return accepted

        if not self._machines.is_slow(held.row.tenant, held.kept.digest):
            return told()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "corral-workflows")
        return await asyncio.get_running_loop().run_in_executor(self._threads, told)

    def _told(self, run: Run, held: Held, machine: Machine, message: Message, now: float) -> bool:
        """Whether the message changed anything."""
        is_over = run.ended is not None or held.row.status != "RUNNING"
        if isinstance(message, Redriven):
            if held.row.status not in _REDRIVABLE:
                return False
        elif is_over:
            return False
        frames = run.frames
        changed, frames.changed = frames.changed, {}
        removed, frames.removed = frames.removed, {}
        events, orders = len(run.history), len(run.orders)
        unfinished = run.unfinished
        self._tell(run, machine, message, now=now)
        accepted = bool(
            frames.changed or frames.removed or len(run.history) > events or len(run.orders) > orders or run.ended
        )
        run.unfinished |= unfinished
        frames.changed = {**{name: None for name in changed if name not in frames.removed}, **frames.changed}
        frames.removed = {**{name: None for name in removed if name not in frames.changed}, **frames.removed}
        return accepted

    # -- what is written --------------------------------------------------------------------------------------------

    def _written(
        self,
        run: Run,
        held: Held,
        pocket: Pocket,
        batch: Sequence[_Waiting],
        at: float,
        accepted: Sequence[bool],
    ) -> tuple[Move, Tasks]:
        row, frames, ended = held.row, run.frames, run.ended
        tasks = tasks_of(run, pocket, at)
        submitted: list[str] = []
        answered: list[tuple[str, bytes]] = []
        for one, yes in zip(batch, accepted, strict=True):
            message = one.message
            if yes and isinstance(message, TaskSucceeded | TaskFailed):
                tasks.close(message.token)
                if one.answer is not None:
                    answered.append((message.token, one.answer))
            elif yes and isinstance(message, TaskSubmitted):
                submitted.append(message.token)
            elif yes and isinstance(message, MapRunEnded):
                tasks.close(map_token(row.id, message.frame))
        if ended is not None and held.kept.answers:
            news = answer_task(held.facts, held.kept.answers, held.kept.answer_form, run, at)
            tasks.opened[news.token] = news
        redriven = run.redrives != row.redrives
        move = Move(
            tenant=row.tenant,
            id=row.id,
            revision=row.revision,
            mark=new_id(),
            at=at,
            frames=[pocket.frame(frames[name]) for name in frames.changed if name in frames],
            removed=list(frames.removed),
            events=pocket.events(run.history),
            opened=list(tasks.opened.values()),
            closed=list(tasks.closed),
            submitted=submitted,
            answered=answered,
            wake_at=wake_at(run, at),
            next_event=run.next_event,
            redrives=run.redrives,
            redriven_at=at if redriven else row.redriven_at,
            status="RUNNING" if ended is None else ended.status,
            outcome=None if ended is None else pocket.value(outcome_of(ended)),
        )
        return move, tasks

    def _settled(self, key: Key, held: Held, run: Run, thought: _Thought, *, is_new: bool = False) -> None:
        """It is written: remember it so, hand on what is to be done, and tell who listens."""
        move = thought.move
        held.row = msgspec.structs.replace(
            held.row,
            revision=move.revision + 1,
            status=move.status,
            next_event=move.next_event,
            redrives=move.redrives,
            redriven_at=move.redriven_at,
            updated_at=move.at,
        )
        held.frames = run.frames
        for gone in (
            *held.frames.removed,
            *held.frames.forget_done({frame.parent for frame in move.frames if frame.done}),
        ):
            held.weigh(gone, 0)
        held.frames.changed, held.frames.removed = {}, {}
        for frame in move.frames:
            if frame.id in held.frames:
                held.weigh(frame.id, self._keeping.weight(key[0], frame.body))
        if move.status == "RUNNING":
            self._memory.keep(key, held)
        self._handing.hand(thought.tasks.works(held.facts))
        cancelled = [order.token for order in run.orders if isinstance(order, CancelTask)]
        stopped = [order.frame for order in run.orders if isinstance(order, CancelMapRun)]
        self._handing.cancel(key, cancelled, stopped)
        self._moved(
            Moved(key=key, move=move, is_new=is_new, entered=sum(one.type.endswith(_ENTERED) for one in run.history))
        )


def _refuse(batch: Sequence[_Waiting], error: Exception) -> None:
    told = False
    for one in batch:
        if one.heard is not None and not one.heard.done():
            one.heard.set_exception(error)
            told = True
    if not told:
        _log.warning("An execution could not be moved, will try again: %s", error)
