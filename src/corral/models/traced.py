"""The outermost layer: each question shows in its request's trace, and an answer that was kept is written down as well."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Any

from corral.clock import SYSTEM_CLOCK, Clock, new_id, new_span_id
from corral.context import Context, find_context
from corral.errors import CorralError
from corral.messages import (
    CallEmbedder,
    CallModel,
    EmbedCall,
    EmbedReply,
    ModelCall,
    ModelEvent,
    ModelReply,
    close,
)
from corral.models.exchange import Exchange, Record
from corral.observability import semconv
from corral.observability.store import Span
from corral.observability.traces import current_span_id, finished_span, span

_NOTED = (
    "route.class", "route.to", "route.reason", "fallback", "cache.kind", "cache.result", "cache.score", "degraded",
    "budget.step", "budget.reserved_usd",
)  # fmt: skip


class Traced:
    """Times all of a call, whatever the layers below make of it."""

    def __init__(self, record: Record, *, capture: bool = False, clock: Clock = SYSTEM_CLOCK) -> None:
        """`record` is told of answers that were kept; `capture`: what was asked and said goes into the trace, redacted."""
        self._record = record
        self._capture = capture
        self._now, self._monotonic = clock.now, clock.monotonic

    async def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Pass on."""
        context = find_context()
        parent_id = None if context is None else current_span_id(context)
        started_at, begun = self._now(), self._monotonic()
        first_s: float | None = None
        reply: ModelReply | None = None
        failure = ""
        try:
            events = proceed(call)
            try:
                async for event in events:
                    if type(event) is ModelReply:
                        reply = event
                    elif first_s is None:
                        first_s = self._monotonic() - begun
                    yield event
            finally:
                await close(events)
        except CorralError as error:
            failure = error.code
            raise
        except (GeneratorExit, asyncio.CancelledError):
            failure = "" if reply is not None else "cancelled"
            raise
        except Exception:
            failure = CorralError.code  # a fault of ours
            raise
        finally:
            seconds = self._monotonic() - begun
            if reply is not None and reply.cached:
                self._kept(call, reply, started_at, seconds, first_s)
            if context is not None and context.traces is not None:
                times = (started_at, seconds, first_s)
                context.traces.record_made(
                    functools.partial(self._span, context, parent_id, call, reply, times, failure)
                )

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """The same for embeddings."""
        with span(
            f"{semconv.EMBEDDINGS} {call.model}",
            kind="client",
            **{semconv.OPERATION: semconv.EMBEDDINGS, semconv.REQUEST_MODEL: call.model},
        ) as attributes:
            reply = await proceed(call)
            attributes |= {
                semconv.PROVIDER: reply.provider,
                semconv.RESPONSE_MODEL: reply.model,
                semconv.INPUT_TOKENS: reply.usage.input_tokens,
                semconv.COST: reply.cost_usd,
                "corral.cache.vectors": reply.cached,
            }
            return reply

    def _span(
        self,
        context: Context,
        parent_id: str | None,
        call: ModelCall,
        reply: ModelReply | None,
        times: tuple[float, float, float | None],
        failure: str,
    ) -> Span:
        """`times`: when it began, how long it took, and how long the first piece."""
        started_at, seconds, first_s = times
        return finished_span(
            context,
            f"{semconv.CHAT} {call.model}",
            "client",
            span_id=new_span_id(),
            parent_id=parent_id,
            started_at=started_at,
            duration_s=seconds,
            failed=bool(failure) and failure != "cancelled",
            attributes=self._attributes(call, reply, first_s, failure),
        )

    def _kept(
        self, call: ModelCall, reply: ModelReply, started_at: float, seconds: float, first_s: float | None
    ) -> None:
        self._record(
            call,
            Exchange(
                id=new_id(),
                provider=reply.provider,
                model=str(call.notes.get("deployment") or call.model),
                started_at=started_at,
                duration_s=seconds,
                first_s=first_s,
                cost_usd=0.0,
                cached=reply.cached,
            ),
        )

    def _attributes(
        self, call: ModelCall, reply: ModelReply | None, first_s: float | None, failure: str
    ) -> dict[str, Any]:
        found: dict[str, Any] = {
            semconv.OPERATION: semconv.CHAT,
            semconv.REQUEST_MODEL: call.model,
            semconv.TIME_TO_FIRST_PIECE: first_s,
            semconv.ERROR_TYPE: failure or None,
        }
        notes = call.notes
        found.update((f"corral.{name}", notes[name]) for name in _NOTED if name in notes)
        attempts = notes.get("attempts")
        if isinstance(attempts, list) and len(attempts) > 1:
            found["corral.attempts"] = attempts
        if reply is not None:
            found |= {
                semconv.PROVIDER: reply.provider,
                semconv.RESPONSE_MODEL: reply.model,
                semconv.FINISH_REASONS: [reply.stop_reason],
                semconv.INPUT_TOKENS: reply.usage.input_tokens,
                semconv.OUTPUT_TOKENS: reply.usage.output_tokens,
                semconv.CACHED_TOKENS: reply.usage.cache_read,
                semconv.COST: reply.cost_usd,
            }
        if self._capture:
            found[semconv.INPUT_MESSAGES] = [{"role": one.role, "content": one.content} for one in call.messages]
            found[semconv.OUTPUT_MESSAGES] = None if reply is None else reply.content
        return found
