"""Spans: a tuple's worth of work on the hot path, written to the store in batches by a task in the background."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_span_id, new_trace_id
from corral.context import Context, find_context
from corral.observability import semconv
from corral.observability.redaction import redacted, redacted_text
from corral.observability.store import Span, SpanStore

_log = logging.getLogger("corral.observability")

_TRACEPARENT_LENGTH = 55
_HELD_MAX = 10_000
_BATCH_MAX = 500
_PERIOD_S = 0.5
_WRITE_S_MAX = 10.0
_OF_A_TRACE_MAX = 100
"""Spans held back of a trace that is kept only if it fails."""


Made = Callable[[], Span]
"""Makes a span of what is over: not called for a trace that nobody keeps."""


class Recorder(Protocol):
    """Where the spans of one request go: `Context.traces`."""

    def record(self, span: Span) -> None:
        """Take a finished span."""
        ...

    def record_made(self, made: Made) -> None:
        """Take a finished span, which is made when it is kept."""
        ...


class Traces:
    """Records finished spans and decides which traces are worth keeping.

    A trace is kept or not as a whole, decided when it begins; one that fails is kept whatever was decided, with all its spans.
    Under load only so many traces a second are kept: a sample tells as much, and recording must not cost what it measures.
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
        """When a trace was kept last: since then the allowance has grown."""
        self._monotonic = clock.monotonic
        self._spans: deque[Span] = deque()
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._failing = False
        self.dropped = 0
        """Spans that were not kept because there were too many, or the store did not answer."""

    def decide(self, context: Context) -> None:
        """Settle whether this trace is kept, as it begins."""
        now = self._monotonic()
        allowance = self._allowance + (now - self._allowance_at) * self._per_second_max
        if allowance >= 1.0 and context.sampled and self._is_in_sample(context):
            self._allowance = min(self._per_second_max, allowance) - 1.0
            self._allowance_at = now
            context.traces = self
        else:
            context.sampled = False
            context.traces = _HeldBack()

    def _is_in_sample(self, context: Context) -> bool:
        if self._sample >= 1.0 or context.parent_span_id is not None:
            return True
        return int(context.trace_id[-8:], 16) / 0xFFFFFFFF < self._sample

    def keep(self, context: Context) -> None:
        """This trace failed: keep it, whatever was decided."""
        held = context.traces
        context.sampled = True
        context.traces = self
        if isinstance(held, _HeldBack):
            for span in held.spans:
                self.record(span if isinstance(span, Span) else span())

    def let_go(self, context: Context) -> None:
        """This trace is over, and was not kept: what was held back for it leads back to the request, in a circle."""
        held = context.traces
        if isinstance(held, _HeldBack):
            held.spans.clear()

    def record(self, span: Span) -> None:
        """Keep a finished span for the next batch."""
        if len(self._spans) >= _HELD_MAX:
            self.dropped += 1
        else:
            self._spans.append(span)

    def record_made(self, made: Made) -> None:
        """As `record`."""
        self.record(made())

    # -- life

    async def start(self) -> None:
        """Begin to write. Calling it again does nothing."""
        if self._task is None:
            self._stopping.clear()
            self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Write everything recorded so far, as long as the store takes it."""
        while self._spans:
            batch = [self._spans.popleft() for _ in range(min(_BATCH_MAX, len(self._spans)))]
            try:
                async with asyncio.timeout(_WRITE_S_MAX):
                    await self._store.write([_without_secrets(span) for span in batch])
            except Exception as error:  # noqa: BLE001 - whatever is wrong with spans must not hurt what they describe
                self.dropped += len(batch)
                if not self._failing:
                    self._failing = True
                    _log.warning("Spans are dropped until the store takes them again: %s", str(error) or type(error))
                return
            self._failing = False

    async def stop(self) -> None:
        """Write what there is, and end. Calling it again does nothing."""
        task, self._task = self._task, None
        if task is not None:
            self._stopping.set()
            await asyncio.wait([task])
            await self.drain()
            self.dropped += len(self._spans)
            self._spans.clear()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _PERIOD_S)
            await self.drain()


class _HeldBack:
    """The spans of a trace that is not kept unless it fails."""

    __slots__ = ("spans",)

    def __init__(self) -> None:
        self.spans: list[Span | Made] = []

    def record(self, span: Span | Made) -> None:
        if len(self.spans) < _OF_A_TRACE_MAX:
            self.spans.append(span)

    record_made = record


_current: contextvars.ContextVar[tuple[Context, str] | None] = contextvars.ContextVar("corral_span", default=None)


class span:  # noqa: N801 - reads as what it does: `with span("look up ticket"):`
    """Time a piece of work inside of an agent; attributes may be added to what is entered.

    Does nothing outside of an invocation.
    """

    __slots__ = ("_above", "_attributes", "_begun", "_context", "_id", "_kind", "_name", "_parent_id", "_started_at")

    def __init__(self, name: str, *, kind: str = "internal", **attributes: Any) -> None:
        """`kind` is OpenTelemetry's: `internal`, `client`, `server`, `producer` or `consumer`."""
        self._name = name
        self._kind = kind
        self._attributes = attributes

    def __enter__(self) -> dict[str, Any]:
        context = find_context()
        if context is None or context.traces is None:
            self._context = None
            return self._attributes
        self._context = context
        self._above = _current.get()
        self._parent_id = current_span_id(context)
        self._id = new_span_id()
        _current.set((context, self._id))
        self._started_at = SYSTEM_CLOCK.now()
        self._begun = SYSTEM_CLOCK.monotonic()
        return self._attributes

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        context = self._context
        if context is None:
            return
        duration_s = SYSTEM_CLOCK.monotonic() - self._begun
        _current.set(self._above)  # not by a token: a generator that nobody read to its end is closed by another task
        failed = error is not None and not isinstance(error, GeneratorExit)
        if failed:
            self._attributes.setdefault(semconv.ERROR_TYPE, type(error).__name__)
        context.traces.record(
            Span(
                trace_id=context.trace_id,
                span_id=self._id,
                parent_id=self._parent_id,
                name=self._name,
                kind=self._kind,
                tenant=context.tenant,
                started_at=self._started_at,
                duration_s=duration_s,
                status="error" if failed else "ok",
                attributes=self._attributes,
            )
        )


