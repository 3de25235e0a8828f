"""The public keys of an issuer: fetched when a token names one that is not known, kept, and not fetched for every made-up name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ConfigError, CorralError
from corral.security.public_keys import PublicKey, public_key

_log = logging.getLogger("corral.security")

Fetch = Callable[[str], Awaitable[bytes]]
"""The body at a URL. Raises `OutboundRefused`, `OutboundFailed`."""

REFETCH_S = 30.0
"""Tokens with an unknown key id make us ask the issuer no more often than this."""
STALE_S = 86_400.0
"""Keys go on to be good for so long while the issuer does not answer."""
_KEYS_MAX = 100
_ID_CHARS_MAX = 512


class IssuerUnavailable(CorralError):
    """The keys of the tokens' issuer cannot be fetched; try again soon."""

    status = 503
    code = "issuer_unavailable"
    retryable = True


class _Metadata(msgspec.Struct):
    jwks_uri: str
    issuer: str


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class KeySet:
    """The keys of one issuer. One event loop, and one question to the issuer at a time."""

    def __init__(self, issuer: str, url: str, fetch: Fetch, *, keep_s: float, clock: Clock = SYSTEM_CLOCK) -> None:
        """`url` is where the keys are; empty: where the issuer's own description says."""
        self._issuer = issuer
        self._url = url
        self._fetch = fetch
        self._keep_s = keep_s
        self._monotonic = clock.monotonic
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at = -STALE_S
        self._tried_at = -REFETCH_S
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> PublicKey | None:
        """The key of this id; where there is one key alone, a token need not name it. Raises `IssuerUnavailable`."""
        now = self._monotonic()
        found = self._known(key_id)
        if found is not None and now - self._fetched_at < self._keep_s:
            return found
        if self._fetching is not None or now - self._tried_at >= REFETCH_S:
            await self._refresh()
            found = self._known(key_id)
        if self._monotonic() - self._fetched_at >= STALE_S:
            raise IssuerUnavailable
        return found

    def _known(self, key_id: str) -> PublicKey | None:
        if not key_id and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def _refresh(self) -> None:
        if self._fetching is None:
            self._tried_at = self._monotonic()
            self._fetching = asyncio.get_running_loop().create_task(self._load())
            self._fetching.add_done_callback(self._ended)
        await asyncio.shield(self._fetching)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # those who wait have it

    async def _load(self) -> None:
        try:
            url = self._url or await self._described()
            listed = msgspec.json.decode(await self._fetch(url), type=_KeySet).keys
        except (CorralError, msgspec.MsgspecError) as error:
            _log.warning("The keys of %s cannot be fetched: %s", self._issuer, error)
            return
        keys: dict[str, PublicKey] = {}
        for one in listed[:_KEYS_MAX]:
            key = public_key(one)
            if key is not None:
                keys[str(one.get("kid", ""))[:_ID_CHARS_MAX]] = key
        self._keys = keys
        self._fetched_at = self._monotonic()

    async def _described(self) -> str:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        said = msgspec.json.decode(await self._fetch(url), type=_Metadata)
        if said.issuer.rstrip("/") != self._issuer.rstrip("/"):
            raise ConfigError(
                f"What is at {url} calls itself {said.issuer[:200]!r}: `security.jwt` names another issuer."
            )
        self._url = said.jwks_uri
        return said.jwks_uri

    async def stop(self) -> None:
        """Wait for the question that is under way. Stopping twice is stopping once."""
        if self._fetching is not None:
            await asyncio.wait([self._fetching])
