"""Which request headers an agent may see."""

from __future__ import annotations

from collections.abc import Iterable

from corral.server.http import Header

# Grouped by why an agent does not see them. The AgentCore service keeps the same kinds of headers back.
_RESTRICTED = frozenset(
    (
        # proxy and server credentials, cookies
        *["proxy-authorization", "www-authenticate", "cookie", "set-cookie"],
        # what belongs to the body's transport
        *[
            "accept",
            "accept-charset",
            "accept-encoding",
            "accept-language",
            "accept-ranges",
            "content-type",
            "content-length",
        ],
        *[
            "content-encoding",
            "content-language",
            "content-location",
            "content-range",
            "transfer-encoding",
            "te",
            "trailer",
            "range",
        ],
        # caching
        *[
            "cache-control",
            "etag",
            "expires",
            "if-match",
            "if-modified-since",
            "if-none-match",
            "if-range",
            "if-unmodified-since",
        ],
        *["last-modified", "pragma", "vary"],
        # one hop only
        *["connection", "keep-alive", "proxy-connection", "upgrade"],
        # where it came from and went to
        *["host", "user-agent", "referer", "from", "server", "date", "location", "retry-after", "origin"],
        # security and cross-origin policies
        *["content-security-policy", "content-security-policy-report-only", "strict-transport-security"],
        *[
            "x-content-type-options",
            "x-frame-options",
            "x-xss-protection",
            "referrer-policy",
            "permissions-policy",
            "feature-policy",
        ],
        *["cross-origin-embedder-policy", "cross-origin-opener-policy", "cross-origin-resource-policy"],
        *["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"],
        *["access-control-allow-credentials", "access-control-expose-headers", "access-control-max-age"],
        *["access-control-request-method", "access-control-request-headers", "x-requested-with", "x-csrf-token"],
        # client hints and experiments
        *[
            "accept-ch",
            "accept-ch-lifetime",
            "dpr",
            "width",
            "viewport-width",
            "downlink",
            "ect",
            "rtt",
            "save-data",
            "clear-site-data",
            "expect-ct",
        ],
        *["public-key-pins", "public-key-pins-report-only"],
        # proxies and addresses of clients
        *[
            "via",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-real-ip",
            "true-client-ip",
        ],
        *[
            "x-client-ip",
            "x-cluster-client-ip",
            "x-originating-ip",
            "x-source-ip",
            "x-original-url",
            "x-original-host",
            "x-rewrite-url",
        ],
        *["cf-ray", "cf-connecting-ip", "x-cache", "x-served-by"],
        # HTTP/2 and WebSocket internals
        *[":method", ":path", ":scheme", ":authority", ":status", "sec-websocket-key", "sec-websocket-accept"],
        *["sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions", "link"],
    )
)
_CUSTOM_PREFIX = "x-amzn-bedrock-agentcore-runtime-custom-"
_IDENTITY_TOKEN = "x-amz-bedrock-agentcore-identity-wat"  # noqa: S105 - a header's name


def is_forwardable(name: str) -> bool:
    """Whether an agent may see the header of this lower-case name."""
    if name.startswith(_CUSTOM_PREFIX) or name == _IDENTITY_TOKEN:
        return True
    return name not in _RESTRICTED and not name.startswith(("x-amz-", "x-amzn-"))


def forwardable_headers(headers: Iterable[Header]) -> dict[str, str] | None:
    """The headers an agent may see, `Authorization` spelt so whatever the wire said; none when there are none."""
    seen: dict[str, str] = {}
    for raw_name, value in headers:
        name = raw_name.decode("latin-1").lower()
        if name == "authorization":
            seen["Authorization"] = value.decode("latin-1")
        elif is_forwardable(name):
            seen[name] = value.decode("latin-1")
    return seen or None
