"""The port for definitions: texts that never change, named by what they say."""

from __future__ import annotations

import hashlib
from typing import Protocol


def digest_of(text: str) -> str:
    """The name of a definition: the same text has the same one, everywhere."""
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


class Definitions(Protocol):
    """Definitions by tenant and digest. Raises `StoreUnavailable`.

    A machine, its versions and its executions all name theirs, and none is ever changed: the version that an execution
    began with is the one that it finishes with.
    """

    async def keep(self, tenant: str, text: str) -> str:
        """Keep a definition, once however often it comes; durable when its digest is returned.

        Raises `ValidationFailed` for half a surrogate pair.
        """
        ...

    async def text(self, tenant: str, digest: str) -> str | None:
        """What was kept, to the letter; none for what this tenant never kept."""
        ...

    async def unnamed(self, *, before: float, limit: int) -> list[tuple[str, str]]:
        """Tenants and digests that no machine, no version and no execution names, and that were last kept before that time.

        An execution names one, or a part of it (`DIGEST#…`). Looks at every execution: ask it seldom.
        """
        ...

    async def forget(self, tenant: str, digest: str, *, before: float | None = None) -> bool:
        """Remove one that nothing names any more. False: it was not there, or was kept again since `before`."""
        ...
