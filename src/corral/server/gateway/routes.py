"""The addresses of the gateway: each reads a request, asks the models, and writes the answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, cast

import msgspec

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
from corral.server.gateway.reading import NO_POLICY, caller_of, has_policy, policy_of
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

    async def chat(self, request: Request) -> None:
        """`POST /v1/chat/completions`."""
        asked = read_chat(await request.json(), self._default_model)
        call = self._completed(request, asked)

        def writer(model: str) -> Writer:
            return ChunkWriter(
                reply_id=f"chatcmpl-{request.context.request_id}",
                model=model,
                created=self._clock.now(),
                wants_usage=asked.wants_usage,
            )

        async with self._counted(request, _visitor(request, call)):
            await self._answer(request, call, lambda reply: completion(reply, self._clock.now()), writer)

    async def respond(self, request: Request) -> None:
        """`POST /v1/responses`."""
        asked = read_response(await request.json(), self._default_model)
        call = self._completed(request, asked)

        def writer(model: str) -> Writer:
            return EventWriter(call, reply_id="", model=model, created=self._clock.now())

        async with self._counted(request, _visitor(request, call)):
            await self._answer(request, call, lambda reply: response(call, reply, self._clock.now()), writer)

    async def embed(self, request: Request) -> None:
        """`POST /v1/embeddings`."""
        asked = read_embeddings(await request.json())
        check_scope("model", asked.call.model, request.context.models_allowed)
        caller = caller_of(request, user=asked.user, tags=None)
        call = msgspec.structs.replace(
            asked.call,
            caller=caller,
            deadline=request.context.deadline,
            policy=policy_of(request) if has_policy(request.headers) else NO_POLICY,
        )
        async with self._counted(request, _visitor(request, call)):
            await self._embed(request, call, as_base64=asked.as_base64)

    async def _embed(self, request: Request, call: EmbedCall, *, as_base64: bool) -> None:
        with self._questions.answering(request, call) as answering:
            reply = await answering.unless_over(self._call_embedder(call))
            if reply is not None:
                headers = [*_noted(call.notes), *_cost(reply.cost_usd)]
                await request.respond_json(embedding_list(reply, as_base64=as_base64), headers=headers)

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

    def _completed(self, request: Request, asked: ChatRequest) -> ModelCall:
        """The call, with who asks and until when."""
        check_scope("model", asked.call.model, request.context.models_allowed)
        return msgspec.structs.replace(
            asked.call,
            caller=caller_of(request, user=asked.user, tags=asked.tags),
            policy=policy_of(request) if has_policy(request.headers) else NO_POLICY,
            deadline=request.context.deadline,
        )

    # -- answering

    async def _answer(
        self,
        request: Request,
        call: ModelCall,
        whole: Callable[[ModelReply], dict[str, Any]],
        writer: Callable[[str], Writer],
    ) -> None:
        with self._questions.answering(request, call) as answering:
            if call.stream:
                await answering.unless_over(self._stream(answering, call, writer))
                return
            reply = await answering.unless_over(reply_of(self._call_model(call)))
            if reply is not None:
                headers = [*_noted(call.notes), *_cost(reply.cost_usd)]
                await request.respond(200, msgspec.json.encode(whole(reply)), JSON, headers)

    async def _stream(self, answering: Answering, call: ModelCall, make_writer: Callable[[str], Writer]) -> None:
        """Nothing is sent before the first event, so that what fails before it is a plain error."""
        request = answering.request
        async with closing(self._call_model(call)) as events:
            event = await anext(events, None)
            if event is None:
                raise ModelStreamBroken
            headers = (*_STREAM_HEADERS, *_noted(call.notes))
            out = await request.open_stream(200, EVENT_STREAM, headers)
            writer = make_writer(str(call.notes.get("deployment") or call.model))
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


def _noted(notes: dict[str, Any]) -> list[Header]:
    """What the layers decided, for who asked."""
    return [
        (header, str(note).encode("latin-1", "replace")[:200])
        for header, note in zip(_SHOWN.values(), map(notes.get, _SHOWN), strict=True)
        if note
    ]


def _cost(cost_usd: float | None) -> list[Header]:
    return [] if cost_usd is None else [(b"x-corral-cost-usd", f"{cost_usd:.8f}".rstrip("0").rstrip(".").encode())]


def _listed(model: ModelInfo) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.provider or "corral"}
