"""The journal of a running job: what was done is looked up, and what is done is written down before it is believed."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from corral.context import is_asynchronous
from corral.errors import ClaimLost, CorralError, DeterminismFault, StepNotKept, WaitTimeout
from corral.jobs.job import Step, StepWrite
from corral.jobs.journal_values import as_replayed, from_failure, from_value, to_failure, to_value

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from corral.jobs.running import RunningJob
    from corral.jobs.scribe import Scribe

_NAME_MAX = 200
_CLOCK_GRAIN_S = 0.001
"""Engines keep times to the microsecond at best: a wait may end this much early."""

_PLAIN = frozenset({str, int, float, bool, type(None), dict, list})

T = TypeVar("T")


class Suspended(BaseException):
    """The run ends here for now: the job waits for a signal. Not an `Exception`, so that agents let it through."""

    def __init__(self, awaits: str, until: float | None) -> None:
        """`awaits` is the journal key of the signal; `until` is on the store's clock."""
        super().__init__(awaits)
        self.awaits = awaits
        self.until = until


class Place(msgspec.Struct, frozen=True):
    """Where in a run a step was asked for.

    Steps that the run's own task (or thread) asks for are counted: deterministic code gives them the same place each
    time. Those that other tasks ask for come in any order, so they have a negative ordinal that is not compared.
    """

    key: str
    ordinal: int


