"""Map runs whose workers die: wherever they stood, others go on, and every child counts once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import msgspec
import pytest
from map_scene import GET, SOME_FAIL, Scene, mapped, scene_on

from corral.backends.open import open_stores
from corral.clock import SYSTEM_CLOCK
from corral.errors import StoreUnavailable
from corral.workflows.distributed import ending, filling, runner
from corral.workflows.distributed.children import Chunks
from corral.workflows.distributed.faults import ItemsFailed
from corral.workflows.execution import Work
from corral.workflows.store import ExecutionQuery
from ready import ready_url

pytestmark = pytest.mark.asyncio

HOST = ("start", "start_sync", "describe", "stop", "redrive", "tell", "work")
WAITING = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
CALLING = {
    "StartAt": "Do",
    "States": {"Do": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": True}},
}


@pytest.fixture
def url(tmp_path):
    return ready_url(tmp_path)


@pytest.fixture
async def stores(url):
    opened = open_stores(url)
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(runner, "LOOK_S", 0.1)
    monkeypatch.setattr(filling, "LOOK_S", 0.1)
    monkeypatch.setattr(filling, "HOLD_S", 0.2)
    monkeypatch.setattr(ending, "HOLD_S", 0.2)
    monkeypatch.setattr(runner, "_POLL_S", 0.05)


def dying(monkeypatch, owner, name, *, after=0):
    """A method that breaks off once, when it was called so often before."""
    real = getattr(owner, name)
    calls = [0]

    async def broken(*given, **named):
        calls[0] += 1
        if calls[0] == after + 1:
            raise StoreUnavailable("the worker is gone")
        return await real(*given, **named)

    monkeypatch.setattr(owner, name, broken)
    return calls


@pytest.mark.parametrize(
    ("part", "name", "after"),
    [
        ("store", "hold", 0),
        ("store", "filled", 0),
        ("store", "take", 0),
        ("store", "take", 1),
        ("store", "settle", 0),
        ("store", "settle", 2),
        ("store", "end", 0),
        ("store", "over", 0),
        ("keep", "put", 0),
        ("host", "tell", 0),
        ("host", "tell", 1),
        ("host", "start", 5),
        ("host", "describe", 0),
    ],
)
async def test_wherever_it_breaks_off_it_goes_on(stores, monkeypatch, part, name, after):
    async with scene_on(stores) as scene:
        scene.place.attach(SimpleNamespace(**{one: getattr(scene.engine, one) for one in HOST}))
        owner = getattr(scene.place, part)
        items = [1, -1, *range(60)]
        machine = mapped(SOME_FAIL, ItemsPath="$.items", ToleratedFailureCount=1, MaxConcurrency=20)
        request = scene.request(machine, {"items": items})
        calls = dying(monkeypatch, owner, name, after=after)
        begun = await scene.engine.start(request)
        async with asyncio.timeout(30):
            info = await scene.engine.ended("acme", begun.id)
        assert info.status == "SUCCEEDED"
        assert [one for one in info.output if isinstance(one, int)] == [1, *range(60)]
        run = await scene.map_run(info)
        assert calls[0] > after
        assert (run.children.succeeded, run.children.failed, run.children.total) == (61, 1, 62)
        children = await scene.engine.find("acme", ExecutionQuery(map_run_arn=run.arn, limit=200))
        assert len(children.items) == 62


async def test_another_worker_goes_on_where_one_was_killed(stores, url):
    first = Scene(stores)
    first.kept.objects["b", "k"] = b"[" + b",".join(b"%d" % n for n in range(120)) + b"]"
    reader = {"Resource": GET, "Parameters": {"Bucket": "b", "Key": "k"}, "ReaderConfig": {"InputType": "JSON"}}
    await first.engine.carrier.start()
    begun = await first.start(mapped(ItemReader=reader, MaxConcurrency=10))
    async with asyncio.timeout(20):
        while not (runs := await stores.map_runs.of_execution("acme", begun.id)) or not runs[0].children.succeeded:  # noqa: ASYNC110 - the store has no event of ours
            await asyncio.sleep(0)
    await first.runner.stop()  # in the middle of whatever it did
    await first.engine.carrier.stop()
    first.engine.following.close()
    other = open_stores(url)
    await other.start()
    async with scene_on(other) as second:
        second.kept, second.definitions = first.kept, first.definitions
        async with asyncio.timeout(30):
            info = await second.engine.ended("acme", begun.id)
        assert info.output == list(range(120))
        run = await second.map_run(info)
        assert run.children.succeeded == run.children.total == 120
    await other.stop()


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
@pytest.mark.parametrize("batcher", [None, {"MaxItemsPerBatch": 1}])
async def test_a_child_whose_input_is_gone_fails_by_itself(stores, monkeypatch, kind, batcher):
    real = Chunks.read

    async def read(self, index):
        if index == 1:
            raise ItemsFailed("it is gone")
        return await real(self, index)

    monkeypatch.setattr(Chunks, "read", read)
    async with scene_on(stores) as scene:
        more = {} if batcher is None else {"ItemBatcher": batcher}
        info = await scene.run(
            mapped(kind=kind, ItemsPath="$.items", ToleratedFailureCount=1, **more), {"items": [1, 2, 3]}
        )
        assert info.status == "SUCCEEDED"
        failed = info.output[1]
        assert (failed["Status"], failed["Cause"], failed["InputDetails"]) == (
            "FAILED",
            "it is gone",
            {"Included": False},
        )
        assert (await scene.map_run(info)).children.failed == 1


async def test_children_that_never_came_to_be_are_aborted_with_their_map_run(stores, monkeypatch):
    async with scene_on(stores) as scene:

        async def unborn(request):
            raise StoreUnavailable("not now")

        scene.place.attach(SimpleNamespace(**{**{one: getattr(scene.engine, one) for one in HOST}, "start": unborn}))
        begun = await scene.start(
            mapped(WAITING, ItemsPath="$.items", ItemBatcher={"MaxItemsPerBatch": 2}), {"items": [1, 2, 3]}
        )
        async with asyncio.timeout(20):
            while not (runs := await scene.desk.of_execution("acme", begun.id)) or runs[0].children.running < 2:  # noqa: ASYNC110 - the store has no event of ours
                await asyncio.sleep(0.01)
        await scene.engine.stop("acme", begun.id)
        run = await scene.map_run(begun)
        assert (run.status, run.children.aborted, run.items.aborted) == ("ABORTED", 2, 3)


async def test_two_workers_share_the_work(stores, url):
    other = open_stores(url)
    await other.start()
    async with scene_on(stores) as first, scene_on(other) as second:
        second.definitions = first.definitions
        begun = [
            await (first, second)[number % 2].start(
                mapped(SOME_FAIL, ItemsPath="$.items", MaxConcurrency=7, ToleratedFailurePercentage=10),
                {"items": [-1, *range(40)]},
            )
            for number in range(4)
        ]
        async with asyncio.timeout(40):
            for one in begun:
                info = await second.engine.ended("acme", one.id)
                assert info.status == "SUCCEEDED"
                run = await first.map_run(info)
                assert (run.children.succeeded, run.children.failed) == (40, 1)
    await other.stop()


async def test_a_look_that_finds_nothing_is_followed_by_longer_pauses(stores, monkeypatch):
    async with scene_on(stores) as scene:
        begun = await scene.start(mapped(WAITING, ItemsPath="$.items"), {"items": [1, 2]})
        async with asyncio.timeout(20):
            while not scene.runner._looked:  # noqa: ASYNC110 - the store has no event of ours
                await asyncio.sleep(0.01)
            pauses = {one.pause_s for one in scene.runner._looked.values()}
            while {one.pause_s for one in scene.runner._looked.values()} == pauses:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert all(one.pause_s > min(pauses) for one in scene.runner._looked.values())
        await scene.engine.stop("acme", begun.id)
        assert (await scene.map_run(begun)).children.aborted == 2


async def test_a_map_run_that_nobody_waits_for_is_stopped(stores, monkeypatch):
    async with scene_on(stores) as scene:
        begun = await scene.start(mapped(WAITING, ItemsPath="$.items"), {"items": [1, 2]})
        async with asyncio.timeout(20):
            while not (runs := await scene.desk.of_execution("acme", begun.id)) or runs[0].children.running < 2:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)

        async def unheard(*_):
            return None

        monkeypatch.setattr(scene.engine._handing._map_runs, "cancel", unheard)
        await scene.engine.stop("acme", begun.id)
        run = await scene.map_run(begun)
        assert (run.status, run.children.aborted) == ("ABORTED", 2)


async def test_an_express_child_whose_worker_died_runs_again(stores):
    machine = mapped(CALLING, "EXPRESS", ItemsPath="$.items")
    first = Scene(stores, express_s=0.2)
    stuck = asyncio.Event()

    async def never(order, facts):
        first.calls.append(order.payload)
        await stuck.wait()

    first.call = never
    first.engine.express._call_task = never
    await first.engine.carrier.start()
    begun = await first.start(machine, {"items": [1, 2, 3]})
    async with asyncio.timeout(20):
        while len(first.calls) < 3:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    await first.runner.stop()
    await first.engine.carrier.stop()
    await first.engine.express.stop()
    first.engine.following.close()
    async with scene_on(stores, express_s=0.2) as second:
        second.definitions = first.definitions
        async with asyncio.timeout(30):
            info = await second.engine.ended("acme", begun.id)
        assert info.output == [1, 2, 3]
        assert sorted(second.calls) == [1, 2, 3]


async def test_news_that_comes_twice_or_of_strangers_changes_nothing(stores):
    async with scene_on(stores) as scene:
        info = await scene.run(mapped(ItemsPath="$.items"), {"items": [1, 2]})
        run = await scene.map_run(info)
        children = (await scene.engine.find("acme", ExecutionQuery(map_run_arn=run.arn))).items
        child = await scene.engine.describe("acme", children[0].id)
        scene.runner._counted.clear()
        await scene.runner.child_ended(child)
        await scene.runner.child_ended(msgspec.structs.replace(child, name="stranger"))
        await scene.runner.child_ended(msgspec.structs.replace(child, map_run_arn=child.map_run_arn + "x"))
        await scene.runner.child_ended(msgspec.structs.replace(child, status="RUNNING"))
        assert (await scene.map_run(info)).children == run.children
        known = await scene.stores.map_runs.get("acme", run.arn.rpartition(":")[2])
        work = msgspec.json.decode(known.work, type=tuple[Work, str])[0]
        await scene.runner.begin(work)
        await scene.runner.cancel("acme", info.id, "")
        assert (await scene.map_run(info)).status == "SUCCEEDED"


async def test_life_may_come_twice(stores):
    scene = Scene(stores)
    for _ in range(2):
        await scene.runner.start()
    for _ in range(2):
        await scene.runner.drain()
    for _ in range(2):
        await scene.runner.stop()
    with pytest.raises(RuntimeError, match="attach"):
        _ = type(scene.place)(
            stores.map_runs,
            stores.blobs,
            shelves_of=lambda _: None,
            settings=scene.settings,
            clock=SYSTEM_CLOCK,
            new_token=str,
        ).host
