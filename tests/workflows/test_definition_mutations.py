"""Machines made at random are accepted; one that was changed in one place gives a fault, or another machine, and never a crash."""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml
from definition_scene import LARGE
from hypothesis import given
from hypothesis import strategies as st

from corral.workflows.graph import mermaid, svg
from corral.workflows.language.checking import faults
from corral.workflows.language.fault import errors_of
from corral.workflows.language.reading import machine_of, read
from corral.workflows.language.references import variable_references

LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Nd"])
"""No digits: PyYAML writes `1e5` as a plain word, which others read as a number."""
NAMES = st.text(LETTERS, min_size=1, max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(LETTERS, max_size=10)
    | st.sampled_from(["$", "$.a", "{% 1 %}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def bodies(draw: st.DrawFn, language: str, taken: set[str], depth: int = 2) -> dict[str, Any]:
    """States in a row, each of which may also lead further down."""
    names = draw(st.lists(NAMES.filter(lambda name: name not in taken), min_size=1, max_size=4, unique=True))
    taken.update(names)
    states: dict[str, Any] = {}
    for index, name in enumerate(names):
        after = names[index + 1 :]
        states[name] = draw(steps(language, after, taken, depth))
    return {"StartAt": names[0], "States": states}


@st.composite
def steps(draw: st.DrawFn, language: str, after: list[str], taken: set[str], depth: int) -> dict[str, Any]:
    """A state of any kind that leads to the one after it."""
    jsonata = language == "JSONata"
    kinds = [
        "Pass",
        "Wait",
        "Task",
        *(["Map", "Parallel"] if depth else []),
        *(["Choice"] if after else ["Succeed", "Fail"]),
    ]
    kind = draw(st.sampled_from(kinds))
    state: dict[str, Any] = {"Type": kind}
    if kind == "Choice":
        rule: dict[str, Any] = (
            {"Condition": "{% $states.input.a = 1 %}"} if jsonata else {"Variable": "$.a", "NumericEquals": 1}
        )
        return {**state, "Choices": [{**rule, "Next": draw(st.sampled_from(after))}], "Default": after[0]}
    if kind in ("Succeed", "Fail"):
        return state
    if kind == "Pass":
        state |= (
            {"Output": draw(VALUES)}
            if jsonata
            else {"Result": draw(VALUES), "ResultPath": draw(st.sampled_from(["$", "$.a.b", None]))}
        )
    elif kind == "Wait":
        state["Seconds"] = draw(st.integers(0, 99_999_999))
    elif kind == "Task":
        state["Resource"] = draw(
            st.sampled_from(["corral:agent:a", "corral:function:f", "arn:aws:lambda:us-east-1:000000000000:function:f"])
        )
        state["Retry"] = [{"ErrorEquals": ["States.ALL"], "MaxAttempts": draw(st.integers(0, 5))}]
    elif kind == "Map":
        state["ItemProcessor"] = draw(bodies(language, taken, depth - 1))
    else:
        state["Branches"] = [draw(bodies(language, taken, depth - 1)) for _ in range(draw(st.integers(1, 2)))]
    return {**state, **({"Next": after[0]} if after else {"End": True})}


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    language = draw(st.sampled_from(["JSONPath", "JSONata"]))
    body = draw(bodies(language, set()))
    return {"QueryLanguage": language, **body}


@given(machines())
def test_a_machine_made_by_the_rules_is_accepted(document: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(document))
    assert errors_of(faults(plain)) == []
    made = read(json.dumps(plain))
    assert made == machine_of(plain)
    assert read(yaml.safe_dump(plain, allow_unicode=True)) == made
    assert isinstance(variable_references(made), dict)
    assert svg(made).endswith("</svg>")
    assert mermaid(made).startswith("flowchart TD\n")


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything in a document."""
    found = [way] if way else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        found += places(inner, (*way, step))
    return found


PLACES = places(LARGE)


@given(st.sampled_from(PLACES), st.sampled_from(["remove", "replace", "rename", "add"]), VALUES, st.text(max_size=8))
def test_a_change_in_one_place_gives_a_fault_or_another_machine(
    way: tuple[Any, ...], change: str, value: Any, name: str
) -> None:
    document = copy.deepcopy(LARGE)
    holder: Any = document
    for step in way[:-1]:
        holder = holder[step]
    if change == "replace":
        holder[way[-1]] = value
    elif change == "remove" or isinstance(holder, list):
        del holder[way[-1]]
    elif change == "rename":
        holder[f"{way[-1]}{name}x"] = holder.pop(way[-1])
    else:
        holder[f"{name}x"] = value
    found = faults(document)
    assert all(fault.message and fault.code for fault in found)
    if not errors_of(found):
        made = machine_of(json.loads(json.dumps(document)))
        variable_references(made)
        svg(made)


@given(VALUES)
def test_anything_at_all_gives_faults(value: Any) -> None:
    assert faults(value) != []


@given(st.text(max_size=60))
def test_an_expression_of_any_letters_gives_faults_at_most(text: str) -> None:
    state = {"Type": "Pass", "Output": f"{{%{text}%}}", "End": True}
    document = {"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": state}}
    if not errors_of(faults(document)):
        variable_references(machine_of(document))
