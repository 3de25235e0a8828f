"""What a `MapRunStore` promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from corral.testing.contracts.setting import Contract
from corral.workflows.map_run_store import ChildOutcome, Counts, MapRun

if TYPE_CHECKING:
    from collections.abc import Iterable

    from corral.backends.stores import Stores
    from corral.workflows.map_run_store import ChildState

TENANT = "acme"
MINE, THEIRS = "a", "b"
RUN = MapRun(
    tenant=TENANT,
    id="r-1",
    arn="arn:aws:states:us-east-1:000000000000:mapRun:m/each:r-1",
    execution_id="x-1",
    work=b'{"much": 1}',
    max_concurrency=3,
    tolerated_count=1,
    started_at=10.0,
    look_at=10.0,
)


def ends(indexes: Iterable[int], state: ChildState = "succeeded", items: int = 1) -> list[ChildOutcome]:
    """Ends of children."""
    return [ChildOutcome(index=index, state=state, items=items, record=b"%d" % index) for index in indexes]


async def filled(stores: Stores, total: int = 10, **changed: Any) -> MapRun:
    """A map run whose items are read."""
    run = await stores.map_runs.begin(msgspec.structs.replace(RUN, **changed))
    assert await stores.map_runs.hold(TENANT, run.id, phase="reading", token=MINE, now=11.0, until=40.0)
    known = await stores.map_runs.filled(TENANT, run.id, token=MINE, total=total, items=total, look_at=50.0)
    assert known is not None
    return known


class MapRunContract(Contract):
    """One map run after the other."""

    async def test_a_map_run_begins_once_and_is_its_tenant_s(self, stores: Stores, other_stores: Stores) -> None:
        begun = await stores.map_runs.begin(RUN)
        assert begun == RUN
        assert await other_stores.map_runs.begin(msgspec.structs.replace(RUN, work=b"{}", started_at=99.0)) == RUN
        assert await other_stores.map_runs.get(TENANT, "r-1") == RUN
        assert await stores.map_runs.get("other", "r-1") is None
        assert await stores.map_runs.get(TENANT, "\0") is None
        listed = await stores.map_runs.of_execution(TENANT, "x-1")
        assert [(run.id, run.work) for run in listed] == [("r-1", b"")]
        assert await stores.map_runs.of_execution(TENANT, "x-2") == []
        assert await stores.map_runs.of_execution("other", "x-1") == []
        assert await stores.map_runs.of_execution("\ud800", "x-1") == []

    async def test_one_at_a_time_reads_the_items(self, stores: Stores, other_stores: Stores) -> None:
        await stores.map_runs.begin(RUN)
        first, second = stores.map_runs, other_stores.map_runs
        assert await first.hold(TENANT, "r-1", phase="reading", token=MINE, now=11.0, until=20.0)
        assert await second.hold(TENANT, "r-1", phase="reading", token=THEIRS, now=12.0, until=22.0) is None
        assert await first.hold(TENANT, "r-1", phase="reading", token=MINE, now=15.0, until=25.0)
        assert await second.hold(TENANT, "r-1", phase="reading", token=THEIRS, now=26.0, until=36.0)
        assert await first.filled(TENANT, "r-1", token=MINE, total=5, items=5, look_at=30.0) is None
        run = await second.filled(TENANT, "r-1", token=THEIRS, total=5, items=50, look_at=30.0)
        assert run is not None
        assert (run.phase, run.total, run.items_total, run.pending, run.look_at) == ("running", 5, 50, 5, 30.0)
        assert await first.hold(TENANT, "r-1", phase="reading", token=MINE, now=99.0, until=100.0) is None
        assert await first.hold(TENANT, "nobody", phase="reading", token=MINE, now=99.0, until=100.0) is None

    async def test_children_begin_in_order_and_never_too_many(self, stores: Stores) -> None:
        await filled(stores)
        taken = await stores.map_runs.take(TENANT, "r-1", limit=2, now=20.0, look_at=60.0)
        assert taken is not None
        assert [(one.index, one.state, one.attempt) for one in taken.children] == [(0, "running", 0), (1, "running", 0)]
        taken = await stores.map_runs.take(TENANT, "r-1", limit=50, now=21.0, look_at=61.0)
        assert taken is not None
        assert [one.index for one in taken.children] == [2]
        assert (taken.run.running, taken.run.next_index, taken.run.startable, taken.run.look_at) == (3, 3, 0, 61.0)
        taken = await stores.map_runs.take(TENANT, "r-1", limit=50, now=22.0, look_at=62.0)
        assert taken is not None
        assert taken.children == []
        assert await stores.map_runs.take(TENANT, "nobody", limit=1, now=1.0, look_at=1.0) is None

    async def test_an_end_counts_once(self, stores: Stores, other_stores: Stores) -> None:
        await filled(stores)
        await stores.map_runs.take(TENANT, "r-1", limit=3, now=20.0, look_at=60.0)
        run = await stores.map_runs.settle(TENANT, "r-1", ends([1], items=4), now=30.0)
        assert run is not None
        assert (run.running, run.children, run.items) == (2, Counts(succeeded=1), Counts(succeeded=4))
        again = await other_stores.map_runs.settle(TENANT, "r-1", ends([1], "failed"), now=31.0)
        assert again == run
        run = await stores.map_runs.settle(TENANT, "r-1", ends([7], "failed"), now=31.0)
        assert run == again, "one that never began does not end"
        states: list[ChildState] = ["failed", "timed_out"]
        outcomes = [ends([index], state)[0] for index, state in zip((0, 2), states, strict=True)]
        run = await stores.map_runs.settle(TENANT, "r-1", outcomes, now=32.0)
        assert run is not None
        assert run.children == Counts(succeeded=1, failed=1, timed_out=1)
        assert run.is_exceeded
        assert await stores.map_runs.settle(TENANT, "nobody", ends([0]), now=1.0) is None
        seen = await stores.map_runs.children(TENANT, "r-1")
        assert [(one.index, one.state, one.items, one.record) for one in seen] == [
            (0, "failed", 1, b"0"),
            (1, "succeeded", 4, b"1"),
            (2, "timed_out", 1, b"2"),
        ]
        some = await stores.map_runs.children(TENANT, "r-1", states=("failed", "timed_out"), after=0, limit=1)
        assert [one.index for one in some] == [2]

    async def test_many_take_and_settle_at_once_and_nothing_is_lost(self, stores: Stores, other_stores: Stores) -> None:
        await filled(stores, total=40, max_concurrency=7)
        seen: list[int] = []

        async def work(store: Stores) -> None:
            while True:
                taken = await store.map_runs.take(TENANT, "r-1", limit=3, now=20.0, look_at=60.0)
                assert taken is not None
                assert taken.run.running <= 7
                if not taken.children and taken.run.pending == 0:
                    return
                seen.extend(one.index for one in taken.children)
                await store.map_runs.settle(TENANT, "r-1", ends(one.index for one in taken.children), now=21.0)

        await asyncio.gather(*(work(store) for store in (stores, other_stores, stores)))
        assert sorted(seen) == list(range(40))
        run = await stores.map_runs.get(TENANT, "r-1")
        assert run is not None
        assert (run.running, run.children.succeeded) == (0, 40)

    async def test_how_it_ends_is_settled_once_and_no_child_begins_then(self, stores: Stores) -> None:
        await filled(stores)
        await stores.map_runs.take(TENANT, "r-1", limit=2, now=20.0, look_at=60.0)
        run = await stores.map_runs.end(TENANT, "r-1", status="FAILED", error="E", cause="why\0", now=30.0)
        assert run is not None
        assert (run.phase, run.status, run.error, run.cause, run.stopped_at, run.look_at) == (
            "ending",
            "FAILED",
            "E",
            "why\\0",
            30.0,
            30.0,
        )
        assert await stores.map_runs.end(TENANT, "r-1", status="SUCCEEDED", now=31.0) == run
        assert await stores.map_runs.end(TENANT, "nobody", status="SUCCEEDED", now=31.0) is None
        taken = await stores.map_runs.take(TENANT, "r-1", limit=2, now=32.0, look_at=60.0)
        assert taken is not None
        assert taken.children == []
        run = await stores.map_runs.settle(TENANT, "r-1", ends([0, 1], "aborted"), now=33.0)
        assert run is not None
        assert run.children == Counts(aborted=2)
        await stores.map_runs.over(TENANT, "r-1", status="FAILED", error="E", cause="why", now=34.0)
        await stores.map_runs.over(TENANT, "r-1", status="SUCCEEDED", now=35.0)
        run = await stores.map_runs.get(TENANT, "r-1")
        assert run is not None
        assert (run.phase, run.status, run.stopped_at) == ("over", "FAILED", 30.0)

    async def test_a_run_that_goes_on_can_be_changed(self, stores: Stores) -> None:
        await filled(stores)
        run = await stores.map_runs.update(TENANT, "r-1", max_concurrency=9, tolerated_percentage=12.5)
        assert run is not None
        assert (run.max_concurrency, run.tolerated_count, run.tolerated_percentage) == (9, 1, 12.5)
        run = await stores.map_runs.update(TENANT, "r-1", tolerated_count=0)
        assert run is not None
        assert run.tolerated_count == 0
        await stores.map_runs.end(TENANT, "r-1", status="SUCCEEDED", now=30.0)
        assert await stores.map_runs.update(TENANT, "r-1", max_concurrency=1) is None

    async def test_a_redrive_runs_what_did_not_succeed(self, stores: Stores) -> None:
        await filled(stores, total=6)
        await stores.map_runs.take(TENANT, "r-1", limit=3, now=20.0, look_at=60.0)
        await stores.map_runs.settle(TENANT, "r-1", ends([0]), now=21.0)
        await stores.map_runs.settle(TENANT, "r-1", ends([1, 2], "failed"), now=21.0)
        assert await stores.map_runs.redrive(TENANT, "r-1", now=40.0) is None, "it is not over"
        await stores.map_runs.end(TENANT, "r-1", status="FAILED", error="E", now=30.0)
        await stores.map_runs.over(TENANT, "r-1", status="FAILED", error="E", now=30.0)
        run = await stores.map_runs.redrive(TENANT, "r-1", now=40.0)
        assert run is not None
        assert (run.phase, run.status, run.again, run.pending, run.error) == ("running", "RUNNING", 2, 5, "")
        assert (run.redrives, run.redriven_at, run.stopped_at) == (1, 40.0, None)
        assert run.children == run.items == Counts(succeeded=1)
        taken = await stores.map_runs.take(TENANT, "r-1", limit=9, now=41.0, look_at=60.0)
        assert taken is not None
        assert sorted((one.index, one.attempt) for one in taken.children) == [(1, 1), (2, 1), (3, 0)]
        run = await stores.map_runs.settle(TENANT, "r-1", ends([1, 2, 3]), now=42.0)
        assert run is not None
        assert (run.children.succeeded, run.running, run.again) == (4, 0, 0)

    async def test_a_redrive_reads_items_that_never_were_and_leaves_success_alone(self, stores: Stores) -> None:
        await stores.map_runs.begin(RUN)
        await stores.map_runs.end(TENANT, "r-1", status="ABORTED", now=30.0)
        await stores.map_runs.over(TENANT, "r-1", status="ABORTED", now=30.0)
        run = await stores.map_runs.redrive(TENANT, "r-1", now=40.0)
        assert run is not None
        assert run.phase == "reading"
        await filled(stores, id="r-2")
        await stores.map_runs.end(TENANT, "r-2", status="SUCCEEDED", now=30.0)
        await stores.map_runs.over(TENANT, "r-2", status="SUCCEEDED", now=30.0)
        assert await stores.map_runs.redrive(TENANT, "r-2", now=40.0) is None
        assert await stores.map_runs.redrive(TENANT, "nobody", now=40.0) is None

    async def test_what_stands_still_is_looked_at_by_one(self, stores: Stores, other_stores: Stores) -> None:
        assert await stores.map_runs.due(now=100.0, limit=10, hold_s=5.0) == ([], None)
        await filled(stores)  # look at it at 50
        await filled(stores, id="r-2")
        await stores.map_runs.end(TENANT, "r-2", status="FAILED", now=30.0)  # at once
        assert await stores.map_runs.due(now=31.0, limit=10, hold_s=5.0) == ([(TENANT, "r-2")], 36.0)
        assert await other_stores.map_runs.due(now=32.0, limit=10, hold_s=5.0) == ([], 36.0)
        found, _ = await other_stores.map_runs.due(now=60.0, limit=1, hold_s=5.0)
        assert found == [(TENANT, "r-2")]
        await stores.map_runs.over(TENANT, "r-2", status="FAILED", now=61.0)
        assert await stores.map_runs.due(now=61.0, limit=10, hold_s=5.0) == ([(TENANT, "r-1")], 66.0)

    async def test_old_ones_go_with_their_children(self, stores: Stores) -> None:
        await filled(stores)
        await stores.map_runs.take(TENANT, "r-1", limit=2, now=20.0, look_at=60.0)
        await stores.map_runs.end(TENANT, "r-1", status="FAILED", now=30.0)
        assert await stores.map_runs.stale(before=99.0, limit=10) == []
        await stores.map_runs.over(TENANT, "r-1", status="FAILED", now=30.0)
        assert await stores.map_runs.stale(before=30.0, limit=10) == []
        assert await stores.map_runs.stale(before=31.0, limit=10) == [(TENANT, "r-1")]
        await stores.map_runs.remove(TENANT, "r-1")
        await stores.map_runs.remove(TENANT, "r-1")
        assert await stores.map_runs.get(TENANT, "r-1") is None
        assert await stores.map_runs.children(TENANT, "r-1") == []
