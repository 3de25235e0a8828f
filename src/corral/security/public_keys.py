"""Whether a text was signed by who has the other half of a key. What a key is for is said by the key, never by the text.

The mathematics are those of `cryptography`, which is loaded when there is something to check with it (`corral[jwt]`).
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from corral.errors import ConfigError

_RSA_BITS_MIN = 2048
_RSA_BITS_MAX = 8192
_HASHES = {"256": "SHA256", "384": "SHA384", "512": "SHA512"}
_CURVES = {"ES256": ("P-256", "SECP256R1", 32), "ES384": ("P-384", "SECP384R1", 48)}
_MEMBER_MAX = 2_048

Check = Callable[[str, bytes, bytes], bool]
"""Whether a signature (third) of a text (second) is good, made in this way (first)."""


class PublicKey(msgspec.Struct, frozen=True):
    """A key that checks, and the ways of signing it is good for."""

    algorithms: frozenset[str]
    check: Check


def public_key(jwk: Mapping[str, Any]) -> PublicKey | None:
    """The key that a member of a key set describes; none for one that does not check signatures, or is none of ours."""
    if jwk.get("use", "sig") != "sig":
        return None
    kind = {"RSA": _rsa, "EC": _curve, "OKP": _edwards}.get(str(jwk.get("kty")))
    if kind is None:
        return None
    try:
        made = kind(jwk)
    except (ValueError, KeyError, TypeError):
        return None
    named = jwk.get("alg")
    if made is None or named is None:
        return made
    return PublicKey(made.algorithms & {str(named)}, made.check)


def shared_key(secret: str) -> PublicKey:
    """A secret that both sides know."""
    raw = secret.encode()

    def check(_: str, text: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(raw, text, "sha256"), signature)

    return PublicKey(frozenset({"HS256"}), check)


def check_installed() -> None:
    """Raise `ConfigError` unless signatures can be checked here."""
    try:
        import cryptography.hazmat.primitives.asymmetric.rsa  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigError("Tokens (`security.jwt`) need one more package: pip install 'corral[jwt]'") from None
    del cryptography


def _rsa(jwk: Mapping[str, Any]) -> PublicKey | None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as said
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - as said
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415 - as said

    key = rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
    if not _RSA_BITS_MIN <= key.key_size <= _RSA_BITS_MAX:
        return None

    def check(algorithm: str, text: bytes, signature: bytes) -> bool:
        made = getattr(hashes, _HASHES[algorithm[2:]])()
        plain = algorithm.startswith("RS")
        filled = padding.PKCS1v15() if plain else padding.PSS(padding.MGF1(made), made.digest_size)
        try:
            key.verify(signature, text, filled, made)
        except InvalidSignature:
            return False
        return True

    return PublicKey(frozenset(f"{kind}{size}" for kind in ("RS", "PS") for size in _HASHES), check)


def _curve(jwk: Mapping[str, Any]) -> PublicKey | None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as said
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - as said
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: PLC0415 - as said

    found = next((name for name, (curve, *_) in _CURVES.items() if curve == jwk["crv"]), None)
    if found is None:
        return None
    _, name, size = _CURVES[found]
    key = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), getattr(ec, name)()).public_key()
    way = ec.ECDSA(getattr(hashes, _HASHES[found[2:]])())

    def check(_: str, text: bytes, signature: bytes) -> bool:
        if len(signature) != 2 * size:
            return False
        pair = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        try:
            key.verify(utils.encode_dss_signature(*pair), text, way)
        except InvalidSignature:
            return False
        return True

    return PublicKey(frozenset({found}), check)


def _edwards(jwk: Mapping[str, Any]) -> PublicKey | None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as said
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - as said

    if jwk["crv"] != "Ed25519":
        return None
    key = ed25519.Ed25519PublicKey.from_public_bytes(unpadded(jwk["x"]))

    def check(_: str, text: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, text)
        except InvalidSignature:
            return False
        return True

    return PublicKey(frozenset({"EdDSA"}), check)


def unpadded(text: str) -> bytes:
    """Base64 as tokens have it: with `-` and `_`, and nothing behind. Raises `ValueError` for what is none."""
    return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(text: Any) -> int:
    if not isinstance(text, str) or len(text) > _MEMBER_MAX:
        raise ValueError("not a number of a key")
    return int.from_bytes(unpadded(text), "big")
