"""The port for summaries of conversations: proved by `corral.testing.contracts.summaries`."""

from __future__ import annotations

from typing import Protocol


class SummaryStore(Protocol):
    """Summaries by tenant and session. They go with their session, and when anything that was said in it is taken out.

    Events that expire by themselves take none with them: a summary may speak of them for as long as its session lives.
    Raises `StoreUnavailable`.
    """

    async def read(self, tenant: str, session_id: str) -> list[bytes]:
        """Those of a session, in any order."""
        ...

    async def keep(self, tenant: str, session_id: str, digest: str, summary: bytes) -> None:
        """Keep one under its digest; the same digest again changes nothing.

        Keeps none for a session that is not there. A session has eight at most: the oldest goes.
        """
        ...
