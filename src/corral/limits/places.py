"""How much may run at the same time for one session, user, key or tenant: places, counted by all workers together.

What runs is kept under the worker it runs in, and is gone a lease after that worker died.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import CorralError, StoreUnavailable
from corral.limits.allowance import WhenDown
from corral.limits.link import Link
from corral.limits.rate_counting import RateCounting
from corral.limits.rates import LimitsUnavailable
from corral.limits.rules import Visitor
from corral.limits.store import LimitStore, Shared

Per = Literal["session", "user", "key", "tenant"]

_LEASE_S = 10.0
_TRIES = 50
_LOOK_S = 0.25
"""Who waits looks so often whether a place is free in another worker; of this one's own it is told."""


class TooManyAtOnce(CorralError):
    """As many requests of yours run as may run at the same time."""

    status = 429
    code = "concurrency_exceeded"
    retryable = True


class Taken(msgspec.Struct, array_like=True):
    """How many places the workers have, and until when: by the id of the worker."""

    by: dict[str, tuple[int, float]] = {}


_decode = msgspec.msgpack.Decoder(Taken).decode
_encode = msgspec.msgpack.Encoder().encode


def changed(there: Taken, holder: str, count: int, *, limit: int, now: float, lease_s: float) -> tuple[Taken, bool]:
    """What all know after one worker wants `count` places, and whether it may have them; with fewer it always may."""
    by = {name: part for name, part in there.by.items() if part[1] > now}
    mine = by.pop(holder, (0, 0.0))[0]
    if count > mine and sum(part[0] for part in by.values()) + count > limit:
        count, fits = mine, False
    else:
        fits = True
    if count:
        by[holder] = (count, now + lease_s)
    return Taken(by), fits


class _Place:
    """One session's, user's, key's or tenant's places, as one worker has them."""

    __slots__ = ("free", "known", "known_at", "lock", "most", "told", "used", "wanted")

    def __init__(self, most: int) -> None:
        self.most = most
        self.wanted = 0
        """By how many at present."""
        self.used = 0
        self.told = 0
        """What the others know of."""
        self.known: Shared | None = None
        self.known_at = 0.0
        self.lock = asyncio.Lock()
        self.free = asyncio.Event()


class Stay:
    """What runs, and which places it has."""

    __slots__ = ("_leave", "_places")

    def __init__(self, leave: Callable[[str], None]) -> None:
        """Made by `Places.enter`."""
        self._leave = leave
        self._places: list[str] = []

    def has(self, key: str) -> None:
        """It got this place as well."""
        self._places.append(key)

    def leave(self) -> None:
        """It is over. Leaving twice is leaving once."""
        places, self._places = self._places, []
        for key in places:
            self._leave(key)


