"""Trying one state: how data goes through it and where it leads, without any execution.

The state is run by the same machine as everywhere; what it would have done outside is mocked or, for a Task without a mock, done.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import ValidationFailed
from corral.workflows.arns import Arns
from corral.workflows.failing import TOLERANCE, StateFailed
from corral.workflows.language import templates
from corral.workflows.language.checking import faults, state_faults
from corral.workflows.language.definition import Language, Machine, Map, Parallel, Pass, State, Task
from corral.workflows.language.document import document_of
from corral.workflows.language.fault import DefinitionInvalid, errors_of
from corral.workflows.language.reading import state_of
from corral.workflows.machine import distributed, flow, moves, recording, working
from corral.workflows.machine.context import item_context
from corral.workflows.machine.happening import Message, TaskFailed, TaskSucceeded
from corral.workflows.machine.order import StartTask
from corral.workflows.machine.run import NOBODY, Behalf, Facts, Frame, Frames, Run
from corral.workflows.machine.turn import ENTER, RETRY, Turn
from corral.workflows.testing_request import (
    Level,
    StateUntriable,
    TryInputInvalid,
    TryRequest,
    check_mock,
    context_of,
    json_of,
)
from corral.workflows.testing_shapes import check_shape

Status = Literal["SUCCEEDED", "FAILED", "RETRIABLE", "CAUGHT_ERROR"]
CallTask = Callable[[StartTask, Facts], Awaitable[Message]]

NAME = "StateName"
"""What a state that is tried is called, by itself."""

_BY_PATHS: dict[type, frozenset[str]] = {
    Pass: frozenset({"afterInputPath", "afterParameters", "afterResultSelector", "afterResultPath"}),
    Task: frozenset({"afterInputPath", "afterParameters", "result", "afterResultSelector", "afterResultPath"}),
    Map: frozenset(
        {"afterInputPath", "afterItemsPath", "afterItemSelector", "afterItemBatcher", "afterResultSelector"}
        | {"afterResultPath", "maxConcurrency", "toleratedFailureCount", "toleratedFailurePercentage"}
    ),
    Parallel: frozenset({"afterResultSelector", "afterResultPath"}),
}
_BY_EXPRESSIONS: dict[type, frozenset[str]] = {
    Task: frozenset({"afterArguments", "result"}),
    Map: frozenset(
        {
            "afterItemSelector",
            "afterItemBatcher",
            "maxConcurrency",
            "toleratedFailureCount",
            "toleratedFailurePercentage",
        }
    ),
}
_SELECTING_S = 10.0
"""How long the items of a Map may be selected."""
_NUMBERS = ("maxConcurrency", "toleratedFailureCount", "toleratedFailurePercentage")


class Tried(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What came of it. The members are those of TestState's answer; data is JSON text."""

    status: Status | None = None
    output: str | None = None
    error: str | None = None
    cause: str | None = None
    next_state: str | None = None
    inspection_data: dict[str, Any] | None = None


async def try_state(
    request: TryRequest,
    *,
    call_task: CallTask | None = None,
    arns: Arns,
    tenant: str = "",
    behalf: Behalf = NOBODY,
    clock: Clock = SYSTEM_CLOCK,
    chance: Callable[[], float] = lambda: 1.0,
) -> Tried:
    """Try a state. `call_task` does what a Task without a mock asks for, on `behalf` of who tries it; none: nobody does.

    Raises `DefinitionInvalid`, `StateUntriable`, `TryInputInvalid` or `ValidationFailed`.
    """
    state, language, in_map = await asyncio.to_thread(_state_of, request)
    check_mock(request, state)
    if request.mock is not None and request.mock.result is not None and isinstance(state, Task):
        await check_shape(state.resource, request.mock)
    context = None if request.context is None else context_of(request.context, state)
    if context is not None and request.mock is None:
        raise ValidationFailed("A Context object may only be specified when a mock is specified.")
    trial = _Trial(request, state, language, arns, (tenant, behalf), clock, chance)
    trial.run.context = context
    if in_map:
        trial.be_an_item()
    await trial.go(call_task)
    return trial.told()


def _state_of(request: TryRequest) -> tuple[State, Language, bool]:
    """The state, from a definition of its own or from within a machine's, and whether a Map is around it."""
    document = document_of(request.definition)
    mocked, in_map = request.mock is not None, False
    language: Language = "JSONata" if document.get("QueryLanguage") == "JSONata" else "JSONPath"
    if "Type" in document or request.state_name is None:
        found = state_faults(document, language=language, mocked=mocked)
    else:
        found = faults(document, mocked=mocked)
    if errors_of(found):
        raise DefinitionInvalid(found)
    if "Type" not in document:
        inside = next(_named(document, request.state_name or "", in_map=False), None)
        if inside is None:
            raise ValidationFailed("State not found in definition")
        document, in_map = inside
    return state_of(document, language), language, in_map


