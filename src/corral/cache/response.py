"""`ResponseCache`: a cache for one's own functions and answers, without the rest of the house."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, Self, TypeVar, cast

import msgspec

from corral.cache.entries import packed, unpacked
from corral.cache.keys import value_key
from corral.cache.shelf import Shelf
from corral.cache.store import CacheStore, EntryDraft
from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ConfigError
from corral.messages import EmbedCall, EmbedReply
from corral.settings.model_sections import CacheSettings

if TYPE_CHECKING:
    from corral.cache.semantic.alike import Alike
    from corral.cache.semantic.embedders import Embedder

_log = logging.getLogger("corral.cache")

P = ParamSpec("P")
T = TypeVar("T")

Backend = Literal["memory", "sqlite", "redis", "postgres"]
Vectors = Callable[[list[str]], Any]
"""Texts to their vectors, one for each; it may be asynchronous."""
_THRESHOLD = 0.95
_USUAL = {"sqlite": "sqlite:///.corral/cache.db", "redis": "redis://127.0.0.1:6379/0"}
_BEHIND = "sqlite:///.corral/cache.db"
"""Redis stands beside another store, which keeps nothing of the cache."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Likeness(Protocol):
    """Finds questions that mean the same: the semantic part, which whoever wants it brings along."""

    async def nearest(self, tenant: str, text: str, *, threshold: float) -> bytes | None:
        """The key of the question most like this one, if it is at least so much alike (1: the same).

        `tenant` stands for all that two questions must have in common: of a scope or a function, it is a name of their own.
        """
        ...

    async def add(self, tenant: str, text: str, key: bytes) -> None:
        """Remember a question by the key of its answer."""
        ...


