"""Removes definitions that nothing names any more: no machine, no version, and no execution, over or not."""

from __future__ import annotations

from corral.clock import SYSTEM_CLOCK, Clock
from corral.workflows.catalog_store import Definitions

_LIMIT = 1000
"""Definitions that one sweep looks at."""
_REST_S = 1800.0
"""So long nobody may have wanted one, and so long it stays unnamed before it goes: whoever read its name has used it by then."""


class Forgetting:
    """A sweep of one process. It removes what it found unnamed, and found unnamed once more half an hour later."""

    def __init__(self, definitions: Definitions, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Nothing found yet."""
        self._definitions = definitions
        self._clock = clock
        self._found: dict[tuple[str, str], float] = {}

    async def sweep(self) -> int:
        """Look, and remove what was found before; how many went. It looks at every execution: call it seldom."""
        before, now = self._clock.now() - _REST_S, self._clock.monotonic()
        unnamed = await self._definitions.unnamed(before=before, limit=_LIMIT)
        self._found = {key: self._found.get(key, now) for key in unnamed}
        gone = 0
        for (tenant, digest), since in list(self._found.items()):
            if now - since >= _REST_S:
                gone += await self._definitions.forget(tenant, digest, before=before)
                del self._found[tenant, digest]
        return gone
