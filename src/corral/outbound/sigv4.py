"""AWS Signature Version 4: a request signed so that AWS knows who sent it, and that nobody changed it on the way."""

from __future__ import annotations

import functools
import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import msgspec

_UNSIGNED = frozenset(
    [
        "authorization",
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    ]
)
"""Headers that somebody on the way may change."""


class AwsKeys(msgspec.Struct, frozen=True):
    """Who signs. `token` comes with keys that are lent for a time."""

    access_key: str
    secret_key: str
    token: str = ""

    def __repr__(self) -> str:
        return f"AwsKeys({self.access_key!r}, …)"


def signed(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: AwsKeys,
    region: str,
    service: str,
    now: float,
) -> dict[str, str]:
    """The headers to send instead. `url` is as it goes over the wire, percent-encoded; `now` is seconds since 1970."""
    parts = urlsplit(url)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    sent = {name.lower(): value for name, value in headers.items()}
    sent["x-amz-date"] = moment
    if keys.token:
        sent["x-amz-security-token"] = keys.token
    named = {name: " ".join(value.split()) for name, value in sent.items() if name not in _UNSIGNED}
    named.setdefault("host", parts.netloc.rpartition("@")[2])
    names = ";".join(sorted(named))
    canonical = "\n".join(
        (
            method.upper(),
            canonical_path(parts.path),
            canonical_query(parts.query),
            *(f"{name}:{named[name]}" for name in sorted(named)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = _hmac(signing_key(keys.secret_key, moment[:8], region, service), text).hex()
    sent["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return sent


def canonical_path(path: str) -> str:
    """Without `.` and `..`, and encoded once more: what was encoded for the wire is encoded twice here."""
    steps: list[str] = []
    for step in path.split("/"):
        if step == "..":
            steps = steps[:-1]
        elif step and step != ".":
            steps.append(step)
    end = "/" if steps and path.endswith("/") else ""
    return quote(f"/{'/'.join(steps)}{end}", safe="/~")


def canonical_query(query: str) -> str:
    """By name and value, encoded as it came."""
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&") if pair)
    return "&".join(f"{name}={value}" for name, value in pairs)


@functools.lru_cache(maxsize=32)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """Good for a day, and four hashes cheaper than made anew."""
    key = f"AWS4{secret}".encode()
    for each in (day, region, service, "aws4_request"):
        key = _hmac(key, each)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
