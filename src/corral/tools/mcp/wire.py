"""What carries messages to a server and back: a program's pipes, or HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from corral.errors import CorralError

Message = dict[str, Any]
"""A JSON-RPC message."""

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


class McpLost(CorralError):
    """The MCP server is not there."""

    status = 502
    code = "unavailable"
    retryable = True


class Ears(Protocol):
    """Who hears what a wire brings."""

    def heard(self, message: Message) -> None:
        """A message came."""
        ...

    def lost(self, why: str) -> None:
        """The wire carries nothing any more."""
        ...


class Wire(Protocol):
    """One connection. When it is lost, it is lost for good: a new one is made."""

    async def start(self, ears: Ears) -> None:
        """Connect. Raises `McpLost`."""
        ...

    async def send(self, message: Message) -> None:
        """Hand a message over; what comes back is heard. Raises `McpLost`."""
        ...

    def agreed(self, version: str) -> None:
        """This version of the protocol is spoken from now on."""
        ...

    async def stop(self) -> None:
        """Close it. Stopping twice is stopping once."""
        ...


MakeWire = Callable[[], Wire]
