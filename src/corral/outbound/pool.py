"""Connections that are kept for the next call to the same place."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

import msgspec

from corral.outbound.connection import CallFailed, CallTimedOut, Connection

_KEPT_S = 55.0
"""Load balancers close idle connections after a minute."""
_KEPT_MAX = 256
_PORTS = {"http": 80, "https": 443}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_FORBIDDEN = frozenset("\r\n\0")
_OK = 200

Origin = tuple[str, str, int]


class _Place(msgspec.Struct, frozen=True):
    """What is known of an address before it is asked."""

    parts: SplitResult
    origin: Origin
    start: bytes
    """A request's beginning, after its method."""
    has_user: bool


class Pool:
    """Asks over connections that are open already, and opens others when they are all in use.

    It is used from one event loop. The proxies that the environment names (`HTTPS_PROXY`, `NO_PROXY`) are used.
    """

    def __init__(self, *, connect_s: float, idle_s: float, headers: Mapping[str, str] | None = None) -> None:
        """`idle_s`: the longest silence of the other side. `headers` go with every request that says nothing else there."""
        self._connect_s = connect_s
        self._idle_s = idle_s
        self._headers = dict(headers or {})
        self._kept: dict[Origin, list[Connection]] = {}
        self._proxies: dict[str, str] | None = None
        self._tls: ssl.SSLContext | None = None
        self._places: dict[str, _Place] = {}
        self._head: tuple[dict[str, str], bytes] | None = None
        self.open = 0
        """Connections that carry a call."""

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float
    ) -> Connection:
        """Send a request and wait for the head of its answer. Give the connection back, whatever happens then.

        A kept connection that was closed before it said a word is replaced by a new one, once. Raises `CallFailed`,
        `CallTimedOut`, and `ValueError` for what cannot be sent. Cancelling closes the connection.
        """
        place = self._places.get(url) or self._place(url)
        request = self._request(method, place, headers, body)
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while True:
            connection = self._take(place.origin, loop.time())
            kept = connection is not None
            if connection is None:
                connection = await self._connected(loop, place, until)
            self.open += 1
            try:
                connection.send(request, idle_s=self._idle_s, until=until)
                while not connection.status:
                    await connection.news()
            except BaseException as error:
                self.give_back(connection)
                if not kept or connection.heard or isinstance(error, CallTimedOut) or not isinstance(error, CallFailed):
                    raise
            else:
                return connection

    def give_back(self, connection: Connection) -> None:
        """Keep it for the next call if its answer was read to the end, else close it."""
        self.open -= 1
        kept = self._kept.setdefault(connection.origin, [])
        if connection.reusable and len(kept) < _KEPT_MAX:
            kept.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close what is kept. Closing twice is closing once."""
        for kept in self._kept.values():
            for connection in kept:
                connection.abort()
        self._kept.clear()

    # -- where to

    def _place(self, url: str) -> _Place:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or _FORBIDDEN & set(url) or " " in url:
            raise ValueError("an address begins with http:// or https://")
        origin = (parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if self._proxy(origin) and parts.scheme == "http":
            target = url
        host = parts.netloc.rpartition("@")[2]
        start = f" {target} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity\r\n".encode("latin-1")
        place = _Place(parts, origin, start, has_user=parts.username is not None)
        if len(self._places) < _KEPT_MAX:
            self._places[url] = place
        return place

    def _proxy(self, origin: Origin) -> str | None:
        if self._proxies is None:
            self._proxies = _proxies()
        scheme, host, port = origin
        proxy = self._proxies.get(scheme) or self._proxies.get("all")
        if not proxy or host in _LOOPBACK:
            return None
        from urllib.request import (  # type: ignore[attr-defined]  # noqa: PLC0415 - as below; it is there, on every system
            proxy_bypass_environment,
        )

        return None if proxy_bypass_environment(f"{host}:{port}", self._proxies) else proxy

    def _request(self, method: str, place: _Place, headers: Mapping[str, str], body: bytes) -> bytes:
        """All of it. Headers that come again and have not changed, as a provider's own do, are written once."""
        known = self._head
        if known is None or known[0] != headers:
            known = self._head = (dict(headers), _head({**self._headers, **headers}))
        if place.has_user and "authorization" not in {name.lower() for name in headers}:
            raise ValueError("an address holds no password: set a header")
        length = b"content-length: %d\r\n\r\n" % len(body) if body or method != "GET" else b"\r\n"
        return b"".join((method.encode(), place.start, known[1], length, body))

    # -- connections

    def _take(self, origin: Origin, now: float) -> Connection | None:
        kept = self._kept.get(origin)
        while kept:
            connection = kept.pop()
            if connection.is_open and now - connection.heard_at < _KEPT_S:
                return connection
            connection.abort()
        return None

    async def _connected(self, loop: asyncio.AbstractEventLoop, place: _Place, until: float) -> Connection:
        seconds = min(self._connect_s, until - loop.time())
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connect(loop, place)
        except TimeoutError:
            raise CallTimedOut("no connection in time") from None
        except CallFailed:
            raise
        except (OSError, UnicodeError) as error:
            raise CallFailed(_reason(error)) from error
        connection.origin = place.origin
        return connection

    async def _connect(self, loop: asyncio.AbstractEventLoop, place: _Place) -> Connection:
        scheme, host, port = place.origin
        proxy = self._proxy(place.origin)
        if proxy is not None:
            return await self._through(loop, proxy, place.origin)
        tls = self._context() if scheme == "https" else None
        _, connection = await loop.create_connection(
            lambda: Connection(loop), host, port, ssl=tls, server_hostname=place.parts.hostname if tls else None
        )
        return connection

    async def _through(self, loop: asyncio.AbstractEventLoop, proxy: str, origin: Origin) -> Connection:
        scheme, host, port = origin
        where = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        transport, connection = await loop.create_connection(
            lambda: Connection(loop), where.hostname or "", where.port or _PORTS["http"]
        )
        if scheme == "http":
            return connection
        try:
            name = f"{host}:{port}"
            connection.send(
                f"CONNECT {name} HTTP/1.1\r\nhost: {name}\r\n\r\n".encode("latin-1"),
                idle_s=self._connect_s,
                until=loop.time() + self._connect_s,
            )
            while not connection.status:
                await connection.news()
            connection.rest()
            secure = Connection(loop)
            if connection.status == _OK:
                secured = await loop.start_tls(transport, secure, self._context(), server_hostname=host)
                if secured is not None:
                    secure.connection_made(secured)
        except BaseException:
            transport.abort()
            raise
        if not secure.is_open:
            transport.abort()
            raise CallFailed(f"the proxy answers {connection.status}")
        return secure

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _proxies() -> dict[str, str]:
    """As the environment names them. Python's own way to read that loads a whole HTTP client: not where there are none."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from urllib.request import getproxies_environment  # noqa: PLC0415 - as said

    return getproxies_environment()


def _head(headers: Mapping[str, str]) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    head = "".join(lines)
    if head.count("\n") != len(lines) or head.count("\r") != len(lines) or "\0" in head:
        raise ValueError("a header holds a line break")
    return head.encode("latin-1")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}"
    number = getattr(error, "errno", None)
    known = number in errno.errorcode and not isinstance(error, socket.gaierror)
    return (os.strerror(number or 0) if known else str(error) or type(error).__name__).lower()
