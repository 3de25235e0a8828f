"""Any machine and any order of words: it never breaks, never hangs, and is the same wherever its frames were meanwhile."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
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
SEEDS = st.integers(0, 2**32).map(Random)
"""Machines and words are made by ordinary chance from a seed: drawing each of their parts would take longer than running them."""


def machine(chance: Random) -> dict[str, Any]:
    whole = body(chance, 0)
    if chance.random() < 0.4:
        whole["TimeoutSeconds"] = chance.randint(1, 100)
    return whole


def body(chance: Random, depth: int) -> dict[str, Any]:
    """A body whose states lead forward, so that it ends."""
    names = [f"S{number}" for number in range(chance.randint(1, 4 - depth))]
    states = {name: state_before(chance, names[index + 1 :], depth) for index, name in enumerate(names)}
    return {"StartAt": names[0], "States": states}


def state_before(chance: Random, later: list[str], depth: int) -> dict[str, Any]:
    onward: dict[str, Any] = {"Next": chance.choice(later)} if later else {"End": True}
    if chance.random() < 0.35:
        return simple_state(chance, later, onward)
    kinds = [task] if depth >= 2 else [task, task, parallel, over_items]
    work = {
        **chance.choice(kinds)(chance, depth),
        **onward,
        "Retry": [rule(chance) for _ in range(chance.randint(0, 2))],
    }
    if later and chance.random() < 0.5:
        work["Catch"] = [{"ErrorEquals": [chance.choice(ERRORS)], "ResultPath": "$.e", "Next": chance.choice(later)}]
    return work


def simple_state(chance: Random, later: list[str], onward: dict[str, Any]) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        {"Type": "Pass", "Assign": {"v.$": "$.x"}, **onward},
        {"Type": "Wait", "Seconds": chance.randint(0, 20), **onward},
    ]
    if later:
        rules = [{"Variable": "$.x", "NumericGreaterThan": 3, "Next": chance.choice(later)}]
        found.append({"Type": "Choice", "Choices": rules, "Default": later[0]})
    else:
        found += [{"Type": "Succeed"}, {"Type": "Fail", "Error": chance.choice("AB")}]
    return chance.choice(found)


def rule(chance: Random) -> dict[str, Any]:
    return {
        "ErrorEquals": chance.sample(ERRORS, chance.randint(1, 2)),
        "MaxAttempts": chance.randint(0, 2),
        "IntervalSeconds": chance.randint(1, 5),
        "JitterStrategy": chance.choice(["NONE", "FULL"]),
    }


def task(chance: Random, _depth: int) -> dict[str, Any]:
    limits = chance.choice([{}, {"TimeoutSeconds": 30, "HeartbeatSeconds": 10}])
    return {"Type": "Task", "Resource": "corral:function:f", "ResultPath": "$.r", **limits}


def parallel(chance: Random, depth: int) -> dict[str, Any]:
    branches = [body(chance, depth + 1) for _ in range(chance.randint(1, 2))]
    return {"Type": "Parallel", "Branches": branches, "ResultPath": "$.p"}


def over_items(chance: Random, depth: int) -> dict[str, Any]:
    processor = body(chance, depth + 1)
    if chance.random() < 0.25:
        processor["ProcessorConfig"] = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    return {
        "Type": "Map",
        "ItemProcessor": processor,
        "ItemsPath": "$.items",
        "ItemSelector": {"x.$": "$$.Map.Item.Value", "items.$": "$.items"},
        "ResultPath": "$.m",
        "MaxConcurrency": chance.randint(0, 2),
    }


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
            chance=self._chance,
        )


def word(chance: Random, scene: Stored) -> Message:
    """Something that may happen now, or something that makes no sense."""
    heard = [order.token for order in scene.orders if isinstance(order, StartTask)]
    token = chance.choice(heard or ["nobody"])
    x = chance.randint(0, 6)
    found: list[Message] = [
        Woken(),
        TaskSucceeded(token, {"x": x, "items": [x]}),
        TaskSucceeded(token, {"x": x, "items": [x]}),
        TaskFailed(token, chance.choice(["A", "B", ""]), retryable=chance.random() < 0.8),
        chance.choice([TaskStarted(token), TaskSubmitted(token, 1), TaskBeat(token)]),
        Woken() if chance.random() < 0.8 else Stopped("No", "more"),
        Redriven(),
    ]
    if scene.map_runs:
        run = chance.choice(list(scene.map_runs.values()))
        found.append(MapRunEnded(frame=run.frame, result=[1], error=chance.choice(["", "", "A"]), arn=run.arn))
    return chance.choice(found)


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


@settings(max_examples=100, deadline=None)
@given(chance=SEEDS)
def test_whatever_happens_the_execution_can_go_on(chance):
    scene = Stored(machine(chance), {"x": 1, "items": [5, 2, 4]})
    scene.tell(Started())
    check(scene)
    for _ in range(chance.randint(0, 25)):
        scene.now += chance.choice([0, 0, 1, 7, 15])
        message = word(chance, scene)
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


@settings(max_examples=50, deadline=None)
@given(chance=SEEDS)
def test_it_makes_no_difference_where_the_frames_were(chance):
    definition = machine(chance)

    def do(order: StartTask) -> Any:
        return {"x": order.attempt, "items": [1]}

    given_input = {"x": 1, "items": [5, 2, 4]}
    kept = Scene(definition, given_input, do, written_down=False, chance=lambda: 0.5)
    written = Scene(definition, given_input, do, chance=lambda: 0.5)
    stored = Stored(definition, given_input, do, chance=lambda: 0.5)
    ends = [scene.run() for scene in (kept, written, stored)]
    assert ends[0] == ends[1] == ends[2]
    assert kept.types == written.types == stored.types
