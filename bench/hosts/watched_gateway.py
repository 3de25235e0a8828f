"""`corral gateway …` as ever, with a thread beside its worker that writes down what the process holds: `python watched_gateway.py FILE gateway …`.

One JSON object a line, every second: tasks of the event loops, calls that pass or wait at providers' limits, reservations in budgets, open files.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from corral.cli.main import run
from corral.errors import ConfigError
from corral.limits.accounts import NOTHING
from corral.limits.budget import Budgeted
from corral.limits.pace import Pace
from corral.models.connected import connected


def layers() -> list[Any]:
    """Those around a question to a model, once the service has started."""
    try:
        handler: Any = connected().call
    except ConfigError:
        return []
    found = []
    while inspect.isfunction(handler) and "proceed" in (around := inspect.getclosurevars(handler).nonlocals):
        found.append(getattr(around["ask"], "__self__", around["ask"]))
        handler = around["proceed"]
    return found


def tasks() -> int:
    """Of all loops; they may change while they are counted."""
    loops = {task.get_loop() for task in list(asyncio.tasks._all_tasks)}  # type: ignore[attr-defined]  # noqa: SLF001 - no public way without a loop
    return sum(len(asyncio.all_tasks(loop)) for loop in loops)


def held(around: list[Any]) -> dict[str, int]:
    """What is held at this moment."""
    status = [gate for one in around if isinstance(one, Pace) for gate in one.status()]
    budgets = [one._budgets for one in around if isinstance(one, Budgeted)]  # noqa: SLF001 - to count what is reserved
    pockets = [pocket for one in budgets for pocket in list(one._known.values())]  # noqa: SLF001 - as above
    return {
        "running": sum(int(str(gate["running"])) for gate in status),
        "waiting": sum(int(str(gate["waiting"])) for gate in status),
        "reserved": sum(pocket.using != NOTHING for pocket in pockets),
    }


def resident() -> float:
    """Megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def watch(file: Path) -> None:
    """Once a second, for ever."""
    with file.open("w", buffering=1) as lines:
        while True:
            time.sleep(1)
            if not (around := layers()):
                continue
            try:
                seen: dict[str, Any] = {"tasks": tasks(), **held(around)}
            except RuntimeError:  # a set changed while it was read: the next second will do
                continue
            seen["files"] = sum(1 for _ in Path("/proc/self/fd").iterdir())
            seen["threads"] = threading.active_count()
            seen["resident_mb"] = round(resident(), 2)
            lines.write(json.dumps({"at": time.monotonic(), **seen}) + "\n")


if __name__ == "__main__":
    place = Path(sys.argv.pop(1))
    # Workers are forked, and threads stay behind.
    os.register_at_fork(after_in_child=threading.Thread(target=watch, args=(place,), daemon=True).start)
    run()