class Journal:
    """The steps of one run. Everything but `step` and `run_step` themselves happens on the loop of the worker."""

    def __init__(self, job: RunningJob, scribe: Scribe) -> None:
        """Nothing is read before the first step."""
        self._job = job
        self._scribe = scribe
        self._numbering = threading.Lock()
        self._occurrences: dict[str, int] = {}
        self._counted = 0
        self._beside = 0
        self._thread: int | None = None
        self._recorded: dict[str, Step] = {}
        self._places: dict[int, str] = {}
        self._loading: asyncio.Task[None] | None = None
        self._loaded = not job.claimed.has_journal
        self._failures: list[tuple[Step, bool]] = []
        self._afoot: set[asyncio.Task[Any]] = set()
        self._running = 0
        self._quiet = asyncio.Event()
        self._closed = False
        self.suspended: Suspended | None = None
        """Set once the run has met a signal that is not there yet."""
        self.fault: DeterminismFault | None = None
        """Set once the run has asked for something else than the journal says."""

    # -- what the agent calls, on whichever loop or thread it runs ---------------------------------------------------

    def step(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Numbered at once, in the order of the calls, however they are awaited."""
        return self._step(self._place(name), fn, args, kwargs)

    async def _step(self, place: Place, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = await self._at_home(self._begin(place))
        if found is not None:
            return _outcome(*found)
        if is_asynchronous(fn):
            return await self._perform(place, functools.partial(fn, *args, **kwargs))
        # A thread cannot be interrupted: it is let finish, and what it did is written down, whoever waits for it.
        in_thread = functools.partial(self._scribe.in_thread, functools.partial(fn, *args, **kwargs))
        afoot = asyncio.get_running_loop().create_task(self._perform(place, in_thread))
        self._afoot.add(afoot)
        afoot.add_done_callback(self._landed)
        return await asyncio.shield(afoot)

    async def _perform(self, place: Place, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            result = await work()
            if type(result) not in _PLAIN and inspect.isawaitable(result):
                result = await result
        except Exception as error:
            await self._at_home(self._failed(place, error))
            raise
        except BaseException:
            self._job.home.call_soon_threadsafe(self._end)
            raise
        return await self._at_home(self._done(place, result))

    def _landed(self, afoot: asyncio.Task[Any]) -> None:
        self._afoot.discard(afoot)
        if not afoot.cancelled():
            afoot.exception()  # seen: nobody may be waiting for it any more

    def run_step(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The same in a thread, which waits for it."""
        place = self._place(name)
        found = self._from_thread(self._begin(place))
        if found is not None:
            return _outcome(*found)
        try:
            result = fn(*args, **kwargs)
        except Exception as error:
            self._from_thread(self._failed(place, error))
            raise
        except BaseException:
            self._job.home.call_soon_threadsafe(self._end)
            raise
        return self._from_thread(self._done(place, result))

    def wait_for(self, name: str, timeout: float | None) -> Awaitable[Any]:
        """The value of the signal, or the end of this run."""
        return self._at_home(self._wait(self._place(name, "wait:"), name, timeout))

    def run_wait_for(self, name: str, timeout: float | None) -> Any:
        """The same in a thread."""
        return self._from_thread(self._wait(self._place(name, "wait:"), name, timeout))

    def _place(self, name: str, prefix: Literal["", "wait:"] = "") -> Place:
        if not 0 < len(name) <= _NAME_MAX or not name.isprintable():
            raise CorralError(f"A step's name is text of 1 to {_NAME_MAX} printable characters, not {name!r:.80}.")
        if name.startswith(("wait:", "signal:", "timeout:")):
            raise CorralError(f"The name {name!r} means something else in a journal: call the step something else.")
        with self._numbering:
            stem = prefix + name
            self._occurrences[stem] = occurrence = self._occurrences.get(stem, 0) + 1
            if self._is_own():
                self._counted += 1
                return Place(f"{stem}#{occurrence}", self._counted)
            self._beside += 1
            return Place(f"{stem}#{occurrence}", -self._beside)

    def _is_own(self) -> bool:
        """Whether the run itself asks, and not a task or thread that it started."""
        try:
            task = asyncio.current_task()
        except RuntimeError:  # a thread without a loop: the first one that asks is the agent's
            if self._thread is None:
                self._thread = threading.get_ident()
            return self._thread == threading.get_ident()
        return task is self._job.task

    def _at_home(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        if asyncio.get_running_loop() is self._job.home:
            return work
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._job.home))

    def _from_thread(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(work, self._job.home).result()
        work.close()
        raise CorralError("This would block the event loop: in asynchronous code write `await context.step(…)`.")

    # -- on the loop of the worker -----------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a step is under way."""
        return self._running > 0

    async def quiet(self) -> None:
        """Return once no step is under way."""
        while self._running:
            self._quiet.clear()
            await self._quiet.wait()

    def close(self) -> None:
        """The run is over: what still asks is sent away."""
        self._closed = True

    def left_over(self) -> list[str]:
        """Steps that the journal has and this run did not ask for."""
        asked = self._occurrences
        return [
            key
            for key, step in self._recorded.items()
            if step.kind == "step" and int(key.rpartition("#")[2]) > asked.get(key.rpartition("#")[0], 0)
        ]

    async def _begin(self, place: Place) -> tuple[Step, bytes] | None:
        await self._look(place)
        step = self._recorded.get(place.key)
        if step is not None:
            return step, await self._scribe.large.read(self._job.claimed, step)
        if not await self._scribe.is_ours(self._job):
            self._job.lose()
        self._check_open()
        self._running += 1
        return None

    async def _look(self, place: Place) -> None:
        self._check_open()
        if not self._loaded:
            await self._load()
            self._check_open()
        if place.ordinal > 0:
            there = self._places.get(place.ordinal)
            recorded = self._recorded.get(place.key)
            if there is not None and there != place.key:
                self._differ(place, there)
            elif there is None and recorded is not None and recorded.ordinal > 0:
                self._differ(place, None)

    def _differ(self, place: Place, there: str | None) -> None:
        recorded = f"the journal has {there!r} there" if there else f"the journal has it as step {self._ordinal(place)}"
        self.fault = DeterminismFault(
            f"Step {place.ordinal} of this run is {place.key!r}, but {recorded}. The code around the steps must ask for "
            "the same steps in the same order each time: decide by payload and step results only, not by time, chance "
            "or changed code. Deploy the code that began this job, or redrive it with a new input to start afresh."
        )
        raise self.fault

    def _ordinal(self, place: Place) -> int:
        return self._recorded[place.key].ordinal

    def _check_open(self) -> None:
        if self.suspended is not None:
            raise Suspended(self.suspended.awaits, self.suspended.until)
        if self.fault is not None:
            raise self.fault
        if self._closed or self._job.stop_reason == "lost":
            raise ClaimLost("This run is over: it was cancelled, ran out of time, or lost its job to another worker.")

    async def _load(self) -> None:
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._read())
        await asyncio.shield(self._loading)

    async def _read(self) -> None:
        for step in await self._scribe.steps(self._job.claimed.id):
            self._recorded[step.key] = step
            if step.ordinal > 0:
                self._places[step.ordinal] = step.key
        self._loaded = True

    def _end(self) -> None:
        self._running -= 1
        self._quiet.set()

    async def _done(self, place: Place, result: object) -> Any:
        try:
            body = to_value(place.key, result)
            value, is_reference = await self._scribe.large.kept(self._job.claimed, body, lambda: str(place.ordinal))
            await self._write(Step(key=place.key, ordinal=place.ordinal, value=value, is_reference=is_reference))
        finally:
            self._end()
        return as_replayed(result, body)

    async def _failed(self, place: Place, error: Exception) -> None:
        """Not kept yet: only if the agent goes on all the same, or if the job runs again and trying again is useless.

        So a step that made its job fail is done again once a person has the job run again.
        """
        try:
            failure = Step(key=place.key, ordinal=place.ordinal, value=to_failure(error), failed=True)
            self._failures.append((failure, self._scribe.retrying.is_retryable(error)))
        finally:
            self._end()

    def keep_failures(self, then: Callable[[], None]) -> None:
        """The job runs again: write down which steps are not to be tried again, and call `then`."""
        useless = [failure for failure, retryable in self._failures if not retryable]
        self._failures.clear()
        if not useless:
            then()
            return
        claim = self._job.claim
        for failure in useless[:-1]:
            self._scribe.journal.put(StepWrite(claim, failure), self._noted)
        self._scribe.journal.put(StepWrite(claim, useless[-1]), lambda _: then())

    async def _write(self, step: Step) -> None:
        """Durable when it returns, and with it all failures that the agent went on from."""
        claim = self._job.claim
        for failure, _ in self._failures:
            self._scribe.journal.put(StepWrite(claim, failure), self._noted)
        self._failures.clear()
        try:
            is_ours = await self._scribe.journal.add(StepWrite(claim, step))
        except Exception as error:
            raise StepNotKept(f"Step {step.key!r} is done, but the store does not take its result: {error}") from error
        if not is_ours:
            self._job.lose()
            raise ClaimLost

    def _noted(self, answer: bool | Exception) -> None:
        if answer is False:
            self._job.lose()

    # -- signals -----------------------------------------------------------------------------------------------------

    async def _wait(self, place: Place, name: str, timeout: float | None) -> Any:
        await self._look(place)
        number = place.key.rpartition("#")[2]
        timed_out = f"timeout:{name}#{number}"
        awaits = f"signal:{name}#{number}"
        if timed_out in self._recorded:
            raise _no_answer(name, timeout)
        signal = self._recorded.get(awaits)
        if signal is not None:
            return from_value(await self._scribe.large.read(self._job.claimed, signal))
        now = self._job.store_now()
        before = self._recorded.get(place.key)
        if before is not None:
            until = msgspec.json.decode(before.value, type=float | None)
        else:
            until = None if timeout is None else now + timeout
            await self._write(Step(key=place.key, ordinal=place.ordinal, kind="wait", value=msgspec.json.encode(until)))
        if until is not None and now >= until - _CLOCK_GRAIN_S:
            # Written down, so that a signal which comes too late changes nothing in a later attempt.
            await self._write(Step(key=timed_out, kind="wait"))
            raise _no_answer(name, timeout)
        self.suspended = Suspended(awaits, until)
        raise self.suspended


def _outcome(step: Step, body: bytes) -> Any:
    if step.failed:
        raise from_failure(body)
    return from_value(body)


def _no_answer(name: str, timeout: float | None) -> WaitTimeout:
    within = "in time" if timeout is None else f"within {timeout:g} s"
    return WaitTimeout(f"No signal {name!r} came {within}.")
