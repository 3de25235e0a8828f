"""OpenAI, Azure, and every server that speaks like them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ModelFailed, ModelRequestInvalid, ModelStreamBroken, ModelTimeout
from corral.messages import Delta, EmbedCall, EmbedReply, Message, ModelCall, ModelEvent, ModelReply, Usage, closing
from corral.models.answering import Estimate, read_rest
from corral.models.openai_account import Account, account
from corral.models.provider import ModelInfo, Provider
from corral.models.transport import HttpAnswer, HttpStream, Transport, remaining_s
from corral.models.wire.collecting import Collector
from corral.models.wire.openai_chat import chat_body
from corral.models.wire.openai_chat_reply import ChatAnswer
from corral.models.wire.openai_dialect import Dialect
from corral.models.wire.openai_embeddings import embed_body, embed_reply, kind_of, model_list
from corral.models.wire.openai_errors import failure, limits_seen, told
from corral.models.wire.openai_responses import responses_body
from corral.models.wire.openai_responses_reply import ResponsesAnswer
from corral.models.wire.sse import SseEvent, SseReader
from corral.settings.model_sections import ProviderSettings

_encode = msgspec.json.Encoder().encode
_OK, _MOVED = 200, 300
_LIST_S = 30.0

Call = TypeVar("Call", ModelCall, EmbedCall)


class _Answer(Protocol):
    """A reply in the making, of either API."""

    collected: Collector
    finished: bool

    @property
    def done(self) -> bool: ...
    def whole(self, body: bytes) -> None: ...
    def feed(self, events: Iterable[SseEvent]) -> None: ...
    def reply(self, provider: str = "") -> ModelReply: ...


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
        self._url = "" if at.deployments else at.url(self._path, "")
        """Where all are asked; empty: that depends on the model."""
        self._body_of = responses_body if self._responses else chat_body

    async def start(self) -> None:
        """Nothing to be done before the first call."""

    async def stop(self) -> None:
        """Close every connection. Stopping twice is stopping once."""
        await self.transport.stop()

    async def call(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        """Ask once, as `Provider` promises."""
        answer: _Answer = ResponsesAnswer() if self._responses else ChatAnswer()
        try:
            body = _encoded(self._body_of, call, self._at.dialect)
            timeout_s = remaining_s(call.deadline, self._clock.monotonic())
            url = self._url or self._at.url(self._path, call.model)
            with await self.transport.stream(url, body, self._at.headers, timeout_s=timeout_s) as came:
                self._note_limits(call, came.headers)
                if not _OK <= came.status < _MOVED:
                    raise failure(came.status, came.headers, await came.body(), self._clock.now())
                if call.stream and "json" not in came.headers.get("content-type", ""):
                    async with closing(_streamed(came, answer)) as deltas:
                        async for delta in deltas:
                            yield delta
                else:
                    answer.whole(await came.body())
            if call.stream:  # what a server that does not stream said all at once
                for delta in answer.collected.came():
                    yield delta
        except ModelFailed as error:
            partial = self._reply(call, answer) if answer.collected.begun else None
            raise self._told(error, call.model, partial) from error.__cause__
        yield self._reply(call, answer)

    def _checked(self, came: HttpAnswer) -> None:
        if not _OK <= came.status < _MOVED:
            raise failure(came.status, came.headers, came.body, self._clock.now())

    def _note_limits(self, call: ModelCall | EmbedCall, headers: Mapping[str, str]) -> None:
        seen = limits_seen(headers, self._clock.now())
        if seen is not None:
            call.notes["limits"] = seen

    def _reply(self, call: ModelCall, answer: _Answer) -> ModelReply:
        collected = answer.collected
        collected.model = collected.model or call.model
        collected.created_at = collected.created_at or self._clock.now()
        reply = answer.reply(self.name)
        if collected.usage is not None:
            return reply
        usage = msgspec.structs.replace(self._estimate(call, reply), estimated=True)
        return msgspec.structs.replace(reply, usage=usage)

    def _told(self, error: ModelFailed, model: str, partial: ModelReply | None = None) -> ModelFailed:
        return told(error, provider=self.name, model=model, secrets=self._at.secrets, partial=partial)

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """One vector for each text, in order."""
        try:
            body = _encoded(embed_body, call, self._at.dialect)
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


async def _streamed(came: HttpStream, answer: _Answer) -> AsyncIterator[Delta]:
    """What comes in one read goes on at once."""
    reader = SseReader()
    try:
        async for chunk in came:
            try:
                answer.feed(reader.feed(chunk))
            finally:  # what was said before it broke has been said
                for delta in answer.collected.came():
                    yield delta
            if answer.done:
                await read_rest(came)
                return
    except (ModelStreamBroken, ModelTimeout):
        if not answer.finished:
            raise  # else only the usage is missing
    if not answer.finished:
        raise ModelStreamBroken("The answer ended before the model said that it was done.")


def _encoded(body_of: Callable[[Call, Dialect], dict[str, Any]], call: Call, dialect: Dialect) -> bytes:
    """The body in bytes; what callers put together themselves may not fit."""
    try:
        return _encode(body_of(call, dialect))
    except KeyError as error:
        raise ModelRequestInvalid(f"A part of a message lacks {error}: see `Message`.") from None
    except (TypeError, ValueError) as error:
        raise ModelRequestInvalid(f"The call cannot be written as JSON: {error}") from None


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