class ResponseCache:
    """Keeps answers by what was asked, for as long as they are good.

        cache = ResponseCache(backend="redis", ttl=3600, max_size=10_000)

        @cache.cached
        async def answer(prompt: str) -> str: ...

    A question is any JSON value, an answer is too. Calls of a cached function at the same time with the same arguments run it
    once. A store that is away costs the cache and no call. `async with`, or `start` and `stop`; it starts when it is first used.
    """

    def __init__(  # noqa: PLR0913 - what people expect to say, by name
        self,
        backend: Backend = "memory",
        *,
        url: str = "",
        similarity_threshold: float | None = None,
        ttl: float = 3600.0,
        max_size: int = 10_000,
        cache_key_generator: Callable[..., str] | None = None,
        similar: str | Vectors | Likeness | None = None,
        tenant: str = "default",
        scope: str = "",
        store: CacheStore | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`similar`: `onnx:FOLDER`, `package:NAME`, `provider/model` of the service that runs here, or a function: texts to vectors.

        With it, questions are found that are alike by `similarity_threshold` (0.95) and mean the same; without it, equal ones alone.
        `store`: one that is open already, instead of a backend.
        `cache_key_generator` is called with the question (or the arguments of the function) and returns what makes it the same.
        """
        threshold = _THRESHOLD if similarity_threshold is None else similarity_threshold
        if not 0 < threshold <= 1:
            raise ConfigError(f"similarity_threshold is {threshold}; it lies above 0 and is at most 1.")
        if similarity_threshold is not None and similar is None:
            _log.warning(
                "ResponseCache: similarity_threshold=%s counts once it is known what means the same: set `similar=` to `onnx:FOLDER`, "
                "`package:NAME`, `provider/model` or a function of texts that returns vectors. Until then, equal questions alone are found.",
                similarity_threshold,
            )
        if ttl <= 0 or max_size < 1:
            raise ConfigError(f"ttl ({ttl}) and max_size ({max_size}) are above 0.")
        self._url = _url_of(backend, url) if store is None else ""
        self._backend = backend
        self._threshold = threshold
        self._ttl_s = float(ttl)
        self._generate = cache_key_generator
        self._embedder = _embedder_of(similar)
        self._alike: Alike | None = None
        self._similar: Likeness | None = None if self._embedder is not None else cast("Likeness | None", similar)
        self._tenant = tenant
        self._scope = scope
        self._store = store
        self._clock = clock
        in_memory = not self._url and store is None
        self._settings = CacheSettings(
            exact=True,
            ttl_s=self._ttl_s,
            entries_max=max_size,
            local_max=max_size if in_memory else min(max_size, 2000),
        )
        self._shelf: Shelf | None = None
        self._stores: Any = None
        self._starting = asyncio.Lock()
        self._running: dict[bytes, asyncio.Task[Any]] = {}

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store. Starting twice is starting once."""
        async with self._starting:
            if self._shelf is not None:
                return
            store = self._store
            if store is None and self._url:
                # The one place where a room asks for an engine by name: whoever uses this has no service that would hand it one.
                opening: Any = importlib.import_module("corral.backends.open")
                hot = self._backend == "redis"
                self._stores = opening.open_stores(_BEHIND if hot else self._url, hot=self._url if hot else "")
                await self._stores.start()
                store = self._stores.cache
            if self._embedder is not None:
                self._similar = self._alike = await self._found_by(self._embedder)
            shelf = Shelf(store, self._settings, clock=self._clock)
            await shelf.start()
            self._shelf = shelf

    async def stop(self) -> None:
        """Write what is pending, and close. Stopping twice is stopping once."""
        async with self._starting:
            shelf, self._shelf = self._shelf, None
            stores, self._stores = self._stores, None
            if self._embedder is not None:
                await self._embedder.stop()
            if shelf is not None:
                await shelf.stop()
            if stores is not None:
                await stores.stop()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    # -- keeping and finding ------------------------------------------------------------------------------------------

    async def get(self, question: object, default: Any = None) -> Any:
        """The kept answer to this question, or to one that means the same; else `default`."""
        shelf = await self._open()
        answers = await self._find(shelf, self._key(question), _text(question), self._place())
        return answers[0] if answers else default

    async def set(
        self, question: object, answer: object, *, ttl: float | None = None, tags: tuple[str, ...] = ()
    ) -> bool:
        """Keep an answer. False: it is no JSON, or too long."""
        shelf = await self._open()
        key = self._key(question)
        await shelf.find(self._tenant, key)  # says which generation it is
        return await self._keep(shelf, key, _text(question), self._place(), answer, ttl, tags)

    async def clear(self, *, tags: tuple[str, ...] = ()) -> int:
        """Throw away what is under any of these tags, or all of it; returns how many answers went."""
        shelf = await self._open()
        dropped = await shelf.drop(self._tenant, tags=tags, kind="value" if self._url or self._store else None)
        if not tags and self._alike is not None:
            await self._alike.clear()
        return dropped

    def cached(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """The same function, but that it remembers. Its arguments and what it returns are JSON; errors are not kept."""
        name = f"{function.__module__}.{function.__qualname__}"

        @functools.wraps(function)
        async def remembering(*args: P.args, **kwargs: P.kwargs) -> T:
            shelf = await self._open()
            try:
                key = self._function_key(name, args, kwargs)
            except (TypeError, ValueError) as error:
                _log.warning("A call of %s has no key, and its answer is not kept: %s", name, error)
                return await function(*args, **kwargs)
            running = self._running.get(key)
            if running is None:
                text, place = _text_of(args, kwargs), self._place(name)
                work = self._run(shelf, key, text, place, lambda: function(*args, **kwargs))
                running = self._running[key] = asyncio.create_task(work)
                running.add_done_callback(lambda _: self._running.pop(key, None))
            return cast("T", await asyncio.shield(running))

        return remembering

    # -- doing it -----------------------------------------------------------------------------------------------------

    async def _open(self) -> Shelf:
        if self._shelf is None:
            await self.start()
        assert self._shelf is not None  # noqa: S101 - it was started
        return self._shelf

    def _key(self, question: object) -> bytes:
        said = question if self._generate is None else self._generate(question)
        return value_key(self._tenant, self._scope, "question", said)

    def _function_key(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        if self._generate is not None:
            return value_key(self._tenant, self._scope, name, self._generate(*args, **kwargs))
        return value_key(self._tenant, self._scope, name, args, kwargs)

    def _place(self, name: str = "") -> str:
        """Answers to questions of one function, or of one scope, are none to those of another."""
        return f"{self._tenant}\0{self._scope}\0{name}" if self._scope or name else self._tenant

    async def _found_by(self, embedder: Embedder) -> Alike:
        from corral.cache.semantic.alike import Alike  # noqa: PLC0415 - it needs numpy

        alike = Alike(
            embedder,
            tenant=self._tenant,
            store=None if self._stores is None else self._stores.semantic,
            ttl_s=self._ttl_s,
            entries_max=self._settings.entries_max,
            clock=self._clock,
        )
        await alike.start()
        return alike

    async def _run(self, shelf: Shelf, key: bytes, text: str | None, place: str, work: Callable[[], Awaitable[T]]) -> T:
        answers = await self._find(shelf, key, text, place)
        if answers:
            return cast("T", answers[0])
        answer = await work()
        await self._keep(shelf, key, text, place, answer, None, ())
        return answer

    async def _find(self, shelf: Shelf, key: bytes, text: str | None, place: str) -> list[Any]:
        """The answer, if there is one: it may be nothing itself."""
        kept = await shelf.find(self._tenant, key)
        if kept is None and self._similar is not None and text:
            like = await self._similar.nearest(place, text, threshold=self._threshold)
            kept = None if like is None else await shelf.find(self._tenant, like)
        if kept is None:
            shelf.counting.looked("values", "miss")
            shelf.count(self._tenant, "value", misses=1)
            return []
        shelf.counting.looked("values", "hit")
        shelf.count(self._tenant, "value", hits=1, used=key)
        return [_decode(unpacked(kept.value))]

    async def _keep(
        self,
        shelf: Shelf,
        key: bytes,
        text: str | None,
        place: str,
        answer: object,
        ttl: float | None,
        tags: tuple[str, ...],
    ) -> bool:
        generation = shelf.generation(self._tenant)
        try:
            value = packed(_encode(answer))
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            _log.warning("An answer is no JSON, and is not kept: %s", error)
            return False
        if value is None or generation is None:
            return False
        ttl_s = self._ttl_s if ttl is None else ttl
        draft = EntryDraft(key=key, value=value, kind="value", ttl_s=ttl_s, tags=tags, generation=generation)
        kept = shelf.keep(self._tenant, draft)
        if kept and self._similar is not None and text:
            await self._similar.add(place, text, key)
        return kept


def _embedder_of(similar: str | Vectors | Likeness | None) -> Embedder | None:
    """What places texts; none: there is nothing, or something that finds questions by itself. Raises `ConfigError`."""
    if similar is None or hasattr(similar, "nearest") or not (isinstance(similar, str) or callable(similar)):
        return None
    try:
        from corral.cache.semantic.alike import FunctionEmbedder  # noqa: PLC0415 - it needs numpy
        from corral.cache.semantic.embedders import open_embedder  # noqa: PLC0415 - as above
        from corral.cache.semantic.onnx import check_packages  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise ConfigError(f"`similar` needs the package {error.name}: install corral[embeddings].") from None
    if isinstance(similar, str):
        return open_embedder(similar, _ask_service, said_as="similar")
    check_packages("similar")
    return FunctionEmbedder(similar)


async def _ask_service(call: EmbedCall) -> EmbedReply:
    """The models of the service that runs here; rooms of one band meet where they are wired."""
    connected: Any = importlib.import_module("corral.models.connected").connected()
    return cast("EmbedReply", await connected.embed(call))


def _url_of(backend: str, url: str) -> str:
    if backend == "memory":
        return ""
    if url:
        return url
    if backend not in _USUAL:
        raise ConfigError(f"The backend {backend!r} needs a `url`; `memory`, `sqlite` and `redis` have a usual one.")
    return _USUAL[backend]


def _text(question: object) -> str | None:
    """What can be compared by meaning: a question in words."""
    return question if isinstance(question, str) else None


def _text_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Of a function with one argument, that."""
    words = [*args, *kwargs.values()]
    return _text(words[0]) if len(words) == 1 else None
