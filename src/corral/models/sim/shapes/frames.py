"""AWS's event stream, written: each message with its lengths, its headers, and two checksums."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

_STRING = 7
_PRELUDE = struct.Struct(">II")
_CHECKSUM = struct.Struct(">I")
_OVERHEAD = 16
"""Two lengths and two checksums."""


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message. All headers are texts."""
    head = b"".join(
        b"%c%b%c%b%b" % (len(name), name.encode(), _STRING, len(value.encode()).to_bytes(2), value.encode())
        for name, value in headers.items()
    )
    prelude = _PRELUDE.pack(_OVERHEAD + len(head) + len(payload), len(head))
    message = prelude + _CHECKSUM.pack(zlib.crc32(prelude)) + head + payload
    return message + _CHECKSUM.pack(zlib.crc32(message))


def event(name: str, payload: bytes) -> bytes:
    """An event with a JSON document."""
    return frame({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, payload)


def exception(name: str, payload: bytes) -> bytes:
    """An error that ends the stream."""
    return frame({":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}, payload)


def corrupted(message: bytes) -> bytes:
    """A message whose content does not fit its checksum."""
    middle = len(message) // 2
    return message[:middle] + bytes([message[middle] ^ 0xFF]) + message[middle + 1 :]
