"""Walks the chain of an audit, and names the first entry that is not what it was: edited, gone, moved, or cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from corral.errors import ConfigError
from corral.security.chain import BEGINNING, link
from corral.security.signing import AuditKeys
from corral.security.store import AuditHead, AuditLog, Checkpoint

_PAGE = 200
"""Entries read at once: some milliseconds of work."""
_ATTEMPTS = 3
"""Entries may be swept while they are read: then it is begun again."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a tenant's audit."""

    tenant: str
    ok: bool
    entries: int = 0
    """How many were looked at."""
    first: int = 0
    """The first of them."""
    last: int = 0
    hash: str = ""
    """Of the last one."""
    swept: int = 0
    """Entries up to this one were swept because they were old."""
    unsealed: int = 0
    """Entries from before the chain that are not yet taken into it."""
    checkpoints: int = 0
    """How many were found right, and signed by a key that is believed here."""
    number: int | None = None
    """The first entry that is not what it was."""
    fault: str = ""
    """What is wrong with it."""
    untrusted: list[str] = []
    """Ids of keys that signed checkpoints and that are not believed here."""


class Broken(Exception):
    """The chain is broken."""

    def __init__(self, number: int, fault: str) -> None:
        """At this entry, for this reason."""
        super().__init__(fault)
        self.number = number
        self.fault = fault


class Marks:
    """What checkpoints say: signatures are looked at when they come, hashes when their entries come by."""

    def __init__(self, keys: AuditKeys, tenant: str) -> None:
        """Of one tenant."""
        self._keys = keys
        self._tenant = tenant
        self._hashes: dict[int, set[bytes]] = {}
        self._stubs: dict[int, bytes] = {}
        self.untrusted: set[str] = set()
        self._good: set[tuple[int, str]] = set()
        self.highest = 0
        self.newest: Checkpoint | None = None
        """The one with the highest number."""

    def add(self, checkpoint: Checkpoint) -> None:
        """Take one. Raises `Broken` when it was changed."""
        right = self._keys.check(checkpoint)
        if right is False or checkpoint.tenant != self._tenant:
            raise Broken(checkpoint.number, "its checkpoint is not what its key signed")
        if right is None:
            self.untrusted.add(str(checkpoint.key_id))
        else:
            self._good.add((checkpoint.number, checkpoint.kind))
        self._hashes.setdefault(checkpoint.number, set()).add(checkpoint.hash)
        if checkpoint.kind == "swept":
            self._stubs[checkpoint.number] = checkpoint.hash
        if checkpoint.number >= self.highest:
            self.highest, self.newest = checkpoint.number, checkpoint

    @property
    def good(self) -> int:
        """How many are right, by a key that is believed."""
        return len(self._good)

    def compare(self, number: int, own: bytes) -> None:
        """Raises `Broken` when somebody signed something else of this entry."""
        said = self._hashes.get(number)
        if said is not None and said != {own}:
            raise Broken(number, "it is not what a checkpoint says: this entry or one before it was rewritten")

    def allow(self, swept: int, swept_hash: bytes) -> None:
        """Raises `Broken` when nobody signed that entries up to this one were swept."""
        if swept_hash and self._stubs.get(swept) != swept_hash:
            raise Broken(swept, "entries up to this one are gone, and no key says that they were swept")


class Walk:
    """The chain, entry by entry."""

    def __init__(self, number: int, before: bytes, marks: Marks) -> None:
        """Behind entry `number`, whose hash is `before`."""
        self.number = number
        self.hash = before
        self.entries = 0
        self._marks = marks

    def take(self, number: Any, own: bytes, digest: bytes) -> None:
        """The next entry. Raises `Broken`."""
        expected = self.number + 1
        if number != expected:
            gone = isinstance(number, int) and number > expected
            fault = "it is missing" if gone else f"entry {number!r} stands in its place: inserted, or moved"
            raise Broken(expected, fault)
        made = link(self.hash, number, digest)
        if made != own:
            raise Broken(number, "it was changed, or an entry before it was")
        self._marks.compare(number, own)
        self.number, self.hash = number, own
        self.entries += 1

    def end(self, number: int, own: bytes) -> None:
        """No more come. Raises `Broken` when there should be."""
        if self.number != number:
            raise Broken(self.number + 1, f"it is missing, and so is all behind it up to {number}")
        if self.hash != own:
            raise Broken(number, "it is not the last entry that was written")
        if self._marks.highest > number:
            raise Broken(number + 1, f"it is missing: a checkpoint speaks of entry {self._marks.highest}")


