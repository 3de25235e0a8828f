"""What requests about jobs say in their query, their headers and their bodies: checked, or answered 400."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from corral.errors import ValidationFailed
from corral.jobs.drafting import Caller
from corral.jobs.job import JobQuery
from corral.jobs.request import MOMENT_MAX, check_fields, fault, moment
from corral.jobs.states import STATES, JobState
from corral.observability.traces import traceparent
from corral.server.http import Header, Request

PAGE_MAX = 1000
PAGE = 50
WAIT_S_MAX = 300.0
_WORD_MAX = 256
_CURSOR_MAX = 1024
_SEQ_DIGITS = 15
_SECONDS = re.compile(r"[0-9]{1,9}([.][0-9]{1,9})?")
END_MARK = ".end"
"""Behind the number of the last event: the id of how a job ended."""

_WORDS = ("agent", "queue", "tag", "session_id", "user_id", "batch_id")
_FILTERS = ("status", *_WORDS, "since", "until")


def caller_of(request: Request) -> Caller:
    """Who asks."""
    context = request.context
    return Caller(
        tenant=context.tenant,
        tier=context.tier,
        roles=context.roles,
        scope=context.scope,
        session_id=context.session_id,
        user_id=context.user_id,
        idempotency_key=context.idempotency_key,
        traceparent=traceparent(context),
    )


def listed(request: Request) -> JobQuery:
    """The query of `GET /v1/jobs`. `status` may come several times, or with commas between."""
    raw: bytes = request.scope.get("query_string", b"")
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True) if raw else []
    given: dict[str, Any] = dict(pairs)
    states = [part for name, text in pairs if name == "status" for part in text.split(",")]
    for name in given:
        if name not in _FILTERS and name not in {"limit", "cursor"}:
            check_fields({name: ""}, (*_FILTERS, "limit", "cursor"))
    cursor = given.get("cursor")
    if cursor is not None and (len(cursor) > _CURSOR_MAX or not _is_word(cursor, _CURSOR_MAX)):
        raise ValidationFailed("`cursor` is the `next_cursor` of a page.")
    return JobQuery(
        status=_states(states),
        **{name: word(name, given.get(name)) for name in _WORDS},
        since=text_moment(given, "since"),
        until=text_moment(given, "until"),
        limit=whole_number(given, "limit", PAGE, low=1, high=PAGE_MAX),
        cursor=cursor,
    )


async def filtered(request: Request) -> JobQuery:
    """The body of a request that concerns many jobs. One without any filter must say `"all": true`."""
    body = check_fields(await request.json(), (*_FILTERS, "limit", "all"))
    for name, value in body.items():
        if value is None or value == []:
            raise fault(f"/{name}", f"`{name}` says nothing: leave it away.")
    states = body.get("status", [])
    if isinstance(states, str):
        states = states.split(",")
    elif not isinstance(states, list):
        raise fault("/status", f"`status` is one of {', '.join(STATES)}, or a list of them.")
    everything = body.get("all", False)
    if not isinstance(everything, bool):
        raise fault("/all", "`all` is true or false.")
    words = {name: word(name, body.get(name)) for name in _WORDS}
    since, until = (_body_moment(body, name) for name in ("since", "until"))
    if not everything and not states and since is None and until is None and not any(words.values()):
        raise ValidationFailed('This concerns every job of your tenant. Say `{"all": true}` if you mean it, or filter.')
    limit = body.get("limit", PAGE_MAX)
    if (
        isinstance(limit, bool)
        or not isinstance(limit, int | float)
        or limit != int(limit)
        or not 1 <= limit <= PAGE_MAX
    ):
        raise fault("/limit", f"`limit` is a number from 1 to {PAGE_MAX}.")
    return JobQuery(status=_states(states), **words, since=since, until=until, limit=int(limit))


def wait_of(request: Request) -> tuple[float, list[Header]]:
    """How long the caller would wait for the end (`?wait=5s`, `Prefer: wait=5`), and the headers that say it was heard."""
    text = request.query.get("wait")
    if text is not None:
        seconds = _seconds(text.removesuffix("s"))
        if seconds is None:
            raise ValidationFailed(f"`wait` is a number of seconds such as `5s`, not {text[:40]!r}.")
        return min(seconds, WAIT_S_MAX), []
    for part in (request.header(b"prefer") or "").replace(";", ",").split(","):
        name, _, value = part.strip().partition("=")
        if name.strip().lower() == "wait" and (preferred := _seconds(value.strip().strip('"'))) is not None:
            seconds = min(preferred, WAIT_S_MAX)
            return seconds, [(b"preference-applied", b"wait=%d" % seconds)]
    return 0.0, []


def after_of(request: Request) -> tuple[int, bool]:
    """After which event to begin, and whether the caller heard how the job ended."""
    text = (request.header(b"last-event-id") or "").strip()
    what = "The header last-event-id"
    if not text:
        text, what = request.query.get("after", "0"), "`after`"
    digits = text.removesuffix(END_MARK)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _SEQ_DIGITS):
        raise ValidationFailed(f"{what} is the id of an event as it was sent, not {text[:40]!r}.")
    return int(digits), digits != text


def whole_number(query: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    """A number in the query."""
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(high)) or not low <= int(text) <= high:
        raise ValidationFailed(f"`{name}` is a number from {low} to {high}, not {text[:40]!r}.")
    return int(text)


def _states(given: list[Any]) -> tuple[JobState, ...]:
    for state in given:
        if state not in STATES:
            raise fault("/status", f"`status` is one of {', '.join(STATES)}, not {str(state)[:40]!r}.")
    return tuple(dict.fromkeys(given))


def word(name: str, value: Any) -> str | None:
    """A text that ids and names are compared with."""
    if value is None:
        return None
    if not _is_word(value, _WORD_MAX):
        raise fault(f"/{name}", f"`{name}` is text of 1 to {_WORD_MAX} characters, none of them a control character.")
    return str(value)


def _is_word(value: Any, chars_max: int) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= chars_max:
        return False
    return value.isprintable() or not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in value)  # noqa: PLR2004 - Unicode's control characters


def _seconds(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text) else None


def text_moment(query: Mapping[str, str], name: str) -> float | None:
    """A time in the query."""
    text = query.get(name)
    if text is None:
        return None
    try:
        value: float | str = msgspec.convert(text, float, strict=False)
    except msgspec.ValidationError:
        value = text
    return _moment(value, name)


def _body_moment(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise fault(f"/{name}", f"`{name}` is a time in seconds since 1970, or a text such as `2026-11-21T09:00:00Z`.")
    return _moment(value, name)


def _moment(value: float | str, name: str) -> float:
    # Times long past or far ahead are a filter like any other: they are brought to where databases can count.
    if isinstance(value, int | float) and abs(value) < math.inf:
        return min(max(float(value), 0.0), float(MOMENT_MAX))
    return moment(value, f"/{name}")