def _named(body: dict[str, Any], name: str, *, in_map: bool) -> Iterator[tuple[dict[str, Any], bool]]:
    """States of this name, in the body itself and in those within its states."""
    states: dict[str, dict[str, Any]] = body.get("States") or {}
    if name in states:
        yield states[name], in_map
    for state in states.values():
        for branch in state.get("Branches", []):
            yield from _named(branch, name, in_map=in_map)
        for key in ("ItemProcessor", "Iterator"):
            if key in state:
                yield from _named(state[key], name, in_map=True)


class _Trial:
    """One state while it is tried."""

    def __init__(
        self,
        request: TryRequest,
        state: State,
        language: Language,
        arns: Arns,
        who: tuple[str, Behalf],
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        given = json_of(request.input, TryInputInvalid, "Invalid State Machine Execution Input")
        variables = (
            {} if request.variables is None else json_of(request.variables, ValidationFailed, "Invalid variables")
        )
        if not isinstance(variables, dict):
            raise ValidationFailed("Invalid variables: they are an object")
        self._request = request
        self._state = state
        machine = Machine(start_at=NAME, states={NAME: state}, query_language=language)
        self._facts = _facts(request, given, arns, who, clock.now())
        self._root = Frame(
            id="", state=NAME, input=given, variables=variables, place={"phase": ENTER, "event": 0, "at": clock.now()}
        )
        self.run = Run(self._facts, Frames([self._root]), new_secret=lambda: secrets.token_urlsafe(16), chance=chance)
        self.run.trace = {}
        self._turn = Turn(self.run, machine, clock.now())
        moves.step(self._turn, self._root)
        self._language = self._turn.language(self._root, state)
        if "attempt" in self._root.place:
            self._root.place["attempt"] = request.state_configuration.retrier_retry_count
            self._root.place["tried"] = [request.state_configuration.retrier_retry_count] * len(_retries(state))

    def be_an_item(self) -> None:
        """The state is one of a Map's: it sees its input as the first item."""
        self.run.facts = msgspec.structs.replace(self._facts, map_context=item_context(0, self._facts.input))

    async def go(self, call_task: CallTask | None) -> None:
        """Run it."""
        turn, root, state = self._turn, self._root, self._state
        if self._request.mock is not None:
            await self._think(self._mocked)
            return
        await self._think(moves.step)
        if root.place.get("until") is not None and not isinstance(state, Task):
            turn.now = root.place["until"]
            moves.attempt(turn, root, moves.due)
        orders = [order for order in self.run.orders if isinstance(order, StartTask)]
        if orders:
            await self._call(orders[0], call_task)

    async def _think(self, act: moves.Act) -> None:
        """Have the state do something: where its expressions may take long, in a thread."""
        if self._language == "JSONata":
            await asyncio.to_thread(moves.attempt, self._turn, self._root, act)
        else:
            moves.attempt(self._turn, self._root, act)

    async def _call(self, order: StartTask, call_task: CallTask | None) -> None:
        if call_task is None:
            raise StateUntriable(
                f"The resource '{order.resource.text}' is tried with a mock alone: nobody here does it."
            )
        message = await call_task(order, self._facts)
        hear: Any = working.failed if isinstance(message, TaskFailed) else working.succeeded
        if not isinstance(message, TaskFailed | TaskSucceeded):
            raise StateUntriable(f"The resource '{order.resource.text}' did not answer.")
        await self._think(lambda turn, frame: hear(turn, frame, self._state, message))

    # -- mocks ------------------------------------------------------------------------------------------------------

    def _mocked(self, turn: Turn, frame: Frame) -> None:
        """What the state makes of what it is told. Raises `StateFailed`."""
        state, mock = self._state, self._request.mock
        assert mock is not None  # noqa: S101 - asked before
        data = flow.effective_input(turn, frame, state, self._language)
        if isinstance(state, Task):
            token = (self.run.context or {}).get("Task", {}).get("Token")
            if state.resource.endswith(".waitForTaskToken"):
                frame.place["shown"] = token or self.run.new_secret()
            flow.payload(turn, frame, state, self._language, data)
        elif isinstance(state, Parallel):
            flow.payload(turn, frame, state, self._language, data)
        elif isinstance(state, Map):
            self._map(turn, frame, state, data)
        if mock.error_output is not None:
            raise StateFailed(mock.error_output.error, mock.error_output.cause or None)
        if isinstance(state, Task | Parallel | Map):
            result = json_of(mock.result or "null", ValidationFailed, "Mocked result must be valid JSON")
            flow.finish(turn, frame, state, result)

    def _map(self, turn: Turn, frame: Frame, state: Map, data: Any) -> None:
        """What a Map would go over, and whether it would bear the failures it is told of."""
        scope, language = turn.scope(frame, data), self._language
        limit = distributed.concurrency_of(state, scope, language)
        turn.note("maxConcurrency", limit)
        items = self._items(state, scope)
        if items is not None and state.item_reader is None:
            turn.note("afterItemsPath", items)
        plan = distributed.plan_of(state, scope, language, body=(), label="", items=items, max_concurrency=limit)
        turn.note("toleratedFailureCount", plan.tolerated_count)
        turn.note("toleratedFailurePercentage", plan.tolerated_percentage)
        if state.item_selector is not UNSET and isinstance(items, list):
            turn.note("afterItemSelector", self._all_selected(turn, frame, state, data, items))
        failures = self._request.state_configuration.map_iteration_failure_count
        if items is not None and failures > len(items):
            raise ValidationFailed("mapIterationFailureCount cannot exceed the number of items.")
        if self._request.mock is not None and self._request.mock.error_output is None:
            _bear(plan, failures, len(items or ()))

    def _items(self, state: Map, scope: Any) -> Any:
        text = self._request.state_configuration.map_item_reader_data
        if state.item_reader is not None and text is not None:
            return json_of(text, ValidationFailed, "Invalid mapItemReaderData")
        return distributed.items_of(state, scope, self._language)

    def _all_selected(self, turn: Turn, frame: Frame, state: Map, data: Any, items: list[Any]) -> list[Any]:
        """What all items begin with. Raises `StateUntriable` where that takes too long."""
        until = time.monotonic() + _SELECTING_S
        found = []
        for index, item in enumerate(items):
            found.append(self._selected(turn, frame, state, data, index, item))
            if time.monotonic() > until:
                raise StateUntriable(
                    f"The ItemSelector took more than {_SELECTING_S:g} seconds for {index + 1} of {len(items)} items: "
                    "try it with fewer of them."
                )
        return found

    def _selected(self, turn: Turn, frame: Frame, state: Map, data: Any, index: int, item: Any) -> Any:
        scope = turn.scope(frame, data)
        scope.context = {**scope.context, "Map": item_context(index, item)}
        return templates.evaluate(state.item_selector, scope, language=self._language, field="ItemSelector")

    # -- what came of it ----------------------------------------------------------------------------------------------

    def told(self) -> Tried:
        """The answer."""
        run, root, trace = self.run, self._root, self.run.trace or {}
        level: Level = self._request.inspection_level
        inspection = None if level == "INFO" else self._inspected(trace)
        error, cause = trace.get("error", (None, None))
        if run.ended is not None and run.ended.status == "FAILED":
            return Tried(status="FAILED", error=run.ended.error, cause=run.ended.cause, inspection_data=inspection)
        if root.place.get("phase") == RETRY or "retry" in trace:
            return Tried(status="RETRIABLE", error=error, cause=cause, inspection_data=inspection)
        caught = "catch" in trace
        output = run.ended.output if run.ended is not None else root.input
        return Tried(
            status="CAUGHT_ERROR" if caught else "SUCCEEDED",
            output=recording.text_of(output),
            error=error if caught else None,
            cause=cause if caught else None,
            next_state=root.state if run.ended is None else None,
            inspection_data=inspection,
        )

    def _inspected(self, trace: dict[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = {"input": recording.text_of(self._facts.input)}
        for name in self._visible():
            value = trace.get(name, UNSET)
            if value is not UNSET and not (name in _NUMBERS and value is None):
                shown[name] = value if name in _NUMBERS else recording.text_of(value)
        if self._root.variables:
            shown["variables"] = recording.text_of(self._root.variables)
        if "retry" in trace:
            index, delay = trace["retry"]
            shown["errorDetails"] = {"retryIndex": index, "retryBackoffIntervalSeconds": int(delay)}
        elif "catch" in trace:
            shown["errorDetails"] = {"catchIndex": trace["catch"]}
        return shown

    def _visible(self) -> frozenset[str]:
        state = self._state
        if self._language == "JSONata":
            return _BY_EXPRESSIONS.get(type(state), frozenset())
        if isinstance(state, Pass) and state.result is not UNSET:
            return frozenset({"result", "afterResultSelector", "afterResultPath"})
        return _BY_PATHS.get(type(state), frozenset({"afterInputPath"}))


def _retries(state: State) -> tuple[Any, ...]:
    """Its rules of `Retry`, where it can have any."""
    return getattr(state, "retry", ())


def _bear(plan: distributed.MapPlan, failures: int, items: int) -> None:
    """Raises `StateFailed` where more have failed than a Map tolerates."""
    share = 100 * failures / items if items else 0
    too_many = plan.tolerated_count is not None and failures > plan.tolerated_count
    if too_many or (plan.tolerated_percentage is not None and share > plan.tolerated_percentage):
        raise StateFailed(TOLERANCE, "The specified tolerated failure threshold was exceeded")


def _facts(request: TryRequest, given: Any, arns: Arns, who: tuple[str, Behalf], now: float) -> Facts:
    tenant, behalf = who
    name, execution = f"TestState-{new_id()}", new_id()
    return Facts(
        id=execution,
        arn=arns.express(name, execution, new_id()),
        name=execution,
        tenant=tenant,
        machine_arn=arns.state_machine(name),
        machine_name=name,
        role_arn=request.role_arn or "",
        kind="EXPRESS",
        started_at=now,
        input=given,
        behalf=behalf,
    )
