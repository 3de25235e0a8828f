"""Results too long for a conversation: kept under a name that cannot be guessed, and read on by a tool."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from corral.messages import Caller, ToolCall
from corral.tools.failing import ToolFailed
from corral.tools.store import ToolArtefacts
from corral.tools.tool import Tool, tool

_BYTES = 16_000

ReadArtefact = Callable[[Caller, str], Awaitable[bytes | None]]


class Artefacts:
    """Keeps them in the store, for the user whose call it was (or, where nobody is named, for all of the tenant)."""

    def __init__(self, store: ToolArtefacts, *, ttl_s: float) -> None:
        """Each for so long."""
        self._store = store
        self._ttl_s = ttl_s

    async def keep(self, caller: Caller, body: bytes) -> str:
        """Keep; the name it is read by."""
        name = f"artefact-{secrets.token_hex(12)}"
        await self._store.put(caller.tenant, caller.user_id, name, body, ttl_s=self._ttl_s)
        return name

    async def read(self, caller: Caller, name: str) -> bytes | None:
        """Read; none: it is not there, or not this caller's."""
        return await self._store.get(caller.tenant, caller.user_id, name)


def reader(read: ReadArtefact) -> Tool:
    """The tool by which a model reads on in a result of which it was given the beginning."""

    @tool(read_only=True, untrusted=True, description=_SAID)
    async def read_artefact(name: str, call: ToolCall, offset: int = 0, length: int = _BYTES) -> str:
        body = await read(call.caller, name)
        if body is None:
            raise ToolFailed(f"There is no artefact {name[:100]!r}, or its time is over.", code="not_found")
        offset, length = max(0, offset), max(1, min(length, _BYTES))
        text = body[offset : offset + length].decode(errors="ignore")
        end = min(offset + length, len(body))
        return f"{text}\n\n[Bytes {offset} to {end} of {len(body)}.]"

    return read_artefact


_SAID = (
    "Read on in a long result of a tool, of which only the beginning was given. `name` is the artefact it names; `offset` and `length` "
    "count bytes."
)

_service: Artefacts | None = None


def use(artefacts: Artefacts | None) -> Artefacts | None:
    """Have `read_artefact` of this process read there; none: there is nothing to read. Returns what was there before."""
    global _service  # set when the service starts, taken away when it stops
    before, _service = _service, artefacts
    return before


async def _read_here(caller: Caller, name: str) -> bytes | None:
    return None if _service is None else await _service.read(caller, name)


read_artefact = reader(_read_here)
"""Give it to an agent whose tools have long results: `Agent(…, tools=[log, read_artefact])`."""
