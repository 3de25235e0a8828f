"""Variables: how they may be named, and who may assign them.

A branch or an item reads the variables around it and cannot assign them; its own are gone when it ends. An item of a distributed Map
is an execution of its own and sees none of them, so there the names are free again.
"""

from __future__ import annotations

from typing import Any

from corral.workflows.language.checks.expression import template
from corral.workflows.language.checks.transitions import targets
from corral.workflows.language.checks.value import Where
from corral.workflows.language.fault import RESERVED_NAME, VARIABLE_NAME

NAME_MAX = 80
_ROUNDS_MAX = 50
"""How often a state is looked at, on average: definitions that people write need two or three."""
_RESERVED = "states"


def assigned_before(body: dict[str, Any]) -> dict[str, frozenset[str]]:
    """For each state of a body: the variables that may have been assigned when it begins, by states of this body."""
    states = body["States"]
    assigned = {
        name: frozenset(_bare(one) for assign in _assigns(state) for one in assign) for name, state in states.items()
    }
    before: dict[str, frozenset[str]] = dict.fromkeys(states, frozenset())
    if not any(assigned.values()):
        return before
    ahead = list(states)
    for _step in range(len(states) * _ROUNDS_MAX):
        if not ahead:
            break
        name = ahead.pop()
        known = before[name] | assigned[name]
        for _steps, target in targets(states[name]):
            if target in states and not known <= before[target]:
                before[target] |= known
                ahead.append(target)
    return before


def _assigns(state: Any) -> list[dict[str, Any]]:
    if not isinstance(state, dict):
        return []
    rules = [rule for field in ("Choices", "Catch") if isinstance(state.get(field), list) for rule in state[field]]
    found = [one.get("Assign") for one in (state, *rules) if isinstance(one, dict)]
    return [assign for assign in found if isinstance(assign, dict)]


def _bare(name: str) -> str:
    return name.removesuffix(".$")


def variables(state: dict[str, Any], where: Where, outer: frozenset[str]) -> None:
    """What one state assigns, anywhere in it. `outer`: what the bodies around it assign."""
    _assign(state.get("Assign"), where.at("Assign"), outer)
    if isinstance(state.get("Assign"), dict):
        template(state["Assign"], where.at("Assign"))
    for field in ("Choices", "Catch"):
        rules = state.get(field)
        for index, rule in enumerate(rules if isinstance(rules, list) else ()):
            if isinstance(rule, dict):
                _assign(rule.get("Assign"), where.at(field).at(index).at("Assign"), outer)


def _assign(assign: Any, where: Where, outer: frozenset[str]) -> None:
    if not isinstance(assign, dict):
        return
    for written in assign:
        name = _bare(written) if where.language == "JSONPath" else written
        if name == _RESERVED:
            where.at(written).fault("Cannot assign to reserved variable '$states'.", code=RESERVED_NAME)
        elif not name.isidentifier():
            wrong = "the variable name contains invalid characters."
            where.at(written).fault(f"Invalid variable name '{name}': {wrong}", code=VARIABLE_NAME)
        elif len(name) > NAME_MAX:
            wrong = f"the variable name exceeds the {NAME_MAX}-character limit allowed by the service."
            where.at(written).fault(f"Invalid variable name '{name}': {wrong}", code=VARIABLE_NAME)
        elif name in outer:
            where.at(written).fault(
                f"Cannot assign to variable '${name}' of an outer scope.",
                code=VARIABLE_NAME,
                hint="Hand the value out with the state's output, or use another name here.",
            )
