"""`/v1/limits`: how a caller's limits stand, and beginning anew. The tenant is always the credential's."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import ValidationFailed
from corral.jobs.request import check_fields, fault
from corral.limits.rates import Passed, Rates
from corral.limits.rules import Visitor, visitor_of
from corral.messages import Audit, AuditEntry
from corral.runtime.payload import is_id
from corral.server.http import Request
from corral.server.routes import ID_PATTERN, Answer, Param, Route

_WORD_MAX = 256
_WORDS = {
    "user": "The user.",
    "session": "The session.",
    "key": "The key's id.",
    "tier": "The tier.",
    "agent": "The agent.",
    "model": "The model, as it is asked for.",
}
_WORD = {"type": "string", "minLength": 1, "maxLength": _WORD_MAX, "pattern": ID_PATTERN}
_LIMIT = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "unit": {"enum": ["requests", "tokens"]},
        "limit": {"type": "number"},
        "window_s": {"type": "number"},
        "by": {"type": "array", "items": {"type": "string"}},
        "remaining": {"type": "number"},
        "reset_s": {"type": "number", "description": "Nothing of what counts now counts any more after so long."},
    },
    "required": ["name", "unit", "limit", "window_s", "by", "remaining", "reset_s"],
}
_LIST = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": _LIMIT}},
    "required": ["items"],
}
_RESET = {
    "type": "object",
    "properties": {"reset": {"type": "array", "items": {"type": "string"}}},
    "required": ["reset"],
}


class LimitRoutes:
    """Handlers of `/v1/limits`."""

    def __init__(self, rates: Rates | None, audit: Audit | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Without `rates` there are no limits."""
        self._rates = rates
        self._audit = audit
        self._now = clock.now

    def routes(self) -> list[Route]:
        """All of them."""
        named = tuple(Param(name, description=text, schema=_WORD) for name, text in _WORDS.items())
        answers = {200: Answer("One item for each limit", _LIST)}
        return [
            Route(
                method="GET",
                path="/v1/limits",
                handler=self.own,
                tag="limits",
                summary="How your own limits stand: those of your key, and of the user and session in the headers",
                params=tuple(param for param in named if param.name in {"agent", "model"}),
                answers=answers,
            ),
            Route(
                method="GET",
                path="/v1/limits/of",
                handler=self.others,
                tag="limits",
                needs="operator",
                summary="How the limits stand of anybody in your tenant",
                params=named,
                answers=answers,
            ),
            Route(
                method="POST",
                path="/v1/limits/reset",
                handler=self.reset,
                tag="limits",
                needs="operator",
                summary="Forget what somebody in your tenant has used",
                body={"type": "object", "properties": dict.fromkeys(_WORDS, _WORD), "additionalProperties": False},
                answers={200: Answer("The limits that begin anew", _RESET)},
            ),
        ]

    async def own(self, request: Request) -> None:
        """`GET /v1/limits`."""
        given = _named(check_fields(dict(request.query), ("agent", "model")))
        own = {**msgspec.structs.asdict(visitor_of(request.context)), "agent": "", **given}
        await self._respond(request, Visitor(**own))

    async def others(self, request: Request) -> None:
        """`GET /v1/limits/of`."""
        given = _named(check_fields(dict(request.query), _WORDS))
        await self._respond(request, Visitor(tenant=request.context.tenant, **given))

    async def reset(self, request: Request) -> None:
        """`POST /v1/limits/reset`."""
        given = _named(check_fields(await request.json(), _WORDS))
        context = request.context
        named = [] if self._rates is None else await self._rates.reset(Visitor(tenant=context.tenant, **given))
        if self._audit is not None:
            entry = AuditEntry(
                id=new_id(),
                at=self._now(),
                tenant=context.tenant,
                action="limits.reset",
                subject=", ".join(f"{word}={text}" for word, text in given.items()) or "everybody",
                decision="done",
                actor=context.user_id or "",
                details={"limits": named},
            )
            self._audit(entry)
        await request.respond_json({"reset": named})

    async def _respond(self, request: Request, visitor: Visitor) -> None:
        stands = [] if self._rates is None else await self._rates.standing(visitor)
        await request.respond_json({"items": [shown(one) for one in stands]})


def shown(one: Passed) -> dict[str, Any]:
    """A limit as the API shows it."""
    rate = one.rule.rate
    return {
        "name": one.rule.name,
        "unit": rate.unit,
        "limit": rate.limit,
        "window_s": rate.window_s,
        "by": list(one.rule.by),
        "remaining": round(one.standing.remaining, 3),
        "reset_s": round(one.standing.reset_s, 3),
    }


def _named(given: dict[str, Any]) -> dict[str, str]:
    for word, text in given.items():
        if not isinstance(text, str):
            raise fault(f"/{word}", f"`{word}` is text.")
        if not is_id(text, _WORD_MAX):
            raise ValidationFailed(
                f"`{word}` is text of 1 to {_WORD_MAX} characters, none of them a control character."
            )
    return given
