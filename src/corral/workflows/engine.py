"""Executions from start to end: begin, tell, look, stop, redrive. What all APIs, workers and commands call."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id, new_time_id
from corral.context import EVERYTHING, Scope
from corral.jobs.store import BlobStore
from corral.messages import Page
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.answering import answer_of
from corral.workflows.carrying import Carrier
from corral.workflows.counting import Counting
from corral.workflows.doing import CallTask, Definitions, Doers, MapRuns, Nobody, Tell, TellEscalated
from corral.workflows.execution import (
    Escalated,
    ExecutionInfo,
    HistoryPage,
    Progress,
    Question,
    StartRequest,
    SyncResult,
    Work,
)
from corral.workflows.expressing import ExpressRuns
from corral.workflows.fetching import Activities, opened
from corral.workflows.following import Following, follow
from corral.workflows.handing import Handing
from corral.workflows.keeping import Keeping, decode, facts_row, fingerprint_of, kept_facts
from corral.workflows.language.definition import Machine
from corral.workflows.language.document import document_of
from corral.workflows.language.reading import machine_of
from corral.workflows.machine import tokens
from corral.workflows.machine.happening import Message, Redriven, Stopped
from corral.workflows.machine.run import HistoryEvent
from corral.workflows.machines import Machines
from corral.workflows.moving import Moved, Mover
from corral.workflows.questioning import Questions
from corral.workflows.room import Room
from corral.workflows.store import (
    ESCALATION,
    STOPPING,
    ExecutionExists,
    ExecutionNotFound,
    ExecutionQuery,
    ExecutionRow,
    Executions,
    NotRedrivable,
    QuestionNotFound,
    TaskGone,
    TaskQuery,
    TaskRow,
    TaskState,
    TaskTokenInvalid,
    execution_key,
)

PAGE_MAX = 1000
"""Events of one page of a history."""
_LISTENED_MAX = 50
"""Tasks of one execution whose progress is followed at once."""


class Engine:
    """All executions of one service. Belongs to one event loop; `carrier` is its part in the background."""

    def __init__(  # noqa: PLR0913 - where things are, who does them, and what tests turn; all by name
        self,
        store: Executions,
        blobs: BlobStore,
        *,
        definitions: Definitions,
        doers: Doers | None = None,
        map_runs: MapRuns | None = None,
        call_task: CallTask | None = None,
        escalated: TellEscalated | None = None,
        settings: WorkflowSettings | None = None,
        counting: Counting | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
        new_secret: Callable[[], str] = lambda: secrets.token_urlsafe(16),
        tell: Tell | None = None,
    ) -> None:
        """`doers`, `map_runs` and `call_task` do what executions want done; none: this process only looks, or others do it.

        `escalated` tells people of questions that are put to them after a while.
        """
        nobody = Nobody()
        self.settings = settings or WorkflowSettings()
        self.counting = counting or Counting()
        self.following = Following(store)
        self._store = store
        self._clock = clock
        self._keeping = Keeping(blobs)
        self._doers: Doers = doers or nobody
        self._map_runs: MapRuns = map_runs or nobody
        self._machines = Machines(definitions, _stored)
        self._handing = Handing(store, keeping=self._keeping, doers=self._doers, map_runs=self._map_runs)
        self._handing.answer = self._tell_news
        self._escalated = escalated
        self._mover = Mover(
            store,
            keeping=self._keeping,
            machines=self._machines,
            handing=self._handing,
            tell=tell or _machine(),
            moved=self._moved,
            refused=self.counting.refused,
            events_max=self.settings.events_max,
            clock=clock,
            chance=chance,
            new_secret=new_secret,
        )
        self.carrier = Carrier(
            store,
            mover=self._mover,
            handing=self._handing,
            keeping=self._keeping,
            counting=self.counting,
            settings=self.settings,
            clock=clock,
            chance=chance,
        )
        self.express = ExpressRuns(
            self._machines,
            call_task,
            settings=self.settings,
            counting=self.counting,
            over=lambda info: self.following.moved([execution_key(info.tenant, info.id)]),
            clock=clock,
        )
        self._room = Room(store, most=self.settings.open_max, clock=clock)
        self._activities = Activities(store, keeping=self._keeping, mover=self._mover, following=self.following)
        self._questions = Questions(store, keeping=self._keeping, mover=self._mover)

    # -- beginning ----------------------------------------------------------------------------------------------------

    async def start(self, request: StartRequest) -> ExecutionInfo:
        """Begin an execution; when this returns, it is written down as far as it goes by itself, and its first tasks with it.

        The same name and the same input while it runs is the same execution (`is_new` is False). Raises `ExecutionExists`, and
        `TooManyExecutions`. An express execution goes on in this process, and nothing of it is written.
        """
        now = self._clock.now()
        if request.kind == "EXPRESS":
            return self.express.begin(request, now)
        name = request.name or new_id()
        arn = request.arn or f"{request.machine_arn.replace(':stateMachine:', ':execution:', 1)}:{name}"
        row = ExecutionRow(
            tenant=request.tenant,
            id=new_time_id(now),
            arn=arn,
            name=name,
            machine_arn=request.machine_arn,
            version_arn=request.version_arn,
            alias_arn=request.alias_arn,
            map_run_arn=request.map_run_arn,
            facts=facts_row(request),
            started_at=now,
            updated_at=now,
        )
        await self._room.enter(request.tenant)
        found = await self._mover.begin(row, request.input)
        is_new = found.id == row.id
        if not is_new and (
            found.status != "RUNNING"
            or found.machine_arn != request.machine_arn
            or kept_facts(found).fingerprint != fingerprint_of(request.input)
        ):
            raise ExecutionExists(f"Execution Already Exists: '{arn}'")
        return await self._keeping.info(found, is_new=is_new)

    async def start_sync(self, request: StartRequest) -> SyncResult:
        """An express execution from start to end, here and now."""
        return await self.express.run(request, self._clock.now())

    async def fork(
        self, tenant: str, execution_id: str, *, name: str = "", scope: Scope = EVERYTHING, **changed: Any
    ) -> ExecutionInfo:
        """Begin another execution of the same definition, with the same input unless `input=` is given.

        It is on the same behalf, but for its `scope`: what it may use is what who forks it may.
        """
        found = await self._row(tenant, execution_id)
        kept = kept_facts(found)
        given = changed["input"] if "input" in changed else await self._keeping.value(tenant, found.input)
        return await self.start(
            StartRequest(
                tenant=tenant,
                machine_arn=found.machine_arn,
                machine_name=kept.machine_name,
                digest=kept.digest,
                name=name,
                input=given,
                version_arn=found.version_arn,
                alias_arn=found.alias_arn,
                role_arn=kept.role_arn,
                behalf=msgspec.structs.replace(kept.behalf, scope=scope),
            )
        )

    # -- what happens -------------------------------------------------------------------------------------------------

    async def tell(self, tenant: str, execution_id: str, message: Message) -> bool:
        """Tell an execution what happened; written down when this returns. False: it changed nothing.

        Raises `ExecutionNotFound`.
        """
        return await self._mover.tell(tenant, execution_id, message)

    def note(self, tenant: str, execution_id: str, message: Message) -> None:
        """Tell it with the next message, or a moment later, without waiting: that a task was started, that it lives."""
        self._mover.note(tenant, execution_id, message)

    async def answer(self, tenant: str, token: str, message: Message) -> None:
        """Tell the execution that waits for this task. Raises `TaskTokenInvalid` and `TaskGone`."""
        execution_id = tokens.execution_of(token)
        if execution_id is None:
            raise TaskTokenInvalid
        try:
            accepted = await self._mover.tell(tenant, execution_id, message)
        except ExecutionNotFound:
            raise TaskGone from None
        if not accepted:
            raise TaskGone

    async def stop(
        self, tenant: str, execution_id: str, *, error: str | None = None, cause: str | None = None
    ) -> ExecutionInfo:
        """End an execution now; one that is over stays as it is. Raises `ExecutionNotFound`."""
        row = await self._row(tenant, execution_id)
        await self._mover.tell(tenant, row.id, Stopped(error, cause))
        return await self.describe(tenant, row.id)

    async def redrive(self, tenant: str, execution_id: str) -> ExecutionInfo:
        """Have an execution that failed go on from the states that failed. Raises `ExecutionNotFound`, `NotRedrivable`."""
        row = await self._row(tenant, execution_id)
        if not await self._mover.tell(tenant, row.id, Redriven()):
            raise NotRedrivable
        return await self.describe(tenant, row.id)

    # -- looking ------------------------------------------------------------------------------------------------------

    async def describe(self, tenant: str, execution_id: str) -> ExecutionInfo:
        """One execution, by its id or its ARN. Raises `ExecutionNotFound`."""
        express = self.express.get(tenant, execution_id)
        return express or await self._keeping.info(await self._row(tenant, execution_id))

    async def find(self, tenant: str, query: ExecutionQuery) -> Page[ExecutionInfo]:
        """List, newest first, without inputs and outputs."""
        page = await self._store.find(tenant, query)
        return Page([await self._keeping.info(row) for row in page.items], page.next_cursor)

    async def history(
        self, tenant: str, execution_id: str, *, after: int | None = None, limit: int = 100, reverse: bool = False
    ) -> HistoryPage:
        """Events in order, those after the number `after`; or in reverse, those before it. Raises `ExecutionNotFound`."""
        info = self.express.get(tenant, execution_id)
        if info is not None:
            return self.express.history(info, after=after, limit=limit, reverse=reverse)
        row = await self._row(tenant, execution_id)
        last = row.next_event - 1
        limit = max(1, min(limit, PAGE_MAX))
        if reverse:
            upper = last if after is None else min(last, after - 1)
            lower = max(1, upper - limit + 1)
        else:
            lower = (after or 0) + 1
            upper = min(last, lower + limit - 1)
        events: list[HistoryEvent] = []
        if lower <= upper:
            for kept in await self._store.events(tenant, row.id, first=lower, last=upper):
                events += [event for event in await self._keeping.events(tenant, kept) if lower <= event.id <= upper]
        if reverse:
            return HistoryPage(events=events[::-1], next=lower if lower > 1 else None)
        return HistoryPage(events=events, next=upper if upper < last else None)

    def follow(self, tenant: str, execution_id: str, *, after: int = 0) -> AsyncIterator[HistoryEvent | Progress]:
        """The history as it is written, after the event `after`, and what tasks tell meanwhile; ends with the execution.

        Raises `ExecutionNotFound`.
        """
        return follow(self, self._doers, tenant, execution_id, after)

    async def ended(self, tenant: str, execution_id: str) -> ExecutionInfo:
        """Wait for an execution's end. Raises `ExecutionNotFound`."""
        return await self.following.ended(lambda: self.describe(tenant, execution_id))

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def work(self, tenant: str, token: str) -> Work | None:
        """What a task asks for; none: nobody waits for it any more."""
        found = await self._store.work(tenant, token)
        if found is None:
            return None
        self._mover.seen(found[1])
        return await self._keeping.work(*found)

    async def open_jobs(self, tenant: str, execution_id: str) -> list[Work]:
        """The jobs an execution waits for, the newest ones where they are many."""
        page = await self._store.tasks(tenant, TaskQuery(kind="job", execution_id=execution_id, limit=_LISTENED_MAX))
        if not page.items:
            return []
        execution = await self._row(tenant, execution_id)
        return [await self._keeping.work(row, execution) for row in page.items]

    async def take_activity(self, tenant: str, arn: str, *, worker: str = "", wait_s: float = 60.0) -> Work | None:
        """The oldest task of an activity, waiting for one at most so long. Nobody else gets it."""
        return await self._activities.take(tenant, arn, worker=worker, wait_s=wait_s)

    async def approvals(
        self,
        tenant: str,
        *,
        states: tuple[TaskState, ...] = (),
        execution_id: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Question]:
        """What people are asked, newest first. `states` are `new` (open) and `closed`."""
        return await self._questions.find(tenant, states=states, execution_id=execution_id, limit=limit, cursor=cursor)

    async def approval(self, tenant: str, token: str) -> Question:
        """One of them. Raises `QuestionNotFound`."""
        return await self._questions.get(tenant, token)

    async def decide(self, tenant: str, token: str, message: Message) -> Question:
        """Answer once and for all, with the message that ends the task. Raises `QuestionNotFound`, `QuestionClosed`."""
        return await self._questions.decide(tenant, token, message)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _row(self, tenant: str, execution_id: str) -> ExecutionRow:
        by_arn = execution_id.startswith("arn:")
        found = await (self._store.by_arn if by_arn else self._store.get)(tenant, execution_id)
        if found is None:
            raise ExecutionNotFound(f"Execution Does Not Exist: '{execution_id}'")
        return found

    def _moved(self, moved: Moved) -> None:
        self.counting.moved(moved)
        if moved.is_new and moved.move.opened:
            self.counting.first_task(max(0.0, self._clock.now() - moved.move.at))
        self.carrier.planned(moved.move.wake_at)
        self.following.moved([execution_key(*moved.key), *opened(moved.move)])

    async def _tell_news(self, row: TaskRow) -> None:
        """Tell what is news to somebody outside; told again after a crash."""
        tell = {ESCALATION: self._tell_escalated, STOPPING: self._stop_child}.get(row.resource, self._answer_parent)
        await tell(row)
        await self._store.drop([row.token])

    async def _tell_escalated(self, row: TaskRow) -> None:
        """Tell of a question that is put to somebody else; one that was answered meanwhile is no news."""
        news = self._keeping.escalation(row)
        try:
            question = await self._questions.get(row.tenant, news.question)
        except QuestionNotFound:
            return
        if question.is_open and self._escalated is not None:
            await self._escalated(
                Escalated(
                    tenant=row.tenant,
                    id=row.token,
                    question=question,
                    assignee=news.assignee,
                    step=news.step,
                    at=row.created_at,
                )
            )

    async def _stop_child(self, row: TaskRow) -> None:
        """Stop an execution that a task had begun and waited for."""
        with suppress(ExecutionNotFound):  # it was over long ago, or runs in another process and writes nothing
            await self.stop(row.tenant, decode(row.body))

    async def _answer_parent(self, row: TaskRow) -> None:
        """Tell whoever began this execution that it is over."""
        found = await self._store.get(row.tenant, row.execution_id)
        if found is not None:
            info = await self._keeping.info(found)
            kept = kept_facts(found)
            if kept.answer_form == "map":
                await self._map_runs.child_ended(info)
            else:
                try:
                    await self.answer(row.tenant, kept.answers, answer_of(info, kept))
                except (TaskGone, TaskTokenInvalid):
                    self.counting.unheard()


def _stored(text: str) -> Machine:
    """A definition that was checked when it was stored: what later versions object to runs on."""
    return machine_of(document_of(text))


def _machine() -> Tell:
    from corral.workflows.machine.moves import tell  # noqa: PLC0415 - with all that expressions need

    return tell
