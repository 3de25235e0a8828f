"""A run in a task of its own, and the clients that follow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from corral.errors import CorralError
from corral.runtime.invocation import Invocation
from corral.runtime.reply import Reply


class ReplayGone(CorralError):
    """This run has streamed more than is kept for those who come back; ask again when it has ended, with a new key."""

    status = 409
    code = "replay_gone"


class Pieces:
    """The pieces of a stream, kept from the start while they are small enough, else only those still to be read."""

    def __init__(self, held_bytes_max: int) -> None:
        """Hold at most that many characters for readers to come."""
        self._held_max = held_bytes_max
        self._pieces: list[str] = []
        self._first = 0
        self._held = 0

    def __len__(self) -> int:
        return self._first + len(self._pieces)

    def __getitem__(self, index: int) -> str:
        return self._pieces[index - self._first]

    @property
    def complete(self) -> bool:
        """Whether everything since the start is still here."""
        return self._first == 0

    def is_full(self) -> bool:
        """Whether the writer should wait for the readers."""
        return self._held > self._held_max

    def all(self) -> list[str]:
        """Every piece, from the start."""
        return list(self._pieces)

    def add(self, piece: str) -> None:
        """Append one."""
        self._pieces.append(piece)
        self._held += len(piece)

    def forget_before(self, index: int) -> None:
        """Let go of what all readers have read."""
        count = index - self._first
        if count > 0:
            self._held -= sum(len(piece) for piece in self._pieces[:count])
            del self._pieces[:count]
            self._first = index


class FollowedRun:
    """One run and where each of its followers is. With no follower left it is cancelled after a grace time."""

    def __init__(self, call: Invocation, fingerprint: str, token: str, *, grace_s: float, held_bytes_max: int) -> None:
        """`token` is the claim on the key; the rest says what a follower may expect."""
        self.call = call
        self.fingerprint = fingerprint
        self.token = token
        self.pieces = Pieces(held_bytes_max)
        self._grace_s = grace_s
        self._positions: dict[int, int] = {}
        self._changed = asyncio.Event()
        self._reply: Reply | None = None
        self._given = False
        self._ended = False
        self._error: BaseException | None = None
        self._grace: asyncio.TimerHandle | None = None

    # -- the run's side

    def started(self, reply: Reply) -> None:
        """The kind of reply is known."""
        self._reply = reply
        self._notify()

    async def add(self, piece: str) -> None:
        """One more piece; waits while the slowest follower is too far behind."""
        self.pieces.add(piece)
        self._notify()
        while self.pieces.is_full():
            if self._positions:
                self.pieces.forget_before(min(self._positions.values()))
                if not self.pieces.is_full():
                    break
            await self._changed.wait()

    def finished(self, error: BaseException | None) -> None:
        """Nothing more will come."""
        self._ended, self._error = True, error
        if self._grace is not None:
            self._grace.cancel()
        self._notify()

    # -- a follower's side

    async def reply(self) -> Reply:
        """The run's reply, as soon as it is known; a stream is followed from its first piece."""
        if not self.pieces.complete:
            raise ReplayGone
        follower = self._join()
        try:
            while self._reply is None and not self._ended:
                await self._changed.wait()
        except BaseException:
            self.leave(follower)
            raise
        reply = self._reply
        if reply is not None and reply.stream is not None:
            return Reply(stream=_Following(self, follower))
        self.leave(follower)
        if self._error is not None:
            raise self._error
        return self._once(reply or Reply())

    def _once(self, reply: Reply) -> Reply:
        """A response that the agent streams itself can be sent to one client only."""
        if reply.response is not None and not isinstance(getattr(reply.response, "body", None), bytes):
            if self._given:
                raise ReplayGone
            self._given = True
        return reply

    async def next_piece(self, follower: int) -> str:
        """The next piece for this follower; raises what the run raised, or `StopAsyncIteration` at its end."""
        position = self._positions[follower]
        while position >= len(self.pieces):
            if self._ended:
                self.leave(follower)
                raise self._error or StopAsyncIteration
            await self._changed.wait()
        piece = self.pieces[position]
        self._positions[follower] = position + 1
        if self.pieces.is_full():
            self._notify()
        return piece

    def _join(self) -> int:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        follower = max(self._positions, default=0) + 1
        self._positions[follower] = 0
        return follower

    def leave(self, follower: int) -> None:
        """This follower reads no more; the last one starts the grace time."""
        self._positions.pop(follower, None)
        if not self._positions and not self._ended and self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(self._grace_s, self.call.cancel, "client")

    def _notify(self) -> None:
        # Everybody who waits now is woken; whoever waits later waits for the next change.
        self._changed.set()
        self._changed = asyncio.Event()


class _Following:
    """One follower's view of the stream."""

    __slots__ = ("_follower", "_run")

    def __init__(self, run: FollowedRun, follower: int) -> None:
        self._run = run
        self._follower = follower

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        return await self._run.next_piece(self._follower)

    async def aclose(self) -> None:
        self._run.leave(self._follower)
