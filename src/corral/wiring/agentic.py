"""The agents of a service: joins their loop to models, tools, memory, sessions and jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from corral.agents.connected import House, use
from corral.agents.counting import AgentCounting
from corral.agents.keeping import StoredRuns
from corral.agents.speculating import SpeculationCounting
from corral.backends.stores import Stores
from corral.context import Context
from corral.memory.report import Fitted
from corral.memory.summarising import KeptInStore, Summariser
from corral.memory.window import ContextWindow
from corral.messages import Caller, Message, ModelCall, ToolSpec
from corral.models.tokens import Tokens
from corral.observability.metrics import Metrics
from corral.sessions.event import SessionKey
from corral.sessions.home import Home
from corral.sessions.session import Session
from corral.sessions.turn import Turn
from corral.sessions.turns import Turns
from corral.settings.sections import Settings
from corral.tools.parallel import ParallelToolExecutor
from corral.wiring.modelling import Modelling

_NOBODY = Context("")


class Agentic:
    """What a service does for its agents. Each step of its life may come twice."""

    def __init__(
        self, settings: Settings, stores: Stores, turns: Turns, metrics: Metrics, modelling: Modelling
    ) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._stores = stores
        self._turns = turns
        self._counting = AgentCounting(metrics)
        self._speculating = SpeculationCounting(metrics)
        self.runs = StoredRuns(stores.agent_runs, settings.agents)
        self._summariser = self._new_summariser(modelling)
        self._window = ContextWindow(
            settings.agents.context_tokens,
            recent=settings.agents.context_recent,
            summariser=self._summariser,
            count=_counter(modelling.tokens) if settings.models.exact_tokens else None,
        )
        self._house: House | None = None
        self._home: Home

    def _new_summariser(self, modelling: Modelling) -> Summariser | None:
        model = self._settings.agents.summary_model
        if not model:
            return None
        return Summariser(modelling.call, model=model, summaries=KeptInStore(self._stores.summaries))

    async def start(self) -> None:
        """Agents of this process live here from now on."""
        if self._house is not None:
            return
        self._home = Home()
        await self.runs.start()
        self._house = House(
            settings=self._settings.agents,
            keeping=self.runs,
            open_session=self._open_session,
            window=AtHome(self._window, self._home),
            executor=ParallelToolExecutor(self._settings.tools.at_once, None),
            counting=self._counting,
            speculating=self._speculating,
        )
        use(self._house)

    async def stop(self) -> None:
        """They live nowhere any more."""
        house, self._house = self._house, None
        if house is None:
            return
        if self._summariser is not None:
            await self._summariser.stop()
        await self.runs.stop()
        before = use(None)
        if before is not house:  # another service of this process has taken over
            use(before)

    @asynccontextmanager
    async def _open_session(self, context: Context | None, session_id: str) -> AsyncIterator[Session]:
        """A session that is not the request's: its turn is taken for as long as the agent works. From whatever loop."""
        asking = context or _NOBODY
        turn, session = await self._home.run(self._taken(asking, session_id))
        try:
            yield session
        finally:
            await self._home.run(turn.leave())

    async def _taken(self, context: Context, session_id: str) -> tuple[Turn, Session]:
        key = SessionKey(context.tenant, session_id)
        sessions = self._settings.sessions
        turn = await self._turns.take(key, policy=sessions.on_conflict, deadline=context.deadline)
        return turn, Session(self._stores.sessions, key, turn=turn, actor=context.user_id or "", ttl_s=sessions.ttl_s)


class AtHome:
    """The window, from whatever loop an agent runs on."""

    def __init__(self, window: ContextWindow, home: Home) -> None:
        """`home` is the loop that the window and its summaries live on."""
        self._window = window
        self._home = home

    def fit(
        self,
        messages: Sequence[Message],
        *,
        model: str = "",
        caller: Caller | None = None,
        tools: Sequence[ToolSpec] = (),
        reserve: int = 0,
        before: Fitted | None = None,
    ) -> Coroutine[Any, Any, Fitted]:
        """See `ContextWindow.fit`."""
        return self._home.run(
            self._window.fit(messages, model=model, caller=caller, tools=tools, reserve=reserve, before=before)
        )


def _counter(tokens: Tokens) -> Callable[[Message, str], int]:
    return lambda message, model: tokens.input_tokens(ModelCall(model=model, messages=[message]))
