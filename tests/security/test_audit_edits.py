"""Whoever changes an audit is found: in the store, and in an export, whatever he does to it."""

from __future__ import annotations

import random
import sqlite3

import msgspec
import pytest
from audit_scene import KEY, NOON, OTHER_KEY, entry, filled, keeper_of

from corral.backends.open import open_stores
from corral.errors import ConfigError
from corral.security.exporting import export, verify_export
from corral.security.signing import AuditKeys, read_key
from corral.security.store import AuditPrefix
from corral.security.verifying import Verifier
from ready import ready_url

EXPORT_EDITS = 1000
STORE_EDITS = 300
COLUMNS = ("id", "action", "subject", "decision", "rule", "reason", "actor", "agent", "session_id", "run_id", "tenant")
PUBLIC = read_key(KEY).public


@pytest.fixture
async def stores(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield stores
    await stores.stop()


# -- an export ---------------------------------------------------------------------------------------------------------


async def exported(log, keeper):
    return b"".join([piece async for piece in export(log, keeper, "acme")])


def is_found(content, keys):
    """Whether somebody who has the file alone finds that it is not what it was."""
    try:
        return not verify_export(content.splitlines(keepends=True), keys).ok
    except ConfigError:
        return True


def flipped(content, chance):
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ chance.randrange(1, 256)]) + content[at + 1 :]


def with_a_line_less(content, chance):
    lines = content.splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    return b"".join(lines)


def with_two_lines_swapped(content, chance):
    lines = content.splitlines(keepends=True)
    one, other = chance.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def cut(content, chance):
    return content[: chance.randrange(len(content))]


def with_a_line_more(content, chance):
    lines = content.splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
    return b"".join(lines)


def with_a_digit_less(content, chance):
    at = chance.choice([at for at, byte in enumerate(content) if 48 <= byte <= 57])
    return content[:at] + content[at + 1 :]


async def test_a_thousand_random_edits_of_an_export_are_all_found(stores):
    keeper = await filled(stores.audit)
    content = await exported(stores.audit, keeper)
    keys = AuditKeys(trusted=[PUBLIC])
    assert not is_found(content, keys)
    chance = random.Random(7)
    edits = [flipped, with_a_line_less, with_two_lines_swapped, cut, with_a_line_more, with_a_digit_less]
    for number in range(EXPORT_EDITS):
        edit = edits[number % len(edits)]
        changed = edit(content, chance)
        assert changed == content or is_found(changed, keys), (number, edit.__name__)


async def test_an_export_says_what_is_in_it(stores):
    keeper = await filled(stores.audit)
    lines = (await exported(stores.audit, keeper)).splitlines(keepends=True)
    verdict = verify_export(lines, AuditKeys(trusted=[PUBLIC]))
    assert (verdict.ok, verdict.entries, verdict.first, verdict.last, verdict.swept) == (True, 25, 6, 30, 5)
    assert verdict.checkpoints == 3  # what was swept, the one in the middle, the last one
    assert len(lines) == 1 + 3 + 25


async def test_the_first_entry_that_was_changed_is_named(stores):
    keeper = await filled(stores.audit)
    content = await exported(stores.audit, keeper)
    keys = AuditKeys(trusted=[PUBLIC])
    lines = content.splitlines(keepends=True)
    place = next(at for at, line in enumerate(lines) if b'"id":"e-17"' in line)
    assert (
        verify_export(
            [line.replace(b'"ada"', b'"eve"') if b'"id":"e-17"' in line else line for line in lines], keys
        ).number
        == 17
    )
    assert verify_export([*lines[:place], *lines[place + 1 :]], keys).number == 17
    assert verify_export([*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]], keys).number == 17
    cut_off = verify_export(lines[:-2], keys)
    assert (cut_off.ok, cut_off.number) == (False, 29)
    assert "missing" in cut_off.fault


