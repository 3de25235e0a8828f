"""`/v1/costs`: what models cost, added up out of the ledger. The tenant is always the credential's."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, cast, get_args

from corral.errors import ValidationFailed
from corral.limits.store import Spend, SpendBy
from corral.server.http import Request
from corral.server.routes import Answer, Param, Route

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DIGITS_MAX = 9
_ITEMS_MAX = 1000
_TAG_CHARS_MAX = 200
_WAYS = [way for way in get_args(SpendBy) if way != "tag"]
_COUNT = {"type": "integer", "minimum": 0}
_SPEND: dict[str, Any] = {
    "type": "object",
    "properties": {
        "key": {
            "type": "string",
            "description": "The model, agent, …; days as `2026-11-21` (UTC); empty: those without.",
        },
        "cost_usd": {"type": "number", "minimum": 0, "description": "Of all calls whose price is known."},
        "calls": _COUNT,
        "cached": {**_COUNT, "description": "Answers that had been kept, which cost nothing."},
        "unpriced": {**_COUNT, "description": "Calls whose price is not known: they cost something all the same."},
        "input_tokens": _COUNT,
        "output_tokens": _COUNT,
    },
    "required": ["key", "cost_usd", "calls", "cached", "unpriced", "input_tokens", "output_tokens"],
}


class AddUp(Protocol):
    """What these addresses need: `Modelling.spend`."""

    def __call__(
        self, tenant: str, *, since_s: float, by: SpendBy, tag: str = "", limit: int = 100
    ) -> Awaitable[list[Spend]]:
        """What a tenant's calls of the last so many seconds took."""
        ...


class CostRoutes:
    """The handler of `/v1/costs`."""

    def __init__(self, add_up: AddUp) -> None:
        """Asks `add_up`."""
        self._add_up = add_up

    def routes(self) -> list[Route]:
        """It."""
        return [
            Route(
                method="GET",
                path="/v1/costs",
                needs="auditor",
                handler=self.show,
                tag="costs",
                summary="What your tenant's calls of models cost, added up, the dearest first",
                params=(
                    Param("by", description="What to add up by; `model` if left out.", schema={"enum": list(_WAYS)}),
                    Param(
                        "tag",
                        description="Add up by the values of this tag (`team`) instead.",
                        schema={"type": "string", "minLength": 1, "maxLength": _TAG_CHARS_MAX},
                    ),
                    Param(
                        "since",
                        description="How far back: `90m`, `24h`, `30d` (as if left out).",
                        schema={"type": "string", "pattern": "^[0-9]{1,9}[smhdw]$"},
                    ),
                    Param(
                        "limit",
                        description="So many items at most; 100 if left out.",
                        schema={"type": "integer", "minimum": 1, "maximum": _ITEMS_MAX},
                    ),
                ),
                answers={
                    200: Answer(
                        "One item for each",
                        {
                            "type": "object",
                            "properties": {
                                "by": {"enum": [*_WAYS, "tag"]},
                                "since": {"type": "string"},
                                "items": {"type": "array", "items": _SPEND},
                            },
                            "required": ["by", "since", "items"],
                        },
                    )
                },
            )
        ]

    async def show(self, request: Request) -> None:
        """`GET /v1/costs`."""
        query = request.query
        by, since, tag = query.get("by", "model"), query.get("since", "30d"), query.get("tag", "")
        if by not in _WAYS:
            raise ValidationFailed(f"There is nothing to add up by {by[:100]!r}; take one of {', '.join(_WAYS)}.")
        if "tag" in query:
            by = "tag"
            if not 0 < len(tag) <= _TAG_CHARS_MAX:
                raise ValidationFailed(f"`tag` is the name of a tag: 1 to {_TAG_CHARS_MAX} characters.")
        found = await self._add_up(
            request.context.tenant,
            since_s=seconds_of(since),
            by=cast("SpendBy", by),
            tag=tag,
            limit=_limit(query.get("limit", "100")),
        )
        await request.respond_json({"by": by, "since": since, "items": [shown(one) for one in found]})


def seconds_of(text: str) -> float:
    """`90m`, `24h` or `30d` in seconds. Raises `ValidationFailed`."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdigit()) or len(number) > _DIGITS_MAX:
        raise ValidationFailed(f"{text[:20]!r} is no span of time: write 90m, 24h or 30d.")
    return float(int(number) * _UNITS[unit])


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:6]) <= _ITEMS_MAX:
        raise ValidationFailed(f"`limit` is a whole number from 1 to {_ITEMS_MAX}.")
    return int(text[:6])


def shown(one: Spend) -> dict[str, Any]:
    """As it is told."""
    return {
        "key": one.key,
        "cost_usd": one.cost_usd,
        "calls": one.calls,
        "cached": one.cached,
        "unpriced": one.unpriced,
        "input_tokens": one.usage.input_tokens,
        "output_tokens": one.usage.output_tokens,
    }
