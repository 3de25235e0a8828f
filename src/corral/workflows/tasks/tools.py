"""`corral:tool:NAME`: a tool through all its layers, with the rights of whoever began the execution."""

from __future__ import annotations

from typing import Any

from corral.messages import Caller, ToolCall
from corral.tools.catalog import Catalog
from corral.tools.stack import RunTool, Use
from corral.workflows.failing import TIMEOUT, StateFailed
from corral.workflows.tasks.task import Task, members


class Tools:
    """Calls tools."""

    def __init__(self, catalog: Catalog, run: RunTool) -> None:
        """`run` is the way through the layers: what the policy forbids an agent it forbids here."""
        self._catalog = catalog
        self._run = run

    async def do(self, task: Task) -> Any:
        """The tool's result; a fault fails the task as `Tool.` and its code, such as `Tool.denied`."""
        context = task.context
        tool = self._catalog.find(task.resource.name).tool
        caller = Caller(
            tenant=task.tenant,
            tier=context.tier,
            user_id=context.user_id or "",
            session_id=context.session_id or "",
            run_id=task.facts.id,
            roles=context.roles,
        )
        call = ToolCall(
            name=tool.name,
            input=members(task),
            caller=caller,
            idempotency_key=f"task {task.token}",
            deadline=context.deadline,
        )
        reply = await self._run(Use(tool, call))
        fault = reply.fault
        if fault is None:
            return reply.value
        raise StateFailed(TIMEOUT if fault.code == "timeout" else f"Tool.{fault.code}", fault.message)
