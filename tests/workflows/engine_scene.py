"""A durable engine with tasks that are done here, and a clock that is turned by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from corral.backends.stores import Stores
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.engine import Engine
from corral.workflows.execution import ExecutionInfo, StartRequest, Work
from corral.workflows.failing import StateFailed
from corral.workflows.machine.happening import Message, TaskFailed, TaskStarted, TaskSucceeded
from corral.workflows.machine.order import StartTask
from corral.workflows.store import TaskGone

TENANT = "acme"
ACCOUNT = "arn:aws:states:us-east-1:000000000000"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:"


class TurnedClock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def turn(self, seconds: float) -> None:
        self.time += seconds


class House:
    """One process: an engine, and those who do its tasks when they are let."""

    def __init__(self, stores: Stores, definitions: dict[str, Any], clock: TurnedClock, **more: Any) -> None:
        self.stores = stores
        self.definitions = definitions
        self.clock = clock
        self.works: list[Work] = []
        """Tasks that were given out and wait to be done, where `do` is none."""
        self.do: Callable[[StartTask], Any] | None = None
        self.effects: list[str] = []
        """Tokens of tasks that were done."""
        self.cancelled: list[str] = []
        self._news = asyncio.Event()
        self.refuses = False
        """Those who do tasks are away."""
        self.told: dict[str, asyncio.Queue[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.engine = Engine(
            more.pop("executions", stores.executions),
            stores.blobs,
            definitions=self.definition,
            doers=self,
            clock=clock,
            settings=more.pop("settings", WorkflowSettings(sweep_s=0.05)),
            **more,
        )

    async def definition(self, tenant: str, digest: str) -> str:
        text = self.definitions[digest]
        return text if isinstance(text, str) else json.dumps(text)

    # -- those who do tasks -------------------------------------------------------------------------------------------

    async def begin(self, tasks: Sequence[Work]) -> None:
        if self.refuses:
            raise ConnectionError("Nobody is here.")
        for work in tasks:
            if self.do is None:
                self.works.append(work)
                self._news.set()
            else:
                task = asyncio.create_task(self.finish(work))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def cancel(self, tenant: str, tokens: Sequence[str]) -> None:
        self.cancelled += tokens

    async def progress(self, tenant: str, token: str) -> AsyncIterator[Any]:
        while (said := await self.told.setdefault(token, asyncio.Queue()).get()) is not None:
            yield said

    async def finish(self, work: Work) -> None:
        """Do one task once, and tell its execution."""
        assert isinstance(work.order, StartTask)
        assert self.do is not None
        if work.token in self.effects or await self.engine.work(work.tenant, work.token) is None:
            return
        self.effects.append(work.token)
        self.engine.note(work.tenant, work.facts.id, TaskStarted(work.token))
        message: Message
        try:
            message = TaskSucceeded(work.token, self.do(work.order))
        except StateFailed as error:
            message = TaskFailed(work.token, error.error, error.cause or "")
        try:
            await self.engine.answer(work.tenant, work.token, message)
        except TaskGone:
            return

    # -- short ways ---------------------------------------------------------------------------------------------------

    async def start(self, machine: str, given: Any = None, **more: Any) -> ExecutionInfo:
        return await self.engine.start(self.request(machine, given, **more))

    def request(self, machine: str, given: Any = None, **more: Any) -> StartRequest:
        return StartRequest(
            **{
                "tenant": TENANT,
                "machine_arn": f"{ACCOUNT}:stateMachine:{machine}",
                "machine_name": machine,
                "digest": machine,
                "input": {} if given is None else given,
                **more,
            }
        )

    async def over(self, info: ExecutionInfo) -> ExecutionInfo:
        async with asyncio.timeout(20):
            return await self.engine.ended(TENANT, info.id)

    async def types(self, info: ExecutionInfo) -> list[str]:
        page = await self.engine.history(TENANT, info.id, limit=1000)
        return [event.type for event in page.events]

    async def given_out(self, count: int = 1) -> list[Work]:
        """Tasks that wait to be done."""
        async with asyncio.timeout(20):
            while len(self.works) < count:
                await self._news.wait()
                self._news.clear()
        works, self.works = self.works[:count], self.works[count:]
        return works

    async def answer(self, work: Work, output: Any = None) -> None:
        await self.engine.answer(work.tenant, work.token, TaskSucceeded(work.token, output))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await self.engine.carrier.drain()
        await self.engine.carrier.stop()
        await self.engine.express.stop()
        self.engine.following.close()


def task(name: str = "f", **more: Any) -> dict[str, Any]:
    """A Task."""
    more.setdefault("End", True)
    if "Next" in more:
        del more["End"]
    return {"Type": "Task", "Resource": FUNCTION + name, **more}


def machine(states: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A definition whose first state is the first."""
    return {"StartAt": next(iter(states)), "States": states, **more}


ONE_TASK = machine({"T": task()})
WAITS = machine({"W": {"Type": "Wait", "Seconds": 60, "End": True}})
EACH = machine(
    {
        "Each": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": machine({"One": task()}),
            "End": True,
        }
    }
)
ASKS = machine(
    {"Ask": {"Type": "Task", "Resource": "corral:approval", "Parameters": {"message": "May I?"}, "End": True}}
)
ACTIVITY = f"{ACCOUNT}:activity:polish"
POLISHES = machine({"Polish": {"Type": "Task", "Resource": ACTIVITY, "End": True}})
