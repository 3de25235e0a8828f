from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from corral.jobs.states import OPEN, STATES, TERMINAL, TRANSITIONS, may_follow

PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"
ARROW = re.compile(r"^ *(\[\*\]|\w+) --> (\w+)", re.MULTILINE)


def test_every_state_is_open_or_an_end_and_has_its_ways():
    assert OPEN | TERMINAL == set(STATES) == set(TRANSITIONS)
    assert not OPEN & TERMINAL
    assert all(ways <= set(STATES) for ways in TRANSITIONS.values())


def test_nothing_leads_from_a_state_to_itself():
    assert not [state for state in STATES if may_follow(state, state)]


def reachable(state):
    found, new = set(), {state}
    while new:
        found |= new
        new = set().union(*(TRANSITIONS[one] for one in new)) - found
    return found


@pytest.mark.parametrize("state", sorted(OPEN))
def test_whatever_is_open_can_end_each_way_and_be_put_away(state):
    assert reachable(state) >= TERMINAL


@pytest.mark.parametrize("state", sorted(OPEN))
def test_whatever_is_open_can_be_cancelled_and_given_up(state):
    assert TRANSITIONS[state] >= {"cancelled", "failed"}


def test_only_a_worker_makes_a_job_succeed_and_only_a_ready_job_is_claimed():
    assert [state for state in STATES if may_follow(state, "succeeded")] == ["running"]
    assert [state for state in STATES if may_follow(state, "running")] == ["queued"]


def test_what_has_ended_runs_again_only_after_it_failed_or_was_cancelled():
    again = {state for state, after in product(TERMINAL, OPEN) if may_follow(state, after)}
    assert again == {"failed", "cancelled"}


def test_the_drawing_shows_these_ways_and_no_others():
    drawing = PAGE.read_text().split("```mermaid\nstateDiagram-v2\n")[1].split("```")[0]
    drawn = [arrow for arrow in ARROW.findall(drawing) if arrow[0] != "[*]"]
    assert sorted(drawn) == sorted((state, after) for state in STATES for after in TRANSITIONS[state])
    assert {after for before, after in ARROW.findall(drawing) if before == "[*]"} == {"queued", "scheduled"}
