"""What runs now in all workers, and an end to it."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from corral.agents.agent import Agent
from corral.app import App
from corral.messages import ModelReply, Usage
from corral.runtime.board import Board, Wanted
from corral.testing.contracts.setting import eventually
from corral.tools.tool import tool

KEYS = [
    *({"key": f"key-of-{name}", "tenant": name} for name in ("acme", "other")),
    {"key": "key-of-caller", "tenant": "acme", "roles": ["invoker"]},
]


async def wants_to_wait(_):
    """A model that wants one tool called."""
    call = {"type": "tool_use", "id": "c1", "name": "wait_long", "input": {}}
    yield ModelReply(content=[call], model="m", stop_reason="tool_use", usage=Usage(input=9), cost_usd=0.25)


class House:
    """Two workers on one store, each with agents that run until they are stopped."""

    def __init__(self, build):
        self._build = build
        self.stopped = []

    async def worker(self):
        app = App()
        stopped = self.stopped

        @app.entrypoint
        async def slow(payload):
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                stopped.append(payload["prompt"])
                raise

        @tool
        async def wait_long() -> str:
            """Wait for a long time."""
            await asyncio.sleep(600)
            return "It is late."

        app.add(Agent("patient", "Wait.", tools=[wait_long], model=wants_to_wait))

        @app.entrypoint(name="other")
        async def other(payload):
            await slow(payload)

        service = await self._build(app, security={"api_keys": KEYS})
        service.board._every_s = 0.02
        return service

    def client(self, service, tenant="acme", **headers):
        headers = {"authorization": f"Bearer key-of-{tenant}", **headers}
        return httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral", headers=headers)


@pytest.fixture
async def house(build):
    return House(build)


async def invoke(client, prompt, user="ann", agent="main"):
    headers = {"x-user-id": user, "x-request-id": prompt}
    return await client.post(f"/v1/agents/{agent}/invocations", json={"prompt": prompt}, headers=headers)


async def running(client, **query):
    answer = await client.get("/v1/running", params=query)
    assert answer.status_code == 200, answer.text
    return {(one["kind"], one["id"]): one for one in answer.json()["items"]}


async def until(client, *wanted, **query):
    async def there():
        return {found for _, found in await running(client, **query)} == set(wanted)

    await eventually(there)


async def test_what_runs_in_any_worker_is_seen_and_stopped_by_a_filter(house):
    one, two = await house.worker(), await house.worker()
    async with house.client(one) as here, house.client(two) as there, house.client(two, "other") as other:
        calls = [
            asyncio.create_task(invoke(here, "a-here")),
            asyncio.create_task(invoke(there, "a-there")),
            asyncio.create_task(invoke(there, "b-there", user="bob")),
            asyncio.create_task(invoke(there, "c-there", user="bob", agent="other")),
            asyncio.create_task(invoke(other, "theirs", user="bob")),
        ]
        await until(here, "a-here", "a-there", "b-there", "c-there")
        await until(other, "theirs")
        found = (await running(here, user="bob", agent="other"))["invocation", "c-there"]
        assert (found["tenant"], found["user"], found["agent"]) == ("acme", "bob", "other")
        assert found["age_s"] >= 0
        assert await running(here, older_s=3600) == {}
        answer = await here.post("/v1/running/stop", json={"user": "bob", "tenant": "acme"})
        assert {one["id"] for one in answer.json()["items"]} == {"b-there", "c-there"}
        assert [answer.status_code for answer in await asyncio.gather(*calls[2:4])] == [409, 409]
        assert sorted(house.stopped) == ["b-there", "c-there"]
        await until(here, "a-here", "a-there")
        later = asyncio.create_task(invoke(there, "later", user="bob"))  # began after the order
        await until(here, "a-here", "a-there", "later")
        for _ in range(3):
            await two.board.post()
        assert not later.done()
        assert (await here.post("/v1/running/stop", json={"all": True})).status_code == 200
        assert {answer.status_code for answer in await asyncio.gather(later, *calls[:2])} == {409}
        assert not calls[4].done()
        await other.post("/v1/running/stop", json={"all": True})
        assert (await calls[4]).status_code == 409
        audit = (await here.get("/v1/audit", params={"action": "running.stop"})).json()["items"]
        assert {one["subject"] for one in audit} <= {"user=bob, tenant=acme", "all"}


async def test_jobs_and_executions_are_stopped_as_well(house):
    service = await house.worker()
    async with house.client(service) as client, house.client(service, "other") as other:
        job = (await client.post("/v1/jobs", json={"agent": "main", "input": {"prompt": "in a job"}})).json()
        machine = {"StartAt": "Rest", "States": {"Rest": {"Type": "Wait", "Seconds": 3600, "End": True}}}
        made = await client.post("/v1/workflows", json={"name": "nightly", "definition": machine})
        assert made.status_code < 300, made.text
        begun = (await client.post("/v1/workflows/nightly/executions", json={"input": {}})).json()
        await until(client, job["id"], begun["id"])
        assert await running(other) == {}
        await other.post("/v1/running/stop", json={"all": True})
        found = await running(client)
        assert set(found) == {("job", job["id"]), ("execution", begun["id"])}
        assert found["execution", begun["id"]]["agent"] == "nightly"
        answer = await client.post("/v1/running/stop", json={"kind": "job"})
        assert [one["kind"] for one in answer.json()["items"]] == ["job"]

        async def cancelled():
            return (await client.get(f"/v1/jobs/{job['id']}")).json()["status"] == "cancelled"

        await eventually(cancelled)
        await client.post("/v1/running/stop", json={"agent": "nightly"})
        ended = (await client.get(f"/v1/executions/{begun['id']}")).json()
        assert (ended["status"], ended["error"]) == ("aborted", "Stopped")
        await until(client)


async def test_runs_of_agents_show_what_they_cost_and_are_stopped(house):
    service = await house.worker()
    async with house.client(service) as client:
        asked = asyncio.create_task(client.post("/v1/agents/patient/runs", json={"prompt": "Now"}))

        async def shown():
            return [one["cost_usd"] for one in (await running(client, kind="run")).values()] == [0.25]

        await eventually(shown)
        ((kind, _),) = await running(client, kind="run", agent="patient")
        assert kind == "run"
        stopped = await client.post("/v1/running/stop", json={"kind": "run", "agent": "patient"})
        assert len(stopped.json()["items"]) == 1
        assert (await asked).status_code == 409
        await until(client)


REFUSED = [
    ("acme", "POST", {}, 400),
    ("acme", "POST", {"tenant": "acme"}, 400),
    ("acme", "POST", {"all": "yes"}, 400),
    ("acme", "POST", {"agnet": "x"}, 400),
    ("acme", "POST", {"agent": ""}, 400),
    ("acme", "POST", {"kind": "thread"}, 400),
    ("acme", "POST", {"older_s": "soon"}, 400),
    ("acme", "POST", {"all": True, "tenant": "other"}, 403),
    ("acme", "GET", {"tenant": "other"}, 403),
    ("acme", "GET", {"older_s": "nan"}, 400),
    ("caller", "GET", {}, 403),
    ("caller", "POST", {"all": True}, 403),
]


async def test_who_may_not_or_says_nothing_is_refused(house):
    service = await house.worker()
    for tenant, method, given, status in REFUSED:
        async with house.client(service, tenant) as client:
            if method == "GET":
                answer = await client.get("/v1/running", params=given)
            else:
                answer = await client.post("/v1/running/stop", json=given)
            assert answer.status_code == status, (given, answer.text)


async def test_a_board_that_nobody_needs_writes_nothing(house):
    service = await house.worker()

    class Never:
        async def post(self, *_, **__):
            raise AssertionError("nothing runs")

    board = Board(Never(), service.invocations, every_s=0.001)
    await board.start()
    await board.start()
    await asyncio.sleep(0.02)
    await board.stop()
    await board.stop()
    assert await service.board.find(Wanted(tenant="acme")) == []
