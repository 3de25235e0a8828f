"""Follow-up context: while an agent answers, what its user will probably ask next is looked up already."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from corral.agents.connected import connected
from corral.agents.event import AgentEvent, Asked, Works
from corral.agents.payback import Outcome, Payback
from corral.agents.roles.role import Role, as_works
from corral.agents.roles.words import Nearest
from corral.agents.saying import messages_of, question_of, said
from corral.agents.working import Working, open_variables, variables_of
from corral.clock import SYSTEM_CLOCK, Clock
from corral.context import find_context
from corral.messages import closing

_log = logging.getLogger("corral.agents")

Foresee: TypeAlias = Callable[[str], Sequence[str] | Awaitable[Sequence[str]]]
"""Of a question, those that will probably come next."""
Fetch: TypeAlias = Callable[[str], Awaitable[str]]
"""What helps to answer a question: read only, since it may be called in vain."""


class _Prepared(msgspec.Struct, frozen=True, kw_only=True):
    question: str
    context: str
    until: float
    took_s: float


class FollowUp(Working):
    """Works as the role it is made of, and prepares what comes next, for each user and session apart.

        support = FollowUp(support, foresee=lambda text: ["How do I return it?"], fetch=search_handbook)

    A question that is like one that was foreseen gets what was found for it along with it, marked as found.
    Nothing is kept outside of a session. What is hardly ever of use is not prepared for a while.
    """

    def __init__(  # noqa: PLR0913 - what an operator may want to turn
        self,
        role: Role,
        *,
        foresee: Foresee,
        fetch: Fetch,
        alike_from: float = 0.6,
        each_max: int = 3,
        ttl_s: float = 300.0,
        timeout_s: float = 10.0,
        sessions_max: int = 1_000,
        payback: Payback | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`alike_from`: how like (0 to 1) a question must be; `each_max`: questions that are prepared for; `ttl_s`: for how long."""
        self._works = as_works(role)
        self.name = self._works.name
        self.description = self._works.description
        self._foresee = foresee
        self._fetch = fetch
        self._alike_from = alike_from
        self._each_max = each_max
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._sessions_max = sessions_max
        self._clock = clock
        self.payback = payback or Payback(clock=clock, hits_min=0.1, usd_per_s_max=0.01)
        self._prepared: OrderedDict[str, list[_Prepared]] = OrderedDict()
        self._preparing: dict[str, asyncio.Task[None]] = {}

    @property
    def members(self) -> dict[str, Works]:
        """Who works in it."""
        return {self._works.name: self._works}

    @property
    def open_variables(self) -> tuple[str, ...]:
        """The variables that the role leaves open."""
        return open_variables([self._works])

    async def stream(self, prompt: Asked, *, session: str | None = None, **variables: Any) -> AsyncIterator[AgentEvent]:
        """As the role does, with what was prepared for this question."""
        question, key = question_of(prompt), _key(session)
        asked = prompt
        if key and (context := self._found(key, question)):
            told = f"What may help to answer, looked up before (not the user's words):\n<found>\n{context}\n</found>"
            *before, last = messages_of(prompt)
            asked = [*before, said(told), last]
        if key and self.payback.on:
            self._begin(key, question)
        async with closing(
            self._works.stream(asked, session=session, **variables_of(self._works, variables))
        ) as events:
            async for event in events:
                yield event

    def _found(self, key: str, question: str) -> str:
        """What was prepared for a question like this. Whatever was prepared is over with it: another one comes next."""
        running = self._preparing.pop(key, None)
        if running is not None:
            running.cancel()
        now = self._clock.monotonic()
        prepared = [one for one in self._prepared.pop(key, []) if one.until > now]
        scores = Nearest({str(number): [one.question] for number, one in enumerate(prepared)}).scores(question)
        best = max(scores, key=lambda name: scores[name], default="")
        hit = prepared[int(best)] if best and scores[best] >= self._alike_from else None
        for one in prepared:
            self._say(Outcome(hit=one is hit, saved_s=one.took_s if one is hit else 0.0))
        return hit.context if hit is not None else ""

    def _begin(self, key: str, question: str) -> None:
        if len(self._preparing) >= self._sessions_max:
            return
        task = self._preparing[key] = asyncio.get_running_loop().create_task(self._prepare(key, question))
        task.add_done_callback(lambda done: self._landed(key, done))

    async def _prepare(self, key: str, question: str) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                foreseen = self._foresee(question)
                questions = list(await foreseen if inspect.isawaitable(foreseen) else foreseen)[: self._each_max]
                found = await asyncio.gather(*(self._one(one) for one in questions))
        except Exception as error:  # noqa: BLE001 - users' own functions may raise anything, and nobody waits for this
            _log.info("Nothing was prepared for what comes after a question: %s", type(error).__name__)
            return
        self._prepared[key] = [one for one in found if one.context]
        self._prepared.move_to_end(key)
        if len(self._prepared) > self._sessions_max:
            self._prepared.popitem(last=False)

    async def _one(self, question: str) -> _Prepared:
        begun = self._clock.monotonic()
        context = await self._fetch(question)
        now = self._clock.monotonic()
        return _Prepared(question=question, context=context, until=now + self._ttl_s, took_s=now - begun)

    def _landed(self, key: str, task: asyncio.Task[None]) -> None:
        if self._preparing.get(key) is task:
            del self._preparing[key]

    def _say(self, outcome: Outcome) -> None:
        self.payback.add(outcome)
        counting = connected().speculating
        if counting is not None:
            counting.over(self.name, "context", outcome)

    async def drain(self) -> None:
        """Wait for what is being prepared. May be called twice."""
        if self._preparing:
            await asyncio.wait(set(self._preparing.values()))

    async def stop(self) -> None:
        """Stop what is being prepared. May be called twice."""
        for task in list(self._preparing.values()):
            task.cancel()
        await self.drain()


def _key(session: str | None) -> str:
    """Whose next question it will be."""
    context = find_context()
    if context is None:
        return session or ""
    here = session or context.session_id
    return f"{context.tenant}\0{context.user_id or ''}\0{here}" if here else ""
