"""Server-sent events, taken apart as their bytes come."""

from __future__ import annotations

from collections.abc import AsyncIterator

from corral.errors import ModelStreamBroken

_EVENT_BYTES_MAX = 16 * 1024 * 1024


async def sse_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    """Each event's name (empty: none was given) and data. Comments are passed over; so is an event that was cut off."""
    rest = b""
    name, data = "", []  # type: str, list[bytes]
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _EVENT_BYTES_MAX:
            raise ModelStreamBroken(f"A line of the answer has more than {_EVENT_BYTES_MAX} bytes.")
        for raw in lines:
            line = raw[:-1] if raw.endswith(b"\r") else raw
            if line.startswith(b"data:"):
                data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if data:
                    yield name, data[0] if len(data) == 1 else b"\n".join(data)
                name, data = "", []
            elif line.startswith(b"event:"):
                name = line[6:].strip().decode("utf-8", "replace")
