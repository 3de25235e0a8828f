"""What `Executions` promises: moves that are written as a whole and once, histories without gaps, tasks that go with them."""

# ruff: noqa: S107 - tokens name tasks here, and open nothing

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from corral.errors import CursorNotFound, ValidationFailed
from corral.testing.contracts.setting import Contract, eventually
from corral.workflows.store import (
    EventsRow,
    ExecutionQuery,
    ExecutionRow,
    FrameRow,
    Move,
    TaskQuery,
    TaskRow,
    activity_key,
    execution_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.stores import Stores
    from corral.workflows.machine.run import ExecutionStatus
    from corral.workflows.store import TaskKind

TENANT = "acme"
MACHINE = "arn:aws:states:us-east-1:000000000000:stateMachine:m"
ACTIVITY = "arn:aws:states:us-east-1:000000000000:activity:a"
NOW = 1_700_000_000.5


def row(name: str = "x-1", **more: Any) -> ExecutionRow:
    """An execution that is to begin; its name is its id as well."""
    return ExecutionRow(
        **{
            "tenant": TENANT,
            "id": name,
            "arn": f"arn:{name}",
            "name": name,
            "machine_arn": MACHINE,
            "facts": b'{"machine_name":"m"}',
            "input": b"[1,{}]",
            "started_at": NOW,
            "updated_at": NOW,
            **more,
        }
    )


def frame(name: str = "", *, parent: str | None = None, done: bool = False, body: bytes = b"{}") -> FrameRow:
    """A frame."""
    return FrameRow(id=name, parent=parent, done=done, body=body)


def events(first: int, last: int) -> EventsRow:
    """Events of which nothing is known but their numbers."""
    return EventsRow(first=first, last=last, body=b"%d-%d" % (first, last))


def task(token: str = "t-1", kind: TaskKind = "job", name: str = "x-1", **more: Any) -> TaskRow:
    """A task."""
    return TaskRow(
        **{
            "tenant": TENANT,
            "token": token,
            "execution_id": name,
            "frame": "",
            "kind": kind,
            "resource": ACTIVITY if kind == "activity" else "r",
            "body": b'{"x":1}',
            "created_at": NOW,
            **more,
        }
    )


def move(revision: int, name: str = "x-1", **more: Any) -> Move:
    """A move."""
    return Move(**{"tenant": TENANT, "id": name, "revision": revision, "mark": f"{name}-{revision}", "at": NOW, **more})


async def begin(stores: Stores, name: str = "x-1", *, given: dict[str, Any] | None = None, **more: Any) -> ExecutionRow:
    """Begin an execution with its own frame; `given` are its columns, the rest is of its first move."""
    more.setdefault("frames", [frame()])
    one = row(name, **(given or {}))
    return await stores.executions.begin(one, move(0, name, tenant=one.tenant, **more))


async def save(stores: Stores, *moves: Move) -> list[bool]:
    """Write moves."""
    return await stores.executions.save(moves)


async def frames(stores: Stores, name: str = "x-1", *, complete: Sequence[str] = ()) -> list[str]:
    """The ids of the frames that are loaded."""
    loaded = await stores.executions.load(TENANT, name, complete=complete)
    assert loaded is not None
    return sorted(one.id for one in loaded.frames)


async def tokens(stores: Stores, kind: TaskKind = "job", name: str = "x-1") -> list[str]:
    """The open tasks of an execution."""
    page = await stores.executions.tasks(TENANT, TaskQuery(kind=kind, execution_id=name))
    return sorted(one.token for one in page.items)


class MoveContract(Contract):
    """Beginning and moving."""

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
