"""What an inline Map writes, with ever more items: bytes of moves and of values kept apart, and CPU.

python bench/inline_map.py                 # 250, 1,000 and 4,000 items, on SQLite
python bench/inline_map.py --item-bytes 200

Every item is a task that ends in a move of its own: the worst there is. What is written for an item should not grow with their number.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from corral.backends.open import open_stores
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.doing import Nobody
from corral.workflows.engine import Engine
from corral.workflows.execution import StartRequest, Work
from corral.workflows.machine.happening import TaskSucceeded
from corral.workflows.machine.order import StartTask
from corral.workflows.store import Move

_SIZES = (250, 1_000, 4_000)
_MACHINE = {
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "MaxConcurrency": 1,
            "End": True,
            "ItemProcessor": {
                "StartAt": "Do",
                "States": {"Do": {"Type": "Task", "Resource": "corral:function:do", "End": True}},
            },
        }
    },
}


class Weighed:
    """A store that weighs what is written: `save` and `begin` of executions, `put` of values."""

    def __init__(self, store: Any) -> None:
        """Nothing yet."""
        self._store = store
        self.frames = self.history = self.apart = self.loads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def save(self, moves: Sequence[Move]) -> Any:
        """Weigh moves."""
        for move in moves:
            self._weigh(move)
        return await self._store.save(moves)

    async def load(self, *where: str, **more: Any) -> Any:
        """Count how often an execution had to be read again."""
        self.loads += 1
        return await self._store.load(*where, **more)

    async def put(self, tenant: str, name: str, body: bytes) -> None:
        """Weigh a value."""
        self.apart += len(body)
        await self._store.put(tenant, name, body)

    def _weigh(self, move: Move) -> None:
        self.frames += sum(len(frame.body) for frame in move.frames)
        self.history += 0 if move.events is None else len(move.events.body)


class Tasks(Nobody):
    """Tasks that wait to be done."""

    def __init__(self) -> None:
        """None yet."""
        self.given: asyncio.Queue[Work] = asyncio.Queue()

    async def begin(self, tasks: Any) -> None:
        """Take them."""
        for work in tasks:
            self.given.put_nowait(work)


async def run(folder: str, items: int, item_bytes: int) -> None:
    """One execution from start to end."""
    stores = open_stores(f"sqlite:///{folder}/{items}.db", sync="normal")
    await stores.start()
    executions, blobs, tasks = Weighed(stores.executions), Weighed(stores.blobs), Tasks()

    async def definition(_tenant: str, _digest: str) -> str:
        return msgspec.json.encode(_MACHINE).decode()

    settings = WorkflowSettings(events_max=1_000_000)
    engine = Engine(executions, blobs, definitions=definition, doers=tasks, settings=settings)
    given = [{"n": n, "text": "x" * item_bytes} for n in range(items)]
    cpu = time.process_time()
    info = await engine.start(
        StartRequest(
            tenant="t", machine_arn="arn:aws:states:::stateMachine:m", machine_name="m", digest="m", input=given
        )
    )
    if info.status != "RUNNING":
        raise SystemExit(f"{items} items of {item_bytes} bytes are too many: {info.cause}")
    for _ in range(items):
        work = await tasks.given.get()
        assert isinstance(work.order, StartTask)
        await engine.answer("t", work.token, TaskSucceeded(work.token, work.order.payload))
    ended = await engine.describe("t", info.id)
    cpu = time.process_time() - cpu
    await engine.carrier.drain()
    await stores.stop()
    size = len(msgspec.json.encode(given))
    print(
        f"{items:>6} items of {size // items:>4} B  {ended.status}  frames {executions.frames / items:>8,.0f} B/item"
        f"  events {executions.history / items:>6,.0f} B/item  apart {blobs.apart / items:>8,.0f} B/item"
        f"  read again {executions.loads}  CPU {cpu / items * 1000:.2f} ms/item"
    )


async def main() -> None:
    """All sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="*", default=list(_SIZES))
    parser.add_argument("--item-bytes", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for items in asked.items:
            await run(folder, items, asked.item_bytes)


if __name__ == "__main__":
    asyncio.run(main())
