"""Anthropic, and what speaks its Messages API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ConfigError, ModelFailed, ModelRequestInvalid, ModelStreamBroken
from corral.messages import EmbedCall, EmbedReply, ModelCall, ModelEvent, ModelReply
from corral.models.address import address
from corral.models.answering import Estimate, add_partial, finished, read_rest
from corral.models.provider import ModelInfo
from corral.models.transport import HttpStream, Transport, remaining_s
from corral.models.wire import anthropic_errors as errors
from corral.models.wire import anthropic_reply as answers
from corral.models.wire.anthropic_request import request
from corral.models.wire.sse import SseEvent, SseReader
from corral.settings.model_sections import ProviderSettings

_HOST = "api.anthropic.com"
_PUBLIC = f"https://{_HOST}"
_VERSION = "2023-06-01"
_OK = 200
_SHOWN_MAX = 200


class AnthropicProvider:
    """One account at Anthropic, or one server that speaks like it."""

    def __init__(
        self,
        name: str,
        *,
        url: str,
        headers: Mapping[str, str],
        options: Mapping[str, Any],
        query: Mapping[str, str],
        transport: Transport,
        estimate: Estimate,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`url` is the API's root without `/v1`; `headers` hold the key; `options` are explained in `docs/models.md`."""
        self.name = name
        self.transport = transport
        self._root = f"{url}/v1"
        self._query = f"?{urlencode(query)}" if query else ""
        self._headers = dict(headers)
        self._options = options
        self._estimate = estimate
        self._clock = clock

    async def call(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        """Ask once, as `Provider` says."""
        asked = request(call, self._options)
        timeout_s = remaining_s(call.deadline, self._clock.monotonic())
        url, body = f"{self._root}/messages{self._query}", asked.encoded()
        if not call.stream:
            answer = await self.transport.post(url, body, self._headers, timeout_s=timeout_s)
            self._check(call, answer.status, answer.headers, answer.body)
            yield self._whole(call, answer.body, asked.answer_tool)
            return
        reply = answers.AnthropicStream(asked.answer_tool)
        reader = SseReader()
        with await self.transport.stream(url, body, self._headers, timeout_s=timeout_s) as stream:
            await self._check_stream(call, stream)
            try:
                async for chunk in stream:
                    try:
                        self._take(call, reply, reader.feed(chunk))
                    finally:  # what was said before it broke has been said
                        for delta in reply.came():
                            yield delta
                    if reply.over:
                        break
                if not reply.whole:
                    raise ModelStreamBroken(f"{self.name} ended its answer in the middle.")
            except ModelFailed as error:
                add_partial(error, self._finished(reply.reply(), call, counted=False), call)
                raise
            await read_rest(stream)
        yield self._finished(reply.reply(), call, counted=reply.counted)

    def _take(self, call: ModelCall, reply: answers.AnthropicStream, events: Iterable[SseEvent]) -> None:
        for name, data in events:
            if reply.over:
                return
            if name == "ping":
                continue
            try:
                reply.take(self._event(call, data))
            except KeyError as error:
                raise ModelStreamBroken(f"The answer goes on with part {error}, which has not begun.") from None

    def _event(self, call: ModelCall, data: bytes) -> answers.EventJson:
        try:
            event = answers.decode_event(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            shown = data[:_SHOWN_MAX].decode("utf-8", "replace")
            raise ModelStreamBroken(f"{self.name} sent what is no event: {shown}") from None
        if event.type == "error":
            raise errors.failed(self.name, call.model, event.error or answers.ErrorJson())
        return event

    def _whole(self, call: ModelCall, body: bytes, answer_tool: str) -> ModelReply:
        try:
            reply, counted = answers.reply(body, answer_tool)
        except (msgspec.DecodeError, UnicodeDecodeError):
            shown = body[:_SHOWN_MAX].decode("utf-8", "replace")
            raise ModelStreamBroken(
                f"{self.name} sent what is no answer: {shown}", provider=self.name, model=call.model
            ) from None
        return self._finished(reply, call, counted=counted)

    def _finished(self, reply: ModelReply, call: ModelCall, *, counted: bool) -> ModelReply:
        return finished(
            reply, call, provider=self.name, now=self._clock.now(), counted=counted, estimate=self._estimate
        )

    async def _check_stream(self, call: ModelCall, stream: HttpStream) -> None:
        self._check(call, stream.status, stream.headers, b"" if stream.status == _OK else await stream.body())

    def _check(self, call: ModelCall | EmbedCall, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Note what the answer tells about limits. Raises what the API says, unless it is an answer."""
        now = self._clock.now()
        seen = errors.limits_seen(headers, now)
        if seen is not None:
            call.notes["limits"] = seen
        if status != _OK:
            raise errors.failure(self.name, call.model, status, body, headers, now)

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """Raises `ModelRequestInvalid`: Anthropic has no such models."""
        raise ModelRequestInvalid(
            f"{self.name} has no models for embeddings; ask one of another provider.",
            provider=self.name,
            model=call.model,
        )

    async def models(self) -> list[ModelInfo]:
        """What it says it has, in one page of up to a thousand."""
        query = f"{self._query}&limit=1000" if self._query else "?limit=1000"
        answer = await self.transport.get(f"{self._root}/models{query}", self._headers)
        if answer.status != _OK:
            raise errors.failure(self.name, "", answer.status, answer.body, answer.headers, self._clock.now())
        try:
            said = _decode_models(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelFailed(f"{self.name} sent what is no list of models: {error}", provider=self.name) from None
        return [
            ModelInfo(
                id=f"{self.name}/{model.id}",
                provider=self.name,
                created=int(model.created_at.timestamp()) if model.created_at is not None else 0,
                context_tokens=model.max_input_tokens,
                output_tokens=model.max_tokens,
            )
            for model in said.data
        ]

    async def start(self) -> None:
        """Connects to nothing: the first call does."""

    async def stop(self) -> None:
        """Close every connection. Stopping twice is stopping once."""
        await self.transport.stop()


class _ModelJson(msgspec.Struct, frozen=True):
    id: str
    created_at: datetime | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class _ModelsJson(msgspec.Struct, frozen=True):
    data: list[_ModelJson] = []


_decode_models = msgspec.json.Decoder(_ModelsJson).decode


def build_anthropic(
    name: str, settings: ProviderSettings, env: Mapping[str, str], estimate: Estimate, clock: Clock = SYSTEM_CLOCK
) -> AnthropicProvider:
    """The provider that the settings describe. Raises `ConfigError` if it cannot be asked there, or its key is missing where it cannot do without."""
    url = (settings.base_url or env.get("ANTHROPIC_BASE_URL") or _PUBLIC).rstrip("/").removesuffix("/v1")
    parts = address(url, where=f"models.providers.{name}.base_url", such_as=_PUBLIC)
    # A key from the environment goes to the place it is meant for, and to no other server that settings name.
    meant = not settings.base_url or parts.hostname == _HOST
    key = settings.api_key or (env.get("ANTHROPIC_API_KEY", "") if meant else "")
    token = env.get("ANTHROPIC_AUTH_TOKEN", "") if meant else ""
    headers = {"content-type": "application/json", "accept": "application/json", "anthropic-version": _VERSION}
    if key:
        headers["x-api-key"] = key
    elif token:
        headers["authorization"] = f"Bearer {token}"
    elif url == _PUBLIC:
        raise ConfigError(
            f"models.providers.{name} has no key: set ANTHROPIC_API_KEY, or `models.providers.{name}.api_key: ${{VAR}}`."
        )
    if beta := settings.options.get("beta"):
        headers["anthropic-beta"] = ",".join(beta) if isinstance(beta, list) else str(beta)
    headers.update({key.lower(): value for key, value in settings.headers.items()})
    return AnthropicProvider(
        name,
        url=url,
        headers=headers,
        options=_options(name, settings.options),
        query=settings.query,
        transport=Transport(name, connect_s=settings.connect_s, idle_s=settings.idle_s, timeout_s=settings.timeout_s),
        estimate=estimate,
        clock=clock,
    )


def _options(name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options, looked through. Raises `ConfigError`, so that a slip is found at start and not by the first call."""
    where = f"models.providers.{name}.options"
    if unknown := sorted(set(options) - _OPTIONS):
        raise ConfigError(f"{where} has no {unknown[0]!r}; there are: {', '.join(sorted(_OPTIONS))}.")
    most = options.get("max_tokens")
    if most is not None and (not isinstance(most, int) or most < 1):
        raise ConfigError(f"{where}.max_tokens must be a whole number from 1 on.")
    if options.get("cache_ttl") not in {None, "5m", "1h"}:
        raise ConfigError(f"{where}.cache_ttl must be `5m` or `1h`.")
    if options.get("thinking_display") not in {None, "", "summarized", "omitted"}:
        raise ConfigError(f"{where}.thinking_display must be `summarized` or `omitted`, or empty.")
    return options


_OPTIONS = frozenset({"max_tokens", "cache_ttl", "thinking_display", "beta"})
