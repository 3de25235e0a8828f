"""Server-sent events with their ids, as a stream that may be taken up again needs them."""

from __future__ import annotations

from typing import NamedTuple

from corral.tools.mcp.wire import MESSAGE_BYTES_MAX


class Event(NamedTuple):
    """One event."""

    name: str
    data: bytes
    id: str
    """The last id the stream gave; empty: none."""


class EventReader:
    """Takes a stream apart as its bytes come. A stream that was cut off in the middle of an event has lost that event."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry_s: float | None = None
        """How long the server wants us to wait before we come back."""
        self._rest = b""
        self._data: list[bytes] = []
        self._bytes = 0
        self._name = ""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are whole now. Raises `ValueError` for one that is too long."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) + self._bytes > MESSAGE_BYTES_MAX:
            raise ValueError(f"an event of more than {MESSAGE_BYTES_MAX} bytes")
        return [event for line in lines if (event := self._line(line.removesuffix(b"\r"))) is not None]

    def _line(self, line: bytes) -> Event | None:
        if not line:
            data, name = self._data, self._name
            self._data, self._name, self._bytes = [], "", 0
            return Event(name or "message", b"\n".join(data), self.last_id) if data else None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._bytes += len(value)
        elif field == b"event":
            self._name = value.decode(errors="replace")
        elif field == b"id" and b"\0" not in value:
            self.last_id = value.decode("latin-1")
        elif field == b"retry" and value.isdigit() and len(value) < 9:  # noqa: PLR2004 - milliseconds: about a day
            self.retry_s = int(value) / 1000
        return None
