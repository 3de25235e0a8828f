"""`/v1/cache/semantic`: what answers by meaning are worth, and throwing them away. The tenant is always the credential's."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from corral.cache.semantic.status import status_of
from corral.cache.semantic_store import SemanticStore
from corral.errors import ValidationFailed
from corral.server.http import Request
from corral.server.routes import Answer, Param, Route
from corral.settings.model_sections import SemanticCacheSettings

_TAGS_MAX = 100
_COUNT = {"type": "integer", "minimum": 0}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_BETWEEN = {"type": "array", "items": _SHARE, "minItems": 2, "maxItems": 2}
_TEXT = {"type": "string"}


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields)}


_ROUTE = _object(
    route=_TEXT,
    model=_TEXT,
    embedder=_TEXT,
    hits=_COUNT,
    misses=_COUNT,
    saved_usd={"type": "number", "minimum": 0},
    serving={"type": "boolean"},
    threshold={"type": ["number", "null"], "description": "From which likeness on answers are served, or would be."},
    labels=_COUNT,
    wrong=_COUNT,
    wrong_between={
        **_BETWEEN,
        "description": "Where the true share of wrong answers lies (Clopper-Pearson, 5 % at each end).",
    },
    labels_needed=_COUNT,
    audits=_COUNT,
    audits_wrong=_COUNT,
    audits_wrong_between=_BETWEEN,
    since={"type": "number", "description": "When evidence began anew; 0: never."},
    reason=_TEXT,
)
_WRONG = _object(
    at={"type": "number"},
    route=_TEXT,
    score={"type": "number"},
    audited={"type": "boolean"},
    question=_TEXT,
    kept=_TEXT,
)
_STATUS = _object(
    mode={"enum": ["off", "shadow", "serve", "fixed"]},
    error_rate=_SHARE,
    audit_share=_SHARE,
    answers=_COUNT,
    routes={"type": "array", "items": _ROUTE},
    last_wrong={"type": "array", "items": _WRONG},
)


class SemanticRoutes:
    """Handlers of `/v1/cache/semantic`."""

    def __init__(self, store: SemanticStore, settings: SemanticCacheSettings) -> None:
        """Reads `store`, and says what follows under these settings."""
        self._store = store
        self._settings = settings

    def routes(self) -> list[Route]:
        """Both of them."""
        return [
            Route(
                method="GET",
                path="/v1/cache/semantic",
                needs="developer",
                handler=self.show,
                tag="cache",
                summary="What your tenant's answers by meaning are worth: evidence, thresholds, the last wrong ones",
                answers={200: Answer("How it stands", _STATUS)},
            ),
            Route(
                method="DELETE",
                path="/v1/cache/semantic",
                needs="developer",
                handler=self.clear,
                tag="cache",
                summary="Throw your tenant's answers by meaning away: those under any of these tags, or all; evidence stays",
                params=(
                    Param(
                        "tag",
                        description="Only answers under this tag; may be given several times.",
                        schema={"type": "string", "minLength": 1},
                    ),
                ),
                answers={200: Answer("How many went", _object(cleared=_COUNT))},
            ),
        ]

    async def show(self, request: Request) -> None:
        """`GET /v1/cache/semantic`."""
        found = await status_of(self._store, self._settings, request.context.tenant)
        wrong = [
            {
                "at": one.at,
                "route": one.route.hex(),
                "score": one.score,
                "audited": one.audited,
                "question": one.question,
                "kept": one.kept,
            }
            for one in found.last_wrong
        ]
        content = {name: getattr(found, name) for name in found.__struct_fields__}
        await request.respond_json({**content, "last_wrong": wrong})

    async def clear(self, request: Request) -> None:
        """`DELETE /v1/cache/semantic`. A misspelt parameter must not clear more than was meant."""
        raw: bytes = request.scope.get("query_string", b"")
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True) if raw else []
        unknown = sorted({name for name, _ in pairs} - {"tag"})
        if unknown:
            raise ValidationFailed(f"There is no parameter {unknown[0][:100]!r} here; say `tag`, or nothing.")
        tags = [text for _, text in pairs]
        if len(tags) > _TAGS_MAX or "" in tags:
            raise ValidationFailed(f"Give at most {_TAGS_MAX} tags, none of them empty.")
        await request.respond_json({"cleared": await self._store.drop(request.context.tenant, tags=tags)})
