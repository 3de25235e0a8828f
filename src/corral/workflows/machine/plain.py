"""The states that need nobody else: Pass, Choice, Wait, Succeed, Fail."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from corral.workflows.failing import NO_CHOICE, RUNTIME, StateFailed
from corral.workflows.language import choosing, jsonata, templates
from corral.workflows.language.definition import Choice, Fail, Pass, Succeed, Wait
from corral.workflows.machine import flow, waiting
from corral.workflows.machine.run import Frame
from corral.workflows.machine.turn import WAIT, Turn


def run_pass(turn: Turn, frame: Frame, state: Pass) -> None:
    """Hand on, perhaps in another shape."""
    language = turn.language(frame, state)
    data = flow.effective_input(turn, frame, state, language)
    if state.result is not UNSET and language == "JSONPath":
        flow.finish(turn, frame, state, state.result)
    else:
        flow.finish(turn, frame, state, flow.payload(turn, frame, state, language, data))


def run_succeed(turn: Turn, frame: Frame, state: Succeed) -> None:
    """End the body."""
    data = flow.effective_input(turn, frame, state, turn.language(frame, state))
    flow.pass_on(turn, frame, state, data, None)


def run_fail(turn: Turn, frame: Frame, state: Fail) -> None:
    """End the body with an error."""
    language = turn.language(frame, state)
    scope = turn.scope(frame, flow.effective_input(turn, frame, state, language))
    if language == "JSONata":
        told = [
            jsonata.evaluate(text, scope, field=field, expected="string")
            if text is not None and jsonata.is_expression(text)
            else text
            for field, text in (("Error", state.error), ("Cause", state.cause))
        ]
    else:
        told = [
            text if path is None else _found(path, scope, field)
            for field, text, path in (
                ("ErrorPath", state.error, state.error_path),
                ("CausePath", state.cause, state.cause_path),
            )
        ]
    raise StateFailed(told[0] or "", told[1])


def _found(path: str, scope: Any, field: str) -> str:
    found = templates.expression(path, scope, field=field)
    return found if isinstance(found, str) else waiting.shown(found)


def run_choice(turn: Turn, frame: Frame, state: Choice) -> None:
    """Decide where to go on."""
    language = turn.language(frame, state)
    data = flow.effective_input(turn, frame, state, language)
    scope = turn.scope(frame, data)
    for index, rule in enumerate(state.choices):
        if language == "JSONata":
            matches = _holds(rule.condition, scope, f"Choices[{index}]/Condition")
        else:
            matches = choosing.matches(rule.test, scope)
        if matches:
            flow.pass_on(turn, frame, state, data, rule.next, rule=index)
            return
    if state.default is None:
        cause = "Failed to transition out of the state. The state does not point to a next state."
        raise StateFailed(RUNTIME, cause, prefixed=True, also=(NO_CHOICE,))
    flow.pass_on(turn, frame, state, data, state.default)


def _holds(condition: Any, scope: Any, field: str) -> bool:
    if isinstance(condition, str) and jsonata.is_expression(condition):
        return bool(jsonata.evaluate(condition, scope, field=field, expected="boolean"))
    return condition is True


def run_wait(turn: Turn, frame: Frame, state: Wait) -> None:
    """Let time pass."""
    language = turn.language(frame, state)
    data = flow.effective_input(turn, frame, state, language)
    until = waiting.until(state, turn.scope(frame, data), language, turn.now)
    if until <= turn.now:
        end_wait(turn, frame, state)
        return
    frame.place["phase"] = WAIT
    frame.place["until"] = until
    turn.wake(frame, until)
    turn.frames.touch(frame)


def end_wait(turn: Turn, frame: Frame, state: Wait) -> None:
    """The time has passed."""
    data = flow.effective_input(turn, frame, state, turn.language(frame, state))
    flow.pass_on(turn, frame, state, data, None if state.end else state.next)
