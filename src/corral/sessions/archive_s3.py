"""The archive in a bucket of S3, or of a server that speaks its language."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ConfigError, StoreUnavailable
from corral.outbound.connection import CallFailed
from corral.outbound.pool import Pool
from corral.outbound.sigv4 import AwsKeys, signed

_TIMEOUT_S = 60.0
_ATTEMPTS = 3
_PAUSE_S = 0.2
_OBJECT_MAX = 256 * 1024 * 1024
_NOT_FOUND = 404
_AGAIN = frozenset({429, 500, 502, 503, 504})
_DONE = frozenset({200, 204})
_PLAIN = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*")

GetKeys = Callable[[], Awaitable[AwsKeys]]
"""Keys that are good now."""


class S3Archive:
    """One object for each object. Used from one loop."""

    def __init__(
        self, url: str, keys: GetKeys, *, region: str, endpoint: str = "", clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`url` is `s3://bucket/prefix`. Raises `ConfigError` for what is no bucket's name."""
        self.url = url
        place = url.removeprefix("s3://").strip("/")
        if not _PLAIN.fullmatch(place):
            raise ConfigError(
                f"sessions.tiers.archive: {url!r} names no bucket; write s3://bucket/prefix with letters, digits, `.`, `_` and `-`."
            )
        bucket, _, prefix = place.partition("/")
        if endpoint:
            self._root = f"{endpoint.rstrip('/')}/{place}"
        else:
            self._root = f"https://{bucket}.s3.{region}.amazonaws.com" + (f"/{prefix}" if prefix else "")
        if urlsplit(self._root).scheme not in {"http", "https"}:
            raise ConfigError(f"sessions.tiers.endpoint: {endpoint!r} must begin with https:// or http://.")
        self._keys = keys
        self._region = region
        self._clock = clock
        self._pool = Pool(connect_s=10.0, idle_s=30.0)

    async def put(self, name: str, body: bytes) -> None:
        """Write it."""
        await self._ask("PUT", name, body)

    async def get(self, name: str) -> bytes | None:
        """Read it."""
        return await self._ask("GET", name)

    async def delete(self, name: str) -> None:
        """Delete it, if it is there."""
        await self._ask("DELETE", name)

    async def stop(self) -> None:
        """Close every connection."""
        self._pool.close()
        await asyncio.sleep(0)  # the loop closes them in its next turn

    async def _ask(self, method: str, name: str, body: bytes = b"") -> bytes | None:
        """The answer's body; none: there is no such object. All three may be asked again."""
        said = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PAUSE_S * 2**attempt)
            try:
                status, content = await self._once(method, f"{self._root}/{name}", body)
            except (CallFailed, ValueError) as error:
                said = str(error)
                continue
            if status in _DONE:
                return content
            if status == _NOT_FOUND and b"NoSuchBucket" not in content:
                return None
            said = f"{status} {_code(content)}"
            if status not in _AGAIN:
                break
        raise StoreUnavailable(
            f"The archive {self.url} does not answer: {said} (settings `sessions.tiers.archive`, `endpoint`, `access_key`)."
        )

    async def _once(self, method: str, url: str, body: bytes) -> tuple[int, bytes]:
        headers = signed(
            method,
            url,
            {"x-amz-content-sha256": hashlib.sha256(body).hexdigest(), "content-type": "application/octet-stream"},
            body,
            keys=await self._keys(),
            region=self._region,
            service="s3",
            now=self._clock.now(),
        )
        connection = await self._pool.ask(method, url, headers, body, timeout_s=_TIMEOUT_S)
        try:
            content = bytearray()
            while (chunk := await connection.read()) is not None:
                content += chunk
                if len(content) > _OBJECT_MAX:
                    raise CallFailed(f"an object of more than {_OBJECT_MAX} bytes is not ours")
            return connection.status, bytes(content)
        finally:
            self._pool.give_back(connection)


def _code(content: bytes) -> str:
    found = re.search(rb"<Code>([A-Za-z0-9]+)</Code>", content)
    return found.group(1).decode() if found else ""
