"""What is known of each route, and what follows from it: from which likeness on it may serve, or that it may not yet, or no more."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from corral.cache.semantic import calibration
from corral.cache.semantic.calibration import Threshold
from corral.cache.semantic_store import Evidence, Route, SemanticStore
from corral.errors import CorralError

_log = logging.getLogger("corral.cache")

_FRESH_S = 1.0
"""For so long what was read is not read again: another worker's evidence counts here that much later."""
_ROUTES_MAX = 1_000
_WRONG_MIN = 2
_SURE = 0.99
"""Beginning anew is dear, and audits are looked at again and again: it takes more than a likely doubt."""
_NEVER = float("-inf")


class _Known(msgspec.Struct):
    threshold: Threshold | None = None
    read_at: float = _NEVER
    reading: asyncio.Task[None] | None = None


class Verdicts:
    """Thresholds of routes, read anew from the store about once a second while they are in use."""

    def __init__(
        self, store: SemanticStore, *, error_rate: float, now: Callable[[], float], fell_back: Callable[[], None]
    ) -> None:
        self._store = store
        self._error_rate = error_rate
        self._now = now
        self._fell_back = fell_back
        self._known: OrderedDict[tuple[str, bytes], _Known] = OrderedDict()

    async def threshold(self, tenant: str, route: Route) -> Threshold | None:
        """From which likeness on answers may be served; none: from none. Waits only for the first reading."""
        key = (tenant, route.key)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Known()
            while len(self._known) > _ROUTES_MAX:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        if self._now() - known.read_at >= _FRESH_S and known.reading is None:
            known.reading = asyncio.create_task(self._read(tenant, route, known), name="corral-semantic-evidence")
        if known.read_at == _NEVER and known.reading is not None:
            await asyncio.wait([known.reading])
        return known.threshold

    def soon(self, tenant: str, route: Route) -> None:
        """There is new evidence: look at it the next time."""
        known = self._known.get((tenant, route.key))
        if known is not None and known.read_at != _NEVER:
            known.read_at = self._now() - _FRESH_S

    async def stop(self) -> None:
        """Leave what is being read."""
        reading = [known.reading for known in self._known.values() if known.reading is not None]
        for task in reading:
            task.cancel()
        if reading:
            await asyncio.wait(reading)
        self._known.clear()

    async def _read(self, tenant: str, route: Route, known: _Known) -> None:
        try:
            known.threshold = await self._judge(tenant, route, before=known.threshold)
        except CorralError as error:
            known.threshold = None  # what cannot be shown to be right is not served
            _log.warning("The evidence for kept answers cannot be read, and none is served: %s", error)
        finally:
            known.read_at = self._now()
            known.reading = None

    async def _judge(self, tenant: str, route: Route, *, before: Threshold | None) -> Threshold | None:
        evidence = await self._store.evidence(tenant, route.key)
        broken = broken_bound(evidence, self._error_rate)
        if broken:
            await self._store.restart(tenant, route, broken)
            _log.warning(
                "Answers of %s by meaning are no longer served to %s, and gather evidence anew: %s.",
                route.model,
                tenant,
                broken,
            )
            self._fell_back()
            return None
        threshold = calibration.loosest(evidence.bins, self._error_rate)
        if before is not None and threshold is None:
            _log.warning(
                "Answers of %s by meaning are not served to %s for now: the evidence no longer allows it.",
                route.model,
                tenant,
            )
            self._fell_back()
        return threshold


def broken_bound(evidence: Evidence, error_rate: float) -> str:
    """Why a route must begin anew: too many of the answers that were served and audited were wrong. Empty: it need not."""
    audits, wrong = evidence.audits, evidence.audits_wrong
    if wrong >= _WRONG_MIN and calibration.lower_bound(wrong, audits, _SURE) > error_rate:
        return f"{wrong} of {audits} audited answers were wrong, and {error_rate:.1%} may be"
    return ""