class Places:
    """Used on one loop. Without a store, each worker counts alone."""

    def __init__(
        self,
        most: Mapping[Per, int],
        *,
        store: LimitStore | None = None,
        wait_s: float = 0.0,
        when_down: WhenDown = "local",
        workers: int = 1,
        counting: RateCounting | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`most` of each; who comes when all are taken waits for so long. While the store is away, each worker has its part."""
        self._most = dict(most)
        self._wait_s = wait_s
        self._when_down = when_down
        self._counting = counting
        self._clock = clock
        self._holder = new_id()
        failed = (lambda: None) if counting is None else counting.store_failed
        self._link = None if store is None else Link(store, clock, workers=workers, failed=failed)
        self._places: dict[str, _Place] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewer: asyncio.Task[None] | None = None

    async def enter(self, visitor: Visitor) -> Stay:
        """Take a place of each that counts for this one. Raises `TooManyAtOnce`, `LimitsUnavailable`."""
        stay = Stay(self._leave)
        until = self._clock.monotonic() + self._wait_s
        try:
            for per, most in self._most.items():
                key = _key_of(per, visitor)
                if key is not None:
                    await self._take(key, per, most, until)
                    stay.has(key)
        except BaseException:
            stay.leave()
            raise
        return stay

    async def stop(self) -> None:
        """Tell the others what has ended. Stopping twice is stopping once."""
        renewer, self._renewer = self._renewer, None
        if renewer is not None:
            renewer.cancel()
            await asyncio.wait([renewer])
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def running(self) -> int:
        """Keys of which something runs here."""
        return len(self._places)

    # -- inside

    async def _take(self, key: str, per: Per, most: int, until: float) -> None:
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(most)
        place.wanted += 1
        try:
            while not await self._taken(key, place):
                left = until - self._clock.monotonic()
                if left <= 0:
                    if self._counting is not None:
                        self._counting.busy(per)
                    raise TooManyAtOnce(
                        f"{most} requests of this {per} may run at the same time (`limits.concurrency.per_{per}`).",
                        retry_after_s=1.0,
                    )
                place.free.clear()
                await _first(place.free.wait(), min(left, _LOOK_S))
        finally:
            place.wanted -= 1
            self._forget(key, place)

    async def _taken(self, key: str, place: _Place) -> bool:
        """Whether there was one. Those of this worker come first: they cost nothing to know."""
        link = self._link
        if place.used >= place.most:
            return False
        if link is None:
            place.used += 1
            return True
        async with place.lock:
            if place.used >= place.most:
                return False
            place.used += 1
            fits = False
            try:
                # One that has just been left, and that the others still count, need not be asked for.
                fits = place.told >= place.used or await self._tell(key, place, link)
            except StoreUnavailable:
                fits = self._alone(place, link)
            finally:
                if not fits:
                    place.used -= 1
            return fits

    def _alone(self, place: _Place, link: Link) -> bool:
        if self._when_down == "closed":
            raise LimitsUnavailable(retry_after_s=1.0)
        return self._when_down == "open" or place.used <= max(1, int(place.most * link.part))

    def _leave(self, key: str) -> None:
        place = self._places[key]
        place.used -= 1
        place.free.set()
        if self._link is None:
            self._forget(key, place)
            return
        task = asyncio.get_running_loop().create_task(self._left(key, place, self._link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _left(self, key: str, place: _Place, link: Link) -> None:
        async with place.lock:
            if place.told > place.used:
                try:
                    await self._tell(key, place, link)
                except StoreUnavailable:
                    place.told = place.used  # its lease ends
        self._forget(key, place)

    def _forget(self, key: str, place: _Place) -> None:
        idle = not (place.used or place.told or place.wanted or place.lock.locked())
        if idle and self._places.get(key) is place:
            del self._places[key]

    async def _tell(self, key: str, place: _Place, link: Link) -> bool:
        """Have the others know how many run here; whether so many may. Raises `StoreUnavailable`."""
        monotonic, wanted = self._clock.monotonic, place.used
        is_fresh = place.known is None
        if place.known is None:
            place.known, place.known_at = await link.read(key), monotonic()
        for _ in range(_TRIES):
            known = place.known
            now = known.now + monotonic() - place.known_at
            there, fits = changed(_taken_of(known), self._holder, wanted, limit=place.most, now=now, lease_s=_LEASE_S)
            if not fits and is_fresh:
                return False
            if fits:
                done, place.known = await link.swap(key, known.version, _encode(there))
            else:
                done, place.known = False, await link.read(key)
            place.known_at, is_fresh = monotonic(), True
            if done:
                place.told = wanted
                if self._renewer is None:
                    self._renewer = asyncio.get_running_loop().create_task(self._renew(link))
                return True
        raise StoreUnavailable(f"The places {key!r} are changed by too many at once.")

    async def _renew(self, link: Link) -> None:
        while self._places:
            await asyncio.sleep(_LEASE_S / 3)
            for key, place in list(self._places.items()):
                async with place.lock:
                    if place.used:
                        await self._renewed(key, place, link)
        self._renewer = None

    async def _renewed(self, key: str, place: _Place, link: Link) -> None:
        try:
            await self._tell(key, place, link)
        except StoreUnavailable:
            place.known = None  # the lease outlasts two missed renewals


def _key_of(per: Per, visitor: Visitor) -> str | None:
    """Who names no user goes by the key; without a session, nothing is counted by session."""
    who: Sequence[str] = [getattr(visitor, per)]
    if per == "tenant":
        who = []
    elif per == "user":
        who = [visitor.user] if visitor.user else ["", visitor.key]
    elif not who[0]:
        return None
    said = repr((per, visitor.tenant, *who)).encode(errors="surrogatepass")
    return f"places:{hashlib.blake2b(said, digest_size=16).hexdigest()}"


def _taken_of(known: Shared) -> Taken:
    """What was not put there by us begins anew."""
    if not known.body:
        return Taken()
    try:
        return _decode(known.body)
    except msgspec.MsgspecError:
        return Taken()


async def _first(wait: Awaitable[object], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wait
    except TimeoutError:
        return
