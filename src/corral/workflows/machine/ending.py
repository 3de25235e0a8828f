"""How states and executions fail, and how what goes on is stopped.

A failure climbs from its frame to the outside. Where nobody handles it, every frame stays as it is, so that the execution can go on
from there when it is redriven; where a Retry or a Catch does, all frames below that state are gone.
"""

from __future__ import annotations

from corral.workflows.failing import StateFailed
from corral.workflows.language.definition import Map, Parallel, State, Task, Wait
from corral.workflows.machine import branching, flow, recording, retrying
from corral.workflows.machine.order import CancelMapRun, CancelTask
from corral.workflows.machine.run import Ended, ExecutionStatus, Frame
from corral.workflows.machine.turn import ENTER, MAP_RUN, RETRY, Turn

_ABORTED = (Task, Wait, Parallel, Map)
"""The states whose being stopped is written down."""

_END = {
    "FAILED": "ExecutionFailed",
    "TIMED_OUT": "ExecutionTimedOut",
    "ABORTED": "ExecutionAborted",
}


def fail(turn: Turn, frame: Frame, failure: StateFailed) -> None:
    """A state has failed: it is tried again, or something else is done, or all that is around it fails as well."""
    failure = _told(turn, frame, failure)
    turn.note("error", (failure.error, failure.cause))
    _stop_inside(turn, frame, None)
    branching.clear(turn, frame)
    if not retrying.is_catchable(failure):
        end(turn, frame, "FAILED", failure.error, failure.cause)
        return
    while not _try_again(turn, frame, turn.state(frame), failure):
        before = frame.place["event"]
        _record_failed(turn, frame)
        try:
            if _catch(turn, frame, turn.state(frame), failure):
                return
        except StateFailed as worse:
            # What the rule itself got wrong stands in the place of what it was to catch, and no other rule catches it.
            frame.place["event"] = before
            failure = _told(turn, frame, worse)
            if not retrying.is_catchable(failure):
                end(turn, frame, "FAILED", failure.error, failure.cause)
                return
            _record_failed(turn, frame)
        if frame.parent is None:
            end(turn, frame, "FAILED", failure.error, failure.cause)
            return
        frame = _climb(turn, frame)


def _record_failed(turn: Turn, frame: Frame) -> None:
    state = turn.state(frame)
    if isinstance(state, Parallel | Map):
        turn.record(frame, f"{type(state).__name__}StateFailed")


def _told(turn: Turn, frame: Frame, failure: StateFailed) -> StateFailed:
    """The failure in full words; what could not be evaluated is written down."""
    cause = failure.cause
    if failure.prefixed:
        entered = frame.place.get("entered", 0)
        about = f"An error occurred while executing the state '{frame.state}' (entered at the event id #{entered})."
        cause = f"{about} {cause}" if cause else about
    if failure.evaluation:
        details = {**recording.failed(failure.error, cause), "state": frame.state}
        if failure.location:
            details["location"] = failure.location
        turn.record(frame, "EvaluationFailed", details)
    return StateFailed(
        failure.error, cause, catchable=failure.catchable, retryable=failure.retryable, also=failure.also
    )


def _try_again(turn: Turn, frame: Frame, state: State, failure: StateFailed) -> bool:
    rules = getattr(state, "retry", ())
    index = retrying.rule_for(rules, failure) if failure.retryable else None
    if index is None:
        return False
    place = frame.place
    tried: list[int] = list(place.get("tried") or [0] * len(rules))
    if tried[index] >= rules[index].max_attempts:
        return False
    tried[index] += 1
    delay = retrying.delay_before(rules[index], tried[index], turn.run.chance)
    turn.note("retry", (index, delay))
    _drop(turn, frame)
    place.update(tried=tried, attempt=place["attempt"] + 1, phase=RETRY)
    if delay > 0:
        turn.wake(frame, turn.now + delay)
        turn.frames.touch(frame)
    else:
        turn.again(frame)
    return True


def _catch(turn: Turn, frame: Frame, state: State, failure: StateFailed) -> bool:
    rules = getattr(state, "catch", ())
    index = retrying.rule_for(rules, failure)
    if index is None:
        return False
    rule = rules[index]
    turn.note("catch", index)
    told = {"Error": failure.error, "Cause": failure.cause or ""}
    language = turn.language(frame, state)
    if language == "JSONata":
        scope = turn.scope(frame, frame.input, error_output=told)
        assigned = flow.assigning(rule.assign, scope, language, field=f"Catch[{index}]/Assign")
        output = flow.said(rule.output, scope, told, field=f"Catch[{index}]/Output")
    else:
        assigned = flow.assigning(rule.assign, turn.scope(frame, told), language)
        output = flow.placed(frame.input, rule.result_path, told)
    _drop(turn, frame)
    flow.leave(turn, frame, output, rule.next, assigned)
    return True


def _drop(turn: Turn, frame: Frame) -> None:
    """What the state had going on is over."""
    branching.clear(turn, frame)
    for gone in ("token", "shown", "until", "beat", "started", "submitted", "child", "run", "read", "run_over"):
        frame.place.pop(gone, None)


def _climb(turn: Turn, frame: Frame) -> Frame:
    """The body of a frame has failed: stop what runs beside it, and go to the state around."""
    around = turn.frames[frame.parent or ""]
    if isinstance(turn.state(frame), Task):
        turn.record_aside(frame, "TaskStateAborted")
    if isinstance(turn.state(around), Map):
        turn.record_aside(frame, "MapIterationFailed", {"name": around.state, "index": frame.index})
    around.place["event"] = frame.place["event"]
    _stop_inside(turn, around, frame)
    return around


def _stop_inside(turn: Turn, frame: Frame, failed: Frame | None) -> None:
    """Stop every branch or iteration of a frame's state that still goes on."""
    for child in turn.frames.loaded_children(frame.id):
        if child is not failed and not child.done:
            abort(turn, child)
            if isinstance(turn.state(frame), Map):
                turn.record(child, "MapIterationAborted", {"name": frame.state, "index": child.index})


def abort(turn: Turn, frame: Frame) -> None:
    """Stop a frame and all below it, and write that down."""
    for child in turn.frames.loaded_children(frame.id):
        if not child.done:
            abort(turn, child)
    cancel(turn, frame)
    state = turn.state(frame)
    if isinstance(state, _ABORTED) and frame.place["phase"] != ENTER:
        turn.record(frame, f"{type(state).__name__}StateAborted")


def cancel(turn: Turn, frame: Frame) -> None:
    """Nobody waits any more for what this frame has had done outside."""
    place = frame.place
    if "token" in place:
        turn.run.orders.append(CancelTask(place["token"], place.pop("child", "")))
        place.pop("token")
        place.pop("shown", None)
    if place["phase"] == MAP_RUN:
        turn.run.orders.append(CancelMapRun(frame.id))
        if not place.get("run_over") and turn.has_room:
            place["run_over"] = True
            turn.record(frame, "MapRunAborted")
    frame.wake_at = None
    turn.frames.touch(frame)


def end(turn: Turn, frame: Frame, status: ExecutionStatus, error: str | None, cause: str | None) -> None:
    """The execution is over without success. Its frames stay: it may be redriven."""
    root = turn.frames[""]
    for one in turn.frames:
        if not one.done:
            cancel(turn, one)
    previous = frame.place.get("tail", frame.place["event"])
    turn.record_end(_END[status], 0 if status == "TIMED_OUT" else previous, recording.failed(error or None, cause))
    root.place["over"] = True
    turn.frames.touch(root)
    turn.queue.clear()
    turn.run.ended = Ended(status=status, error=error or None, cause=cause)
