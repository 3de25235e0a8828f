"""Issuers of tokens, good and bad ones, as the tests need them."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

ISSUER = "https://login.example"
AUDIENCE = "corral"
_RSA = rsa.generate_private_key(65537, 2048)
_EC = ec.generate_private_key(ec.SECP256R1())
_ED = ed25519.Ed25519PrivateKey.generate()


def encoded(raw: bytes | dict) -> str:
    return urlsafe_b64encode(raw if isinstance(raw, bytes) else json.dumps(raw).encode()).rstrip(b"=").decode()


def number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa_jwk(kid: str = "r1", key=_RSA, **more) -> dict:
    public = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "use": "sig", "n": number(public.n), "e": number(public.e), **more}


def jwks() -> list[dict]:
    curve = _EC.public_key().public_numbers()
    x, y = (encoded(value.to_bytes(32, "big")) for value in (curve.x, curve.y))
    return [
        rsa_jwk(),
        {"kty": "EC", "kid": "e1", "crv": "P-256", "x": x, "y": y},
        {"kty": "OKP", "kid": "d1", "crv": "Ed25519", "x": encoded(_ED.public_key().public_bytes_raw())},
        {"kty": "oct", "kid": "o1", "k": encoded(b"never")},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        rsa_jwk("for-encryption", use="enc"),
    ]


def signature(algorithm: str, text: bytes, secret: bytes = b"", key=_RSA) -> bytes:
    if algorithm == "none":
        return b""
    if algorithm.startswith("HS"):
        return hmac.digest(secret, text, "sha256")
    if algorithm == "EdDSA":
        return _ED.sign(text)
    made = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[algorithm[2:]]()
    if algorithm.startswith("ES"):
        r, s = utils.decode_dss_signature(_EC.sign(text, ec.ECDSA(made)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    filled = padding.PKCS1v15() if algorithm.startswith("RS") else padding.PSS(padding.MGF1(made), made.digest_size)
    return key.sign(text, filled, made)


def claims(now: float, **more) -> dict:
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "tenant": "acme",
        "iat": now,
        "exp": now + 600,
        **more,
    }
    return {name: value for name, value in said.items() if value is not ...}


def token(said: dict | bytes, *, alg: str = "RS256", kid: str = "r1", secret: bytes = b"", key=_RSA, **header) -> str:
    head = {"alg": alg, "typ": "JWT", "kid": kid, **header}
    text = f"{encoded({name: value for name, value in head.items() if value is not ...})}.{encoded(said)}"
    return f"{text}.{encoded(signature(alg, text.encode(), secret, key))}"


def public_text() -> bytes:
    """The public key as a file has it: what some verifiers were fooled with as a shared secret."""
    from cryptography.hazmat.primitives import serialization

    return _RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def stranger() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)
