"""Who comes anew does not wait for the claim of a crowd, and where somebody does come, the crowd takes less at once."""

from __future__ import annotations

import asyncio
import contextvars
from types import SimpleNamespace

import msgspec
import pytest
from working_scene import Interposed, draft, until

from corral.errors import StoreUnavailable
from corral.jobs.claiming import _BESIDE
from corral.jobs.company import Company
from corral.jobs.running import Outcome
from corral.jobs.turns import Turns

CONCURRENCY = 8
LONG_AGO_S, JUST_NOW_S = 30.0, 0.01


class TurnedClock:
    def __init__(self):
        self.at = 0.0

    def monotonic(self):
        return self.at


def jobs_of(*tenants, waited_s=LONG_AGO_S):
    return [SimpleNamespace(tenant=tenant, created_at=100.0, claimed_at=100.0 + waited_s) for tenant in tenants]


def company_of(*tenants, waited_s=LONG_AGO_S, is_crowded=True):
    clock = TurnedClock()
    company = Company(clock)
    company.met(jobs_of(*tenants, waited_s=waited_s), is_crowded=is_crowded)
    return company, clock


# -- whose jobs a worker meets -------------------------------------------------------------------------------------------


def test_nobody_hides_behind_a_crowd_that_is_none():
    assert not Company(TurnedClock()).may_hide
    assert not company_of("loud", is_crowded=False)[0].may_hide
    assert company_of("loud")[0].may_hide


@pytest.mark.parametrize("waited_s", [LONG_AGO_S, JUST_NOW_S])
def test_a_tenant_alone_is_no_company_however_fresh_its_jobs(waited_s):
    assert not company_of("loud", "loud", waited_s=waited_s)[0].is_expected


def test_tenants_that_all_stand_in_line_are_a_crowd():
    assert not company_of("loud", "louder")[0].is_expected


def test_who_was_claimed_at_once_although_others_wait_may_come_again_for_a_while():
    company, clock = company_of("loud")
    company.met_beside(jobs_of("quiet", waited_s=JUST_NOW_S))
    assert company.is_expected
    clock.at = 4.9
    assert company.is_expected
    clock.at = 5.1
    assert not company.is_expected


def test_it_is_met_in_a_claim_of_the_crowd_as_well():
    company, _ = company_of("loud")
    company.met([*jobs_of("loud"), *jobs_of("quiet", waited_s=JUST_NOW_S)], is_crowded=True)
    assert company.is_expected


def test_where_all_are_taken_nobody_need_leave_room():
    assert not company_of("loud", "quiet", waited_s=JUST_NOW_S, is_crowded=False)[0].is_expected


def test_where_only_the_crowd_was_found_nobody_looks_for_a_moment():
    company, clock = company_of("loud")
    company.met_beside(jobs_of("loud"))
    assert not company.may_hide
    clock.at = 0.021
    assert company.may_hide
    company.met_beside(jobs_of("loud", "quiet"))
    assert company.may_hide


def test_in_company_the_crowd_that_comes_by_itself_keeps_nobody_from_looking():
    company, _ = company_of("loud")
    company.met_beside(jobs_of("quiet", waited_s=JUST_NOW_S), as_they_came=True)
    company.met_beside(jobs_of("loud"), as_they_came=True)
    assert company.may_hide
    company.met_beside(jobs_of("loud"))  # that was a call to the store, for nothing
    assert not company.may_hide


def test_where_nobody_is_expected_the_crowd_that_comes_by_itself_is_let_be_for_a_moment():
    company, _ = company_of("loud")
    company.met_beside(jobs_of("loud"), as_they_came=True)
    assert not company.may_hide


# -- one after the other -------------------------------------------------------------------------------------------------


async def test_of_two_one_goes_after_the_other_where_that_is_wanted(monkeypatch):
    monkeypatch.setattr("corral.jobs.turns._PATIENCE_S", 60.0)
    turns, said = Turns(lambda: True), []

    async def go(name):
        async with turns.turn():
            said.append(f"{name} begins")
            for _ in range(3):
                await asyncio.sleep(0)
            said.append(f"{name} ends")

    await asyncio.gather(go("first"), go("second"))
    assert said == ["first begins", "first ends", "second begins", "second ends"]


@pytest.mark.parametrize("is_wanted", [True, False])
async def test_nobody_waits_for_long_and_not_at_all_where_nobody_gains(monkeypatch, is_wanted):
    monkeypatch.setattr("corral.jobs.turns._PATIENCE_S", 0.001 if is_wanted else 60.0)
    turns = Turns(lambda: is_wanted)
    async with asyncio.timeout(10), turns.turn(), turns.turn():
        pass
    monkeypatch.setattr("corral.jobs.turns._PATIENCE_S", 60.0)
    async with asyncio.timeout(10), turns.turn():  # and whoever gave up waiting keeps nothing
        pass


# -- a worker ------------------------------------------------------------------------------------------------------------


