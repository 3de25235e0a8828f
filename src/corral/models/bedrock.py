"""Amazon Bedrock: Converse and ConverseStream, and embeddings through InvokeModel."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ConfigError, ContentFiltered, ModelFailed, ModelNotFound, ModelStreamBroken
from corral.messages import EmbedCall, EmbedReply, ModelCall, ModelEvent, ModelReply
from corral.models.address import address
from corral.models.answering import Estimate, add_partial, finished, read_rest
from corral.models.aws import KeySource, key_source, region_of
from corral.models.provider import LimitsSeen, ModelInfo
from corral.models.transport import HttpAnswer, HttpStream, Transport, remaining_s
from corral.models.wire import bedrock_embeddings as embeddings
from corral.models.wire import bedrock_errors as errors
from corral.models.wire import bedrock_reply as answers
from corral.models.wire.bedrock_request import BedrockRequest, request
from corral.models.wire.eventstream import Frame, FrameReader
from corral.outbound.sigv4 import signed
from corral.settings.model_sections import ProviderSettings

_OK = 200
_SHOWN_MAX = 200
_REQUEST_ID = "x-amzn-requestid"


class BedrockPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider asks."""

    url: str
    """Where models answer."""
    control_url: str
    """Where they are listed."""
    region: str
    headers: dict[str, str]
    """Sent with every call."""
    query: str = ""
    """At the end of every address: `?a=b`."""


