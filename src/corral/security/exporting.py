"""An audit as a file that anybody can check: JSON, one line each, beginning with a signed word on how much there is.

The first line says whose it is, what was swept, and the checkpoint of its last entry; then come all checkpoints, and all
entries with their hashes. Every byte counts: a file that was written anew is not what was exported.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from corral.errors import ConfigError
from corral.messages import AuditEntry
from corral.security.chain import BEGINNING, digest_of
from corral.security.keeping import Keeper
from corral.security.signing import AuditKeys
from corral.security.store import AuditHead, AuditLog, Checkpoint
from corral.security.verifying import Broken, Marks, Verdict, Walk, read_checkpoint, shown_checkpoint

NAME, VERSION = "corral.audit", 1
_PAGE = 200
_encode = msgspec.json.Encoder(order="sorted").encode


class _Swept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int
    hash: str


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    checkpoints: int
    entries: int
    export: str
    head: dict[str, Any] | None
    swept: _Swept
    tenant: str
    version: int


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry with all its fields: none may be left out, and none come on top."""

    action: str
    actor: str
    agent: str
    at: float
    decision: str
    details: dict[str, Any]
    id: str
    reason: str
    rule: str
    run_id: str
    session_id: str
    subject: str
    tenant: str


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    entry: _Entry
    hash: str
    number: int


_header = msgspec.json.Decoder(_Header)
_line = msgspec.json.Decoder(_Line)


async def export(log: AuditLog, keeper: Keeper, tenant: str) -> AsyncIterator[bytes]:
    """The lines of a tenant's audit, some at a time. Of one that is broken all that is there, without a signed word."""
    await keeper.mark(tenant)
    head = await log.head(tenant)
    checkpoints = await _all_checkpoints(log, tenant)
    if head is None:
        head = AuditHead(tenant=tenant, number=0, hash=BEGINNING, chained=0, swept=0, swept_hash=BEGINNING)
    newest = next((one for one in reversed(checkpoints) if one.kind == "head"), None)
    signed = newest if newest is not None and newest.number >= head.swept else None
    last = head.chained if signed is None else signed.number
    header = _Header(
        checkpoints=len(checkpoints),
        entries=last - head.swept,
        export=NAME,
        head=None if signed is None else shown_checkpoint(signed),
        swept=_Swept(head.swept, head.swept_hash.hex()),
        tenant=tenant,
        version=VERSION,
    )
    yield _written(header) + b"".join(_written({"checkpoint": shown_checkpoint(one)}) for one in checkpoints)
    after = head.swept
    while after < last and (links := await log.chain(tenant, after=after, limit=min(_PAGE, last - after))):
        yield b"".join(_line_of(one.number, one.hash, one.entry) for one in links)
        after = links[-1].number


def verify_export(lines: Iterable[bytes], keys: AuditKeys, *, outside: Sequence[Checkpoint] = ()) -> Verdict:
    """What is known of an exported audit, with the keys that are believed here. Lines come with their ends."""
    reading = iter(lines)
    header = _head_of(reading)
    marks = Marks(keys, header.tenant)
    try:
        walk = _checked(header, reading, marks, outside)
    except Broken as broken:
        return Verdict(tenant=header.tenant, ok=False, number=broken.number, fault=broken.fault)
    return Verdict(
        tenant=header.tenant,
        ok=not marks.untrusted,
        entries=walk.entries,
        first=header.swept.number + 1 if walk.entries else 0,
        last=walk.number,
        hash=walk.hash.hex(),
        swept=header.swept.number,
        checkpoints=marks.good,
        untrusted=sorted(marks.untrusted),
    )


def _head_of(lines: Iterator[bytes]) -> _Header:
    first = next(lines, b"")
    try:
        header = _header.decode(first)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ConfigError(f"This does not begin as an export of an audit does: {error}.") from None
    if header.export != NAME or header.version != VERSION or _written(header) != first:
        raise ConfigError("This does not begin as an export of an audit does, or not of this version.")
    return header


def _checked(header: _Header, lines: Iterator[bytes], marks: Marks, outside: Iterable[Checkpoint]) -> Walk:
    swept, swept_hash = header.swept.number, _digits(header.swept.hash, header.swept.number)
    for _ in range(header.checkpoints):
        marks.add(_checkpoint_in(next(lines, b"")))
    head = None if header.head is None else _read_head(header.head)
    for one in (*([] if head is None else [head]), *outside):
        if one.tenant == header.tenant:
            marks.add(one)
    if head is None and header.entries:
        raise Broken(swept + header.entries, "the export was made without a signed word on its last entry")
    if head is not None and (head.tenant, head.number) != (header.tenant, swept + header.entries):
        raise Broken(head.number, "the export does not end where its signed word says")
    marks.allow(swept, swept_hash)
    if swept_hash:
        marks.compare(swept, swept_hash)
    walk = Walk(swept, swept_hash, marks)
    for line in lines:
        _take(walk, line)
    walk.end(swept + header.entries, walk.hash if head is None else head.hash)
    return walk


def _take(walk: Walk, raw: bytes) -> None:
    here = walk.number + 1
    try:
        line = _line.decode(raw)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Broken(here, f"its line cannot be read: {error}") from None
    if _written(line) != raw:
        raise Broken(here, "its line is not as it was written")
    entry = AuditEntry(**msgspec.structs.asdict(line.entry))
    walk.take(line.number, _digits(line.hash, here), digest_of(entry))


def _checkpoint_in(raw: bytes) -> Checkpoint:
    try:
        shown = msgspec.json.decode(raw)
        found = read_checkpoint(shown["checkpoint"])
    except (ValueError, TypeError, KeyError, msgspec.MsgspecError, ConfigError) as error:
        raise Broken(0, f"the line of a checkpoint cannot be read: {error}") from None
    if _written({"checkpoint": shown_checkpoint(found)}) != raw:
        raise Broken(found.number, "the line of its checkpoint is not as it was written")
    return found


def _read_head(shown: dict[str, Any]) -> Checkpoint:
    try:
        return read_checkpoint(shown)
    except ConfigError as error:
        raise Broken(0, error.message) from None


def _digits(text: str, number: int) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Broken(number, "its hash is none") from None


def _line_of(number: int, own: bytes, entry: AuditEntry | None) -> bytes:
    """What cannot be read any more is shown as such: whoever checks the file finds it."""
    if entry is None:
        return _written({"entry": None, "hash": own.hex(), "number": number})
    shown = {name: getattr(entry, name) for name in entry.__struct_fields__}
    try:
        return _written({"entry": shown, "hash": own.hex(), "number": number})
    except (TypeError, ValueError, msgspec.MsgspecError):
        return _written({"entry": None, "hash": own.hex(), "number": number})


def _written(value: object) -> bytes:
    return _encode(value) + b"\n"


async def _all_checkpoints(log: AuditLog, tenant: str) -> list[Checkpoint]:
    found: list[Checkpoint] = []
    while page := await log.checkpoints(tenant, after=found[-1].number if found else -1, limit=_PAGE):
        found += page
    return found
