"""AWS's event stream: messages with headers and checksums, taken apart as their bytes come."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

from corral.errors import ModelStreamBroken

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_FRAME_BYTES_MAX = 24 * 1024 * 1024
_FRAME_BYTES_MIN = _PRELUDE.size + _CRC.size

_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value, by its type."""
_BYTES, _TEXT = 6, 7


class Frame(msgspec.Struct, frozen=True):
    """One message: its headers that are text, and what it carries."""

    headers: dict[str, str]
    payload: bytes


class FrameReader:
    """Takes bytes, gives messages. Raises `ModelStreamBroken` for bytes that are none."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """The messages that these bytes complete, one by one: what comes before a broken one is given all the same."""
        self._rest += chunk
        while (frame := self._next()) is not None:
            yield frame

    def end(self) -> None:
        """Nothing more comes. Raises `ModelStreamBroken` if the last message is not whole."""
        if self._rest:
            raise ModelStreamBroken("The answer ended within a message.")

    def _next(self) -> Frame | None:
        rest = self._rest
        if len(rest) < _PRELUDE.size:
            return None
        size, headers_size, checksum = _PRELUDE.unpack_from(rest)
        if zlib.crc32(rest[:8]) != checksum:
            raise ModelStreamBroken("A message's length does not have the checksum that it came with.")
        if not _FRAME_BYTES_MIN + headers_size <= size <= _FRAME_BYTES_MAX:
            raise ModelStreamBroken(f"A message of {size} bytes cannot be.")
        if len(rest) < size:
            return None
        raw = bytes(rest[:size])
        del rest[:size]
        return _frame(raw, headers_size)


def _frame(raw: bytes, headers_size: int) -> Frame:
    end = len(raw) - _CRC.size
    if zlib.crc32(memoryview(raw)[:end]) != _CRC.unpack_from(raw, end)[0]:
        raise ModelStreamBroken("A message does not have the checksum that it came with.")
    begin = _PRELUDE.size + headers_size
    try:
        return Frame(_headers(raw[_PRELUDE.size : begin]), raw[begin:end])
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        raise ModelStreamBroken("A message's headers cannot be read.") from None


def _headers(raw: bytes) -> dict[str, str]:
    headers, at = {}, 0
    while at < len(raw):
        named = at + 1 + raw[at]
        name, kind = raw[at + 1 : named].decode(), raw[named]
        at = named + 1
        if kind in {_BYTES, _TEXT}:
            size = _LENGTH.unpack_from(raw, at)[0]
            at += _LENGTH.size
        else:
            size = _FIXED[kind]
        if at + size > len(raw):
            raise IndexError(at)
        if kind == _TEXT:
            headers[name] = raw[at : at + size].decode()
        at += size
    return headers


def frame_bytes(headers: dict[str, str], payload: bytes) -> bytes:
    """A message in bytes, as AWS sends it."""
    packed = b""
    for name, value in headers.items():
        key, text = name.encode(), value.encode()
        packed += bytes([len(key)]) + key + bytes([_TEXT]) + _LENGTH.pack(len(text)) + text
    sizes = struct.pack(">II", _FRAME_BYTES_MIN + len(packed) + len(payload), len(packed))
    message = sizes + _CRC.pack(zlib.crc32(sizes)) + packed + payload
    return message + _CRC.pack(zlib.crc32(message))
