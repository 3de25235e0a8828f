"""What the tests of tools share: layers put together by hand, a clock that is turned, and a service that is counted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from corral.messages import Caller, ToolCall, ToolReply
from corral.models.breaker import Breaker
from corral.settings.tool_sections import ToolSettings
from corral.tools.bounded import Bounded
from corral.tools.checked import checked
from corral.tools.stack import RunTool, ToolLayer, wrap
from corral.tools.threads import ToolThreads
from corral.tools.tool import Tool
from corral.tools.toolbox import Toolbox

QUICK = ToolSettings(retry_initial_s=0.001, retry_max_s=0.002)


class Watch:
    """Notes what happens behind replies."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()
        self.told = asyncio.Event()

    def retried(self, tool: str) -> None:
        self._note("retried", tool)

    def lost(self, tool: str) -> None:
        self._note("lost", tool)

    def spilled(self, tool: str) -> None:
        self._note("spilled", tool)

    def _note(self, what: str, tool: str) -> None:
        self.seen[what, tool] += 1
        self.told.set()


class Turned:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Kept:
    """Artefacts and results, in a table."""

    def __init__(self) -> None:
        self.table: dict[Any, bytes] = {}

    async def keep(self, *args: Any, ttl_s: float | None = None) -> str:
        *place, body = args
        name = f"a-{len(self.table)}"
        self.table[tuple(place) if ttl_s is not None else name] = body
        return name

    async def find(self, tenant: str, key: bytes) -> bytes | None:
        return self.table.get((tenant, key))


def bounded(settings: ToolSettings = QUICK, **more: Any) -> Bounded:
    """The innermost part."""
    more.setdefault("chance", lambda: 0.5)
    return Bounded(settings, **more)


def box_of(*tools: Tool | Any, layers: Sequence[ToolLayer] = (), run: RunTool | None = None, **more: Any) -> Toolbox:
    """A toolbox with these layers around what is innermost."""
    return Toolbox(tools, run=wrap(run or bounded(**more), [checked, *layers]))


def breakers(failures: int = 2, pause_s: float = 10.0) -> Any:
    """What makes breakers."""
    return lambda: Breaker(failures=failures, pause_s=pause_s)


def called(name: str, /, *, caller: Caller | None = None, key: str = "", **arguments: Any) -> ToolCall:
    """A call."""
    return ToolCall(name=name, input=arguments, caller=caller or Caller(), idempotency_key=key)


def fault_code(reply: ToolReply) -> str:
    """Its fault's code; empty: it has none."""
    return "" if reply.fault is None else reply.fault.code


async def quickest(work: Callable[[], Awaitable[Any]], enough_s: float, times: int = 8) -> float:
    """How long it takes on a machine that does nothing else: the shortest of some rounds, until one is short enough."""
    best = float("inf")
    for _ in range(times):
        begun = time.monotonic()
        await work()
        best = min(best, time.monotonic() - begun)
        if best <= enough_s:
            break
    return best


class Held:
    """A plain function that hangs until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.thread: threading.Thread | None = None

    def __call__(self) -> str:
        self.thread = threading.current_thread()
        self.begun.release()
        self.go.wait(30)
        return "late"


__all__ = [
    "QUICK",
    "Held",
    "Kept",
    "ToolThreads",
    "Turned",
    "Watch",
    "bounded",
    "box_of",
    "breakers",
    "called",
    "fault_code",
    "quickest",
]
