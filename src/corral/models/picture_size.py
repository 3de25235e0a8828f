"""How large a picture is, read from the first bytes of its file: models count pictures by their size."""

from __future__ import annotations

import base64
import binascii
import struct

_LOOK_AT = 65_536
"""Characters of base64 that are looked at: a JPEG may say its size behind a thumbnail."""
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def size_of(data: str) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF, JPEG or WebP in base64; none: it does not say."""
    try:
        head = base64.b64decode(data[:_LOOK_AT].rstrip("=")[: (len(data[:_LOOK_AT].rstrip("=")) // 4) * 4])
        return _size(head)
    except (binascii.Error, ValueError, struct.error, IndexError):
        return None


def _size(head: bytes) -> tuple[int, int] | None:
    if head.startswith(b"\x89PNG"):
        return struct.unpack_from(">II", head, 16)
    if head.startswith(b"GIF8"):
        return struct.unpack_from("<HH", head, 6)
    if head.startswith(b"\xff\xd8"):
        return _jpeg(head)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp(head)
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    while head[at] == 0xFF:  # noqa: PLR2004 - every segment begins so
        kind = head[at + 1]
        if kind in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", head, at + 2)[0]
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
