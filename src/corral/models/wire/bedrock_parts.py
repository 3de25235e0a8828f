"""Our parts as Converse's blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from corral.errors import ModelRequestInvalid
from corral.messages import as_parts

_encode = msgspec.json.Encoder(order="deterministic").encode

_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}
_VIDEOS = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/mpeg": "mpeg",
}
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9\s()\[\]-]+|\s{2,}")
_OWN = "bedrock"
"""The type of a part that holds a block of Converse's own."""


def blocks(parts: Iterable[dict[str, Any]], cache_ttl: str = "") -> list[dict[str, Any]]:
    """The parts as blocks; those that mean nothing to the API are left out. A marked one is followed by a point of the cache.

    Raises `ModelRequestInvalid` for what it has no word for.
    """
    made: list[dict[str, Any]] = []
    for part in parts:
        block = _block(part)
        if block is None:
            continue
        made.append(block)
        if part.get("cache"):
            made.append({"cachePoint": {"type": "default", **({"ttl": cache_ttl} if cache_ttl else {})}})
    return made


def sayable(part: dict[str, Any]) -> bool:
    """Whether an answer may have this part. What another provider's own tools left in a conversation would be refused here."""
    return part.get("type", "") in _BLOCKS


def own_part(block: dict[str, Any]) -> dict[str, Any]:
    """A block that only Converse knows, as a part that can be sent back."""
    return {"type": _OWN, "block": block}


def _block(part: dict[str, Any]) -> dict[str, Any] | None:
    kind = part.get("type", "")
    known = _BLOCKS.get(kind)
    if known is None:
        raise ModelRequestInvalid(f"Bedrock takes no part of type {kind!r}; leave it out, or write it as text.")
    return known(part)


def _text(part: dict[str, Any]) -> dict[str, Any] | None:
    """An empty text is refused."""
    return {"text": part["text"]} if part.get("text") else None


def _thought(part: dict[str, Any]) -> dict[str, Any] | None:
    """Thoughts go back as they came. Those that are not signed would be refused."""
    if part.get("signature"):
        return {"reasoningContent": {"reasoningText": {"text": part.get("text", ""), "signature": part["signature"]}}}
    sealed = part.get("data") if "id" not in part else None  # sealed with an id: by another provider
    return {"reasoningContent": {"redactedContent": sealed}} if sealed else None


def _call(part: dict[str, Any]) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": part.get("id"), "name": part.get("name"), "input": part.get("input") or {}}}


def _result(part: dict[str, Any]) -> dict[str, Any]:
    content = []
    for each in as_parts(part["content"]) if part.get("content") else []:
        value = each.get("json")
        # Only an object is JSON to Converse; anything else is text.
        block = {"json": value} if each.get("type") == "json" and isinstance(value, dict) else _block(each)
        if block is not None:
            content.append(block)
    result: dict[str, Any] = {"toolUseId": part.get("tool_use_id"), "content": content or [{"text": "(nothing)"}]}
    if part.get("is_error"):
        result["status"] = "error"
    return {"toolResult": result}


def _image(part: dict[str, Any]) -> dict[str, Any]:
    media_type, source = _source(part)
    return {"image": {"format": _format(part, media_type or "image/png", _IMAGES), "source": source}}


def _file(part: dict[str, Any]) -> dict[str, Any]:
    media_type, source = _source(part)
    if media_type.startswith("image/"):
        return {"image": {"format": _format(part, media_type, _IMAGES), "source": source}}
    if media_type.startswith("video/"):
        return {"video": {"format": _format(part, media_type, _VIDEOS), "source": source}}
    name = part.get("name") or part.get("url", "").rpartition("/")[2]
    stem, _, ending = name.rpartition(".")
    known = media_type or next(
        (kind for kind, short in _DOCUMENTS.items() if short == ending.lower()), "application/pdf"
    )
    title = _NOT_IN_NAMES.sub(" ", stem or name).strip() or "document"
    return {"document": {"format": _format(part, known, _DOCUMENTS), "name": title[:200], "source": source}}


def _source(part: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What kind of data, and where: in the part itself or in S3. Addresses of the web are not read by Bedrock."""
    url, media_type = part.get("url") or "", part.get("media_type") or ""
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        return head.partition(";")[0], {"bytes": data}
    if url.startswith("s3://"):
        return media_type, {"s3Location": {"uri": url}}
    if url or "data" not in part:
        raise ModelRequestInvalid(
            f"Bedrock reads a part `{part.get('type')}` from its `data` or from S3 (`url: s3://…`), not from the web."
        )
    return media_type, {"bytes": part["data"]}


def _format(part: dict[str, Any], media_type: str, known: dict[str, str]) -> str:
    plain = media_type.partition(";")[0].strip().lower()
    if plain not in known:
        raise ModelRequestInvalid(
            f"Bedrock takes no `{part.get('type')}` of {plain!r}; it takes {', '.join(sorted(known))}."
        )
    return known[plain]


_BLOCKS: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "text": _text,
    "json": lambda part: {"text": _encode(part.get("json")).decode()},
    "image": _image,
    "file": _file,
    "reasoning": _thought,
    "tool_use": _call,
    "tool_result": _result,
    _OWN: lambda part: part.get("block"),
}
