"""An answer as it will be written: cut to what was allowed, and in the pieces in which it comes."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.messages import Delta, ModelCall, StopReason, Usage
from corral.models.sim import tokens
from corral.models.sim.writing import Written


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, known before the first piece is written."""

    parts: list[dict[str, Any]]
    deltas: list[Delta]
    stop_reason: StopReason = "end"
    stop_sequence: str = ""
    """Which of the call's stop sequences it came upon."""
    output: int = 0
    reasoning: int = 0

    def usage(self, *, new: int, kept: int = 0, written: int = 0) -> Usage:
        """The tokens of a call that read so many."""
        return Usage(input=new, cache_read=kept, cache_write=written, output=self.output, reasoning=self.reasoning)


def answered(written: Written, call: ModelCall, output_max: int) -> Answer:
    """The answer within the call's `max_tokens` and before its stop sequences."""
    left = min(call.max_tokens or output_max, output_max)
    parts: list[dict[str, Any]] = []
    deltas: list[Delta] = []
    output = reasoning = 0
    stop_reason, sequence = written.stop_reason, ""
    for part in written.parts:
        part, sequence = _stopped(part, call.stop)  # noqa: PLW2901 - the rest of the loop is about what is left of it
        pieces = _pieces(part, len(parts))
        cut = len(pieces) > left
        if cut and part["type"] == "tool_use":  # half a tool's call is of no use to anybody
            stop_reason, sequence = "length", ""
            break
        pieces = pieces[:left]
        if cut:
            part = {**part, "text": "".join(piece.text for piece in pieces)}  # noqa: PLW2901 - as above
        if pieces:
            parts.append(part)
            deltas += pieces
        left -= len(pieces)
        if part["type"] == "reasoning":
            reasoning += len(pieces)
        else:
            output += len(pieces)
        if cut:
            stop_reason, sequence = "length", ""
            break
        if sequence:
            stop_reason = "stop_sequence"
            break
    return Answer(
        parts=parts, deltas=deltas, stop_reason=stop_reason, stop_sequence=sequence, output=output, reasoning=reasoning
    )


def _stopped(part: dict[str, Any], stop: list[str]) -> tuple[dict[str, Any], str]:
    if not stop or part["type"] != "text":
        return part, ""
    text = part["text"]
    found = [(text.find(sequence), sequence) for sequence in stop if sequence and sequence in text]
    if not found:
        return part, ""
    at, sequence = min(found)
    return {**part, "text": text[:at]}, sequence


def _pieces(part: dict[str, Any], index: int) -> list[Delta]:
    if part["type"] == "tool_use":
        begin = Delta("tool_use", index=index, id=part["id"], name=part["name"])
        written = tokens.pieces_of(tokens.as_json(part["input"]))
        return [begin, *(Delta("tool_input", piece, index) for piece in written)]
    kind = part["type"]
    return [Delta(kind, piece, index) for piece in tokens.pieces_of(part["text"])]
