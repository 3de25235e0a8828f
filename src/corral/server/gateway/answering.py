"""The questions that the gateway answers just now: each ends when its client leaves, or when an operator stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from corral.context import enter_context
from corral.errors import Cancelled, CorralError
from corral.messages import EmbedCall, ModelCall
from corral.runtime.board import Item
from corral.runtime.invocation import CancelReason
from corral.server.answer import write_error
from corral.server.disconnect import ClientWatch
from corral.server.gateway.dialect import OPENAI
from corral.server.http import ClientGone, Request

Spent = Callable[[ModelCall | EmbedCall], float | None]
"""What a question has cost for certain before its answer is there."""


class Questions:
    """Those of this worker."""

    def __init__(self, spent: Spent = lambda _: None) -> None:
        """`spent` is asked when somebody looks."""
        self.running: dict[Answering, None] = {}
        self.spent = spent

    def __iter__(self) -> Iterator[Answering]:
        return iter(list(self.running))


class Answering:
    """One of them, from here until its `end`. Nobody pays for what nobody reads: it is cancelled when its client has gone."""

    __slots__ = ("_call", "_cost_usd", "_questions", "_task", "_watch", "is_asking", "is_stopped", "request")

    def __init__(self, questions: Questions, request: Request, call: ModelCall | EmbedCall) -> None:
        """It is answered by the task that runs."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is run by a task
        self._questions = questions
        self.request = request
        self._call = call
        self._task: asyncio.Task[Any] = task
        self._cost_usd: float | None = None
        self.is_asking = True
        """Whether it can be stopped: what is answered already is written to its end."""
        self.is_stopped = False
        """Whether an operator stopped it."""
        enter_context(request.context)  # of this request's task: spans of the call find their place
        self._watch = ClientWatch(request, task.cancel)
        questions.running[self] = None

    def end(self) -> None:
        """It is over, whatever came of it."""
        del self._questions.running[self]
        self._watch.close()

    async def failed(self, error: CorralError | asyncio.CancelledError) -> bool:
        """Tell the client why there is no answer, unless it left. False: it was cancelled, but for neither of the two."""
        self.is_asking = False
        if isinstance(error, asyncio.CancelledError):
            if self._watch.gone:
                self.request.failure = ClientGone()
                return True
            if not self.is_stopped:
                return False
            error = self.stopped()
        self.request.failure = error
        if not self._watch.gone:
            await write_error(self.request, error, OPENAI)
        return True

    # -- for who looks, and stops

    @property
    def started_at(self) -> float:
        """On the monotonic clock."""
        return self.request.started_at

    def item(self, now: float) -> Item:
        """What it is, for lists."""
        caller = self._call.caller
        if self._cost_usd is None:
            self._cost_usd = self._questions.spent(self._call)
        return Item(
            kind="call",
            tenant=caller.tenant,
            id=caller.run_id,
            agent="",
            user=caller.user_id,
            session=caller.session_id,
            model=self._call.model,
            age_s=max(0.0, now - self.started_at),
            cost_usd=self._cost_usd,
        )

    def cancel(self, _reason: CancelReason) -> None:
        """Ask no more."""
        if self.is_asking and not self.is_stopped:
            self.is_stopped = True
            self._task.cancel()

    def stopped(self) -> Cancelled:
        """What its client is told."""
        self._task.uncancel()
        return Cancelled("The question was stopped by an operator.")
