"""Everything that is wrong with a definition, in one go.

The order: what one object holds, from the outside in; then where the states of each body lead. Nothing is raised for what is wrong,
and nothing of it is evaluated. A definition that is wrong all over ends the search early.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from corral.workflows.language.checks.calls import arguments
from corral.workflows.language.checks.fields import BODY, MACHINE, NOT_BOTH, ONE_OF, REQUIRED, STATES
from corral.workflows.language.checks.handlers import wrong_language
from corral.workflows.language.checks.maps import processor_config
from corral.workflows.language.checks.transitions import transitions
from corral.workflows.language.checks.value import (
    Check,
    Where,
    at_most_one,
    exactly_one,
    is_number,
    one_of,
    only_fields,
    required,
    thing,
)
from corral.workflows.language.checks.variables import assigned_before, variables
from corral.workflows.language.definition import Language
from corral.workflows.language.fault import (
    NESTED,
    SAME_LABEL,
    SAME_STATE,
    STATE_NAME,
    EnoughFaults,
    Fault,
    Findings,
    Place,
    nearest,
)

NAME_MAX = 80
BODIES_MAX = 40
"""Branches and Maps within one another."""
_STEPS = frozenset({"Task", "Pass", "Wait", "Parallel", "Map"})


def faults(document: Any, *, kind: str = "STANDARD", mocked: bool = False) -> list[Fault]:
    """All that is wrong with a state machine. `mocked`: its tasks are never called, somebody gives their answers."""
    findings = Findings()
    with contextlib.suppress(EnoughFaults):
        where = Where(findings=findings, place=Place(), kind=kind, mocked=mocked)
        thing(document, where)
        if isinstance(document, dict):
            _Definition(where, document).check()
    return findings.faults


def state_faults(state: Any, *, language: Language = "JSONPath", mocked: bool = False) -> list[Fault]:
    """All that is wrong with a single state, as `TestState` is given one: nobody knows where it leads."""
    findings = Findings()
    with contextlib.suppress(EnoughFaults):
        where = Where(findings=findings, place=Place(), mocked=mocked)
        _Definition(where, {"QueryLanguage": language}).state(state, where, frozenset())
    return findings.faults


class _Definition:
    """One definition while it is looked at."""

    def __init__(self, where: Where, document: dict[str, Any]) -> None:
        self._where = where
        self._document = document
        self._language = _effective(document, "JSONPath")
        self._depth = 0
        self._names: set[str] = set()
        self._labels: set[str] = set()

    def check(self) -> None:
        """The whole machine."""
        self._body(self._document, self._where, MACHINE, frozenset(), top=True)

    def _body(
        self, body: Any, where: Where, fields: dict[str, Check], outer: frozenset[str], *, top: bool = False
    ) -> None:
        thing(body, where)
        if not isinstance(body, dict):
            return
        here = msgspec.structs.replace(where, language=self._language)
        required(body, ("States", "StartAt"), here)
        only_fields(body, fields, here)
        for name, value in body.items():
            if name in fields:
                fields[name](value, here.at(name))
        states = body.get("States")
        if not isinstance(states, dict):
            return
        before = assigned_before(body)
        for name, state in states.items():
            self._name(name, here.at("States").at(name))
            self.state(state, here.at("States").at(name), outer, outer | before[name])
        if states:
            transitions(body, where.place, where.findings, top=top)

    def _name(self, name: str, where: Where) -> None:
        if not name:
            where.fault("The state name cannot be empty", code=STATE_NAME)
        if len(name) > NAME_MAX:
            where.fault(
                f"State name '{name}' exceeds the {NAME_MAX}-character limit allowed by the service", code=STATE_NAME
            )
        if name in self._names:
            where.fault(
                f"Duplicate State name: {name}", code=SAME_STATE, hint="A name is used once in the whole definition."
            )
        self._names.add(name)

    def state(self, state: Any, where: Where, outer: frozenset[str], inner: frozenset[str] = frozenset()) -> None:
        """One state and all inside of it. `outer`: variables it may not assign; `inner`: those that bodies inside may not."""
        thing(state, where)
        if not isinstance(state, dict):
            return
        required(state, ("Type",), where)
        kind = state.get("Type")
        if "Type" in state:
            one_of(*STATES)(kind, where.at("Type"))
        if not isinstance(kind, str) or kind not in STATES:
            return
        here = msgspec.structs.replace(where, language=_effective(state, self._language))
        downgraded = self._language == "JSONata" and state.get("QueryLanguage") == "JSONPath"
        if downgraded:
            here.fault("'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine")
        self._fields(state, kind, here, downgraded=downgraded)
        variables(state, here, outer)
        for body, there, fields in _bodies(state, here):
            distributed = isinstance(body, dict) and _is_distributed(body)
            self._depth += 1
            if self._depth < BODIES_MAX:
                self._body(body, there, fields, frozenset() if distributed else inner)
            else:
                message = f"States stand within one another more than {BODIES_MAX} deep"
                there.fault(message, code=NESTED, hint="Move what is inside to a workflow of its own, and start that.")
            self._depth -= 1

    def _fields(self, state: dict[str, Any], kind: str, where: Where, *, downgraded: bool) -> None:
        fields = STATES[kind]
        for name in state:
            field = fields.get(name)
            if field is None:
                where.fault(f"Field '{name}' is not supported", hint=_hint(name, kind), field=name)
            elif field.language not in (None, where.language) and not downgraded:
                wrong_language(name, where)
        required(state, REQUIRED.get(kind, ()), where)
        _combinations(state, kind, where)
        for name, value in state.items():
            field = fields.get(name)
            if field is not None and field.language in (None, where.language):
                field.check(value, where.at(name))
        _specials(state, kind, where)
        self._label(state, where)

    def _label(self, state: dict[str, Any], where: Where) -> None:
        label = state.get("Label")
        if not isinstance(label, str):
            return
        if label in self._labels:
            where.at("Label").fault(f"Duplicate Label name: {label}", code=SAME_LABEL)
        self._labels.add(label)


def _effective(state: dict[str, Any], inherited: Language) -> Language:
    """The language that is spoken: anything written but `JSONPath` itself is taken for JSONata."""
    if "QueryLanguage" not in state:
        return inherited
    return "JSONPath" if state["QueryLanguage"] == "JSONPath" else "JSONata"


def _bodies(state: dict[str, Any], where: Where) -> Iterator[tuple[Any, Where, dict[str, Check]]]:
    if state["Type"] == "Parallel" and isinstance(state.get("Branches"), list):
        for index, branch in enumerate(state["Branches"]):
            yield branch, where.at("Branches").at(index), BODY
    if state["Type"] == "Map":
        for name in ("ItemProcessor", "Iterator"):
            if isinstance(state.get(name), dict):
                yield state[name], where.at(name), {**BODY, "ProcessorConfig": processor_config}


def _is_distributed(body: dict[str, Any]) -> bool:
    config = body.get("ProcessorConfig")
    return isinstance(config, dict) and config.get("Mode") == "DISTRIBUTED"


def _hint(name: str, kind: str) -> str:
    hint = nearest(name, STATES[kind])
    if hint:
        return hint
    others: Collection[str] = [other for other, fields in STATES.items() if name in fields]
    return f"It is for {', '.join(others)}." if others else ""


def _combinations(state: dict[str, Any], kind: str, where: Where) -> None:
    if kind in _STEPS:
        ends = {
            name: value for name, value in state.items() if name == "Next" or (name == "End" and value is not False)
        }
        exactly_one(ends, ("Next", "End"), where)
    for names in ONE_OF.get(kind, ()):
        exactly_one(state, names, where)
    for names in NOT_BOTH.get(kind, ()):
        at_most_one(state, names, where)


def _specials(state: dict[str, Any], kind: str, where: Where) -> None:
    """What depends on more than one field."""
    if kind == "Task":
        arguments(state, where)
        timeout: Any = state.get("TimeoutSeconds")
        heartbeat: Any = state.get("HeartbeatSeconds")
        if is_number(timeout) and is_number(heartbeat) and heartbeat >= timeout:
            where.at("HeartbeatSeconds").fault("HeartbeatSeconds must be smaller than TimeoutSeconds")
        if "Credentials" in state and ":activity:" in str(state.get("Resource")):
            where.at("Credentials").fault("The field 'Credentials' is not supported for activities")
    elif kind == "Pass":
        result = state.get("Result")
        if isinstance(result, str) and result.startswith(("$.", "$$.")):
            where.at("Result").warn(
                "PASS_RESULT_IS_STATIC",
                "Result is taken as it stands, although it looks like a path.",
                hint="Write it as `InputPath`, or in `Parameters` with a name that ends with `.$`.",
            )
