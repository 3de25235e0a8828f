"""What the door costs: a key, a token and a signature, checked again and again in one process: the processor's time, which other work changes little.

python bench/identity.py [--rounds 20000]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from corral.backends.open import open_stores
from corral.outbound.sigv4 import AwsKeys, signed
from corral.security.issuing import KeyDesk
from corral.security.key_store import Grant
from corral.security.keyring import KeyRing
from corral.security.sigv4 import SignedRequest, is_good, signature_of
from corral.security.tokens import Tokens
from corral.settings.identity_sections import JwtIssuer

ISSUER = "https://login.example"


async def measured(name: str, work: Callable[[int], Awaitable[object]], rounds: int) -> None:
    """The least of five runs, in microseconds of the processor for each call."""
    times = []
    for run in range(5):
        begun = time.process_time()
        for n in range(rounds):
            await work(run * rounds + n)
        times.append((time.process_time() - begun) / rounds * 1e6)
    print(f"{name:<28} {min(times):8.2f} µs")


def encoded(raw: bytes) -> str:
    """As tokens have it."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """Signs tokens, and shows its key."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)

    def token(self, user: str) -> str:
        """A token that is good for ten minutes."""
        now = time.time()
        claims = {"iss": ISSUER, "aud": "corral", "sub": user, "tenant": "acme", "iat": now, "exp": now + 600}
        head = encoded(json.dumps({"alg": "RS256", "kid": "1"}).encode())
        text = f"{head}.{encoded(json.dumps(claims).encode())}"
        return f"{text}.{encoded(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    async def fetch(self, _: str) -> bytes:
        """The key set."""
        public = self._key.public_key().public_numbers()
        n, e = (encoded(value.to_bytes((value.bit_length() + 7) // 8, "big")) for value in (public.n, public.e))
        return json.dumps({"keys": [{"kty": "RSA", "kid": "1", "n": n, "e": e}]}).encode()


async def main(rounds: int) -> None:
    """All of it."""
    with tempfile.TemporaryDirectory() as folder:
        stores = open_stores(f"sqlite:///{Path(folder) / 'bench.db'}")
        await stores.start()
        ring = KeyRing(stores.keys)
        await ring.start()
        made = await KeyDesk(stores.keys, secret="s" * 40).create("acme", Grant(aws=True))
        await measured("key, known", lambda _: ring.find(made.key), rounds)
        foreign = made.key.replace(made.record.id, "a" * 16)
        await measured("key, made up", lambda _: ring.find(foreign), rounds)
        issuer = Issuer()
        settings = JwtIssuer(issuer=ISSUER, audience=["corral"], jwks_url=f"{ISSUER}/keys")
        tokens = Tokens([settings], stores.keys, fetch=lambda _: issuer.fetch)
        fresh = [issuer.token(f"u-{n}") for n in range(1000)]
        await measured("token, new (RS256)", lambda n: tokens.find(fresh[n]), 200)
        await measured("token, known", lambda _: tokens.find(fresh[-1]), rounds)
        await measured("signature", signatures(made.access_key, made.secret_key), rounds // 4)
        await ring.stop()
        await stores.stop()


def signatures(access_key: str, secret_key: str) -> Callable[[int], Awaitable[object]]:
    """Checks the signature of one request."""
    body, url = b'{"maxResults": 5}', "http://corral.example/"
    keys = AwsKeys(access_key, secret_key)
    sent = signed(
        "POST", url, {"host": "corral.example"}, body, keys=keys, region="eu-x", service="states", now=time.time()
    )
    headers = [(name.encode(), value.encode()) for name, value in sent.items()]

    async def check(_: int) -> bool:
        found = signature_of(dict(headers), {})
        assert found is not None
        return is_good(found, secret_key, SignedRequest("POST", "/", "", headers), hashlib.sha256(body).hexdigest())

    return check


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20_000)
    asyncio.run(main(parser.parse_args().rounds))
