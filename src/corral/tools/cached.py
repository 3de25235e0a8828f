"""The layer that gives a result out again, within its scope and for as long as the tool says."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from typing import Protocol

import msgspec

from corral.messages import Caller, ToolReply
from corral.tools.marks import Marks
from corral.tools.signature import plain
from corral.tools.stack import RunTool, Use

_PUBLIC = "corral:public"
"""The tenant of results that are everybody's. No credential has this name."""

_encoder = msgspec.json.Encoder(enc_hook=plain)
_sorted = msgspec.json.Encoder(order="deterministic", enc_hook=plain)
_decoder = msgspec.json.Decoder(ToolReply)


class Results(Protocol):
    """Where results are kept. Losing one is no fault, and no call fails for what happens here."""

    async def find(self, tenant: str, key: bytes) -> bytes | None:
        """What is kept and still fresh."""
        ...

    async def keep(self, tenant: str, key: bytes, value: bytes, *, ttl_s: float) -> None:
        """Keep it for so long."""
        ...


class Cached:
    """Keeps what tools returned that only read. What failed is not kept."""

    def __init__(self, results: Results) -> None:
        """Looks there."""
        self._results = results

    def __call__(self, use: Use, proceed: RunTool) -> Awaitable[ToolReply]:
        """Give what was kept, or go on."""
        marks = use.tool.marks
        ttl_s = marks.cache_ttl_s
        place = None if ttl_s is None else _place(marks, use.call.caller)
        return proceed(use) if ttl_s is None or place is None else self._kept(use, proceed, place, ttl_s)

    async def _kept(self, use: Use, proceed: RunTool, place: tuple[str, str], ttl_s: float) -> ToolReply:
        marks, call = use.tool.marks, use.call
        tenant, owner = place
        said = _sorted.encode((marks.cache_scope, owner, marks.source, use.tool.name, use.arguments))
        key = hashlib.blake2b(said, digest_size=16).digest()
        kept = await self._results.find(tenant, key)
        if kept is not None:
            call.notes["cache"] = "hit"
            return msgspec.structs.replace(
                _decoder.decode(kept), id=call.id, cached="kept", attempts=0, cost_usd=0.0, duration_s=0.0
            )
        call.notes["cache"] = "miss"
        reply = await proceed(use)
        if reply.fault is None and not reply.artefact:  # an artefact has an owner and an end of its own
            await self._results.keep(tenant, key, _encoder.encode(reply), ttl_s=ttl_s)
        return reply


def _place(marks: Marks, caller: Caller) -> tuple[str, str] | None:
    """Whose results these are: a tenant, and whose within it. None: it is not known whose, so they are nobody's."""
    match marks.cache_scope:
        case "tenant":
            return caller.tenant, ""
        case "user":
            return (caller.tenant, caller.user_id) if caller.user_id else None
        case "session":
            return (caller.tenant, caller.session_id) if caller.session_id else None
        case "public":
            return _PUBLIC, ""
