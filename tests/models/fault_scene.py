"""All layers around one provider of each kind, in front of a server that misbehaves; at the end everything was given back."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import test_anthropic_provider as anthropic
import test_bedrock_provider as bedrock
import test_openai_provider as openai
from faulty_server import Answer, FaultyServer, faulty_server

from corral.backends.sqlite.stores import SqliteStores
from corral.limits.accounts import NOTHING, Account, decode_account
from corral.limits.buckets import Rule, opened
from corral.limits.budget_rules import rules_of
from corral.limits.budgets import Budgets
from corral.messages import Caller, EmbedCall, EmbedReply, Message, ModelCall, ModelEvent, ModelReply, as_parts, closing
from corral.observability.metrics import Metrics
from corral.settings.budget_sections import BudgetSettings
from corral.settings.model_sections import CacheSettings, ModelSettings
from corral.settings.sections import Settings, StoreSettings
from corral.testing.contracts.setting import eventually
from corral.wiring.modelling import Modelling
from ready import ready_url

ACME = Caller(tenant="acme")
TOKENS = 1_000_000


class Language(msgspec.Struct, frozen=True, kw_only=True):
    """How one provider is set up, and what it says when all is well and when it is not."""

    kind: str
    model: str
    path: str = ""
    """What stands behind the server's address."""
    options: dict[str, Any] = {}
    whole: bytes
    stream: tuple[bytes, ...] = ()
    begun: int = 0
    """Pieces of the stream that had come when it breaks; by then `Hel` was said."""
    stream_type: str = "text/event-stream"
    refusal: bytes
    """The body of an error."""
    broken: bytes
    """A piece of a stream that means nothing."""
    filling: bytes = b""
    """A piece of a stream that is passed over, of 1 KB."""


