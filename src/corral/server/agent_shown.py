"""Agents' runs as the API shows them, and what requests about them ask for."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from corral.agents.event import ApprovalAsked, Finished
from corral.agents.store import (
    RUN_STATES,
    Entry,
    RunInfo,
    RunQuery,
)
from corral.errors import ValidationFailed
from corral.jobs.request import check_fields, fault
from corral.messages import Message, as_parts
from corral.runtime.works import as_object, conversation_of
from corral.server.http import Request, parse_json
from corral.server.job_query import text_moment, whole_number, word

PAGE = 50
PAGE_MAX = 1000
STEP_MAX = 1_000_000
_CURSOR_MAX = 1024
_WORDS = ("agent", "session_id", "user_id", "job_id")
_SEQ_MAX = 10**12


# -- asked ------------------------------------------------------------------------------------------------------------------


def runs_asked(request: Request) -> RunQuery:
    """The query of `GET /v1/runs`. `status` may come several times, or with commas between."""
    given, states = _pairs(request, ("status", *_WORDS, "since", "until", "limit", "cursor"))
    return RunQuery(
        states=_one_of(states, RUN_STATES),
        **{name: word(name, given.get(name)) for name in _WORDS},
        since=text_moment(given, "since"),
        until=text_moment(given, "until"),
        limit=whole_number(given, "limit", PAGE, low=1, high=PAGE_MAX),
        cursor=_cursor(given),
    )


def entries_asked(request: Request) -> tuple[int, int]:
    """After which entry, and how many."""
    given, _ = _pairs(request, ("after", "limit"))
    after = whole_number(given, "after", 0, low=0, high=_SEQ_MAX)
    return after, whole_number(given, "limit", PAGE, low=1, high=PAGE_MAX)


def _pairs(request: Request, known: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    raw: bytes = request.scope.get("query_string", b"")
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True) if raw else []
    given = check_fields(dict(pairs), known)
    return given, [part for name, text in pairs if name == "status" for part in text.split(",")]


def _one_of(states: list[str], known: tuple[Any, ...]) -> tuple[Any, ...]:
    for state in states:
        if state not in known:
            raise fault("/status", f"`status` is one of {', '.join(known)}, not {state[:40]!r}.")
    return tuple(dict.fromkeys(states))


def _cursor(given: dict[str, str]) -> str | None:
    cursor = given.get("cursor")
    if cursor is not None and not 0 < len(cursor) <= _CURSOR_MAX:
        raise ValidationFailed("`cursor` is the `next_cursor` of a page.")
    return cursor


async def body_of(request: Request, known: tuple[str, ...]) -> dict[str, Any]:
    """The body as an object of known fields; none at all is an empty one."""
    body = await request.body()
    return check_fields(parse_json(body, request.json_depth_max) if body else {}, known)


def fork_asked(body: dict[str, Any]) -> tuple[int | None, list[Message], str | None]:
    """After which step, with which further messages, in which session."""
    step = body.get("step")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= STEP_MAX):
        raise fault("/step", f"`step` is a number from 0 to {STEP_MAX}.")
    return step, messages_asked(body), word("session_id", body.get("session_id"))


def messages_asked(body: dict[str, Any]) -> list[Message]:
    """What is said: a conversation, or a prompt; none at all is nothing."""
    messages, prompt = body.get("messages"), body.get("prompt")
    if messages is not None and prompt is not None:
        raise fault("/messages", "Say `prompt` or `messages`, not both.")
    if messages is not None:
        return conversation_of(messages)
    if prompt is None:
        return []
    if not isinstance(prompt, str) or not prompt:
        raise fault("/prompt", "`prompt` is a text that is not empty.")
    return [Message(role="user", content=as_parts(prompt))]


def flag(body: dict[str, Any], name: str) -> bool:
    """True or false; nothing is false."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise fault(f"/{name}", f"`{name}` is true or false.")
    return bool(value)


# -- shown ------------------------------------------------------------------------------------------------------------------


def shown_run(run: RunInfo) -> dict[str, Any]:
    """A run; one that was asked for by itself says what came of it."""
    tally = run.tally
    view: dict[str, Any] = {
        "id": run.id,
        "agent": run.agent,
        "status": run.state,
        "session_id": run.session_id or None,
        "user_id": run.user_id or None,
        "job_id": run.job_id or None,
        "parent_id": run.parent_id or None,
        "entries": run.entries,
        "steps": tally.steps,
        "tool_calls": tally.tool_calls,
        "usage": _usage(tally.usage),
        "cost_usd": tally.cost_usd,
        "error_code": run.error_code or None,
        "cancel_requested": run.cancel_requested,
        "resumable": run.resumable,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "ended_at": run.ended_at,
    }
    if run.outcome is not None:
        ended = msgspec.json.decode(run.outcome)
        if isinstance(ended, dict):
            view["output"] = ended.get("output")
            view["message"] = ended.get("message")
    return view


def _usage(usage: Any) -> dict[str, Any]:
    return {
        "input": usage.input,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "output": usage.output,
        "reasoning": usage.reasoning,
    }


def shown_result(end: Finished, run_id: str, approvals: list[ApprovalAsked]) -> dict[str, Any]:
    """What came of a run that was waited for."""
    shown = as_object(end)
    return {
        "run_id": run_id,
        "agent": end.agent,
        "status": end.reason,
        "output": shown.get("output"),
        "approvals": [as_object(asked) for asked in approvals],
        "usage": _usage(end.usage),
        "cost_usd": end.cost_usd,
        "steps": end.steps,
        "tool_calls": end.tool_calls,
        "notes": shown.get("notes", {}),
    }


def shown_entry(entry: Entry) -> dict[str, Any]:
    """An entry of a journal, with its body as it is stored."""
    return {"seq": entry.seq, "at": entry.at, "kind": entry.kind, "entry": msgspec.Raw(entry.body)}
