from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import msgspec
import pytest

from corral.backends.sqlite.stores import SqliteStores
from corral.clock import new_time_id
from corral.errors import IdempotencyKeyReused, StoreUnavailable, ValidationFailed
from corral.jobs.job import JobDraft, JobQuery
from corral.jobs.scheduler import Scheduler
from corral.jobs.schedules import RESERVED_PREFIX, Planned, plan
from ready import ready_url

T0 = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.at = T0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Told:
    """A store that tells what was fired, and does not answer while it is cut off."""

    def __init__(self, store) -> None:
        self._store = store
        self.cut = 0
        self.broken = 0
        self.refused = False
        self.looked = asyncio.Event()
        self.fired: asyncio.Queue = asyncio.Queue()

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def due(self, **options):
        self.looked.set()
        if self.cut:
            self.cut -= 1
            raise StoreUnavailable
        if self.broken:
            self.broken -= 1
            raise RuntimeError("a row like no other")
        return await self._store.due(**options)

    async def fire(self, schedule, drafts, *, next_at):
        if self.refused and drafts:
            raise IdempotencyKeyReused
        done = await self._store.fire(schedule, drafts, next_at=next_at)
        self.fired.put_nowait((schedule.name, len(drafts), done))
        return done


def drafts_of(schedule, at):
    if schedule.job.get("agent") == "unknown":
        raise ValidationFailed("There is no agent 'unknown'.")
    draft = JobDraft(
        id=new_time_id(at), tenant=schedule.tenant, agent=schedule.job["agent"], input=b"{}", tags=("mine",)
    )
    return [draft] * schedule.job.get("times", 1)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def stores(tmp_path, clock):
    stores = SqliteStores(ready_url(tmp_path), clock=clock)
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture
async def begin(stores, clock):
    """Starts schedulers; each sees the store through `Told`."""
    made = []

    async def begin_one(configured=None, store=None):
        told = store or Told(stores.schedules)
        scheduler = Scheduler(told, drafts_of, configured or {}, clock=clock, poll_s=3600.0)
        made.append(scheduler)
        await scheduler.start()
        await scheduler.start()
        async with asyncio.timeout(10):
            await told.looked.wait()
        return scheduler, told

    yield begin_one
    for scheduler in made:
        await scheduler.stop()
        await scheduler.stop()


def schedule(name, now=T0, *, tenant="acme", agent="main", **said):
    job = {"agent": agent, "times": said.pop("times", 1)}
    return plan(tenant, name, Planned(cron=said.pop("cron", "@hourly"), job=job, **said), now=now)


async def fired(told, count=1):
    async with asyncio.timeout(10):
        return [await told.fired.get() for _ in range(count)]


async def jobs(stores, tenant="acme"):
    return (await stores.job_records.find(tenant, JobQuery())).items


async def saved(stores, tenant="default"):
    return {schedule.name: schedule for schedule in await stores.schedules.schedules(tenant)}


async def test_a_schedule_fires_when_its_time_comes(stores, clock, begin):
    await stores.schedules.save(schedule("report"))
    scheduler, told = await begin()
    clock.at = T0 + HOUR
    scheduler.wake()
    assert await fired(told) == [("report", 1, True)]
    [job] = await jobs(stores)
    assert job.agent == "main"
    assert job.tags == ("mine", "schedule:report")
    [after] = await stores.schedules.schedules("acme")
    assert after.next_at == T0 + 2 * HOUR


async def test_many_processes_fire_each_time_once(stores, clock, begin):
    for n in range(5):
        await stores.schedules.save(schedule(f"report-{n}"))
    begun = [await begin() for _ in range(4)]
    clock.at = T0 + HOUR
    for scheduler, _ in begun:
        scheduler.wake()
    for scheduler, told in begun:
        told.looked.clear()
        scheduler.wake()
        await told.looked.wait()
        await scheduler.drain()
    assert len(await jobs(stores)) == 5
    outcomes = [told.fired.get_nowait() for _, told in begun for _ in range(told.fired.qsize())]
    assert sorted(name for name, _, done in outcomes if done) == [f"report-{n}" for n in range(5)]


async def test_missed_times_are_made_up_for(stores, clock, begin):
    await stores.schedules.save(schedule("every-one", catch_up="all"))
    await stores.schedules.save(schedule("once", catch_up="one"))
    await stores.schedules.save(schedule("never", catch_up="skip"))
    clock.at = T0 + 3.5 * HOUR
    _, told = await begin()
    assert sorted(await fired(told, 3)) == [("every-one", 3, True), ("never", 0, True), ("once", 1, True)]
    assert {each.next_at for each in await stores.schedules.schedules("acme")} == {T0 + 4 * HOUR}


async def test_one_that_cannot_be_fired_does_not_stop_the_others(stores, clock, begin, caplog):
    await stores.schedules.save(schedule("good"))
    await stores.schedules.save(schedule("wrong-agent", agent="unknown"))
    await stores.schedules.save(msgspec.structs.replace(schedule("garbled"), cron="whenever"))
    await stores.schedules.save(schedule("broken-request", agent=5))
    scheduler, told = await begin()
    clock.at = T0 + HOUR
    scheduler.wake()
    outcomes = {name: (count, done) for name, count, done in await fired(told, 4) if done}
    assert outcomes["good"] == (1, True)
    assert outcomes["wrong-agent"] == (0, True)
    assert outcomes["garbled"] == (0, True)
    assert "There is no agent 'unknown'" in caplog.text
    assert "garbled (tenant acme) cannot be understood" in caplog.text
    after = {each.name: each.next_at for each in await stores.schedules.schedules("acme")}
    assert min(after.values()) > clock.at  # none stands in the way of the others