async def test_an_export_is_believed_by_who_knows_the_key_alone(stores):
    keeper = await filled(stores.audit)
    lines = (await exported(stores.audit, keeper)).splitlines(keepends=True)
    verdict = verify_export(lines, AuditKeys(trusted=[read_key(OTHER_KEY).public]))
    assert (verdict.ok, verdict.number, verdict.checkpoints) == (False, None, 0)
    assert verdict.untrusted == [read_key(KEY).key_id]


async def test_an_export_of_nothing_is_one(stores):
    lines = (await exported(stores.audit, keeper_of(stores.audit))).splitlines(keepends=True)
    assert len(lines) == 1
    assert verify_export(lines, AuditKeys(trusted=[PUBLIC])).ok


async def test_an_export_of_what_is_broken_shows_it(stores, tmp_path, may_block):
    keeper = keeper_of(stores.audit)
    await stores.audit.append([entry(number) for number in range(1, 6)])
    change(tmp_path, "UPDATE audit SET actor = 'eve' WHERE number = 3")
    lines = (await exported(stores.audit, keeper)).splitlines(keepends=True)
    assert len(lines) == 6
    assert not verify_export(lines, AuditKeys(trusted=[PUBLIC])).ok


async def test_an_entry_that_cannot_be_read_any_more_is_exported_as_such(stores, tmp_path, may_block):
    keeper = await filled(stores.audit)
    change(tmp_path, "UPDATE audit SET details = x'ff' WHERE number = 20")
    change(tmp_path, "UPDATE audit SET actor = CAST(x'ff' AS TEXT) WHERE number = 22")
    lines = (await exported(stores.audit, keeper)).splitlines(keepends=True)
    assert lines[-11].startswith(b'{"entry":null,')
    verdict = verify_export(lines, AuditKeys(trusted=[PUBLIC]))
    assert (verdict.ok, verdict.number) == (False, 20)


async def test_checkpoints_from_elsewhere_are_held_against_an_export(stores):
    keeper = await filled(stores.audit)
    lines = (await exported(stores.audit, keeper)).splitlines(keepends=True)
    keys = AuditKeys(key=KEY)
    (mark,) = await stores.audit.checkpoints("acme", after=12)
    assert verify_export(lines, keys, outside=[mark]).ok
    later = keys.signed(msgspec.structs.replace(mark, number=31))
    verdict = verify_export(lines, keys, outside=[later])
    assert (verdict.ok, verdict.number) == (False, 31)
    rewritten = keys.signed(msgspec.structs.replace(mark, number=20))
    assert verify_export(lines, keys, outside=[rewritten]).number == 20
    elsewhere = keys.signed(msgspec.structs.replace(mark, tenant="bolt", number=3))
    assert verify_export(lines, keys, outside=[elsewhere]).ok


# -- the store ---------------------------------------------------------------------------------------------------------


def change(tmp_path, *statements):
    connection = sqlite3.connect(tmp_path / "corral.db", isolation_level=None)
    connection.text_factory = bytes
    for statement in statements:
        connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
    connection.close()


