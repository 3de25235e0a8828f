"""Activities, and the answers of whoever works on a task: a worker that asked for it, or one that was told its token."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from corral.server.disconnect import ClientWatch
from corral.server.stepfunctions.dialect import OutputInvalid
from corral.server.stepfunctions.executions import text_of
from corral.server.stepfunctions.operations import Asked, page_size, paged
from corral.server.stepfunctions.operations import Work as Operation
from corral.server.stepfunctions.shown import described_encryption, encryption_in, tags_in
from corral.workflows.activities import Activities as Declared
from corral.workflows.engine import Engine
from corral.workflows.execution import Work
from corral.workflows.failing import DATA_MAX_BYTES
from corral.workflows.machine.happening import TaskBeat, TaskFailed, TaskSucceeded
from corral.workflows.machine.order import StartTask


class Activities:
    """Declaring activities, working on them, and ending tasks."""

    def __init__(self, declared: Declared, engine: Engine, *, wait_s: float) -> None:
        """`wait_s`: how long `GetActivityTask` waits for a task."""
        self._declared = declared
        self._engine = engine
        self._wait_s = wait_s
        self._waiting: set[asyncio.Task[Work | None]] = set()
        self._draining = False

    @property
    def waiting(self) -> int:
        """Requests that wait for a task."""
        return len(self._waiting)

    def drain(self) -> None:
        """Whoever waits for a task asks another server. Calling it again does nothing."""
        self._draining = True
        for task in self._waiting:
            task.cancel()

    def operations(self) -> dict[str, Operation]:
        """All of them."""
        return {
            "CreateActivity": self.create,
            "DescribeActivity": self.show,
            "ListActivities": self.listed,
            "DeleteActivity": self.delete,
            "GetActivityTask": self.take,
            "SendTaskSuccess": self.succeed,
            "SendTaskFailure": self.fail,
            "SendTaskHeartbeat": self.beat,
        }

    async def create(self, asked: Asked) -> dict[str, Any]:
        """Declare one; the same again is the first one's answer."""
        body = asked.body
        activity = await self._declared.create(
            asked.tenant,
            body["name"],
            encryption=encryption_in(body.get("encryptionConfiguration")),
            tags=tags_in(body.get("tags")),
        )
        return {"activityArn": self._declared.arns.activity(activity.name), "creationDate": activity.created_at}

    async def show(self, asked: Asked) -> dict[str, Any]:
        """One of them."""
        activity = await self._declared.named(asked.tenant, asked.body["activityArn"])
        return {
            "activityArn": asked.body["activityArn"],
            "name": activity.name,
            "creationDate": activity.created_at,
            "encryptionConfiguration": described_encryption(activity.encryption),
        }

    async def listed(self, asked: Asked) -> dict[str, Any]:
        """All of them."""
        page = await self._declared.find(asked.tenant, limit=page_size(asked), cursor=asked.body.get("nextToken"))
        shown = [
            {
                "activityArn": self._declared.arns.activity(activity.name),
                "name": activity.name,
                "creationDate": activity.created_at,
            }
            for activity in page.items
        ]
        return paged({"activities": shown}, page.next_cursor)

    async def delete(self, asked: Asked) -> dict[str, Any]:
        """Delete one."""
        await self._declared.delete(asked.tenant, asked.body["activityArn"])
        return {}

    async def take(self, asked: Asked) -> dict[str, Any]:
        """The next task, waiting a while for one."""
        arn = asked.body["activityArn"]
        await self._declared.named(asked.tenant, arn)
        work = await self._next(asked, arn)
        if work is None or not isinstance(work.order, StartTask):
            return {}
        return {"taskToken": work.token, "input": text_of(work.order.payload)}

    async def _next(self, asked: Asked, arn: str) -> Work | None:
        """Wait for a task, no longer than the client does or this server is to live."""
        if self._draining:
            return None
        worker = asked.body.get("workerName", "")
        task = asyncio.get_running_loop().create_task(
            self._engine.take_activity(asked.tenant, arn, worker=worker, wait_s=self._wait_s)
        )
        self._waiting.add(task)

        def leave() -> None:
            task.cancel()

        watch = ClientWatch(asked.request, leave)
        try:
            await asyncio.wait([task])
            return None if task.cancelled() else task.result()
        finally:
            watch.close()
            self._waiting.discard(task)
            task.cancel()

    async def succeed(self, asked: Asked) -> dict[str, Any]:
        """A task is done."""
        if len(asked.body["output"].encode(errors="replace")) > DATA_MAX_BYTES:
            raise OutputInvalid(f"Invalid Output: 'it has more than {DATA_MAX_BYTES} bytes'")
        try:
            output = msgspec.json.decode(asked.body["output"])
        except (ValueError, RecursionError) as error:
            raise OutputInvalid(f"Invalid Output: '{error}'") from None
        token = asked.body["taskToken"]
        await self._engine.answer(asked.tenant, token, TaskSucceeded(token, output))
        return {}

    async def fail(self, asked: Asked) -> dict[str, Any]:
        """A task failed."""
        token = asked.body["taskToken"]
        message = TaskFailed(token, asked.body.get("error", ""), asked.body.get("cause", ""))
        await self._engine.answer(asked.tenant, token, message)
        return {}

    async def beat(self, asked: Asked) -> dict[str, Any]:
        """Whoever works on a task is alive."""
        token = asked.body["taskToken"]
        await self._engine.answer(asked.tenant, token, TaskBeat(token))
        return {}
