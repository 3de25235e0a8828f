"""`/v1/budgets`: how the budgets of one's tenant stand, and how much may be spent. The tenant is always the credential's."""

from __future__ import annotations

from typing import Any

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import ValidationFailed
from corral.jobs.request import check_fields
from corral.limits.accounts import Terms, amount_of
from corral.limits.budget_books import BudgetBooks, Line
from corral.messages import Audit, AuditEntry
from corral.server.http import Request, parse_json
from corral.server.job_query import whole_number
from corral.server.routes import Answer, Param, Route

_ITEMS_MAX = 1000
_ITEMS = 100
_WORD_MAX = 256
_USD_MAX = 1e9
_TOKENS_MAX = 10**15
_WORD = {"type": "string", "maxLength": _WORD_MAX}
_WHO = {**_WORD, "description": "The user, team, … it is counted for; empty: all share it."}
_AMOUNT = {"type": ["number", "null"], "description": "None: as much as one likes."}
_LINE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "budget": {"type": "string"},
        "who": _WHO,
        "period": {"type": "string", "description": "`2026-11`, `2026-11-21`; empty: for ever."},
        "limit_usd": _AMOUNT,
        "limit_tokens": _AMOUNT,
        "spent_usd": {"type": "number"},
        "spent_tokens": {"type": "integer"},
        "reserved_usd": {"type": "number", "description": "Set aside for calls in flight, and a little in advance."},
        "reserved_tokens": {"type": "integer"},
        "left_usd": _AMOUNT,
        "left_tokens": _AMOUNT,
        "used": {"type": "number", "description": "Which part of it is spent; of money or tokens, the greater."},
        "steps": {"type": "array", "items": {"type": "string"}, "description": "The steps that hold now."},
        "resets_at": {"type": ["number", "null"]},
        "changed": {"type": "boolean", "description": "An operator said how much, instead of the settings."},
    },
    "required": ["budget", "who", "period", "spent_usd", "spent_tokens", "used", "resets_at"],
}
_LIST = {"type": "object", "properties": {"items": {"type": "array", "items": _LINE}}, "required": ["items"]}
_SET = {
    "type": "object",
    "properties": {
        "who": _WHO,
        "usd": {"type": "number", "exclusiveMinimum": 0, "maximum": _USD_MAX},
        "tokens": {"type": "integer", "minimum": 1, "maximum": _TOKENS_MAX},
    },
    "additionalProperties": False,
}
_NAMED = {"type": "object", "properties": {"who": _WHO}, "additionalProperties": False}


