"""Links with which people answer questions: whoever has one may, until it expires, and nobody else can make one."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError, NotFound
from corral.memory.resource_store import ResourceDraft, ResourceExists, ResourceStore

_KIND = "workflow-links"
_ID = "secret"
_EVERYBODY = "*"
"""The secret is that of all workers of a store, and no tenant's; nothing over HTTP asks for things of this kind."""
_SIGNATURE_BYTES = 32
_LENGTH_MAX = 4096


class LinkInvalid(NotFound):
    """This link was never given out, or it has expired."""

    code = "link_invalid"


class Link(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a link is for."""

    tenant: str
    token: str
    """Of the task that waits for the answer."""
    expires_at: float


class Links:
    """Signs links and reads them."""

    def __init__(self, store: ResourceStore, *, secret: str = "", clock: Clock = SYSTEM_CLOCK) -> None:
        """Without a `secret` one is made, and kept in the store for all workers."""
        self._store = store
        self._given = secret
        self._clock = clock
        self._key = b""
        self._finding = asyncio.Lock()

    async def sign(self, link: Link) -> str:
        """The last part of the link's address."""
        body = msgspec.json.encode(link)
        return _text(hmac.digest(await self._secret(), body, hashlib.sha256) + body)

    async def read(self, text: str) -> Link:
        """What a link is for. Raises `LinkInvalid`."""
        try:
            raw = base64.b64decode(text[:_LENGTH_MAX] + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise LinkInvalid from None
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, hmac.digest(await self._secret(), body, hashlib.sha256)):
            raise LinkInvalid
        link = msgspec.json.decode(body, type=Link)
        if link.expires_at <= self._clock.now():
            raise LinkInvalid("This link has expired: ask for a new one.")
        return link

    async def _secret(self) -> bytes:
        if not self._key:
            async with self._finding:
                secret = self._given or await self._kept()
                self._key = hashlib.sha256(b"corral links\n" + secret.encode()).digest()
        return self._key

    async def _kept(self) -> str:
        """The secret in the store; made by whoever is first."""
        draft = ResourceDraft(kind=_KIND, id=_ID, body={"secret": secrets.token_urlsafe(32)})
        with contextlib.suppress(ResourceExists):  # somebody else was first
            await self._store.create(_EVERYBODY, [draft])
        found = await self._store.get(_EVERYBODY, _KIND, _ID)
        if found is None:
            raise CorralError("The secret that signs links was removed while it was made: try again.")
        return str(found.body["secret"])


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
