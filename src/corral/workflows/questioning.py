"""Questions to people: tasks that wait for an answer, which is given once."""

from __future__ import annotations

import msgspec

from corral.messages import Page
from corral.workflows.execution import UNSET, Question
from corral.workflows.keeping import Keeping, encode
from corral.workflows.machine.happening import Message, TaskSucceeded
from corral.workflows.machine.order import StartTask
from corral.workflows.moving import Mover
from corral.workflows.store import (
    Executions,
    QuestionClosed,
    QuestionNotFound,
    TaskQuery,
    TaskRow,
    TaskState,
)


class Questions:
    """Lists what people are asked, and takes their answers."""

    def __init__(self, store: Executions, *, keeping: Keeping, mover: Mover) -> None:
        """`mover` tells the execution."""
        self._store = store
        self._keeping = keeping
        self._mover = mover

    async def find(
        self,
        tenant: str,
        *,
        states: tuple[TaskState, ...] = (),
        execution_id: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Question]:
        """List, newest first."""
        query = TaskQuery(kind="approval", states=states, execution_id=execution_id, limit=limit, cursor=cursor)
        page = await self._store.tasks(tenant, query)
        return Page([await self._question(row) for row in page.items], page.next_cursor)

    async def get(self, tenant: str, token: str) -> Question:
        """One of them. Raises `QuestionNotFound`."""
        row = await self._store.task(tenant, token)
        if row is None or row.kind != "approval":
            raise QuestionNotFound
        return await self._question(row)

    async def decide(self, tenant: str, token: str, message: Message) -> Question:
        """Answer with the message that ends the task. The same answer again is answering once."""
        asked = await self.get(tenant, token)
        answer = encode(message.output if isinstance(message, TaskSucceeded) else msgspec.to_builtins(message))
        if asked.is_open and await self._mover.tell(tenant, asked.execution_id, message, answer=answer):
            return await self.get(tenant, token)
        now = await self.get(tenant, token)
        if now.answer is UNSET or encode(now.answer) != answer:
            raise QuestionClosed
        return now

    async def _question(self, row: TaskRow) -> Question:
        order = await self._keeping.order(row.tenant, row.body)
        assert isinstance(order, StartTask)  # noqa: S101 - no map run is an approval
        return Question(
            id=row.token,
            execution_id=row.execution_id,
            execution_arn=row.resource,
            state_name=order.state,
            payload=order.payload,
            asked_at=row.created_at,
            expires_at=order.timeout_at,
            is_open=row.state != "closed",
            answered_at=row.closed_at,
            answer=UNSET if row.answer is None else msgspec.json.decode(row.answer),
        )
