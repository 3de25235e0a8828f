"""What `Executions` promises of time, of tasks, and of lists."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from corral.errors import CursorNotFound
from corral.testing.contracts.execution_setting import (
    ACTIVITY,
    MACHINE,
    NOW,
    TENANT,
    begin,
    events,
    frames,
    move,
    row,
    save,
    task,
)
from corral.testing.contracts.setting import Contract, eventually
from corral.workflows.store import ExecutionQuery, ExecutionRow, TaskQuery, activity_key, execution_key

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.workflows.store import TaskKind


class TimeContract(Contract):
    """What is to happen by itself."""

    async def test_what_is_due_is_taken_by_one(self, stores: Stores, other_stores: Stores) -> None:
        for number in range(20):
            await begin(stores, f"x-{number:02}", wake_at=NOW + number)
        await begin(stores, "never")
        early = await stores.executions.take_due(now=NOW - 1, limit=9, hold_s=60)
        assert (early.items, early.next_at) == ([], NOW)
        both = await asyncio.gather(
            *(one.executions.take_due(now=NOW + 9.5, limit=100, hold_s=60) for one in (stores, other_stores))
        )
        assert sorted(one for due in both for one in due.items) == [(TENANT, f"x-{number:02}") for number in range(10)]
        later = await stores.executions.take_due(now=NOW + 9.5, limit=100, hold_s=60)
        assert (later.items, later.next_at) == ([], NOW + 10)

    async def test_who_takes_and_does_nothing_is_overtaken(self, stores: Stores) -> None:
        await begin(stores, wake_at=NOW)
        assert (await stores.executions.take_due(now=NOW, limit=9, hold_s=5)).items == [(TENANT, "x-1")]
        assert (await stores.executions.take_due(now=NOW + 4, limit=9, hold_s=5)).items == []
        assert (await stores.executions.take_due(now=NOW + 5, limit=9, hold_s=5)).items == [(TENANT, "x-1")]
        assert await save(stores, move(1, wake_at=NOW + 50)) == [True]
        assert (await stores.executions.take_due(now=NOW + 49, limit=9, hold_s=5)).next_at == NOW + 50

    async def test_few_are_taken_at_a_time_the_earliest_first(self, stores: Stores) -> None:
        for number in (3, 1, 2):
            await begin(stores, f"x-{number}", wake_at=NOW + number)
        due = await stores.executions.take_due(now=NOW + 9, limit=2, hold_s=60)
        assert sorted(due.items) == [(TENANT, "x-1"), (TENANT, "x-2")]
        assert due.next_at == NOW + 3

    async def test_what_ended_long_ago_goes_with_all_of_it(self, stores: Stores) -> None:
        for number in range(5):
            await begin(stores, f"x-{number}", events=events(1, 1), opened=[task(f"t-{number}", name=f"x-{number}")])
        for number in range(4):
            await save(
                stores,
                move(
                    1,
                    f"x-{number}",
                    status="FAILED",
                    at=NOW + number,
                    opened=[task(f"n-{number}", "answer", f"x-{number}")],
                ),
            )
        old = await stores.executions.stale(before=NOW + 2, limit=9)
        assert old == [(TENANT, "x-0"), (TENANT, "x-1")]
        assert await stores.executions.stale(before=NOW + 9, limit=1) == old[:1]
        assert await stores.executions.remove(old) == 2
        assert await stores.executions.remove(old) == await stores.executions.remove([]) == 0
        assert await stores.executions.get(TENANT, "x-0") is None
        assert await stores.executions.task(TENANT, "n-0") is None
        assert await stores.executions.events(TENANT, "x-0", first=1, last=9) == []
        await begin(stores, "x-0", frames=[])
        assert await frames(stores, "x-0") == []
        assert (await stores.executions.task(TENANT, "n-2")) is not None


class TaskContract(Contract):
    """Tasks."""

    async def test_a_task_is_what_it_was_opened_with(self, stores: Stores, other_stores: Stores) -> None:
        await begin(stores, opened=[task(frame="f")])
        assert await other_stores.executions.task(TENANT, "t-1") == task(frame="f")
        await save(stores, move(1, submitted=["t-1"]))
        assert await other_stores.executions.task(TENANT, "t-1") == task(kind="callback", frame="f", resource="r")
        found = await other_stores.executions.work(TENANT, "t-1")
        assert found == (task(kind="callback", frame="f", resource="r"), row(revision=2))
        assert await other_stores.executions.work("umbrella", "t-1") is None
        await save(stores, move(2, closed=["t-1", "unknown"]))
        assert await other_stores.executions.work(TENANT, "t-1") is None
        assert await other_stores.executions.task(TENANT, "t-1") is None

    async def test_no_move_closes_what_is_of_another_execution(self, stores: Stores) -> None:
        await begin(stores, opened=[task(), task("t-2", "approval")])
        await begin(stores, "x-2")
        await save(stores, move(1, "x-2", closed=["t-1", "t-2"], submitted=["t-1"]))
        left = [await stores.executions.task(TENANT, token) for token in ("t-1", "t-2")]
        assert [(one.kind, one.state) for one in left if one is not None] == [("job", "new"), ("approval", "new")]

    async def test_what_nobody_handed_on_is_found(self, stores: Stores) -> None:
        kinds: tuple[TaskKind, ...] = ("job", "map", "answer", "activity", "callback", "approval")
        opened = [task(f"t-{kind}", kind, created_at=NOW) for kind in kinds]
        await begin(stores, opened=opened)
        await begin(stores, "x-2", opened=[task("t-2", name="x-2", created_at=NOW + 1)], at=NOW + 1)
        found = await stores.executions.unhanded(before=NOW + 2, limit=9)
        assert {one.token for one in found} == {"t-job", "t-map", "t-answer", "t-2"}
        assert found[-1] == task("t-2", name="x-2", created_at=NOW + 1)
        assert await stores.executions.unhanded(before=NOW, limit=9) == []
        assert len(await stores.executions.unhanded(before=NOW + 1, limit=9)) == 3
        assert len(await stores.executions.unhanded(before=NOW + 2, limit=2)) == 2
        await stores.executions.handed(["t-job", "t-map", "unknown"])
        await stores.executions.drop(["t-answer", "t-2"])
        assert [one.token for one in await stores.executions.unhanded(before=NOW + 2, limit=9)] == ["t-2"]
        handed = await stores.executions.task(TENANT, "t-job")
        assert handed is not None
        assert handed.state == "dispatched"
        assert await stores.executions.task(TENANT, "t-answer") is None

    async def test_work_is_given_out_once_and_the_oldest_first(self, stores: Stores, other_stores: Stores) -> None:
        for number in range(10):
            name = f"x-{number}"
            await begin(stores, name, opened=[task(f"t-{number}", "activity", name)], at=NOW + number)
        first = await stores.executions.take(TENANT, ACTIVITY, "ann")
        assert first is not None
        assert (first.token, first.state, first.worker) == ("t-0", "taken", "ann")
        taken: list[str] = []
        while len(taken) < 9:
            both = await asyncio.gather(
                *(one.executions.take(TENANT, ACTIVITY, "w") for one in (stores, other_stores, stores))
            )
            taken += [one.token for one in both if one is not None]
        assert sorted(taken) == [f"t-{number}" for number in range(1, 10)]
        assert await stores.executions.take(TENANT, ACTIVITY, "w") is None
        assert await stores.executions.take(TENANT, "other", "w") is None

    async def test_questions_are_kept_with_their_answers(self, stores: Stores) -> None:
        for number in range(3):
            name = f"x-{number}"
            await begin(stores, name, opened=[task(f"t-{number}", "approval", name)], at=NOW + number)
        answer = move(1, "x-1", closed=["t-1"], answered=[("t-1", b'"yes"')], at=NOW + 9)
        assert await save(stores, answer) == [True]
        closed = await stores.executions.task(TENANT, "t-1")
        assert closed is not None
        assert (closed.state, closed.answer, closed.closed_at) == ("closed", b'"yes"', NOW + 9)
        assert await stores.executions.work(TENANT, "t-1") is None
        # Closed once and for all.
        await save(stores, move(2, "x-1", closed=["t-1"], answered=[("t-1", b'"no"')], at=NOW + 10))
        assert await stores.executions.task(TENANT, "t-1") == closed

        async def listed(**more: Any) -> list[str]:
            page = await stores.executions.tasks(TENANT, TaskQuery(kind="approval", **more))
            return [one.token for one in page.items]

        assert await listed() == ["t-2", "t-1", "t-0"]
        assert await listed(states=("new",)) == ["t-2", "t-0"]
        assert await listed(states=("closed",)) == await listed(execution_id="x-1") == ["t-1"]
        assert await listed(execution_id="x-1", states=("new",)) == []
        page = await stores.executions.tasks(TENANT, TaskQuery(kind="approval", limit=2))
        rest = await stores.executions.tasks(TENANT, TaskQuery(kind="approval", limit=2, cursor=page.next_cursor))
        assert ([one.token for one in page.items], [one.token for one in rest.items]) == (["t-2", "t-1"], ["t-0"])
        assert rest.next_cursor is None
        assert (await stores.executions.tasks(TENANT, TaskQuery(kind="job"))).items == []

    async def test_who_follows_hears_of_moves_and_of_work(self, stores: Stores, other_stores: Stores) -> None:
        await begin(stores)
        await begin(stores, "x-2")
        here: list[str] = []
        there: list[str] = []
        watches = [stores.executions.watch(here.extend), other_stores.executions.watch(there.extend)]
        followed = [execution_key(TENANT, "x-1"), activity_key(TENANT, ACTIVITY)]
        for watch in watches:
            for key in followed:
                watch.follow(key)
        revision = 1

        async def all_heard() -> bool:
            nonlocal revision
            opened = [task(f"t-{revision}", "activity")]
            await save(stores, move(revision, opened=opened, closed=[f"t-{revision - 1}"]), move(revision, "x-2"))
            revision += 1
            return all(key in heard for key in followed for heard in (here, there))

        await eventually(all_heard)
        assert set(here) | set(there) == set(followed)
        for watch in watches:
            watch.unfollow(followed[0])
            watch.close()


class ExecutionListContract(Contract):
    """Lists."""

    async def test_lists_are_newest_first_and_go_on_where_they_ended(self, stores: Stores) -> None:
        for number in range(7):
            await begin(stores, f"x-{number}", given={"started_at": NOW + number // 2})
        found: list[ExecutionRow] = []
        cursor: str | None = None
        while True:
            page = await stores.executions.find(TENANT, ExecutionQuery(limit=3, cursor=cursor))
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert [one.id for one in found] == [f"x-{number}" for number in reversed(range(7))]
        assert found[-1] == msgspec.structs.replace(row("x-0"), revision=1, input=None)
        with pytest.raises(CursorNotFound):
            await stores.executions.find(TENANT, ExecutionQuery(cursor="nonsense"))

    async def test_lists_are_filtered(self, stores: Stores) -> None:
        await begin(stores, "a-1", given={"started_at": NOW})
        await begin(stores, "a-2", given={"started_at": NOW + 1, "version_arn": "v", "alias_arn": "l"})
        await begin(stores, "b-3", given={"started_at": NOW + 2, "machine_arn": "other"})
        await begin(stores, "b-4", given={"started_at": NOW + 3, "map_run_arn": "r", "machine_arn": "other"})
        await save(stores, move(1, "a-1", status="FAILED"), move(1, "b-4", status="ABORTED", redrives=2))

        async def ids(**query: Any) -> str:
            page = await stores.executions.find(TENANT, ExecutionQuery(**query))
            return " ".join(one.id for one in page.items)

        assert await ids() == "b-4 b-3 a-2 a-1"
        assert await ids(machine_arn=MACHINE) == "a-2 a-1"
        assert await ids(machine_arn=MACHINE, statuses=("RUNNING",)) == "a-2"
        assert await ids(machine_arn="other", statuses=("ABORTED", "RUNNING")) == "b-4 b-3"
        assert await ids(statuses=("RUNNING",)) == "b-3 a-2"
        assert await ids(statuses=("FAILED", "ABORTED")) == "b-4 a-1"
        assert await ids(map_run_arn="r") == await ids(map_run_arn="r", statuses=("ABORTED",)) == "b-4"
        assert await ids(map_run_arn="") == await ids(machine_arn="none") == await ids(machine_arn="a\0") == ""
        assert await ids(version_arn="v") == await ids(machine_arn=MACHINE, alias_arn="l") == "a-2"
        assert await ids(statuses=("RUNNING",), version_arn="v") == "a-2"
        assert await ids(since=NOW + 1, until=NOW + 2) == "b-3 a-2"
        assert await ids(machine_arn="other", since=NOW + 3) == await ids(redriven=True) == "b-4"
        assert await ids(redriven=False, name="b-") == "b-3"
        assert await ids(name="a-", machine_arn=MACHINE, until=NOW) == "a-1"

    async def test_open_questions_are_counted(self, stores: Stores) -> None:
        asked = [task(str(n), kind="approval", tenant=f"tenant-{n}") for n in range(3)]
        for one in asked:
            given = {"tenant": one.tenant}
            await begin(stores, given=given, opened=[one, task(f"job-{one.token}", tenant=one.tenant)])
        assert [await stores.executions.waiting(limit=limit) for limit in (2, 9)] == [2, 3]
        await save(stores, move(1, tenant="tenant-0", closed=[asked[0].token]))
        assert await stores.executions.waiting(limit=9) == 2

    async def test_children_are_counted(self, stores: Stores) -> None:
        for number in range(5):
            await begin(stores, f"x-{number}", given={"map_run_arn": "r"})
        await begin(stores, "other")
        await save(stores, move(1, "x-0", status="FAILED"), move(1, "x-1", status="SUCCEEDED"))
        assert await stores.executions.counts(TENANT, "r") == {"RUNNING": 3, "FAILED": 1, "SUCCEEDED": 1}
        assert [await stores.executions.open_count(TENANT, limit=limit) for limit in (2, 9)] == [2, 4]
        await begin(stores, given={"tenant": "umbrella"})
        assert await stores.executions.open_count("umbrella", limit=9) == 1
        assert await stores.executions.open_count(None, limit=9) == 5
        assert await stores.executions.open_count("nobody", limit=9) == 0
        assert await stores.executions.counts(TENANT, "") == await stores.executions.counts("umbrella", "r") == {}
