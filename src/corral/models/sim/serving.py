"""The simulator over HTTP: which address is which language, and how an answer goes out, or goes wrong."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from corral.models.sim.arriving import Connection, Receive, Scope, Send, body_of, key_of, number_of, place_of, wish_of
from corral.models.sim.batches import Batches
from corral.models.sim.buckets import UNLIMITED
from corral.models.sim.catalog import MODELS
from corral.models.sim.engine import Engine
from corral.models.sim.options import Wish
from corral.models.sim.refusal import Refused, refused_with
from corral.models.sim.shapes import bedrock_converse, openai_embeddings, openai_errors
from corral.models.sim.shapes.anthropic_messages import AnthropicMessages
from corral.models.sim.shapes.bedrock_converse import BedrockConverse
from corral.models.sim.shapes.openai_chat import OpenAiChat
from corral.models.sim.shapes.openai_responses import OpenAiResponses
from corral.models.sim.shapes.shape import JSON_TYPE, Asked, Header, Question, Shape, Written, to_json
from corral.models.sim.turn import Turn

_PAGE = b"<!doctype html><html><title>Bad gateway</title><body><h1>Bad gateway</h1></body></html>"
_BREAKING = frozenset({"cut", "malformed", "midstream"})
_NO_LINGER = struct.pack("ii", 1, 0)


class _Gone(Exception):
    """The connection is closed; there is nobody to answer."""


class SimService:
    """What `corral sim` serves. See `corral.server.worker.Servable`."""

    def __init__(self, engine: Engine) -> None:
        """All languages ask the same engine."""
        self.engine = engine
        clock = engine.clock
        self._chat = OpenAiChat()
        self._responses = OpenAiResponses()
        self._messages = AnthropicMessages(clock.now)
        self._batches = Batches(engine, {"/v1/chat/completions": self._chat, "/v1/responses": self._responses})
        self._shapes: dict[str, Shape] = {
            "/v1/chat/completions": self._chat,
            "/v1/responses": self._responses,
            "/v1/messages": self._messages,
        }
        self._bedrock: dict[str, Shape] = {
            "converse": BedrockConverse(clock.monotonic, streams=False),
            "converse-stream": BedrockConverse(clock.monotonic, streams=True),
        }
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- for the worker

    @property
    def in_flight(self) -> int:
        """Calls that are being answered."""
        return self.engine.stats.running

    def own_process(self) -> None:
        """Nothing is done differently."""

    async def start(self) -> None:
        """There is nothing to open."""

    def begin_drain(self) -> None:
        """Whoever hangs would be waited for."""
        self.cancel_running()

    retire = begin_drain

    def cancel_running(self) -> None:
        """Cut off who still waits for an answer."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """There is nothing to close."""

    # -- requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        connection: Connection = scope["corral.connection"]
        try:
            body = await body_of(receive)
        except Refused as refused:
            written = openai_errors.refuse(refused, "", "")
            written.headers.append((b"connection", b"close"))
            self._written(connection, written)
            return
        if body is None:
            return
        path, model = place_of(scope["path"])
        asked = Asked(path, dict(scope["headers"]), body, model, self.engine.options.strict)
        shape = self._shapes.get(path)
        try:
            if shape is not None and scope["method"] == "POST":
                await self._answer(shape, asked, connection)
            else:
                await self._other(scope, asked, connection)
        except _Gone:
            return
        finally:
            connection.forget()

    async def _other(self, scope: Scope, asked: Asked, connection: Connection) -> None:
        path, method = asked.path, scope["method"]
        if path.startswith("/model/"):
            await self._of_bedrock(asked, scope, connection)
        elif path == "/v1/embeddings" and method == "POST":
            await self._embed(asked, connection)
        elif path == "/v1/messages/count_tokens" and method == "POST":
            self._count(asked, connection)
        elif path.startswith("/__sim/") or path == "/":
            self._about_itself(path, method, connection)
        else:
            self._written(connection, self._looked_up(asked, method, scope))

    def _looked_up(self, asked: Asked, method: str, scope: Scope) -> Written:
        """Whatever takes no time: lists, files, batches, kept responses."""
        number = number_of(asked)
        try:
            self._who(asked)
            if method == "GET" and asked.path == "/v1/models":
                models = {f"sim/{name}": model for name, model in (MODELS | self.engine.options.models).items()}
                return _json(openai_embeddings.models_list(models, anthropic=b"anthropic-version" in asked.headers))
            if method == "GET" and asked.path.startswith("/v1/models/"):
                return self._one_model(asked)
            if method == "GET" and asked.path.startswith("/v1/responses/"):
                response = self._responses.find(asked.path.rpartition("/")[2])
                if response is not None:
                    return _json(to_json(response))
            elif asked.path.startswith(("/v1/files", "/v1/batches")):
                return self._batches.answer(method, asked, scope.get("query_string", b"").decode("latin-1"))
        except Refused as refused:
            return openai_errors.refuse(refused, "", number)
        return openai_errors.refuse(Refused("invalid", f"Invalid URL ({method} {asked.path})", status=404), "", number)

    def _one_model(self, asked: Asked) -> Written:
        name = asked.path.removeprefix("/v1/models/")
        if b"anthropic-version" in asked.headers:
            return _json(to_json(openai_embeddings.anthropic_object(name)))
        return _json(to_json(openai_embeddings.model_object(name, self.engine.model(name))))

    def _about_itself(self, path: str, method: str, connection: Connection) -> None:
        if path == "/__sim/stats":
            content = self.engine.shown()
        elif path == "/__sim/reset" and method == "POST":
            self.engine.reset()
            self._batches.reset()
            content = {"reset": True}
        else:
            content = {
                "simulates": ["openai", "anthropic", "bedrock"],
                "stats": "/__sim/stats",
                "reset": "POST /__sim/reset",
            }
        self._written(connection, _json(to_json(content)))

    # -- answers

    async def _answer(self, shape: Shape, asked: Asked, connection: Connection) -> None:
        turns: list[Turn] = []
        model = asked.model
        try:
            who, wish = self._who(asked), wish_of(asked)
            question = shape.read(asked)
            model = question.call.model
            turns = self._begun(shape, question, who, wish)
        except Refused as refused:
            self._written(connection, shape.refuse(refused, model, number_of(asked)))
            return
        try:
            turn = turns[0]
            waits = turn.waits or turn.fault
            if waits:
                await self._waiting(self._say(shape, question, turns, connection), connection)
            else:
                await self._say(shape, question, turns, connection)
        finally:
            for turn in turns:
                turn.close()

    def _begun(self, shape: Shape, question: Question, who: str, wish: Wish) -> list[Turn]:
        call = question.call
        turns = [self.engine.begin(call, kind=shape.kind, who=who, wish=wish)]
        for number in range(1, question.choices):
            other = msgspec.structs.replace(call, seed=(call.seed or 0) + number)
            turns.append(self.engine.begin(other, kind=shape.kind, who=who, free=True))
        return turns

    async def _waiting(self, saying: Awaitable[None], connection: Connection) -> None:
        """Say it, unless the client leaves before: then there is nobody to say it to."""
        task = asyncio.current_task()
        if task is None:  # not under a loop: there is no such place
            raise RuntimeError("Served outside of a task.")
        lost = False

        def leave() -> None:
            nonlocal lost
            lost = True
            task.cancel()

        connection.on_lost(leave)
        self._tasks.add(task)
        try:
            await saying
        except asyncio.CancelledError:
            if not lost:  # we are to end: whoever hangs is cut off
                connection.transport.abort()
            raise _Gone from None
        finally:
            self._tasks.discard(task)

    async def _say(self, shape: Shape, question: Question, turns: Sequence[Turn], connection: Connection) -> None:
        turn = turns[0]
        await turn.first()
        headers = shape.headers(turn.number, turn.verdict)
        if self._broke_early(turn, connection):
            return
        if question.stream:
            await self._stream(shape, question, turns, connection, headers)
            return
        await turn.rest()
        if turn.fault == "midstream":
            self._written(connection, shape.refuse(refused_with(503), turn.name, turn.number))
            return
        body = shape.whole(question, turns)
        self._whole(turn, body, headers, connection)

    def _whole(self, turn: Turn, body: bytes, headers: list[Header], connection: Connection) -> None:
        length = b"%d" % len(body)
        if turn.fault == "malformed":
            body = body[: len(body) // 2]
            length = b"%d" % len(body)
        if turn.fault == "cut":
            connection.begin_stream(200, [JSON_TYPE, *headers])
            connection.write_piece(body[: len(body) // 2])
            self._close(connection)
            return
        connection.respond(200, [JSON_TYPE, (b"content-length", length), *headers], body)

    async def _stream(
        self, shape: Shape, question: Question, turns: Sequence[Turn], connection: Connection, headers: list[Header]
    ) -> None:
        turn = turns[0]
        writer = shape.stream(question, turns)
        connection.begin_stream(200, [(b"content-type", shape.stream_type), (b"cache-control", b"no-cache"), *headers])
        connection.write_piece(writer.begin())
        breaks_at = len(turn.answer.deltas) // 2 if turn.fault in _BREAKING else -1
        number = 0
        async for delta in turn.deltas():
            if number == breaks_at and self._break(turn, writer, connection):
                return
            if connection.write_piece(writer.piece(delta)):
                await connection.drain()
            number += 1
        connection.end_stream(writer.end())

    def _break(self, turn: Turn, writer: Any, connection: Connection) -> bool:
        """Go wrong in the middle; true: there is no rest."""
        if turn.fault == "malformed":
            connection.write_piece(writer.malformed())
            return False
        if turn.fault == "midstream":
            connection.end_stream(writer.failed(refused_with(503)))
        else:
            self._close(connection)
        return True

    def _broke_early(self, turn: Turn, connection: Connection) -> bool:
        if turn.fault == "type":
            headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(_PAGE))]
            connection.respond(200, headers, _PAGE)
        elif turn.fault == "reset":
            sock = connection.transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            connection.transport.abort()
        return turn.fault in {"type", "reset"}

    def _close(self, connection: Connection) -> None:
        """Close after what was written, and before the end."""
        asyncio.get_running_loop().call_soon(connection.transport.close)

    # -- what has a single answer

    async def _embed(self, asked: Asked, connection: Connection) -> None:
        model = asked.model
        try:
            who, wish = self._who(asked), wish_of(asked)
            body, texts = openai_embeddings.read(asked)
            model = body.model
            turn = self.engine.begin_embedding(model, texts, who=who, wish=wish)
        except Refused as refused:
            self._written(connection, openai_errors.refuse(refused, model, number_of(asked)))
            return
        engine = self.engine
        await self._single(
            turn,
            connection,
            openai_errors.limit_headers(turn.number, turn.verdict),
            lambda: openai_embeddings.whole(body, texts, turn, engine.model(model), engine.options.seed),
            openai_errors.refuse,
        )

    async def _of_bedrock(self, asked: Asked, scope: Scope, connection: Connection) -> None:
        model, _, verb = asked.path.removeprefix("/model/").rpartition("/")
        asked = msgspec.structs.replace(asked, model=unquote(model))
        shape = self._bedrock.get(verb)
        if scope["method"] != "POST" or (shape is None and verb != "invoke"):
            unknown = Refused("missing", "There is no such operation.")
            self._written(connection, bedrock_converse.refuse(unknown, model, number_of(asked)))
        elif shape is not None:
            await self._answer(shape, asked, connection)
        else:
            await self._invoke(asked, connection)

    async def _invoke(self, asked: Asked, connection: Connection) -> None:
        try:
            who, wish = self._who(asked), wish_of(asked)
            body = bedrock_converse.read_titan(asked)
            turn = self.engine.begin_embedding(asked.model, [body.input_text], who=who, wish=wish)
        except Refused as refused:
            self._written(connection, bedrock_converse.refuse(refused, asked.model, number_of(asked)))
            return
        headers = [
            *self._bedrock["converse"].headers(turn.number, turn.verdict),
            (b"x-amzn-bedrock-input-token-count", b"%d" % turn.usage.input_tokens),
        ]
        dimensions, seed = self.engine.model(asked.model).dimensions, self.engine.options.seed
        await self._single(
            turn,
            connection,
            headers,
            lambda: bedrock_converse.titan(body, turn, dimensions, seed),
            bedrock_converse.refuse,
        )

    async def _single(
        self,
        turn: Turn,
        connection: Connection,
        headers: list[Header],
        whole: Callable[[], bytes],
        refuse: Callable[[Refused, str, str], Written],
    ) -> None:
        async def say() -> None:
            await turn.first()
            if self._broke_early(turn, connection):
                return
            if turn.fault == "midstream":
                self._written(connection, refuse(refused_with(503), turn.name, turn.number))
                return
            self._whole(turn, whole(), headers, connection)

        try:
            await self._waiting(say(), connection)
        finally:
            turn.close()

    def _count(self, asked: Asked, connection: Connection) -> None:
        try:
            self._who(asked)
            call = self._messages.counted(asked)
        except Refused as refused:
            self._written(connection, self._messages.refuse(refused, "", number_of(asked)))
            return
        headers = self._messages.headers(number_of(asked), UNLIMITED)
        written = _json(to_json({"input_tokens": self.engine.count(call)}))
        self._written(connection, Written(200, [*written.headers, *headers], written.body))

    # -- who asks

    def _who(self, asked: Asked) -> str:
        """The key that came along; `Refused` if it is not one of those that are let in."""
        key = key_of(asked)
        keys = self.engine.options.keys
        if keys and key not in keys:
            raise Refused(
                "auth", f"Incorrect API key provided: {key[:3]}***. Ask whoever started this simulator for one."
            )
        return key

    def _written(self, connection: Connection, written: Written) -> None:
        headers = [*written.headers, (b"content-length", b"%d" % len(written.body))]
        connection.respond(written.status, headers, written.body)


def _json(body: bytes) -> Written:
    return Written(200, [JSON_TYPE], body)
