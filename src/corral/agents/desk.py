"""Where runs are asked about and changed: what the edge knows of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec

from corral.agents.event import AgentEvent, Failed
from corral.agents.journal import Answered, AnyEntry, ApprovalWanted, Asked, Decided, Ended, HandedOff, Told, ToolDone
from corral.agents.keeping import StoredRuns
from corral.agents.kept import KeptRun, entries_of, signal_name
from corral.agents.store import (
    Approval,
    ApprovalNotFound,
    ApprovalQuery,
    Decision,
    Entry,
    RunDraft,
    RunInfo,
    RunNotFound,
    RunQuery,
)
from corral.clock import SYSTEM_CLOCK, Clock, new_id, new_time_id
from corral.context import Context
from corral.errors import JobNotFound, ValidationFailed
from corral.messages import Audit, AuditEntry, Message, Page, closing

Signal = Callable[[str, str, str, bytes], Awaitable[bool]]
"""Tell a job what it waits for: tenant, job, name, value."""


class RunDesk:
    """All that people may ask of runs, each for one tenant."""

    def __init__(
        self, keeping: StoredRuns, signal: Signal, *, audit: Audit | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`signal` wakes the jobs of runs that were answered; `audit` hears who answered."""
        self.keeping = keeping
        self._store = keeping.store
        self._signal = signal
        self._audit = audit
        self._clock = clock

    # -- asking

    async def get(self, tenant: str, run_id: str) -> RunInfo:
        """One run, with what came of it. Raises `RunNotFound`."""
        run = await self._store.get(tenant, run_id)
        if run is None:
            raise RunNotFound(f"There is no run {run_id[:100]!r}.")
        return run

    async def find(self, tenant: str, query: RunQuery) -> Page[RunInfo]:
        """List, newest first."""
        return await self._store.find(tenant, query)

    async def entries(self, tenant: str, run_id: str, *, after: int, limit: int) -> list[Entry]:
        """A part of a run's journal. Raises `RunNotFound`."""
        found = await self._store.entries(tenant, run_id, after=after, limit=limit)
        if not found:
            await self.get(tenant, run_id)
        return found

    async def approvals(self, tenant: str, query: ApprovalQuery) -> Page[Approval]:
        """What people are asked, newest first."""
        return await self._store.approvals(tenant, query)

    async def approval(self, tenant: str, approval_id: str) -> Approval:
        """One question. Raises `ApprovalNotFound`."""
        page = await self._store.approvals(tenant, ApprovalQuery(id=approval_id))
        if not page.items:
            raise ApprovalNotFound(f"Nobody was asked for the approval {approval_id[:100]!r}.")
        return page.items[0]

    # -- changing

    async def decide(self, tenant: str, approval_id: str, decision: Decision) -> Approval:
        """Answer. A run in a job goes on by itself then; another one when it is resumed.

        The same answer again is answering once, and wakes the job again. Raises `ApprovalNotFound`, `ApprovalClosed`.
        """
        approval = await self._store.decide(tenant, approval_id, decision)
        if self._audit is not None:
            self._audit(self._audited(tenant, approval))
        await self._wake(tenant, approval.job_id, approval.run_id)
        return approval

    async def cancel(self, tenant: str, run_id: str) -> RunInfo:
        """Cancel. What runs stops where it is, in whichever process; what waits or was left never goes on."""
        run = await self._store.cancel(tenant, run_id)
        if run.cancel_requested:
            self.keeping.hear_cancelled(tenant, run_id)
            await self._wake(tenant, run.job_id, run.id)  # it waits for people, or is about to
        return run

    async def fork(
        self,
        tenant: str,
        run_id: str,
        *,
        step: int | None = None,
        messages: Sequence[Message] = (),
        session: str | None = None,
    ) -> RunInfo:
        """A new run that begins with the first `step` steps of another one (none: all), and is not worked on yet.

        `messages` come after them; before the first step they stand in place of what was asked. With another `session`, what
        it says goes there. Raises `RunNotFound`, `ValidationFailed`.
        """
        run = await self.get(tenant, run_id)
        entries = unasked(upto(await entries_of(self._store, tenant, run_id), step))
        asked = entries[0] if entries else None
        if not isinstance(asked, Asked):
            raise ValidationFailed("This run has not begun yet: there is nothing to go on from.")
        changed = {} if session is None else {"session": session, "session_at": ""}
        asked = msgspec.structs.replace(asked, parent=run_id, **changed)
        if messages and len(entries) == 1:
            instructions = [message for message in asked.messages if message.role == "system"]
            asked = msgspec.structs.replace(asked, messages=[*instructions, *messages])
        entries[0] = asked
        if messages and len(entries) > 1:
            steps = sum(isinstance(entry, Answered) for entry in entries)
            entries.append(Told(step=steps, messages=list(messages), why="steer", at=self._clock.now()))
        draft = RunDraft(
            tenant=tenant,
            id=new_time_id(self._clock.now()),
            agent=run.agent,
            session_id=run.session_id if session is None else session,
            user_id=run.user_id,
            parent_id=run.id,
        )
        keeper = self.keeping.begin(draft, context=None, entries=entries)
        await keeper.store()
        await keeper.close()
        return await self.get(tenant, draft.id)

    async def _wake(self, tenant: str, job_id: str, run_id: str) -> None:
        if not job_id:
            return
        try:
            await self._signal(tenant, job_id, signal_name(run_id), b"null")
        except JobNotFound:
            return  # it was removed: nobody waits any more

    def _audited(self, tenant: str, approval: Approval) -> AuditEntry:
        return AuditEntry(
            id=new_id(),
            at=self._clock.now(),
            tenant=tenant,
            action="tool.approval",
            subject=approval.tool,
            decision=approval.state,
            rule=approval.rule,
            reason=approval.note,
            actor=approval.by,
            agent=approval.agent,
            session_id=approval.session_id,
            run_id=approval.run_id,
            details={"approval": approval.id},
        )

    # -- working

    async def begin(self, agent: str, context: Context, *, session: str, asked: str) -> KeptRun:
        """A run through the API, stored from its first entry on.

        With the idempotency key of an earlier request it is that run: it goes on where it was interrupted, or is told again.
        `asked` is all that makes it the same request.
        """
        draft = self.keeping.draft(agent, context, session=session)
        if context.idempotency_key is None:
            return self.keeping.begin(draft, context=context)
        fingerprint = hashlib.blake2b(asked.encode(), digest_size=18).hexdigest()
        keyed = msgspec.structs.replace(draft, idempotency_key=context.idempotency_key, fingerprint=fingerprint)
        return await self.keeping.begin_or_go_on(keyed, context)

    async def prepared(self, keeper: KeptRun, events: AsyncIterator[AgentEvent]) -> AsyncIterator[AgentEvent]:
        """The events of a run that begins with the first of them, kept by `keeper`."""
        self.keeping.prepare(keeper)
        async with closing(events) as going:
            async for event in going:
                yield event

    async def take(self, context: Context, run_id: str) -> KeptRun:
        """A run to go on with. Raises `RunNotFound`, `RunBusy`, `RunOver`."""
        return await self.keeping.take(context.tenant, run_id, context=context)


