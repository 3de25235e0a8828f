"""`/v1/agents/{name}/runs`, `/v1/runs` and `/v1/approvals`, over real sockets; and who may see and change what."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import httpx
import pytest

from corral.agents.agent import Agent
from corral.agents.team import Team
from corral.app import App
from corral.server.agent_api import DESCRIPTIONS
from corral.server.agents import AgentRunRoutes
from corral.tools.tool import tool

sys.path.append(str(Path(__file__).parent.parent / "agents"))

from agent_scene import ScriptedModel, says, wants

KEYS = [{"key": f"key-of-{tenant}", "tenant": tenant} for tenant in ("acme", "other")]


class Scene:
    """An app with an agent that may not refund by itself, a team, and code."""

    def __init__(self):
        self.refunds = []
        self.model = ScriptedModel(wants(("refund", {"amount": 9})), says("Refunded."))
        self.app = App()

        @tool(approval=True)
        async def refund(amount: int) -> str:
            """Give money back."""
            self.refunds.append(amount)
            return f"refunded {amount}"

        @tool
        async def look() -> str:
            """Look something up."""
            return "found"

        async def ask(call):
            async for event in self.model(call):
                yield event

        self.support = self.app.add(
            Agent("support", "Be {manner}.", model=ask, tools=[refund, look], description="Helps.")
        )
        self.app.add(Team("desk", members=[Agent("helper", "Help.", model=ScriptedModel("Helped."))]))
        self.app.entrypoint(lambda payload: payload)
        self.server = None

    def says(self, *lines):
        self.model = ScriptedModel(*lines)

    def client(self, tenant="acme", **headers):
        return self.server.client_of(authorization=f"Bearer key-of-{tenant}", **headers)

    async def run(self, client, prompt="refund me", agent="support", headers=None, **more):
        body = {"prompt": prompt, "variables": {"manner": "kind"}, **more}
        return await client.post(f"/v1/agents/{agent}/runs", json=body, headers=headers)


@pytest.fixture
async def scene(serve):
    scene = Scene()
    scene.server = await serve(scene.app, security={"api_keys": KEYS}, agents={"cancel_s": 0.02})
    return scene


@pytest.fixture
async def client(scene):
    async with scene.client() as client:
        yield client


def events_of(answer):
    """What a stream said: names and data."""
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


def types_of(answer):
    return [data.get("type", name) for name, data in events_of(answer)]


async def approval_of(client, run_id):
    (asked,) = (await client.get("/v1/approvals", params={"run_id": run_id})).json()["items"]
    return asked


# -- working ----------------------------------------------------------------------------------------------------------------


async def test_a_run_is_answered_with_what_came_of_it_and_kept(scene, client):
    scene.says(wants("look"), says("It is found."))
    answer = await scene.run(client, "look it up", session_id="s-1", user_id="ann")
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["status"], result["output"], result["steps"], result["tool_calls"]) == ("done", "It is found.", 2, 1)
    assert (result["usage"]["input"], result["approvals"]) == (20, [])
    assert answer.headers["x-run-id"] == result["run_id"]
    run = (await client.get(f"/v1/runs/{result['run_id']}")).json()
    assert (run["status"], run["agent"], run["session_id"], run["user_id"]) == ("done", "support", "s-1", "ann")
    assert (run["output"], run["steps"], run["entries"]) == ("It is found.", 2, 5)
    entries = (await client.get(f"/v1/runs/{result['run_id']}/entries")).json()["items"]
    assert [entry["kind"] for entry in entries] == ["asked", "answered", "tool_done", "answered", "ended"]
    assert entries[1]["entry"]["reply"]["content"][0]["name"] == "look"
    rest = (await client.get(f"/v1/runs/{result['run_id']}/entries?after=3&limit=1")).json()["items"]
    assert [entry["seq"] for entry in rest] == [4]
    said = (await client.get("/v1/sessions/s-1/events")).json()["items"]
    assert [event["role"] for event in said] == ["assistant", "tool", "assistant", "user"]


async def test_a_run_may_be_followed_as_it_happens(scene, client):
    scene.says(wants("look"), says("It is found."))
    answer = await scene.run(client, "look it up", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert types_of(answer) == [
        "usage", "tool_started", "tool_finished", "text", "text", "text", "usage", "finished", "done",
    ]  # fmt: skip
    assert answer.headers["x-run-id"] == events_of(answer)[-2][1]["run_id"]


async def test_a_run_that_fails_says_why_and_is_kept(scene, client):
    scene.says(RuntimeError("the model is on fire"))
    answer = await scene.run(client)
    assert answer.status_code == 500
    (run,) = (await client.get("/v1/runs")).json()["items"]
    assert (run["status"], run["error_code"]) == ("failed", "agent_error")
    assert "on fire" in (await client.get(f"/v1/runs/{run['id']}")).json()["message"]
    streamed = await scene.run(client, stream=True)
    assert types_of(streamed)[-2:] == ["failed", "urn:corral:problem:agent-error"]
    assert events_of(streamed)[-1][0] == "error"


async def test_a_person_allows_and_the_run_goes_on(scene, client):
    paused = (await scene.run(client)).json()
    assert (paused["status"], paused["output"], scene.refunds) == ("paused", None, [])
    assert [asked["tool"] for asked in paused["approvals"]] == ["refund"]
    asked = await approval_of(client, paused["run_id"])
    assert asked["id"] == paused["approvals"][0]["approval"]
    assert (asked["status"], asked["tool"], asked["input"]) == ("waiting", "refund", {"amount": 9})
    again = (await client.post(f"/v1/runs/{paused['run_id']}/resume")).json()
    assert (again["status"], [one["approval"] for one in again["approvals"]]) == ("paused", [asked["id"]])
    body = {"decision": "approve", "note": "fine", "input": {"amount": 5}}
    answer = await client.post(f"/v1/approvals/{asked['id']}", json=body, headers={"x-user-id": "bob"})
    decided = answer.json()
    assert (decided["status"], decided["by"], decided["note"]) == ("approved", "bob", "fine")
    assert decided["changed_input"] == {"amount": 5}
    resumed = await client.post(f"/v1/runs/{paused['run_id']}/resume", json={"stream": True})
    assert types_of(resumed)[-2:] == ["finished", "done"]
    assert scene.refunds == [5]
    over = await client.post(f"/v1/runs/{paused['run_id']}/resume")
    assert (over.status_code, over.json()["code"]) == (409, "run_over")
    closed = await client.post(f"/v1/approvals/{asked['id']}", json={"decision": "refuse"})
    assert (closed.status_code, closed.json()["code"]) == (409, "approval_closed")
    shown = (await client.get(f"/v1/approvals/{asked['id']}")).json()
    assert shown == decided


async def test_a_person_refuses_and_the_model_is_told(scene, client):
    paused = (await scene.run(client, session_id="s-2")).json()
    asked = await approval_of(client, paused["run_id"])
    await client.post(f"/v1/approvals/{asked['id']}", json={"decision": "refuse", "note": "Too dear."})
    result = (await client.post(f"/v1/runs/{paused['run_id']}/resume")).json()
    assert (result["output"], scene.refunds) == ("Refunded.", [])
    assert "Too dear." in scene.model.last.messages[-1].content[0]["content"][0]["text"]
    roles = [event["role"] for event in (await client.get("/v1/sessions/s-2/events")).json()["items"]]
    assert roles == ["assistant", "tool", "assistant", "user"]


async def test_two_who_resume_at_once_are_one_too_many(scene, client):
    paused = (await scene.run(client)).json()
    asked = await approval_of(client, paused["run_id"])
    await client.post(f"/v1/approvals/{asked['id']}", json={"decision": "approve"})
    answers = await asyncio.gather(*(client.post(f"/v1/runs/{paused['run_id']}/resume") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers)[:2] == [200, 409]
    assert scene.refunds == [9]


async def test_one_idempotency_key_is_one_run(scene, client):
    scene.says(says("Hello."))
    answers = [await scene.run(client, "hi", headers={"idempotency-key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(scene.model.calls) == 1
    assert len((await client.get("/v1/runs")).json()["items"]) == 1


async def test_a_run_is_cancelled_while_it_works(scene, client):
    scene.says(says("one two three"))
    scene.model.hold = asyncio.Event()
    running = asyncio.ensure_future(scene.run(client, stream=True))
    while not (runs := (await client.get("/v1/runs?status=running")).json()["items"]):
        pass
    answer = await client.post(f"/v1/runs/{runs[0]['id']}/cancel")
    assert answer.status_code in {200, 202}
    assert types_of(await running)[-2] == "failed"
    run = (await client.get(f"/v1/runs/{runs[0]['id']}")).json()
    assert (run["status"], run["cancel_requested"], scene.model.open) == ("cancelled", True, 0)
    again = await client.post(f"/v1/runs/{runs[0]['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


async def test_a_client_that_leaves_interrupts_the_run_which_can_be_resumed(scene, client):
    scene.says(wants("look"), says("one two three"))
    scene.model.hold = asyncio.Event()
    body = {"prompt": "hi", "variables": {"manner": "kind"}, "stream": True}
    async with client.stream("POST", "/v1/agents/support/runs", json=body) as answer:
        async for line in answer.aiter_lines():
            if '"text"' in line:
                break
    while not (runs := (await client.get("/v1/runs?status=interrupted")).json()["items"]):
        pass
    scene.model.hold = None
    scene.says(says("Done."))
    result = (await client.post(f"/v1/runs/{runs[0]['id']}/resume")).json()
    assert (result["output"], result["steps"], result["tool_calls"]) == ("Done.", 2, 1)


async def test_a_fork_begins_with_some_steps_and_asks_for_something_else(scene, client):
    scene.says(wants("look"), says("It is red."))
    first = (await scene.run(client, "Which colour?")).json()
    answer = await client.post(f"/v1/runs/{first['run_id']}/fork", json={"step": 1, "prompt": "In French, please."})
    assert answer.status_code == 201
    fork = answer.json()
    assert (fork["status"], fork["parent_id"], fork["steps"]) == ("interrupted", first["run_id"], 1)
    assert answer.headers["location"] == f"/v1/runs/{fork['id']}"
    scene.says(says("Rouge."))
    result = (await client.post(f"/v1/runs/{fork['id']}/resume")).json()
    assert (result["output"], scene.model.last.messages[-1].text) == ("Rouge.", "In French, please.")
    plain = await client.post(f"/v1/runs/{first['run_id']}/fork")
    assert plain.status_code == 201


async def test_a_team_runs_as_well_and_code_does_not(scene, client):
    result = (await scene.run(client, agent="desk", variables=None)).json()
    assert (result["status"], result["output"]) == ("done", "Helped.")
    answer = await scene.run(client, agent="main")
    assert answer.status_code == 404
    assert "invocations" in answer.json()["detail"]


async def test_agents_are_described(scene, client):
    agents = {one["name"]: one for one in (await client.get("/v1/agents")).json()["agents"]}
    support = agents["support"]
    assert (support["kind"], support["tools"], support["variables"]) == ("agent", ["refund", "look"], ["manner"])
    assert (agents["desk"]["kind"], agents["desk"]["members"]) == ("team", ["helper"])
    assert agents["main"]["kind"] == "code"


# -- in a job ---------------------------------------------------------------------------------------------------------------


async def test_a_job_waits_for_a_person_without_a_worker_and_goes_on_by_itself(scene, client):
    body = {"agent": "support", "input": {"prompt": "refund me", "variables": {"manner": "kind"}}, "session_id": "s-3"}
    job = (await client.post("/v1/jobs", json=body)).json()["id"]
    while not (waiting := (await client.get("/v1/approvals?status=waiting")).json()["items"]):
        pass
    (asked,) = waiting
    assert asked["job_id"] == job
    while (await client.get(f"/v1/jobs/{job}")).json()["status"] != "waiting":
        pass
    refused = await client.post(f"/v1/runs/{asked['run_id']}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "run_busy")
    await client.post(f"/v1/approvals/{asked['id']}", json={"decision": "approve"})
    ended = (await client.get(f"/v1/jobs/{job}?wait=20s")).json()
    assert (ended["status"], ended["result"], scene.refunds) == ("succeeded", "Refunded.", [9])
    assert len(scene.model.calls) == 2
    (run,) = (await client.get("/v1/runs", params={"job_id": job})).json()["items"]
    assert (run["status"], run["id"], run["steps"]) == ("done", asked["run_id"], 2)


async def test_a_job_whose_run_is_cancelled_ends(scene, client):
    body = {"agent": "support", "input": {"prompt": "refund me", "variables": {"manner": "kind"}}}
    job = (await client.post("/v1/jobs", json=body)).json()["id"]
    while not (waiting := (await client.get("/v1/approvals?status=waiting")).json()["items"]):
        pass
    await client.post(f"/v1/runs/{waiting[0]['run_id']}/cancel")
    ended = (await client.get(f"/v1/jobs/{job}?wait=20s")).json()
    assert (ended["status"], ended["error"]["code"], scene.refunds) == ("cancelled", "cancelled", [])


# -- what is wrong ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/prompt"),
        ({"prompt": ""}, "/prompt"),
        ({"prompt": 1}, "/prompt"),
        ({"prompt": "a", "messages": []}, "/messages"),
        ({"messages": []}, "/messages"),
        ({"messages": [{"role": "system", "content": "obey"}]}, "/messages/0"),
        ({"messages": [{"role": {}, "content": "obey"}]}, "/messages/0"),
        ({"prompt": "a", "stream": 1}, "/stream"),
        ({"prompt": "a", "promp": "b"}, "/promp"),
        ({"prompt": "a", "variables": {"manner": "kind", "tools": "all"}}, "/variables/tools"),
        ({"prompt": "a", "variables": {}}, "/variables/manner"),
    ],
)
async def test_what_cannot_be_run_is_refused(scene, client, body, pointer):
    if "variables" not in body:
        body = {**body, "variables": {"manner": "kind"}}
    answer = await client.post("/v1/agents/support/runs", json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await client.get("/v1/runs")).json()["items"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("approvals/{approval}", {}),
        ("approvals/{approval}", {"decision": "maybe"}),
        ("approvals/{approval}", {"decision": {}}),
        ("approvals/{approval}", {"decision": "approve", "note": 1}),
        ("approvals/{approval}", {"decision": "approve", "input": []}),
        ("approvals/{approval}", {"decision": "refuse", "input": {}}),
        ("runs/{run}/fork", {"step": -1}),
        ("runs/{run}/fork", {"step": 99}),
        ("runs/{run}/fork", {"step": True}),
        ("runs/{run}/fork", {"prompt": "a", "messages": []}),
        ("runs/{run}/fork", {"session_id": ""}),
        ("runs/{run}/resume", {"stream": "yes"}),
    ],
)
async def test_what_makes_no_sense_is_refused(scene, client, path, body):
    paused = (await scene.run(client)).json()
    asked = await approval_of(client, paused["run_id"])
    answer = await client.post(f"/v1/{path.format(run=paused['run_id'], approval=asked['id'])}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")


@pytest.mark.parametrize(
    "query",
    ["runs?status=lost", "runs?limit=0", "runs?cursor=x", "runs?agents=a", "approvals?status=x", "runs?since=x"],
)
async def test_what_cannot_be_looked_for_is_refused(client, query):
    assert (await client.get(f"/v1/{query}")).status_code in {400, 404}


async def test_lists_come_page_by_page(scene, client):
    scene.says(says("Hello."))
    for _ in range(3):
        await scene.run(client, "hi")
    first = (await client.get("/v1/runs?limit=2&status=done,failed&agent=support&since=1")).json()
    rest = (await client.get("/v1/runs", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)


# -- isolation --------------------------------------------------------------------------------------------------------------


async def test_every_route_is_described_and_isolated(scene, client):
    """Each address, with the ids of one tenant, tried by another one: nothing is told, nothing is changed."""
    paused = (await scene.run(client, "secret", session_id="s-secret")).json()
    asked = await approval_of(client, paused["run_id"])
    run_id = paused["run_id"]

    async def everything():
        paths = (f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/entries", "/v1/runs", "/v1/approvals")
        return [(await client.get(path)).json() for path in paths]

    before = await everything()
    routes = [
        route for route in scene.server.service.routes if isinstance(getattr(route.handler, "__self__", None), AgentRunRoutes)
    ]  # fmt: skip
    assert {f"{route.method} {route.path}" for route in routes} == set(DESCRIPTIONS)
    async with scene.client("other") as stranger, httpx.AsyncClient(base_url=scene.server.url) as nobody:
        for route in routes:
            path = route.path.replace("{id}", asked["id"] if "approvals" in route.path else run_id)
            path = path.replace("{name}", "support")
            body = {"POST /v1/approvals/{id}": {"decision": "approve"}}.get(f"{route.method} {route.path}", {})
            content = None if route.method == "GET" else json.dumps(body)
            address = f"{route.method} {route.path}"
            answer = await stranger.request(route.method, path, content=content, headers={"x-tenant": "acme"})
            assert "secret" not in answer.text, address
            if "{id}" in route.path:
                assert answer.status_code == 404, address
            elif route.method == "GET":
                assert answer.json() == {"items": [], "next_cursor": None}, address
            assert (await nobody.request(route.method, path, content=content)).status_code == 401, address
    assert await everything() == before
    assert scene.refunds == []
