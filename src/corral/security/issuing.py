"""Gives out keys, exchanges them and takes them back: each time it is written down, and a key is shown once."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import ValidationFailed
from corral.messages import Audit, AuditEntry, Page
from corral.security.key_store import Grant, KeyDraft, KeyExists, KeyNotFound, KeyRecord, KeyStore
from corral.security.keys import SEAL_BYTES, Entropy, access_key_of, another_key, aws_secret, digest_of, new_key
from corral.security.roles import ROLES

TTL_MAX_S = 10 * 365 * 86_400.0
GRACE_S = 86_400.0
GRACE_MAX_S = 30 * 86_400.0
_WORDS_MAX = 50
_WORD_CHARS_MAX = 200
SECRET_CHARS_MIN = 32
_TRIES = 5


class Issued(msgspec.Struct, frozen=True):
    """A key as it is given out: the only time that its secrets are seen."""

    record: KeyRecord
    key: str
    access_key: str = ""
    secret_key: str = ""

    def __repr__(self) -> str:
        return f"Issued({self.record.id!r}, …)"


class KeyDesk:
    """What people ask of keys. A tenant's are seen and changed by that tenant alone."""

    def __init__(
        self,
        store: KeyStore,
        *,
        secret: str = "",
        audit: Audit | None = None,
        entropy: Entropy = secrets.token_bytes,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`secret` is `security.secret`: from it secrets for AWS's signatures are derived."""
        self._store = store
        self._secret = secret
        self._audit = audit
        self._entropy = entropy
        self._clock = clock

    async def create(self, tenant: str, grant: Grant, *, ttl_s: float | None = None, actor: str = "") -> Issued:
        """Make a key. Raises `ValidationFailed` for one that could not be."""
        grant = msgspec.structs.replace(_checked(grant), created_by=actor)
        _check_between("ttl_s", ttl_s, TTL_MAX_S, positive=True)
        if grant.aws:
            self._check_secret()
        head = await self._store.seal(self._entropy(SEAL_BYTES))
        for left in reversed(range(_TRIES)):
            made = new_key(head.seal, self._entropy)
            draft = KeyDraft(id=made.id, digest=digest_of(made.key), grant=grant, ttl_s=ttl_s)
            try:
                record = await self._store.create(tenant, draft)
            except KeyExists:
                if not left:
                    raise
            else:
                break
        self._note("key.create", record, actor)
        return self._issued(record, made.key)

    async def get(self, tenant: str, key_id: str) -> KeyRecord:
        """One of them. Raises `KeyNotFound`."""
        found = await self._store.find(key_id)
        if found is None or found.tenant != tenant:
            raise KeyNotFound(f"There is no key {key_id[:100]!r}.")
        return found

    async def listed(self, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page[KeyRecord]:
        """The latest first."""
        return await self._store.listed(tenant, limit=limit, cursor=cursor)

    async def rotate(
        self, tenant: str, key_id: str, *, grace_s: float = GRACE_S, ttl_s: float | None = None, actor: str = ""
    ) -> Issued:
        """Exchange a key: the old one is good for `grace_s` more. Raises `KeyNotFound`, `KeyOver`."""
        _check_between("grace_s", grace_s, GRACE_MAX_S, positive=False)
        _check_between("ttl_s", ttl_s, TTL_MAX_S, positive=True)
        before = await self.get(tenant, key_id)
        if before.grant.aws:
            self._check_secret()
        made = another_key(key_id, self._entropy)
        record = await self._store.rotate(tenant, key_id, digest_of(made.key), grace_s=grace_s, ttl_s=ttl_s)
        self._note("key.rotate", record, actor, grace_s=grace_s)
        return self._issued(record, made.key)

    async def revoke(self, tenant: str, key_id: str, *, actor: str = "") -> KeyRecord:
        """Let nobody in with it any more. Raises `KeyNotFound`."""
        record = await self._store.revoke(tenant, key_id)
        self._note("key.revoke", record, actor)
        return record

    def _issued(self, record: KeyRecord, key: str) -> Issued:
        if not record.grant.aws:
            return Issued(record, key)
        return Issued(record, key, access_key_of(record.id), aws_secret(self._secret, record.id, record.turn))

    def _check_secret(self) -> None:
        if len(self._secret) < SECRET_CHARS_MIN:
            raise ValidationFailed(
                f"Keys for AWS's signatures are derived from `security.secret`: set it to {SECRET_CHARS_MIN} characters of "
                "chance at least, the same for all workers (`CORRAL_SECURITY_SECRET`)."
            )

    def _note(self, action: str, record: KeyRecord, actor: str, **details: Any) -> None:
        if self._audit is not None:
            grant = record.grant
            about = {"name": grant.name, "roles": list(grant.roles), "tier": grant.tier, "turn": record.turn, **details}
            self._audit(
                AuditEntry(
                    id=new_id(),
                    at=self._clock.now(),
                    tenant=record.tenant,
                    action=action,
                    subject=record.id,
                    decision="done",
                    actor=actor,
                    details=about,
                )
            )


def shown(record: KeyRecord, now: float) -> dict[str, Any]:
    """A key as people see it: all but what would let them in."""
    grant = record.grant
    state = "revoked" if record.revoked_at is not None else "expired" if record.is_over(now) else "active"
    return {
        "id": record.id,
        "tenant": record.tenant,
        "name": grant.name,
        "state": state,
        "tier": grant.tier,
        "roles": list(grant.roles),
        "agents": list(grant.agents),
        "models": list(grant.models),
        "access_key": access_key_of(record.id) if grant.aws else None,
        "created_at": record.created_at,
        "created_by": grant.created_by,
        "rotated_at": record.rotated_at,
        "old_until": record.old_until if record.old_until > now else None,
        "expires_at": record.expires_at,
        "last_used_at": record.last_used_at,
        "revoked_at": record.revoked_at,
    }


def shown_once(issued: Issued, now: float) -> dict[str, Any]:
    """A key as it is given out."""
    found = {**shown(issued.record, now), "key": issued.key}
    return {**found, "secret_key": issued.secret_key} if issued.access_key else found


def grant_of(body: Mapping[str, Any]) -> Grant:
    """What a request asks for. Raises `ValidationFailed`, which says what does not fit."""
    try:
        return msgspec.convert(dict(body), Grant)
    except msgspec.ValidationError as error:
        raise ValidationFailed(f"The key cannot be so: {error}.") from None


def _checked(grant: Grant) -> Grant:
    """With a role of ours: who says none gets the least."""
    _check_words("name", [grant.name] if grant.name else [])
    _check_words("tier", [grant.tier] if grant.tier else [])
    for what in ("roles", "agents", "models"):
        _check_words(what, getattr(grant, what))
    if any(role in ROLES for role in grant.roles):
        return grant
    return msgspec.structs.replace(grant, roles=("invoker", *grant.roles))


def _check_words(what: str, words: Sequence[str]) -> None:
    good = len(words) <= _WORDS_MAX and all(word.isprintable() and 0 < len(word) <= _WORD_CHARS_MAX for word in words)
    if not good:
        raise ValidationFailed(
            f"`{what}`: at most {_WORDS_MAX} texts, each of 1 to {_WORD_CHARS_MAX} characters that can be seen.",
            errors=[{"pointer": f"/{what}", "message": "too many, too long, empty, or with control characters"}],
        )


def _check_between(what: str, value: float | None, most: float, *, positive: bool) -> None:
    if value is not None and not (0 < value <= most if positive else 0 <= value <= most):
        raise ValidationFailed(
            f"`{what}` is a number of seconds {'above' if positive else 'from'} 0, at most {most:g}.",
            errors=[{"pointer": f"/{what}", "message": f"at most {most:g}"}],
        )
