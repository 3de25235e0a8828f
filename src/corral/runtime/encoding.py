"""Python values as JSON text, whatever an agent returns.

The text is what AgentCore's own runtime writes, to the byte: `json.dumps(value, ensure_ascii=False)`, then the same
rescue for values that are not JSON by themselves.
"""

from __future__ import annotations

import dataclasses
import json
import json.encoder
from collections.abc import Callable
from typing import Any

import msgspec

_DEPTH_MAX = 50
_TOO_DEEP_MAX = 1000
"""A value that contains itself twice has more ends than there is time for."""


def _unknown(value: object) -> object:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_Chunks = Callable[[object, int], tuple[str, ...]]


def _encoder(colon: str, comma: str) -> _Chunks:
    # `json.dumps(…, ensure_ascii=False)` builds this anew for every call, which costs more than a small value does.
    # Without its table of visited containers a circular value ends in RecursionError instead, which is rescued as well.
    encoder: _Chunks = json.encoder.c_make_encoder(  # type: ignore[attr-defined]  # not in the stubs
        None, _unknown, json.encoder.encode_basestring, None, colon, comma, False, False, True
    )
    return encoder


_spaced = _encoder(": ", ", ")
_compact = _encoder(":", ",")


def to_json(value: object) -> str:
    """JSON text of any value: as it is, else converted part by part, else as its `str()`."""
    try:
        text = "".join(_spaced(value, 0))
    except Exception:  # noqa: BLE001 - a user's own dict or str may raise anything
        text = _rescued(value, _spaced)
    return text if text.isascii() else _carriable(text)


def to_compact_json(value: object) -> bytes:
    """The same without spaces, as bytes: how errors are written."""
    try:
        text = "".join(_compact(value, 0))
    except Exception:  # noqa: BLE001 - as above
        text = _rescued(value, _compact)
    return _carriable(text).encode()


def _carriable(text: str) -> str:
    """Text that UTF-8 can carry: a lone half of a character becomes the JSON escape that stands for it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text


def _rescued(value: object, encode: _Chunks) -> str:
    try:
        return "".join(encode(_Plainer().plain(value), 0))
    except Exception:  # noqa: BLE001 - a user's own model_dump may raise anything; the reply still has to be JSON
        return _as_text(value, encode)


def _as_text(value: object, encode: _Chunks) -> str:
    try:
        return "".join(encode(str(value), 0))
    except Exception:  # noqa: BLE001 - a user's own __str__ may raise anything
        return "".join(encode({"error": "Serialization failed", "original_type": type(value).__name__}, 0))


class _Plainer:
    """Models, dataclasses, structs and sets as what JSON knows; anything else is handed back as it is."""

    def __init__(self) -> None:
        self._too_deep = 0

    def plain(self, value: Any, depth: int = 0) -> Any:
        if depth > _DEPTH_MAX:
            self._too_deep += 1
            if self._too_deep > _TOO_DEEP_MAX:
                raise ValueError("The value refers to itself.")
            return f"<too_deep:{type(value).__name__}>"
        if hasattr(value, "model_dump"):
            return value.model_dump()
        if dataclasses.is_dataclass(value):
            return dataclasses.asdict(value)  # type: ignore[arg-type]  # a class raises TypeError, and its text is taken
        if isinstance(value, dict):
            return {name: self.plain(part, depth + 1) for name, part in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.plain(part, depth + 1) for part in value]
        return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