class Vandal:
    """Somebody who may write to the database, and who puts everything back afterwards."""

    def __init__(self, path, seed):
        self.chance = random.Random(seed)
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
        self.edits = [
            self.flip,
            self.shift,
            self.delete,
            self.swap,
            self.truncate,
            self.insert,
            self.head,
            self.checkpoint,
        ]
        for table in ("audit", "audit_heads", "audit_checkpoints"):
            self.connection.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")

    def back(self):
        self.connection.execute("BEGIN IMMEDIATE")
        for table in ("audit", "audit_heads", "audit_checkpoints"):
            self.connection.execute(f"DELETE FROM {table}")
            self.connection.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
        self.connection.execute("COMMIT")

    def number(self):
        return self.chance.randrange(6, 31)

    def do(self, sql, *values):
        return self.connection.execute(sql, values)

    def flip(self):
        column, number = self.chance.choice([*COLUMNS, "details", "hash"]), self.number()
        (value,) = self.do(f"SELECT {column} FROM audit WHERE number = ?", number).fetchone()
        raw = value.encode(errors="surrogateescape") if isinstance(value, str) else value
        if raw:
            at = self.chance.randrange(len(raw))
            raw = raw[:at] + bytes([raw[at] ^ self.chance.randrange(1, 256)]) + raw[at + 1 :]
        else:
            raw = b"x"
        # A text may also be no text any more.
        self.do(
            f"UPDATE audit SET {column} = {'CAST(?1 AS TEXT)' if isinstance(value, str) else '?1'} WHERE number = ?2",
            raw,
            number,
        )

    def shift(self):
        self.do("UPDATE audit SET at = at + ? WHERE number = ?", self.chance.choice([0.001, -60, 1e9]), self.number())

    def delete(self):
        self.do("DELETE FROM audit WHERE number = ?", self.number())

    def swap(self):
        one, other = self.chance.sample(range(6, 31), 2)
        for was, becomes in ((one, -1), (other, one), (-1, other)):
            self.do("UPDATE audit SET number = ? WHERE number = ?", becomes, was)

    def truncate(self):
        """With the head moved as well: only what a key said tells of it."""
        last = self.chance.randrange(6, 30)
        self.do("DELETE FROM audit WHERE number > ?", last)
        if self.chance.random() < 0.7:
            self.do(
                "UPDATE audit_heads SET number = ?1, chained = ?1, hash = (SELECT hash FROM audit WHERE number = ?1)",
                last,
            )

    def insert(self):
        after, source = self.chance.randrange(5, 31), self.number()
        self.do("UPDATE audit SET number = number + 1000 WHERE number > ?", after)
        self.do("UPDATE audit SET number = number - 999 WHERE number > 1000")
        self.do("CREATE TEMP TABLE one AS SELECT * FROM kept_audit WHERE number = ?", source)
        self.do("UPDATE one SET id = 'another', number = ?", after + 1)
        self.do("INSERT INTO audit SELECT * FROM one")
        self.do("DROP TABLE one")

    def head(self):
        edits = [
            "UPDATE audit_heads SET number = number + 1",
            "UPDATE audit_heads SET number = number - 1",
            "UPDATE audit_heads SET number = 'x'",
            "UPDATE audit_heads SET hash = x'00'",
            "UPDATE audit_heads SET swept = swept + 1",
            "UPDATE audit_heads SET swept = 0, swept_hash = x''",
            "UPDATE audit_heads SET swept_hash = x'01'",
            "UPDATE audit_heads SET swept = 9, swept_hash = (SELECT hash FROM audit WHERE number = 9)",
            "DELETE FROM audit_heads",
        ]
        self.do(self.chance.choice(edits))

    def checkpoint(self):
        edits = [
            "UPDATE audit_checkpoints SET hash = x'00' WHERE number = 12",
            "UPDATE audit_checkpoints SET signature = x'00' WHERE number = 30",
            "UPDATE audit_checkpoints SET number = 13 WHERE number = 12",
            "UPDATE audit_checkpoints SET at = at + 1 WHERE number = 5",
            "UPDATE audit_checkpoints SET kind = 'swept' WHERE number = 12",
            "UPDATE audit_checkpoints SET algorithm = 'none' WHERE number = 12",
            "UPDATE audit_checkpoints SET key_id = 'mine' WHERE number = 12",
            "DELETE FROM audit_checkpoints WHERE kind = 'swept'",
        ]
        self.do(self.chance.choice(edits))


