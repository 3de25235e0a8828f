"""Where states lead: every target exists, every state can be reached, and there is an end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from corral.workflows.language.fault import NO_END, NO_TARGET, Findings, Place, nearest


def transitions(body: dict[str, Any], place: Place, findings: Findings, *, top: bool) -> None:
    """One body's. Targets in other bodies do not exist: nobody jumps into a branch, or out of it."""
    states = body["States"]
    for there, target in _targets_of(body, place):
        if target not in states:
            findings.add(there, f"Missing 'Next' target: {target}", code=NO_TARGET, hint=nearest(target, states))
    if top and not any(_is_end(state) for state in states.values()):
        findings.add(
            None,
            "Workflow has no terminal state",
            code=NO_END,
            hint="Give the last state `End: true`, or end in Succeed or Fail.",
        )
        return
    if not isinstance(body.get("StartAt"), str):
        return
    reached = _reached(body)
    for name in states:
        if name not in reached:
            hint = "Lead another state to it with `Next`, or remove it."
            findings.add(place / "States" / name, f'State "{name}" is not reachable.', code=NO_TARGET, hint=hint)


def _is_end(state: Any) -> bool:
    return isinstance(state, dict) and (state.get("End") is True or state.get("Type") in ("Succeed", "Fail"))


def _targets_of(body: dict[str, Any], place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(body.get("StartAt"), str):
        yield place / "StartAt", body["StartAt"]
    for name, state in body["States"].items():
        for steps, target in targets(state):
            there = place / "States" / name
            for step in steps:
                there /= step
            yield there, target


def targets(state: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where a state may lead, and by which of its fields."""
    if not isinstance(state, dict):
        return
    for name in ("Next", "Default"):
        if isinstance(state.get(name), str):
            yield (name,), state[name]
    for name in ("Choices", "Catch"):
        rules = state.get(name)
        for index, rule in enumerate(rules if isinstance(rules, list) else ()):
            if isinstance(rule, dict) and isinstance(rule.get("Next"), str):
                yield (name, index, "Next"), rule["Next"]


def _reached(body: dict[str, Any]) -> set[str]:
    states = body["States"]
    start = body.get("StartAt")
    reached: set[str] = set()
    ahead = [start] if isinstance(start, str) and start in states else []
    while ahead:
        name = ahead.pop()
        if name in reached:
            continue
        reached.add(name)
        ahead += [target for _steps, target in targets(states[name]) if target in states]
    return reached
