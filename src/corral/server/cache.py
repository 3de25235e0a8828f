"""`/v1/cache`: what is kept of models' answers, and throwing it away. The tenant is always the credential's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl

from corral.cache.store import KINDS, Kind, KindStats
from corral.errors import ValidationFailed
from corral.server.http import Request
from corral.server.routes import Answer, Param, Route

_TAGS_MAX = 100
_STATS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"enum": list(KINDS)},
        "entries": {"type": "integer", "minimum": 0},
        "bytes": {"type": "integer", "minimum": 0},
        "hits": {"type": "integer", "minimum": 0},
        "misses": {"type": "integer", "minimum": 0},
        "saved_usd": {"type": "number", "minimum": 0, "description": "What kept answers had cost when they were new."},
    },
    "required": ["kind", "entries", "bytes", "hits", "misses", "saved_usd"],
}


class Clearing(Protocol):
    """What these addresses need of the cache."""

    async def stats(self, tenant: str) -> list[KindStats]:
        """As `CacheStore.stats`."""
        ...

    async def drop(self, tenant: str, *, tags: Sequence[str] = (), kind: Kind | None = None) -> int:
        """As `CacheStore.drop`."""
        ...


class ByMeaning(Protocol):
    """Where else answers are kept."""

    async def drop(self, tenant: str, *, tags: Sequence[str] = ()) -> int:
        """As `SemanticStore.drop`."""
        ...


class CacheRoutes:
    """Handlers of `/v1/cache`."""

    def __init__(self, cache: Clearing, *, by_meaning: ByMeaning | None = None) -> None:
        """Asks `cache`. Answers that are found `by_meaning` go with the others."""
        self._cache = cache
        self._by_meaning = by_meaning

    def routes(self) -> list[Route]:
        """Both of them."""
        return [
            Route(
                method="GET",
                path="/v1/cache",
                needs="developer",
                handler=self.show,
                tag="cache",
                summary="How much is kept of your tenant's answers, and what it was good for",
                answers={
                    200: Answer(
                        "One item for each kind that was ever used",
                        {
                            "type": "object",
                            "properties": {"items": {"type": "array", "items": _STATS}},
                            "required": ["items"],
                        },
                    )
                },
            ),
            Route(
                method="DELETE",
                path="/v1/cache",
                needs="developer",
                handler=self.clear,
                tag="cache",
                summary="Throw your tenant's kept answers away: those under any of these tags, or all",
                params=(
                    Param(
                        "tag",
                        description="Only entries under this tag; may be given several times.",
                        schema={"type": "string", "minLength": 1},
                    ),
                    Param("kind", description="Only entries of this kind.", schema={"enum": list(KINDS)}),
                ),
                answers={
                    200: Answer(
                        "How many went",
                        {
                            "type": "object",
                            "properties": {"cleared": {"type": "integer", "minimum": 0}},
                            "required": ["cleared"],
                        },
                    )
                },
            ),
        ]

    async def show(self, request: Request) -> None:
        """`GET /v1/cache`."""
        await request.respond_json({"items": await self._cache.stats(request.context.tenant)})

    async def clear(self, request: Request) -> None:
        """`DELETE /v1/cache`. A misspelt parameter must not clear more than was meant."""
        raw: bytes = request.scope.get("query_string", b"")
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True) if raw else []
        unknown = sorted({name for name, _ in pairs} - {"tag", "kind"})
        if unknown:
            raise ValidationFailed(f"There is no parameter {unknown[0][:100]!r} here; say `tag`, `kind`, or nothing.")
        tags = [text for name, text in pairs if name == "tag"]
        kind = request.query.get("kind")
        if kind is not None and kind not in KINDS:
            raise ValidationFailed(f"There is no kind {kind[:100]!r}; take one of {', '.join(KINDS)}.")
        if len(tags) > _TAGS_MAX or "" in tags:
            raise ValidationFailed(f"Give at most {_TAGS_MAX} tags, none of them empty.")
        cleared = await self._cache.drop(request.context.tenant, tags=tags, kind=kind)
        if self._by_meaning is not None and kind in {None, "answer"}:
            cleared += await self._by_meaning.drop(request.context.tenant, tags=tags)
        await request.respond_json({"cleared": cleared})
