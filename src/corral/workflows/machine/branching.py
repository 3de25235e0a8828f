"""Parallel: several bodies at once, and what becomes of their results."""

from __future__ import annotations

from corral.workflows.language.definition import Parallel
from corral.workflows.machine import flow, recording
from corral.workflows.machine.run import Frame
from corral.workflows.machine.turn import ENTER, JOIN, RUN, Turn

RESULTS_MAX = 4_194_304
"""Characters of JSON that the branches or iterations of one state may give together, before its output is made of them."""


def begin(turn: Turn, frame: Frame, state: Parallel) -> None:
    """Start every branch with the same input."""
    language = turn.language(frame, state)
    data = flow.effective_input(turn, frame, state, language)
    given = flow.payload(turn, frame, state, language, data)
    visit = turn.record(frame, "ParallelStateStarted")
    frame.place.update(phase=JOIN, visit=visit, left=len(state.branches), begun=len(state.branches))
    turn.wake(frame, None)
    turn.frames.touch(frame)
    turn.frames.born_here(frame.id)
    for index, branch in enumerate(state.branches):
        child = Frame(
            id=f"{frame.id}/{visit}.{index}",
            parent=frame.id,
            index=index,
            path=(*frame.path, "States", frame.state, "Branches", str(index)),
            state=branch.start_at,
            input=given,
            place={"phase": ENTER, "event": visit},
        )
        turn.frames.add(child)
        turn.queue.append(child.id)


def joined(turn: Turn, frame: Frame, state: Parallel, child: Frame) -> None:
    """A branch has ended; the last one's end is the state's own."""
    place = frame.place
    place["left"] -= 1
    place["event"] = child.place["event"]
    collect(turn, frame, child)
    if place["left"]:
        return
    results = [one.result for one in turn.frames.children(frame.id)]
    turn.record_aside(frame, "ParallelStateSucceeded")
    clear(turn, frame)
    flow.finish(turn, frame, state, results)


def collect(turn: Turn, frame: Frame, child: Frame) -> None:
    """Weigh what the children have given so far: results are kept until the last one is there. Raises `StateFailed`."""
    size = frame.place.get("size", 0) + len(turn.texts.pop(child.id, ""))
    frame.place["size"] = size
    turn.frames.touch(frame)
    if size > RESULTS_MAX:
        raise recording.too_large(frame.state)


def clear(turn: Turn, frame: Frame) -> None:
    """Remove all children of the state's visit, loaded or not; what comes next is a visit of its own."""
    place = frame.place
    visit = place.pop("visit", None)
    if visit is None:
        return
    for index in range(place.pop("begun")):
        turn.frames.remove(f"{frame.id}/{visit}.{index}")
    for gone in ("left", "size", "items", "limit", "running"):
        place.pop(gone, None)
    place["phase"] = RUN
