"""Runs that survive: which of them are stored, who goes on with them, and the heartbeat that says they are worked on."""

from __future__ import annotations

import asyncio
import contextvars
import logging

import msgspec

from corral.agents.journal import AnyEntry, Keeper, Opening
from corral.agents.kept import Held, KeptRun, Stands, When, entries_of
from corral.agents.places import current_place
from corral.agents.store import AgentRuns, RunBusy, RunDraft, RunInfo, RunNotFound, RunOver
from corral.clock import SYSTEM_CLOCK, Clock, new_id, new_time_id
from corral.context import Context
from corral.errors import CorralError
from corral.settings.agent_sections import AgentSettings

_log = logging.getLogger("corral.agents")

_BEATS = 3
"""Heartbeats in a lease."""

_prepared: contextvars.ContextVar[list[KeptRun] | None] = contextvars.ContextVar("corral_prepared_run", default=None)


class StoredRuns:
    """The keeping of a service.

    A run in a job is stored, and its next attempt goes on with it. So is one that was begun through the API. Any other is
    stored once it waits for people, unless the settings say `keep: always`; what is not stored ends with its process.
    """

    def __init__(self, store: AgentRuns, settings: AgentSettings, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Nothing is read before the first run."""
        self.store = store
        self._settings = settings
        self._clock = clock
        self._runs: dict[str, KeptRun] = {}
        self._beating: asyncio.Task[None] | None = None
        self._home: asyncio.AbstractEventLoop | None = None
        self._any = asyncio.Event()
        self._held = Held(
            store=store,
            clock=clock,
            lease_s=settings.lease_s,
            approval_ttl_s=settings.approval_ttl_s,
            holds=self._holds,
            gave_back=self._gave_back,
        )

    # -- for agents

    async def open(self, opening: Opening) -> Keeper:
        """The keeper of a run: the one that was prepared, that of the same place in an earlier attempt, or a new one."""
        keeper = await self._opened(opening)
        keeper.hold()
        return keeper

    async def _opened(self, opening: Opening) -> KeptRun:
        prepared = _prepared.get()
        if prepared:
            return prepared.pop()
        context = opening.context
        if opening.run_id:
            return await self.take(_tenant(context), opening.run_id, context=context)
        if context is not None and context.job_id is not None:
            return await self._of_job(opening.agent, context, opening.session)
        when: When = "always" if self._settings.keep == "always" else "asked"
        draft = self.draft(opening.agent, context, session=opening.session)
        return KeptRun(self._held, draft, new_id(), context=context, stands="new", when=when)

    async def _of_job(self, agent: str, context: Context, session: str) -> KeptRun:
        """In a job, the same place is the same run: of this agent, the so-manieth time it is asked in the attempt."""
        counts = context.agent_runs
        where = f"{place}.{agent}" if (place := current_place()) else agent
        counts[where] = count = counts.get(where, 0) + 1
        run_id = f"{context.job_id}.{context.job_mark}.{where}.{count}"
        draft = self.draft(agent, context, session=session, run_id=run_id)
        return await self.begin_or_go_on(draft, context)

    async def begin_or_go_on(self, draft: RunDraft, context: Context) -> KeptRun:
        """The run that has this id or this key: a new one, or that one where its entries end. Raises `RunBusy`."""
        token = new_id()
        begun = await self.store.begin(draft, token=token, lease_s=self._settings.lease_s)
        if begun.is_new:
            return KeptRun(self._held, draft, token, context=context, stands="held")
        known = msgspec.structs.replace(draft_of(begun.run), attempt=draft.attempt)
        return await self._go_on(known, token, context)

    async def take(self, tenant: str, run_id: str, *, context: Context | None) -> KeptRun:
        """Take a run up where its entries end. Raises `RunNotFound`, `RunBusy`, `RunOver`."""
        token = new_id()
        run = await self.store.claim(tenant, run_id, token=token, lease_s=self._settings.lease_s)
        return await self._taken(run, token, context)

    def begin(self, draft: RunDraft, *, context: Context | None, entries: list[AnyEntry] | None = None) -> KeptRun:
        """A run that is stored from its first entry on."""
        return KeptRun(self._held, draft, new_id(), context=context, entries=entries or (), stands="new")

    def draft(self, agent: str, context: Context | None, *, session: str = "", run_id: str = "") -> RunDraft:
        """A run of this agent, for this request."""
        run_id = run_id or new_time_id(self._clock.now())
        if context is None:
            return RunDraft(tenant="default", id=run_id, agent=agent, session_id=session)
        return RunDraft(
            tenant=context.tenant,
            id=run_id,
            agent=agent,
            session_id=session or context.session_id or "",
            user_id=context.user_id or "",
            job_id=context.job_id or "",
            attempt=context.attempt if context.job_id else 0,
        )

    def prepare(self, keeper: KeptRun) -> None:
        """Have the next run that begins in this task kept by `keeper`."""
        _prepared.set([keeper])

    async def _go_on(self, draft: RunDraft, token: str, context: Context) -> KeptRun:
        try:
            run = await self.store.claim(
                draft.tenant, draft.id, token=token, lease_s=self._settings.lease_s, attempt=draft.attempt
            )
        except RunOver:
            known = await self.store.get(draft.tenant, draft.id)
            entries = await entries_of(self.store, draft.tenant, draft.id)
            stands: Stands = "cancelled" if known is not None and known.state == "cancelled" else "over"
            return KeptRun(self._held, draft, token, context=context, entries=entries, stands=stands)
        except RunNotFound as error:
            raise RunBusy from error  # it was removed in this very moment
        return await self._taken(run, token, context)

    async def _taken(self, run: RunInfo, token: str, context: Context | None) -> KeptRun:
        entries = await entries_of(self.store, run.tenant, run.id)
        return KeptRun(
            self._held,
            draft_of(run),
            token,
            context=context,
            entries=entries,
            stands="held",
            cancelled=run.cancel_requested,
        )

    # -- life

    async def start(self) -> None:
        """Say from now on which runs are worked on here. Starting twice is starting once."""
        if self._beating is None:
            self._home = asyncio.get_running_loop()
            self._any = asyncio.Event()
            self._beating = asyncio.create_task(self._beat())

    async def drain(self) -> None:
        """What runs goes on, and needs its heartbeat."""

    async def stop(self) -> None:
        """End; what is still held is interrupted when its lease runs out. Stopping twice is stopping once."""
        beating, self._beating = self._beating, None
        self._home = None
        if beating is not None:
            beating.cancel()
            await asyncio.wait([beating])

    def hear_cancelled(self, tenant: str, run_id: str) -> None:
        """Somebody wants this run cancelled: if it is worked on here, it hears of it now, and not with the next heartbeat."""
        for run in list(self._runs.values()):
            if run.run_id == run_id and run.claim.tenant == tenant:
                run.want_cancelled()

    def _holds(self, run: KeptRun) -> None:
        self._runs[run.claim.token] = run
        if self._home is not None and not self._any.is_set():
            self._home.call_soon_threadsafe(self._any.set)

    def _gave_back(self, run: KeptRun) -> None:
        self._runs.pop(run.claim.token, None)

    async def _beat(self) -> None:
        pause = self._settings.lease_s / _BEATS
        while True:
            if not self._runs:
                self._any.clear()
                await self._any.wait()
            await asyncio.sleep(min(pause, self._settings.cancel_s))
            held = dict(self._runs)
            try:
                renewed = await self.store.renew([run.claim for run in held.values()], lease_s=self._settings.lease_s)
            except CorralError as error:  # the leases last for two more tries
                _log.warning("Runs could not be renewed: %s", error.message)
                continue
            for token in renewed.lost:
                held[token].lose()
            for token in renewed.cancelled:
                held[token].want_cancelled()


def draft_of(run: RunInfo) -> RunDraft:
    """What a run began as."""
    return RunDraft(
        tenant=run.tenant,
        id=run.id,
        agent=run.agent,
        session_id=run.session_id,
        user_id=run.user_id,
        job_id=run.job_id,
        parent_id=run.parent_id,
        attempt=run.attempt,
    )


def _tenant(context: Context | None) -> str:
    return "default" if context is None else context.tenant
