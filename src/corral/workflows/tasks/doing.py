"""Does tasks: finds who does one, and makes one message of whatever comes of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from corral.observability.traces import span
from corral.workflows.failing import StateFailed
from corral.workflows.language.resource import Service
from corral.workflows.machine.happening import TaskFailed, TaskSubmitted, TaskSucceeded
from corral.workflows.tasks.task import Doer, Task, check_size, failure_of

_log = logging.getLogger("corral.workflows")

TaskEnd = TaskSucceeded | TaskSubmitted | TaskFailed


class Tasks:
    """The doers of all services."""

    def __init__(self, doers: Mapping[Service, Doer]) -> None:
        """A service that is missing is one that is not done by a worker: activities and approvals."""
        self._doers = doers

    async def do(self, task: Task) -> TaskEnd:
        """Do it. Raises for cancellation alone, and for what suspends a job."""
        try:
            return await self._done(task)
        except StateFailed as failed:
            return TaskFailed(task.token, failed.error, failed.cause or "")
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the state machine decides what becomes of it
            _log.debug("The task %r of %s failed.", task.resource.text, task.facts.arn, exc_info=error)
            seen = failure_of(error, task.context.request_id)
            return TaskFailed(task.token, seen.error, seen.cause or "")

    async def _done(self, task: Task) -> TaskEnd:
        resource = task.resource
        doer = self._doers.get(resource.service)
        if doer is None:
            raise StateFailed("States.Runtime", f"Nobody here does the task {resource.text!r}.")
        with span(
            f"task {task.order.state}", **{"corral.task.resource": resource.text, "corral.execution": task.facts.arn}
        ):
            result = await doer(task)
        if resource.pattern or resource.service == "job":
            check_size(result, resource)
            return TaskSubmitted(task.token, result)
        return TaskSucceeded(task.token, result)
