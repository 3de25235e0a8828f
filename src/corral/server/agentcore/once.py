"""A request that comes again with its client token gets the first one's answer, and does nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from corral.errors import IdempotencyKeyReused, ValidationFailed
from corral.memory.resource_store import ResourceConflict
from corral.runtime.store import Begun, Finished, InvocationStore

_LEASE_S = 30.0
_TTL_S = 86_400.0
_ASK_AGAIN_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)


class Once:
    """Answers by client token."""

    def __init__(self, store: InvocationStore) -> None:
        """Answers are kept for a day."""
        self._store = store

    async def __call__(
        self, tenant: str, operation: str, body: dict[str, Any], work: Callable[[], Awaitable[Any]]
    ) -> Any:
        """What `work` answers (JSON), or what it answered before. `operation` names what is done, and to what.

        Raises `ValidationFailed` where a token comes with another request.
        """
        token = body.get("clientToken")
        if not token:
            return await work()
        key = f"agentcore:{_digest([operation, token])}"
        asked = _digest({name: value for name, value in body.items() if name != "clientToken"})
        for pause in (*_ASK_AGAIN_S, None):
            try:
                claim = await self._store.begin(tenant, key, asked, lease_s=_LEASE_S, ttl_s=_TTL_S)
            except IdempotencyKeyReused:
                raise ValidationFailed("The clientToken was used before with other parameters.") from None
            if isinstance(claim, Finished):
                return msgspec.json.decode(claim.reply)
            if isinstance(claim, Begun):
                return await self._work(tenant, key, claim.token, work)
            if pause is not None:
                await asyncio.sleep(pause)
        raise ResourceConflict("The same request is still being worked on; try again.")

    async def _work(self, tenant: str, key: str, claim: str, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            answer = await work()
        except BaseException:
            await asyncio.shield(self._store.abandon(tenant, key, claim))
            raise
        await self._store.finish(tenant, key, claim, msgspec.json.encode(answer))
        return answer


def _digest(value: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=20).hexdigest()
