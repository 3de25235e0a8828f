"""Task: work that is done outside, and what is heard of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from msgspec import UNSET

from corral.errors import ValidationFailed
from corral.workflows.failing import HEARTBEAT_TIMEOUT, RUNTIME, TIMEOUT, StateFailed
from corral.workflows.language import templates
from corral.workflows.language.definition import Language, Task
from corral.workflows.language.resource import Resource, resource_of
from corral.workflows.machine import flow, recording, tokens, waiting
from corral.workflows.machine.happening import TaskBeat, TaskFailed, TaskStarted, TaskSubmitted, TaskSucceeded
from corral.workflows.machine.order import CancelTask, Escalate, StartTask
from corral.workflows.machine.run import Frame
from corral.workflows.machine.turn import TASK, Turn
from corral.workflows.tasks.approvals import asked_of, unanswered

_resource_of = lru_cache(maxsize=4096)(resource_of)


def resource_for(state: Task) -> Resource:
    """Who does it. Raises `StateFailed` where nobody here does."""
    resource = _resource_of(state.resource)
    if resource is None:
        raise StateFailed(RUNTIME, f"The resource '{state.resource}' is not served here.", prefixed=True)
    return resource


def begin(turn: Turn, frame: Frame, state: Task) -> None:
    """Have it done."""
    language = turn.language(frame, state)
    resource = resource_for(state)
    place = frame.place
    token = tokens.make(turn.run.facts.id, frame.id, turn.run.new_secret())
    if resource.pattern == "waitForTaskToken" or resource.service in ("activity", "approval"):
        place["shown"] = token
    data = flow.effective_input(turn, frame, state, language)
    timeout_s, heartbeat_s = _limits(turn, frame, state, data, language)
    given = flow.payload(turn, frame, state, language, data)
    if resource.service == "approval":
        timeout_s = _asked(turn, frame, given, timeout_s)
    text = recording.bounded_text_of(given, frame.state)
    order = StartTask(
        token=token,
        state=frame.state,
        resource=resource,
        payload=given,
        attempt=place["attempt"],
        timeout_at=None if timeout_s is None else turn.now + timeout_s,
        heartbeat_s=heartbeat_s,
        credentials=_credentials(turn, frame, state, data, language),
    )
    region = turn.run.facts.machine_arn.split(":")[3:4]
    turn.record(frame, *recording.scheduled(order, region[0] if region else "", text, timeout_s))
    turn.run.orders.append(order)
    place.update(phase=TASK, token=token, timeout=timeout_s, until=order.timeout_at, heartbeat=heartbeat_s, beat=None)
    _rest(turn, frame)


def _asked(turn: Turn, frame: Frame, given: Any, timeout_s: float | None) -> float | None:
    """How long a person may take over a question. Raises `StateFailed` for what cannot be asked."""
    try:
        asked = asked_of(given)
    except ValidationFailed as error:
        raise StateFailed(RUNTIME, error.message, prefixed=True) from error
    frame.place["escalated"] = 0
    frame.place["escalate"] = [[turn.now + step.after_s, step.assignee] for step in asked.escalate]
    if asked.deadline_s is None or (timeout_s is not None and timeout_s <= asked.deadline_s):
        return timeout_s
    frame.place["otherwise"] = asked.otherwise
    return asked.deadline_s


def _limits(turn: Turn, frame: Frame, state: Task, data: Any, language: Language) -> tuple[float | None, float | None]:
    named = (state.timeout_seconds_path, state.heartbeat_seconds_path, state.timeout_seconds, state.heartbeat_seconds)
    if all(one is None for one in named):
        return None, None
    scope = turn.scope(frame, data)
    return (
        waiting.limit("TimeoutSeconds", state.timeout_seconds, state.timeout_seconds_path, scope, language),
        waiting.limit("HeartbeatSeconds", state.heartbeat_seconds, state.heartbeat_seconds_path, scope, language),
    )


def _credentials(turn: Turn, frame: Frame, state: Task, data: Any, language: Language) -> Any:
    if state.credentials is UNSET:
        return None
    return templates.evaluate(state.credentials, turn.scope(frame, data), language=language, field="Credentials")


def _rest(turn: Turn, frame: Frame) -> None:
    """Until somebody tells something of the task, or it is late."""
    place = frame.place
    due = [at for at in (place["until"], place["beat"], *_escalations(place)) if at is not None]
    turn.wake(frame, min(due, default=None))
    turn.frames.touch(frame)


def _escalations(place: dict[str, Any]) -> list[float]:
    """When the question of this place is put to the next one."""
    return [at for at, _ in place.get("escalate", ())[place.get("escalated", 0) :]]


def _escalate(turn: Turn, frame: Frame) -> None:
    """Put a question that has waited long enough to whoever is next, and have them told."""
    place = frame.place
    for at in _escalations(place):
        if at > turn.now:
            return
        _, assignee = place["escalate"][place["escalated"]]
        place["escalated"] += 1
        turn.record(frame, "ApprovalEscalated", {"name": frame.state, "assignee": assignee})
        turn.run.orders.append(Escalate(token=place["token"], step=place["escalated"], assignee=assignee, at=turn.now))


def _beats(turn: Turn, frame: Frame) -> None:
    place = frame.place
    if place["heartbeat"] is not None:
        place["beat"] = turn.now + place["heartbeat"]


def _kind(resource: Resource, what: str) -> str:
    if resource.is_integration:
        return f"Task{what}"
    return f"Activity{what}" if resource.service == "activity" else f"LambdaFunction{what}"


def _events(resource: Resource) -> dict[str, Any]:
    return recording.named(resource) if resource.is_integration else {}


def started(turn: Turn, frame: Frame, state: Task, message: TaskStarted | None = None) -> None:
    """Somebody has taken it on: from here on its time counts. Heard again, it changes nothing."""
    place = frame.place
    if place.get("started"):
        return
    resource = resource_for(state)
    details = _events(resource)
    if resource.service == "activity" and message is not None and message.worker:
        details = {"workerName": message.worker}
    place["started"] = True
    turn.record(frame, _kind(resource, "Started"), details)
    if place["timeout"] is not None:
        place["until"] = turn.now + place["timeout"]
    _beats(turn, frame)
    _rest(turn, frame)


def submitted(turn: Turn, frame: Frame, state: Task, message: TaskSubmitted) -> None:
    """The call is made; whoever was called tells the end. Heard again, it changes nothing."""
    place = frame.place
    if place.get("submitted"):
        return
    started(turn, frame, state)
    place["submitted"] = True
    _know_child(place, resource_for(state), message.output)
    details = {"output": recording.text_of(message.output), "outputDetails": recording.WHOLE}
    resource = resource_for(state)
    turn.record(frame, _kind(resource, "Submitted"), {**_events(resource), **details})
    _beats(turn, frame)
    _rest(turn, frame)


def _know_child(place: dict[str, Any], resource: Resource, output: Any) -> None:
    """Who waits for an execution stops it where nobody waits any more."""
    if resource.service == "states" and resource.pattern.startswith("sync") and isinstance(output, dict):
        place["child"] = str(output.get("ExecutionArn", ""))


def beat(turn: Turn, frame: Frame, _state: Task, _message: TaskBeat) -> None:
    """Who works on it is alive."""
    _beats(turn, frame)
    _rest(turn, frame)


def succeeded(turn: Turn, frame: Frame, state: Task, message: TaskSucceeded) -> None:
    """It is done. Raises `StateFailed` where its result is of no use."""
    started(turn, frame, state)
    resource = resource_for(state)
    who = recording.named(resource)["resourceType"] if resource.is_integration else resource.text
    try:
        text = recording.bounded_text_of(message.output, who)
    except StateFailed as failure:
        _record_failure(turn, frame, _kind(resource, "Failed"), resource, failure.error, failure.cause)
        _over(frame)
        raise
    details = {**_events(resource), "output": text, "outputDetails": recording.WHOLE}
    turn.record(frame, _kind(resource, "Succeeded"), details)
    _over(frame)
    flow.finish(turn, frame, state, message.output)


def failed(turn: Turn, frame: Frame, state: Task, message: TaskFailed) -> None:
    """It will never be done. Raises `StateFailed`."""
    resource = resource_for(state)
    error, cause = message.error or None, message.cause or None
    if message.timed_out:
        what, error = "TimedOut", error or TIMEOUT
    else:
        what = {"schedule": "ScheduleFailed", "start": "StartFailed", "submit": "SubmitFailed"}.get(
            message.at, "Failed"
        )
        if resource.is_integration and what == "ScheduleFailed":
            what = "StartFailed"
        if not resource.is_integration and what == "SubmitFailed":
            what = "Failed"
    if message.at not in ("schedule", "start"):
        started(turn, frame, state)
    _record_failure(turn, frame, _kind(resource, what), resource, error, cause)
    _over(frame)
    raise StateFailed(error or "", cause, retryable=message.retryable)


def late(turn: Turn, frame: Frame, state: Task) -> None:
    """Time has passed: it may have taken too long, or nobody has told that it goes on. Raises `StateFailed` then."""
    place = frame.place
    due = [at for at in (place["until"], place["beat"]) if at is not None and at <= turn.now]
    if not due:
        _escalate(turn, frame)
        _rest(turn, frame)
        return
    if place.get("otherwise") is not None:
        turn.run.orders.append(CancelTask(place["token"]))
        succeeded(turn, frame, state, TaskSucceeded(place["token"], unanswered(place["otherwise"])))
        return
    resource = resource_for(state)
    is_silent = place["beat"] is not None and place["beat"] == min(due)
    _record_failure(turn, frame, _kind(resource, "TimedOut"), resource, TIMEOUT, None)
    turn.run.orders.append(CancelTask(place["token"], place.get("child", "")))
    _over(frame)
    raise StateFailed(TIMEOUT, also=(HEARTBEAT_TIMEOUT,) if is_silent else ())


def _record_failure(
    turn: Turn, frame: Frame, kind: str, resource: Resource, error: str | None, cause: str | None
) -> None:
    turn.record(frame, kind, {**_events(resource), **recording.failed(error, cause)})


def _over(frame: Frame) -> None:
    """Nobody's word about it counts any more."""
    frame.place.pop("token", None)
    frame.place.pop("child", None)
