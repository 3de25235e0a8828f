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


def _unknown(value: object) -> object:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


# `json.dumps(…, ensure_ascii=False)` builds this encoder anew for every call, which costs more than a small value does.
# Without its table of visited containers a circular value ends in RecursionError instead, which is rescued as well.
_chunks: Callable[[object, int], tuple[str, ...]] = json.encoder.c_make_encoder(  # type: ignore[attr-defined]  # not in the stubs
    None, _unknown, json.encoder.encode_basestring, None, ": ", ", ", False, False, True
)


def _encode(value: object) -> str:
    return "".join(_chunks(value, 0))


def to_json(value: object) -> str:
    """JSON text of any value: as it is, else converted part by part, else as its `str()`."""
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        return _rescued(value)


def _rescued(value: object) -> str:
    try:
        return _encode(to_plain(value))
    except Exception:  # noqa: BLE001 - a user's own model_dump may raise anything; the reply still has to be JSON
        return _as_text(value)


def _as_text(value: object) -> str:
    try:
        return _encode(str(value))
    except Exception:  # noqa: BLE001 - a user's own __str__ may raise anything
        return _encode({"error": "Serialization failed", "original_type": type(value).__name__})


def to_plain(value: Any, depth: int = 0) -> Any:
    """Models, dataclasses, structs and sets as what JSON knows; anything else is handed back as it is."""
    if depth > _DEPTH_MAX:
        return f"<too_deep:{type(value).__name__}>"
    if isinstance(value, dict):
        return {name: to_plain(part, depth + 1) for name, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [to_plain(part, depth + 1) for part in value]
    return _model_to_plain(value)


def _model_to_plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    return value
