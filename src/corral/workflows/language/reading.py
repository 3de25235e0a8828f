"""From what somebody wrote to a `Machine`: JSON or YAML is parsed, checked, and put into structs.

Old spellings are gone afterwards: `Iterator` and `Parameters` of a Map are `ItemProcessor` and `ItemSelector`, and what a rule of a
Choice compares stands in `Rule.test`. A body inside a state is given the language of the whole machine: that of the Map or
Parallel around it is that state's own business.
"""

from __future__ import annotations

from typing import Any

import msgspec

from corral.workflows.language.definition import Machine, State
from corral.workflows.language.document import document_of
from corral.workflows.language.fault import DefinitionInvalid, errors_of

_RULE = frozenset({"Next", "Condition", "Assign", "Output", "Comment"})


def read(text: str | bytes | dict[str, Any], *, kind: str = "STANDARD") -> Machine:
    """The machine that is defined. Raises `DefinitionInvalid` with everything that is wrong."""
    from corral.workflows.language.checking import faults  # noqa: PLC0415 - an engine reads what was checked before

    document = document_of(text)
    found = faults(document, kind=kind)
    if errors_of(found):
        raise DefinitionInvalid(found)
    return machine_of(document)


def machine_of(document: dict[str, Any]) -> Machine:
    """A machine from a document in which nothing is wrong. Quicker than `read`: for what was checked when it was stored."""
    whole = _body(document, document.get("QueryLanguage"))
    return msgspec.convert(whole, Machine)


def state_of(document: dict[str, Any], language: str | None = None) -> State:
    """A single state, as `TestState` is given one, in which nothing is wrong."""
    state: State = msgspec.convert(_state(document, language), State)
    return state


def _body(body: dict[str, Any], language: str | None) -> dict[str, Any]:
    states = {name: _state(state, language) for name, state in body["States"].items()}
    return {**body, "States": states, "QueryLanguage": language}


def _state(state: dict[str, Any], language: str | None) -> dict[str, Any]:
    match state["Type"]:
        case "Choice":
            return {**state, "Choices": [_rule(rule) for rule in state["Choices"]]}
        case "Parallel":
            return {**state, "Branches": [_body(branch, language) for branch in state["Branches"]]}
        case "Map":
            return _map(state, language)
    return state


def _map(state: dict[str, Any], language: str | None) -> dict[str, Any]:
    read_as = dict(state)
    for old, new in (("Iterator", "ItemProcessor"), ("Parameters", "ItemSelector")):
        if old in read_as:
            read_as.setdefault(new, read_as.pop(old))
    read_as["ItemProcessor"] = _body(read_as["ItemProcessor"], language)
    return read_as


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in rule.items() if key in _RULE}
    return {**kept, "Test": {key: value for key, value in rule.items() if key not in _RULE}}
