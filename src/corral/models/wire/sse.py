"""Server-sent events, taken apart as their bytes come."""

from __future__ import annotations

from corral.errors import ModelStreamBroken

_EVENT_BYTES_MAX = 16 * 1024 * 1024
_NEWLINE = ord("\n")
"""Looking for one byte is three times as fast as looking for a text of one."""

SseEvent = tuple[str, bytes]
"""Its name (empty: none was given) and its data."""


class SseReader:
    """Takes bytes, gives events. Comments are passed over; so is an event that was cut off."""

    __slots__ = ("_begun", "_size")

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        """Pieces of the event that has no end yet."""
        self._size = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that these bytes complete."""
        if self._begun:
            if (
                _NEWLINE not in chunk
            ):  # no event ends here: a long one is put together once, not with each of its pieces
                self._keep(chunk)
                return []
            chunk = b"".join((*self._begun, chunk))
            self._begun.clear()
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n")
        *blocks, rest = chunk.split(b"\n\n")
        self._size = 0
        if rest:
            self._keep(rest)
        events: list[SseEvent] = []
        for block in blocks:
            if block.startswith(b"data: ") and _NEWLINE not in block:  # nearly all of them
                events.append(("", block[6:]))
            else:
                _read(block, events)
        return events

    def _keep(self, piece: bytes) -> None:
        self._begun.append(piece)
        self._size += len(piece)
        if self._size > _EVENT_BYTES_MAX:
            raise ModelStreamBroken(f"An event of the answer has more than {_EVENT_BYTES_MAX} bytes.")


def _read(block: bytes, events: list[SseEvent]) -> None:
    name, data = "", []  # type: str, list[bytes]
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode("utf-8", "replace")
    if data:
        events.append((name, b"\n".join(data)))
