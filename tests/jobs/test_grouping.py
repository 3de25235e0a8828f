from __future__ import annotations

import asyncio
import contextvars
import logging

import pytest

from corral.errors import StoreUnavailable
from corral.jobs import outage as outage_module
from corral.jobs.grouping import Grouping
from corral.jobs.outage import Outage


class Written:
    """What a store is given, call by call; it answers once it is let."""

    def __init__(self):
        self.calls = []
        self.faults = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.called = asyncio.Event()

    async def write(self, items):
        self.called.set()
        await self.go_on.wait()
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        if "bad" in items:
            raise ValueError("bad")
        self.calls.append(items)
        return [item.upper() for item in items]


@pytest.fixture
def written():
    return Written()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(outage_module, "_PAUSE_S", 0.001)


@pytest.fixture
def group(written):
    return Grouping("words", written.write, Outage())


async def test_a_lone_item_goes_out_at_once(group, written):
    assert await group.add("a") == "A"
    assert written.calls == [["a"]]


async def test_what_it_says_is_said_in_nobodys_name(group, written):
    who = contextvars.ContextVar("who", default="nobody")
    heard = []
    write = written.write

    async def heeding(items):
        heard.append(who.get())
        return await write(items)

    group._write = heeding
    who.set("the first one")
    assert await group.add("a") == "A"
    assert heard == ["nobody"]


async def test_what_comes_together_goes_together(group, written):
    assert await asyncio.gather(*map(group.add, "abc")) == ["A", "B", "C"]
    assert written.calls == [["a", "b", "c"]]


async def test_what_comes_meanwhile_goes_next_in_order(group, written):
    written.go_on.clear()
    first = asyncio.create_task(group.add("a"))
    await written.called.wait()
    rest = [asyncio.create_task(group.add(item)) for item in "bcd"]
    await asyncio.sleep(0)
    written.go_on.set()
    await asyncio.gather(first, *rest)
    assert written.calls == [["a"], ["b", "c", "d"]]


async def test_a_batch_is_bounded(written):
    group = Grouping("words", written.write, Outage(), batch_max=2)
    await asyncio.gather(*map(group.add, "abcde"))
    assert written.calls == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_store_that_is_down_is_asked_again_and_nothing_is_said_meanwhile(group, written, caplog):
    written.faults = [StoreUnavailable("down")] * 4
    with caplog.at_level(logging.INFO, "corral.jobs"):
        assert await group.add("a") == "A"
    assert written.calls == [["a"]]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_one_bad_item_does_not_hit_its_neighbours(group, written):
    answers = await asyncio.gather(*map(group.add, ["a", "bad", "c"]), return_exceptions=True)
    assert answers[0] == "A"
    assert isinstance(answers[1], ValueError)
    assert answers[2] == "C"
    assert written.calls == [["a"], ["c"]]


async def test_an_item_is_written_though_its_caller_was_cancelled(group, written):
    written.go_on.clear()
    task = asyncio.create_task(group.add("a"))
    await written.called.wait()
    task.cancel()
    written.go_on.set()
    assert await group.finish(5)
    assert written.calls == [["a"]]
    assert task.cancelled()


async def test_an_answer_that_fails_keeps_nobody_from_theirs(group, caplog):
    heard = []
    group.put("a", lambda _: 1 / 0)
    group.put("b", heard.append)
    assert await group.finish(5)
    assert heard == ["B"]
    assert "division by zero" in caplog.text


async def test_finishing_has_an_end(group, written, caplog):
    written.faults = [StoreUnavailable("down")] * 10_000
    group.put("a", lambda _: None)
    assert not await group.finish(0.01)
    assert "Gave up writing words" in caplog.text
    assert await group.finish(0.01)
    assert not written.calls


def test_one_warning_per_outage(caplog):
    outage = Outage()
    with caplog.at_level(logging.INFO, "corral.jobs"):
        for _ in range(3):
            outage.began("claim", StoreUnavailable("down"))
            outage.began("settle", StoreUnavailable("down"))
        assert outage
        outage.over("claim")
        outage.over("claim")
        assert len(caplog.records) == 1
        outage.over("settle")
    assert not outage
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_pauses_grow_to_a_second():
    outage = Outage(chance=lambda: 1.0)
    pauses = [outage.pause_s(failures) for failures in range(2000)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 1.0


async def test_what_is_about_to_be_joined_by_more_waits_for_it(written):
    group = Grouping("things", written.write, Outage(), enough=lambda: 3)
    async with asyncio.TaskGroup() as tasks:
        for item in "abc":
            tasks.create_task(group.add(item))
            await asyncio.sleep(0)
    assert written.calls == [["a", "b", "c"]]


async def test_it_does_not_wait_for_long(written):
    group = Grouping("things", written.write, Outage(), enough=lambda: 1000)
    async with asyncio.timeout(5):
        assert await group.add("a") == "A"


async def test_nor_when_nothing_more_is_about_to_come(written, monkeypatch):
    monkeypatch.setattr("corral.jobs.grouping._GATHER_S", 60.0)
    worth = 3
    group = Grouping("things", written.write, Outage(), enough=lambda: worth)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(group.add("a"))
        await asyncio.sleep(0.01)
        worth = 1
        tasks.create_task(group.add("b"))
    assert written.calls == [["a", "b"]]
