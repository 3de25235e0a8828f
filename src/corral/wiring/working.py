"""Where jobs meet the runtime: a claimed job becomes an invocation and takes the road of a request.

And the life of what works in the background: the worker, what keeps house for the queue, and what sends callbacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.context import Context
from corral.errors import AgentUnavailable, NotFound, PayloadTooLarge
from corral.jobs.running import Handler, Outcome, RunningJob
from corral.jobs.worker import Worker
from corral.observability.traces import join_trace
from corral.runtime.invocation import Invocation
from corral.runtime.pipeline import Proceed
from corral.runtime.registry import Agent, Agents
from corral.runtime.reply import Reply

_MOST_OF_CALLS = 9

Say = Callable[[bytes], Awaitable[None]]
"""Takes a piece of an answer, as JSON text."""
During = Callable[[Context], AbstractContextManager[Context]]
"""Around work on behalf of a context: knows when its trace begins, and when it is over."""


class Answers:
    """What agents answer, each as one JSON text."""

    def __init__(self, pipeline: Proceed, *, result_max_bytes: int) -> None:
        """`pipeline` is the list of stages without those that are for requests alone."""
        self._pipeline = pipeline
        self._result_max_bytes = result_max_bytes

    async def of(self, call: Invocation, say: Say) -> bytes:
        """Run it; `say` is given what it yields, and all of that together is the answer: text, where all is text."""
        call.strict = False
        reply = await self._pipeline(call)
        if reply.stream is not None:
            return await self._read(say, reply.stream)
        return self._bounded(_value(reply))

    async def _read(self, say: Say, stream: AsyncIterator[str]) -> bytes:
        """Hand on every piece, and make one result of all: text where all are text, else a list."""
        pieces: list[str] = []
        size = 0
        try:
            async for text in stream:
                pieces.append(text)
                size += len(text)
                if size > self._result_max_bytes:
                    raise self._too_large(size)
                await say(text.encode())
        finally:
            await stream.aclose()  # type: ignore[attr-defined]  # every stream that leaves the pipeline has it
        listed = f"[{','.join(pieces)}]".encode()
        if pieces and all(piece.startswith('"') for piece in pieces):
            return msgspec.json.encode("".join(msgspec.json.decode(listed, type=list[str])))
        return listed

    def _bounded(self, result: bytes) -> bytes:
        if len(result) > self._result_max_bytes:
            raise self._too_large(len(result))
        return result

    def _too_large(self, size: int) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"The result has {size} bytes or more, and a job's may have {self._result_max_bytes}: keep it elsewhere and "
            "answer with its address, or raise `jobs.result_max_bytes`."
        )


def context_of(job: RunningJob) -> Context:
    """On whose behalf a job runs."""
    claimed = job.claimed
    context = Context(claimed.id, claimed.agent)
    context.tenant, context.user_id, context.tier = claimed.tenant, claimed.user_id, claimed.tier
    context.session_id, context.roles = claimed.session_id, claimed.roles
    context.limit_to(claimed.scope)
    context.priority = min(claimed.priority, _MOST_OF_CALLS)
    join_trace(context, claimed.traceparent or None)
    job.attach_to(context)
    return context


class JobRuns:
    """Runs jobs: the handler of a worker."""

    def __init__(
        self,
        agents: Agents,
        answers: Answers,
        during: During,
        *,
        own: Mapping[str, Handler] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`during` is around each run of an agent.

        `own` are the house's own jobs, by the name that stands in the place of an agent's.
        """
        self._agents = agents
        self._answers = answers
        self._during = during
        self._own = own or {}
        self._clock = clock

    async def run(self, job: RunningJob) -> Outcome:
        """Run the agent; what it yields becomes the job's events, and what it answers the job's result."""
        claimed = job.claimed
        handler = self._own.get(claimed.agent)
        if handler is not None:
            return await handler(job)
        agent = self._agent(claimed.agent)
        with self._during(context_of(job)) as context:
            call = Invocation(agent, msgspec.json.decode(claimed.input), context, self._clock.monotonic())
            return Outcome(await self._answers.of(call, job.say))

    def _agent(self, name: str) -> Agent:
        try:
            return self._agents.find(name)
        except NotFound as missing:
            raise AgentUnavailable(missing.message) from None


def _value(reply: Reply) -> bytes:
    """The answer as JSON text; of a ready HTTP response its body."""
    if reply.text is not None:
        return reply.text.encode()
    body = getattr(reply.response, "body", b"")
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.encode(bytes(body).decode("utf-8", "replace"))
    return bytes(body)


class Part(Protocol):
    """The one shape of everything that works in the background. Each call may come twice."""

    async def start(self) -> None:
        """Begin."""
        ...

    async def drain(self) -> object:
        """Begin nothing new, and finish what has begun."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


class Working:
    """What this process does of its own, according to its role: run jobs, keep house, both or nothing."""

    def __init__(self, worker: Worker | None, parts: Sequence[Part]) -> None:
        """`worker` runs jobs; `parts` are the scheduler, the callbacks, and a reaper where no worker brings its own."""
        self.worker = worker
        self._parts: list[Part] = [*parts, *([] if worker is None else [worker])]
        self._ending: set[asyncio.Task[object]] = set()

    @property
    def running(self) -> int:
        """Jobs that run now."""
        return 0 if self.worker is None else self.worker.running

    async def start(self) -> None:
        """Begin to work."""
        for part in self._parts:
            await part.start()

    def begin_drain(self) -> None:
        """Claim no more; what runs goes on."""
        self._begin(self._drain())

    def hand_back(self) -> None:
        """Stop what runs; its jobs go back to the queue, unharmed."""
        if self.worker is not None:
            self._begin(self.worker.stop())

    async def stop(self) -> None:
        """End everything, and return when all is written. Stopping twice is stopping once."""
        for part in reversed(self._parts):
            await part.stop()
        while self._ending:
            await asyncio.wait(self._ending)

    async def _drain(self) -> None:
        await asyncio.gather(*(part.drain() for part in self._parts))

    def _begin(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
