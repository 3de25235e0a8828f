"""`/v1/audit/verify`, `checkpoints` and `export`: that the audit is what was written, and what others need to check it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any

from corral.errors import CorralError
from corral.jobs.request import check_fields
from corral.security.exporting import export
from corral.security.keeping import Keeper
from corral.security.signing import AuditKeys
from corral.security.store import AuditLog
from corral.security.verifying import shown_checkpoint
from corral.server.disconnect import while_there
from corral.server.http import Request
from corral.server.job_query import whole_number
from corral.server.routes import Answer, Param, Route

_log = logging.getLogger("corral.security")

NDJSON = b"application/x-ndjson"
PAGE_MAX = 1000
_NEWEST_MAX = 2**53
_PAGE = 100
_TEXT, _NUMBER, _COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer", "minimum": 0}
_VERDICT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "tenant": _TEXT,
        "ok": {"type": "boolean", "description": "It is what was written, and keys that are believed here say so."},
        **dict.fromkeys(("entries", "first", "last", "swept", "unsealed", "checkpoints"), _COUNT),
        "hash": {**_TEXT, "description": "Of the last entry that was looked at."},
        "number": {"type": ["integer", "null"], "description": "The first entry that is not what it was."},
        "fault": {**_TEXT, "description": "What is wrong with it."},
        "untrusted": {"type": "array", "items": _TEXT, "description": "Keys that signed and are not believed here."},
    },
    "required": ["tenant", "ok", "entries", "last", "checkpoints", "number", "fault", "untrusted"],
}
_CHECKPOINT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "tenant": _TEXT,
        "number": {"type": "integer", "description": "The entry of which it speaks."},
        "hash": {**_TEXT, "description": "That entry's, in hexadecimal digits."},
        "at": _NUMBER,
        "kind": {
            "enum": ["head", "swept"],
            "description": "`swept`: entries up to this one went because they were old.",
        },
        "algorithm": _TEXT,
        "key_id": _TEXT,
        "signature": _TEXT,
    },
    "required": ["tenant", "number", "hash", "at", "kind", "algorithm", "key_id", "signature"],
}
_KEY = {
    "type": "object",
    "properties": {"key_id": _TEXT, "algorithm": _TEXT, "public": {**_TEXT, "description": "Empty: it has none."}},
    "required": ["key_id", "algorithm", "public"],
}
_CHECKPOINTS = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": _CHECKPOINT},
        "next_after": {"type": ["integer", "null"]},
        "keys": {"type": "array", "items": _KEY, "description": "The keys that are believed here."},
    },
    "required": ["items", "next_after", "keys"],
}


class AuditProofRoutes:
    """The handlers of what proves the audit."""

    def __init__(self, log: AuditLog, keeper: Keeper, keys: AuditKeys) -> None:
        """Reads `log`, and checks it as `keeper` does."""
        self._log = log
        self._keeper = keeper
        self._keys = keys
        self._one = asyncio.Lock()

    def routes(self) -> list[Route]:
        """All three."""
        page = {"type": "integer", "minimum": 1, "maximum": PAGE_MAX}
        newest = Param(
            "newest", description="About so many entries of the end alone.", schema={"type": "integer", "minimum": 1}
        )
        return [
            Route(
                method="GET",
                path="/v1/audit/verify",
                handler=self.verify,
                tag="security",
                needs="auditor",
                summary="Check that your tenant's audit is what was written: nothing edited, gone, moved or cut off",
                params=(newest,),
                answers={200: Answer("What is known of it; look at `ok`", _VERDICT)},
            ),
            Route(
                method="GET",
                path="/v1/audit/checkpoints",
                handler=self.checkpoints,
                tag="security",
                needs="auditor",
                summary="What keys signed of your tenant's audit, and the public keys to check it with",
                params=(
                    Param("after", description="Those at higher numbers than this.", schema=_COUNT),
                    Param("limit", description="Most checkpoints on the page.", schema=page),
                ),
                answers={200: Answer("A page of checkpoints, the lowest number first", _CHECKPOINTS)},
            ),
            Route(
                method="GET",
                path="/v1/audit/export",
                handler=self.export,
                tag="security",
                needs="auditor",
                summary="Your tenant's whole audit as lines of JSON, for `corral audit verify FILE`",
                answers={200: Answer("A header, all checkpoints, all entries", None, NDJSON.decode())},
            ),
        ]

    async def verify(self, request: Request) -> None:
        """`GET /v1/audit/verify`. One at a time: it reads all there is."""
        check_fields(request.query, ("newest",))
        given = request.query
        newest = whole_number(given, "newest", 1, low=1, high=_NEWEST_MAX) if "newest" in given else None
        async with self._one:
            verdict = await self._keeper.verify(request.context.tenant, newest=newest)
        await request.respond_json(verdict)

    async def checkpoints(self, request: Request) -> None:
        """`GET /v1/audit/checkpoints`."""
        check_fields(request.query, ("after", "limit"))
        after = whole_number(request.query, "after", 0, low=0, high=_NEWEST_MAX)
        limit = whole_number(request.query, "limit", _PAGE, low=1, high=PAGE_MAX)
        await asyncio.to_thread(self._keys.read)
        items = await self._log.checkpoints(request.context.tenant, after=after, limit=limit)
        keys = [{"key_id": one.key_id, "algorithm": one.algorithm, "public": one.public} for one in self._keys.known()]
        await request.respond_json(
            {
                "items": [shown_checkpoint(one) for one in items],
                "next_after": items[-1].number if len(items) == limit else None,
                "keys": keys,
            }
        )

    async def export(self, request: Request) -> None:
        """`GET /v1/audit/export`."""
        check_fields(request.query, ())
        if request.method == "HEAD":
            await request.respond(200, b"", NDJSON)
            return
        pieces = export(self._log, self._keeper, request.context.tenant)
        first = await anext(pieces)
        writer = await request.open_stream(200, NDJSON)
        with while_there(request):
            try:
                writer.write_piece(first)
                await writer.drain()
                async for piece in pieces:
                    writer.write_piece(piece)
                    await writer.drain()
            except CorralError as error:  # the file is short: its first line says how long it should be
                request.failure = error
                _log.warning("An export of the audit ended early: %s", error)
            ended = writer.end_stream(b"")
            if inspect.isawaitable(ended):
                await ended
