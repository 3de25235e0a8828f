"""Agents of our own, and teams of them, as plain callables: what `app.add(agent)` serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from corral.agents.event import ApprovalAsked, Failed, Finished, Works
from corral.context import Context
from corral.errors import ValidationFailed, error_of
from corral.messages import Message, as_parts, closing

_SPEAKERS = ("user", "assistant", "tool")


def is_works(target: Any) -> bool:
    """Whether it is one of ours: it streams, has a name, and says what it is good at."""
    return (
        callable(getattr(target, "stream", None))
        and isinstance(getattr(target, "name", None), str)
        and isinstance(getattr(target, "description", None), str)
        and not hasattr(target, "astream")
    )


def own_name(target: Any) -> str:
    """The name that an agent of ours has by itself."""
    return str(target.name) if is_works(target) else ""


def serve_works(works: Works, prompt_of: Callable[[Any], str]) -> Callable[..., Any]:
    """The callable: `{"prompt": …}` is answered with the answer, and with events as they happen if it says `"stream": true`.

    `messages` (a conversation) may stand in place of the prompt; `variables` fill those of its instructions that the agent
    leaves open. The session is the request's.
    """

    async def invoke(payload: Any, context: Context) -> Any:
        given = payload if isinstance(payload, dict) else {}
        asked = conversation_of(given["messages"]) if "messages" in given else prompt_of(payload)
        variables = variables_of(works, given.get("variables"))
        session = context.session_id if context.has_session else None
        if given.get("stream") is True:
            return _events(works, asked, session, variables)
        return await _answer(works, asked, session, variables)

    invoke.__doc__ = works.description or f"The agent {works.name}."
    return invoke


async def _events(
    works: Works, asked: Any, session: str | None, variables: Mapping[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    failed: Any = None
    async with closing(works.stream(asked, session=session, **variables)) as events:
        async for event in events:
            failed = event if isinstance(event, Failed) else None
            yield as_object(event)
    if failed is not None:
        raise error_of(failed.code, failed.message)


async def _answer(works: Works, asked: Any, session: str | None, variables: Mapping[str, Any]) -> Any:
    approvals: list[ApprovalAsked] = []
    run = getattr(works, "run", None)
    if callable(run):
        result = await run(asked, session=session, **variables)
        return _shown(result.output, result.reason, result.run_id, result.approvals)
    async with closing(works.stream(asked, session=session, **variables)) as events:
        async for event in events:
            if isinstance(event, ApprovalAsked):
                approvals.append(event)
            elif isinstance(event, Failed):
                raise error_of(event.code, event.message)
            elif isinstance(event, Finished):
                return _shown(event.output, event.reason, event.run_id, approvals)
    return None


def _shown(output: Any, reason: str, run_id: str, approvals: Any) -> Any:
    if reason != "paused":
        return msgspec.to_builtins(output, enc_hook=_plain)
    return {"status": "paused", "run_id": run_id, "approvals": msgspec.to_builtins(approvals, enc_hook=_plain)}


def as_object(event: Any) -> dict[str, Any]:
    """An event as a JSON object, with its `type`."""
    shown: dict[str, Any] = msgspec.to_builtins(event, enc_hook=_plain)
    return shown


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def conversation_of(messages: Any) -> list[Message]:
    """A conversation as callers send it. Raises `ValidationFailed`."""
    if not isinstance(messages, list) or not messages:
        raise _invalid("/messages", 'A list of messages, the newest last: [{"role": "user", "content": "…"}].')
    found = []
    for index, one in enumerate(messages):
        if not isinstance(one, dict) or one.get("role") not in _SPEAKERS or "content" not in one:
            raise _invalid(
                f"/messages/{index}",
                "An object with `content` and a `role`: user, assistant or tool. Instructions are the agent's own.",
            )
        found.append(Message(role=one["role"], content=as_parts(one["content"])))
    return found


def variables_of(works: Any, given: Any) -> dict[str, Any]:
    """Those that the agent leaves open, and no others: what it has set is not for callers to change."""
    left_open: tuple[str, ...] = getattr(works, "open_variables", ())
    values = {} if given is None else given
    if not isinstance(values, dict):
        raise _invalid("/variables", "An object: name to value.")
    for name in values:
        if name not in left_open:
            there = ", ".join(left_open) or "none"
            raise _invalid(
                f"/variables/{name}", f"This agent leaves no variable {name!r} open; it leaves open: {there}."
            )
    for name in left_open:
        if name not in values:
            raise _invalid(f"/variables/{name}", f"This agent needs a value for the variable {name!r}.")
    return values


def _invalid(pointer: str, message: str) -> ValidationFailed:
    return ValidationFailed(errors=[{"pointer": pointer, "message": message}])
