"""The port of this room: where finished spans are kept so that a person can look at a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One timed piece of work. Attribute names follow OpenTelemetry's conventions."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    """`server`, `internal`, `client`, `producer` or `consumer`."""
    tenant: str
    started_at: float
    duration_s: float
    status: str
    """`ok` or `error`."""
    attributes: dict[str, Any]


class SpanStore(Protocol):
    """Spans, written in batches off the hot path, read by trace."""

    async def write(self, spans: Sequence[Span]) -> None:
        """Keep these spans. A span written twice is kept once."""
        ...

    async def trace(self, tenant: str, trace_id: str) -> list[Span]:
        """All spans of a trace, in order of start."""
        ...

    async def recent(self, tenant: str, *, limit: int = 50) -> list[Span]:
        """The latest root spans (those without a parent in the store), newest first."""
        ...

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Sweep at most `limit` spans that started before `before`; returns how many went."""
        ...
