"""What `Executions` promises: moves that are written as a whole and once, frames that go with them, histories without gaps."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from corral.errors import ValidationFailed
from corral.testing.contracts.execution_setting import (
    ACTIVITY,
    NOW,
    TENANT,
    begin,
    events,
    frame,
    frames,
    move,
    row,
    save,
    task,
    tokens,
)
from corral.testing.contracts.setting import Contract
from corral.workflows.store import ExecutionQuery, TaskQuery

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.workflows.machine.run import ExecutionStatus


class MoveContract(Contract):
    """Beginning and moving."""

    async def test_the_time_is_the_stores(self, stores: Stores, other_stores: Stores) -> None:
        first, second = await stores.executions.now(), await other_stores.executions.now()
        assert first <= second <= time.time() + 60
        assert first > time.time() - 60

    async def test_an_execution_is_what_it_began_with(self, stores: Stores, other_stores: Stores) -> None:
        given = {"version_arn": "v", "alias_arn": "l", "map_run_arn": "r"}
        first = await begin(stores, given=given, next_event=3, wake_at=NOW + 9, events=events(1, 2))
        found = await other_stores.executions.get(TENANT, "x-1")
        assert found == first == row(**given, revision=1, next_event=3)
        assert await other_stores.executions.by_arn(TENANT, "arn:x-1") == found
        assert await stores.executions.get(TENANT, "x-2") is await stores.executions.by_arn(TENANT, "x-1") is None

    async def test_an_arn_begins_once(self, stores: Stores, other_stores: Stores) -> None:
        rows = [row(f"x-{number}", arn="arn:same", input=b"%d" % number) for number in range(8)]
        begun = await asyncio.gather(
            *(
                (stores if number % 2 else other_stores).executions.begin(
                    one, move(0, one.id, frames=[frame()], opened=[task(f"t-{number}", name=one.id)])
                )
                for number, one in enumerate(rows)
            )
        )
        (winner,) = {one.id for one in begun}
        assert all(one.input == winner[2:].encode() and one.revision == 1 for one in begun)
        assert [await stores.executions.get(TENANT, one.id) is not None for one in rows].count(True) == 1
        for number, one in enumerate(rows):
            assert await tokens(stores, name=one.id) == ([f"t-{number}"] if one.id == winner else [])

    async def test_what_cannot_be_kept_is_refused(self, stores: Stores) -> None:
        for wrong in ({"arn": "a\0"}, {"id": ""}, {"tenant": "x" * 513}):
            with pytest.raises(ValidationFailed):
                await stores.executions.begin(row(**wrong), move(0, "x-1"))

    async def test_a_move_is_written_as_a_whole(self, stores: Stores, other_stores: Stores) -> None:
        await begin(stores, events=events(1, 2), next_event=3, opened=[task("t-1"), task("t-2")])
        second = move(
            1,
            frames=[frame(body=b'{"a":1}'), frame("f", parent="")],
            events=events(3, 7),
            next_event=8,
            opened=[task("t-3")],
            closed=["t-1"],
            wake_at=NOW + 1,
            at=NOW + 0.25,
        )
        assert await save(stores, second) == [True]
        loaded = await other_stores.executions.load(TENANT, "x-1")
        assert loaded is not None
        assert loaded.row == row(revision=2, next_event=8, updated_at=NOW + 0.25)
        bodies = {one.id: (one.parent, one.done, one.body) for one in loaded.frames}
        assert bodies == {"": (None, False, b'{"a":1}'), "f": ("", False, b"{}")}
        assert await tokens(stores) == ["t-2", "t-3"]
        assert await stores.executions.events(TENANT, "x-1", first=1, last=99) == [events(1, 2), events(3, 7)]

    async def test_one_of_two_who_move_from_one_place_is_refused(self, stores: Stores, other_stores: Stores) -> None:
        await begin(stores)
        for revision in range(1, 12):
            token = f"t-{revision}"
            both = await asyncio.gather(
                *(
                    save(
                        one,
                        move(
                            revision,
                            mark=f"{who}-{revision}",
                            opened=[task(who + token)],
                            frames=[frame(body=who.encode())],
                        ),
                    )
                    for who, one in (("a", stores), ("b", other_stores))
                )
            )
            assert sorted(both) == [[False], [True]]
            winner = "a" if both[0] == [True] else "b"
            loaded = await stores.executions.load(TENANT, "x-1")
            assert loaded is not None
            assert (loaded.row.revision, loaded.frames[0].body) == (revision + 1, winner.encode())
            open_now = await tokens(stores)
            assert winner + token in open_now
            assert len(open_now) == revision

    async def test_a_move_whose_answer_was_lost_counts_as_written(self, stores: Stores) -> None:
        await begin(stores)
        one = move(1, events=events(1, 1), opened=[task()])
        assert await save(stores, one) == await save(stores, one) == [True]
        assert await save(stores, move(2, mark="other")) == [True]
        assert await save(stores, one) == [False]
        assert await stores.executions.events(TENANT, "x-1", first=1, last=9) == [events(1, 1)]

    async def test_moves_of_several_executions_are_each_for_itself(self, stores: Stores) -> None:
        for name in ("x-1", "x-2", "x-3"):
            await begin(stores, name)
        await save(stores, move(1, "x-2", mark="before"))
        moved = [move(1, name, opened=[task(f"t-{name}", name=name)]) for name in ("x-1", "x-2", "x-3", "x-4")]
        assert await save(stores, *moved) == [True, False, True, False]
        assert [await tokens(stores, name=name) for name in ("x-1", "x-2", "x-3")] == [["t-x-1"], [], ["t-x-3"]]
        assert await save(stores) == []

    async def test_other_tenants_see_and_move_nothing(self, stores: Stores) -> None:
        await begin(stores, opened=[task(), task("t-2", "activity"), task("t-3", "approval")])
        of = stores.executions
        assert await of.get("umbrella", "x-1") is await of.by_arn("umbrella", "arn:x-1") is None
        assert await of.load("umbrella", "x-1") is None
        assert await of.task("umbrella", "t-1") is None
        assert await save(stores, move(1, tenant="umbrella", closed=["t-1"])) == [False]
        assert await of.events("umbrella", "x-1", first=1, last=9) == []
        assert await of.take("umbrella", ACTIVITY, "w") is None
        assert (await of.find("umbrella", ExecutionQuery())).items == []
        assert (await of.tasks("umbrella", TaskQuery(kind="approval"))).items == []
        await begin(stores, given={"tenant": "umbrella"})
        assert await of.remove([("umbrella", "x-1")]) == 1
        assert await tokens(stores) == ["t-1"]


class FrameContract(Contract):
    """Frames."""

    async def test_what_is_done_is_loaded_when_it_is_asked_for(self, stores: Stores) -> None:
        below = [frame(f"a{number}", parent="", done=number > 1, body=b"%d" % number) for number in range(4)]
        await begin(stores, frames=[frame(), *below, frame("b", parent="a0", done=True)])
        assert await frames(stores) == ["", "a0", "a1"]
        assert await frames(stores, complete=[""]) == ["", "a0", "a1", "a2", "a3"]
        assert await frames(stores, complete=["", "a0", "none"]) == ["", "a0", "a1", "a2", "a3", "b"]
        await save(stores, move(1, frames=[frame("a2", parent="", body=b"again")]))
        assert await frames(stores) == ["", "a0", "a1", "a2"]

    async def test_what_is_removed_takes_all_below_with_it(self, stores: Stores) -> None:
        tree = [frame("a", parent=""), frame("b", parent=""), frame("aa", parent="a", done=True)]
        await begin(stores, frames=[frame(), *tree, frame("aaa", parent="aa"), frame("bb", parent="b")])
        await save(stores, move(1, removed=["a", "gone before"], frames=[frame("c", parent="")]))
        assert await frames(stores, complete=["a", "aa"]) == ["", "b", "bb", "c"]
        await save(stores, move(2, removed=["b", "c"]))
        assert await frames(stores) == [""]

    @pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"])
    async def test_what_ends(self, stores: Stores, status: ExecutionStatus) -> None:
        asked = task("t-2", "approval")
        await begin(stores, frames=[frame(), frame("a", parent="")], wake_at=NOW, opened=[task(), asked])
        news = task("news", "answer")
        last = move(1, status=status, outcome=b'["end",{}]', at=NOW + 4, frames=[frame(body=b"1")], opened=[news])
        assert await save(stores, last) == [True]
        found = await stores.executions.get(TENANT, "x-1")
        assert found == row(status=status, outcome=b'["end",{}]', revision=2, updated_at=NOW + 4, stopped_at=NOW + 4)
        assert await frames(stores) == ([] if status == "SUCCEEDED" else ["", "a"])
        assert (await tokens(stores), await tokens(stores, "answer")) == ([], ["news"])
        closed = await stores.executions.task(TENANT, "t-2")
        assert closed is not None
        assert (closed.state, closed.answer, closed.closed_at) == ("closed", None, NOW + 4)
        assert (await stores.executions.take_due(now=NOW + 99, limit=9, hold_s=1)).next_at is None

    async def test_what_begins_and_ends_in_one_move(self, stores: Stores) -> None:
        done = await begin(stores, status="SUCCEEDED", outcome=b"[1,{}]", opened=[task("news", "answer")])
        assert (done.status, done.outcome, done.stopped_at) == ("SUCCEEDED", b"[1,{}]", NOW)
        assert await stores.executions.get(TENANT, "x-1") == done
        assert (await frames(stores), await tokens(stores, "answer")) == ([], ["news"])

    async def test_what_failed_can_go_on(self, stores: Stores) -> None:
        await begin(stores)
        await save(stores, move(1, status="FAILED", outcome=b"[1,{}]"))
        await save(stores, move(2, redrives=1, redriven_at=NOW + 3, at=NOW + 3))
        assert await stores.executions.get(TENANT, "x-1") == row(
            revision=3, redrives=1, redriven_at=NOW + 3, updated_at=NOW + 3
        )

    async def test_history_is_found_by_numbers(self, stores: Stores) -> None:
        await begin(stores, events=events(1, 4))
        for revision, (first, last) in enumerate([(5, 5), (6, 20), (21, 22)], 1):
            await save(stores, move(revision, events=events(first, last)))
        found = await stores.executions.events(TENANT, "x-1", first=5, last=7)
        assert [(one.first, one.last) for one in found] == [(5, 5), (6, 20)]
        assert [one.first for one in await stores.executions.events(TENANT, "x-1", first=20, last=21)] == [6, 21]
        assert await stores.executions.events(TENANT, "x-1", first=23, last=99) == []
