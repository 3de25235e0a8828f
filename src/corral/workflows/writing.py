"""What a move writes: the tasks it opens, when it is to be woken, and how it ends."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.workflows import failing
from corral.workflows.execution import AnswerForm, Work
from corral.workflows.keeping import AnswerBody, EscalationBody, Pocket, encode
from corral.workflows.machine import tokens
from corral.workflows.machine.order import CancelMapRun, CancelTask, Escalate, StartMapRun, StartTask
from corral.workflows.machine.run import Ended, Facts, HistoryEvent, Run
from corral.workflows.store import ESCALATION, HANDED, STOPPING, TaskKind, TaskRow

UNFINISHED_S = 5.0
"""After so long somebody else goes on with an execution that could go on at once."""


def map_token(execution_id: str, frame: str) -> str:
    """The token of a distributed Map, which nobody outside is told."""
    return f"map:{execution_id}:{frame}"


def kind_of(order: StartTask) -> TaskKind:
    """Who does it."""
    service = order.resource.service
    if service == "activity":
        return "activity"
    return "approval" if service == "approval" else "job"


class Tasks(msgspec.Struct, kw_only=True):
    """What a move says of tasks. One that is given up before it was written is neither opened nor closed."""

    opened: dict[str, TaskRow] = {}
    orders: dict[str, StartTask | StartMapRun] = {}
    """Of those that are opened."""
    closed: dict[str, None] = {}

    def open(self, row: TaskRow, order: StartTask | StartMapRun) -> None:
        """It is to be done."""
        self.opened[row.token] = row
        self.orders[row.token] = order

    def close(self, token: str) -> None:
        """Nobody waits for it."""
        if self.opened.pop(token, None) is None:
            self.closed[token] = None

    def works(self, facts: Facts) -> list[tuple[TaskRow, Work | None]]:
        """What is to be handed on."""
        return [(row, self._work(facts, row)) for row in self.opened.values() if row.kind in HANDED]

    def _work(self, facts: Facts, row: TaskRow) -> Work | None:
        order = self.orders.get(row.token)
        if order is None:
            return None
        return Work(tenant=row.tenant, token=row.token, order=order, facts=facts, created_at=row.created_at)


def tasks_of(run: Run, pocket: Pocket, at: float) -> Tasks:
    """The tasks that the machine's orders open and close."""
    facts = run.facts
    tasks = Tasks()
    for order in run.orders:
        if isinstance(order, StartTask):
            kind = kind_of(order)
            frame = tokens.frame_of(order.token) or ""
            resource = facts.arn if kind == "approval" else order.resource.text
            tasks.open(_row(facts, order.token, kind, resource, frame, pocket.order(order), at), order)
        elif isinstance(order, StartMapRun):
            token = map_token(facts.id, order.frame)
            tasks.open(_row(facts, token, "map", order.arn, order.frame, pocket.order(order), at), order)
        elif isinstance(order, CancelTask):
            tasks.close(order.token)
            if order.child:
                news = f"stop:{order.token}"
                tasks.opened[news] = _row(facts, news, "answer", STOPPING, "", encode(order.child), at)
        elif isinstance(order, CancelMapRun):
            tasks.close(map_token(facts.id, order.frame))
        elif isinstance(order, Escalate):
            body = encode(EscalationBody(question=order.token, step=order.step, assignee=order.assignee))
            news = f"news:{order.token}:{order.step}"
            tasks.opened[news] = _row(facts, news, "answer", ESCALATION, "", body, order.at)
    return tasks


def _row(facts: Facts, token: str, kind: TaskKind, resource: str, frame: str, body: bytes, at: float) -> TaskRow:
    return TaskRow(
        tenant=facts.tenant,
        token=token,
        execution_id=facts.id,
        frame=frame,
        kind=kind,
        resource=resource,
        body=body,
        created_at=at,
    )


def answer_task(facts: Facts, answers: str, form: AnswerForm, run: Run, at: float) -> TaskRow:
    """The news of an execution's end, for whoever began it."""
    return _row(
        facts,
        f"answer:{facts.id}:{run.redrives}",
        "answer",
        form,
        "",
        encode(AnswerBody(token=answers, form=form)),
        at,
    )


def wake_at(run: Run, at: float) -> float | None:
    """When something is to happen to it by itself."""
    if run.ended is not None:
        return None
    times = [frame.wake_at for frame in run.frames if frame.wake_at is not None and not frame.done]
    if run.unfinished:
        times.append(at + UNFINISHED_S)
    return min(times, default=None)


def break_off(run: Run, error: Exception, at: float) -> None:
    """End an execution that our own machine cannot move: its frames stay as they were, so that it can be redriven."""
    cause = f"The state machine could not go on: {type(error).__name__}. The log of the worker says more."
    details: dict[str, Any] = {"error": failing.RUNTIME, "cause": cause}
    event = HistoryEvent(
        id=run.next_event, previous_id=run.next_event - 1, at=at, type="ExecutionFailed", details=details
    )
    run.history.append(event)
    run.next_event += 1
    run.ended = Ended(status="FAILED", error=failing.RUNTIME, cause=cause)
