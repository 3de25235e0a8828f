"""A team in a whole service: with a session, as a job that waits for a person and goes on, counted."""

from __future__ import annotations

import asyncio
import json

import pytest
from agent_scene import ScriptedModel, says, wants

from corral import Agent, App, Team, tool
from corral.agents.roles import Critic, Expert, Router
from corral.agents.speculation import Speculation
from corral.errors import ModelUnavailable


@tool(approval=True)
async def refund(amount: int) -> str:
    """Give money back."""
    return f"refunded {amount}"


def counted(**models):
    return {name: Agent(name, f"You are {name}.", model=model) for name, model in models.items()}


def app_of(*works):
    app = App()
    for one in works:
        app.add(one)
    return app


async def said_in(server, session):
    page = (await server.client.get(f"/v1/sessions/{session}/events", params={"limit": 100})).json()
    return [(one["role"], one["content"][0]["text"]) for one in reversed(page["items"])]


async def test_a_team_answers_over_http_and_its_session_holds_the_answer_alone(serve):
    first, second = ScriptedModel(says("A draft.")), ScriptedModel(says("One."), says("Two."))
    server = await serve(app_of(Team("desk", members=counted(first=first, second=second))))
    for asked, answer in (("Hello", "One."), ("Again", "Two.")):
        headers = {"x-session-id": "s1"}
        got = await server.client.post("/v1/agents/desk/invocations", json={"prompt": asked}, headers=headers)
        assert (got.status_code, got.json()) == (200, answer)
    assert await said_in(server, "s1") == [
        ("user", "Hello"),
        ("assistant", "One."),
        ("user", "Again"),
        ("assistant", "Two."),
    ]
    assert [message.text for message in first.last.messages] == ["You are first.", "Hello", "One.", "Again"]


async def test_a_critic_says_in_a_session_what_stood_in_the_end(serve):
    model = ScriptedModel(says("It costs 17."), says("I do not know."))
    server = await serve(app_of(Critic(Agent("main", model=model))))
    got = await server.client.post("/invocations", json={"prompt": "Price?"}, headers={"x-session-id": "s2"})
    assert got.json() == "I do not know."
    assert await said_in(server, "s2") == [("user", "Price?"), ("assistant", "I do not know.")]


async def test_a_failure_of_a_team_is_a_problem_with_its_code(serve):
    team = Team(
        "main",
        pattern="hand_off",
        members=[
            Agent("a", model=ScriptedModel(wants(("hand_off", {"to": "b", "reason": "?"})))),
            Agent("b", model=ScriptedModel(wants(("hand_off", {"to": "a", "reason": "?"})))),
        ],
    )
    server = await serve(app_of(team))
    got = await server.invoke({"prompt": "Who?"}, "/v1/agents/main/invocations")
    assert (got.status_code, got.json()["code"]) == (422, "hand_off_cycle")


async def test_in_a_job_a_team_waits_for_a_person_and_goes_on_without_asking_anybody_twice(serve):
    looks = ScriptedModel(says("Ticket 7 is late."))
    pays = ScriptedModel(wants(("refund", {"amount": 20})), says("Paid back."))
    sums = ScriptedModel(says("All is well."))
    leads = Router({"pays": Agent("pays", model=pays, tools=[refund])}, name="remedy")
    side = Team("side", pattern="parallel", members=[*counted(looks=looks).values(), leads])
    server = await serve(app_of(Team("desk", members=[side, *counted(sums=sums).values()])))
    body = {"agent": "desk", "input": {"prompt": "Money back!"}}
    job = (await server.client.post("/v1/jobs", json=body)).json()["id"]
    async with asyncio.timeout(30):
        while not (waiting := (await server.client.get("/v1/approvals?status=waiting")).json()["items"]):
            await server.client.get(f"/v1/jobs/{job}?wait=1s")
        while (await server.client.get(f"/v1/jobs/{job}")).json()["status"] != "waiting":
            await server.client.get(f"/v1/jobs/{job}?wait=1s")
    await server.client.post(f"/v1/approvals/{waiting[0]['id']}", json={"decision": "approve"})
    ended = (await server.client.get(f"/v1/jobs/{job}?wait=20s")).json()
    assert (ended["status"], ended["result"]) == ("succeeded", "All is well.")
    assert [len(model.calls) for model in (looks, pays, sums)] == [1, 2, 1]