async def test_paused_ones_stay(stores, clock, begin):
    await stores.schedules.save(schedule("paused", paused=True))
    await stores.schedules.save(schedule("report"))
    scheduler, told = await begin()
    clock.at = T0 + HOUR
    scheduler.wake()
    assert await fired(told) == [("report", 1, True)]
    await scheduler.drain()
    assert told.fired.empty()


async def test_a_store_that_is_away_is_waited_for(stores, clock, begin, caplog):
    caplog.set_level(logging.INFO, "corral.jobs")
    await stores.schedules.save(schedule("report", now=T0 - HOUR))
    told = Told(stores.schedules)
    told.cut = 3
    await begin(store=told)
    assert await fired(told) == [("report", 1, True)]
    assert caplog.text.count("WARNING") == 1
    assert "answers again" in caplog.text


async def test_jobs_that_the_store_refuses_are_left_out_this_time(stores, clock, begin, caplog):
    await stores.schedules.save(schedule("report"))
    scheduler, told = await begin()
    told.refused = True
    clock.at = T0 + HOUR
    scheduler.wake()
    assert await fired(told) == [("report", 0, True)]
    assert "report (tenant acme) is left out this time" in caplog.text


async def test_whatever_goes_wrong_it_looks_again(stores, clock, begin, caplog):
    await stores.schedules.save(schedule("report", now=T0 - HOUR))
    told = Told(stores.schedules)
    told.broken = 1
    scheduler, _ = await begin(store=told)
    scheduler.wake()
    assert await fired(told) == [("report", 1, True)]
    assert "a row like no other" in caplog.text


async def test_nothing_is_fired_after_a_drain(stores, clock, begin):
    await stores.schedules.save(schedule("report"))
    scheduler, told = await begin()
    await scheduler.drain()
    clock.at = T0 + HOUR
    scheduler.wake()
    await scheduler.drain()
    assert told.fired.empty()
    assert await jobs(stores) == []


# -- those in the settings


async def test_what_the_settings_say_is_saved_kept_and_removed(stores, clock, begin):
    await begin({"report": {"cron": "@hourly", "agent": "main"}, "other": {"cron": "@daily", "agent": "main"}})
    first = await saved(stores)
    assert set(first) == {RESERVED_PREFIX + "report", RESERVED_PREFIX + "other"}
    assert first["settings:report"].next_at == T0 + HOUR

    clock.at = T0 + 30 * 60
    await begin({"report": {"cron": "@hourly", "agent": "main"}, "new": {"cron": "@every 1m", "agent": "main"}})
    second = await saved(stores)
    assert set(second) == {"settings:report", "settings:new"}
    assert second["settings:report"] == first["settings:report"]


async def test_what_was_missed_before_a_start_is_made_up_for(stores, clock, begin):
    configured = {"report": {"cron": "@hourly", "agent": "main"}}
    scheduler, _ = await begin(configured)
    await scheduler.stop()
    clock.at = T0 + 5.5 * HOUR
    _, told = await begin(configured)
    assert await fired(told) == [("settings:report", 1, True)]


async def test_a_change_of_the_job_keeps_the_times_and_a_change_of_the_times_does_not(stores, clock, begin):
    await begin({"a": {"cron": "@hourly", "agent": "main"}, "b": {"cron": "@hourly", "agent": "main"}})
    clock.at = T0 + HOUR / 2
    await begin({"a": {"cron": "@hourly", "agent": "two"}, "b": {"cron": "45 * * * *", "agent": "main"}})
    after = await saved(stores)
    assert after["settings:a"].job == {"agent": "two"}
    assert after["settings:a"].next_at == T0 + HOUR
    assert after["settings:b"].next_at == T0 + 45 * 60


async def test_an_entry_that_is_wrong_is_told_and_the_others_come(stores, begin, caplog):
    await stores.schedules.save(schedule("settings:bad", tenant="default"))
    configured = {
        "bad": {"cron": "61 * * * *", "agent": "main"},
        "nobody": {"cron": "@daily", "agent": "unknown"},
        "a b": {"cron": "@daily", "agent": "main"},
        "good": {"cron": "@daily", "agent": "main"},
    }
    await begin(configured)
    assert set(await saved(stores)) == {"settings:bad", "settings:good"}  # what was there before stays as it was
    for said in ("jobs.schedules.bad", "61 is not within 0 to 59", "no agent 'unknown'", "jobs.schedules.a b"):
        assert said in caplog.text


async def test_people_s_own_schedules_are_left_alone(stores, begin):
    await stores.schedules.save(schedule("mine", tenant="default"))
    await begin({})
    assert set(await saved(stores)) == {"mine"}


async def test_settings_that_cannot_be_saved_stop_no_schedule(stores, begin, caplog):
    class Unreadable(Told):
        async def schedules(self, tenant):
            raise RuntimeError(f"a row of {tenant} like no other")

    await stores.schedules.save(schedule("report", now=T0 - HOUR))
    _, told = await begin({}, store=Unreadable(stores.schedules))
    assert await fired(told) == [("report", 1, True)]
    assert "could not be saved" in caplog.text
