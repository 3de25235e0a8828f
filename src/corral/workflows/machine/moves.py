"""The machine: what an execution does when something happens to it.

`tell` moves every frame that can be moved, in turns, until all wait for something or enough was done for one transaction. It is
told a fresh `Run` of what was stored, and a run that has raised is thrown away: nothing half done is ever seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from corral.workflows.failing import RUNTIME, StateFailed
from corral.workflows.language.definition import (
    Choice,
    Fail,
    Machine,
    Map,
    Parallel,
    Pass,
    Succeed,
    Task,
    Wait,
)
from corral.workflows.machine import branching, ending, mapping, plain, recording, tokens, working
from corral.workflows.machine.happening import (
    ItemsRead,
    MapRunEnded,
    Message,
    Redriven,
    Started,
    Stopped,
    TaskBeat,
    TaskFailed,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
    Woken,
)
from corral.workflows.machine.run import Ended, Frame, Run
from corral.workflows.machine.turn import (
    ENTER,
    JOIN,
    MAP_RUN,
    READY,
    RETRY,
    RUN,
    TASK,
    WAIT,
    HistoryFull,
    Turn,
)

MOVES_AT_ONCE = 500
"""For one transaction. What is left is told to go on at once; a crash in between is noticed after `UNFINISHED_S`."""

UNFINISHED_S = 5.0

Act = Callable[[Turn, Frame], None]

_RUN: dict[type, Callable[[Turn, Frame, Any], None]] = {
    Pass: plain.run_pass,
    Choice: plain.run_choice,
    Wait: plain.run_wait,
    Succeed: plain.run_succeed,
    Fail: plain.run_fail,
    Task: working.begin,
    Parallel: branching.begin,
    Map: mapping.begin,
}

_HEAR: dict[type, Callable[[Turn, Frame, Any, Any], None]] = {
    TaskStarted: working.started,
    TaskSubmitted: working.submitted,
    TaskBeat: working.beat,
    TaskSucceeded: working.succeeded,
    TaskFailed: working.failed,
}

_TRIED = (Task, Parallel, Map)
"""The states that may be tried again: they count how often they were."""


def tell(run: Run, machine: Machine, message: Message, *, now: float) -> None:
    """Let something happen to an execution; what it holds afterwards is to be written in one transaction.

    Raises `NotLoaded` where done frames are needed that were not loaded: load them, and tell a fresh run. What concerns a task or
    a frame that is over changes nothing.
    """
    run.unfinished = False
    turn = Turn(run, machine, now)
    try:
        if _hear(turn, message):
            _move(turn)
    except HistoryFull:
        _overfull(turn)


def _overfull(turn: Turn) -> None:
    cause = f"The execution reached the maximum number of history events ({turn.run.events_max})."
    ending.end(turn, turn.frames[""], "FAILED", RUNTIME, cause)


def _hear(turn: Turn, message: Message) -> bool:
    """What the message itself changes; false: nothing."""
    if isinstance(message, Started):
        return _start(turn)
    root = turn.frames.get("")
    if root is None or ("over" in root.place) != isinstance(message, Redriven):
        return False
    deadline = root.place.get("deadline")
    if isinstance(message, Redriven):
        _redrive(turn, root)
    elif isinstance(message, Stopped):
        ending.end(turn, root, "ABORTED", message.error, message.cause)
    elif deadline is not None and deadline <= turn.now:
        ending.end(turn, root, "TIMED_OUT", None, None)
    elif isinstance(message, Woken):
        _wake(turn)
    elif isinstance(message, ItemsRead | MapRunEnded):
        return _hear_of_map_run(turn, message)
    else:
        return _hear_of_task(turn, message)
    return True


def _start(turn: Turn) -> bool:
    if "" in turn.frames:
        return False
    run, machine = turn.run, turn.machine
    root = Frame(id="", state=machine.start_at, input=run.facts.input, place={"phase": ENTER, "event": 0})
    if machine.timeout_seconds is not None:
        root.place["deadline"] = turn.now + machine.timeout_seconds
    turn.frames.add(root)
    text = recording.text_of(run.facts.input)
    details = {"input": text, "inputDetails": recording.WHOLE, "roleArn": run.facts.role_arn}
    if run.facts.alias_arn:
        details["stateMachineAliasArn"] = run.facts.alias_arn
    if run.facts.version_arn:
        details["stateMachineVersionArn"] = run.facts.version_arn
    turn.record(root, "ExecutionStarted", details)
    root.place["event"] = 0
    turn.texts[""] = text
    turn.wake(root, None)
    turn.queue.append("")
    return True


def _redrive(turn: Turn, root: Frame) -> None:
    """Everything that had not ended runs again from the beginning of its state."""
    turn.run.redrives += 1
    root.place.pop("over")
    root.place["redriven"] = turn.now
    if turn.machine.timeout_seconds is not None:
        root.place["deadline"] = turn.now + turn.machine.timeout_seconds
    turn.record(root, "ExecutionRedriven", {"redriveCount": turn.run.redrives})
    for frame in turn.frames:
        if frame.done:
            continue
        place = frame.place
        turn.wake(frame, None)
        turn.frames.touch(frame)
        if "attempt" in place:
            place.update(attempt=0, tried=[])
        if place["phase"] == JOIN:
            continue
        if place["phase"] == MAP_RUN:
            attempt(turn, frame, _drive_again)
        elif place["phase"] == ENTER:
            turn.queue.append(frame.id)
        else:
            turn.again(frame)


def _drive_again(turn: Turn, frame: Frame) -> None:
    state = turn.state(frame)
    if isinstance(state, Map):
        mapping.redrive(turn, frame, state)


def _wake(turn: Turn) -> None:
    """Find what is due, and what was left to be moved."""
    for frame in turn.frames:
        if frame.done or turn.run.ended is not None:
            continue
        if frame.place["phase"] in READY:
            turn.queue.append(frame.id)
        elif frame.wake_at is not None and frame.wake_at <= turn.now and frame.id in turn.frames:
            attempt(turn, frame, due)


def due(turn: Turn, frame: Frame) -> None:
    """The time of a frame has come."""
    state = turn.state(frame)
    phase = frame.place["phase"]
    if phase == WAIT and isinstance(state, Wait):
        plain.end_wait(turn, frame, state)
    elif phase == RETRY:
        turn.again(frame)
    elif phase == TASK and isinstance(state, Task):
        working.late(turn, frame, state)
    elif phase == MAP_RUN and isinstance(state, Map):
        mapping.order_again(turn, frame, state)


def _hear_of_task(turn: Turn, message: Any) -> bool:
    frame_id = tokens.frame_of(message.token)
    frame = None if frame_id is None else turn.frames.get(frame_id)
    if frame is None or frame.place.get("token") != message.token or frame.place["phase"] != TASK:
        return False
    hear = _HEAR[type(message)]
    attempt(turn, frame, lambda turn, frame: hear(turn, frame, turn.state(frame), message))
    return True


def _hear_of_map_run(turn: Turn, message: ItemsRead | MapRunEnded) -> bool:
    frame = turn.frames.get(message.frame)
    if frame is None or frame.place["phase"] != MAP_RUN:
        return False
    state = turn.state(frame)
    if not isinstance(state, Map):
        return False
    if isinstance(message, ItemsRead):
        mapping.items_read(turn, frame)
        return True
    if message.arn and message.arn != frame.place["run"]:
        return False
    attempt(turn, frame, lambda turn, frame: mapping.run_ended(turn, frame, state, message))
    return True


def _move(turn: Turn) -> None:
    """Move what can be moved, in turns."""
    while turn.queue and turn.run.ended is None:
        if turn.moves >= MOVES_AT_ONCE or (turn.moves and turn.run.is_tired()):
            _pause(turn)
            return
        frame_id = turn.queue.popleft()
        if frame_id in turn.frames:
            frame = turn.frames[frame_id]
            if not frame.done and frame.place["phase"] in READY:
                turn.moves += 1
                attempt(turn, frame, step)


def _pause(turn: Turn) -> None:
    """Enough for one transaction: what is left goes on in the next."""
    turn.run.unfinished = True
    for frame_id in turn.queue:
        if frame_id in turn.frames:
            frame = turn.frames[frame_id]
            turn.wake(frame, turn.now + UNFINISHED_S)
            turn.frames.touch(frame)


def step(turn: Turn, frame: Frame) -> None:
    """Enter a state, or run it."""
    state = turn.state(frame)
    if frame.place["phase"] == RUN:
        _RUN[type(state)](turn, frame, state)
        return
    text = turn.texts.pop(frame.id, None) or recording.text_of(frame.input)
    place = frame.place
    place["entered"] = turn.record(frame, f"{type(state).__name__}StateEntered", recording.entered(frame.state, text))
    place["at"] = turn.now
    if isinstance(state, _TRIED):
        place["attempt"] = 0
    place["phase"] = RUN
    turn.frames.touch(frame)
    turn.queue.append(frame.id)


def attempt(turn: Turn, frame: Frame, act: Act) -> None:
    """Do something with a frame; where its body ends by it, that is the next word to the state around, and so on."""
    try:
        act(turn, frame)
        while frame.done:
            if frame.parent is None:
                _succeed(turn, frame)
                return
            child, frame = frame, turn.frames[frame.parent]
            state = turn.state(frame)
            if isinstance(state, Parallel):
                branching.joined(turn, frame, state, child)
            elif isinstance(state, Map):
                mapping.joined(turn, frame, state, child)
    except StateFailed as failure:
        ending.fail(turn, frame, failure)


def _succeed(turn: Turn, root: Frame) -> None:
    details = {"output": turn.texts.pop("", None) or recording.text_of(root.result), "outputDetails": recording.WHOLE}
    turn.record_end("ExecutionSucceeded", root.place["event"], details)
    turn.run.ended = Ended(status="SUCCEEDED", output=root.result)
    turn.frames.remove("")
