"""AWS Signature Version 4, from the other side: whose signature a request carries, and whether it is good.

The pairs are those that go with keys of ours. A signature is good for a quarter of an hour around its time, as AWS has it; within
that, the same request may come again, as AWS's own clients send it when they try again.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec

from corral.errors import Unauthenticated
from corral.outbound.sigv4 import canonical_path, canonical_query, signing_key

SKEW_S = 900.0
UNSIGNED = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"
_STREAMING = "STREAMING-"
_PRESIGNED_MAX_S = 604_800
_HEADER_MAX = 4_096
_SIGNED_MAX = 64
_CREDENTIAL = re.compile(r"([A-Z0-9]{16,128})/(\d{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request", re.ASCII)
_MOMENT = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_MUST_BE_SIGNED = (b"x-amz-", b"x-amzn-bedrock-")
EMPTY = hashlib.sha256(b"").hexdigest()


class SignatureRefused(Unauthenticated):
    """The request is signed, and not as it should be."""


class Signature(msgspec.Struct, frozen=True):
    """What a request says of its own signature."""

    access_key: str
    day: str
    region: str
    service: str
    moment: str
    names: tuple[str, ...]
    """The headers that are signed."""
    given: str
    expires_s: int | None = None
    """Of a URL that was signed beforehand: how long it is good."""


class SignedRequest(msgspec.Struct, frozen=True):
    """The request as it came over the wire."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[bytes, bytes]]


def signature_of(headers: Mapping[bytes, bytes], query: Mapping[str, str]) -> Signature | None:
    """The signature in the header or in the URL; none: it is not signed. Raises `SignatureRefused` for what is none."""
    given = headers.get(b"authorization", b"")
    if given.startswith(b"AWS4-"):
        return _in_header(given, headers)
    if query.get("X-Amz-Algorithm"):
        return _in_query(query)
    return None


def check_time(signature: Signature, now: float) -> None:
    """Raise `SignatureRefused` unless it was made about now, or for now."""
    try:
        made_at = calendar.timegm(time.strptime(signature.moment, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise SignatureRefused("X-Amz-Date is no time such as 20260131T235959Z.") from None
    until = made_at + (SKEW_S if signature.expires_s is None else signature.expires_s)
    if not made_at - SKEW_S <= now <= until:
        raise SignatureRefused("The signature is from another time: set the clock, or sign again.")
    if signature.day != signature.moment[:8]:
        raise SignatureRefused("The signature's day is not the one of X-Amz-Date.")


def announced_payload(signature: Signature, headers: Mapping[bytes, bytes]) -> str:
    """What is said of the body: its digest, or that it is not signed; empty: its digest is to be found out."""
    said = headers.get(b"x-amz-content-sha256", b"").decode("latin-1")
    if not said and signature.expires_s is not None:
        return UNSIGNED if signature.service == "s3" else EMPTY
    if said and said != UNSIGNED and not said.startswith(_STREAMING) and not _DIGEST.fullmatch(said):
        raise SignatureRefused("X-Amz-Content-Sha256 is a SHA-256 in hexadecimal, or UNSIGNED-PAYLOAD.")
    return said


def is_digest(payload: str) -> bool:
    """Whether the body has to be what was announced."""
    return payload != UNSIGNED and not payload.startswith(_STREAMING)


def is_good(signature: Signature, secret: str, request: SignedRequest, payload: str) -> bool:
    """Whether this request, with this payload, was signed by who has `secret`."""
    query = request.query
    if signature.expires_s is not None:
        query = "&".join(pair for pair in query.split("&") if not pair.startswith("X-Amz-Signature="))
    canonical = "\n".join(
        (
            request.method,
            _encoded(request.path) if signature.service == "s3" else canonical_path(request.path),
            canonical_query(query),
            *_named(signature.names, request.headers),
            "",
            ";".join(signature.names),
            payload,
        )
    )
    scope = f"{signature.day}/{signature.region}/{signature.service}/aws4_request"
    digest = hashlib.sha256(canonical.encode(errors="replace")).hexdigest()
    text = f"{_ALGORITHM}\n{signature.moment}\n{scope}\n{digest}"
    key = signing_key(secret, signature.day, signature.region, signature.service)
    return hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), signature.given)


def _in_header(given: bytes, headers: Mapping[bytes, bytes]) -> Signature:
    text = given[:_HEADER_MAX].decode("latin-1")
    algorithm, _, rest = text.partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    moment = headers.get(b"x-amz-date", b"").decode("latin-1")
    return _read(
        algorithm,
        parts.get("Credential", ""),
        parts.get("SignedHeaders", ""),
        parts.get("Signature", ""),
        moment,
        present=headers,
    )


def _in_query(query: Mapping[str, str]) -> Signature:
    seconds = query.get("X-Amz-Expires", "")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 7 and 0 < int(seconds) <= _PRESIGNED_MAX_S):  # noqa: PLR2004 - digits of a week
        raise SignatureRefused("X-Amz-Expires is a number of seconds, at most a week.")
    return _read(
        query["X-Amz-Algorithm"],
        query.get("X-Amz-Credential", ""),
        query.get("X-Amz-SignedHeaders", ""),
        query.get("X-Amz-Signature", ""),
        query.get("X-Amz-Date", ""),
        expires_s=int(seconds),
    )


def _read(
    algorithm: str,
    credential: str,
    names: str,
    given: str,
    moment: str,
    *,
    present: Mapping[bytes, bytes] | None = None,
    expires_s: int | None = None,
) -> Signature:
    found = _CREDENTIAL.fullmatch(credential)
    signed = tuple(names.split(";"))
    if algorithm != _ALGORITHM or found is None or not _DIGEST.fullmatch(given) or not _MOMENT.fullmatch(moment):
        raise SignatureRefused(
            "The signature is not one of AWS's Signature Version 4: AWS4-HMAC-SHA256 with X-Amz-Date."
        )
    if len(signed) > _SIGNED_MAX or "host" not in signed or not all(_NAME.fullmatch(name) for name in signed):
        raise SignatureRefused("The signed headers are not a list of names with `host` among them.")
    left = [name for name in present or () if name.startswith(_MUST_BE_SIGNED) and name.decode("latin-1") not in signed]
    if left:
        raise SignatureRefused(f"The header {left[0].decode('latin-1')[:100]} has to be signed.")
    access_key, day, region, service = found.groups()
    return Signature(access_key, day, region, service, moment, signed, given, expires_s)


def _named(names: Sequence[str], headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """Each signed header with all its values; one that is not there has none, and then the signature is not good."""
    values: dict[str, list[str]] = {name: [] for name in names}
    for name, value in headers:
        found = values.get(name.decode("latin-1"))
        if found is not None:
            found.append(" ".join(value.decode("latin-1").split()))
    return [f"{name}:{','.join(values[name])}" for name in names]


def _encoded(path: str) -> str:
    """A path as S3 signs it: encoded once, as it came, but for characters that some clients leave as they are."""
    return quote(path, safe="/~%")
