"""What the suites of executions share: short ways to begin and to move one."""

# ruff: noqa: S107 - tokens name tasks here, and open nothing

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from corral.workflows.store import EventsRow, ExecutionRow, FrameRow, Move, TaskQuery, TaskRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.stores import Stores
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
