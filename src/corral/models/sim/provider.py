"""The simulator in process: the provider that is always there, and the one that answers when there is no key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import (
    ContentFiltered,
    ContextTooLong,
    ModelAuthFailed,
    ModelFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelStreamBroken,
    ModelTimeout,
    ModelUnavailable,
)
from corral.messages import Delta, EmbedCall, EmbedReply, ModelCall, ModelEvent, ModelReply
from corral.models.provider import LimitsSeen, ModelInfo
from corral.models.sim.buckets import UNLIMITED, Verdict
from corral.models.sim.catalog import MODELS
from corral.models.sim.embedding import embedded
from corral.models.sim.engine import Engine
from corral.models.sim.options import NO_WISH, Wish, read_options, read_wish
from corral.models.sim.refusal import Kind, Refused, refused_with
from corral.models.sim.shapes.openai_embeddings import DIMENSIONS_MAX
from corral.models.sim.turn import Sleep, Turn
from corral.settings.model_sections import ProviderSettings

_FAILURES: dict[Kind, tuple[type[ModelFailed], int]] = {
    "invalid": (ModelRequestInvalid, 400),
    "auth": (ModelAuthFailed, 401),
    "forbidden": (ModelAuthFailed, 403),
    "missing": (ModelNotFound, 404),
    "too_long": (ContextTooLong, 400),
    "filtered": (ContentFiltered, 400),
    "rate": (ModelRateLimited, 429),
    "server": (ModelFailed, 500),
    "overloaded": (ModelUnavailable, 503),
    "timeout": (ModelTimeout, 504),
}


class SimProvider:
    """Answers from an engine of its own; no socket, no other process."""

    def __init__(
        self, name: str, engine: Engine, *, timeout_s: float, idle_s: float, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """A call that hangs fails after `idle_s`; one that is slow, after `timeout_s`, or at its own deadline."""
        self.name = name
        self.engine = engine
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._clock = clock

    async def call(self, call: ModelCall) -> AsyncGenerator[ModelEvent, None]:
        """See `Provider.call`. `call.extra["sim"]` is a wish of this call: `{"fault": "529"}`."""
        wish = _wish(call.extra)
        try:
            turn = self.engine.begin(call, who=self.name, wish=wish)
        except Refused as refused:
            raise self._failure(refused, call.model, call.notes) from None
        try:
            self._say_limits(call.notes, turn.verdict)
            bound = _Bound(self._clock, self._timeout_s, self._idle_s, call.deadline)
            await self._in_time(turn.first(), bound, turn)
            self._break_early(turn)
            if turn.fault == "midstream" and not call.stream:
                raise self._failure(refused_with(503), call.model, call.notes)
            if call.stream:
                async with aclosing(self._streamed(turn, bound)) as deltas:
                    async for delta in deltas:
                        yield delta
            else:
                await self._in_time(turn.rest(), bound, turn)
                if turn.fault in {"cut", "malformed"}:
                    raise self._broken(turn, len(turn.answer.deltas) // 2)
            yield self._reply(turn, turn.answer.parts)
        except ModelFailed as error:
            error.wished = wish.is_trouble
            raise
        finally:
            turn.close()

    async def _streamed(self, turn: Turn, bound: _Bound) -> AsyncGenerator[Delta, None]:
        breaks_at = len(turn.answer.deltas) // 2 if turn.fault in {"cut", "malformed", "midstream"} else -1
        number = 0
        async with aclosing(turn.deltas()) as deltas:
            # Not `async for`: a wait of the model's is bounded, and a wait of the reader's is not ours.
            while (delta := await self._in_time(anext(deltas, None), bound, turn)) is not None:
                if number == breaks_at:
                    raise self._broken(turn, number)
                yield delta
                number += 1

    async def _in_time(self, waiting: Any, bound: _Bound, turn: Turn) -> Any:
        if not turn.waits:
            return await waiting
        try:
            async with asyncio.timeout(bound.left()):
                return await waiting
        except TimeoutError:
            raise ModelTimeout(f"{self.name} did not answer in time.", provider=self.name, model=turn.name) from None

    def _break_early(self, turn: Turn) -> None:
        if turn.fault == "reset":
            raise ModelUnavailable(
                f"{self.name} cannot be reached: the connection was reset (simulated).",
                provider=self.name,
                model=turn.name,
            )
        if turn.fault == "type":
            raise ModelFailed(
                f"{self.name} answered with something that is no JSON (simulated).",
                provider=self.name,
                model=turn.name,
                provider_status=200,
            )

    def _broken(self, turn: Turn, said: int) -> ModelStreamBroken:
        return ModelStreamBroken(
            f"{self.name} broke off its answer ({turn.fault}, simulated).",
            provider=self.name,
            model=turn.name,
            partial=self._reply(turn, _parts_until(turn, said)),
        )

    def _reply(self, turn: Turn, parts: list[dict[str, Any]]) -> ModelReply:
        return ModelReply(
            id=f"sim-{turn.number}",
            model=turn.name,
            provider=self.name,
            content=[dict(part) for part in parts],
            stop_reason=turn.answer.stop_reason,
            usage=turn.usage,
            created_at=self._clock.now(),
        )

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """One vector for each text: words in boxes, not meanings. See `docs/models.md`."""
        if call.dimensions is not None and not 1 <= call.dimensions <= DIMENSIONS_MAX:
            raise ModelRequestInvalid(f"The simulator gives 1 to {DIMENSIONS_MAX} dimensions.", provider=self.name)
        wish = _wish(call.extra)
        try:
            turn = self.engine.begin_embedding(call.model, call.texts, who=self.name, wish=wish)
        except Refused as refused:
            raise self._failure(refused, call.model, call.notes) from None
        try:
            self._say_limits(call.notes, turn.verdict)
            bound = _Bound(self._clock, self._timeout_s, self._idle_s, call.deadline)
            await self._in_time(turn.first(), bound, turn)
            self._break_early(turn)
            if turn.fault in {"cut", "malformed"}:
                raise self._broken(turn, 0)
        except ModelFailed as error:
            error.wished = wish.is_trouble
            raise
        finally:
            turn.close()
        dimensions = call.dimensions or self.engine.model(call.model).dimensions
        seed = self.engine.options.seed
        return EmbedReply(
            vectors=[embedded(text, dimensions, seed) for text in call.texts],
            model=turn.name,
            provider=self.name,
            usage=turn.usage,
        )

    async def models(self) -> list[ModelInfo]:
        """Those of the catalogue and those of the options. Any other name is answered as well."""
        return [
            ModelInfo(
                id=f"{self.name}/{name}",
                provider=self.name,
                context_tokens=model.context_tokens,
                output_tokens=model.output_tokens,
                kind=model.kind,
            )
            for name, model in (MODELS | self.engine.options.models).items()
        ]

    async def start(self) -> None:
        """There is nothing to open."""

    async def stop(self) -> None:
        """There is nothing to close: calls give back what they hold when they are closed themselves."""

    def _say_limits(self, notes: dict[str, Any], verdict: Verdict) -> None:
        if verdict is not UNLIMITED:
            notes["limits"] = _limits(verdict, None)

    def _failure(self, refused: Refused, model: str, notes: dict[str, Any]) -> ModelFailed:
        if not refused.wished and (refused.verdict is not UNLIMITED or refused.retry_after_s is not None):
            notes["limits"] = _limits(refused.verdict, refused.retry_after_s)
        kind, status = _FAILURES[refused.kind]
        if refused.kind == "server" and refused.status in {502, 503}:
            kind = ModelUnavailable
        return kind(
            f"{self.name}: {refused.message}",
            provider=self.name,
            model=model,
            provider_status=refused.status or status,
            provider_code=refused.kind,
            retry_after_s=refused.retry_after_s,
            wished=refused.wished,
        )


class _Bound:
    """How long a call may go on, and how long it may be silent."""

    def __init__(self, clock: Clock, timeout_s: float, idle_s: float, deadline: float | None) -> None:
        end = clock.monotonic() + timeout_s
        self._end = end if deadline is None else min(end, deadline)
        self._idle_s = idle_s
        self._clock = clock

    def left(self) -> float:
        return max(0.0, min(self._idle_s, self._end - self._clock.monotonic()))


def _wish(extra: dict[str, Any]) -> Wish:
    wish = extra.get("sim")
    if wish is None:
        return NO_WISH
    try:
        return read_wish(wish)
    except ValueError as error:
        raise ModelRequestInvalid(str(error)) from None


def _limits(verdict: Verdict, retry_after_s: float | None) -> LimitsSeen:
    requests, tokens = verdict.requests or (None, None, None), verdict.tokens or (None, None, None)
    return LimitsSeen(
        requests_limit=requests[0],
        requests_left=requests[1],
        requests_reset_s=requests[2],
        tokens_limit=tokens[0],
        tokens_left=tokens[1],
        tokens_reset_s=tokens[2],
        retry_after_s=retry_after_s,
    )


def _parts_until(turn: Turn, said: int) -> list[dict[str, Any]]:
    """What had been said when so many pieces were out: text and thoughts; half a tool's call is nothing."""
    texts: dict[int, list[str]] = {}
    for delta in turn.answer.deltas[:said]:
        if delta.kind in {"text", "reasoning"}:
            texts.setdefault(delta.index, []).append(delta.text)
    return [{"type": turn.answer.parts[index]["type"], "text": "".join(text)} for index, text in texts.items()]


def build_sim(
    name: str, settings: ProviderSettings, *, clock: Clock = SYSTEM_CLOCK, sleep: Sleep = asyncio.sleep
) -> SimProvider:
    """The provider of that name. Raises `ConfigError` if its options are not what the simulator knows."""
    engine = Engine(read_options(settings.options, f"options ({name})"), clock=clock, sleep=sleep)
    return SimProvider(name, engine, timeout_s=settings.timeout_s, idle_s=settings.idle_s, clock=clock)
