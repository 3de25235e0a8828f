"""What an invocation answers with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any


class Reply:
    """One of: a value, a stream of values, or a ready HTTP response that the agent built itself.

    Inside the pipeline values are Python's (`value`, `source`); what leaves it is JSON text (`text`, `stream`).
    """

    __slots__ = ("degraded", "replayed", "response", "source", "stream", "text", "value")

    def __init__(
        self,
        value: Any = None,
        *,
        source: AsyncIterator[Any] | None = None,
        response: Any = None,
        text: str | None = None,
        stream: AsyncIterator[str] | None = None,
    ) -> None:
        """Say which one it is."""
        self.value = value
        self.source = source
        self.response = response
        self.text = text
        self.stream = stream
        self.degraded = False
        """Something gentler than the agent answered."""
        self.replayed = False
        """This is the answer of an earlier run of the same request."""


_PLAIN = frozenset({dict, str, int, float, bool, list, tuple, type(None)})


def is_plain(value: object) -> bool:
    """Whether a value is certainly just a value: no generator, no coroutine, no response."""
    return type(value) in _PLAIN


def is_response(value: object) -> bool:
    """Whether a value is a Starlette response, told by its shape so that nothing needs importing."""
    return callable(value) and hasattr(value, "raw_headers") and hasattr(value, "status_code")
