"""One look at one session: which strategies have enough to learn from, and learning it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from corral.backends.stores import Stores
from corral.clock import Clock, new_time_id
from corral.context import Context
from corral.errors import CorralError
from corral.jobs.job import JobDraft
from corral.memory.learning.applying import Change, Shelf
from corral.memory.learning.budget import BudgetUsedUp, DayBudget
from corral.memory.learning.counting import LearningCounting
from corral.memory.learning.prompting import Learnt, PromptKind, Turn, instructions, question
from corral.memory.resource_store import ResourceDraft
from corral.memory.resources import MemoryResource, Strategy, Triggers, filled
from corral.memory.store import Item, Namespace
from corral.messages import Caller, CallPolicy, Message, ModelCall, Role, as_parts
from corral.models.llm import LLM
from corral.models.structured import Shape
from corral.server.agentcore.event_words import OWN
from corral.sessions.event import EventQuery, SessionEvent, SessionKey
from corral.settings.learning_sections import LearningSettings

CURSOR_KIND = "memory-cursor"
_PAGE = 200
_PAGES_MAX = 10
"""What was said longer ago than that, and not learnt from, is not learnt from any more."""
_SOON_S = 0.1
_CHARS_PER_TOKEN = 4
_REFLECT_ON = 8
_DAY_S = 86_400.0
_SHAPE = Shape(Learnt)


class LearntMisfit(CorralError):
    """The model's answer is no list of things learnt."""

    status = 502
    code = "learnt_misfit"
    retryable = True


class Planned(msgspec.Struct, frozen=True):
    """One strategy, and the turns it learns from."""

    strategy: str
    after: int
    upto: int


class Waiting(msgspec.Struct, frozen=True):
    """Something is left, and not ready."""

    seconds: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Means:
    """What every look needs."""

    settings: LearningSettings
    stores: Stores
    budget: DayBudget
    counting: LearningCounting
    clock: Clock


