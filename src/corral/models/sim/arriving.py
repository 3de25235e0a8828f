"""A request as it arrives: its body, whose it is, which language it is in, and what it wants to happen to it."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

from corral.models.sim.options import NO_WISH, Wish, read_wish
from corral.models.sim.refusal import Refused
from corral.models.sim.shapes.shape import Asked, Header

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_BODY_BYTES_MAX = 64 * 1024 * 1024
_OF_DEPLOYMENTS = ("/chat/completions", "/embeddings", "/responses")


class Connection(Protocol):
    """What the house's server puts into the scope as `corral.connection`."""

    transport: Any

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call when the client leaves."""
        ...

    def forget(self) -> None:
        """Call nobody any more."""
        ...

    def respond(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        """Write a complete response."""
        ...

    def begin_stream(self, status: int, headers: Iterable[Header]) -> None:
        """Write the head of a stream."""
        ...

    def write_piece(self, piece: bytes) -> bool:
        """Write a piece; true: `drain` before the next one."""
        ...

    async def drain(self) -> None:
        """Wait until the client has read."""
        ...

    def end_stream(self, last: bytes) -> None:
        """Write the end."""
        ...


def key_of(asked: Asked) -> str:
    """The key that came along, in whichever way; of one that signs (AWS), the id."""
    given = asked.header(b"authorization")
    if given.startswith("AWS4-HMAC-SHA256"):
        return given.partition("Credential=")[2].partition("/")[0]
    return given.removeprefix("Bearer ") or asked.header(b"x-api-key") or asked.header(b"api-key")


def number_of(asked: Asked) -> str:
    """What the ids of a response are made of that answers no call."""
    return hashlib.blake2b(asked.path.encode() + asked.body, digest_size=16).hexdigest()


def wish_of(asked: Asked) -> Wish:
    """What the headers `X-Sim-…` want to happen."""
    wished = {
        name[6:].decode("latin-1").replace("-", "_"): value.decode("latin-1")
        for name, value in asked.headers.items()
        if name.startswith(b"x-sim-")
    }
    if not wished:
        return NO_WISH
    try:
        return read_wish(wished)
    except ValueError as error:
        raise Refused("invalid", str(error)) from None


def place_of(path: str) -> tuple[str, str]:
    """The address without the ways in which others begin it, and the model if it names one."""
    if path.startswith("/openai/deployments/"):  # Azure
        for end in _OF_DEPLOYMENTS:
            if path.endswith(end):
                return f"/v1{end}", path[20 : -len(end)]
    return path.removeprefix("/openai").removeprefix("/anthropic"), ""


async def body_of(receive: Receive) -> bytes | None:
    """The request's body; none if the client is gone. Raises `Refused` if it is too large."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message.get("body", b"")
    pieces, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > _BODY_BYTES_MAX:
            raise Refused("invalid", f"The request has more than {_BODY_BYTES_MAX} bytes.", status=413)
    return body if len(pieces) == 1 else b"".join(pieces)