class Verifier:
    """Reads the audit of tenants, and checks it with the keys that are believed here."""

    def __init__(self, log: AuditLog, keys: AuditKeys) -> None:
        """Of what is in `log`."""
        self._log = log
        self.keys = keys

    async def verify(self, tenant: str, *, outside: Sequence[Checkpoint] = (), newest: int | None = None) -> Verdict:
        """All of a tenant's audit, or about the `newest` entries: as many as a checkpoint stands before.

        `outside`: checkpoints that were kept elsewhere, where nobody who changes the store comes to.
        """
        await asyncio.to_thread(self.keys.read)
        for attempt in range(_ATTEMPTS):
            head = await self._log.head(tenant)
            try:
                return await self._verified(tenant, head, outside, newest)
            except (Broken, TypeError) as error:  # a head may be anything as well, when somebody changed it
                now = await self._log.head(tenant)
                if attempt < _ATTEMPTS - 1 and now is not None and head is not None and now.swept != head.swept:
                    continue
                fault = error.fault if isinstance(error, Broken) else f"the head of the chain cannot be read: {error}"
                number = error.number if isinstance(error, Broken) else 0
                return Verdict(tenant=tenant, ok=False, number=number, fault=fault)
        raise AssertionError  # the last attempt returned

    async def _verified(
        self, tenant: str, head: AuditHead | None, outside: Iterable[Checkpoint], newest: int | None
    ) -> Verdict:
        marks = await self._marks(tenant, outside)
        if marks.highest > (0 if head is None else head.number):  # perhaps it was signed since the head was read
            head = await self._log.head(tenant)
        if head is None:
            if marks.newest is not None:
                raise Broken(1, f"it is missing: a checkpoint speaks of entry {marks.highest}")
            await self._nothing_behind(tenant, 0)
            return Verdict(tenant=tenant, ok=True)
        marks.allow(head.swept, head.swept_hash)
        number, before = head.swept, head.swept_hash or BEGINNING
        if head.swept_hash:
            marks.compare(number, before)
        if newest is not None and (start := await self._start(tenant, head.chained - newest)) is not None:
            number, before = start.number, start.hash
        walk = Walk(number, before, marks)
        await self._walked(tenant, walk, head.chained)
        if head.chained:
            walk.end(head.chained, head.hash or head.swept_hash)
        await self._all_there(tenant, head.chained, head.number)
        await self._nothing_behind(tenant, head.number)
        return Verdict(
            tenant=tenant,
            ok=not marks.untrusted,
            entries=walk.entries,
            first=number + 1 if walk.entries else 0,
            last=walk.number,
            hash=walk.hash.hex(),
            swept=head.swept,
            unsealed=head.number - head.chained,
            checkpoints=marks.good,
            untrusted=sorted(marks.untrusted),
        )

    async def walk(self, tenant: str, number: int, before: bytes, until: int) -> Walk:
        """From one entry to another; raises `Broken`."""
        walk = Walk(number, before, Marks(self.keys, tenant))
        await self._walked(tenant, walk, until)
        if walk.number != until:
            raise Broken(walk.number + 1, "it is missing")
        return walk

    async def _walked(self, tenant: str, walk: Walk, until: int) -> None:
        while walk.number < until:
            links = await self._log.chain(tenant, after=walk.number, limit=min(_PAGE, until - walk.number))
            for one in links:
                walk.take(one.number, one.hash, one.digest)
            if not links:
                return

    async def _marks(self, tenant: str, outside: Iterable[Checkpoint]) -> Marks:
        marks = Marks(self.keys, tenant)
        after = -1
        while page := await self._log.checkpoints(tenant, after=after, limit=_PAGE):
            for one in page:
                marks.add(one)
            after = page[-1].number
        for one in outside:
            if one.tenant == tenant:
                marks.add(one)
        return marks

    async def _start(self, tenant: str, before: int) -> Checkpoint | None:
        """The last checkpoint at or before a number whose signature is right."""
        found: Checkpoint | None = None
        after = -1
        while page := await self._log.checkpoints(tenant, after=after, limit=_PAGE):
            for one in page:
                if one.number > before:
                    return found
                if one.kind == "head" and self.keys.check(one):
                    found = one
            after = page[-1].number
        return found

    async def _all_there(self, tenant: str, after: int, until: int) -> None:
        """Raises `Broken` unless entries from before the chain have their numbers: more cannot be said of them yet."""
        while after < until:
            links = await self._log.chain(tenant, after=after, limit=min(_PAGE, until - after))
            for one in links:
                after += 1
                if one.number != after:
                    raise Broken(after, "it is missing")
            if not links:
                raise Broken(after + 1, "it is missing")

    async def _nothing_behind(self, tenant: str, number: int) -> None:
        """Raises `Broken` for entries behind the last that was given a number."""
        behind = await self._log.chain(tenant, after=number, limit=1)
        if not behind:
            return
        now = await self._log.head(tenant)
        if now is None or behind[0].number > now.number:
            raise Broken(number + 1, "it was inserted behind the last entry")


def read_checkpoint(shown: Any) -> Checkpoint:
    """A checkpoint as it was shown. Raises `ConfigError` for anything else."""
    try:
        shape = msgspec.convert(shown, _Shown)
        own, signature = bytes.fromhex(shape.hash), bytes.fromhex(shape.signature)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"That is no checkpoint of an audit: {error}.") from None
    if (own.hex(), signature.hex()) != (shape.hash, shape.signature):
        raise ConfigError("That is no checkpoint of an audit: hashes are written in small hexadecimal digits.")
    return Checkpoint(
        tenant=shape.tenant,
        number=shape.number,
        hash=own,
        at=shape.at,
        kind=shape.kind,
        algorithm=shape.algorithm,
        key_id=shape.key_id,
        signature=signature,
    )


class _Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tenant: str
    number: int
    hash: str
    at: float
    kind: Literal["head", "swept"]
    algorithm: str
    key_id: str
    signature: str


def shown_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as JSON: bytes as hexadecimal digits."""
    return {
        name: value.hex() if isinstance(value := getattr(checkpoint, name), bytes) else value
        for name in checkpoint.__struct_fields__
    }
