"""An answer that was kept, told as if it were being written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import msgspec

from corral.messages import Delta, ModelEvent, ModelReply

_PIECE_CHARS = 16
"""About as long as what models say at a time."""


async def replayed(reply: ModelReply, *, stream: bool, pause_s: float = 0.0) -> AsyncIterator[ModelEvent]:
    """The reply; if it is streamed, after its deltas: all at once, or in small pieces with a pause between them."""
    if stream:
        for number, delta in enumerate(deltas_of(reply, piece_chars=_PIECE_CHARS if pause_s > 0 else 0)):
            if pause_s > 0 and number:
                await asyncio.sleep(pause_s)
            yield delta
    yield reply


def deltas_of(reply: ModelReply, *, piece_chars: int = 0) -> Iterator[Delta]:
    """The deltas that make up a reply; a part has one, or one for each so many characters or so. Pieces end with a word."""
    for index, part in enumerate(reply.content):
        match part.get("type"):
            case "text" | "reasoning" as kind:
                for piece in _pieces(part.get("text", ""), piece_chars):
                    yield Delta(kind, piece, index)
            case "tool_use":
                yield Delta("tool_use", index=index, id=part.get("id", ""), name=part.get("name", ""))
                arguments = part.get("input_text") or msgspec.json.encode(part.get("input", {})).decode()
                for piece in _pieces(arguments, piece_chars):
                    yield Delta("tool_input", piece, index)
            case _:
                continue  # has no deltas: it is in the reply


def _pieces(text: str, piece_chars: int) -> Iterator[str]:
    if not piece_chars:
        if text:
            yield text
        return
    start = 0
    while start < len(text):
        end = start + piece_chars
        space = text.find(" ", end, end + piece_chars)
        end = space + 1 if space >= 0 else end
        yield text[start:end]
        start = end
