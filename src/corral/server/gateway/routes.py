"""The addresses of the gateway: each reads a request, asks the models, and writes the answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, cast

import msgspec
from msgspec.structs import replace

from corral.clock import SYSTEM_CLOCK, Clock
from corral.context import check_scope
from corral.errors import CorralError, ModelNotFound, ModelStreamBroken
from corral.limits.rules import Visitor
from corral.messages import CallEmbedder, CallModel, Delta, EmbedCall, ModelCall, ModelEvent, ModelReply, closing
from corral.models.provider import ModelInfo
from corral.models.stack import reply_of
from corral.server.counted import NOT_COUNTED, Counted
from corral.server.gateway import schemas
from corral.server.gateway.answering import Answering, Questions
from corral.server.gateway.chat_reading import ChatRequest, read_chat
from corral.server.gateway.chat_writing import ChunkWriter, completion
from corral.server.gateway.dialect import OPENAI, openai_error
from corral.server.gateway.embeddings import embedding_list, read_embeddings
from corral.server.gateway.reading import caller_of, policy_of
from corral.server.gateway.responses_reading import read_response
from corral.server.gateway.responses_writing import EventWriter, response
from corral.server.http import EVENT_STREAM, JSON, Header, Request, StreamWriter
from corral.server.routes import Route

_STREAM_HEADERS: tuple[Header, ...] = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_SHOWN = {
    "cache.result": b"x-corral-cache",
    "deployment": b"x-corral-model",
    "route.class": b"x-corral-route",
    "route.reason": b"x-corral-route-reason",
    "degraded": b"x-corral-degraded",
}
_encode = msgspec.json.encode
_TURN_S = 0.002
"""What is at hand is written together, for no longer than that."""


class Writer(Protocol):
    """Turns the events of a call into those of a stream."""

    def first(self) -> bytes:
        """The beginning."""
        ...

    def piece(self, delta: Delta) -> bytes:
        """One delta."""
        ...

    def end(self, reply: ModelReply) -> bytes:
        """The end."""
        ...


class Words(msgspec.Struct, frozen=True):
    """What the ways of asking differ in."""

    read: Callable[[Any, str], ChatRequest]
    """Of a body; the other argument is the model for those that name none."""
    whole: Callable[[ModelCall, ModelReply, float], dict[str, Any]]
    """Of a reply, and of when it was made."""
    writer: Callable[[Request, ChatRequest, str, float], Writer]
    """For a stream of that model, from then on."""


_CHAT = Words(
    read_chat,
    lambda _, reply, made_at: completion(reply, made_at),
    lambda request, asked, model, made_at: ChunkWriter(
        reply_id=f"chatcmpl-{request.context.request_id}",
        model=model,
        created=made_at,
        wants_usage=asked.wants_usage,
    ),
)
_RESPONSES = Words(
    read_response,
    response,
    lambda _, asked, model, made_at: EventWriter(asked.call, reply_id="", model=model, created=made_at),
)


class GatewayRoutes:
    """Handlers of `/v1/chat/completions`, `/v1/responses`, `/v1/embeddings` and `/v1/models`."""

    def __init__(
        self,
        call_model: CallModel,
        call_embedder: CallEmbedder,
        list_models: Callable[[], Awaitable[list[ModelInfo]]],
        *,
        default_model: str,
        counted: Counted = NOT_COUNTED,
        questions: Questions | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`default_model` answers requests that name none; requests are `counted`. `questions` are those that are answered just now."""
        self._counted = counted
        self._questions = questions or Questions()
        self._call_model = call_model
        self._call_embedder = call_embedder
        self._list_models = list_models
        self._default_model = default_model
        self._clock = clock

    def routes(self) -> list[Route]:
        """All of them."""
        handlers = {
            "POST /v1/chat/completions": self.chat,
            "POST /v1/responses": self.respond,
            "POST /v1/embeddings": self.embed,
            "GET /v1/models": self.models,
            "GET /v1/models/{id}": self.model,
        }
        return [schemas.route(address, handler) for address, handler in handlers.items()]

    # -- asking

    def chat(self, request: Request) -> Awaitable[None]:
        """`POST /v1/chat/completions`."""
        return self._ask(request, _CHAT)

    def respond(self, request: Request) -> Awaitable[None]:
        """`POST /v1/responses`."""
        return self._ask(request, _RESPONSES)

    async def _ask(self, request: Request, words: Words) -> None:
        asked = words.read(await request.json(), self._default_model)
        call = _completed(request, asked)
        if self._counted.is_on:
            await self._counted.admit(request, _visitor(request, call))
        answering = Answering(self._questions, request, call)
        try:
            if call.stream:
                await self._stream(answering, asked, call, words)
                return
            reply = await reply_of(self._call_model(call))
        except (CorralError, asyncio.CancelledError) as error:
            if not await answering.failed(error):
                raise
        else:
            answering.is_asking = False
            content = _encode(words.whole(call, reply, self._clock.now()))
            await request.respond(200, content, JSON, _noted(call.notes, reply.cost_usd))
        finally:
            answering.end()

    async def embed(self, request: Request) -> None:
        """`POST /v1/embeddings`."""
        asked = read_embeddings(await request.json())
        check_scope("model", asked.call.model, request.context.models_allowed)
        call = replace(
            asked.call,
            caller=caller_of(request, asked.user, {}),
            policy=policy_of(request),
            deadline=request.context.deadline,
        )
        if self._counted.is_on:
            await self._counted.admit(request, _visitor(request, call))
        answering = Answering(self._questions, request, call)
        try:
            reply = await self._call_embedder(call)
        except (CorralError, asyncio.CancelledError) as error:
            if not await answering.failed(error):
                raise
        else:
            answering.is_asking = False
            content = _encode(embedding_list(reply, as_base64=asked.as_base64))
            await request.respond(200, content, JSON, _noted(call.notes, reply.cost_usd))
        finally:
            answering.end()

    async def models(self, request: Request) -> None:
        """`GET /v1/models`."""
        listed = [_listed(model) for model in await self._list_models()]
        await request.respond_json({"object": "list", "data": listed})

    async def model(self, request: Request) -> None:
        """`GET /v1/models/{id}`; a `/` in the name is written `%2F`."""
        wanted = request.params["id"]
        for model in await self._list_models():
            if model.id == wanted:
                await request.respond_json(_listed(model))
                return
        raise ModelNotFound(f"There is no model {wanted[:200]!r}: `GET /v1/models` lists them.")

    # -- streams

    async def _stream(self, answering: Answering, asked: ChatRequest, call: ModelCall, words: Words) -> None:
        """Nothing is sent before the first event, so that what fails before it is a plain error."""
        request = answering.request
        async with closing(self._call_model(call)) as events:
            event = await anext(events, None)
            if event is None:
                raise ModelStreamBroken
            headers = (*_STREAM_HEADERS, *_noted(call.notes, None))
            out = await request.open_stream(200, EVENT_STREAM, headers)
            model = call.notes.get("deployment") or call.model
            writer = words.writer(request, asked, model, self._clock.now())
            last = await self._tell(answering, out, writer, events, event)
        ended = out.end_stream(last)
        if inspect.isawaitable(ended):
            await ended

    async def _tell(
        self,
        answering: Answering,
        out: StreamWriter,
        writer: Writer,
        events: AsyncIterator[ModelEvent],
        event: ModelEvent,
    ) -> bytes:
        """Write what comes; the last piece, which is not written yet."""
        pending, monotonic = writer.first(), self._clock.monotonic
        resumed_at = monotonic()
        try:
            while type(event) is Delta:
                if out.write_piece(pending + writer.piece(event)):
                    await out.drain()
                pending = b""
                if monotonic() - resumed_at > _TURN_S:  # a provider that is quicker than its readers yields to nobody
                    await asyncio.sleep(0)
                    resumed_at = monotonic()
                event = await anext(events)
        except StopAsyncIteration:
            failure: CorralError = ModelStreamBroken()
        except CorralError as error:
            failure = error
        except asyncio.CancelledError:
            if not answering.is_stopped:
                raise
            failure = answering.stopped()
        else:
            return pending + writer.end(cast("ModelReply", event))
        answering.request.failure = failure
        if isinstance(writer, EventWriter):
            return pending + writer.failed(openai_error(failure))
        return pending + OPENAI.broken(answering.request, failure, 0)


