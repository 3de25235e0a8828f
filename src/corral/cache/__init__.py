"""Answers that were given before: exact, shared at the same time, and by meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corral.cache.response import ResponseCache

__all__ = ["ResponseCache"]


def __getattr__(name: str) -> Any:
    """`ResponseCache`, loaded when somebody asks for it."""
    if name == "ResponseCache":
        from corral.cache.response import ResponseCache  # noqa: PLC0415 - as said

        return ResponseCache
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
