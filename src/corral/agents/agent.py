"""`Agent`: instructions, a model, tools and limits, made once; each run is a loop of its own."""

from __future__ import annotations

import copy
import functools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import msgspec

from corral.agents.ahead import Ahead
from corral.agents.asking import Asking
from corral.agents.board import Board
from corral.agents.calling import Calling
from corral.agents.connected import House, Window, connected
from corral.agents.event import AgentEvent, ApprovalAsked, Failed, Finished
from corral.agents.event import Asked as Question
from corral.agents.guards import Guards
from corral.agents.history import History, open_session
from corral.agents.journal import Asked, InMemory, Keeper, Opening, RunState, fold
from corral.agents.limits import Bounds, Limits
from corral.agents.loop import Loop
from corral.agents.output import Output
from corral.agents.prompt import read_prompt
from corral.agents.result import RunResult, result_of
from corral.agents.speculation import Speculation
from corral.agents.steps import Steps
from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.context import Context, find_context
from corral.errors import AgentFailed, ConfigError
from corral.messages import Caller, CallModel, CallTool, Message, ModelCall, as_parts, closing
from corral.models import connected as models
from corral.models.llm import caller_of
from corral.tools.tool import Tool
from corral.tools.toolbox import Toolbox

_FILLED = frozenset({"model", "messages", "tools", "output", "stream", "caller", "deadline", "notes"})
_NO_LIMITS = Limits()


