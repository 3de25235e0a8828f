"""What is written of an execution is read as it was, however large, and large values are written once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.workflows import keeping as kept
from corral.workflows import known
from corral.workflows.holding import Held, HeldExecutions
from corral.workflows.keeping import INLINE_MAX, Keeping, KeptFacts, Pocket, fingerprint_of
from corral.workflows.language.resource import resource_of
from corral.workflows.machine.order import StartMapRun, StartTask
from corral.workflows.machine.run import Facts, Frame, Frames, HistoryEvent
from corral.workflows.store import ExecutionRow, FrameRow

TENANT = "acme"

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), inner, max_size=4)
    ),
    max_leaves=8,
)
large = st.builds(lambda length, value: {"text": "x" * length, "more": value}, st.integers(2000, 40_000), values)
any_size = values | large
members = st.dictionaries(st.sampled_from(["a", "b/c", "input", ""]), any_size, max_size=3)


class Blobs:
    """Keeps values in memory, and counts."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}
        self.puts = 0

    async def put(self, tenant: str, name: str, body: bytes) -> None:
        self.puts += 1
        self.kept[tenant, name] = body

    async def get(self, tenant: str, name: str) -> bytes | None:
        return self.kept.get((tenant, name))

    async def delete(self, tenant: str, prefix: str) -> int:
        gone = [key for key in self.kept if key[0] == tenant and key[1].startswith(prefix)]
        for key in gone:
            del self.kept[key]
        return len(gone)


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


def pocket_of(blobs: Blobs) -> tuple[Pocket, Keeping]:
    """Somebody who writes, and somebody else who reads."""
    return Pocket(Keeping(blobs), TENANT, "x-1"), Keeping(blobs)


@given(data=any_size, result=any_size, variables=members, place=members)
async def test_frames(data, result, variables, place):
    pocket, reader = pocket_of(Blobs())
    frame = Frame(
        id="f", parent="", index=3, path=("States", "M", "ItemProcessor"), state="S", input=data, result=result
    )
    frame.variables, frame.place, frame.wake_at = variables, place, 1.5
    row = pocket.frame(frame)
    await pocket.put_down()
    assert await reader.frame(TENANT, row) == frame
    assert (row.id, row.parent, row.done) == ("f", "", False)
    assert len(row.body) < INLINE_MAX + 4 * 2048 + 1000


@given(details=st.lists(members, min_size=1, max_size=5))
async def test_events(details):
    pocket, reader = pocket_of(Blobs())
    events = [HistoryEvent(id=7 + n, previous_id=n, at=1.5, type="T", details=one) for n, one in enumerate(details)]
    row = pocket.events(events)
    assert row is not None
    await pocket.put_down()
    assert (row.first, row.last) == (7, 6 + len(events))
    assert await reader.events(TENANT, row) == events
    assert pocket.events([]) is None


@given(value=any_size)
async def test_values_and_orders(value):
    pocket, reader = pocket_of(Blobs())
    body = pocket.value(value)
    resource = resource_of("corral:function:f")
    assert resource is not None
    orders: list[Any] = [
        StartTask(token="t", state="S", resource=resource, payload=value, timeout_at=2.5),
        StartMapRun(frame="f", state="S", arn="a", spec={"items": value, "label": "m"}),
    ]
    rows = [pocket.order(order) for order in orders]
    await pocket.put_down()
    assert await reader.value(TENANT, body) == value
    assert await reader.value(TENANT, None) is None
    assert [await reader.order(TENANT, row) for row in rows] == orders


async def test_no_name_is_a_name_as_well():
    pocket, reader = pocket_of(Blobs())
    frame = Frame(id="", variables={"": "x" * 50_000})
    row = pocket.frame(frame)
    await pocket.put_down()
    assert await reader.frame(TENANT, row) == frame


async def test_a_value_is_written_once_and_read_once(blobs):
    pocket, reader = pocket_of(blobs)
    text = "x" * 100_000
    for number in range(10):
        pocket.frame(Frame(id=str(number), input=text))
    await pocket.put_down()
    await pocket.put_down()
    assert blobs.puts == 1
    row = pocket.frame(Frame(id="again", input=text))
    await pocket.put_down()
    assert blobs.puts == 1
    first = await reader.frame(TENANT, row)
    blobs.kept.clear()
    assert await reader.frame(TENANT, row) == first
    with pytest.raises(LookupError, match="lost"):
        await Keeping(blobs).frame(TENANT, row)


async def test_what_could_not_be_written_is_written_again(blobs):
    keeping = Keeping(blobs)
    put = blobs.put

    async def away(*_args: object) -> None:
        raise ConnectionError

    blobs.put = away  # type: ignore[method-assign]  # the store is away
    pocket = Pocket(keeping, TENANT, "x-1")
    row = pocket.frame(Frame(id="", input="x" * 100_000))
    with pytest.raises(ConnectionError):
        await pocket.put_down()
    blobs.put = put  # type: ignore[method-assign]  # and back
    pocket = Pocket(keeping, TENANT, "x-1")
    assert pocket.frame(Frame(id="", input="x" * 100_000)) == row
    await pocket.put_down()
    assert (await Keeping(blobs).frame(TENANT, row)).input == "x" * 100_000


