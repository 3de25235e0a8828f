"""What is signed, when, and by whom; what is swept; and that a chain that is broken is told of, and never signed."""

from __future__ import annotations

import asyncio
import logging
import sqlite3

import pytest
from audit_scene import KEEP_S, KEY, NOON, OTHER_KEY, Clock, entry, filled, keeper_of

from corral.backends.open import open_stores
from corral.errors import StoreUnavailable
from corral.observability.metrics import Metrics
from corral.security.audit import AuditWriter
from corral.security.chain import digest_of, link
from corral.security.signing import AuditKeys
from ready import ready_url


@pytest.fixture
async def log(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield stores.audit
    await stores.stop()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """What failed is tried again at once."""
    monkeypatch.setattr("corral.security.keeping._PAUSE_S", 0.001)


class Signed:
    """An anchor that says when something came."""

    def __init__(self):
        self.kept = []
        self.some = asyncio.Event()

    def add(self, one):
        self.kept.append(one)
        self.some.set()

    async def next(self):
        async with asyncio.timeout(20):
            await self.some.wait()
        self.some.clear()
        return self.kept[-1]


def value(metrics, name):
    rendered = metrics.render().decode()
    return next(float(line.split()[-1]) for line in rendered.splitlines() if line.startswith(name))


async def test_it_is_signed_after_so_many_entries(log):
    anchor, metrics = Signed(), Metrics()
    keeper = keeper_of(log, anchor=anchor, metrics=metrics, checkpoint_entries=10, checkpoint_s=1e6)
    writer = AuditWriter(log, metrics, written=keeper.written)
    await keeper.start()
    await keeper.start()
    for number in range(25):
        writer(entry(number))
        if number == 8:
            await writer.line.start()
    await writer.drain()
    assert (await anchor.next()).number == 25
    assert [one.number for one in await log.checkpoints("acme")] == [25]
    assert value(metrics, "corral_security_audit_checkpoints_total") == 1
    await writer.stop()
    await keeper.drain()
    await keeper.stop()
    await keeper.stop()


async def test_it_is_signed_after_so_long(log):
    anchor = Signed()
    keeper = keeper_of(log, anchor=anchor, checkpoint_s=0.01)
    await keeper.start()
    await log.append([entry(1), entry(2, tenant="umbrella")])
    keeper.written([entry(1), entry(2, tenant="umbrella")])
    await anchor.next()
    while len(anchor.kept) < 2:
        await anchor.next()
    assert {(one.tenant, one.number) for one in anchor.kept} == {("acme", 1), ("umbrella", 1)}
    await keeper.stop()


async def test_signing_twice_is_signing_once(log):
    keeper, other = keeper_of(log), keeper_of(log)
    await log.append([entry(number) for number in range(4)])
    one = await keeper.mark("acme")
    assert await keeper.mark("acme") is None
    assert await other.mark("acme") is None
    assert await log.checkpoints("acme") == [one]
    assert await keeper.mark("nobody") is None


async def test_what_is_broken_is_not_signed_and_is_told_of(log, tmp_path, caplog, may_block):
    metrics = Metrics()
    keeper = keeper_of(log, metrics=metrics)
    await log.append([entry(number) for number in range(1, 10)])
    connection = sqlite3.connect(tmp_path / "corral.db")
    connection.execute("UPDATE audit SET actor = 'eve' WHERE number = 4")
    connection.commit()
    connection.close()
    with caplog.at_level(logging.ERROR, "corral.security"):
        assert await keeper.mark("acme") is None
    assert "The audit of 'acme' is broken at entry 4" in caplog.text
    assert await log.checkpoints("acme") == []
    assert value(metrics, "corral_security_audit_broken") == 1
    # Nor is it swept: it may be needed as it is.
    clock = Clock(NOON + KEEP_S + 100)
    assert await keeper_of(log, clock=clock).expire() == 0


class Counted:
    """A log that counts how often its entries are read."""

    def __init__(self, log):
        self._log = log
        self.read = 0

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def chain(self, *args, **more):
        self.read += 1
        return await self._log.chain(*args, **more)


async def test_what_was_chained_here_is_signed_as_it_was_whatever_stands_there_now(log, tmp_path, may_block):
    counted, metrics = Counted(log), Metrics()
    keeper = keeper_of(counted, metrics=metrics)

    async def written(*numbers):
        entries = [entry(number) for number in numbers]
        keeper.written(entries, await log.append(entries))

    await written(1, 2, 3)
    assert (await keeper.mark("acme")).number == 3
    await written(4, 5)
    await written(6)
    # Somebody rewrites the newest entries, hashes and all, before they are signed.
    connection = sqlite3.connect(tmp_path / "corral.db")
    (before,) = connection.execute("SELECT hash FROM audit WHERE number = 4").fetchone()
    for number, kept in enumerate(["other", "words"], start=5):
        digest = digest_of(entry(number, actor=kept))
        before = link(before, number, digest)
        connection.execute("UPDATE audit SET actor = ?, hash = ? WHERE number = ?", (kept, before, number))
    connection.execute("UPDATE audit_heads SET hash = ?", (before,))
    connection.commit()
    connection.close()
    assert (await keeper.mark("acme")).number == 6
    assert counted.read == 0
    verdict = await keeper.verify("acme")
    assert (verdict.ok, verdict.number) == (False, 6)
    assert "not what a checkpoint says" in verdict.fault
    assert value(metrics, "corral_security_audit_broken") == 1


async def test_what_others_wrote_as_well_is_read_before_it_is_signed(log):
    counted = Counted(log)
    keeper = keeper_of(counted)

    async def written(*numbers):
        entries = [entry(number) for number in numbers]
        keeper.written(entries, await log.append(entries))

    await log.append([entry(1)])  # by another process, before this one began
    await written(2)
    assert (await keeper.mark("acme")).number == 2
    assert counted.read == 1
    await written(3)
    assert (await keeper.mark("acme")).number == 3
    assert counted.read == 1
    await log.append([entry(4)])
    await written(5)
    assert (await keeper.mark("acme")).number == 5
    assert counted.read == 2
    await written(5)  # a group that comes again
    await written(5, 6)
    assert (await keeper.mark("acme")).number == 6
    assert counted.read == 2
    await log.append([entry(7)])
    assert (await keeper.mark("acme")).number == 7
    assert counted.read == 3
    await written(8)
    assert (await keeper.mark("acme")).number == 8
    assert (await keeper.verify("acme")).ok


async def test_the_chains_of_many_tenants_are_followed_within_bounds(log, monkeypatch):
    monkeypatch.setattr("corral.security.keeping._TENANTS_MAX", 2)
    keeper = keeper_of(log)
    entries = [entry(1, tenant=tenant) for tenant in "abc"]
    keeper.written(entries, await log.append(entries))
    assert len(keeper._chained) == 2
    for tenant in "abc":
        assert (await keeper.mark(tenant)).number == 1


async def test_what_was_swept_leaves_the_rest_to_be_checked(log):
    clock = Clock()
    keeper = keeper_of(log, clock=clock)
    await log.append([entry(number) for number in range(1, 21)])
    await log.append([entry(number, tenant="umbrella") for number in range(1, 4)])
    await keeper.mark("acme")
    for swept in (4, 9, 20):
        clock.at = NOON + KEEP_S + swept + 0.5
        while await keeper.expire():
            pass
        verdict = await keeper.verify("acme")
        assert (verdict.ok, verdict.swept, verdict.entries) == (True, swept, 20 - swept)
    await log.append([entry(30)])
    verdict = await keeper.verify("acme")
    assert (verdict.ok, verdict.entries, verdict.first) == (True, 1, 21)
    assert (await keeper.verify("umbrella")).ok
    assert [one.kind for one in await log.checkpoints("acme")] == ["head", "swept"]


async def test_a_round_checks_the_newest_and_signs_what_nobody_signed(log):
    metrics = Metrics()
    keeper = keeper_of(log, metrics=metrics, verify_entries=8)
    for tenant in ("acme", "bolt", "cave"):
        await log.append([entry(number, tenant=tenant) for number in range(1, 6)])
    assert await keeper.look_at_the_newest() == 2  # ten entries are more than eight
    assert await keeper.look_at_the_newest() == 1
    for tenant in ("acme", "bolt", "cave"):
        assert [one.number for one in await log.checkpoints(tenant)] == [5]
    assert value(metrics, "corral_security_audit_verified_timestamp_seconds") == NOON


async def test_the_newest_part_begins_at_a_checkpoint(log):
    keeper = await filled(log)
    verdict = await keeper.verify("acme", newest=10)
    assert (verdict.ok, verdict.first, verdict.last) == (True, 13, 30)
    assert (await keeper.verify("acme", newest=1000)).first == 6


async def test_keys_are_changed_one_after_the_other(log):
    await filled(log, keys=AuditKeys(key=KEY))
    later = keeper_of(log, keys=AuditKeys(key=OTHER_KEY, trusted=[KEY]))
    await log.append([entry(77)])
    await later.mark("acme")
    assert (await later.verify("acme")).ok
    assert (await keeper_of(log, keys=AuditKeys(key=KEY)).verify("acme")).untrusted


async def test_several_keepers_sign_and_sweep_together(log):
    clock = Clock(NOON + KEEP_S + 15.5)
    keepers = [keeper_of(log, clock=clock) for _ in range(4)]

    async def work(keeper, first):
        for number in range(first, first + 40, 4):
            await log.append([entry(number)])
            await keeper.mark("acme")
            await keeper.expire()

    await asyncio.gather(*(work(keeper, number) for number, keeper in enumerate(keepers)))
    verdict = await keepers[0].verify("acme")
    assert verdict.ok, verdict
    assert verdict.last == 40


class Faulty:
    """A log that fails as often as is said, and then works."""

    def __init__(self, log, name, *errors):
        self._log = log
        self._name = name
        self._errors = list(errors)
        self.again = asyncio.Event()

    def __getattr__(self, name):
        work = getattr(self._log, name)
        if name != self._name:
            return work

        async def tried(*args, **more):
            if self._errors:
                raise self._errors.pop(0)
            self.again.set()
            return await work(*args, **more)

        return tried


async def test_a_store_that_is_away_is_asked_again(log, caplog):
    faulty = Faulty(log, "seal", StoreUnavailable(), ZeroDivisionError())
    keeper = keeper_of(faulty)
    with caplog.at_level(logging.WARNING, "corral.security"):
        await keeper.start()
        async with asyncio.timeout(20):
            await faulty.again.wait()
        await keeper.stop()
    assert "could not be checked, will be tried again" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_what_could_not_be_signed_is_signed_later(log, caplog):
    anchor = Signed()
    faulty = Faulty(log, "head", StoreUnavailable())
    keeper = keeper_of(faulty, anchor=anchor, checkpoint_entries=1)
    await keeper.start()
    await log.append([entry(1)])
    keeper.written([entry(1)])
    assert (await anchor.next()).number == 1
    assert "could not be signed, will be tried again" in caplog.text
    faulty._errors.append(ZeroDivisionError())
    await log.append([entry(2), entry(1, tenant="bolt")])
    keeper.written([entry(2)])
    keeper.written([entry(1, tenant="bolt")])
    await anchor.next()
    assert "The audit of" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    await keeper.stop()


async def test_a_round_after_the_start_signs_what_others_left(log):
    anchor = Signed()
    await log.append([entry(1)])
    keeper = keeper_of(log, anchor=anchor, checkpoint_s=0.001)
    await keeper.start()
    assert (await anchor.next()).number == 1
    await keeper.stop()


async def test_many_tenants_are_waited_for_within_bounds(log, monkeypatch):
    monkeypatch.setattr("corral.security.keeping._TENANTS_MAX", 2)
    keeper = keeper_of(log)
    keeper.written([entry(1, tenant=tenant) for tenant in "abc"])
    assert set(keeper._fresh) == {"a", "b"}


async def test_what_is_whole_again_is_no_alarm_any_more(log, tmp_path, may_block):
    metrics = Metrics()
    keeper = keeper_of(log, metrics=metrics)
    await log.append([entry(1)])
    for actor, broken in (("eve", 1), ("ada", 0)):
        connection = sqlite3.connect(tmp_path / "corral.db")
        connection.execute("UPDATE audit SET actor = ?", (actor,))
        connection.commit()
        connection.close()
        assert (await keeper.verify("acme")).ok is not broken
        assert value(metrics, "corral_security_audit_broken") == broken


async def test_keys_that_are_not_believed_are_told_of(log, caplog):
    await filled(log, keys=AuditKeys(key=OTHER_KEY))
    assert not (await keeper_of(log).verify("acme")).ok
    assert "security.audit_chain.trusted" in caplog.text
