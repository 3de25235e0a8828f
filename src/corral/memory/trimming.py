"""Messages made shorter: the beginning stays, and a note says how much is missing and where it lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from corral.memory.sizes import Sizes
from corral.messages import Message, as_parts

Where = Callable[[str], str]
"""Where the whole result of a tool's call lies, by the call's id: `artefact 'a3'`; empty: nowhere that is known."""

_NOTE_TOKENS = 60
_SMALL = 8


def nowhere(_call: str) -> str:
    """No result is kept anywhere but in the conversation."""
    return ""


def results_trimmed(message: Message, most: int, sizes: Sizes, where: Where = nowhere) -> Message:
    """The message with the results of tools in it cut to `most` tokens each; the very same one if they are short enough."""
    if not any(part.get("type") == "tool_result" for part in message.content):
        return message
    if sizes.of(message) <= most:
        return message
    content = [
        _result(part, most, sizes, where) if part.get("type") == "tool_result" else part for part in message.content
    ]
    if all(new is old for new, old in zip(content, message.content, strict=True)):
        return message
    return msgspec.structs.replace(message, content=content)


def _result(part: dict[str, Any], most: int, sizes: Sizes, where: Where) -> dict[str, Any]:
    if sizes.of(Message(role="tool", content=[part])) <= most:
        return part
    text, others = _words(as_parts(part.get("content") or []))
    kept = sizes.beginning(text, most - _NOTE_TOKENS)
    call = str(part.get("tool_use_id", ""))
    place = str(part.get("artefact") or where(call))
    missing = f"{len(text) - len(kept)} more characters" if len(kept) < len(text) else ""
    missing += (" and " if missing and others else "") + (f"{others} pictures or files" if others else "")
    note = f"[{missing}: {place}]" if place else f"[{missing} were left out here; call the tool again to read them]"
    return {**part, "content": [{"type": "text", "text": f"{kept}\n{note}" if kept else note}]}


def _words(parts: list[dict[str, Any]]) -> tuple[str, int]:
    """What a result says as text, and how many parts of it cannot be said so."""
    texts: list[str] = []
    others = 0
    for part in parts:
        if part.get("type") == "text":
            texts.append(part.get("text") or "")
        elif part.get("type") in {"image", "file"}:
            others += 1
        else:
            texts.append(msgspec.json.encode(part.get("json", part)).decode())
    return "\n".join(texts), others


def shortened(message: Message, most: int, sizes: Sizes) -> Message:
    """The message with every part cut so that all of it has about `most` tokens; calls and results keep their names.

    The last resort, for a message that is too large alone. The very same one if it is short enough.
    """
    if sizes.of(message) <= most:
        return message
    share = max(_SMALL, most // max(1, len(message.content)))
    return msgspec.structs.replace(message, content=[_cut(part, share, sizes) for part in message.content])


def _cut(part: dict[str, Any], most: int, sizes: Sizes) -> dict[str, Any]:
    if sizes.of(Message(role="user", content=[part])) <= most:
        return part
    match part.get("type"):
        case "tool_use":
            return {**part, "input": {"left_out": "These arguments were too long to be shown again."}}
        case "tool_result":
            text, _ = _words(as_parts(part.get("content") or []))
            return {**part, "content": [{"type": "text", "text": _middle(text, most, sizes)}]}
        case "text":
            return {**part, "text": _middle(part.get("text") or "", most, sizes)}
        case kind:
            return {"type": "text", "text": f"[left out: {kind}]"}


def _middle(text: str, most: int, sizes: Sizes) -> str:
    """The beginning and the end of a text."""
    note = f"[… {len(text)} characters, cut here …]"
    room = most - sizes.of_text(note)
    if room <= _SMALL:
        return "[cut]"
    head = sizes.beginning(text, room * 2 // 3)
    tail = sizes.beginning(text[::-1], room // 3)[::-1]
    return f"{head}{note}{tail}"