async def test_what_is_remembered_is_bounded(blobs, monkeypatch):
    monkeypatch.setattr(known, "_BYTES_MAX", 250_000)
    keeping = Keeping(blobs)
    for number in range(9):
        pocket = Pocket(keeping, TENANT, "x-1")
        pocket.frame(Frame(id="", input=str(number) * 100_000))
        await pocket.put_down()
    assert len(keeping.known) == 2
    assert keeping.known.size == sum(size for _, size in keeping.known._known.values())
    assert [len(names) for names in keeping.known._names.values()] == [2]


def test_the_order_of_members_is_no_difference():
    assert fingerprint_of({"a": 1, "b": [2]}) == fingerprint_of({"b": [2], "a": 1}) != fingerprint_of({"a": 1})


def held(name: str, size: int, revision: int = 1) -> Held:
    row = ExecutionRow(tenant=TENANT, id=name, arn=name, name=name, machine_arn="m", revision=revision)
    facts = Facts(id=name, arn=name, name=name, tenant=TENANT, machine_arn="m", machine_name="m")
    return Held(row=row, kept=KeptFacts(machine_name="m", digest="d"), facts=facts, frames=Frames(), size=size)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 1_200_000), st.booleans()), max_size=40))
def test_executions_are_remembered_within_bounds(steps):
    memory = HeldExecutions()
    for name, size, takes in steps:
        if takes:
            memory.take((TENANT, name))
        else:
            memory.keep((TENANT, name), held(name, size))
        assert memory._bytes == sum(one.size for one in memory._held.values())
        assert all(one.size <= 1_000_000 for one in memory._held.values())


def test_an_older_memory_is_of_no_use():
    memory = HeldExecutions()
    memory.keep((TENANT, "x"), held("x", 1, revision=3))
    for revision, is_known in ((2, True), (3, True), (4, False)):
        memory.seen(msgspec.structs.replace(held("x", 1).row, revision=revision))
        assert ((TENANT, "x") in memory._held) is is_known
    assert memory.take((TENANT, "x")) is None


async def test_what_is_kept_apart_weighs_as_well(blobs):
    keeping = Keeping(blobs)
    pocket = Pocket(keeping, TENANT, "x-1")
    assert keeping.weight(TENANT, pocket.value({"a": 1})) < 100
    assert keeping.weight(TENANT, pocket.frame(Frame(id="", input={})).body) < 500
    value = "x" * 50_000
    assert 50_000 < keeping.weight(TENANT, pocket.value(value)) < 51_000
    row = pocket.frame(Frame(id="", input=value, result=value))
    assert 50_000 < keeping.weight(TENANT, row.body) < 51_000
    assert Keeping(blobs).weight(TENANT, row.body) > 500_000, "what is known no more is not taken for nothing"


async def test_what_is_handed_on_unchanged_is_not_encoded_again(blobs, monkeypatch):
    keeping = Keeping(blobs)
    items = [{"n": n} for n in range(1000)]
    frame = Frame(id="", input={"items": items}, place={"phase": "join", "items": items, "left": 1000})
    row = Pocket(keeping, TENANT, "x-1").frame(frame)
    encoded = []
    monkeypatch.setattr(kept, "encode", lambda value: encoded.append(value) or msgspec.json.encode(value))
    frame.place["left"] = 999
    again = Pocket(keeping, TENANT, "x-1").frame(frame)
    assert not any(value is items or value is frame.input for value in encoded)
    assert len(again.body) == len(row.body) - 1 < 500
    other = Pocket(keeping, TENANT, "x-2")
    other.frame(frame)
    await other.put_down()
    assert blobs.puts == 2, "another execution has its own"


async def test_a_map_keeps_its_items_apart_sooner(blobs):
    pocket, reader = pocket_of(blobs)
    items = list(range(1000))
    plain = Frame(id="a", input=items)
    mapped = Frame(id="b", input=items, place={"items": items})
    rows = [pocket.frame(mapped), pocket.frame(plain)]
    await pocket.put_down()
    assert blobs.puts == 1
    assert all(len(row.body) < 400 for row in rows), "what lies apart already is named by others as well"
    assert [await reader.frame(TENANT, row) for row in rows] == [mapped, plain]


async def test_frames_as_they_were_written_before_are_read(blobs):
    items = list(range(1000))
    old = Frame(id="", input=items, place={"phase": "join", "items": items, "left": 5})
    row = FrameRow(id="", parent=None, done=False, body=msgspec.json.encode(old))
    pocket, reader = pocket_of(blobs)
    assert await reader.frame(TENANT, row) == old
    new = pocket.frame(await reader.frame(TENANT, row))
    await pocket.put_down()
    assert await reader.frame(TENANT, new) == old
