"""Which variables each state reads: `{"CheckAnswer": ["answer", "guess"]}`, states of inner bodies beside those of outer ones."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.workflows.language import jsonata
from corral.workflows.language.definition import Body, Language, Machine, Map, Parallel, State, language_of
from corral.workflows.language.names import names_in, variables_of_path

_BODIES = frozenset({"Branches", "ItemProcessor"})
_LITERAL = frozenset({"Result", "Comment", "Resource", "Next", "Default"})
_TEMPLATES = frozenset(
    {"Parameters", "ResultSelector", "ItemSelector", "Assign", "BatchInput", "Credentials", "Arguments", "Output"}
)


def variable_references(machine: Machine) -> dict[str, list[str]]:
    """By state, the variables that it reads, sorted; states that read none are left out."""
    found: dict[str, list[str]] = {}
    _of_body(machine, machine.query_language or "JSONPath", found)
    return found


def _of_body(body: Body, outer: Language, found: dict[str, list[str]]) -> None:
    for name, state in body.states.items():
        read = _of_state(state, language_of(body, state, outer))
        if read:
            found[name] = sorted(read)
        if isinstance(state, Parallel):
            for branch in state.branches:
                _of_body(branch, outer, found)
        elif isinstance(state, Map):
            _of_body(state.item_processor, outer, found)


def _of_state(state: State, language: Language) -> set[str]:
    found: set[str] = set()
    fields = {
        field.encode_name: getattr(state, field.name)
        for field in msgspec.structs.fields(type(state))
        if field.encode_name not in _BODIES
    }
    written = msgspec.to_builtins({name: value for name, value in fields.items() if value is not msgspec.UNSET})
    if language == "JSONata":
        _of_jsonata(written, found)
    else:
        _of_paths(written, found, template=False)
    return found


def _of_jsonata(value: Any, found: set[str]) -> None:
    match value:
        case str() if jsonata.is_expression(value):
            found.update(names_in(value).variables)
        case dict():
            for inner in value.values():
                _of_jsonata(inner, found)
        case list() | tuple():
            for inner in value:
                _of_jsonata(inner, found)


def _of_paths(value: Any, found: set[str], *, template: bool) -> None:
    match value:
        case dict():
            for name, inner in value.items():
                read = name.endswith(".$") if template else name == "Variable" or name.endswith("Path")
                if read and isinstance(inner, str):
                    found.update(variables_of_path(inner))
                elif template or name not in _LITERAL:
                    _of_paths(inner, found, template=template or name in _TEMPLATES)
        case list() | tuple():
            for inner in value:
                _of_paths(inner, found, template=template)
