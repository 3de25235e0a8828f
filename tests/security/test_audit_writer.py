"""The writer of the audit: bounded, in order, without secrets, and nothing lost when it stops."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from corral.backends.open import open_stores
from corral.clock import new_id
from corral.errors import StoreUnavailable
from corral.messages import AuditEntry
from corral.observability.metrics import Metrics
from corral.security.audit import DETAILS_MAX, AuditWriter
from corral.security.store import AuditQuery
from ready import ready_url


def entry(subject="refund", **more):
    fields = {"id": new_id(), "at": 1000.0, "tenant": "acme", "action": "tool.call", "decision": "allowed"}
    return AuditEntry(subject=subject, **{**fields, **more})


class Away:
    """A store that can be away, and that says when somebody tried."""

    def __init__(self, *, away=True):
        self.away = away
        self.kept = []
        self.tried = asyncio.Event()

    async def append(self, entries):
        self.tried.set()
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable
        self.kept += entries

    async def entries(self, tenant, query):
        raise NotImplementedError

    async def expire(self, *, before, limit=1000):
        raise NotImplementedError


@pytest.fixture
async def log(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield stores.audit
    await stores.stop()


async def subjects(log, tenant="acme"):
    page = await log.entries(tenant, AuditQuery(limit=10_000))
    return [record.entry.subject for record in reversed(page.items)]


async def test_what_was_added_is_kept_in_order_when_it_stops(log):
    writer = AuditWriter(log)
    await writer.start()
    await writer.start()
    for n in range(1200):
        writer(entry(f"{n}"))
    await writer.stop()
    await writer.stop()
    assert await subjects(log) == [f"{n}" for n in range(1200)]
    assert (writer.line.written, writer.line.dropped, writer.line.pending) == (1200, 0, 0)


async def test_draining_writes_and_goes_on(log):
    writer = AuditWriter(log)
    await writer.start()
    writer(entry("one"))
    await writer.drain()
    assert await subjects(log) == ["one"]
    writer(entry("two"))
    await writer.drain()
    await writer.drain()
    assert await subjects(log) == ["one", "two"]
    await writer.stop()


async def test_it_starts_again_after_it_stopped(log):
    writer = AuditWriter(log)
    for name in ("one", "two"):
        await writer.start()
        writer(entry(name))
        await writer.stop()
    assert await subjects(log) == ["one", "two"]


async def test_entries_come_from_any_thread(log):
    writer = AuditWriter(log)
    await writer.start()
    threads = [threading.Thread(target=lambda: [writer(entry()) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await writer.stop()
    assert len(await subjects(log)) == 200


async def test_a_store_that_comes_back_gets_everything(caplog):
    caplog.set_level(logging.INFO, "corral.security")
    store = Away()
    writer = AuditWriter(store, chance=lambda: 0.0)
    await writer.start()
    writer(entry("one"))
    await store.tried.wait()
    writer(entry("two"))
    await writer.drain()
    store.away = False
    await writer.drain()
    assert [one.subject for one in store.kept] == ["one", "two"]
    await writer.stop()
    assert [record.levelname for record in caplog.records if "cannot be written" in record.message] == ["WARNING"]
    assert "written again" in caplog.text


async def test_what_does_not_fit_goes_to_the_log_and_is_counted(caplog):
    metrics = Metrics()
    store = Away()
    writer = AuditWriter(store, metrics, chance=lambda: 0.0, pending_max=3)
    for n in range(5):
        writer(entry(f"tool-{n}"))
    assert (writer.line.pending, writer.line.dropped) == (3, 2)
    await writer.start()
    await store.tried.wait()
    await writer.stop()
    assert (writer.line.pending, writer.line.dropped) == (0, 5)
    for n in range(5):
        assert f'"tool-{n}"' in caplog.text
    rendered = metrics.render().decode()
    assert "corral_security_audit_dropped_total 5" in rendered
    assert 'corral_security_audit_entries_total{action="tool.call",decision="allowed"} 5' in rendered


async def test_secrets_are_masked_before_anything_is_kept(log):
    writer = AuditWriter(log)
    await writer.start()
    details = {"input": {"api_key": "abc123xyz", "note": "Authorization: Bearer abcdefgh12345678", "amount": 5}}
    writer(entry(details=details, reason="password=hunter2 was said"))
    await writer.stop()
    page = await log.entries("acme", AuditQuery())
    kept = page.items[0].entry
    assert kept.details["input"]["amount"] == 5
    text = str(kept)
    for secret in ("abc123xyz", "abcdefgh12345678", "hunter2"):
        assert secret not in text


async def test_details_are_bounded_and_may_be_anything(log):
    writer = AuditWriter(log)
    await writer.start()
    writer(entry("long", details={"input": "x" * 100_000}))
    writer(entry("half", details={"input": "half \ud800"}, reason="\ud800"))
    writer(entry("odd", details={"input": object()}))
    await writer.stop()
    page = await log.entries("acme", AuditQuery())
    odd, half, long = (record.entry for record in page.items)
    assert [odd.subject, half.subject, long.subject] == ["odd", "half", "long"]
    assert len(long.details["beginning"]) <= DETAILS_MAX
    assert long.details["bytes"] > DETAILS_MAX
    assert half.details
