"""What runs now, in all workers: each posts what takes long on a board that all can read, and takes orders to stop it.

Only while something runs for longer than a moment is anything written: what is short is over before anybody could stop it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import StoreUnavailable
from corral.runtime.board_store import BoardStore, Order
from corral.runtime.invocation import CancelReason, Invocation, Invocations

_log = logging.getLogger("corral.runtime")

_EVERY_S = 1.0
_FRESH_S = 5.0
"""A board that is older is that of a worker which died, or has nothing to say."""
_ORDERS_S = 30.0
_POSTED_MAX = 1_000
_DONE_MAX = 1_000


Kind = Literal["invocation", "call"]
"""A call is a question to a model that no agent of the house asks."""


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One invocation or call that runs."""

    tenant: str
    id: str
    agent: str
    user: str = ""
    session: str = ""
    model: str = ""
    """Which one is asked, of a call."""
    age_s: float = 0.0
    cost_usd: float | None = None
    kind: Kind = "invocation"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Of what runs, which: what is left empty does not matter."""

    tenant: str
    id: str = ""
    agent: str = ""
    user: str = ""
    session: str = ""
    model: str = ""
    kind: str = ""
    older_s: float = 0.0
    """Runs for at least so long."""

    def fits(self, item: Item) -> bool:
        """Whether it is one of these."""
        return (
            item.tenant == self.tenant
            and self.id in ("", item.id)
            and self.agent in ("", item.agent)
            and self.user in ("", item.user)
            and self.session in ("", item.session)
            and self.model in ("", item.model)
            and self.kind in ("", item.kind)
            and item.age_s >= self.older_s
        )


class Call(Protocol):
    """What runs here beside invocations, and can be stopped."""

    @property
    def started_at(self) -> float:
        """On the monotonic clock."""
        ...

    def item(self, now: float) -> Item:
        """What it is, at that moment of the monotonic clock."""
        ...

    def cancel(self, reason: CancelReason, /) -> None:
        """Stop it."""
        ...


_encode = msgspec.msgpack.Encoder().encode
_decode_items = msgspec.msgpack.Decoder(list[Item]).decode
_decode_wanted = msgspec.msgpack.Decoder(Wanted).decode


class Board:
    """That of one worker. Each step of its life may come twice."""

    def __init__(
        self,
        store: BoardStore,
        invocations: Invocations,
        calls: Iterable[Call] = (),
        *,
        clock: Clock = SYSTEM_CLOCK,
        every_s: float = _EVERY_S,
    ) -> None:
        """Posts what is in `invocations`, and in `calls`."""
        self._store = store
        self._invocations = invocations
        self._calls = calls
        self._clock = clock
        self._every_s = every_s
        self._worker = new_id()
        self._task: asyncio.Task[None] | None = None
        self._is_up = False
        self._done: deque[int] = deque(maxlen=_DONE_MAX)

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to look. Calling it again does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Take the board down. Calling it again does nothing."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if self._is_up:
            await self.post()

    # -- what is asked -----------------------------------------------------------------------------------------------

    async def find(self, wanted: Wanted) -> list[Item]:
        """What runs, here at once and elsewhere as it was a moment ago; the longest first."""
        found = [item for item in map(self._item, self._all()) if wanted.fits(item)]
        posted = await self._store.boards(within_s=_FRESH_S)
        now = max((board.at for board in posted), default=0.0)
        for board in posted:
            if board.worker != self._worker:
                items = (
                    msgspec.structs.replace(item, age_s=item.age_s + now - board.at)
                    for item in _decode_items(board.body)
                )
                found += [item for item in items if wanted.fits(item)]
        return sorted(found, key=lambda item: -item.age_s)

    def stop_here(self, wanted: Wanted) -> list[Item]:
        """Stop at once what runs in this worker and fits, whether the store answers or not. Returns what that was."""
        calls = [(call, self._item(call)) for call in self._all()]
        meant = [(call, item) for call, item in calls if wanted.fits(item)]
        for call, _ in meant:
            call.cancel("request")
        return [item for _, item in meant]

    async def stop_elsewhere(self, wanted: Wanted) -> None:
        """Ask all workers to stop what runs there and fits: they do in a moment."""
        await self._store.order(_encode(wanted))

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                if self._is_up or any(self._takes_long(call) for call in self._all()):
                    await self.post()
            except StoreUnavailable as error:
                _log.debug("What runs here cannot be posted: %s", error)

    async def post(self) -> None:
        """Say what runs here, and do what is asked."""
        calls = list(self._all())
        items = [self._item(call) for call in calls if type(call) is Invocation or self._takes_long(call)][:_POSTED_MAX]
        heard = await self._store.post(self._worker, _encode(items) if items else b"", orders_s=_ORDERS_S)
        self._is_up = bool(items)
        for order in heard.items:
            if order.number not in self._done:
                self._done.append(order.number)
                self._obey(order, calls, heard.now - order.at)

    def _obey(self, order: Order, calls: list[Invocation | Call], ago_s: float) -> None:
        wanted = _decode_wanted(order.body)
        for call in calls:
            item = self._item(call)
            then = msgspec.structs.replace(item, age_s=item.age_s - ago_s)
            if then.age_s >= 0 and wanted.fits(then):  # what began since then is not meant
                call.cancel("request")

    def _all(self) -> Iterator[Invocation | Call]:
        yield from self._invocations
        yield from self._calls

    def _age(self, call: Invocation | Call) -> float:
        return self._clock.monotonic() - call.started_at

    def _takes_long(self, call: Invocation | Call) -> bool:
        return self._age(call) >= self._every_s

    def _item(self, call: Invocation | Call) -> Item:
        if not isinstance(call, Invocation):
            return call.item(self._clock.monotonic())
        context = call.context
        return Item(
            tenant=context.tenant,
            id=context.request_id,
            agent=context.agent,
            user=context.user_id or "",
            session=context.session_id or "",
            age_s=max(0.0, self._age(call)),
        )