class Crowd(Interposed):
    """The store; answers to claims of many can be held up. Counts how many large calls are under way."""

    def __init__(self, store):
        super().__init__(store)
        self.limits = []
        self.holds = False
        self.is_held = asyncio.Event()
        self.go_on = asyncio.Event()
        self.under_way = 0
        self.most = 0

    def __getattr__(self, name):
        call = super().__getattr__(name)
        if name not in {"claim", "settle"}:
            return call

        async def counted(*args, **kwargs):
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            try:
                result = await call(*args, **kwargs)
            finally:
                self.under_way -= 1
            if name == "settle":
                return result
            self.limits.append(kwargs["limit"])
            if self.holds and kwargs["limit"] != _BESIDE:
                self.is_held.set()
                await self.go_on.wait()
            return result

        return counted


@pytest.fixture
def quick(monkeypatch):
    """They are quick, however busy the machine is."""
    monkeypatch.setattr("corral.jobs.pace.Pace.ahead", lambda _pace, slots: 2 * slots)


def of(tenant, number):
    return [msgspec.structs.replace(draft(), tenant=tenant) for _ in range(number)]


@pytest.fixture
def beside_a_crowd(make_worker, enqueue, seen, monkeypatch):
    """While the answer to a claim of a crowd is held up, somebody else comes, and begins. What is noted in each job."""
    monkeypatch.setattr("corral.jobs.company._REST_S", 0.0)  # the crowd's own coming may be heard late

    async def come(store, note, before=lambda: None):
        noted, is_there = [], asyncio.Event()

        async def run(job):
            noted.append(note(job))
            if job.claimed.tenant == "quiet":
                is_there.set()
            store.holds = store.holds or len(noted) == 3 * CONCURRENCY
            await asyncio.sleep(0)
            return Outcome()

        await enqueue(*of("loud", 400))
        await make_worker(run, store=store, concurrency=CONCURRENCY)
        try:
            async with asyncio.timeout(20):
                await store.is_held.wait()
                before()
                await enqueue(*of("quiet", 1))
                await is_there.wait()
        finally:
            store.go_on.set()
        await seen.count(401)
        return noted

    return come


@pytest.mark.usefixtures("quick")
async def test_who_comes_anew_begins_while_the_claim_of_a_crowd_is_under_way(beside_a_crowd, stores):
    store, tenants = Crowd(stores.jobs), lambda job: job.claimed.tenant
    assert "quiet" in await beside_a_crowd(store, tenants)
    assert max(store.limits) <= 2 * CONCURRENCY


async def test_while_jobs_take_long_nobody_is_claimed_without_room(make_worker, enqueue, seen, stores):
    store, go_on = Crowd(stores.jobs), asyncio.Event()

    async def slow(job):
        await go_on.wait()
        return Outcome(job.claimed.input)

    await enqueue(*of("loud", 2 * CONCURRENCY))
    worker = await make_worker(slow, store=store, concurrency=CONCURRENCY)
    await until(lambda: worker.running == CONCURRENCY)
    await enqueue(*of("quiet", 1))
    assert store.limits == [CONCURRENCY]
    go_on.set()
    await seen.count(2 * CONCURRENCY + 1)


@pytest.mark.usefixtures("quick")
async def test_in_company_claims_and_endings_are_not_under_way_together(
    make_worker, enqueue, seen, stores, monkeypatch
):
    monkeypatch.setattr("corral.jobs.company.Company.is_expected", property(lambda _company: True))
    monkeypatch.setattr("corral.jobs.company.Company.may_hide", property(lambda _company: False))
    monkeypatch.setattr("corral.jobs.turns._PATIENCE_S", 60.0)
    store = Crowd(stores.jobs)

    async def quickly(job):
        await asyncio.sleep(0)
        return Outcome(job.claimed.input)

    await enqueue(*of("loud", 400))
    await make_worker(quickly, store=store, concurrency=CONCURRENCY)
    assert await seen.count(400) == ["succeeded"] * 400
    assert store.most == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("concurrency", "many", "few"), [(80, 60, 20), (40, 30, 16), (8, 8, 8), (1, 1, 1)])
async def test_in_company_a_crowd_is_claimed_by_the_few_and_fewest_where_the_engine_claims_who_comes(
    make_worker, enqueue, seen, stores, monkeypatch, concurrency, many, few
):
    monkeypatch.setattr("corral.jobs.company.Company.is_expected", property(lambda _company: True))
    store = Crowd(stores.jobs)

    async def quickly(job):
        await asyncio.sleep(0)
        return Outcome(job.claimed.input)

    await enqueue(*of("loud", 400))
    worker = await make_worker(quickly, store=store, concurrency=concurrency)
    assert await seen.count(400) == ["succeeded"] * 400
    first, *others = [limit for limit in store.limits if limit != _BESIDE]  # the crowd's own coming may be heard late
    assert first == many  # nothing is known of the engine yet
    assert max(others) == (few if worker._claimer.stands_by else many)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_where_the_engine_can_who_comes_beside_a_crowd_is_claimed_as_it_is_enqueued(beside_a_crowd, stores):
    noted = await beside_a_crowd(
        Crowd(stores.jobs), lambda job: (job.claimed.tenant, job.claimed.claimed_at == job.claimed.created_at)
    )
    assert ("quiet", True) in noted


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_no_claim_stands_beside_a_crowd_whose_jobs_take_long_all_of_a_sudden(
    make_worker, enqueue, seen, stores, monkeypatch
):
    ahead, go_on, standing = [2], asyncio.Event(), stores._engine.standing
    monkeypatch.setattr("corral.jobs.pace.Pace.ahead", lambda _pace, slots: ahead[0] * slots)

    async def slow(job):
        await go_on.wait()
        return Outcome()

    await enqueue(*of("loud", 400))
    await make_worker(slow, concurrency=CONCURRENCY)
    await until(lambda: standing.waits)
    ahead[0] = 0
    await until(lambda: not standing.waits)
    go_on.set()
    await seen.count(400)


