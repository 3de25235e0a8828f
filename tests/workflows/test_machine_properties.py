"""Any machine and any order of words: it never breaks, never hangs, and is the same wherever its frames were meanwhile."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machine_scene import Scene

from corral.workflows.machine.happening import (
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
from corral.workflows.machine.moves import tell
from corral.workflows.machine.order import CancelMapRun, CancelTask, StartMapRun, StartTask
from corral.workflows.machine.run import Frame, Frames, NotLoaded, Run

ERRORS = ("A", "B", "States.Timeout", "States.ALL")
RULE = st.fixed_dictionaries(
    {
        "ErrorEquals": st.lists(st.sampled_from(ERRORS), min_size=1, max_size=2),
        "MaxAttempts": st.integers(0, 2),
        "IntervalSeconds": st.integers(1, 5),
        "JitterStrategy": st.sampled_from(["NONE", "FULL"]),
    }
)


@st.composite
def bodies(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    """A body whose states lead forward, so that it ends."""
    count = draw(st.integers(1, 4 if depth == 0 else 3))
    names = [f"S{number}" for number in range(count)]
    states = {}
    for index, name in enumerate(names):
        later = names[index + 1 :]
        states[name] = draw(states_before(later, depth))
    return {"StartAt": names[0], "States": states}


@st.composite
def states_before(draw: st.DrawFn, later: list[str], depth: int) -> dict[str, Any]:
    onward: dict[str, Any] = {"Next": draw(st.sampled_from(later))} if later else {"End": True}
    simple = [simple_states(onward)] + ([choices(later)] if later else [ends()])
    works = [tasks()] if depth >= 2 else [tasks(), parallels(depth), maps(depth)]
    if draw(st.integers(0, 2)) == 0:
        return draw(st.one_of(simple))
    work = {**draw(st.one_of(works)), **onward, "Retry": draw(st.lists(RULE, max_size=2))}
    if later and draw(st.booleans()):
        work["Catch"] = [{"ErrorEquals": [draw(st.sampled_from(ERRORS))], "Next": draw(st.sampled_from(later))}]
    return work


def simple_states(onward: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    waits = st.integers(0, 20).map(lambda seconds: {"Type": "Wait", "Seconds": seconds, **onward})
    return st.one_of(st.just({"Type": "Pass", "Assign": {"v.$": "$.x"}, **onward}), waits)


def choices(later: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    rule = {"Variable": "$.x", "NumericGreaterThan": 3}
    return st.sampled_from(later).map(
        lambda name: {"Type": "Choice", "Choices": [{**rule, "Next": name}], "Default": later[0]}
    )


def ends() -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from([{"Type": "Succeed"}, {"Type": "Fail", "Error": "A"}, {"Type": "Fail", "Error": "B"}])


def tasks() -> st.SearchStrategy[dict[str, Any]]:
    limits = st.sampled_from([{}, {"TimeoutSeconds": 30, "HeartbeatSeconds": 10}])
    return limits.map(lambda limit: {"Type": "Task", "Resource": "corral:function:f", "ResultPath": "$.r", **limit})


def parallels(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    branches = st.lists(bodies(depth + 1), min_size=1, max_size=2)
    return branches.map(lambda found: {"Type": "Parallel", "Branches": found, "ResultPath": "$.p"})


@st.composite
def maps(draw: st.DrawFn, depth: int) -> dict[str, Any]:
    body = draw(bodies(depth + 1))
    if draw(st.integers(0, 3)) == 0:
        body["ProcessorConfig"] = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    return {
        "Type": "Map",
        "ItemProcessor": body,
        "ItemsPath": "$.items",
        "ItemSelector": {"x.$": "$$.Map.Item.Value", "items.$": "$.items"},
        "ResultPath": "$.m",
        "MaxConcurrency": draw(st.integers(0, 2)),
    }


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    whole = draw(bodies())
    if draw(st.booleans()):
        whole["TimeoutSeconds"] = draw(st.integers(1, 100))
    return whole


class Stored(Scene):
    """Its frames are in a store: those that are done are loaded only where the machine asks for them."""

    def __init__(self, *what: Any, **how: Any) -> None:
        super().__init__(*what, **how)
        self.rows: dict[str, bytes] = {}

    def tell(self, message: Message) -> None:
        complete: set[str] = set()
        for _ in range(100):
            run = self._loaded(complete)
            try:
                tell(run, self.machine, message, now=self.now)
                break
            except NotLoaded as missing:
                complete.add(missing.parent)
        for gone in run.frames.removed:
            for name in [row for row in self.rows if gone in ("", row) or row.startswith(f"{gone}/")]:
                del self.rows[name]
        for name in run.frames.changed:
            self.rows[name] = msgspec.json.encode(run.frames[name])
        self.frames = Frames(self._all())
        self.history += run.history
        self.orders += run.orders
        self.redrives = run.redrives
        self.unfinished = run.unfinished
        if isinstance(message, Redriven) and run.history:
            self.ended = None
        self.ended = run.ended or self.ended
        self.keep(run)

    def keep(self, run: Run) -> None:
        for order in run.orders:
            match order:
                case StartTask():
                    self.open[order.token] = order
                case CancelTask():
                    self.open.pop(order.token, None)
                case StartMapRun():
                    self.map_runs[order.frame] = order
                case CancelMapRun():
                    self.map_runs.pop(order.frame, None)

    def _all(self) -> list[Frame]:
        return [msgspec.json.decode(row, type=Frame) for row in self.rows.values()]

    def _loaded(self, complete: set[str]) -> Run:
        frames = [frame for frame in self._all() if not frame.done or frame.parent in complete]
        return Run(
            self.facts,
            Frames(frames, complete=complete),
            next_event=len(self.history) + 1,
            redrives=self.redrives,
            new_secret=lambda: f"s{len(self.history)}",
            chance=lambda: 0.5,
        )


def words(scene: Stored) -> st.SearchStrategy[Message]:
    """Something that may happen now, or something that makes no sense."""
    token = st.sampled_from(sorted(order.token for order in scene.orders if isinstance(order, StartTask)) or ["nobody"])
    outputs = st.integers(0, 6).map(lambda x: {"x": x, "items": [x]})
    found: list[st.SearchStrategy[Message]] = [
        st.just(Woken()),
        st.builds(TaskSucceeded, token, outputs),
        st.builds(TaskSucceeded, token, outputs),
        st.builds(TaskFailed, token, st.sampled_from(["A", "B", ""]), retryable=st.booleans()),
        st.one_of(
            st.builds(TaskStarted, token), st.builds(TaskSubmitted, token, st.just(1)), st.builds(TaskBeat, token)
        ),
        st.integers(0, 4).map(lambda chance: Woken() if chance else Stopped("No", "more")),
        st.just(Redriven()),
    ]
    if scene.map_runs:
        run = st.sampled_from([scene.map_runs[name] for name in sorted(scene.map_runs)])
        error = st.sampled_from(["", "", "A"])
        found.append(
            st.builds(lambda one, why: MapRunEnded(frame=one.frame, result=[1], error=why, arn=one.arn), run, error)
        )
    return st.one_of(found)


def check(scene: Stored) -> None:
    """What is always so."""
    assert [event.id for event in scene.history] == list(range(1, len(scene.history) + 1))
    assert all(event.previous_id < event.id for event in scene.history)
    frames = {frame.id: frame for frame in scene.frames}
    assert all(frame.parent is None or frame.parent in frames for frame in frames.values())
    if scene.ended is None:
        waits = [frame for frame in frames.values() if frame.wake_at is not None]
        tasks = {frame.place["token"] for frame in frames.values() if "token" in frame.place}
        runs = [frame for frame in frames.values() if frame.place.get("phase") == "map-run"]
        assert waits or tasks or runs, "it waits for nothing"
        assert tasks <= scene.open.keys() | {order.token for order in scene.orders if isinstance(order, StartTask)}
    elif scene.ended.status == "SUCCEEDED":
        assert not frames
    else:
        assert all(frame.wake_at is None and "token" not in frame.place for frame in frames.values())
        assert (
            scene.types[-1]
            == {
                "FAILED": "ExecutionFailed",
                "TIMED_OUT": "ExecutionTimedOut",
                "ABORTED": "ExecutionAborted",
            }[scene.ended.status]
        )


def changes(scene: Stored) -> tuple[Any, ...]:
    return dict(scene.rows), len(scene.history), len(scene.orders), scene.ended


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(definition=machines(), data=st.data())
def test_whatever_happens_the_execution_can_go_on(definition, data):
    scene = Stored(definition, {"x": 1, "items": [5, 2, 4]})
    scene.tell(Started())
    check(scene)
    for _ in range(data.draw(st.integers(0, 25))):
        scene.now += data.draw(st.sampled_from([0, 0, 1, 7, 15]))
        message = data.draw(words(scene))
        before, is_over = changes(scene), scene.ended is not None
        scene.tell(message)
        check(scene)
        if is_over and not isinstance(message, Redriven):
            assert changes(scene) == before
    if scene.ended is not None and scene.ended.status != "SUCCEEDED":
        scene.tell(Redriven())
        check(scene)
    scene.do = lambda order: {"x": 1, "items": [1]}
    for token in [frame.place["token"] for frame in scene.frames if "token" in frame.place]:
        scene.open.setdefault(token, next(one for one in scene.orders if getattr(one, "token", "") == token))
    scene.map_runs = {}
    for _ in range(2000):
        if scene.ended is not None:
            break
        finish_something(scene)
        check(scene)
    assert scene.ended is not None


def finish_something(scene: Stored) -> None:
    """Whatever it waits for happens."""
    waiting = [frame for frame in scene.frames if frame.place.get("phase") == "map-run"]
    tokens = [frame.place["token"] for frame in scene.frames if "token" in frame.place]
    if tokens:
        scene.tell(TaskSucceeded(tokens[0], {"x": 1, "items": [1]}))
    elif waiting:
        scene.tell(MapRunEnded(frame=waiting[0].id, result=[1]))
    else:
        scene.now = max(scene.now, min(frame.wake_at for frame in scene.frames if frame.wake_at is not None))
        scene.tell(Woken())


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(definition=machines())
def test_it_makes_no_difference_where_the_frames_were(definition):
    def do(order: StartTask) -> Any:
        return {"x": order.attempt, "items": [1]}

    given_input = {"x": 1, "items": [5, 2, 4]}
    kept = Scene(definition, given_input, do, written_down=False)
    written = Scene(definition, given_input, do)
    stored = Stored(definition, given_input, do)
    ends = [scene.run() for scene in (kept, written, stored)]
    assert ends[0] == ends[1] == ends[2]
    assert kept.types == written.types == stored.types