async def test_random_edits_of_a_store_are_all_found(stores, tmp_path, may_block):
    keeper = await filled(stores.audit)
    verifier = Verifier(stores.audit, keeper._keys)
    vandal = Vandal(tmp_path / "corral.db", seed=11)
    assert (await verifier.verify("acme")).ok
    for number in range(STORE_EDITS):
        edit = vandal.edits[number % len(vandal.edits)]
        try:
            edit()
        except sqlite3.IntegrityError:  # an id that another entry has: the database itself says no
            continue
        same = vandal.do("SELECT * FROM audit").fetchall() == vandal.do("SELECT * FROM kept_audit").fetchall()
        verdict = await verifier.verify("acme")
        assert not verdict.ok or (same and edit.__name__ in {"flip", "shift"}), (number, edit.__name__, verdict)
        vandal.back()
    assert (await verifier.verify("acme")).ok
    vandal.connection.close()


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("UPDATE audit SET reason = 'nothing' WHERE number = 20", 20),
        ("DELETE FROM audit WHERE number = 20", 20),
        ("DELETE FROM audit WHERE number >= 20", 20),
        ("DELETE FROM audit WHERE number = 6", 6),
        ("UPDATE audit SET number = 99 WHERE number = 30", 30),
    ],
)
async def test_the_first_entry_of_a_store_that_was_changed_is_named(stores, tmp_path, may_block, statement, number):
    keeper = await filled(stores.audit)
    change(tmp_path, statement)
    verdict = await keeper.verify("acme")
    assert (verdict.ok, verdict.number) == (False, number)
    assert verdict.fault


async def test_who_rewrites_all_of_it_is_found_by_what_was_signed(stores, tmp_path, may_block):
    """The chain is right in itself, and so is its head; the one who did it had no key."""
    keeper = await filled(stores.audit, swept=0 + 1)
    kept = [one.entry for one in await stores.audit.chain("acme", after=0)]
    outside = await stores.audit.checkpoints("acme")
    change(tmp_path, "DELETE FROM audit", "DELETE FROM audit_heads")
    await stores.audit.append([entry(1), *(one for one in kept if one.id != "e-9")])
    assert (await keeper.verify("acme")).number is not None
    change(tmp_path, "DELETE FROM audit_checkpoints")
    assert (await keeper.verify("acme")).ok  # nothing in the store speaks against it
    verdict = await keeper.verifier.verify("acme", outside=outside)
    assert (verdict.ok, verdict.number) == (False, 12)


async def test_a_tail_that_was_cut_off_with_all_that_spoke_of_it_is_found_from_outside(stores, tmp_path, may_block):
    keeper = await filled(stores.audit)
    outside = await stores.audit.checkpoints("acme")
    change(
        tmp_path,
        "DELETE FROM audit WHERE number > 12",
        "UPDATE audit_heads SET number = 12, chained = 12, hash = (SELECT hash FROM audit WHERE number = 12)",
        "DELETE FROM audit_checkpoints WHERE number > 12",
    )
    assert (await keeper.verify("acme")).ok
    verdict = await keeper.verifier.verify("acme", outside=outside)
    assert (verdict.ok, verdict.number) == (False, 13)


async def test_an_audit_that_is_gone_as_a_whole_is_found(stores, tmp_path, may_block):
    keeper = await filled(stores.audit)
    change(tmp_path, "DELETE FROM audit", "DELETE FROM audit_heads")
    assert (await keeper.verify("acme")).number == 1


async def test_checkpoints_of_another_key_are_not_believed(stores):
    await filled(stores.audit)
    verdict = await Verifier(stores.audit, AuditKeys(key=OTHER_KEY)).verify("acme")
    assert (verdict.ok, verdict.number, verdict.untrusted) == (False, None, [read_key(KEY).key_id])
    both = AuditKeys(key=OTHER_KEY, trusted=[PUBLIC])
    assert (await Verifier(stores.audit, both).verify("acme")).ok


async def test_somebody_who_sweeps_without_a_key_is_found(stores, tmp_path, may_block):
    keeper = await filled(stores.audit)
    hash_of_9 = (await stores.audit.chain("acme", after=8, limit=1))[0].hash
    change(
        tmp_path,
        "DELETE FROM audit WHERE number <= 9",
        ("UPDATE audit_heads SET swept = 9, swept_hash = ?", (hash_of_9,)),
    )
    verdict = await keeper.verify("acme")
    assert (verdict.ok, verdict.number) == (False, 9)
    assert "no key says" in verdict.fault
    assert await stores.audit.sweep(AuditPrefix(tenant="acme", number=12, hash=b""), None) == 0
    assert NOON
