"""Plans: what can be carried out, in which order, and what happens when a step fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from team_scene import Member, all_of, scripted, written

from corral.agents.event import Failed, Finished, HandOff, Reasoning, Text
from corral.agents.places import current_place
from corral.agents.roles import Plan, Planner, Presenter, Step
from corral.errors import ModelUnavailable

AGENTS = ["alpha", "beta"]


def step(name: str, *needs: str, agent: str = "alpha") -> Step:
    return Step(id=name, agent=agent, task=f"do {name}", needs=list(needs))


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([], "no steps"),
        ([step("a"), step("a")], "'a' is there twice"),
        ([step("a", "b")], "needs 'b', which is no step"),
        ([step("a", agent="gamma")], "for 'gamma'; there are alpha, beta"),
        ([step("a", "b"), step("b", "c"), step("c", "a"), step("d")], "a, b, c need each other"),
        ([step("old")], "one of a step that is done"),
        ([step(str(n)) for n in range(9)], "9 steps; 8 are allowed"),
    ],
)
def test_a_plan_says_what_is_wrong_with_it(steps: list[Step], fault: str) -> None:
    assert fault in " ".join(Plan(steps=steps).faults(AGENTS, steps_max=8, done=["old"]))


def test_a_plan_knows_what_is_ready_and_what_it_is_for() -> None:
    plan = Plan(steps=[step("a"), step("b", "a"), step("c", "a", "old"), step("d", "b", "c")])
    assert plan.faults(AGENTS, steps_max=8, done=["old"]) == []
    assert [one.id for one in plan.ready(["old"], [])] == ["a"]
    assert [one.id for one in plan.ready(["old", "a"], ["a", "b"])] == ["c"]
    assert [one.id for one in plan.last] == ["d"]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    ids = [f"s{number}" for number in range(draw(st.integers(1, 8)))]
    needs = st.lists(st.sampled_from([*ids, "nowhere"]), max_size=3)
    return Plan(steps=[step(one, *draw(needs)) for one in ids])


@given(plans())
def test_a_plan_without_faults_can_be_carried_out_to_its_end(plan: Plan) -> None:
    faults = plan.faults(AGENTS, steps_max=8)
    done: set[str] = set()
    while ready := plan.ready(done, done):
        done.update(one.id for one in ready)
    assert (len(done) == len(plan.steps)) == (not faults)


# -- carrying out ------------------------------------------------------------------------------------------------------


async def test_steps_that_need_nothing_of_each_other_run_at_the_same_time() -> None:
    both = asyncio.Barrier(2)

    async def alpha(text: str) -> str:
        await both.wait()
        return "A"

    async def beta(text: str) -> str:
        await both.wait()
        return "B"

    gamma = Member("gamma", "A and B.")

    def by(text: str) -> Any:
        return [
            {"agent": "alpha", "task": "find A"},
            {"agent": "beta", "task": "find B"},
            {"agent": "gamma", "task": "put together", "needs": ["s1", "s2"]},
        ]

    async with asyncio.timeout(10):
        events = await all_of(Planner([alpha, beta, gamma], by=by).stream("Both?"))
    assert [event.to for event in events if isinstance(event, HandOff)] == ["alpha", "beta", "gamma"]
    asked = gamma.questions[0]
    assert "Your step: put together" in asked
    assert '<result from="alpha" step="s1">\nA\n</result>' in asked
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.agent, end.output, end.notes["replans"]) == ("planner", "A and B.", 0)
    assert written(events) == "A and B."
    assert {event.text for event in events if isinstance(event, Reasoning)} == {"A", "B", "A and B."}


async def test_a_model_plans_and_a_model_presents() -> None:
    plan = '{"steps": [{"id": "s1", "agent": "alpha", "task": "look", "needs": []}]}'
    with scripted(plan, "All is well.") as model:
        events = await all_of(Planner([Member("alpha", "fine")], by="smart", present="small").stream("How is it?"))
    assert [call.model for call in model.calls] == ["smart", "small"]
    assert written(events) == events[-1].output == "All is well."
    assert events[-1].cost_usd == 0.25 + 0.5 + 0.25
    assert events[-1].steps == 3


async def test_a_failed_step_is_planned_anew_with_what_is_done() -> None:
    told: list[tuple[list[str], list[str]]] = []

    def by(text: str, done: dict, faults: list[str]) -> Any:
        told.append((sorted(done), faults))
        if not faults:
            return [{"agent": "alpha", "task": "one"}, {"agent": "beta", "task": "two", "needs": ["s1"]}]
        return [{"id": "r1", "agent": "gamma", "task": "two, in another way", "needs": ["s1"]}]

    beta = Member("beta", Failed(agent="beta", code="tool_failed", message="The tool is broken."))
    gamma = Member("gamma", "Done by other means.")
    alpha = Member("alpha", "First.")
    events = await all_of(Planner([alpha, beta, gamma], by=by).stream("Go"))
    assert told[0] == ([], [])
    assert told[1][0] == ["s1"]
    assert "The tool is broken." in told[1][1][0]
    assert len(alpha.asked) == 1  # what is done stays done
    assert "First." in gamma.questions[0]
    assert events[-1].output == "Done by other means."
    assert events[-1].notes["replans"] == 1


async def test_planning_anew_is_bounded() -> None:
    alpha = Member("alpha", RuntimeError("broken"))
    events = await all_of(Planner([alpha], by=lambda text: [("alpha", "try")], replans_max=2).stream("Go"))
    assert isinstance(events[-1], Failed)
    assert (events[-1].code, events[-1].agent) == ("plan_failed", "planner")
    assert len(alpha.asked) == 3


async def test_a_plan_that_cannot_be_carried_out_wakes_nobody_and_is_said_again() -> None:
    alpha = Member("alpha")
    bad = '{"steps": [{"id": "s1", "agent": "omega", "task": "look", "needs": []}]}'
    good = bad.replace("omega", "alpha")
    with scripted(bad, good) as model:
        events = await all_of(Planner([alpha], by="smart").stream("Go"))
    assert "there are alpha" in model.prompts[1]
    assert len(alpha.asked) == 1
    assert isinstance(events[-1], Finished)


async def test_without_a_planner_there_is_no_plan() -> None:
    with scripted(ModelUnavailable("down")):
        (end,) = await all_of(Planner([Member("alpha")], by="smart").stream("Go"))
    assert (end.code, end.retryable) == ("model_unavailable", True)
    (end,) = await all_of(Planner([Member("alpha")], by=lambda text: 17).stream("Go"))
    assert end.code == "role_failed"


async def test_a_step_that_waits_for_a_person_pauses_the_whole() -> None:
    alpha = Member("alpha", Finished(agent="alpha", run_id="r-1", reason="paused"))
    events = await all_of(Planner([alpha], by=lambda text: [("alpha", "ask"), ("alpha", "act")]).stream("Go"))
    assert (events[-1].reason, events[-1].run_id, events[-1].agent) == ("paused", "r-1", "planner")
    assert len(alpha.asked) == 1


async def test_after_a_failure_what_runs_comes_to_its_end() -> None:
    waits = asyncio.Event()

    async def fails(text: str) -> str:
        waits.set()
        raise RuntimeError

    slow = Member("slow", waits)
    never = Member("never")

    def by(text: str, faults: list[str]) -> Any:
        if faults:
            return [{"id": "r1", "agent": "slow", "task": "again"}]
        return [
            {"agent": "fails", "task": "x"},
            {"agent": "slow", "task": "y"},
            {"agent": "never", "task": "z", "needs": ["s2", "s1"]},
        ]

    events = await all_of(Planner([fails, slow, never], by=by, present=Presenter()).stream("Go"))
    assert isinstance(events[-1], Finished)
    assert never.asked == []
    assert len(slow.asked) == 2


async def test_closing_the_stream_stops_the_steps() -> None:
    alpha = Member("alpha", asyncio.Event(), before=[Text(agent="alpha", text="begun")])
    stream = Planner([alpha], by=lambda text: [("alpha", "wait")]).stream("Go")
    async for event in stream:
        if isinstance(event, Reasoning):
            break
    await stream.aclose()  # type: ignore[attr-defined]  # a generator
    assert alpha.closed == 1


async def test_each_step_has_its_place_whoever_is_quicker() -> None:
    """A later attempt of a job finds the run of each step by it."""
    slow = asyncio.Event()
    places: dict[str, str] = {}

    async def worker(text: str) -> str:
        name = text.rpartition("do ")[2][:1]
        places[name] = current_place()
        if name == "a":
            await slow.wait()
        if name == "d":
            slow.set()
        return name

    def by(text: str) -> Any:
        needs = {"a": [], "b": [], "c": ["a"], "d": ["b"]}
        return [{"id": name, "agent": "worker", "task": f"do {name}", "needs": of} for name, of in needs.items()]

    events = await all_of(Planner([worker], by=by).stream("Go"))
    assert isinstance(events[-1], Finished)
    assert places == {"a": "0", "b": "1", "c": "2", "d": "3"}
    assert current_place() == ""
    places.clear()
    inner = Planner([worker], by=by, name="inner")
    slow.clear()
    await all_of(
        Planner({"x": lambda text: "x", "inner": inner}, by=lambda text: [("x", "1"), ("inner", "2")]).stream("?")
    )
    assert places == {"a": "1.0", "b": "1.1", "c": "1.2", "d": "1.3"}
