"""Makes a job of each message: takes messages, keeps them while it must, and deletes them when that is safe.

A message is deleted once its job is durable (`enqueue`) or has succeeded (`wait`). All else is left to the queue that the
message came from: what is not deleted comes again, and ends among that queue's own dead letters.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import msgspec

from corral.jobs.bridges.holding import Holding
from corral.jobs.bridges.port import (
    Desk,
    Message,
    MessageQueue,
    RefusedError,
    ShutOutError,
    TryAgainError,
)
from corral.jobs.states import TERMINAL, JobState

T = TypeVar("T")
Mode = Literal["enqueue", "wait"]

BATCH = 10
"""Messages in one request."""
_PAUSE_S = 0.2
_PAUSE_MAX_S = 10.0
_LOOK_S = 5.0
"""How long one question about a job waits for its end: stopping may take as long."""
_TOGETHER_S = 0.02
"""Messages that are done within this time of each other are deleted by one request."""


class Tally(msgspec.Struct):
    """What a bridge did."""

    received: int = 0
    deleted: int = 0
    """Messages whose job is durable, or has succeeded."""
    left: int = 0
    """Messages that were refused or whose job failed: the queue they came from decides."""
    released: int = 0
    """Messages given back because the bridge stopped."""


class Bridge:
    """One queue on one side, one desk on the other. `run` returns after `stop`."""

    def __init__(
        self,
        source: MessageQueue,
        desk: Desk,
        *,
        mode: Mode = "enqueue",
        concurrency: int = BATCH,
        visibility_s: float = 30.0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`concurrency` messages are at work at most; `say` is told what people should know."""
        self._source = source
        self._desk = desk
        self._mode = mode
        self._concurrency = concurrency
        self._say = say
        self.tally = Tally()
        self._holding = Holding(source, visibility_s, say)
        self._room = threading.Semaphore(concurrency)
        self._counting = threading.Lock()
        self._stopping = threading.Event()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._failure: ShutOutError | None = None
        self._done: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._is_away = False
        self.receiver = threading.Thread(target=self._receive, name="corral-bridge-receive", daemon=True)
        """A long poll may hold it for a while after `run` has returned; what it still brings is given back."""

    def stop(self) -> None:
        """Take no more messages, finish what is being handed in, give back the rest. From any thread or signal handler."""
        self._wake.put(None)  # not an event: a handler that sets one may find its own thread holding the lock

    def run(self) -> Tally:
        """Work until `stop`. Raises `ShutOutError` when there is no use in going on."""
        deleter = threading.Thread(target=self._delete, name="corral-bridge-delete", daemon=True)
        self._holding.start()
        deleter.start()
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="corral-bridge") as self._pool:
            self.receiver.start()
            try:
                self._wake.get()
            finally:
                self._stopping.set()
        self._done.put(None)
        deleter.join()
        self._release(self._holding.stop())
        if self._failure is not None:
            raise self._failure
        return self.tally

    # -- taking messages

    def _receive(self) -> None:
        """In a thread of its own."""
        pause_s = _PAUSE_S
        while not self._stopping.is_set():
            limit = self._reserve()
            if not limit:
                continue
            messages: list[Message] = []
            try:
                messages = self._source.receive(limit)
                pause_s = _PAUSE_S
            except TryAgainError as error:
                self._say(f"No messages can be received now: {error}")
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            except ShutOutError as error:
                self._shut_out(error)
            for _ in range(limit - len(messages)):
                self._room.release()
            if messages:
                self._begin(messages)

    def _reserve(self) -> int:
        """Room for as many messages as one request may bring; 0: there is none yet."""
        if not self._room.acquire(timeout=0.5):
            return 0
        limit = 1
        while limit < BATCH and self._room.acquire(blocking=False):
            limit += 1
        return limit

    def _begin(self, messages: Sequence[Message]) -> None:
        self._count(received=len(messages))
        if self._stopping.is_set():
            self._release(messages)
            return
        self._holding.add(messages)
        ordered: dict[str, list[Message]] = {}
        for message in messages:
            ordered.setdefault(message.order or f"\0{message.receipt}", []).append(message)
        for lane in ordered.values():
            try:
                self._pool.submit(self._handle, lane)
            except RuntimeError:  # the pool has closed: `stop` came between
                self._holding.drop(lane)
                self._release(lane)

    # -- each message

    def _handle(self, lane: list[Message]) -> None:
        """Messages that must stay in order: the first that is not done keeps those behind it waiting."""
        for number, message in enumerate(lane):
            try:
                done = self._is_done(message)
            except RefusedError as error:
                self._say(f"Message {message.id} is left to its queue: {error}")
                done = False
            except ShutOutError as error:
                self._shut_out(error)
                done = False
            if not done:
                self._leave(lane[number:])
                return
            self._done.put(message)

    def _is_done(self, message: Message) -> bool:
        """Hand it in, and wait for its job where that is asked for. False: it is not done; the reason was told."""
        job = self._persist(lambda: self._desk.submit(message.request, key=message.id))
        if job is None or self._mode == "enqueue":
            return job is not None
        state: JobState | None = job.state
        if state == "failed":  # a message that comes again is one more try
            state = self._persist(lambda: self._retried(job.id))
        while state not in TERMINAL and not self._stopping.is_set():
            state = self._persist(lambda: self._desk.wait(job.id, seconds=_LOOK_S))
        if state in TERMINAL and state != "succeeded":
            raise RefusedError(f"its job {job.id} {state if state == 'failed' else f'was {state}'}.")
        return state == "succeeded"

    def _retried(self, job_id: str) -> JobState:
        self._desk.retry(job_id)
        return "queued"

    def _persist(self, ask: Callable[[], T]) -> T | None:
        """Ask until it works: the message is kept meanwhile, and its count of receptions stays as it is."""
        pause_s = _PAUSE_S
        while not self._stopping.is_set():
            try:
                answer = ask()
            except TryAgainError as error:
                if not self._is_away:
                    self._is_away = True
                    self._say(f"Jobs cannot be handed in now; the messages are kept. {error}")
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            else:
                if self._is_away:
                    self._is_away = False
                    self._say("Jobs can be handed in again.")
                return answer
        return None

    def _leave(self, messages: Sequence[Message]) -> None:
        """Let go of messages that are not done; when we stop, others may have them at once."""
        if self._stopping.is_set():
            return  # `run` gives back what is still held
        self._holding.drop(messages)
        self._count(left=len(messages))
        for _ in messages:
            self._room.release()

    def _shut_out(self, error: ShutOutError) -> None:
        self._failure = self._failure or error
        self._stopping.set()
        self.stop()

    # -- what is done, and what is given back

    def _delete(self) -> None:
        """In a thread of its own: deletes what is done, several messages by one request."""
        last = False
        while not last:
            together: list[Message] = []
            wait_s: float | None = None
            while len(together) < BATCH:
                try:
                    message = self._done.get(timeout=wait_s)
                except queue.Empty:
                    break
                if message is None:
                    last = True
                    break
                together.append(message)
                wait_s = _TOGETHER_S
            if together:
                self._delete_together(together)

    def _delete_together(self, messages: list[Message]) -> None:
        kept: Sequence[Message] = messages
        try:
            kept = self._source.delete(messages)
        except (TryAgainError, ShutOutError) as error:
            self._say(f"{len(messages)} messages could not be deleted, and will come again: {error}")
        self._holding.drop(messages)
        self._count(deleted=len(messages) - len(kept))
        for _ in messages:
            self._room.release()

    def _release(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        try:
            self._source.release(messages)
        except (TryAgainError, ShutOutError) as error:
            self._say(f"{len(messages)} messages come again when their time is over: {error}")
            return
        self._count(released=len(messages))

    def _count(self, *, received: int = 0, deleted: int = 0, left: int = 0, released: int = 0) -> None:
        with self._counting:
            self.tally.received += received
            self.tally.deleted += deleted
            self.tally.left += left
            self.tally.released += released
