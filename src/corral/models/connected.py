"""Where an agent's calls go: the models of the service it runs in, from whatever loop or thread it asks."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from corral.context import check_scope, find_context
from corral.errors import ConfigError, CorralError
from corral.here import Here
from corral.messages import (
    CallEmbedder,
    CallModel,
    EmbedCall,
    EmbedReply,
    ModelCall,
    ModelEvent,
    ModelReply,
    Usage,
    closing,
)
from corral.models.exchange import Exchange
from corral.models.provider import Provider
from corral.models.stack import reply_of

T = TypeVar("T")


class Batches(Protocol):
    """What batches at providers cost, kept by whoever has budgets and limits."""

    def handing_in(self, calls: Sequence[ModelCall]) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Set aside what calls of one caller will probably take, while a block hands them in. Gives a receipt as JSON: `at` is when."""
        ...

    async def settle(self, receipt: Mapping[str, Any], answers: Sequence[Exchange]) -> None:
        """So much was it in truth. Settling twice is settling once."""
        ...

    def cost_of(self, model: str, usage: Usage) -> float | None:
        """What so many tokens of `provider/model` cost in a batch."""
        ...


Over = Callable[[CallModel], CallModel]
"""Layers of a caller's own, put around the stack."""

_AHEAD_MAX = 64


class Models:
    """A stack of layers, the embedder beside it, and the loop both live on: futures of one loop are of no use on another."""

    def __init__(
        self,
        call: CallModel,
        embed: CallEmbedder | None = None,
        *,
        default: str = "auto",
        providers: Mapping[str, Provider] | None = None,
        batches: Batches | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`default` is the model of who names none; `batches` keeps their accounts; `loop`: none, the one that runs now."""
        self.providers: Mapping[str, Provider] = providers or {}
        """By their names in the settings, for what goes past the layers."""
        self.batches = batches
        self.call = call
        self._embed = embed
        self.default = default
        self._loop = loop if loop is not None else asyncio.get_running_loop()

    async def reply(self, call: ModelCall, over: Over | None = None) -> ModelReply:
        """The whole answer."""
        check_model(call.model)
        ask = self.call if over is None else over(self.call)
        return await self.at_home(reply_of(ask(call)))

    async def stream(self, call: ModelCall, over: Over | None = None) -> AsyncIterator[ModelEvent]:
        """Its events."""
        check_model(call.model)
        ask = self.call if over is None else over(self.call)
        if asyncio.get_running_loop() is self._loop:
            async with closing(ask(call)) as events:
                async for event in events:
                    yield event
            return
        carried = _Carried(ask(call))
        try:
            while (event_or_none := await self.at_home(carried.next())) is not None:
                yield event_or_none
        finally:
            await self.at_home(carried.close())

    def iterate(self, call: ModelCall, over: Over | None = None) -> Iterator[ModelEvent]:
        """The same for a thread that waits for each piece."""
        check_model(call.model)
        ask = self.call if over is None else over(self.call)
        carried = _Carried(ask(call))
        try:
            while (event := self.from_thread(carried.next())) is not None:
                yield event
        finally:
            self.from_thread(carried.close())

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """One vector for each text."""
        check_model(call.model)
        if self._embed is None:
            raise ConfigError(
                "No embedder is set up here: configure a provider with embedding models in `models.providers`."
            )
        return await self.at_home(_embedded(self._embed, call))

    async def at_home(self, work: Coroutine[Any, Any, T]) -> T:
        """Done on the loop where connections and limits live."""
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(self._sent_home(work))

    def _sent_home(self, work: Coroutine[Any, Any, T]) -> Any:
        # As a task of its own with the asker's context: a plain threadsafe call would run in a stranger's.
        context = contextvars.copy_context()

        async def carried() -> T:
            return await asyncio.get_running_loop().create_task(work, context=context)

        if self._loop.is_closed():
            work.close()
            raise CorralError("The service whose models these were has stopped.")
        return asyncio.run_coroutine_threadsafe(carried(), self._loop)

    def from_thread(self, work: Coroutine[Any, Any, T]) -> T:
        """The result, for a thread that waits for it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._sent_home(work).result()  # type: ignore[no-any-return]  # a future of T
        work.close()
        raise CorralError("This would block the event loop: in asynchronous code write `await llm(…)`.")


def check_model(model: str) -> None:
    """Raise `Forbidden` unless the key that began what runs here may ask this model, under the name by which it is asked."""
    context = find_context()
    if context is not None and context.models_allowed:
        check_scope("model", model, context.models_allowed)


async def _embedded(embed: CallEmbedder, call: EmbedCall) -> EmbedReply:
    return await embed(call)


class _Carried:
    """The events of a call on their own loop, read by one task from first to last, a bounded number ahead of who asks.

    One that is read by a new task for each piece could be closed while it still runs.
    """

    def __init__(self, events: AsyncIterator[ModelEvent]) -> None:
        self._events = events
        self._pump: asyncio.Task[None] | None = None
        self._pieces: asyncio.Queue[ModelEvent | Exception | None]

    async def next(self) -> ModelEvent | None:
        """The next one; none: that was all."""
        if self._pump is None:
            self._pieces = asyncio.Queue(_AHEAD_MAX)
            self._pump = asyncio.get_running_loop().create_task(self._read())
        piece = await self._pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def _read(self) -> None:
        end: Exception | None = None
        try:
            async with closing(self._events) as events:
                async for event in events:
                    await self._pieces.put(event)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            end = error
        await self._pieces.put(end)

    async def close(self) -> None:
        """Nobody reads on. Returns once the call has given back what it held."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait({self._pump})


_here: Here[Models] = Here("corral_models")
use, using = _here.use, _here.using
"""Whom every `LLM` of this process asks, or those of one block."""


find = _here.find
"""As `connected`, or none."""


def connected() -> Models:
    """The models that answer here. Raises `ConfigError` if there are none."""
    found = find()
    if found is None:
        raise ConfigError(
            "No models are set up here: an LLM asks the models of the service it runs in. Run the agent with `corral dev`, "
            "`corral serve` or `corral invoke`; in a test, `with using(Models(call)): …`."
        )
    return found
