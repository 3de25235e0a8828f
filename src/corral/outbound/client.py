"""Ask an address that somebody else chose: resolved once, checked, pinned, and bounded in time and size."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import httptools
import msgspec

from corral.errors import OutboundFailed, OutboundRefused
from corral.outbound.addresses import Reach
from corral.outbound.target import Target, check_headers, target_of
from corral.version import VERSION

_HEAD_BYTES_MAX = 65_536
"""Of an answer's headers; whatever framing its body has counts as well."""
_READ_BYTES = 16_384
_RESOLVER_THREADS = 8
"""Of our own: a name server that does not answer holds up callbacks, and nothing else."""
_INTERIM = 200
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BARE = frozenset({"GET", "DELETE", "OPTIONS"})
"""Those that mostly come without a body."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""All addresses of a host, best first. Raises `OSError` when there is none."""


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: dict[str, str]
    """By lower-case name; the last one where a name came twice."""
    body: bytes
    """At most as long as the client reads."""
    complete: bool
    """The whole body is there."""


class Outbound:
    """A small HTTP/1.1 client for foreign addresses. No redirects, no proxies, no cookies; one connection per call."""

    def __init__(
        self,
        allow: Sequence[str] = (),
        *,
        timeout_s: float = 15.0,
        body_max: int = 1_048_576,
        answer_max: int = 65_536,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`allow`: see `Reach`. `timeout_s` is for all of a call, from the name to the last byte read."""
        self.timeout_s = timeout_s
        self._reach = Reach(allow)
        self._body_max = body_max
        self._answer_max = answer_max
        self._resolve = resolve or self._ask_system
        self._tls = tls
        self._threads: ThreadPoolExecutor | None = None

    def check(self, url: str, headers: Mapping[str, str]) -> None:
        """Refuse at once what could never be called, without asking a name server: raises `OutboundRefused`."""
        target = target_of(url)
        check_headers(headers)
        address = _written(target.host)
        if address is not None:
            self._permit(target.host, [address])

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send `body`. Raises `OutboundRefused` (trying again is useless) or `OutboundFailed`."""
        return await self.ask("POST", url, body, headers)

    async def ask(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a request of any method but HEAD. Raises `OutboundRefused` (trying again is useless) or `OutboundFailed`."""
        if method not in _METHODS:
            raise OutboundRefused(f"{method[:20]!r} is not a method that is sent from here.")
        target = target_of(url)
        check_headers(headers)
        if len(body) > self._body_max:
            raise OutboundRefused(f"The body has more than {self._body_max} bytes.")
        try:
            async with asyncio.timeout(self.timeout_s):
                addresses = await self._addresses(target)
                reader, writer = await self._connected(target, addresses)
                try:
                    return await self._exchange(reader, writer, _head(method, target, headers, len(body)) + body)
                finally:
                    writer.transport.abort()
                    with contextlib.suppress(OSError):  # a connection that broke is closed as well
                        await writer.wait_closed()
        except TimeoutError:
            raise OutboundFailed(f"No answer within {self.timeout_s:g} s.") from None
        except OSError as error:
            raise OutboundFailed(_reason(error)) from error

    async def stop(self) -> None:
        """Let the resolver's threads go. Stopping twice is stopping once."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    # -- where to

    async def _addresses(self, target: Target) -> Sequence[str]:
        try:
            addresses = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):  # a name longer than names may be is a UnicodeError
            addresses = []
        if not addresses:
            raise OutboundFailed(f"The host {target.host} is not known.")
        self._permit(target.host, addresses)
        return addresses

    def _permit(self, host: str, addresses: Sequence[str]) -> None:
        # One private answer among public ones refuses all: which one would be called is chance.
        if not all(self._reach.permits(host, address) for address in addresses):
            raise OutboundRefused(f"The host {host} is at an address that is not public, and not allowed.")

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="corral-resolver")
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
        return list(dict.fromkeys(found))

    async def _connected(
        self, target: Target, addresses: Sequence[str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if target.secure and self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)  # reads the system's certificates
        *others, last = addresses
        for address in others:
            with contextlib.suppress(OSError):  # a timeout is one, too
                async with asyncio.timeout(self.timeout_s / 2):  # the next one still wants to be tried
                    return await self._connect(target, address)
        return await self._connect(target, last)

    async def _connect(self, target: Target, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not target.secure:
            return await asyncio.open_connection(address, target.port)
        name = target.host.rstrip(".")
        return await asyncio.open_connection(address, target.port, ssl=self._tls, server_hostname=name)

    # -- one request

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Answer:
        writer.write(request)
        with contextlib.suppress(ConnectionError):  # who refuses a body early may have answered all the same
            await writer.drain()
        reply = _Reply(self._answer_max)
        left = _HEAD_BYTES_MAX + self._answer_max
        while left > 0 and not reply.enough:
            data = await reader.read(min(left, _READ_BYTES))
            if not data:
                break
            left -= len(data)
            reply.feed(data)
        return reply.answer(ended=left > 0 and not reply.enough)


class _Reply:
    """Collects an answer while it comes in."""

    def __init__(self, body_max: int) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body_max = body_max
        self._body = bytearray()
        self._headers: dict[str, str] = {}
        self._status = 0
        self._whole = False
        self.enough = False
        """There is no need to read on."""

    def feed(self, data: bytes) -> None:
        """Some more bytes."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._whole:
                raise OutboundFailed("The answer is not HTTP.") from None

    def answer(self, *, ended: bool) -> Answer:
        """What came; `ended`: the other side closed the connection."""
        if not self._status:
            raise OutboundFailed("The connection was closed before an answer came.")
        measured = "content-length" in self._headers or "transfer-encoding" in self._headers
        complete = len(self._body) <= self._body_max and (self._whole or (ended and not measured))
        return Answer(self._status, self._headers, bytes(self._body[: self._body_max]), complete)

    # -- called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """All headers; those of an interim answer are forgotten."""
        status = self._parser.get_status_code()
        if status >= _INTERIM:
            self._status = status
        else:
            self._headers = {}

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._body += data
        self.enough = self.enough or len(self._body) > self._body_max

    def on_message_complete(self) -> None:
        """The end of an answer, or of an interim one."""
        self._whole = self.enough = bool(self._status)


def _look_up(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _written(host: str) -> str | None:
    """The address that stands in place of a name, as the system reads it: 127.1 and 2130706433 are addresses too."""
    if ":" in host:
        return host
    if host.rstrip(".").endswith("localhost"):
        return "127.0.0.1"
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def _head(method: str, target: Target, headers: Mapping[str, str], length: int) -> bytes:
    said = {"user-agent": f"corral/{VERSION}", "accept": "*/*"}
    if length or method not in _BARE:
        said |= {"content-type": "application/json", "content-length": str(length)}
    said |= {name.lower(): value for name, value in headers.items()}
    said |= {"accept-encoding": "identity", "connection": "close"}
    lines = [f"{method} {target.path} HTTP/1.1", f"host: {target.authority}", *(f"{n}: {v}" for n, v in said.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Its certificate is not trusted: {error.verify_message}."
    if isinstance(error, ssl.SSLError):
        return f"No secure connection: {error.reason or error}."
    return f"The connection failed: {error.strerror or type(error).__name__}."
