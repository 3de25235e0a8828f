"""Whether an answer will do, told without understanding it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from corral.messages import ModelCall, ModelReply
from corral.models.fitting import misfit

Check = Callable[[ModelCall, ModelReply], Awaitable[str]]
"""What is wrong with an answer, or nothing."""

_REFUSALS = (
    "i can't help",
    "i cannot help",
    "i can't assist",
    "i cannot assist",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i don't have enough information",
    "i'm sorry, but i can",
    "i am sorry, but i can",
    "sorry, i can't",
    "as an ai",
    "i don't know",
    "i do not know",
    "i'm not sure",
    "das kann ich nicht",
    "je ne peux pas",
    "no puedo ayudar",
)
_STOPPED = {"refusal": "it was refused", "content_filter": "it was refused", "length": "it was cut off"}
_BEGINNING = 80
_REFUSAL_WORDS_MAX = 80
"""A long answer that begins with a doubt is an answer."""


def answer_fault(call: ModelCall, reply: ModelReply) -> str:
    """The built-in check: refusals, cut-off, empty and malformed answers, and tools called as they cannot be."""
    stopped = _STOPPED.get(reply.stop_reason)
    if stopped is not None:
        return stopped
    tool_uses, text = reply.tool_uses, reply.text.strip()
    if tool_uses:
        return _tool_fault(call, tool_uses)
    if not text:
        return "it is empty"
    if call.output is not None:
        return _json_fault(text, call.output.schema)
    return "it reads like a refusal" if _is_refusal(text) else ""


def _is_refusal(text: str) -> bool:
    beginning = text[:_BEGINNING].casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return any(phrase in beginning for phrase in _REFUSALS) and len(text.split()) <= _REFUSAL_WORDS_MAX


def _tool_fault(call: ModelCall, tool_uses: list[dict[str, Any]]) -> str:
    tools = {tool.name: tool for tool in call.tools}
    for use in tool_uses:
        name = str(use.get("name"))
        tool = tools.get(name)
        if tool is None:
            return f"it calls a tool {name!r} that is not there"
        if "input_text" in use:
            return f"its input for {name!r} is not JSON"
        fault = misfit(use.get("input") or {}, tool.parameters) if tool.parameters else ""
        if fault:
            return f"its input for {name!r} does not fit: {fault}"
    return ""


def _json_fault(text: str, schema: dict[str, Any] | None) -> str:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        return f"it is not JSON: {error}"
    if schema is None:
        return "" if isinstance(value, dict) else "it is not a JSON object"
    fault = misfit(value, schema)
    return f"it does not fit the schema: {fault}" if fault else ""


def check_from(fn: Callable[..., Any] | None) -> Check:
    """The built-in check, or a function of the user's: `fn(call, reply)`, asynchronous or not.

    It says what is wrong in words, or `False`; nothing, `None` or `True`: the answer will do. One that fails lets it pass.
    """

    async def check(call: ModelCall, reply: ModelReply) -> str:
        if fn is None:
            return answer_fault(call, reply)
        try:
            said = fn(call, reply)
            if inspect.isawaitable(said):
                said = await said
        except Exception as error:  # noqa: BLE001 - a user's own function may raise anything
            call.notes["route.check_failed"] = f"{type(error).__name__}: {error}"
            return ""
        if said is None or said is True:
            return ""
        return str(said) if said else ("its check said no" if said is False else "")

    return check
