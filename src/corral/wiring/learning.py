"""Learning from conversations: joins memories to sessions, jobs and models. Nothing is asked while somebody writes.

A new event makes sure that a job is on its way; the job waits until the conversation rests or enough was said, asks a model
once for each strategy, and writes records. Where it is with each session is kept, so what was learnt is not learnt again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from corral.backends.stores import Stores
from corral.clock import SYSTEM_CLOCK, Clock, new_time_id
from corral.context import Context, enter_context, leave_context
from corral.errors import CorralError
from corral.jobs.job import JobDraft
from corral.jobs.running import Outcome, RunningJob
from corral.memory.learning.budget import DayBudget
from corral.memory.learning.counting import LearningCounting
from corral.memory.resources import MEMORY_KIND, MemoryResource, Strategy, memory_of
from corral.memory.searching import Searcher
from corral.observability.metrics import Metrics
from corral.runtime.registry import Agents
from corral.server.agentcore.event_words import OWN
from corral.server.agentcore.routes import AgentCoreRoutes
from corral.server.agentcore.search import RecordSearch
from corral.server.routes import Route
from corral.sessions.event import SessionEvent, SessionKey
from corral.settings.sections import Settings
from corral.wiring.learning_pass import Means, Pass, Waiting

_log = logging.getLogger("corral.memory")

LEARNER = "corral.memory.learn"
"""The agent of its jobs, and of its calls in the ledger."""
_KNOWN_MAX = 10_000
_SURE = 0.8
"""Within this share of the wait after a job was enqueued, another one need not be asked for."""


class LearnJob(msgspec.Struct, frozen=True):
    """What a job is about."""

    memory: str
    session: str
    """As the sessions room names it: `MEMORY.ACTOR.SESSION`."""
    event: str
    """The event it was made for."""


async def _no_vectors(_tenant: str, _space: str) -> None:
    """There is no embedder."""


class Learning:
    """Makes jobs of new events, and does them."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        metrics: Metrics,
        *,
        embed: Callable[[str, str], Awaitable[object]] = _no_vectors,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Without a provider, and without `memory.learning.model`, nothing is learnt. `embed` places a tenant's new records."""
        learning, models = settings.memory.learning, settings.models
        self._settings = learning
        self._agentcore = settings.agentcore
        self._attempts_max = settings.jobs.attempts_max
        self._stores = stores
        self._embed = embed
        self._clock = clock
        self._counting = LearningCounting(metrics)
        self.on = learning.enabled and bool(learning.model or models.providers or models.names)
        self.budget = DayBudget(
            stores.resources, calls=learning.calls_per_day, tokens=learning.tokens_per_day, clock=clock
        )
        self._means = Means(settings=learning, stores=stores, budget=self.budget, counting=self._counting, clock=clock)
        self._asked: OrderedDict[SessionKey, float] = OrderedDict()
        """Until when a job is surely on its way."""

    def routes(self, agents: Agents, searcher: Searcher) -> list[Route]:
        """The memory API and the control plane that boto3 knows."""
        search = RecordSearch(searcher)
        return AgentCoreRoutes(self._stores, agents, self._agentcore, search, self.notice, LEARNER).routes()

    # -- while somebody writes ---------------------------------------------------------------------------------------

    async def notice(self, key: SessionKey, memory: MemoryResource, event: SessionEvent) -> None:
        """Have a job look at this event, later. Costs nothing while one is on its way, and never fails the write."""
        if not self._learning(memory) or event.metadata.get(OWN, {}).get("skip") or not event.text:
            return
        now = self._clock.monotonic()
        if self._asked.get(key, 0.0) > now:
            return
        wait_s = self._settings.idle_s
        draft = self._draft(key, LearnJob(memory.id, key.session_id, event.id), wait_s)
        draft = msgspec.structs.replace(draft, idempotency_key=f"learn {key.session_id}", dedupe_s=wait_s)
        try:
            (enqueued,) = await self._stores.jobs.enqueue([draft])
        except CorralError as error:
            self._counting.unnoticed()
            _log.warning("What was said in %s is learnt with what is said next there: %s", key.session_id, error)
            return
        if not enqueued.is_new:  # how soon the one that is on its way begins is not known here
            return
        self._asked[key] = now + wait_s * _SURE
        self._asked.move_to_end(key)
        while len(self._asked) > _KNOWN_MAX:
            self._asked.popitem(last=False)

    def _draft(self, key: SessionKey, job: LearnJob, delay_s: float) -> JobDraft:
        return JobDraft(
            id=new_time_id(self._clock.now()),
            tenant=key.tenant,
            agent=LEARNER,
            input=msgspec.json.encode(job),
            queue=self._settings.queue,
            delay_s=delay_s,
            concurrency_key=f"learn {key.session_id}",
            max_attempts=self._attempts_max,
            tags=(job.memory,),
        )

    def _learning(self, memory: MemoryResource) -> list[Strategy]:
        return [one for one in memory.strategies if self.on or one.kind == "self_managed"]

    # -- the job -----------------------------------------------------------------------------------------------------

    async def run(self, job: RunningJob) -> Outcome:
        """Learn what is ready to be learnt of one session; come back later for the rest."""
        claimed = job.claimed
        context = Context(claimed.id, LEARNER)
        context.tenant = claimed.tenant
        job.attach_to(context)
        token = enter_context(context)
        try:
            done = await self._learn(context, msgspec.json.decode(claimed.input, type=LearnJob))
        finally:
            leave_context(token)
        return Outcome(msgspec.json.encode(done))

    async def _learn(self, context: Context, job: LearnJob) -> dict[str, Any]:
        resource = await self._stores.resources.get(context.tenant, MEMORY_KIND, job.memory)
        if resource is None:
            return {"learnt": 0, "why": "The memory is gone."}
        key = SessionKey(context.tenant, job.session)
        memory = memory_of(resource)
        work = Pass(self._means, context, memory, self._learning(memory), key)
        planned: list[Any] = await context.step("plan", work.plan)
        learnt = 0
        for one in planned:
            learnt += await work.learn(one)
        if learnt:
            await self._embed(key.tenant, memory.id)
        waiting = await work.waiting()
        if waiting is not None:
            await self._come_back(context, key, job, waiting)
        return {"learnt": learnt, "strategies": len(planned), "waiting": "" if waiting is None else waiting.why}

    async def _come_back(self, context: Context, key: SessionKey, job: LearnJob, waiting: Waiting) -> None:
        """Another job for what is not ready; one is enough, however often this is reached."""
        draft = self._draft(key, job, waiting.seconds)
        draft = msgspec.structs.replace(draft, idempotency_key=f"learn after {context.job_id}")
        await self._stores.jobs.enqueue([draft])
