"""Bells between processes: rung after a commit, never in anybody's way."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from corral.backends.open import open_stores
from corral.backends.sqlite import doorbell as doorbell_module
from corral.backends.sqlite import job_watcher as watcher_module
from corral.backends.sqlite.doorbell import Doorbell
from corral.jobs.job import JobDraft
from corral.testing.contracts.setting import PATIENCE_S, eventually

LONG_S = 30.0
DYING = """
import os, sys
from pathlib import Path
from corral.backends.sqlite.doorbell import Doorbell

Doorbell(Path(sys.argv[1])).hang()
os._exit(0)
"""


class Hung:
    """Bells that are taken down in the end."""

    def __init__(self, path):
        self.path = path
        self.made = []

    def __call__(self, *, hang=True, **more):
        made = Doorbell(self.path, **more)
        self.made.append(made)
        if hang:
            made.hang()
        return made


@pytest.fixture
def bell(tmp_path):
    folder = tmp_path / ("deep" * 30)  # longer than the address of a socket may be
    folder.mkdir()
    hung = Hung(folder / "corral.db")
    yield hung
    for one in hung.made:
        for _ in range(2):
            one.take_down()
            one.put_down()


def bells(bell):
    return sorted(one.name for one in bell.path.with_name("corral.db-bells").iterdir())


def waited(one, seconds):
    began = time.monotonic()
    one.wait(seconds)
    return time.monotonic() - began


def test_who_waits_is_woken_by_all_others_and_not_by_itself(bell):
    one, other, third = bell(), bell(), bell(hang=False)
    for ringer in (other, third):
        ringer.ring()
        assert waited(one, LONG_S) < LONG_S / 2
    one.ring()
    assert waited(one, 0.01) >= 0.009
    assert waited(other, LONG_S) < LONG_S / 2


def test_many_rings_are_one_and_never_keep_anybody_waiting(bell):
    one, other = bell(), bell(hang=False)
    for _ in range(5000):
        other.ring()
    assert waited(one, LONG_S) < LONG_S / 2
    assert waited(one, 0.01) >= 0.009


def test_the_bell_of_a_dead_process_is_taken_away(bell):
    subprocess.run([sys.executable, "-c", DYING, str(bell.path)], check=True)
    (left,) = bells(bell)
    ringer = bell(hang=False)
    ringer.ring()
    assert bells(bell) == []
    one = bell()
    ringer.ring()
    assert waited(one, LONG_S) < LONG_S / 2
    assert left not in bells(bell)


def test_others_are_looked_for_now_and_then(bell):
    now = [100.0]
    ringer = bell(hang=False, monotonic=lambda: now[0])
    ringer.ring()
    one = bell()
    ringer.ring()
    assert waited(one, 0.001) >= 0.0009  # who came a moment ago looks by itself
    now[0] += 1
    ringer.ring()
    assert waited(one, LONG_S) < LONG_S / 2
    one.take_down()
    ringer.ring()
    assert bells(bell) == []


def test_no_more_than_a_few_are_rung(bell, monkeypatch):
    monkeypatch.setattr(doorbell_module, "_BELLS_MAX", 1)
    one, other = bell(), bell()
    bell(hang=False).ring()
    assert sorted([waited(one, 0.02) < 0.02, waited(other, 0.02) < 0.02]) == [False, True]


def test_where_there_can_be_no_bell_there_is_none(bell, monkeypatch):
    (bell.path.parent / "corral.db-bells").write_text("in the way")
    one = bell()
    assert waited(one, 0.001) >= 0.0009
    bell(hang=False).ring()
    (bell.path.parent / "corral.db-bells").unlink()
    monkeypatch.setattr(doorbell_module, "_DESCRIPTORS", bell.path)  # addresses are too long then
    other = bell()
    bell(hang=False).ring()
    assert waited(other, 0.001) >= 0.0009


async def test_a_commit_elsewhere_is_heard_without_looking(sqlite_url, monkeypatch):
    for pause in ("_POLL_S", "_CALM_POLL_S", "_RUNG_POLL_S"):
        monkeypatch.setattr(watcher_module, pause, LONG_S)
    here, there = open_stores(sqlite_url), open_stores(sqlite_url)
    await here.start()
    await there.start()
    rung = asyncio.Event()
    unwatch = here.jobs.watch_work(rung.set)
    folder = here._engine.path.with_name(f"{here._engine.path.name}-bells")

    async def hangs():
        return await asyncio.to_thread(lambda: folder.is_dir() and any(folder.iterdir()))

    await eventually(hangs)
    await rung.wait()  # the first look
    rung.clear()
    async with asyncio.timeout(PATIENCE_S):
        await there.jobs.enqueue([JobDraft(id="a", tenant="acme", agent="main", input=b"1")])
        await rung.wait()
    unwatch()
    monkeypatch.undo()
    await there.jobs.enqueue([JobDraft(id="b", tenant="acme", agent="main", input=b"1")])  # so that it looks again
    await there.stop()
    await here.stop()
    assert list(folder.iterdir()) == []


def test_a_bell_is_known_once_all_who_write_have_listed_it(bell):
    now = [100.0]
    one = bell(hang=False, monotonic=lambda: now[0])
    assert not one.is_known
    one.hang()
    assert not one.is_known
    now[0] += 0.25
    assert one.is_known
    one.take_down()
    assert not one.is_known
