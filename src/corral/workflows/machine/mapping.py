"""Map: one body for each of many items, here or, distributed, each in an execution of its own."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from corral.workflows.failing import StateFailed
from corral.workflows.language import templates
from corral.workflows.language.definition import Language, Map
from corral.workflows.machine import branching, distributed, flow, recording
from corral.workflows.machine.context import item_context
from corral.workflows.machine.happening import MapRunEnded
from corral.workflows.machine.order import StartMapRun
from corral.workflows.machine.run import Frame
from corral.workflows.machine.turn import ENTER, JOIN, MAP_RUN, RUN, Turn

AT_ONCE = 40
"""Items of one Map that go on at the same time in one execution, at most."""


def begin(turn: Turn, frame: Frame, state: Map) -> None:
    """Find the items, and start with the first of them."""
    language = turn.language(frame, state)
    data = flow.effective_input(turn, frame, state, language)
    scope = turn.scope(frame, data)
    limit = distributed.concurrency_of(state, scope, language)
    items = distributed.items_of(state, scope, language)
    if distributed.is_distributed(state):
        turn.record(frame, "MapStateStarted", {"length": 0 if items is None else len(items)})
        _begin_run(turn, frame, _plan(turn, frame, state, language, data, limit, items))
        return
    if not isinstance(items, list):
        items = []
    recording.bounded_text_of(items, frame.state)
    visit = turn.record(frame, "MapStateStarted", {"length": len(items)})
    if not items:
        turn.record_aside(frame, "MapStateSucceeded")
        flow.finish(turn, frame, state, [])
        return
    frame.place.update(
        phase=JOIN,
        visit=visit,
        items=items,
        begun=0,
        left=len(items),
        limit=min(limit, AT_ONCE) if limit else AT_ONCE,
        running=0,
    )
    turn.wake(frame, None)
    turn.frames.born_here(frame.id)
    _begin_items(turn, frame, state, language, data)


def _begin_items(turn: Turn, frame: Frame, state: Map, language: Language, data: Any) -> None:
    """As many as may go on at the same time."""
    place = frame.place
    turn.frames.touch(frame)
    while place["running"] < place["limit"] and place["begun"] < len(place["items"]):
        index = place["begun"]
        child = Frame(
            id=f"{frame.id}/{place['visit']}.{index}",
            parent=frame.id,
            index=index,
            path=(*frame.path, "States", frame.state, "ItemProcessor"),
            state=state.item_processor.start_at,
            place={"phase": ENTER, "event": place["visit"]},
        )
        turn.record(child, "MapIterationStarted", {"name": frame.state, "index": index})
        child.input = _selected(turn, frame, state, language, data, index)
        place["begun"] += 1
        place["running"] += 1
        turn.frames.add(child)
        turn.queue.append(child.id)


def _selected(turn: Turn, frame: Frame, state: Map, language: Language, data: Any, index: int) -> Any:
    """What an iteration begins with: the item, or what `ItemSelector` makes of it."""
    item = frame.place["items"][index]
    if state.item_selector is UNSET:
        return item
    scope = turn.scope(frame, data)
    scope.context = {**scope.context, "Map": item_context(index, item)}
    return templates.evaluate(state.item_selector, scope, language=language, field="ItemSelector")


def joined(turn: Turn, frame: Frame, state: Map, child: Frame) -> None:
    """An iteration has ended; the next item begins, or the state ends with the last one."""
    place = frame.place
    place["event"] = turn.record(child, "MapIterationSucceeded", {"name": frame.state, "index": child.index})
    place["left"] -= 1
    place["running"] -= 1
    branching.collect(turn, frame, child)
    if place["left"]:
        if place["begun"] < len(place["items"]):
            language = turn.language(frame, state)
            _begin_items(turn, frame, state, language, flow.effective_input(turn, frame, state, language))
        return
    results = [one.result for one in turn.frames.children(frame.id)]
    turn.record_aside(frame, "MapStateSucceeded")
    branching.clear(turn, frame)
    flow.finish(turn, frame, state, results)


# -- distributed -------------------------------------------------------------------------------------------------------


def _plan(
    turn: Turn, frame: Frame, state: Map, language: Language, data: Any, limit: int, items: Any
) -> distributed.MapPlan:
    facts = turn.run.facts
    return distributed.plan_of(
        state,
        turn.scope(frame, data),
        language,
        body=(*frame.path, "States", frame.state, "ItemProcessor"),
        label=distributed.label_of(state, facts.machine_arn, (*frame.path, frame.state)),
        items=items,
        max_concurrency=limit,
    )


def _begin_run(turn: Turn, frame: Frame, plan: distributed.MapPlan) -> None:
    arn = distributed.map_run_arn(turn.run.facts.arn, plan.label, turn.run.new_secret())
    turn.record(frame, "MapRunStarted", {"mapRunArn": arn})
    frame.place.update(phase=MAP_RUN, run=arn, read=False, run_over=False)
    _order(turn, frame, plan)


def _order(turn: Turn, frame: Frame, plan: distributed.MapPlan, *, redrive: bool = False) -> None:
    turn.run.orders.append(
        StartMapRun(frame=frame.id, state=frame.state, arn=frame.place["run"], spec=plan.spec, redrive=redrive)
    )
    turn.wake(frame, turn.now + distributed.ORDER_AGAIN_S)
    turn.frames.touch(frame)


def order_again(turn: Turn, frame: Frame, state: Map) -> None:
    """Nobody has taken the map run on so far."""
    _order(turn, frame, _plan_again(turn, frame, state))


def redrive(turn: Turn, frame: Frame, state: Map) -> None:
    """Have the children that did not succeed run again."""
    arn = frame.place["run"]
    turn.record(frame, "MapRunRedriven", {"mapRunArn": arn, "redriveCount": turn.run.redrives})
    frame.place.update(phase=MAP_RUN, read=False, run_over=False)
    _order(turn, frame, _plan_again(turn, frame, state), redrive=True)


def _plan_again(turn: Turn, frame: Frame, state: Map) -> distributed.MapPlan:
    language = turn.language(frame, state)
    data = flow.effective_input(turn, frame, state, language)
    scope = turn.scope(frame, data)
    limit = distributed.concurrency_of(state, scope, language)
    return _plan(turn, frame, state, language, data, limit, distributed.items_of(state, scope, language))


def items_read(turn: Turn, frame: Frame) -> None:
    """The map run goes on by itself."""
    frame.place["read"] = True
    turn.wake(frame, None)
    turn.frames.touch(frame)


def run_ended(turn: Turn, frame: Frame, state: Map, message: MapRunEnded) -> None:
    """Every child is over. Raises `StateFailed` where too many of them failed."""
    if message.error:
        frame.place["run_over"] = True
        turn.record(frame, "MapRunFailed", recording.failed(message.error, message.cause or None))
        raise StateFailed(message.error, message.cause or None)
    frame.place["phase"] = RUN
    turn.record_aside(frame, "MapRunSucceeded")
    turn.record_aside(frame, "MapStateSucceeded")
    flow.finish(turn, frame, state, message.result)
