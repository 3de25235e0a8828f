"""The words the rooms share: what is said in a conversation, and one page of a longer list."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import msgspec

Role = Literal["system", "user", "assistant", "tool", "other"]

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message: who spoke, and what, part by part.

    A part is a JSON object with a `type` (`text`, `json`, `image`, `tool_use`, `tool_result`, …). Plain text is the one
    part `{"type": "text", "text": …}`.
    """

    role: Role
    content: list[dict[str, Any]]
    metadata: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """All text parts, one after the other."""
        return "".join(part.get("text", "") for part in self.content if part.get("type") == "text")


def as_parts(content: object) -> list[dict[str, Any]]:
    """Content as people write it (text, one part, a list of parts, any JSON value) as a list of parts."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, dict) and isinstance(content.get("type"), str):
        return [content]
    if isinstance(content, list) and content and all(isinstance(p, dict) and "type" in p for p in content):
        return content
    return [{"type": "json", "json": content}]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list, and the cursor that fetches the next one (none: this was the last)."""

    items: list[T]
    next_cursor: str | None = None
