"""Texts that are embedded at the same time travel together: fewer questions, and no caller waits longer than a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ModelRequestInvalid, ModelTimeout, ModelUnavailable
from corral.messages import CallEmbedder, EmbedCall, EmbedReply, Usage


class _Waiter(msgspec.Struct, eq=False):
    """One caller's texts, and where its vectors go."""

    call: EmbedCall
    vectors: asyncio.Future[EmbedReply]


class _Group(msgspec.Struct, eq=False):
    """Callers that want the same of the same model."""

    proceed: CallEmbedder
    waiters: list[_Waiter] = []
    size: int = 0
    timer: asyncio.Task[None] | None = None


class MicroBatching:
    """Gathers calls of one tenant's agent to one model for `wait_s`, or until they are `size_max` texts.

    Each caller gets its own vectors, in order, with its part of the usage and of the cost by the length of its texts. If the
    provider refuses what was gathered, halves are asked until only the caller is left whose texts it does not like. A call of
    more than `size_max` texts is asked in pieces.
    """

    def __init__(
        self,
        *,
        size_max: int = 128,
        wait_s: float = 0.003,
        clock: Clock = SYSTEM_CLOCK,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """With `wait_s` 0, calls of the same turn of the event loop are gathered."""
        self._size_max = size_max
        self._wait_s = wait_s
        self._clock = clock
        self._sleep = sleep
        self._groups: dict[tuple[object, ...], _Group] = {}
        self._afoot: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """The layer."""
        if self._stopped:
            raise ModelUnavailable("This service is shutting down.")
        if len(call.texts) > self._size_max:
            return await self._in_pieces(call, proceed)
        if not call.texts:
            return EmbedReply(vectors=[], model=call.model)
        waiter = _Waiter(call, asyncio.get_running_loop().create_future())
        self._join(waiter, proceed)
        if call.deadline is None:
            return await waiter.vectors
        try:
            async with asyncio.timeout(max(0.0, call.deadline - self._clock.monotonic())):
                return await waiter.vectors
        except TimeoutError:
            raise ModelTimeout("The vectors did not come in time.", model=call.model) from None

    async def start(self) -> None:
        """Take calls, as from the beginning; after a stop, again."""
        self._stopped = False

    async def drain(self) -> None:
        """Ask what has gathered, and wait until all answers are there."""
        for key in list(self._groups):
            self._send(key)
        while self._afoot:
            await asyncio.wait(self._afoot)

    async def stop(self) -> None:
        """Take no more, and cancel what is under way. Stopping twice is stopping once."""
        self._stopped = True
        for key in list(self._groups):
            self._send(key)
        for task in self._afoot:
            task.cancel()
        if self._afoot:
            await asyncio.wait(self._afoot)

    def _join(self, waiter: _Waiter, proceed: CallEmbedder) -> None:
        call = waiter.call
        key = (call.model, call.dimensions, msgspec.json.encode(call.extra), call.caller.tenant, call.caller.agent)
        group = self._groups.get(key)
        if group is not None and group.size + len(call.texts) > self._size_max:
            self._send(key)
            group = None
        if group is None:
            group = self._groups[key] = _Group(proceed)
            group.timer = asyncio.get_running_loop().create_task(self._later(key))
        group.waiters.append(waiter)
        group.size += len(call.texts)
        if group.size >= self._size_max:
            self._send(key)

    async def _later(self, key: tuple[object, ...]) -> None:
        await self._sleep(self._wait_s)
        group = self._groups.get(key)
        if group is not None and group.timer is asyncio.current_task():
            group.timer = None
            self._send(key)

    def _send(self, key: tuple[object, ...]) -> None:
        group = self._groups.pop(key)
        if group.timer is not None:
            group.timer.cancel()
        task = asyncio.get_running_loop().create_task(self._ask(group.waiters, group.proceed))
        self._afoot.add(task)

        def left(_: object) -> None:
            if all(one.vectors.done() for one in group.waiters):  # nobody pays for what nobody waits for
                task.cancel()

        for waiter in group.waiters:
            waiter.vectors.add_done_callback(left)

        def over(task: asyncio.Task[None]) -> None:
            self._afoot.discard(task)
            _fail(
                group.waiters, ModelUnavailable("This service is shutting down.")
            )  # one that was cancelled before it began

        task.add_done_callback(over)

    async def _ask(self, waiters: Sequence[_Waiter], proceed: CallEmbedder) -> None:
        waiters = [one for one in waiters if not one.vectors.done()]  # who has left needs no vectors
        if not waiters:
            return
        calls = [one.call for one in waiters]
        try:
            reply = await proceed(_joined(calls))
        except ModelRequestInvalid as error:
            if len(waiters) == 1:
                _fail(waiters, error)
                return
            half = len(waiters) // 2
            await self._ask(waiters[:half], proceed)
            await self._ask(waiters[half:], proceed)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            _fail(waiters, error)
        else:
            for waiter, part in zip(waiters, _parts(reply, calls), strict=True):
                if not waiter.vectors.done():
                    waiter.vectors.set_result(part)

    async def _in_pieces(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        size = self._size_max
        pieces = [
            msgspec.structs.replace(call, texts=call.texts[at : at + size]) for at in range(0, len(call.texts), size)
        ]
        replies = [
            await proceed(piece) for piece in pieces
        ]  # one after the other: this one caller does not crowd out others
        costs = [reply.cost_usd for reply in replies]
        return msgspec.structs.replace(
            replies[0],
            vectors=[vector for reply in replies for vector in reply.vectors],
            usage=_sum([reply.usage for reply in replies]),
            cost_usd=None if None in costs else sum(cost or 0.0 for cost in costs),
            cached=sum(reply.cached for reply in replies),
        )


def _fail(waiters: Sequence[_Waiter], error: Exception) -> None:
    for waiter in waiters:
        if not waiter.vectors.done():
            waiter.vectors.set_exception(error)


def _joined(calls: Sequence[EmbedCall]) -> EmbedCall:
    """One call for all of them, for as long as the most patient of them waits."""
    if len(calls) == 1:
        return calls[0]
    deadlines = [call.deadline for call in calls]
    return msgspec.structs.replace(
        calls[0],
        texts=[text for call in calls for text in call.texts],
        deadline=None if None in deadlines else max(deadline or 0.0 for deadline in deadlines),
        notes={},
    )


def _parts(reply: EmbedReply, calls: Sequence[EmbedCall]) -> list[EmbedReply]:
    """Each caller's part; they add up to the whole."""
    if len(calls) == 1:
        return [reply]
    lengths = [sum(len(text) for text in call.texts) for call in calls]
    total, at, before, parts = sum(lengths) or 1, 0, 0, []
    for call, length in zip(calls, lengths, strict=True):
        until = before + length

        def share(tokens: int, before: int = before, until: int = until) -> int:
            return tokens * until // total - tokens * before // total

        parts.append(
            msgspec.structs.replace(
                reply,
                vectors=reply.vectors[at : at + len(call.texts)],
                usage=Usage(
                    input=share(reply.usage.input),
                    cache_read=share(reply.usage.cache_read),
                    cache_write=share(reply.usage.cache_write),
                    output=share(reply.usage.output),
                    reasoning=share(reply.usage.reasoning),
                    estimated=reply.usage.estimated,
                ),
                cost_usd=None if reply.cost_usd is None else reply.cost_usd * length / total,
                cached=0,
            )
        )
        at += len(call.texts)
        before = until
    return parts


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        input=sum(one.input for one in usages),
        cache_read=sum(one.cache_read for one in usages),
        cache_write=sum(one.cache_write for one in usages),
        output=sum(one.output for one in usages),
        reasoning=sum(one.reasoning for one in usages),
        estimated=any(one.estimated for one in usages),
    )
