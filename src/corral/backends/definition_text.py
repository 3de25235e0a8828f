"""Definitions as engines write and read them: compressed, for they are long and much alike."""

from __future__ import annotations

import zlib

from corral.errors import ValidationFailed


def packed(text: str) -> bytes:
    """A text as it is kept. Raises `ValidationFailed` for half a surrogate pair."""
    try:
        return zlib.compress(text.encode(), 6)
    except UnicodeEncodeError as error:
        raise ValidationFailed(f"The definition is not valid Unicode: {error.reason}.") from error


def unpacked(body: bytes) -> str:
    """The text again."""
    return zlib.decompress(body).decode()
