"""Writes down what calls cost: in groups, off the road of the calls, and without ever stopping one."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from corral.behind import Behind
from corral.limits.store import LedgerEntry, LedgerStore

_log = logging.getLogger("corral.limits")

PENDING_MAX = 50_000
"""Entries that wait for the store; more than that are counted, and lost."""
_EVERY_S = 0.1
"""An entry is in the store about so long after its call was over."""


def ledger_on(
    store: LedgerStore, *, chance: Callable[[], float] = random.random, pending_max: int = PENDING_MAX
) -> Behind[LedgerEntry]:
    """The line in which entries stand until this store has them. Writing one twice counts once."""
    return Behind(
        store.write,
        name="The ledger",
        log=_log,
        every_s=_EVERY_S,
        pending_max=pending_max,
        chance=chance,
    )
