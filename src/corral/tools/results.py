"""What a tool returned, as a model reads it and as JSON; what is too long is kept apart, and its beginning is given."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from corral.messages import Caller, as_parts
from corral.tools.signature import plain

_PARTS = frozenset({"text", "image", "file", "json"})
_encoder = msgspec.json.Encoder(enc_hook=plain)
_NOTHING_SAID = "Done."


class ToolOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool returns that says itself what a model reads: parts as in `Message`, and the result as JSON beside it."""

    content: list[dict[str, Any]] = []
    value: Any = None
    tainted: tuple[str, ...] = ()
    """Where words in `content` came from that nobody of ours wrote."""


class Artefacts(Protocol):
    """Where results lie that are too long for a conversation."""

    async def keep(self, caller: Caller, body: bytes) -> str:
        """Keep it for a while, for whom it was made; returns the name it is read by. Raises `StoreUnavailable`."""
        ...


def output_of(result: Any) -> ToolOutput:
    """What a function returned. Raises `ValueError` or `TypeError` for what JSON cannot say."""
    if type(result) is str:
        if not result.isascii():
            result = result.encode(errors="replace").decode()  # half a surrogate pair can be told to nobody
        return ToolOutput(content=[{"type": "text", "text": result}], value=result)
    if result is None:
        return ToolOutput(content=[{"type": "text", "text": _NOTHING_SAID}])
    if type(result) is ToolOutput:
        content, value = msgspec.to_builtins((result.content, result.value), enc_hook=plain, str_keys=True)
        return ToolOutput(content=content or as_text(value), value=value, tainted=result.tainted)
    value = msgspec.to_builtins(result, enc_hook=plain, str_keys=True)
    if isinstance(value, list) and value and all(_is_part(one) for one in value):
        return ToolOutput(content=value, value=value)
    return ToolOutput(content=as_text(value), value=value)


def as_text(value: Any) -> list[dict[str, Any]]:
    """A value as the one text part that models read best: JSON."""
    return as_parts(value if isinstance(value, str) else _encoder.encode(value).decode())


def _is_part(one: Any) -> bool:
    return isinstance(one, dict) and one.get("type") in _PARTS and len(one) > 1


def size_of(output: ToolOutput) -> int:
    """How many bytes the conversation would grow by."""
    first = output.content[0] if len(output.content) == 1 else None
    if first is not None and first.get("type") == "text":
        text = first["text"]
        return len(text) if text.isascii() else len(text.encode(errors="replace"))
    return len(_encoder.encode(output.content))


def beginning(output: ToolOutput, bytes_max: int, name: str) -> ToolOutput:
    """The beginning of a result whose whole lies under `name`, and how to read on."""
    text = "\n".join(
        part["text"] if part.get("type") == "text" else f"[{part.get('type')}: {part.get('name', 'without a name')}]"
        for part in output.content
    )
    whole = len(text.encode(errors="replace"))
    first = text.encode(errors="replace")[:bytes_max].decode(errors="ignore")
    cut = first.rfind("\n")
    if cut > len(first) * 3 // 4:  # at the end of a line, where there is one not far away
        first = first[:cut]
    said = f"[The first {len(first.encode())} of {whole} bytes. "
    said += f"The whole is the artefact {name}.]" if name else "The rest was not kept.]"
    return ToolOutput(content=[{"type": "text", "text": f"{first}\n\n{said}"}], tainted=output.tainted)


def whole(output: ToolOutput) -> bytes:
    """All of it, as it is kept: text as it is, everything else as JSON."""
    if len(output.content) == 1 and output.content[0].get("type") == "text":
        text: str = output.content[0]["text"]
        return text.encode(errors="replace")
    return _encoder.encode(output.content)