class BedrockProvider:
    """One account of AWS in one region."""

    def __init__(
        self,
        name: str,
        *,
        place: BedrockPlace,
        keys: KeySource | None,
        options: Mapping[str, Any],
        transport: Transport,
        estimate: Estimate,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Without `keys` nothing is signed, and the headers hold a key of Bedrock's own. `docs/models.md` explains the options."""
        self.name = name
        self.transport = transport
        self._place = place
        self._keys = keys
        self._options = options
        self._estimate = estimate
        self._clock = clock

    async def call(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        """Ask once, as `Provider` says."""
        asked = request(call, self._options)
        body = asked.encoded()
        url = self._model_url(call.model, "converse-stream" if call.stream else "converse")
        headers = await self._signed("POST", url, body)
        timeout_s = remaining_s(call.deadline, self._clock.monotonic())
        if not call.stream:
            answer = await self.transport.post(url, body, headers, timeout_s=timeout_s)
            self._check(call, answer.status, answer.headers, answer.body)
            yield self._whole(call, answer, asked)
            return
        reply = answers.BedrockStream(asked.answer_tool)
        reader = FrameReader()
        with await self.transport.stream(url, body, headers, timeout_s=timeout_s) as stream:
            await self._check_stream(call, stream)
            finish = functools.partial(self._finished, call=call, answer_id=stream.headers.get(_REQUEST_ID, ""))
            try:
                async for chunk in stream:
                    try:
                        self._take(call, reply, reader.feed(chunk))
                    finally:  # what was said before it broke has been said
                        for delta in reply.came():
                            yield delta
                    if reply.over:
                        break
                else:
                    reader.end()
                if not reply.stopped:
                    raise ModelStreamBroken(f"{self.name} ended its answer in the middle.")
                self._let_pass(call, reply.stopped)
            except ModelFailed as error:
                add_partial(error, finish(reply.reply(), counted=reply.counted), call)
                raise
            await read_rest(stream)
        yield finish(reply.reply(), counted=reply.counted)

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """Embed with a model of Titan's or Cohere's; the first takes one text at a time, so several are asked at once."""
        return await embeddings.embed(call, functools.partial(self._invoke, call), provider=self.name)

    async def _invoke(self, call: EmbedCall, body: bytes) -> tuple[bytes, Mapping[str, str]]:
        url = self._model_url(call.model, "invoke")
        headers = await self._signed("POST", url, body)
        timeout_s = remaining_s(call.deadline, self._clock.monotonic())
        answer = await self.transport.post(url, body, headers, timeout_s=timeout_s)
        self._check(call, answer.status, answer.headers, answer.body)
        return answer.body, answer.headers

    async def models(self) -> list[ModelInfo]:
        """What may be asked in this region: models, not profiles of inference."""
        url = f"{self._place.control_url}/foundation-models"
        answer = await self.transport.get(url, await self._signed("GET", url, b""))
        if answer.status != _OK:
            raise errors.failure(self.name, "", answer.status, answer.body, answer.headers, self._clock.now())
        try:
            said = _decode_models(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelFailed(f"{self.name} sent what is no list of models: {error}", provider=self.name) from None
        return [
            ModelInfo(
                id=f"{self.name}/{model.model_id}",
                provider=self.name,
                kind="embedding" if "EMBEDDING" in model.output_modalities else "chat",
            )
            for model in said.model_summaries
        ]

    async def start(self) -> None:
        """Connects to nothing: the first call does."""

    async def stop(self) -> None:
        """Close every connection. Stopping twice is stopping once."""
        await self.transport.stop()

    # -- asking

    def _model_url(self, model: str, verb: str) -> str:
        if model in {"", ".", ".."}:
            raise ModelNotFound(f"{self.name} has no model {model!r}.", provider=self.name, model=model)
        return f"{self._place.url}/model/{quote(model, safe='')}/{verb}{self._place.query}"

    async def _signed(self, method: str, url: str, body: bytes) -> dict[str, str]:
        if self._keys is None:
            return self._place.headers
        keys = await self._keys.keys()
        now = self._clock.now()
        return signed(
            method, url, self._place.headers, body, keys=keys, region=self._place.region, service="bedrock", now=now
        )

    # -- reading what comes back

    def _whole(self, call: ModelCall, answer: HttpAnswer, asked: BedrockRequest) -> ModelReply:
        try:
            reply, stopped, counted = answers.reply(answer.body, asked.answer_tool)
        except (msgspec.DecodeError, UnicodeDecodeError):
            shown = answer.body[:_SHOWN_MAX].decode("utf-8", "replace")
            raise ModelStreamBroken(
                f"{self.name} sent what is no answer: {shown}", provider=self.name, model=call.model
            ) from None
        reply = self._finished(reply, call=call, answer_id=answer.headers.get(_REQUEST_ID, ""), counted=counted)
        try:
            self._let_pass(call, stopped)
        except ModelFailed as error:
            add_partial(error, reply, call)
            raise
        return reply

    def _take(self, call: ModelCall, reply: answers.BedrockStream, frames: Iterable[Frame]) -> None:
        for frame in frames:
            self._event(call, reply, frame)
            if reply.over:
                return

    def _event(self, call: ModelCall, reply: answers.BedrockStream, frame: Frame) -> None:
        kind = frame.headers.get(":message-type", "event")
        if kind == "exception":
            code = frame.headers.get(":exception-type", "")
            raise errors.stream_failure(self.name, call.model, code, frame.payload)
        if kind == "error":
            code, words = frame.headers.get(":error-code", ""), frame.headers.get(":error-message", "")
            raise errors.failed(self.name, call.model, code, words)
        try:
            reply.take(frame.headers.get(":event-type", ""), answers.decode_event(frame.payload))
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
            shown = frame.payload[:_SHOWN_MAX].decode("utf-8", "replace")
            raise ModelStreamBroken(f"{self.name} sent what is no event: {shown}") from None

    def _let_pass(self, call: ModelCall, stopped: str) -> None:
        if stopped == answers.GUARDED:
            raise ContentFiltered(
                f"{self.name}: a guardrail did not let the question or the answer pass.",
                provider=self.name,
                model=call.model,
                provider_code=stopped,
            )

    def _finished(self, reply: ModelReply, *, call: ModelCall, answer_id: str, counted: bool) -> ModelReply:
        named = msgspec.structs.replace(reply, id=answer_id)
        return finished(
            named, call, provider=self.name, now=self._clock.now(), counted=counted, estimate=self._estimate
        )

    async def _check_stream(self, call: ModelCall, stream: HttpStream) -> None:
        self._check(call, stream.status, stream.headers, b"" if stream.status == _OK else await stream.body())

    def _check(self, call: ModelCall | EmbedCall, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raises what the API says, unless it is an answer. Bedrock tells nothing about limits but that one was met."""
        if status == _OK:
            return
        error = errors.failure(self.name, call.model, status, body, headers, self._clock.now())
        if error.retry_after_s is not None:
            call.notes["limits"] = LimitsSeen(retry_after_s=error.retry_after_s)
        raise error


class _ModelJson(msgspec.Struct, frozen=True, rename="camel"):
    model_id: str
    output_modalities: list[str] = []


class _ModelsJson(msgspec.Struct, frozen=True, rename="camel"):
    model_summaries: list[_ModelJson] = []


_decode_models = msgspec.json.Decoder(_ModelsJson).decode


def build_bedrock(
    name: str, settings: ProviderSettings, env: Mapping[str, str], estimate: Estimate, clock: Clock = SYSTEM_CLOCK
) -> BedrockProvider:
    """The provider that the settings describe. Raises `ConfigError` naming what is missing or wrong: a region, an address, credentials."""
    options = _options(name, settings.options)
    profile = options.get("profile", "")
    region = region_of(name, settings.region, env, profile)
    headers = {"content-type": "application/json"}
    headers.update({key.lower(): value for key, value in settings.headers.items()})
    bearer = settings.api_key or env.get("AWS_BEARER_TOKEN_BEDROCK", "")
    if bearer:
        headers["authorization"] = f"Bearer {bearer}"
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    own = (
        settings.base_url or env.get("AWS_ENDPOINT_URL_BEDROCK_RUNTIME") or env.get("AWS_ENDPOINT_URL") or ""
    ).rstrip("/")
    if own:
        address(own, where=f"models.providers.{name}.base_url", such_as=f"https://bedrock-runtime.{region}.{suffix}")
    return BedrockProvider(
        name,
        place=BedrockPlace(
            url=own or f"https://bedrock-runtime.{region}.{suffix}",
            control_url=own or f"https://bedrock.{region}.{suffix}",
            region=region,
            headers=headers,
            query=f"?{urlencode(settings.query)}" if settings.query else "",
        ),
        keys=None if bearer else key_source(name, env, profile, clock),
        options=options,
        transport=Transport(name, connect_s=settings.connect_s, idle_s=settings.idle_s, timeout_s=settings.timeout_s),
        estimate=estimate,
        clock=clock,
    )


def _options(name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options, looked through. Raises `ConfigError`, so that a slip is found at start and not by the first call."""
    where = f"models.providers.{name}.options"
    for key, value in options.items():
        kind = _OPTIONS.get(key)
        if kind is None:
            raise ConfigError(f"{where} has no {key!r}; there are: {', '.join(sorted(_OPTIONS))}.")
        if not isinstance(value, kind):
            raise ConfigError(f"{where}.{key} must be {_SAID[kind]}.")
    return options


_OPTIONS: dict[str, type] = {
    "body": dict,
    "cache_ttl": str,
    "guardrail": dict,
    "max_tokens": int,
    "profile": str,
    "thinking_display": str,
}
_SAID: dict[type, str] = {dict: "a table", str: "a text", int: "a whole number"}