class below:  # noqa: N801 - reads as what it does: `with below(context, span_id):`
    """What is recorded in this block stands below the span of this id, which is recorded once all of it is over.

    For work that is done in pieces: a generator must not leave a `span` open across its `yield`.
    """

    __slots__ = ("_above", "_place")

    def __init__(self, context: Context | None, span_id: str) -> None:
        """None: nothing is recorded."""
        self._place = None if context is None else (context, span_id)

    def __enter__(self) -> None:
        self._above = _current.get()
        if self._place is not None:
            _current.set(self._place)

    def __exit__(self, *_: object) -> None:
        _current.set(self._above)


def enter_below(place: contextvars.Context, context: Context, span_id: str) -> None:
    """As `below`, for all that runs in a context of its own."""
    place.run(_current.set, (context, span_id))


def current_span_id(context: Context) -> str:
    """The span below which the next one of this request stands."""
    above = _current.get()
    if above is not None and above[0] is context:
        return above[1]
    return context.agent_span_id or context.span_id  # the first one, or another request's: an agent that calls an agent


def _without_secrets(span: Span) -> Span:
    return msgspec.structs.replace(span, name=redacted_text(span.name), attributes=redacted(span.attributes))


def traceparent(context: Context) -> str:
    """The W3C header that carries this trace on: to whom we call, and back to who called."""
    return f"00-{context.trace_id}-{context.span_id}-{'01' if context.sampled else '00'}"


def join_trace(context: Context, given: str | None) -> None:
    """Go on with the trace that a `traceparent` names, or begin one. A malformed one begins one, as W3C asks."""
    context.span_id = new_span_id()
    if given is not None and len(given) >= _TRACEPARENT_LENGTH:
        version, trace_id, parent_id, flags, *more = [*given.split("-"), "", "", ""]
        known = version != "ff" and _is_hex(version, 2) and not (version == "00" and more[0])
        if known and _is_hex(trace_id, 32) and _is_hex(parent_id, 16) and _is_hex(flags, 2):
            context.trace_id, context.parent_span_id = trace_id, parent_id
            context.sampled = bool(int(flags, 16) & 1)
            return
    context.trace_id = new_trace_id()


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and set(text) <= set("0123456789abcdef") and (length == 2 or set(text) != {"0"})  # noqa: PLR2004 - flags may be 00


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
