"""Runs machines in memory with a clock that turns by itself: whoever waits for time waits for nothing.

Between two messages every frame is written down and read again, as a store does.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from corral.workflows.failing import StateFailed
from corral.workflows.language import templates
from corral.workflows.language.definition import Machine
from corral.workflows.language.reading import machine_of
from corral.workflows.language.scope import Scope
from corral.workflows.machine.happening import (
    MapRunEnded,
    Message,
    Started,
    TaskFailed,
    TaskStarted,
    TaskSucceeded,
    Woken,
)
from corral.workflows.machine.moves import tell
from corral.workflows.machine.order import CancelMapRun, CancelTask, Order, StartMapRun, StartTask
from corral.workflows.machine.run import Ended, Facts, Frame, Frames, HistoryEvent, Run

ACCOUNT = "arn:aws:states:us-east-1:000000000000"


def facts_of(given: Any, *, name: str = "m", kind: str = "STANDARD", at: float = 1_700_000_000.0) -> Facts:
    return Facts(
        id="execution-1",
        arn=f"{ACCOUNT}:execution:{name}:x" if kind == "STANDARD" else f"{ACCOUNT}:express:{name}:x:1",
        name="x",
        tenant="t",
        machine_arn=f"{ACCOUNT}:stateMachine:{name}",
        machine_name=name,
        role_arn="arn:aws:iam::000000000000:role/r",
        kind=kind,
        started_at=at,
        input=given,
    )


class Scene:
    """One execution, whose tasks are done by `do(order) -> output`, which may raise `StateFailed`."""

    def __init__(
        self,
        definition: dict[str, Any] | Machine,
        given: Any = None,
        do: Callable[[StartTask], Any] | None = None,
        *,
        kind: str = "STANDARD",
        chance: Callable[[], float] | None = None,
        written_down: bool = True,
    ) -> None:
        self.machine = machine_of(definition) if isinstance(definition, dict) else definition
        self.facts = facts_of(given, kind=kind)
        self.now = self.facts.started_at
        self.do = do
        self.frames = Frames()
        self.history: list[HistoryEvent] = []
        self.orders: list[Order] = []
        self.open: dict[str, StartTask] = {}
        self.map_runs: dict[str, StartMapRun] = {}
        self.redrives = 0
        self.ended: Ended | None = None
        self.unfinished = False
        self._secrets = itertools.count()
        self._chance = chance or random.Random(1).random
        self._written_down = written_down

    def tell(self, message: Message) -> None:
        run = Run(
            self.facts,
            self._again() if self._written_down else self.frames,
            next_event=len(self.history) + 1,
            redrives=self.redrives,
            new_secret=lambda: f"s{next(self._secrets)}",
            chance=self._chance,
        )
        tell(run, self.machine, message, now=self.now)
        self.frames = run.frames
        self.history += run.history
        self.orders += run.orders
        self.redrives = run.redrives
        self.ended = run.ended or (
            None if run.redrives and self.ended and not run.ended and run.history else self.ended
        )
        self.unfinished = run.unfinished
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

    def _again(self) -> Frames:
        """The frames as a store would give them back, finished ones as well."""
        written = msgspec.json.encode(list(self.frames))
        frames = msgspec.json.decode(written, type=list[Frame])
        return Frames(frames, complete={frame.parent for frame in frames if frame.parent is not None})

    def run(self, *, most: int = 100_000) -> Ended:
        """From start to end."""
        self.tell(Started())
        return self.go_on(most=most)

    def go_on(self, *, most: int = 100_000) -> Ended:
        for _ in range(most):
            if self.ended is not None:
                return self.ended
            if self.unfinished:
                self.tell(Woken())
            elif self.open and self.do is not None:
                token, order = next(iter(self.open.items()))
                del self.open[token]
                self.work(order)
            elif self.map_runs:
                frame, order = next(iter(self.map_runs.items()))
                del self.map_runs[frame]
                self.tell(self.run_over(order))
            else:
                due = [frame.wake_at for frame in self.frames if frame.wake_at is not None]
                assert due, "the execution waits for nothing"
                self.now = max(self.now, min(due))
                self.tell(Woken())
        raise AssertionError("the execution does not end")

    def work(self, order: StartTask) -> None:
        self.tell(TaskStarted(order.token))
        assert self.do is not None
        try:
            output = self.do(order)
        except StateFailed as failure:
            self.tell(TaskFailed(order.token, failure.error, failure.cause or ""))
        else:
            if output is not ...:
                self.tell(TaskSucceeded(order.token, output))

    def run_over(self, order: StartMapRun) -> MapRunEnded:
        """A distributed Map over items that are there already, each in an execution of its own."""
        results = []
        items = order.spec["items"] or []
        pairs = list(items.items()) if isinstance(items, dict) else list(enumerate(items))
        for index, (key, item) in enumerate(pairs):
            child = self._child(order, index, key, item)
            ended = child.run()
            if ended.status != "SUCCEEDED":
                return MapRunEnded(frame=order.frame, error="States.ExceedToleratedFailureThreshold", cause="")
            results.append(ended.output)
        return MapRunEnded(frame=order.frame, result=results, arn=order.arn)

    def _child(self, order: StartMapRun, index: int, key: Any, item: Any) -> Scene:
        body = self.machine.body(tuple(order.spec["body"]))
        machine = Machine(start_at=body.start_at, states=body.states, query_language=body.query_language)
        context = {"Item": {"Index": index, "Value": item}}
        given = item
        selector = order.spec["selector"]
        if selector is not None:
            scope = Scope(
                input=selector["input"],
                context={**selector["context"], "Map": context},
                variables=selector["variables"],
            )
            given = templates.evaluate(
                selector["template"], scope, language=order.spec["language"], field="ItemSelector"
            )
        child = Scene(machine, given, self.do)
        child.facts = msgspec.structs.replace(child.facts, map_context=context)
        return child

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.history]


# -- definitions ------------------------------------------------------------------------------------------------------

ECHO = "corral:function:echo"


def machine(**states: dict[str, Any]) -> dict[str, Any]:
    return {"StartAt": next(iter(states)), "States": states}


def task(**fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": ECHO, **({} if "Next" in fields else {"End": True}), **fields}


def passing(**fields: Any) -> dict[str, Any]:
    return {"Type": "Pass", **({} if "Next" in fields else {"End": True}), **fields}


def each(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"Type": "Map", "ItemProcessor": machine(One=body), "End": True, **fields}


def failing(error: str, cause: str = "why") -> Any:
    def do(_order: StartTask) -> Any:
        raise StateFailed(error, cause)

    return do


def open_token(scene: Scene, index: int = 0) -> str:
    return list(scene.open)[index]


# -- the recorded cases, where they lie ------------------------------------------------------------------------------

RECORDED = Path(__file__).parents[3] / "shared" / "conformance" / "asl"


def recorded_module(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"asl_{name}", RECORDED / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Lambdas:
    """Stand-ins for Lambda functions, called as AWS calls them."""

    def __init__(self, functions: dict[str, Callable[[Any, Any], Any]]) -> None:
        self._functions = functions

    def __call__(self, order: StartTask) -> Any:
        resource = order.resource
        if resource.service != "lambda":
            raise StateFailed("States.TaskFailed", f"nobody does {resource.text}")
        if not resource.action:
            return self._call(resource.name, order.payload)
        name = str(order.payload["FunctionName"]).rpartition("function:")[2].removesuffix(":$LATEST")
        if name not in self._functions:
            arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}:$LATEST"
            raise StateFailed(
                "Lambda.ResourceNotFoundException",
                f"Function not found: {arn} (Service: AWSLambda; Status Code: 404; Error Code: ResourceNotFoundException; "
                "Request ID: 1; Proxy: null)",
            )
        payload = order.payload.get("Payload")
        answer = self._call(name, {} if payload is None else _payload(payload))
        if answer is ...:
            return answer
        length = str(len(json.dumps(answer)))
        headers = {
            "Connection": "keep-alive",
            "Content-Length": length,
            "Content-Type": "application/json",
            "Date": "now",
            "X-Amz-Executed-Version": "$LATEST",
            "X-Amzn-Trace-Id": "X-Amzn-Trace-Id",
            "x-amzn-Remapped-Content-Length": "0",
            "x-amzn-RequestId": "x-amzn-RequestId",
        }
        return {
            "ExecutedVersion": "$LATEST",
            "Payload": answer,
            "SdkHttpMetadata": {
                "AllHttpHeaders": {key: [value] for key, value in headers.items()},
                "HttpHeaders": headers,
                "HttpStatusCode": 200,
            },
            "SdkResponseMetadata": {"RequestId": "RequestId"},
            "StatusCode": 200,
        }

    def _call(self, name: str, event: Any) -> Any:
        if name == "asl_wait_60_seconds":
            return ...
        try:
            answer = self._functions[name](event, None)
        except Exception as error:
            cause = {
                "errorMessage": str(error),
                "errorType": type(error).__name__,
                "requestId": "1",
                "stackTrace": traceback.format_tb(error.__traceback__),
            }
            raise StateFailed(type(error).__name__, json.dumps(cause)) from error
        return json.loads(answer) if isinstance(answer, bytes) else answer


def _payload(payload: Any) -> Any:
    """A payload in text is JSON already."""
    if isinstance(payload, str):
        try:
            return json.loads(payload)
        except ValueError:
            return payload
    return payload
