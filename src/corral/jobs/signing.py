"""Signatures of callbacks as Standard Webhooks says, for who sends them and for who receives them.

A receiver needs one call: `verify(body, request.headers, "whsec_…")`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence

from corral.errors import ConfigError, SignatureInvalid

TOLERANCE_S = 300.0
"""A message signed longer ago, or that far ahead, is refused: it may be an old one that somebody sends again."""

_PREFIX = "whsec_"
_BYTES_MIN = 24
_HOW_TO = "make one with: python -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\""


def keys_of(secrets: str) -> list[bytes]:
    """The keys behind `whsec_…` secrets, separated by spaces. Raises `ConfigError` for one that cannot be used."""
    keys = []
    for secret in secrets.split():
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError(
                f"A secret of callbacks is {_PREFIX}, then base64, and this one is not; {_HOW_TO}"
            ) from None
        if len(key) < _BYTES_MIN:
            raise ConfigError(f"A secret of callbacks has at least {_BYTES_MIN} bytes, this one {len(key)}; {_HOW_TO}")
        keys.append(key)
    return keys


def sign(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that go with `body`: one signature per key, so that a receiver may know the old or the new one."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join("v1," + _signature(key, message_id, str(timestamp), body) for key in keys),
    }


def verify(
    body: bytes, headers: Mapping[str, str], secrets: str, *, now: float | None = None, tolerance_s: float = TOLERANCE_S
) -> str:
    """The id of a message that was signed with one of the `secrets` (separated by spaces), else `SignatureInvalid`.

    `body` is what was received, byte by byte. The id is the same each time the message is sent: receivers that keep it
    do nothing twice.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split()
    except KeyError as missing:
        raise SignatureInvalid(f"The header {missing.args[0]} is missing.") from None
    if not (timestamp.isascii() and timestamp.isdigit()):
        raise SignatureInvalid("The header webhook-timestamp is not a number of seconds.")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance_s:
        raise SignatureInvalid(
            f"This message was signed more than {tolerance_s:g} s ago, or the clocks differ by that."
        )
    keys = keys_of(secrets)
    if not keys:
        raise ConfigError(f"There is no secret to check signatures with; {_HOW_TO}")
    genuine = False
    for key in keys:
        expected = "v1," + _signature(key, message_id, timestamp, body)
        for signature in signatures:
            # Every pair is compared, and each in constant time: how long it takes says nothing.
            genuine |= hmac.compare_digest(expected.encode(), signature.encode())
    if not genuine:
        raise SignatureInvalid
    return message_id


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
