"""What is surely not in the cache's file: never said of what is there, whoever put it there."""

from __future__ import annotations

import hashlib
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.backends.sqlite import cache_absence
from corral.backends.sqlite.cache_absence import CHUNK, Absence
from corral.cache.store import EntryDraft


def key_of(number: int) -> bytes:
    return hashlib.blake2b(b"%d" % number, digest_size=16).digest()


def drafts(*numbers: int) -> list[EntryDraft]:
    return [EntryDraft(key=key_of(number), value=b"v", ttl_s=60.0) for number in numbers]


class Turned:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


class File:
    """Its keys in order, and the connection that writes."""

    def __init__(self, clock: Turned) -> None:
        self.keys: list[bytes] = []
        self.connection = sqlite3.connect(":memory:")
        self.version = 1
        self.absence = Absence(monotonic=clock)

    def write(self, *keys: bytes) -> None:
        self.absence.keeping(keys)
        self.absence.checked(self.connection, self.version)
        self.keys += keys

    def others_write(self, *keys: bytes) -> None:
        self.keys += keys
        self.version += 1

    def look(self) -> None:
        chunk = self.absence.next_chunk()
        if chunk is not None:
            era, after = chunk
            self.absence.read(era, [(n, key) for n, key in enumerate(self.keys, 1) if n > after][:CHUNK])


@pytest.fixture
def clock():
    return Turned()


@pytest.fixture
def file(clock):
    opened = File(clock)
    yield opened
    opened.connection.close()


def test_what_is_there_is_read_some_at_a_time_and_nothing_is_said_before(file):
    file.keys = [key_of(number) for number in range(CHUNK * 2 + 1)]
    file.look()
    assert not file.absence.lacks(key_of(-1))  # it does not know yet whether it is alone
    file.write()
    for _ in range(3):
        assert not file.absence.lacks(key_of(-1))
        file.look()
    assert file.absence.lacks(key_of(-1))
    assert not any(map(file.absence.lacks, file.keys))


def test_it_says_nothing_when_it_has_not_looked_for_a_second(file, clock):
    file.write()
    file.look()
    assert file.absence.lacks(key_of(1))
    clock.at += 1.1
    assert not file.absence.lacks(key_of(1))
    file.write()
    assert file.absence.lacks(key_of(1))


def test_what_others_write_makes_it_silent_until_all_was_read_anew(file, clock):
    file.write(key_of(1))
    file.look()
    file.others_write(key_of(2))
    file.write(key_of(3))
    assert not file.absence.lacks(key_of(4))
    file.look()
    assert not file.absence.lacks(key_of(4))  # others may be at it still
    clock.at += 6
    file.write()
    file.look()
    assert file.absence.lacks(key_of(4))
    assert not any(map(file.absence.lacks, file.keys))


def test_a_chunk_that_was_read_before_others_wrote_is_not_the_last_one(file, clock):
    file.write()
    era, _ = file.absence.next_chunk()
    assert file.absence.next_chunk() is None  # one reads at a time
    file.others_write(key_of(1))
    file.write()
    file.absence.read(era, [])
    assert not file.absence.lacks(key_of(1))
    clock.at += 6
    file.write()
    assert file.absence.next_chunk() is not None
    file.absence.left()
    file.look()
    assert not file.absence.lacks(key_of(1))
    assert file.absence.lacks(key_of(2))


def test_another_connection_may_have_missed_something(file, clock):
    file.write()
    file.look()
    other = sqlite3.connect(":memory:")
    file.absence.checked(other, file.version)
    assert not file.absence.lacks(key_of(1))
    other.close()


def test_it_is_renewed_before_it_is_full(file, clock, monkeypatch):
    monkeypatch.setattr(cache_absence, "_ADDED_MAX", 100)
    file.write(*(key_of(number) for number in range(101)))
    file.look()
    file.write(key_of(101))  # the new one begins with this
    assert file.absence.lacks(key_of(-1))
    assert not any(map(file.absence.lacks, file.keys))
    clock.at += 61
    file.look()
    file.write(key_of(102))
    assert file.absence.lacks(key_of(-1))
    assert not any(map(file.absence.lacks, file.keys))
    assert file.absence._elder is None


steps = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 40)),
    st.tuples(st.just("others"), st.integers(0, 40)),
    st.tuples(st.just("look"), st.just(0)),
    st.tuples(st.just("pass"), st.sampled_from([0.5, 1.5, 6.0, 61.0])),
)


@given(st.lists(steps, max_size=40), st.integers(1, 20))
def test_whatever_happens_what_is_there_is_not_said_to_be_absent(many, keys_max):
    clock = Turned()
    file = File(clock)
    before, cache_absence._ADDED_MAX = cache_absence._ADDED_MAX, keys_max
    try:
        for step, value in many:
            match step:
                case "write":
                    file.write(key_of(value))
                case "others":
                    file.others_write(key_of(value))
                    clock.at += 1.1  # what others did within the last second may be overlooked
                case "look":
                    file.look()
                case "pass":
                    clock.at += value
            assert not any(map(file.absence.lacks, file.keys))
    finally:
        cache_absence._ADDED_MAX = before
        file.connection.close()


async def test_a_file_that_has_entries_is_known_after_some_looks(sqlite_stores, other_sqlite_stores):
    await other_sqlite_stores.cache.put("acme", drafts(1, 2))
    mine = sqlite_stores.cache
    await mine.put("acme", drafts(3))
    assert not mine.lacks("acme", key_of(9), 0)
    await mine.get("acme", [key_of(9)])
    assert mine.lacks("acme", key_of(9), 0)
    assert not mine.lacks("acme", key_of(9), 1)
    assert not mine.lacks("globex", key_of(9), 0)  # nobody has asked which generation is its
    assert not any(mine.lacks("acme", key_of(number), 0) for number in (1, 2, 3))

    await other_sqlite_stores.cache.put("acme", drafts(4))
    await mine.put("acme", drafts(5))
    assert not mine.lacks("acme", key_of(9), 0)


async def test_what_else_is_written_to_the_file_does_not_matter(sqlite_stores, other_sqlite_stores):
    """Such as a worker's heartbeat, by a connection of its own."""
    mine = sqlite_stores.cache
    await mine.put("acme", drafts(1))
    await mine.get("acme", [key_of(9)])
    await other_sqlite_stores.cache.drop("globex")
    await mine.put("acme", drafts(2))
    assert mine.lacks("acme", key_of(9), 0)
    assert not mine.lacks("acme", key_of(2), 0)


async def test_what_was_cleared_here_makes_it_silent_for_no_longer_than_it_must(sqlite_stores):
    mine = sqlite_stores.cache
    await mine.put("acme", drafts(1, 2))
    await mine.get("acme", [key_of(9)])
    await mine.drop("acme")
    await mine.put("acme", drafts(3))
    assert not mine.lacks("acme", key_of(3), 1)
