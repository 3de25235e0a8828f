"""The numbers of the tiers: `corral_sessions_tier_*`."""

from __future__ import annotations

from corral.observability.metrics import Metrics
from corral.sessions.event import TierCounts
from corral.sessions.hot import Hot


class TierCounting:
    """Counts what is moved, and shows how much is where."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        m = metrics
        self._moved = m.counter("corral_sessions_tier_moved_events_total", "Events that were moved, by where to.", "to")
        self._moved_bytes = m.counter(
            "corral_sessions_tier_moved_bytes_total", "Bytes of the objects they were moved in, compressed.", "to"
        )
        self._reads = m.counter(
            "corral_sessions_tier_hot_total", "Reads of newest events, by `hit` or `miss`.", "outcome"
        )
        self._sessions = m.gauge(
            "corral_sessions_tier_sessions", "Sessions with events there.", "tier", of_workers="highest"
        )
        self._events = m.gauge("corral_sessions_tier_events", "Events that are there.", "tier", of_workers="highest")
        self._bytes = m.gauge(
            "corral_sessions_tier_bytes", "Bytes that are there; `warm` is estimated.", "tier", of_workers="highest"
        )
        self._hot_bytes = m.gauge("corral_sessions_tier_hot_bytes", "Memory that holds newest events.")
        self._hot_sessions = m.gauge("corral_sessions_tier_hot_sessions", "Sessions whose newest events are in memory.")

    def moved(self, to: str, events: int, size: int) -> None:
        """Events went to the archive (`cold`) or came back (`warm`)."""
        self._moved.value(to).inc(events)
        self._moved_bytes.value(to).inc(size)

    def show(self, counts: TierCounts | None, hot: Hot) -> None:
        """How much is where now; without counts only what this process itself holds."""
        self._reads.value("hit").value = hot.hits
        self._reads.value("miss").value = hot.misses
        self._hot_bytes.value().set(hot.bytes)
        self._hot_sessions.value().set(len(hot))
        if counts is None:
            return
        for tier in ("warm", "cold"):
            self._sessions.value(tier).set(getattr(counts, f"{tier}_sessions"))
            self._events.value(tier).set(getattr(counts, f"{tier}_events"))
            self._bytes.value(tier).set(getattr(counts, f"{tier}_bytes"))
