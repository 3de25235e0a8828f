"""What a URL of somebody else's may look like, and which headers may go with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from corral.errors import OutboundRefused

URL_MAX = 2048
HEADERS_MAX = 50
HEADER_BYTES_MAX = 8192

_URL = re.compile(r"[!-~]+")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?|[0-9a-f:.]*:[0-9a-f:.]*")
_PORTS = {"http": 80, "https": 443}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[!-~]([ \t!-~]*[!-~])?|")
_OURS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"),
        *("expect", "accept-encoding", "proxy-authorization", "proxy-connection"),
    }
)


class Target(msgspec.Struct, frozen=True):
    """A URL in its parts. The only reading of it: what is checked is what is called."""

    secure: bool
    host: str
    """In lower case; an IPv6 address stands without its brackets."""
    port: int
    path: str
    """With the query."""

    @property
    def authority(self) -> str:
        """What stands in the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.secure else "http"] else f"{host}:{self.port}"


def target_of(url: str) -> Target:
    """Take a URL apart, or raise `OutboundRefused` that says what it may not have."""
    if len(url) > URL_MAX:
        raise OutboundRefused(f"The URL has more than {URL_MAX} characters.")
    if not _URL.fullmatch(url) or "\\" in url:
        raise OutboundRefused("The URL has characters that are none of URLs; write them as %20, hosts as xn--….")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise OutboundRefused(f"The URL cannot be understood: {error}.") from None
    if parts.scheme not in _PORTS:
        raise OutboundRefused("The URL must begin with https:// or http://.")
    if "@" in parts.netloc:
        raise OutboundRefused("The URL holds a user or a password; send a header instead.")
    if not _HOST.fullmatch(host) or port == 0:
        raise OutboundRefused("The URL names no host that could be called.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme == "https", host, port or _PORTS[parts.scheme], path)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `OutboundRefused` for headers that are too many, broken, or ours to write."""
    if len(headers) > HEADERS_MAX or sum(len(name) + len(value) for name, value in headers.items()) > HEADER_BYTES_MAX:
        raise OutboundRefused(f"There are more than {HEADERS_MAX} headers, or {HEADER_BYTES_MAX} bytes of them.")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise OutboundRefused(f"The header {name[:100]!r} has characters that headers may not have.")
        if name.lower() in _OURS:
            raise OutboundRefused(f"The header {name!r} is written by the server itself.")
