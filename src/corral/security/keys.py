"""API keys: how they look, how one is made, and how what goes with it for AWS's signatures is found again.

A key is `corral_live_<id>_<secret><checksum>`: the id is public, the secret has 256 bits of chance, and the checksum lets
scanners tell a key from a text that looks like one. The id ends with a mark made with the installation's seal, so that ids
that somebody makes up are told apart without asking the store.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from base64 import b32encode, b64encode
from collections.abc import Callable

import msgspec

PREFIX = "corral_live_"
ACCESS_PREFIX = "AKIA"
SEAL_BYTES = 32

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_CHARS = 10
_MARK_CHARS = 6
_ID_CHARS = _RANDOM_CHARS + _MARK_CHARS
_SECRET_CHARS = 43
_CHECKSUM_CHARS = 6
_KEY = re.compile(rf"{PREFIX}([a-z2-7]{{{_ID_CHARS}}})_[0-9A-Za-z]{{{_SECRET_CHARS + _CHECKSUM_CHARS}}}", re.ASCII)
_ACCESS_KEY = re.compile(rf"{ACCESS_PREFIX}([A-Z2-7]{{{_ID_CHARS}}})", re.ASCII)
_AWS_SECRET_CHARS = 40

Entropy = Callable[[int], bytes]
"""So many bytes that nobody can guess."""


class NewKey(msgspec.Struct, frozen=True):
    """A key that was just made. Nobody sees it again."""

    id: str
    key: str

    def __repr__(self) -> str:
        return f"NewKey({self.id!r}, …)"


def new_key(seal: bytes, entropy: Entropy) -> NewKey:
    """A key under a new id."""
    chance = b32encode(entropy(7)).decode().lower()[:_RANDOM_CHARS]
    return another_key(chance + _mark(chance, seal), entropy)


def another_key(key_id: str, entropy: Entropy) -> NewKey:
    """A key under an id that there is already."""
    text = f"{PREFIX}{key_id}_{_base62(int.from_bytes(entropy(32), 'big'), _SECRET_CHARS)}"
    return NewKey(key_id, text + _checksum(text))


def digest_of(key: str) -> bytes:
    """What is kept of a key. What cannot be encoded is no key, and equals none."""
    return hashlib.sha256(key.encode(errors="replace")).digest()


def id_of_key(key: str) -> str:
    """The id in a text that has the shape of a key; empty: it is none."""
    found = _KEY.fullmatch(key)
    return "" if found is None else found[1]


def is_whole(key: str) -> bool:
    """Whether the checksum of what has the shape of a key is right."""
    return hmac.compare_digest(key[-_CHECKSUM_CHARS:], _checksum(key[:-_CHECKSUM_CHARS]))


def is_ours(key_id: str, seal: bytes) -> bool:
    """Whether an id was made with this seal: whoever does not know it guesses one in a thousand million."""
    return hmac.compare_digest(key_id[_RANDOM_CHARS:], _mark(key_id[:_RANDOM_CHARS], seal))


def access_key_of(key_id: str) -> str:
    """The public half of the pair for AWS's signatures."""
    return ACCESS_PREFIX + key_id.upper()


def id_of_access_key(access_key: str) -> str:
    """The id in the public half of such a pair; empty: it is none of ours."""
    found = _ACCESS_KEY.fullmatch(access_key)
    return "" if found is None else found[1].lower()


def aws_secret(secret: str, key_id: str, turn: int) -> str:
    """The secret half: never kept, and found again by who knows `security.secret`. Another one after each rotation."""
    made = hmac.digest(secret.encode(), f"corral aws secret {key_id} {turn}".encode(), "sha256")
    return b64encode(made).decode()[:_AWS_SECRET_CHARS]


def _mark(chance: str, seal: bytes) -> str:
    return b32encode(hmac.digest(seal, chance.encode(), "sha256")[:5]).decode().lower()[:_MARK_CHARS]


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECKSUM_CHARS)


def _base62(number: int, chars: int) -> str:
    digits = []
    for _ in range(chars):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
