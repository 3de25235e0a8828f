"""One telling: the execution, its definition and the time, and what every kind of state needs of them."""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import UNSET

from corral.workflows.language.definition import Body, Language, Machine, State
from corral.workflows.language.scope import Scope
from corral.workflows.machine.context import context_object
from corral.workflows.machine.run import Frame, HistoryEvent, Run

ENTER, RUN, WAIT, TASK, JOIN, RETRY, MAP_RUN = "enter", "run", "wait", "task", "join", "retry", "map-run"
"""What a frame does (`place["phase"]`): about to enter its state, to run it, or waiting for time, a task, children or a map run."""

READY = (ENTER, RUN)

_KEPT = ("event", "deadline", "redriven")
"""What of a frame's place outlives its state."""


class HistoryFull(Exception):
    """Nothing more can be written down."""


class Turn:
    """What one message does to one execution."""

    __slots__ = ("_bodies", "frames", "machine", "moves", "now", "queue", "run", "texts")

    def __init__(self, run: Run, machine: Machine, now: float) -> None:
        """`run` is changed, `machine` is only read."""
        self.run = run
        self.machine = machine
        self.now = now
        self.frames = run.frames
        self.queue: deque[str] = deque()
        """Frames that can move, in turns, so that no branch waits for another one's loop."""
        self.moves = 0
        self.texts: dict[str, str] = {}
        """The JSON of frames' inputs, where it is known: what left one state enters the next."""
        self._bodies: dict[tuple[str, ...], tuple[Body, Language]] = {}

    def state(self, frame: Frame) -> State:
        """The state a frame stands in."""
        return self._body(frame.path)[0].states[frame.state]

    def language(self, frame: Frame, state: State) -> Language:
        """The language of that state."""
        if state.query_language is not None:
            return state.query_language
        return self._body(frame.path)[1]

    def _body(self, path: tuple[str, ...]) -> tuple[Body, Language]:
        known = self._bodies.get(path)
        if known is None:
            body = self.machine.body(path)
            known = self._bodies[path] = body, body.query_language or self.machine.query_language or "JSONPath"
        return known

    def variables(self, frame: Frame) -> dict[str, Any]:
        """What a frame's expressions can see: its own and those of the frames around it."""
        if frame.parent is None:
            return frame.variables
        around = self.variables(self.frames[frame.parent])
        return {**around, **frame.variables} if frame.variables else around

    def scope(self, frame: Frame, data: Any, *, result: Any = UNSET, error_output: Any = UNSET) -> Scope:
        """What an expression of the frame's state can see; `data` is its input, or what JSONPath looks at."""
        return Scope(
            input=data,
            context=context_object(self.run, frame) if self.run.context is None else self.run.context,
            variables=self.variables(frame),
            result=result,
            error_output=error_output,
            clock=lambda: self.now,
        )

    def note(self, what: str, value: Any) -> None:
        """Show how data went through a state, to those who want to see it."""
        if self.run.trace is not None:
            self.run.trace[what] = value

    def record(self, frame: Frame, kind: str, details: dict[str, Any] | None = None) -> int:
        """Write an event after the frame's last one, and give its number. Raises `HistoryFull`."""
        place = frame.place
        number = place["event"] = self._append(kind, place["event"], details)
        place.pop("tail", None)
        return number

    def record_aside(self, frame: Frame, kind: str, details: dict[str, Any] | None = None) -> None:
        """The same for an event that is passed by: what comes after it follows the one before. Raises `HistoryFull`."""
        place = frame.place
        place["tail"] = self._append(kind, place.get("tail", place["event"]), details)

    def record_end(self, kind: str, previous: int, details: dict[str, Any] | None = None) -> None:
        """What ends the execution: there is always room for that."""
        run = self.run
        run.history.append(
            HistoryEvent(id=run.next_event, previous_id=previous, at=self.now, type=kind, details=details or {})
        )
        run.next_event += 1

    @property
    def has_room(self) -> bool:
        """Whether the history has room for more than the execution's end."""
        return self.run.next_event < self.run.events_max or self.run.facts.kind != "STANDARD"

    def _append(self, kind: str, previous: int, details: dict[str, Any] | None) -> int:
        run = self.run
        number = run.next_event
        if number >= run.events_max and run.facts.kind == "STANDARD":
            raise HistoryFull
        self.record_end(kind, previous, details)
        return number

    def wake(self, frame: Frame, at: float | None) -> None:
        """When the frame is to hear of the time; the execution's own one hears of its deadline as well."""
        deadline = frame.place.get("deadline")
        if deadline is not None and (at is None or deadline < at):
            at = deadline
        frame.wake_at = at

    def move_to(self, frame: Frame, state: str, data: Any, text: str | None = None) -> None:
        """Stand before another state."""
        place = frame.place
        frame.place = {key: place[key] for key in _KEPT if key in place}
        frame.place["phase"] = ENTER
        frame.state = state
        frame.input = data
        if text is not None:
            self.texts[frame.id] = text
        self.wake(frame, None)
        self.frames.touch(frame)
        self.queue.append(frame.id)

    def again(self, frame: Frame) -> None:
        """Run the state from its beginning, once more."""
        frame.place["phase"] = RUN
        self.wake(frame, None)
        self.frames.touch(frame)
        self.queue.append(frame.id)