_SSE_FILLING = b": " + b"x" * 1022 + b"\n\n"
_VECTORS = {"object": "list", "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}, "data": []}
_VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
_OPENAI_REFUSAL = b'{"error": {"message": "no", "type": "server_error"}}'

LANGUAGES = {
    **{
        f"openai {api}": Language(
            kind="openai",
            model="m",
            path="/v1",
            options={"api": api},
            whole=json.dumps(openai.WHOLE[api]).encode(),
            stream=tuple(openai.sse(*openai.STREAMED[api])),
            begun=len(openai.BEGINNING[api]),
            refusal=_OPENAI_REFUSAL,
            broken=b"data: {oops\n\n",
            filling=_SSE_FILLING,
        )
        for api in openai.APIS
    },
    "anthropic": Language(
        kind="anthropic",
        model="claude-sonnet-5",
        whole=json.dumps(anthropic.WHOLE).encode(),
        stream=tuple(anthropic.sse(*anthropic.EVENTS)),
        begun=4,
        refusal=b'{"type": "error", "error": {"type": "api_error", "message": "no"}}',
        broken=b"data: {oops\n\n",
        filling=_SSE_FILLING,
    ),
    "bedrock": Language(
        kind="bedrock",
        model=bedrock.MODEL,
        whole=json.dumps(bedrock.WHOLE).encode(),
        stream=tuple(bedrock.EVENTS),
        begun=2,
        stream_type="application/vnd.amazon.eventstream",
        refusal=b'{"message": "no"}',
        broken=bedrock.text("lo")[:-1] + b"\x00",
        filling=bedrock.event("padding", {"p": "x" * 1000}),
    ),
}
EMBEDDERS = {
    "openai": Language(
        kind="openai",
        model="m",
        path="/v1",
        whole=json.dumps({**_VECTORS, "data": [_VECTOR]}).encode(),
        refusal=_OPENAI_REFUSAL,
        broken=b"",
    ),
    "bedrock": Language(
        kind="bedrock",
        model="amazon.titan-embed-text-v2:0",
        whole=b'{"embedding": [0.5, 0.25], "inputTextTokenCount": 3}',
        refusal=b'{"message": "no"}',
        broken=b"",
    ),
}


class Scene:
    """The layers, the server, and what they hold."""

    def __init__(self, language: Language, server: FaultyServer, modelling: Modelling, budgets: Budgets) -> None:
        self.language = language
        self.server = server
        self.modelling = modelling
        self.budgets = budgets

    def question(self, *, stream: bool, **more: Any) -> ModelCall:
        """About what the server answers."""
        said = [Message(role="user", content=as_parts("Hi"))]
        return ModelCall(
            model=f"there/{self.language.model}", messages=said, max_tokens=50, stream=stream, caller=ACME, **more
        )

    async def ask(self, *, stream: bool, **more: Any) -> tuple[list[ModelEvent], ModelReply]:
        """The pieces, and the answer."""
        async with closing(self.modelling.call(self.question(stream=stream, **more))) as events:
            *pieces, reply = [event async for event in events]
        assert type(reply) is ModelReply
        return pieces, reply

    async def embed(self, text: str = "Hi", **more: Any) -> EmbedReply:
        """One vector."""
        call = EmbedCall(model=f"there/{self.language.model}", texts=[text], caller=ACME, **more)
        return await self.modelling.embed(call)

    def well(self, *, stream: bool, **more: Any) -> Answer:
        """What the server says when all is well."""
        language = self.language
        if stream:
            return Answer(headers={"content-type": language.stream_type}, pieces=language.stream, **more)
        return Answer(headers={"content-type": "application/json"}, pieces=[language.whole], **more)

    def begun(self, *, stream: bool, then: bytes = b"", **more: Any) -> Answer:
        """What it says until it goes wrong."""
        whole = self.well(stream=stream)
        pieces = (
            [*self.language.stream[: self.language.begun], *([then] if then else [])]
            if stream
            else [self.language.whole[:-9] + then]
        )
        return Answer(headers=whole.headers, pieces=pieces, **more)

    def held(self) -> dict[str, Any]:
        """What is held while somebody asks: connections, places, money; who waits; calls that deployments count."""
        (gate,) = self.modelling.pace.status()
        return {
            "connections": self.modelling.providers["there"].transport.open,  # type: ignore[attr-defined]  # all of these have one
            "running": gate["running"],
            "waiting": gate["waiting"],
            "money": [pocket.using for pocket in self.budgets.pockets(ACME) if pocket.using != NOTHING],
            "in flight": sum(one["in_flight"] for one in self.modelling.deployed.status()),
        }

    async def holds_nothing(self) -> None:
        """Nobody asks any more. Texts that travelled together may arrive a moment after who did not wait for them."""

        async def is_over() -> bool:
            return not any(self.held().values())

        await eventually(is_over)


def free_port() -> int:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def plain_server() -> AsyncIterator[str]:
    """An `https` address at which no TLS is spoken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def scene(
    language: Language, folder: Path, *, at: Literal["there", "nobody", "no TLS"] = "there", idle_s: float = 30.0
) -> AsyncIterator[Scene]:
    """`at`: who is asked. Checks at the end that everything was given back, in the store as well, and that no task is left."""
    before = asyncio.all_tasks()
    async with faulty_server() as server, plain_server() as plain_url:
        url = {"there": server.url, "nobody": f"http://127.0.0.1:{free_port()}", "no TLS": plain_url}[at]
        stores = SqliteStores(ready_url(folder, "faults.db"))
        await stores.start()
        provider = {
            "kind": language.kind,
            "base_url": url + language.path,
            "api_key": "sk-secret-key",
            "region": "eu-west-1",
            "options": language.options,
            "idle_s": idle_s,
            "tokens_per_minute": TOKENS,
            "requests_per_minute": 1000,
        }
        models = msgspec.convert({"providers": {"there": provider}, "attempts_max": 1}, ModelSettings)
        settings = Settings(
            models=models, cache=CacheSettings(exact=True, coalesce="always"), store=StoreSettings(url=stores.url)
        )
        rules = rules_of({"all": BudgetSettings(period="total", tokens=TOKENS)})
        budgets = Budgets(rules, stores.budgets)
        await budgets.start()
        modelling = Modelling(settings, stores, Metrics(), budgets=budgets, env={})
        await modelling.start()
        made = Scene(language, server, modelling, budgets)
        try:
            yield made
            await made.holds_nothing()
        finally:
            await modelling.drain()
            await modelling.stop()
            await budgets.stop()
        kept = await stores.limits.read("there")
        assert not opened(kept.body, Rule(), kept.now).leases
        (account,) = (await stores.budgets.read([pocket.place for pocket in budgets.pockets(ACME)])).accounts
        known = decode_account(account.body) if account.body else Account()
        assert known.held(0.0) == NOTHING
        assert known.spent.tokens < TOKENS
        await stores.stop()
    async with asyncio.timeout(5):  # a connection of the server's ends in the loop's next turns
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - whoever ends does not tell
            await asyncio.sleep(0)
