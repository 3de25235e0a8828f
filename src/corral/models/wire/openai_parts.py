"""Parts of messages in the words of the chat API."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.errors import ModelRequestInvalid
from corral.models.wire.openai_dialect import Dialect

Part = dict[str, Any]

_OURS = frozenset({"tool_use", "tool_result", "reasoning"})


def url_of(part: Part) -> str:
    """An image's or a file's address: its own, or one that holds its data."""
    url = part.get("url")
    if url:
        return str(url)
    data = part.get("data")
    if not data:
        raise ModelRequestInvalid(f"A part `{part['type']}` needs `url`, or `data` (base64) and `media_type`.")
    kind = part.get("media_type") or ("image/png" if part["type"] == "image" else "application/pdf")
    return f"data:{kind};base64,{data}"


def json_text(value: object) -> str:
    """Any JSON value as text."""
    return msgspec.json.encode(value).decode()


def arguments(part: Part) -> str:
    """The input of a tool's call as the model wrote it."""
    return str(part.get("input_text") or json_text(part.get("input") or {}))


def chat_part(part: Part, dialect: Dialect) -> Part | None:
    """One part for the chat API; none: it has no place there. Types that are not ours go as they are (`input_audio`)."""
    kind = part["type"]
    if kind == "text":
        said: Part = {"type": "text", "text": part["text"]}
    elif kind == "image":
        image = {"url": url_of(part)}
        if "detail" in part:
            image["detail"] = part["detail"]
        said = {"type": "image_url", "image_url": image}
    elif kind == "file":
        said = {"type": "file", "file": _file(part)}
    elif kind == "json":
        said = {"type": "text", "text": json_text(part.get("json"))}
    elif kind in _OURS:
        return None
    else:
        return part
    if dialect.options.cache_markers and part.get("cache"):
        said["cache_control"] = {"type": "ephemeral"}
    return said


def _file(part: Part) -> Part:
    if "file_id" in part:
        return {"file_id": part["file_id"]}
    if not part.get("data"):
        raise ModelRequestInvalid(
            "The chat API reads no files from addresses: send the file's `data`, or set `options: {api: responses}`."
        )
    return {"filename": part.get("name") or "file", "file_data": url_of(part)}


def chat_content(parts: list[Part], dialect: Dialect) -> str | list[Part]:
    """A message's content: one text as a string, anything else as a list."""
    if len(parts) == 1 and parts[0]["type"] == "text" and not dialect.options.cache_markers:
        return str(parts[0]["text"])
    said = [each for part in parts if (each := chat_part(part, dialect)) is not None]
    if dialect.options.plain_text and all(each["type"] == "text" for each in said):
        return "\n\n".join(each["text"] for each in said)
    return said or ""


def result_parts(part: Part) -> list[Part]:
    """What a tool's result holds; people write it as a string or a single value too."""
    content = part.get("content")
    if content is None:
        return []
    if isinstance(content, list) and all(isinstance(each, dict) and "type" in each for each in content):
        return content
    return [{"type": "text", "text": content if isinstance(content, str) else json_text(content)}]
