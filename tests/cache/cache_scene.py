"""A model that counts how often it is asked, and the layers around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from corral.cache.coalescing import Coalesced
from corral.cache.exact import Cached
from corral.cache.shelf import Shelf
from corral.messages import Caller, CallPolicy, Delta, Message, ModelCall, ModelReply, Usage, as_parts
from corral.settings.model_sections import CacheSettings


class TurnedClock:
    """A clock that tests turn."""

    def __init__(self, at: float = 1_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    monotonic = now


def question(text="What is a corral?", *, tenant="acme", **more) -> ModelCall:
    policy = {name: more.pop(name) for name in list(more) if name in CallPolicy.__struct_fields__}
    return ModelCall(
        model="sim/small",
        messages=[Message(role="user", content=as_parts(text))],
        caller=Caller(tenant=tenant),
        policy=CallPolicy(**policy),
        **more,
    )


def answer(text="A pen for horses.", **more) -> ModelReply:
    content = more.pop("content", [{"type": "text", "text": text}])
    return ModelReply(
        **{"model": "small", "provider": "sim", "usage": Usage(input=5, output=4), "cost_usd": 0.25}
        | more
        | {"content": content}
    )


class Model:
    """Answers `answers` one after the other, the last one for ever; a gate holds it back."""

    def __init__(self, *answers: ModelReply | BaseException) -> None:
        self.answers = list(answers) or [answer()]
        self.asked: list[ModelCall] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.closed = 0
        self.open = 0

    async def __call__(self, call: ModelCall):
        self.asked.append(call)
        self.open += 1
        self.begun.set()
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            if isinstance(found, BaseException):
                await self.gate.wait()
                raise found
            if call.stream:
                words = found.text.split(" ")
                for number, word in enumerate(words):
                    if number:
                        await self.gate.wait()
                    yield Delta("text", word + (" " if number < len(words) - 1 else ""))
            await self.gate.wait()
            yield found
        finally:
            self.open -= 1
            self.closed += 1


async def events_of(call: ModelCall, handler) -> list:
    async with aclosing(handler(call)) as events:
        return [event async for event in events]


async def ask(call: ModelCall, handler) -> ModelReply:
    return (await events_of(call, handler))[-1]


class Layers:
    """Cached, then coalesced, then the model."""

    def __init__(self, model, store=None, *, clock=None, sharing: Callable | None = None, generate=None, **settings):
        given = CacheSettings(**{"exact": True, **settings})
        clocks = {} if clock is None else {"clock": clock}
        self.model = model
        self.shelf = Shelf(store, given, **clocks)
        self.coalesced = Coalesced(self.shelf, sharing=sharing and sharing(self.shelf), generate=generate, **clocks)
        self.cached = Cached(self.shelf, generate=generate, coalesced=self.coalesced)

    def __call__(self, call):
        return self.cached(call, self.model)

    async def ask(self, call=None, **more) -> ModelReply:
        """Ask, and wait until what is to be kept is in the store: its clock is turned afterwards."""
        try:
            return await ask(call or question(**more), self)
        finally:
            await self.shelf.flush()


async def until(true: Callable[[], bool]) -> None:
    """Let others run until something is so."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - the code under test sets no event of ours
            await asyncio.sleep(0)
