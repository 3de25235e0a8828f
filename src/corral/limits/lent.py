"""What a service lends to limiters that its agents make themselves: the store that all its workers share."""

from __future__ import annotations

import asyncio

import msgspec

from corral.here import Here
from corral.limits.store import LimitStore


class Lent(msgspec.Struct, frozen=True):
    """A store that is open, and the loop that it is used on."""

    store: LimitStore
    loop: asyncio.AbstractEventLoop
    workers: int = 1


here: Here[Lent] = Here("corral_limits")
