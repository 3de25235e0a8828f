"""An audit that was there before the chain is taken into it, and several processes keep one chain."""

from __future__ import annotations

import asyncio
import sqlite3
import sys

import asyncpg
import pytest

from corral.backends.open import open_stores
from corral.backends.postgres import migrate as on_postgres
from corral.backends.sqlite import migrate as on_sqlite
from corral.security.chain import BEGINNING, digest_of, link
from corral.security.signing import AuditKeys
from corral.security.store import AuditQuery
from corral.security.verifying import Verifier
from corral.testing.contracts.audit import entry, swept

BEFORE_SQLITE = next(step.version for step in on_sqlite.STEPS if step.name == "audit_chain") - 1
BEFORE_POSTGRES = next(step.version for step in on_postgres.STEPS if step.name == "audit_chain") - 1
COLUMNS = "tenant, number, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details"
# Of one tenant all is there, of another the oldest went and one in the middle, of a third all went.
KEPT = [("acme", number) for number in range(1, 8)] + [("bolt", number) for number in (3, 5, 6, 7)]
HEADS = [("acme", 7), ("bolt", 7), ("cave", 4)]
DETAILS = b'{"z":1,"a":[1.5,{"y":null,"b":"\xc3\xbc"}]}'
WRITER = """
import asyncio, sys
from corral.backends.open import open_stores
from corral.clock import new_id
from corral.messages import AuditEntry

def entry(tenant):
    return AuditEntry(id=new_id(), at=1.0, tenant=tenant, action="tool.call", subject="refund", decision="allowed")

async def main(url):
    stores = open_stores(url)
    await stores.start()
    for _ in range(20):
        await stores.audit.append([entry("acme"), entry("umbrella"), entry("acme")])
    await stores.stop()

asyncio.run(main(sys.argv[1]))
"""


def row_of(tenant, number):
    return (tenant, number, f"e-{number}", 1000.0 + number, "tool.call", "refund", "allowed", *[""] * 6, DETAILS)


async def old_sqlite(tmp_path):
    def as_it_was():
        connection = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
        on_sqlite.migrate(connection, "url", 0.0, known=on_sqlite.STEPS[:BEFORE_SQLITE])
        marks = ", ".join("?" * 14)
        connection.executemany(f"INSERT INTO audit ({COLUMNS}) VALUES ({marks})", [row_of(*one) for one in KEPT])
        connection.execute("DELETE FROM audit_heads")
        connection.executemany("INSERT INTO audit_heads (tenant, number) VALUES (?, ?)", HEADS)
        connection.close()

    await asyncio.to_thread(as_it_was)
    return f"sqlite:///{tmp_path}/old.db"


async def old_postgres(url):
    connection = await asyncpg.connect(url)
    await on_postgres.migrate(connection, "url", known=on_postgres.STEPS[:BEFORE_POSTGRES])
    marks = ", ".join(f"${place}" for place in range(1, 15))
    await connection.executemany(
        f"INSERT INTO corral.audit ({COLUMNS}) VALUES ({marks})", [row_of(*one) for one in KEPT]
    )
    await connection.executemany("INSERT INTO corral.audit_heads (tenant, number) VALUES ($1, $2)", HEADS)
    await connection.close()
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def fresh(request, tmp_path):
    """An engine, and where one without any table is."""
    if request.param == "sqlite":
        return request.param, tmp_path
    return request.param, request.getfixturevalue("fresh_postgres_url")


@pytest.fixture
async def stores(fresh):
    engine, place = fresh
    stores = open_stores(await (old_sqlite(place) if engine == "sqlite" else old_postgres(place)))
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request):
    return request.getfixturevalue(f"{request.param}_url")


async def test_what_was_there_before_begins_the_chain(stores):
    log, verifier = stores.audit, Verifier(stores.audit, AuditKeys())
    await log.append([entry(), entry(tenant="cave")])  # before all is sealed: it has its number, and no hash yet
    verdict = await verifier.verify("acme")
    assert (verdict.ok, verdict.unsealed, verdict.entries) == (True, 8, 0)
    assert (await verifier.verify("cave")).entries == 1  # nothing is left of what was there
    sealed = [await log.seal(limit=3) for _ in range(6)]
    assert sum(sealed) == 11  # eight of one tenant, three of the other: of this one those behind the gap
    assert sealed[-1] == 0
    await log.append([entry(), entry(tenant="bolt")])
    expected = {"acme": (0, 9), "bolt": (4, 4), "cave": (4, 1)}
    for tenant, (before, entries) in expected.items():
        verdict = await verifier.verify(tenant)
        assert (verdict.ok, verdict.unsealed, verdict.swept, verdict.entries) == (True, 0, before, entries), tenant
    own = BEGINNING
    for one in await log.chain("acme", after=0):
        assert one.digest == digest_of(one.entry)
        own = link(own, one.number, one.digest)
        assert one.hash == own
    page = await log.entries("acme", AuditQuery(limit=1000))
    assert page.items[-1].entry.details == {"z": 1, "a": [1.5, {"y": None, "b": "ü"}]}


async def test_what_stands_before_the_chain_is_swept_with_the_rest(stores):
    log = stores.audit
    while await log.seal():
        pass
    (acme, bolt) = sorted(await log.expired(before=1003.5), key=lambda one: one.tenant)
    assert (acme.number, bool(acme.hash)) == (3, True)
    assert (bolt.number, bolt.hash) == (3, b"")
    assert await log.sweep(bolt, None) == 1
    assert await swept(stores, before=1006.5) == 6 + 2
    assert [one.number for one in await log.chain("bolt", after=0)] == [7]


async def test_several_processes_keep_one_chain(url):
    stores = open_stores(url)
    await stores.start()
    writers = [await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, url) for _ in range(3)]
    assert [await writer.wait() for writer in writers] == [0, 0, 0]
    verifier = Verifier(stores.audit, AuditKeys())
    for tenant, entries in (("acme", 120), ("umbrella", 60)):
        verdict = await verifier.verify(tenant)
        assert (verdict.ok, verdict.entries, verdict.last) == (True, entries, entries)
    await stores.stop()
