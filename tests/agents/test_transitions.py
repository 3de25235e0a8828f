"""What follows what: learned by looking on, for each scope apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.agents.transitions import Done, Transitions, canonical

TICKET = Done(name="ticket", input={"id": "T-1"}, value={"order": "O-9", "items": [{"sku": "a"}, {"sku": "b"}]})


def ticket(number: int) -> Done:
    items = [{"sku": f"s{number}"}, {"sku": f"t{number}"}]
    return Done(name="ticket", input={"id": f"T-{number}"}, value={"order": f"O-{number}", "items": items})


def learned(*pairs: tuple[list[Done], str, list[Done]]) -> Transitions:
    transitions = Transitions()
    for before, question, calls in pairs:
        transitions.learn("here", before, question, calls)
    return transitions


def named(transitions: Transitions, before: list[Done], question: str = "") -> list[tuple[str, dict[str, Any]]]:
    return [(one.name, one.input) for one in transitions.likely("here", before, question)]


def test_an_argument_comes_out_of_the_result_before() -> None:
    transitions = learned(*(([ticket(n)], "", [Done(name="order", input={"id": f"O-{n}"})]) for n in (1, 2, 3)))
    assert named(transitions, [ticket(7)]) == [("order", {"id": "O-7"})]


def test_a_list_gives_a_call_for_each_of_its_items() -> None:
    transitions = learned(*(([ticket(n)], "", [Done(name="stock", input={"sku": f"s{n}"})]) for n in (1, 2, 3)))
    assert named(transitions, [ticket(7)]) == [("stock", {"sku": "s7"}), ("stock", {"sku": "t7"})]


def test_an_argument_comes_out_of_the_question_by_its_shape() -> None:
    transitions = learned(
        *(
            ([], f"Where is {one}, please?", [Done(name="ticket", input={"id": one})])
            for one in ("T-1", "T-22", "T-333")
        )
    )
    assert named(transitions, [], "And what about T-4711?") == [("ticket", {"id": "T-4711"})]


def test_an_argument_is_always_the_same_or_that_of_the_call_before() -> None:
    calls = [Done(name="notes", input={"ticket": f"T-{n}", "limit": 5}) for n in (1, 2, 3)]
    transitions = learned(*(([ticket(n)], "", [call]) for n, call in zip((1, 2, 3), calls, strict=True)))
    assert named(transitions, [ticket(7)]) == [("notes", {"ticket": "T-7", "limit": 5})]


def test_what_was_seen_once_is_no_pattern() -> None:
    transitions = learned(([ticket(1)], "", [Done(name="order", input={"id": "O-1"})]))
    assert named(transitions, [ticket(7)]) == []


def test_the_chance_falls_with_every_time_that_something_else_came() -> None:
    order = [([ticket(n)], "", [Done(name="order", input={"id": f"O-{n}"})]) for n in (1, 2, 3)]
    transitions = learned(*order, ([ticket(4)], "", []), ([ticket(5)], "", []), ([ticket(6)], "", []))
    (one,) = transitions.likely("here", [ticket(7)], "")
    assert one.chance == pytest.approx(0.5)


def test_scopes_know_nothing_of_each_other_and_are_bounded() -> None:
    transitions = Transitions(scopes_max=2, edges_max=3)
    for scope in ("a", "b", "c"):
        for _ in range(3):
            transitions.learn(scope, [], "", [Done(name=f"tool{n}", input={"secret": scope}) for n in range(9)])
    assert transitions.likely("a", [], "") == []  # forgotten
    assert len(transitions.likely("c", [], "")) == 3
    assert {one.input["secret"] for one in transitions.likely("b", [], "")} == {"b"}


def test_a_call_is_the_same_in_whatever_order_its_arguments_stand() -> None:
    assert canonical("t", {"a": 1, "b": {"c": 1, "d": 2}}) == canonical("t", {"b": {"d": 2, "c": 1}, "a": 1})
    assert canonical("t", {"a": 1}) != canonical("t", {"a": "1"})


values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text("ab-1 ", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy", max_size=2), inner, max_size=3),
    max_leaves=8,
)
calls = st.builds(
    Done, name=st.sampled_from("abc"), input=st.dictionaries(st.sampled_from("xyz"), values, max_size=3), value=values
)


@given(
    st.lists(
        st.tuples(st.lists(calls, max_size=2), st.text("ab-1 ", max_size=8), st.lists(calls, max_size=3)), max_size=12
    )
)
def test_whatever_was_seen_what_is_likely_is_a_chance(pairs: list[Any]) -> None:
    transitions = learned(*pairs)
    for before, question, _ in pairs:
        found = transitions.likely("here", before, question, seen_min=1)
        assert [one.chance for one in found] == sorted((one.chance for one in found), reverse=True)
        assert all(0 < one.chance <= 1 + 1e-9 for one in found)
        assert len({canonical(one.name, one.input) for one in found}) == len(found)
