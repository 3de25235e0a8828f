"""The keys that sign checkpoints of the audit: one signs, the older ones are still believed.

A key is written as `ed25519:HEX` (private), `ed25519-public:HEX`, or, where the package `cryptography` is not there,
`hmac-sha256:HEX`, which has no public half: who can check can sign.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from corral.errors import ConfigError
from corral.security.store import Checkpoint

ED25519, PUBLIC, HMAC = "ed25519", "ed25519-public", "hmac-sha256"
_SECRET_BYTES = 32
_MARK = b"corral-audit-checkpoint-1\n"
"""Before all that is signed: a signature of something else is none of a checkpoint."""
_MAKE = "`corral audit key --new` makes one."
_encode = msgspec.json.Encoder(order="sorted").encode

Check = Callable[[bytes, bytes], bool]


class AuditKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key, private or public."""

    algorithm: str
    key_id: str
    check: Check
    """Of a signature and what it is of."""
    sign: Callable[[bytes], bytes] | None
    """None: a public key."""
    public: str
    """What others need to check what it signs; empty: it has no public half."""


def new_key() -> str:
    """A new private key, as it is written."""
    return f"{ED25519 if _can_sign_openly() else HMAC}:{secrets.token_hex(_SECRET_BYTES)}"


def read_key(text: str) -> AuditKey:
    """The key that a text is. Raises `ConfigError` that says how one looks."""
    kind, _, digits = text.strip().partition(":")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if kind not in {ED25519, PUBLIC, HMAC} or len(raw) != _SECRET_BYTES:
        raise ConfigError(
            f"A key of the audit is written `{ED25519}:`, `{PUBLIC}:` or `{HMAC}:` and 64 hexadecimal digits. {_MAKE}"
        )
    if kind == HMAC:
        return AuditKey(
            algorithm=HMAC,
            key_id=_id_of(raw),
            check=functools.partial(_check_hmac, raw),
            sign=functools.partial(_sign_hmac, raw),
            public="",
        )
    if not _can_sign_openly():
        raise ConfigError(f"Keys of the kind {kind} need the package `cryptography`: pip install cryptography.")
    return _open_key(kind, raw)


def _open_key(kind: str, raw: bytes) -> AuditKey:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only who signs pays for it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - as above
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    private = Ed25519PrivateKey.from_private_bytes(raw) if kind == ED25519 else None
    public = Ed25519PublicKey.from_public_bytes(raw) if private is None else private.public_key()
    shown = public.public_bytes_raw()

    def check(signature: bytes, content: bytes) -> bool:
        try:
            public.verify(signature, content)
        except InvalidSignature:
            return False
        return True

    return AuditKey(
        algorithm=ED25519,
        key_id=_id_of(shown),
        check=check,
        sign=None if private is None else private.sign,
        public=f"{PUBLIC}:{shown.hex()}",
    )


class AuditKeys:
    """The key that signs, and all that are believed. `read` comes before the rest: who never signs needs no file."""

    def __init__(self, *, key: str = "", file: Path | None = None, trusted: Iterable[str] = ()) -> None:
        """`key` signs; without one the last line of `file` does, which is made when it is missing.

        Raises `ConfigError` for keys that cannot be read.
        """
        self._file = file
        self._own = read_key(key) if key else None
        if self._own is not None and self._own.sign is None:
            raise ConfigError(f"The key that signs the audit is a public one. {_MAKE}")
        self._known = {one.key_id: one for one in map(read_key, trusted)}
        if self._own is not None:
            self._known[self._own.key_id] = self._own

    @property
    def own(self) -> AuditKey:
        """The key that signs."""
        if self._own is None:
            raise ConfigError(f"There is no key to sign the audit with: set `security.audit_chain.key`. {_MAKE}")
        return self._own

    def known(self) -> list[AuditKey]:
        """All keys that are believed."""
        return list(self._known.values())

    def signed(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with our signature."""
        own = self.own
        bare = msgspec.structs.replace(checkpoint, algorithm=own.algorithm, key_id=own.key_id)
        assert own.sign is not None  # noqa: S101 - looked at when it was read
        return msgspec.structs.replace(bare, signature=own.sign(_statement(bare)))

    def check(self, checkpoint: Checkpoint) -> bool | None:
        """Whether its signature is right; none: it is of a key that we do not know."""
        key = self._known.get(checkpoint.key_id)
        if key is None:
            return None
        try:
            return key.algorithm == checkpoint.algorithm and key.check(checkpoint.signature, _statement(checkpoint))
        except (TypeError, ValueError, msgspec.MsgspecError):  # somebody put something there that is no checkpoint
            return False

    def read(self, *, make: bool = False) -> None:
        """Read the file of keys; blocks. Another process may have added one. `make`: make one where nobody has."""
        if self._file is None:
            return
        if make and self._own is None and not self._file.exists():
            add_key(self._file, new=True)
        try:
            lines = self._file.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The keys of the audit in {self._file} cannot be read: {error}.") from error
        keys = [read_key(line) for line in lines]
        self._known = {one.key_id: one for one in keys} | self._known
        if self._own is None and keys and keys[-1].sign is not None:
            self._own = keys[-1]


def add_key(file: Path, *, new: bool = False) -> AuditKey:
    """Write a new key at the end of a file that nobody else may read: from the next start on it signs.

    `new`: only where there is no file yet, whoever else makes it at the same time.
    """
    text = new_key()
    before = "" if new or not file.exists() else file.read_text(encoding="ascii")
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as writing:
            writing.write(f"{before}{text}\n")
        if new:
            try:
                os.link(fresh, file)  # whole or not at all, and never over another's
            except FileExistsError:
                return read_key(file.read_text(encoding="ascii").split()[-1])
        else:
            fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    return read_key(text)


def _statement(checkpoint: Checkpoint) -> bytes:
    """What is signed."""
    shown: dict[str, Any] = {
        "algorithm": checkpoint.algorithm,
        "at": checkpoint.at,
        "hash": checkpoint.hash.hex(),
        "key_id": checkpoint.key_id,
        "kind": checkpoint.kind,
        "number": checkpoint.number,
        "tenant": checkpoint.tenant,
    }
    return _MARK + _encode(shown)


def _id_of(raw: bytes) -> str:
    return hashlib.sha256(b"corral-audit-key" + raw).hexdigest()[:16]


def _sign_hmac(secret: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, content, "sha256")


def _check_hmac(secret: bytes, signature: bytes, content: bytes) -> bool:
    return hmac.compare_digest(_sign_hmac(secret, content), signature)


@functools.cache
def _can_sign_openly() -> bool:
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401, PLC0415 - asked for when it is needed
    except ImportError:
        return False
    return True