class BudgetRoutes:
    """Handlers of `/v1/budgets`."""

    def __init__(self, books: BudgetBooks, audit: Audit | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Reads and changes `books`."""
        self._books = books
        self._audit = audit
        self._now = clock.now

    def routes(self) -> list[Route]:
        """All of them."""
        one = {200: Answer("How it stands now", _LINE), 404: Answer("There is no such budget")}
        return [
            Route(
                method="GET",
                path="/v1/budgets",
                handler=self.list_lines,
                tag="budgets",
                needs="auditor",
                summary="How your tenant's budgets stand: what is spent, set aside and left, and when they are whole again",
                params=(
                    Param("budget", description="Only this one.", schema=_WORD),
                    Param("after", description="Only those for whom is written after this.", schema=_WORD),
                    Param(
                        "limit",
                        description="So many items at most.",
                        schema={"type": "integer", "minimum": 1, "maximum": _ITEMS_MAX},
                    ),
                ),
                answers={200: Answer("One item for each that was used in this period", _LIST)},
            ),
            Route(
                method="PUT",
                path="/v1/budgets/{budget}",
                handler=self.set,
                tag="budgets",
                needs="operator",
                summary="Say how much may be spent, for one or for all, from now on",
                body=_SET,
                answers=one,
            ),
            Route(
                method="DELETE",
                path="/v1/budgets/{budget}",
                handler=self.unset,
                tag="budgets",
                needs="operator",
                summary="Let the settings say again how much may be spent",
                params=(Param("who", description="For whom.", schema=_WORD),),
                answers=one,
            ),
            Route(
                method="POST",
                path="/v1/budgets/{budget}/reset",
                handler=self.reset,
                tag="budgets",
                needs="operator",
                summary="Begin the period anew: nothing is spent yet",
                body=_NAMED,
                body_required=False,
                answers=one,
            ),
        ]

    async def list_lines(self, request: Request) -> None:
        """`GET /v1/budgets`."""
        given = check_fields(dict(request.query), ("budget", "after", "limit"))
        limit = whole_number(given, "limit", _ITEMS, low=1, high=_ITEMS_MAX)
        lines = await self._books.lines(
            request.context.tenant, _word(given, "budget"), after=_word(given, "after"), limit=limit
        )
        await request.respond_json({"items": [shown(line) for line in lines]})

    async def set(self, request: Request) -> None:
        """`PUT /v1/budgets/{budget}`."""
        given = check_fields(await request.json(), ("who", "usd", "tokens"))
        usd = _number(given, "usd", _USD_MAX, whole=False)
        tokens = _number(given, "tokens", _TOKENS_MAX, whole=True)
        terms = Terms(None if usd is None else amount_of(usd).nano, None if tokens is None else int(tokens))
        who = _word(given, "who")
        line = await self._books.set(request.context.tenant, request.params["budget"], who, terms)
        self._note(request, "budget.set", who, {"usd": usd, "tokens": tokens})
        await request.respond_json(shown(line))

    async def unset(self, request: Request) -> None:
        """`DELETE /v1/budgets/{budget}`."""
        who = _word(check_fields(dict(request.query), ("who",)), "who")
        line = await self._books.set(request.context.tenant, request.params["budget"], who, None)
        self._note(request, "budget.unset", who, {})
        await request.respond_json(shown(line))

    async def reset(self, request: Request) -> None:
        """`POST /v1/budgets/{budget}/reset`."""
        body = await request.body()
        who = _word(check_fields(parse_json(body, request.json_depth_max) if body else {}, ("who",)), "who")
        line = await self._books.reset(request.context.tenant, request.params["budget"], who)
        self._note(request, "budget.reset", who, {})
        await request.respond_json(shown(line))

    def _note(self, request: Request, action: str, who: str, details: dict[str, Any]) -> None:
        if self._audit is not None:
            context = request.context
            self._audit(
                AuditEntry(
                    id=new_id(),
                    at=self._now(),
                    tenant=context.tenant,
                    action=action,
                    subject=request.params["budget"],
                    decision="done",
                    actor=context.user_id or "",
                    details={**details, "who": who},
                )
            )


def shown(line: Line) -> dict[str, Any]:
    """As it is told."""
    place, terms, spent, held = line.place, line.terms, line.spent, line.held
    return {
        "budget": place.budget,
        "who": place.who,
        "period": place.period,
        "limit_usd": terms.usd,
        "limit_tokens": terms.tokens,
        "spent_usd": spent.usd,
        "spent_tokens": spent.tokens,
        "reserved_usd": held.usd,
        "reserved_tokens": held.tokens,
        "left_usd": None if terms.usd is None else max(0.0, terms.usd - spent.usd - held.usd),
        "left_tokens": None if terms.tokens is None else max(0, terms.tokens - spent.tokens - held.tokens),
        "used": round(line.level, 6),
        "steps": line.reached,
        "resets_at": line.resets_at,
        "changed": line.is_changed,
    }


def _word(given: dict[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or len(value) > _WORD_MAX:
        raise ValidationFailed(f"`{name}` is text of at most {_WORD_MAX} characters.")
    return value


def _number(given: dict[str, Any], name: str, most: float, *, whole: bool) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value <= most:
        raise ValidationFailed(f"`{name}` is a {'whole ' if whole else ''}number above 0, not {str(value)[:40]}.")
    return float(value)
