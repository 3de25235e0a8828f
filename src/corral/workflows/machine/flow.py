"""Data on its way through a state: from its raw input to what it works on, and from its result to what the next state gets."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from corral.workflows.language import paths, templates
from corral.workflows.language.definition import Choice, Language, Map, Parallel, Pass, State, Task
from corral.workflows.machine import recording
from corral.workflows.machine.run import Frame
from corral.workflows.machine.turn import Turn

VARIABLE_MAX_BYTES = 262_144
"""Of one variable, and of all that one `Assign` says."""

VARIABLES_MAX_BYTES = 10 * 1024 * 1024
"""Of all variables that a frame can see."""


def effective_input(turn: Turn, frame: Frame, state: State, language: Language) -> Any:
    """The input as `InputPath` leaves it."""
    path = getattr(state, "input_path", "$")
    if language == "JSONata":
        return frame.input
    data = _chosen(turn, frame, path, frame.input)
    turn.note("afterInputPath", data)
    return data


def payload(turn: Turn, frame: Frame, state: Task | Parallel | Pass, language: Language, data: Any) -> Any:
    """What the state works on: `Parameters` or `Arguments`, else the effective input."""
    if language == "JSONata":
        arguments = UNSET if isinstance(state, Pass) else state.arguments
        if arguments is UNSET:
            return data
        given = templates.evaluate(arguments, turn.scope(frame, data), language=language, field="Arguments")
        turn.note("afterArguments", given)
        return given
    if state.parameters is not UNSET:
        data = templates.evaluate(state.parameters, turn.scope(frame, data), language=language, field="Parameters")
    turn.note("afterParameters", data)
    return data


def finish(turn: Turn, frame: Frame, state: Task | Parallel | Map | Pass, result: Any) -> None:
    """The state has its result: `Assign` and the output are made of it, and the state is left."""
    language = turn.language(frame, state)
    turn.note("result", result)
    if language == "JSONata":
        assigned, output = _by_expressions(turn, frame, state, result)
    else:
        assigned, output = _by_paths(turn, frame, state, result)
    leave(turn, frame, output, None if state.end else state.next, assigned)


def _by_expressions(
    turn: Turn, frame: Frame, state: Task | Parallel | Map | Pass, result: Any
) -> tuple[dict[str, Any], Any]:
    if state.output is UNSET and state.assign is UNSET:
        return {}, result
    seen = UNSET if isinstance(state, Pass) else result
    scope = turn.scope(frame, frame.input, result=seen)
    return assigning(state.assign, scope, "JSONata"), said(state.output, scope, result)


def _by_paths(turn: Turn, frame: Frame, state: Task | Parallel | Map | Pass, result: Any) -> tuple[dict[str, Any], Any]:
    assigned: dict[str, Any] = {}
    if state.assign is not UNSET:
        assigned = assigning(state.assign, turn.scope(frame, result), "JSONPath")
    selector = UNSET if isinstance(state, Pass) else state.result_selector
    if selector is not UNSET:
        result = templates.evaluate(selector, turn.scope(frame, result), language="JSONPath", field="ResultSelector")
    turn.note("afterResultSelector", result)
    output = placed(frame.input, state.result_path, result)
    turn.note("afterResultPath", output)
    return assigned, _chosen(turn, frame, state.output_path, output)


def placed(data: Any, path: str | None, result: Any) -> Any:
    """The raw input with the result where `ResultPath` wants it."""
    if path == "$":
        return result
    return data if path is None else paths.reference_set(data, path, result)


def said(output: Any, scope: Any, otherwise: Any, *, field: str = "Output") -> Any:
    """`Output` in JSONata, where there is one."""
    if output is UNSET:
        return otherwise
    return templates.evaluate(output, scope, language="JSONata", field=field)


def pass_on(turn: Turn, frame: Frame, state: State, data: Any, target: str | None, *, rule: int | None = None) -> None:
    """Leave a state that has no result: its effective input goes on. `rule`: what this rule of a Choice says counts instead."""
    language = turn.language(frame, state)
    says: Any = state
    inside = ""
    if rule is not None and isinstance(state, Choice):
        says, inside = state.choices[rule], f"Choices[{rule}]/"
    assign, output = getattr(says, "assign", UNSET), getattr(says, "output", UNSET)
    assigned = {} if assign is UNSET else assigning(assign, turn.scope(frame, data), language, field=f"{inside}Assign")
    if language == "JSONata":
        if output is not UNSET:
            data = said(output, turn.scope(frame, data), data, field=f"{inside}Output")
    else:
        data = _chosen(turn, frame, getattr(state, "output_path", "$"), data)
    leave(turn, frame, data, target, assigned)


def assigning(assign: Any, scope: Any, language: Language, *, field: str = "Assign") -> dict[str, Any]:
    """What `Assign` gives its variables, all from what was there before."""
    if assign is UNSET or not assign:
        return {}
    assigned = templates.evaluate(assign, scope, language=language, field=field)
    return assigned if isinstance(assigned, dict) else {}


def leave(turn: Turn, frame: Frame, output: Any, target: str | None, assigned: dict[str, Any] | None = None) -> None:
    """Leave a state with its output, for the next one or, without a target, to the end of the body. Raises `StateFailed`."""
    text = recording.bounded_text_of(output, frame.state)
    if assigned:
        _check_variables(turn, frame, assigned)
        frame.variables = {**frame.variables, **assigned}
    kind = f"{type(turn.state(frame)).__name__}StateExited"
    turn.record(frame, kind, recording.exited(frame.state, text, assigned))
    if target is None:
        frame.done, frame.result, frame.wake_at = True, output, None
        if frame.parent is not None:
            # Its siblings may be many, and all that is asked of it from now on is its result.
            frame.input, frame.variables, frame.place = None, {}, {"event": frame.place["event"]}
        turn.texts[frame.id] = text
        turn.frames.touch(frame)
    else:
        turn.move_to(frame, target, output, text)


def _check_variables(turn: Turn, frame: Frame, assigned: dict[str, Any]) -> None:
    sizes = {name: len(recording.text_of(value)) for name, value in assigned.items()}
    if sum(sizes.values()) > VARIABLE_MAX_BYTES:
        raise recording.too_large(frame.state)
    # What is there already is only weighed when there may be too much of it.
    seen = turn.variables(frame)
    most = VARIABLES_MAX_BYTES // VARIABLE_MAX_BYTES
    if len(seen) >= most and len(recording.text_of(seen)) + sum(sizes.values()) > VARIABLES_MAX_BYTES:
        raise recording.too_large(frame.state)


def _chosen(turn: Turn, frame: Frame, path: str | None, data: Any) -> Any:
    if path == "$":
        return data
    return {} if path is None else paths.find(path, turn.scope(frame, data))