async def stoppable(agent: str, keeper: KeptRun, events: AsyncIterator[AgentEvent]) -> AsyncIterator[AgentEvent]:
    """A run's events; when somebody wants it cancelled it stops at once, in the middle of a model's answer or of a tool."""
    inside: asyncio.Task[Any] | None = None

    def stop() -> None:
        if inside is not None:
            inside.cancel()

    keeper.on_cancel = stop
    keeper.hold()
    try:
        async with closing(events) as going:
            while True:
                inside = asyncio.current_task()
                try:
                    event = await anext(going, None)
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if not keeper.cancelled or task is None or task.uncancel():
                        raise
                    break
                finally:
                    inside = None
                if event is None:
                    return
                yield event
        yield Failed(agent=agent, run_id=keeper.run_id, code="cancelled", message="The run was cancelled.")
    finally:
        keeper.on_cancel = None


def upto(entries: Sequence[AnyEntry], step: int | None) -> list[AnyEntry]:
    """The entries of the first steps, each with the results of its tools; none: all that is not an end."""
    taken: list[AnyEntry] = []
    steps = 0
    for entry in entries:
        if isinstance(entry, Answered):
            steps += 1
            if step is not None and steps > step:
                return taken
        if not isinstance(entry, Ended | HandedOff):
            taken.append(entry)
    if step is not None and step > steps:
        raise ValidationFailed(
            f"This run has {steps} steps; it cannot be forked after step {step}.",
            errors=[{"pointer": "/step", "message": f"A number from 0 to {steps}."}],
        )
    return taken


def unasked(entries: Sequence[AnyEntry]) -> list[AnyEntry]:
    """The entries without what people were asked about calls that are not made yet: a yes was for that run alone."""
    done = {(entry.step, entry.reply.id) for entry in entries if isinstance(entry, ToolDone)}
    pending = {
        entry.approval
        for entry in entries
        if isinstance(entry, ApprovalWanted) and (entry.step, entry.call) not in done
    }
    return [
        entry for entry in entries if not (isinstance(entry, ApprovalWanted | Decided) and entry.approval in pending)
    ]