class Agent:
    """A model with instructions and tools, that works until it has an answer or may not go on.

        support = Agent("support", prompt="prompts/support.md", tools=[ticket_status], model="auto")
        result = await support.run("Where is ticket 7?")        # in a thread: support.run_sync(…)
        async for event in support.stream("And ticket 8?", session=context.session_id): …

    Made once, used anywhere, by many at a time: nothing of a run stays in it. What belongs to a request (tenant, user,
    deadline, job) is taken from the request that runs. In a durable job, a run goes on where an earlier attempt ended.
    """

    def __init__(  # noqa: PLR0913 - each is a word of what people say about an agent
        self,
        name: str,
        prompt: str | Path = "",
        *,
        tools: Iterable[Tool | Callable[..., Any]] | Toolbox = (),
        model: str | CallModel = "",
        memory: Window | Literal["none"] | None = None,
        guards: Sequence[Any] = (),
        limits: Limits = _NO_LIMITS,
        output: Any = None,
        description: str = "",
        variables: Mapping[str, Any] | None = None,
        speculation: Speculation | None = None,
        **asked_with: Any,
    ) -> None:
        """Everything that can be wrong with it is said here: a prompt that is not there, a variable it does not have, a tool twice.

        `prompt` is a text with `{variables}`, or a file beside yours. `model` is `provider/model`, a name, `auto` or `auto:CLASS`;
        empty: the service's default. `memory` fits conversations into what the model reads: none, the service's; `"none"`: they go as they are.
        `output` is a type that the answer must have. `variables` are values, or functions that make them for each run.
        `speculation` calls tools ahead. `asked_with` are further fields of `ModelCall` (`temperature=0.2`).
        """
        if not name:
            raise ConfigError('An agent has a name: Agent("support", …).')
        self.name = name
        self.description = description
        self.prompt = read_prompt(prompt, variables)
        self.tools = tools if isinstance(tools, Toolbox) else Toolbox(tools)
        self.limits = limits
        self.memory = memory
        self._model = model
        self._output = Output(output)
        self._guards = Guards(guards)
        self._template = _template(name, "" if callable(model) else model, asked_with)
        self._speculation = speculation
        self._clock: Clock = SYSTEM_CLOCK

    def __repr__(self) -> str:
        return f"Agent({self.name!r})"

    def with_tools(self, *tools: Tool | Callable[..., Any]) -> Agent:
        """The same agent with more tools: a team gives its members one to hand on with."""
        other = copy.copy(self)
        other.tools = self.tools.plus(*tools)
        return other

    @property
    def answers_in_text(self) -> bool:
        """Whether its answers are text, and not values of a type."""
        return self._output.is_text

    @property
    def open_variables(self) -> tuple[str, ...]:
        """The variables of its instructions that each run must give."""
        return self.prompt.open

    # -- working -------------------------------------------------------------------------------------------------------

    async def run(self, prompt: Question, *, session: str | None = None, **variables: Any) -> RunResult:
        """Work, and return the result. Raises what it failed for (`StepsExceeded`, `OutputMisfit`, a model's error, …)."""
        return await self._finish(None, functools.partial(self._asked, prompt, session, variables))

    def stream(self, prompt: Question, *, session: str | None = None, **variables: Any) -> AsyncIterator[AgentEvent]:
        """Work, event by event; the last one is `Finished` or `Failed`. Close it to stop the model and the tools."""
        return self._work(None, functools.partial(self._asked, prompt, session, variables), stream=True)

    def run_sync(self, prompt: Question, *, session: str | None = None, **variables: Any) -> RunResult:
        """`await agent.run(…)` for a thread."""
        return models.connected().from_thread(self.run(prompt, session=session, **variables))

    def carry_on(self, keeper: Keeper, *, stream: bool = True) -> AsyncIterator[AgentEvent]:
        """Go on with a run where its entries end: after a pause, or because whoever worked on it died."""
        return self._work(keeper, None, stream=stream)

    async def resume(self, keeper: Keeper) -> RunResult:
        """The same, for who wants the result."""
        return await self._finish(keeper, None)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _asked(self, prompt: Question, session: str | None, variables: Mapping[str, Any]) -> Asked:
        """What a new run begins with."""
        messages = _messages(prompt)
        instructions = self.prompt.filled(variables)
        if instructions:
            messages.insert(0, Message(role="system", content=as_parts(instructions)))
        return Asked(agent=self.name, messages=messages, session=session or "")

    async def _finish(self, keeper: Keeper | None, ask: Callable[[], Asked] | None) -> RunResult:
        approvals: list[ApprovalAsked] = []
        loops: list[Loop] = []
        async with closing(self._work(keeper, ask, stream=False, loops=loops)) as events:
            async for event in events:
                if type(event) is ApprovalAsked:
                    approvals.append(event)
                elif type(event) is Finished:
                    said = [message for message in loops[0].state.messages if message.role != "system"]
                    return result_of(event, approvals, said)
                elif type(event) is Failed:
                    raise loops[0].failure or AgentFailed(event.message)
        raise AgentFailed(f"The run of {self.name!r} ended without saying how.")

    async def _work(
        self,
        keeper: Keeper | None,
        ask: Callable[[], Asked] | None,
        *,
        stream: bool,
        loops: list[Loop] | None = None,
    ) -> AsyncIterator[AgentEvent]:
        """One go at a run: a new one, or that of `keeper`. What is asked is forgotten where the run has begun already."""
        house, context, clock = connected(), find_context(), self._clock
        asked = None if ask is None else ask()
        if keeper is None:
            keeper = await _opened(house, self.name, context, "" if asked is None else asked.session)
        state = fold(keeper.entries)
        if state.asked is not None:
            asked = None
        elif asked is None:
            raise ConfigError(f"The run {keeper.run_id} has no entries to go on from.")
        session = (asked or state.asked).session  # type: ignore[union-attr]  # one of the two is there
        steps = Steps(context, clock=clock)
        counting = house.counting
        loop: Loop | None = None
        if counting is not None:
            counting.began(self.name)
        try:
            async with AsyncExitStack() as stack:
                stack.push_async_callback(keeper.close)
                history = History(await open_session(stack, house, context, session))
                await history.load(house.settings.history_max, upto=None if asked else state.asked.session_at)  # type: ignore[union-attr]  # as above
                loop = self._loop(keeper, state, history, house, context, steps, stack, stream=stream)
                if loops is not None:  # who asks for it wants the result
                    loops.append(loop)
                    loop.followed = False
                if asked is not None:
                    asked = msgspec.structs.replace(asked, session_at=history.at, at=clock.now())
                async with closing(loop.events(asked)) as events:
                    async for event in events:
                        yield event
        finally:
            if loop is not None:
                loop.close()
            outcome = (loop.outcome if loop is not None else "") or "cancelled"
            took = steps.end(self.name, outcome, _facts(state, keeper.run_id))
            if counting is not None:
                counting.ended(self.name, outcome, state, took)

    def _loop(
        self,
        keeper: Keeper,
        state: RunState,
        history: History,
        house: House,
        context: Context | None,
        steps: Steps,
        stack: AsyncExitStack,
        *,
        stream: bool,
    ) -> Loop:
        clock = self._clock
        bounds = Bounds(self.limits, house.settings, now=clock.monotonic())
        caller = self._caller(context, keeper.run_id, history.session_id)
        ask, template = self._asks(caller, context, bounds.deadline, stream=stream)
        call: CallTool = self.tools.call
        ahead: Ahead | None = None
        if self._speculation is not None:
            ahead = self._speculation.run(
                self.tools, ask=ask, call=call, caller=caller, tainted=history.tainted, counting=house.speculating
            )
            stack.push_async_callback(ahead.close)
            ask, call = ahead.ask, ahead.call
        board = Board()
        stack.callback(board.end)
        asking = Asking(
            self.name,
            ask,
            template,
            window=house.window if self.memory is None else None if self.memory == "none" else self.memory,
            silent=bool(self._guards.of_output),
            steps=steps,
            clock=clock,
            deadline=bounds.deadline,
            keeps_time=not callable(self._model),
        )
        return Loop(
            self.name,
            keeper=keeper,
            state=state,
            asking=asking,
            calling=Calling(self.name, call, caller, executor=house.executor, tainted=history.tainted),
            bounds=bounds,
            output=self._output,
            guards=self._guards,
            history=history,
            record_tools=house.settings.record_tools,
            caller=caller,
            steps=steps,
            board=board,
            clock=clock,
            wasted=None if ahead is None else ahead.wasted,
        )

    def _caller(self, context: Context | None, run_id: str, session_id: str) -> Caller:
        said = self._template.caller
        if context is None:
            return msgspec.structs.replace(said, agent=self.name, session_id=session_id, run_id=run_id)
        return msgspec.structs.replace(
            caller_of(context, said), agent=self.name, session_id=session_id or context.session_id or ""
        )

    def _asks(
        self, caller: Caller, context: Context | None, deadline: float, *, stream: bool
    ) -> tuple[CallModel, ModelCall]:
        """Whom to ask, and with what. In a job the run's own journal keeps the answers, not the job's."""
        if context is not None and context.deadline is not None:
            deadline = min(deadline, context.deadline)
        model, ask = self._template.model, self._model
        if not callable(ask):
            here = models.connected()
            ask, model = here.stream, model or here.default
        template = msgspec.structs.replace(
            self._template,
            model=model,
            tools=self.tools.specs(),
            output=self._output.format,
            stream=stream,
            caller=caller,
            deadline=deadline,
        )
        return ask, template


def _template(name: str, model: str, asked_with: Mapping[str, Any]) -> ModelCall:
    fields = frozenset(ModelCall.__struct_fields__) - _FILLED
    unknown = [field for field in asked_with if field not in fields]
    if unknown:
        raise TypeError(
            f"Agent({name!r}) has no {unknown[0]!r}. Besides its own, it takes what a model is asked with: {', '.join(sorted(fields))}."
        )
    return ModelCall(model=model, messages=[], **asked_with)


def _messages(prompt: Question) -> list[Message]:
    if isinstance(prompt, str):
        return [Message(role="user", content=as_parts(prompt))]
    return [prompt] if isinstance(prompt, Message) else list(prompt)


async def _opened(house: House, agent: str, context: Context | None, session: str) -> Keeper:
    if house.keeping is None:
        return InMemory(new_id(), lasts=False)
    return await house.keeping.open(Opening(agent=agent, context=context, session=session))


def _facts(state: RunState, run_id: str) -> dict[str, Any]:
    usage = state.usage
    return {
        "corral.agent.run": run_id,
        "corral.agent.steps": state.step,
        "corral.agent.tool_calls": state.tool_calls,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "corral.cost.usd": state.cost,
    }
