"""OpenAI, Azure, and every server that speaks like them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ModelFailed, ModelRequestInvalid, ModelStreamBroken, ModelTimeout
from corral.messages import Delta, EmbedCall, EmbedReply, Message, ModelCall, ModelEvent, ModelReply, Usage, closing
from corral.models.answering import Estimate
from corral.models.openai_account import Account, account
from corral.models.provider import ModelInfo, Provider
from corral.models.transport import HttpAnswer, HttpStream, Transport, remaining_s
from corral.models.wire.collecting import Collector
from corral.models.wire.openai_chat import chat_body
from corral.models.wire.openai_chat_reply import ChatAnswer
from corral.models.wire.openai_embeddings import embed_body, embed_reply, kind_of, model_list
from corral.models.wire.openai_errors import failure, limits_seen, told
from corral.models.wire.openai_responses import responses_body
from corral.models.wire.openai_responses_reply import ResponsesAnswer
from corral.models.wire.sse import sse_events
from corral.settings.model_sections import ProviderSettings

"""Counts what a call used, where the provider did not say."""

_encode = msgspec.json.Encoder().encode
_OK, _MOVED = 200, 300
_LIST_S = 30.0
_DRAIN_S = 0.05


class _Answer(Protocol):
    """A reply in the making, of either API."""

    collected: Collector
    finished: bool
    cost_usd: float | None

    @property
    def has_usage(self) -> bool: ...
    @property
    def done(self) -> bool: ...
    def whole(self, body: bytes) -> list[Delta]: ...
    def feed(self, name: str, data: bytes) -> list[Delta]: ...
    def reply(self) -> ModelReply: ...


def build_openai(
    name: str,
    settings: ProviderSettings,
    env: Mapping[str, str],
    estimate: Estimate,
    clock: Clock = SYSTEM_CLOCK,
) -> Provider:
    """The provider of kind `openai` or `azure` that the settings describe. Raises `ConfigError` if they cannot be used."""
    return OpenAIProvider(name, settings, account(name, settings, env), estimate, clock)


class OpenAIProvider:
    """One account. `call` speaks the chat completions API, or the responses API if the options say so."""

    def __init__(self, name: str, settings: ProviderSettings, at: Account, estimate: Estimate, clock: Clock) -> None:
        """Made by `build_openai`. Connects to nothing."""
        self.name = name
        self.transport = Transport(
            name, connect_s=settings.connect_s, idle_s=settings.idle_s, timeout_s=settings.timeout_s
        )
        self._models = settings.models
        self._at = at
        self._estimate = estimate
        self._clock = clock
        self._responses = at.dialect.options.api == "responses"
        self._path = "responses" if self._responses else "chat/completions"

    async def start(self) -> None:
        """Nothing to be done before the first call."""

    async def stop(self) -> None:
        """Close every connection. Stopping twice is stopping once."""
        await self.transport.stop()

    async def call(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        """Ask once, as `Provider` promises."""
        body_of = responses_body if self._responses else chat_body
        answer: _Answer = ResponsesAnswer() if self._responses else ChatAnswer()
        try:
            body = _encoded(lambda: body_of(call, self._at.dialect))
            timeout_s = remaining_s(call.deadline, self._clock.monotonic())
            url, headers = self._at.url(self._path, call.model), self._at.headers
            if call.stream:
                async with (
                    self.transport.stream(url, body, headers, timeout_s=timeout_s) as stream,
                    closing(self._streamed(call, stream, answer)) as deltas,
                ):
                    async for delta in deltas:
                        yield delta
            else:
                self._read(call, await self.transport.post(url, body, headers, timeout_s=timeout_s), answer)
        except ModelFailed as error:
            partial = self._reply(call, answer) if answer.collected.begun else None
            raise self._told(error, call.model, partial) from error.__cause__
        yield self._reply(call, answer)

    async def _streamed(self, call: ModelCall, stream: HttpStream, answer: _Answer) -> AsyncIterator[Delta]:
        if not _OK <= stream.status < _MOVED or "json" in stream.headers.get("content-type", ""):
            # Refused; or a server that does not stream, and says all at once.
            for delta in self._read(call, HttpAnswer(stream.status, stream.headers, await stream.body()), answer):
                yield delta
            return
        self._note_limits(call, stream.headers)
        async with closing(stream.chunks()) as chunks, closing(sse_events(chunks)) as events:
            try:
                async for name, data in events:
                    for delta in answer.feed(name, data):
                        yield delta
                    if answer.done:
                        if not stream.is_over:
                            await _drained(events)
                        break
            except (ModelStreamBroken, ModelTimeout):
                if not answer.finished:
                    raise  # else only the usage is missing
        if not answer.finished:
            raise ModelStreamBroken("The answer ended before the model said that it was done.")

    def _read(self, call: ModelCall, came: HttpAnswer, answer: _Answer) -> list[Delta]:
        self._note_limits(call, came.headers)
        self._checked(came)
        return answer.whole(came.body)

    def _checked(self, came: HttpAnswer) -> None:
        if not _OK <= came.status < _MOVED:
            raise failure(came.status, came.headers, came.body, self._clock.now())

    def _note_limits(self, call: ModelCall | EmbedCall, headers: Mapping[str, str]) -> None:
        seen = limits_seen(headers, self._clock.now())
        if seen is not None:
            call.notes["limits"] = seen

    def _reply(self, call: ModelCall, answer: _Answer) -> ModelReply:
        reply = answer.reply()
        usage = reply.usage if answer.has_usage else _estimated(self._estimate(call, reply))
        return msgspec.structs.replace(
            reply,
            provider=self.name,
            model=reply.model or call.model,
            usage=usage,
            cost_usd=answer.cost_usd,
            created_at=reply.created_at or self._clock.now(),
        )

    def _told(self, error: ModelFailed, model: str, partial: ModelReply | None = None) -> ModelFailed:
        return told(error, provider=self.name, model=model, secrets=self._at.secrets, partial=partial)

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """One vector for each text, in order."""
        try:
            body = _encoded(lambda: embed_body(call, self._at.dialect))
            timeout_s = remaining_s(call.deadline, self._clock.monotonic())
            url = self._at.url("embeddings", call.model)
            came = await self.transport.post(url, body, self._at.headers, timeout_s=timeout_s)
            self._note_limits(call, came.headers)
            self._checked(came)
            reply, has_usage = embed_reply(came.body, len(call.texts))
        except ModelFailed as error:
            raise self._told(error, call.model) from error.__cause__
        usage = reply.usage
        if not has_usage:
            asked = ModelCall(model=call.model, messages=[Message(role="user", content=[_text("".join(call.texts))])])
            usage = Usage(input=self._estimate(asked, ModelReply()).input_tokens, estimated=True)
        return msgspec.structs.replace(reply, provider=self.name, model=reply.model or call.model, usage=usage)

    async def models(self) -> list[ModelInfo]:
        """Those in the settings, or else what the server lists."""
        if self._models:
            return [
                ModelInfo(id=f"{self.name}/{model}", provider=self.name, kind=kind_of(model)) for model in self._models
            ]
        try:
            came = await self.transport.get(self._at.url("models", ""), self._at.headers, timeout_s=_LIST_S)
            self._checked(came)
            return model_list(came.body, self.name)
        except ModelFailed as error:
            raise self._told(error, "") from error.__cause__


def _encoded(body: Callable[[], dict[str, Any]]) -> bytes:
    """The body in bytes; what callers put together themselves may not fit."""
    try:
        return _encode(body())
    except KeyError as error:
        raise ModelRequestInvalid(f"A part of a message lacks {error}: see `Message`.") from None
    except (TypeError, ValueError) as error:
        raise ModelRequestInvalid(f"The call cannot be written as JSON: {error}") from None


async def _drained(events: AsyncIterator[Any]) -> None:
    """Read the end of an answer that has said all, so that its connection can be used again; but do not wait for it."""
    with contextlib.suppress(StopAsyncIteration, TimeoutError, ModelFailed):
        await asyncio.wait_for(anext(events), _DRAIN_S)


def _estimated(usage: Usage) -> Usage:
    return msgspec.structs.replace(usage, estimated=True)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