class Stood:
    """A claim beside a crowd; whether its answer is on its way."""

    def __init__(self, *, is_fired):
        self._is_fired = is_fired
        self.claimed = asyncio.get_running_loop().create_future()

    def withdraw(self):
        return not self._is_fired


class Stands(Crowd):
    """Claims that stand are the test's, and the first one is claimed with."""

    def __init__(self, store):
        super().__init__(store)
        self.stood = []

    def stand_by(self, *_args, limit, **_more):
        if limit != _BESIDE:
            return None
        self.stood.append(Stood(is_fired=not self.stood))
        return self.stood[-1]


@pytest.mark.usefixtures("quick")
async def test_what_was_claimed_as_it_was_enqueued_is_taken_although_the_worker_drains(
    make_worker, enqueue, seen, stores
):
    store = Stands(stores.jobs)

    async def quickly(job):
        return Outcome()

    await enqueue(*of("loud", 400))
    worker = await make_worker(quickly, store=store, concurrency=CONCURRENCY)
    await until(lambda: store.stood)
    draining = asyncio.create_task(worker.drain())
    await until(lambda: not worker.running)
    claimed = await stores.jobs.claim(worker.name, queues=(), limit=1, lease_s=30)
    assert not draining.done()
    store.stood[0].claimed.set_result(claimed)
    await draining
    assert claimed.jobs[0].token in {job.token for job, _ in seen.ends}
    assert len(store.stood) == 1


@pytest.mark.usefixtures("quick")
async def test_a_claim_beside_a_crowd_that_fails_leaves_the_work_to_those_that_follow(
    make_worker, enqueue, seen, stores
):
    store = Stands(stores.jobs)

    async def quickly(job):
        return Outcome()

    await enqueue(*of("loud", 400))
    await make_worker(quickly, store=store, concurrency=CONCURRENCY)
    await until(lambda: store.stood)
    store.stood[0].claimed.set_exception(StoreUnavailable("down"))
    assert await seen.count(400) == ["succeeded"] * 400


@pytest.mark.usefixtures("quick")
async def test_who_is_claimed_beside_runs_outside_of_who_enqueued_it(beside_a_crowd, stores):
    set_by = contextvars.ContextVar("set_by", default=None)
    found = await beside_a_crowd(
        Crowd(stores.jobs), lambda _job: set_by.get(), before=lambda: set_by.set("who enqueued")
    )
    assert found == [None] * 401


@pytest.mark.usefixtures("quick")
async def test_what_is_claimed_beside_does_not_pile_up_while_nothing_can_be_ended(
    make_worker, enqueue, seen, stores, monkeypatch
):
    monkeypatch.setattr("corral.jobs.company._REST_S", 0.0)  # each that comes is looked for at once
    store, may_end, begun = Crowd(stores.jobs), asyncio.Event(), []
    kept_max = 2 * 3 * CONCURRENCY  # twice the room that `quick` makes

    async def quickly(job):
        begun.append(job.id)
        return Outcome()

    store.before["settle"] = may_end.wait
    await enqueue(*of("loud", 400))
    await make_worker(quickly, store=store, concurrency=CONCURRENCY)
    await until(lambda: len(begun) >= kept_max)
    for _ in range(20):
        await enqueue(*of("quiet", 1))
    assert len(begun) <= kept_max + _BESIDE
    may_end.set()
    await seen.count(420)


@pytest.mark.usefixtures("quick")
async def test_the_crowd_gets_its_turn_although_newcomers_never_end(make_worker, enqueue, seen, stores):
    store, begun, came = Crowd(stores.jobs), [], []

    async def another():  # while the answer to each claim is on its way
        if len(begun) >= 3 * CONCURRENCY and len(came) < 50:
            came.extend(await enqueue(*of("quiet", 1)))

    async def quickly(job):
        begun.append(job.claimed.tenant)
        return Outcome()

    store.after["claim"] = another
    await enqueue(*of("loud", 1000))
    await make_worker(quickly, store=store, concurrency=CONCURRENCY)
    await until(lambda: len(came) == 50)
    assert sum(limit != _BESIDE for limit in store.limits[-40:]) >= 5
    await seen.count(1050)