def _completed(request: Request, asked: ChatRequest) -> ModelCall:
    """The call, with who asks and until when."""
    context = request.context
    check_scope("model", asked.call.model, context.models_allowed)
    return replace(
        asked.call,
        caller=caller_of(request, asked.user, asked.tags),
        policy=policy_of(request),
        deadline=context.deadline,
    )


def _visitor(request: Request, call: ModelCall | EmbedCall) -> Visitor:
    """Who asks: the body may name the user."""
    context = request.context
    return Visitor(
        tenant=context.tenant,
        key=context.key_id,
        user=call.caller.user_id,
        session=context.session_id or "",
        tier=context.tier,
        model=call.model,
    )


def _noted(notes: dict[str, Any], cost_usd: float | None) -> list[Header]:
    """What the layers decided and what it cost, for who asked."""
    headers: list[Header] = []
    for shown, header in _SHOWN.items():
        note = notes.get(shown)
        if note:
            note = note[:200]
            headers.append((header, note.encode() if note.isascii() else note.encode("latin-1", "replace")))
    if cost_usd is not None:
        headers.append((b"x-corral-cost-usd", (b"%.8f" % cost_usd).rstrip(b"0").rstrip(b".")))
    return headers


def _listed(model: ModelInfo) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.provider or "corral"}
