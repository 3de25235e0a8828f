"""Limits on functions of your own: `RateLimiter`, for handlers, for agents, and for programs that use nothing else of Corral.

limiter = RateLimiter(limits={"free_tier": {"requests_per_minute": 10, "tokens_per_day": 50_000}}, backend="redis")

@limiter.limit
async def handler(payload, context): ...
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from corral.clock import SYSTEM_CLOCK, Clock
from corral.context import Context, find_context
from corral.errors import ConfigError
from corral.limits.lent import Lent, here
from corral.limits.meter import Meter, metered
from corral.limits.rates import Admission, Rates
from corral.limits.rules import RateRule, Visitor, rules_of, visitor_of

if TYPE_CHECKING:
    from corral.limits.store import LimitStore

F = TypeVar("F", bound=Callable[..., Any])
Who = Callable[..., Visitor]

_REDIS = ("redis://", "rediss://", "unix://")
_SYNC_S = 30.0
_END: Any = object()


class RateLimiter:
    """Any mix of limits. May be used from every loop and thread; what it counts, it counts on one of them."""

    def __init__(
        self,
        rules: Sequence[RateRule] = (),
        *,
        limits: Mapping[str, Mapping[str, Any]] | None = None,
        backend: str = "",
        url: str = "",
        who: Who | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`limits` by name: those of `free_tier` are for the tier `free`; `by`, `only` and `when_down` may be said as well.

        `backend`: `memory` counts in this process alone; `redis` in Redis or Valkey at `url` (else the setting `store.hot`); the
        address of a store (`redis://…`, `sqlite:///…`, `postgresql://…`) there. Without one: where the service keeps its own
        limits, and in memory outside of a service. `who` makes the visitor out of what a handler is called with; without it the
        request says it. Raises `ConfigError`.
        """
        self.rules = [*rules, *(rules_of(limits) if limits else ())]
        self._backend = backend
        self._url = url
        self._who = who
        self._clock = clock
        self._home: asyncio.AbstractEventLoop | None = None
        self._lent: Lent | None = None
        self._rates: Rates | None = None
        self._close: Callable[[], Any] | None = None
        self._opening = asyncio.Lock()
        self._thread = threading.Lock()
        if backend not in {"", "memory", "redis", "valkey"} and "://" not in backend:
            raise ConfigError(
                f"`backend` is memory, redis, or the address of a store such as redis://host:6379/0, not {backend!r}."
            )

    async def admit(self, visitor: Visitor | None = None, *, tokens: float = 1.0) -> Admission:
        """Let one request in; `settle` on what it returns says how many tokens it took. Raises `RateExceeded`."""
        who = visitor or visitor_of(find_context())
        home = self._at_home()
        if home is asyncio.get_running_loop():
            return await self._admit(who, tokens)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._admit(who, tokens), home))

    def limit(self, handler: F) -> F:
        """Have a handler called only as often as its caller may: who that is says the request it runs in.

        For `async def` and `def`, with `yield` and without: also for what `@app.entrypoint` registers. Tokens of the models that
        are asked in it count when it is over.
        """
        if inspect.isasyncgenfunction(handler):

            @functools.wraps(handler)
            async def streamed(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                admission, meter = await self.admit(self._visitor(args, kwargs)), Meter()
                pieces = handler(*args, **kwargs)
                try:
                    while True:
                        with metered(meter):  # piece by piece: between them others run in this context
                            piece = await anext(pieces, _END)
                        if piece is _END:
                            return
                        yield piece
                finally:
                    await pieces.aclose()
                    self._settle(admission, meter)

            return cast("F", streamed)
        if inspect.iscoroutinefunction(handler):

            @functools.wraps(handler)
            async def limited(*args: Any, **kwargs: Any) -> Any:
                admission, meter = await self.admit(self._visitor(args, kwargs)), Meter()
                try:
                    with metered(meter):
                        return await handler(*args, **kwargs)
                finally:
                    self._settle(admission, meter)

            return cast("F", limited)
        return cast("F", self._limited_plain(handler))

    def _limited_plain(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """The same for functions that are called in threads."""
        if inspect.isgeneratorfunction(handler):

            @functools.wraps(handler)
            def iterated(*args: Any, **kwargs: Any) -> Iterator[Any]:
                admission, meter = self._admit_here(self._visitor(args, kwargs)), Meter()
                pieces = handler(*args, **kwargs)
                try:
                    while True:
                        with metered(meter):
                            piece = next(pieces, _END)
                        if piece is _END:
                            return
                        yield piece
                finally:
                    pieces.close()
                    self._settle(admission, meter)

            return iterated

        @functools.wraps(handler)
        def called(*args: Any, **kwargs: Any) -> Any:
            admission, meter = self._admit_here(self._visitor(args, kwargs)), Meter()
            try:
                with metered(meter):
                    return handler(*args, **kwargs)
            finally:
                self._settle(admission, meter)

        return called

    async def stop(self) -> None:
        """Give back what was taken in advance, and close the store if it is this limiter's own. May be called twice."""
        rates, self._rates = self._rates, None
        close, self._close = self._close, None
        if rates is not None:
            await rates.stop()
        if close is not None:
            await close()

    # -- inside

    def _visitor(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Visitor:
        if self._who is not None:
            return self._who(*args, **kwargs)
        given = (one for one in (*args, *kwargs.values()) if isinstance(one, Context))
        return visitor_of(find_context() or next(given, None))

    def _settle(self, admission: Admission, meter: Meter) -> None:
        """What models took in it counts as soon as it is over; what was asked elsewhere, nobody here knows of."""
        if meter.tokens and self._home is not None:
            with contextlib.suppress(RuntimeError):  # a loop that is closed counts nothing any more
                self._home.call_soon_threadsafe(admission.settle, meter.tokens)

    def _admit_here(self, visitor: Visitor) -> Admission:
        """For plain functions, which run in threads."""
        with self._thread:
            home = self._at_home(in_thread=True)
        try:
            if asyncio.get_running_loop() is home:
                raise ConfigError(
                    "A plain function with a limit is called in a thread: make it `async def`, or call it so."
                )
        except RuntimeError:  # no loop runs in this thread
            pass
        return asyncio.run_coroutine_threadsafe(self._admit(visitor, 1.0), home).result(_SYNC_S)

    def _at_home(self, *, in_thread: bool = False) -> asyncio.AbstractEventLoop:
        """The loop that counts: the service's where its store is used, else the first that asked, while it runs."""
        lent = None if self._backend else here.find()
        if lent is not None:
            home = lent.loop
            if lent is not self._lent:  # another service has begun
                self._home = None
            self._lent = lent
        elif self._home is not None and self._home.is_running():
            return self._home
        elif in_thread:
            home = asyncio.new_event_loop()
            threading.Thread(target=home.run_forever, name="corral-limits", daemon=True).start()
        else:
            home = asyncio.get_running_loop()
        if home is not self._home:
            self._home, self._rates, self._close, self._opening = home, None, None, asyncio.Lock()
        return home

    async def _admit(self, visitor: Visitor, tokens: float) -> Admission:
        rates = self._rates
        if rates is None:
            async with self._opening:
                rates = self._rates or await self._open()
        return await rates.admit(visitor, tokens=tokens)

    async def _open(self) -> Rates:
        lent = None if self._backend else here.find()
        store = lent.store if lent is not None else await self._open_store()
        self._rates = Rates(self.rules, store=store, workers=1 if lent is None else lent.workers, clock=self._clock)
        return self._rates

    async def _open_store(self) -> LimitStore | None:
        backend = self._backend
        if backend in {"", "memory"}:
            return None
        url = backend if "://" in backend else self._url or await asyncio.to_thread(_hot_url)
        if url.startswith(_REDIS):
            try:
                from corral.backends.redis.limits import RedisLimits  # noqa: PLC0415 - redis is an extra
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"Limits in Redis need the package {error.name}: install corral[redis], or take another `backend`."
                ) from None
            store = RedisLimits(url)
            store.start()
            self._close = store.stop
            return store
        from corral.backends.open import open_stores  # noqa: PLC0415 - few keep limits in a store of their own

        stores = open_stores(url)
        await stores.start()
        self._close = stores.stop
        return stores.limits


def _hot_url() -> str:
    from corral.settings.load import load_settings  # noqa: PLC0415 - only who names no address reads settings

    url = load_settings().settings.store.hot
    if not url:
        raise ConfigError(
            '`backend="redis"` needs an address: pass `url=`, or set `store.hot` (environment `CORRAL_STORE_HOT`).'
        )
    return url
