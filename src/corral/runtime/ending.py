"""The end of an invocation: once, whatever happened, whether the reply was a value or a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from corral.errors import AgentFailed, CorralError
from corral.jobs.steps import Suspended
from corral.runtime.encoding import to_json
from corral.runtime.invocation import Invocation, Outcome
from corral.runtime.pipeline import Proceed
from corral.runtime.reply import Reply
from corral.runtime.run import Runner, agents_own

Observer = Callable[[Invocation], None]

_BUSY = 503


class Ended:
    """The stage that sees every call to its end: endings run, observers are told, errors become fit for outsiders."""

    def __init__(self, runner: Runner, observers: Sequence[Observer]) -> None:
        """`runner` may have an answer for an agent that failed in the middle of its stream."""
        self.runner = runner
        self._observers = observers

    async def stage(self, call: Invocation, proceed: Proceed) -> Reply:
        """Go on; a value ends the call here, a stream when it has been read."""
        call.task = asyncio.current_task()
        try:
            call.check()
            reply = await proceed(call)
            if reply.source is None and reply.response is None:
                reply.text = to_json(reply.value)
        except BaseException as error:
            seen = agents_own(error, call)  # sys.exit() in an agent must not end the worker
            await self.finish(call, seen)
            if seen is error:
                raise
            raise seen from error
        if reply.source is not None:
            reply.stream = CallStream(call, reply.source, self)
            return reply
        if call.transcript is not None:
            call.transcript.reply(reply.value)
        await self.finish(call, None)
        return reply

    async def finish(self, call: Invocation, error: BaseException | None) -> None:
        """Run the endings and tell the observers."""
        call.error = error
        if error is not None:
            call.outcome = outcome_of(error)
        try:
            await call.end()
        except CorralError as late:  # what the turn still had to write was refused: the caller must know
            call.error, call.outcome = late, outcome_of(late)
            if error is None:
                raise
        finally:
            for observe in self._observers:
                observe(call)


class CallStream:
    """The agent's values as JSON texts. The end of the stream, however it comes, ends the call."""

    __slots__ = ("_call", "_ended", "_over", "_source")

    def __init__(self, call: Invocation, source: AsyncIterator[Any], ended: Ended) -> None:
        """Read `source` for `call`."""
        self._call = call
        self._source = source
        self._ended = ended
        self._over = False

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if self._over:
            raise StopAsyncIteration
        call = self._call
        try:
            value = await self._source.__anext__()
        except StopAsyncIteration:
            await self._end(None)
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit() in an agent must not end the worker
            return await self._failed(error)
        if call.first_at is None:
            call.first_at = call.now()
        if call.transcript is not None:
            call.transcript.add(value)
        return to_json(value)

    async def _failed(self, error: BaseException) -> str:
        """Raise what an outsider may see, unless the app has a last word of its own."""
        seen = agents_own(error, self._call)
        if isinstance(seen, AgentFailed) and isinstance(error, Exception):
            rescue = await self._ended.runner.rescue(self._call, error)
            if rescue is not None:
                if self._call.transcript is not None:
                    self._call.transcript.add(rescue.value)
                await self._end(None)
                return to_json(rescue.value)
        await self._end(seen)
        if seen is error:
            raise seen
        raise seen from error

    async def _end(self, error: BaseException | None) -> None:
        self._over = True
        close = getattr(self._source, "aclose", None)
        if close is not None:
            try:
                await close()
            except BaseException as late:  # noqa: BLE001 - an agent's clean-up may fail; the call ends all the same
                error = error or agents_own(late, self._call)
        await self._ended.finish(self._call, error)

    async def aclose(self) -> None:
        """Close the agent's generator and end the call, when the reader leaves before the end."""
        if not self._over:
            await self._end(self._call.cancelled_error())


def outcome_of(error: BaseException) -> Outcome:
    """The one word that metrics and logs use for an error."""
    if isinstance(error, Suspended):
        return "ok"
    code = getattr(error, "code", "")
    if code in {"cancelled", "interrupted"} or isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "cancelled"
    if code == "deadline_exceeded":
        return "timeout"
    if isinstance(error, AgentFailed) or not isinstance(error, CorralError):
        return "error"
    return "rejected" if error.status < 500 or error.status == _BUSY else "error"  # noqa: PLR2004 - HTTP's own number