async def test_another_attempt_of_a_job_asks_only_whom_the_first_had_no_answer_of(serve):
    both = asyncio.Barrier(2)
    asked = []

    def member(name, *lines):
        said = list(lines)

        async def model(call):
            asked.append(name)
            if name in {"left", "right"}:
                await both.wait()
            line = said.pop(0)
            if isinstance(line, Exception):
                raise line
            yield says(line)

        return Agent(name, model=model)

    side = Team("side", pattern="parallel", members=[member("left", "L."), member("right", "R.")])
    last = member("last", ModelUnavailable("down"), "Both say yes.")
    server = await serve(app_of(Team("desk", members=[side, last])))
    body = {
        "agent": "desk",
        "input": {"prompt": "Well?"},
        "max_attempts": 3,
        "backoff": {"initial_s": 0.01},
    }
    got = await server.client.post("/v1/jobs", json=body)
    assert got.status_code == 202, got.text
    ended = (await server.client.get(f"/v1/jobs/{got.json()['id']}?wait=20s")).json()
    assert (ended["status"], ended["result"], ended["attempt"]) == ("succeeded", "Both say yes.", 2)
    assert sorted(asked) == ["last", "last", "left", "right"]


async def test_speculation_is_counted(serve):
    @tool(read_only=True, idempotent=True)
    async def order(number: str) -> str:
        """Look an order up."""
        return f"Order {number}."

    def answering(call):
        asked = [message for message in call.messages if message.role == "user"][-1].text
        done = call.messages[-1].role == "tool"
        return says("There.") if done else wants(("order", {"number": asked.split()[-1]}))

    agent = Agent("main", model=ScriptedModel(answering), tools=[order], speculation=Speculation())
    server = await serve(app_of(agent))
    for number in ("A-1", "A-2", "A-3", "A-4"):
        assert (await server.invoke({"prompt": f"Where is {number}"})).json() == "There."
    metrics = (await server.client.get("/metrics")).text
    assert 'corral_agents_speculation_total{agent="main",kind="tool",outcome="hit"} 2' in metrics
    assert "corral_agents_speculation_running 0" in metrics


@pytest.mark.parametrize("pattern", ["sequential", "parallel"])
async def test_a_team_streams_its_events(serve, pattern):
    models = {"first": ScriptedModel(says("One.")), "second": ScriptedModel(says("Two."))}
    server = await serve(app_of(Team("main", pattern=pattern, members=counted(**models))))
    answer = await server.invoke({"prompt": "Go", "stream": True})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [event["to"] for event in events if event["type"] == "hand_off"] == ["first", "second"]
    assert events[-1]["type"] == "finished"
    assert "".join(event["text"] for event in events if event["type"] == "text").strip() == events[-1]["output"].strip()


async def test_tools_and_runs_of_members_are_found_however_deep_they_stand(serve):
    payer = Agent("payer", model=ScriptedModel(wants(("refund", {"amount": 20})), says("Paid.")), tools=[refund])
    desk = Team("desk", members=[Router([Expert(Critic(payer), description="Money.")], name="door")])
    server = await serve(app_of(desk))
    tools = (await server.client.get("/v1/tools")).json()["items"]
    assert "refund" in [one["name"] for one in tools]
    paused = (await server.client.post("/v1/agents/desk/invocations", json={"prompt": "Money!"})).json()
    assert paused["status"] == "paused"
    asked = paused["approvals"][0]["approval"]
    await server.client.post(f"/v1/approvals/{asked}", json={"decision": "approve"})
    answer = await server.client.post(f"/v1/runs/{paused['run_id']}/resume")
    assert answer.json()["output"] == "Paid."