class Pass:
    """Reads the session as far as it must, and knows how far each strategy is."""

    def __init__(
        self, means: Means, context: Context, memory: MemoryResource, strategies: Sequence[Strategy], key: SessionKey
    ) -> None:
        """The context is the job's, whose journal keeps what was planned and answered. `strategies` are those that learn."""
        self._settings = means.settings
        self._stores = means.stores
        self._budget = means.budget
        self._counting = means.counting
        self._clock = means.clock
        self._context = context
        self._memory = memory
        self._strategies = strategies
        self._key = key
        _, self._actor, self._session_id = key.session_id.split(".", 2)
        self._over_budget = False

    # -- what there is to do -----------------------------------------------------------------------------------------

    async def plan(self) -> list[dict[str, Any]]:
        """The strategies that have enough to learn from, each with its turns."""
        planned = []
        for strategy, after, fresh in await self._fresh():
            if self._wait_s(strategy, fresh) <= 0:
                planned.append(Planned(strategy.id, after, fresh[: self._settings.turns_max][-1].seq))
        return [msgspec.to_builtins(one) for one in planned]

    async def waiting(self) -> Waiting | None:
        """What is left after all that was planned: turns that came meanwhile, or that rest too shortly."""
        waits = [self._wait_s(strategy, fresh) for strategy, _, fresh in await self._fresh()]
        if not waits:
            return None
        if self._over_budget:
            return Waiting(self._budget.renewed_in_s(), "Today's budget is used up.")
        return Waiting(max(min(waits), _SOON_S), "The conversation goes on.")

    async def _fresh(self) -> list[tuple[Strategy, int, list[Turn]]]:
        """The strategies that have something to learn from: how far each is, and the turns after that."""
        cursors = await self._cursors()
        turns = await self._turns(min((cursors.get(one.id, 0) for one in self._strategies), default=0))
        found = []
        for strategy in self._strategies:
            after = cursors.get(strategy.id, 0)
            fresh = [turn for turn in turns if turn.seq > after and turn.at >= strategy.created_at]
            if fresh:
                found.append((strategy, after, fresh))
        return found

    def _wait_s(self, strategy: Strategy, fresh: Sequence[Turn]) -> float:
        """How long these turns must rest yet; 0 or less: they are ready."""
        triggers = strategy.triggers
        rested = self._clock.now() - fresh[-1].at
        if triggers is None:
            return 0.0 if len(fresh) >= self._settings.turns else self._settings.idle_s - rested
        tokens = sum(len(turn.text) for turn in fresh) // _CHARS_PER_TOKEN
        ready = len(fresh) >= triggers.messages or tokens >= triggers.tokens
        return 0.0 if ready else triggers.idle_s - rested

    async def _turns(self, after: int) -> list[Turn]:
        """What was said after a place, oldest first, without what nothing shall be learnt from."""
        found: list[Turn] = []
        cursor: str | None = None
        for _ in range(_PAGES_MAX):
            page = await self._stores.sessions.events(self._key, EventQuery(limit=_PAGE, cursor=cursor))
            for event in page.items:
                if event.seq <= after:
                    return found[::-1]
                found += _turns_of(event)[::-1]
            cursor = page.next_cursor
            if cursor is None:
                break
        return found[::-1]

    # -- how far each strategy is ------------------------------------------------------------------------------------

    async def _cursors(self) -> Mapping[str, int]:
        kept = await self._stores.resources.get(self._key.tenant, CURSOR_KIND, self._key.session_id)
        return {} if kept is None else kept.body

    async def _move_on(self, planned: Planned) -> None:
        """One job at a time has a session, so nobody else writes this."""
        cursors = {**await self._cursors(), planned.strategy: planned.upto}
        await self._stores.resources.save(
            self._key.tenant,
            ResourceDraft(
                kind=CURSOR_KIND,
                id=self._key.session_id,
                parent=self._memory.id,
                body=cursors,
                ttl_s=self._memory.event_expiry_days * _DAY_S,
            ),
        )

    # -- doing it ----------------------------------------------------------------------------------------------------

    async def learn(self, given: dict[str, Any]) -> int:
        """Learn from what was planned. Returns how many records are different now."""
        planned = msgspec.convert(given, Planned)
        strategy = self._memory.strategy(planned.strategy)
        if strategy is None or self._over_budget:
            return 0
        all_turns = await self._turns(max(0, planned.after - _history(strategy.triggers)))
        turns = [turn for turn in all_turns if planned.after < turn.seq <= planned.upto]
        different = 0
        if turns:
            try:
                if strategy.triggers is not None:
                    await self._hand_over(strategy, strategy.triggers, turns, all_turns)
                else:
                    different = await self._strategy(strategy, planned, turns)
            except BudgetUsedUp:
                self._over_budget = True
                self._counting.over_budget()
                return 0
        await self._move_on(planned)
        return different

    async def _strategy(self, strategy: Strategy, planned: Planned, turns: Sequence[Turn]) -> int:
        kind: PromptKind = strategy.kind  # type: ignore[assignment]  # those that are self-managed have triggers
        shelf = self._shelf(strategy, strategy.namespace, turns)
        known = await shelf.related(turns) if kind != "summary" else await self._summary(shelf)
        different = await self._ask(kind, strategy, shelf, known, turns, f"{strategy.id} {planned.upto}")
        if different and strategy.reflections and strategy.reflections != strategy.namespace:
            different += await self._reflect(strategy, shelf, planned)
        return different

    async def _summary(self, shelf: Shelf) -> list[Item]:
        return (await shelf.related([]))[:1]

    async def _reflect(self, strategy: Strategy, episodes: Shelf, planned: Planned) -> int:
        """What several episodes have in common."""
        latest = (await episodes.related([]))[:_REFLECT_ON]
        turns = [Turn(item.events[0] if item.events else item.id, 0, "episode", item.text, item.at) for item in latest]
        shelf = self._shelf(strategy, strategy.reflections, turns)
        known = await shelf.related(turns)
        return await self._ask("reflection", strategy, shelf, known, turns, f"{strategy.id} {planned.upto} looked back")

    def _shelf(self, strategy: Strategy, template: str, turns: Sequence[Turn]) -> Shelf:
        values = {"actorId": self._actor, "sessionId": self._session_id, "memoryStrategyId": strategy.id}
        variables = next((turn.variables for turn in reversed(turns) if turn.variables), {})
        name = filled(template, {**variables, **values})
        # Records about somebody are theirs: they go when that user is forgotten.
        namespace = Namespace(name=name, scope="user", owner=self._actor, space=self._memory.id)
        return Shelf(self._stores.memory, self._key.tenant, self._memory, strategy, namespace)

    async def _ask(
        self,
        kind: PromptKind,
        strategy: Strategy,
        shelf: Shelf,
        known: Sequence[Item],
        turns: Sequence[Turn],
        step: str,
    ) -> int:
        """Ask once, whatever dies in between, and do what the answer says."""

        async def ask() -> Any:
            learnt = await self._answer(kind, strategy, known, turns)
            return msgspec.to_builtins(shelf.changes(kind, learnt, known, turns))

        answered = await self._context.step(f"ask {step}", ask)
        changes = msgspec.convert(answered, list[Change])
        different = await shelf.apply(kind, changes, at=turns[-1].at if turns else self._clock.now())
        self._counting.changed(kind, different)
        return different

    async def _answer(
        self, kind: PromptKind, strategy: Strategy, known: Sequence[Item], turns: Sequence[Turn]
    ) -> Learnt:
        tenant = self._key.tenant
        if not await self._budget.reserve(tenant):
            raise BudgetUsedUp
        call = ModelCall(
            model=strategy.prompting.model or self._settings.model,
            messages=[_said("system", instructions(kind, strategy)), _said("user", question(known, turns))],
            output=_SHAPE.format,
            temperature=0.0,
            policy=CallPolicy(cache="bypass"),
            caller=Caller(priority=1, tags={"memory": self._memory.id}),
        )
        reply = await LLM(durable=False).complete(call)
        await self._budget.used(tenant, reply.usage.total)
        try:
            learnt = _SHAPE.read(reply)
        except ValueError as error:
            self._counting.asked(kind, "misfit")
            raise LearntMisfit(f"The model's answer to {kind} is no list of items: {error}") from error
        self._counting.asked(kind, "learnt")
        return learnt

    async def _hand_over(
        self, strategy: Strategy, triggers: Triggers, turns: Sequence[Turn], all_turns: Sequence[Turn]
    ) -> None:
        """A self-managed strategy: an agent of the app gets what is new, and what came before it."""
        before = (
            [turn for turn in all_turns if turn.seq < turns[0].seq][-triggers.history :] if triggers.history else []
        )
        payload = {
            "memoryId": self._memory.id,
            "strategyId": strategy.id,
            "actorId": self._actor,
            "sessionId": self._session_id,
            "windowSize": triggers.history,
            "startingTimestamp": turns[0].at,
            "endingTimestamp": turns[-1].at,
            "currentContext": [_told(turn) for turn in turns],
            "historicalContext": [_told(turn) for turn in before],
        }
        draft = JobDraft(
            id=new_time_id(self._clock.now()),
            tenant=self._key.tenant,
            agent=triggers.agent,
            input=msgspec.json.encode(payload),
            user_id=self._actor,
            tags=(self._memory.id,),
            idempotency_key=f"learn {strategy.id} {self._key.session_id} {turns[-1].seq}",
        )
        await self._stores.jobs.enqueue([draft])


def _history(triggers: Triggers | None) -> int:
    return 0 if triggers is None else triggers.history


def _told(turn: Turn) -> dict[str, Any]:
    return {"role": turn.role.upper(), "content": {"text": turn.text}, "eventId": turn.event}


def _turns_of(event: SessionEvent) -> list[Turn]:
    """The words of an event, by whoever said them; none where nothing is to be learnt."""
    own = event.metadata.get(OWN, {})
    if own.get("skip"):
        return []
    variables = own.get("variables", {})
    return [
        Turn(event.id, event.seq, part.get("role", event.role), part["text"], event.created_at, variables)
        for part in event.content
        if part.get("type") == "text" and part.get("text")
    ]


def _said(role: Role, text: str) -> Message:
    return Message(role=role, content=as_parts(text))
