"""Spans: a tuple's worth of work on the hot path, written to the store in batches by a task in the background."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from corral.clock import SYSTEM_CLOCK, Clock, new_span_id
from corral.context import Context, find_context
from corral.errors import CorralError
from corral.observability.redaction import redacted
from corral.observability.store import Span, SpanStore

_log = logging.getLogger("corral.observability")

_HELD_MAX = 10_000
_BATCH_MAX = 500
_PERIOD_S = 0.5


class Traces:
    """Records finished spans and decides which traces are worth keeping.

    A trace is kept or not as a whole, decided when it begins; one that fails is kept whatever was decided. Under load only so many
    traces a second are kept: a sample tells as much, and recording must not cost what it measures.
    """

    def __init__(
        self, store: SpanStore, *, sample: float, per_second_max: float = 100.0, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`sample` is the share of traces kept when the caller did not decide."""
        self._store = store
        self._sample = sample
        self._per_second_max = per_second_max
        self._allowance = per_second_max
        self._allowance_at = clock.monotonic()
        self._clock = clock
        self._spans: deque[Span] = deque()
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.dropped = 0
        """Spans that were not kept because there were too many, or the store did not answer."""

    def decide(self, context: Context) -> None:
        """Settle whether this trace is kept, as it begins."""
        context.traces = self
        if not context.sampled:
            return
        if context.parent_span_id is None and self._sample < 1.0:
            share = int(context.trace_id[-8:], 16) / 0xFFFFFFFF
            if share >= self._sample:
                context.sampled = False
                return
        now = self._clock.monotonic()
        self._allowance = min(self._per_second_max, self._allowance + (now - self._allowance_at) * self._per_second_max)
        self._allowance_at = now
        if self._allowance < 1.0:
            context.sampled = False
        else:
            self._allowance -= 1.0

    def record(self, span: Span) -> None:
        """Keep a finished span for the next batch."""
        if len(self._spans) >= _HELD_MAX:
            self.dropped += 1
        else:
            self._spans.append(span)

    # -- life

    async def start(self) -> None:
        """Begin to write. Calling it again does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Write everything recorded so far."""
        while self._spans:
            batch = [self._spans.popleft() for _ in range(min(_BATCH_MAX, len(self._spans)))]
            try:
                await self._store.write(batch)
            except CorralError as error:
                self.dropped += len(batch)
                _log.debug("Spans were dropped: %s", error)
                return

    async def stop(self) -> None:
        """Write what there is, and end. Calling it again does nothing."""
        task, self._task = self._task, None
        if task is not None:
            self._stopping.set()
            await asyncio.wait([task])
            await self.drain()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _PERIOD_S)
            await self.drain()


_current: contextvars.ContextVar[str | None] = contextvars.ContextVar("corral_span", default=None)


@contextlib.contextmanager
def span(name: str, *, kind: str = "internal", **attributes: Any) -> Iterator[dict[str, Any]]:
    """Time a piece of work inside of an agent; attributes may be added to what is yielded.

    Does nothing outside of an invocation, or in a trace that is not kept.
    """
    context = find_context()
    if context is None or context.traces is None or not context.sampled:
        yield attributes
        return
    span_id = new_span_id()
    parent_id = _current.get() or context.agent_span_id or context.span_id
    token = _current.set(span_id)
    clock = SYSTEM_CLOCK
    started_at, begun = clock.now(), clock.monotonic()
    status = "ok"
    try:
        yield attributes
    except BaseException as error:
        status = "error"
        attributes.setdefault("error.type", type(error).__name__)
        raise
    finally:
        _current.reset(token)
        context.traces.record(
            Span(
                trace_id=context.trace_id,
                span_id=span_id,
                parent_id=parent_id,
                name=name,
                kind=kind,
                tenant=context.tenant,
                started_at=started_at,
                duration_s=clock.monotonic() - begun,
                status=status,
                attributes=redacted(attributes),
            )
        )


def traceparent(context: Context) -> str:
    """The W3C header that carries this trace on: to whom we call, and back to who called."""
    return f"00-{context.trace_id}-{context.span_id}-{'01' if context.sampled else '00'}"


def finished_span(  # noqa: PLR0913 - a span has that many parts
    context: Context,
    name: str,
    kind: str,
    *,
    span_id: str,
    parent_id: str | None,
    started_at: float,
    duration_s: float,
    failed: bool,
    attributes: Mapping[str, Any],
) -> Span:
    """A span of the runtime's own."""
    return Span(
        trace_id=context.trace_id,
        span_id=span_id,
        parent_id=parent_id,
        name=name,
        kind=kind,
        tenant=context.tenant,
        started_at=started_at,
        duration_s=duration_s,
        status="error" if failed else "ok",
        attributes={key: value for key, value in attributes.items() if value is not None},
    )
