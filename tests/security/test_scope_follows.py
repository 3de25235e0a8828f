"""What a limited key may use holds for all that it begins: agents, jobs, workflows and what they call in their turn."""

from __future__ import annotations

import json

import httpx
import pytest

from corral.agents.agent import Agent
from corral.app import App
from corral.context import EVERYTHING, Context, Scope
from corral.errors import Forbidden
from corral.models.llm import LLM
from corral.security.roles import check_lasting
from corral.testing.contracts.setting import eventually

MODELS = {"providers": {"quick": {"kind": "sim", "options": {"ttft_ms": 0, "itl_ms": 0}}}, "default": "quick/small"}
ADMIN = {"authorization": "Bearer key-of-admin"}


def made():
    app = App()
    llm = LLM()

    @app.entrypoint(name="asks")
    async def asks(payload):
        return (await llm("Hi", model=payload["model"])).model

    @app.entrypoint(name="asks-in-thread")
    def asks_in_thread(payload):
        return llm.run("Hi", model=payload["model"]).model

    @app.entrypoint(name="asks-for-vectors")
    async def asks_for_vectors(payload):
        return len(await llm.embed(["Hi"], model=payload["model"]))

    @app.entrypoint(name="streams")
    async def streams(payload):
        async for text in llm.text("Hi", model=payload["model"]):
            yield text

    app.add(Agent("small", "Be brief.", model="quick/small"))
    app.add(Agent("large", "Be long.", model="quick/large"))
    return app


@pytest.fixture
async def house(build):
    """A service, and clients with keys that may use this or that."""
    security = {"api_keys": [{"key": "key-of-admin", "roles": ["admin"]}]}
    service = await build(made(), security=security, models=MODELS)
    opened = []

    async def client(**scope):
        transport = httpx.ASGITransport(service)
        asker = httpx.AsyncClient(transport=transport, base_url="http://corral", headers=ADMIN)
        opened.append(asker)
        if scope:
            answer = await asker.post("/v1/keys", json={"roles": ["developer"], **scope})
            asker.headers["authorization"] = f"Bearer {answer.json()['key']}"
        return asker

    yield client
    for asker in opened:
        await asker.aclose()


async def ended(client, place):
    found = {}

    async def is_over():
        found.update((await client.get(place)).json())
        return found["status"] not in {"queued", "running", "scheduled", "waiting"}

    await eventually(is_over)
    return found


def task(resource, payload=None):
    return {
        "StartAt": "A",
        "States": {"A": {"Type": "Task", "Resource": resource, "Parameters": payload or {}, "End": True}},
    }


async def executed(client, admin, machine, **begun):
    name = f"w{abs(hash(json.dumps(machine)))}"
    answer = await admin.put(f"/v1/workflows/{name}", json={"definition": machine})
    assert answer.status_code < 300, answer.text
    answer = await client.post(f"/v1/workflows/{name}/executions", json={"input": {}, **begun})
    assert answer.status_code < 300, answer.text
    return await ended(admin, f"/v1/executions/{answer.json()['id']}")


@pytest.mark.parametrize("agent", ["asks", "asks-in-thread", "streams", "asks-for-vectors"])
async def test_agents_ask_no_other_models(house, agent):
    mine, other = ("quick/embed", "other/embed") if agent == "asks-for-vectors" else ("quick/small", "quick/large")
    limited, free = await house(models=["quick/small", "quick/embed"]), await house()

    async def asked(client, model):
        return await client.post(f"/v1/agents/{agent}/invocations", json={"model": model})

    assert "may not use the model" not in (await asked(limited, mine)).text
    assert (await asked(limited, mine)).status_code == 200
    refused = await asked(limited, other)
    assert f"Your key may not use the model '{other}'" in refused.text
    assert agent == "streams" or refused.status_code == 403
    assert "may not use" not in (await asked(free, other)).text


async def test_agents_of_the_house_ask_no_other_models(house):
    limited = await house(models=["quick/small"])
    assert (await limited.post("/v1/agents/small/runs", json={"prompt": "Hi"})).status_code == 200
    refused = await limited.post("/v1/agents/large/runs", json={"prompt": "Hi"})
    assert refused.status_code == 403
    assert "quick/large" in refused.text


async def test_jobs_keep_to_the_key_that_handed_them_in(house):
    limited, admin = await house(models=["quick/small"]), await house()
    for model, status in (("quick/small", "succeeded"), ("quick/large", "failed")):
        begun = (await limited.post("/v1/jobs", json={"agent": "asks", "input": {"model": model}})).json()
        job = await ended(admin, f"/v1/jobs/{begun['id']}")
        assert (job["status"], job["attempt"]) == (status, 1)
    assert job["error"]["code"] == "forbidden"


@pytest.mark.parametrize("resource", ["corral:agent:asks", "corral:job:asks"])
async def test_workflows_call_no_other_agents_and_models(house, resource):
    admin = await house()
    machine = task(resource, {"model": "quick/large"})
    assert (await executed(admin, admin, machine))["status"] == "succeeded"
    for scope in ({"agents": ["small"]}, {"models": ["quick/small"]}):
        found = await executed(await house(**scope), admin, machine)
        assert (found["status"], found["error"]) == ("failed", "Forbidden")
        assert "may not use" in found["cause"]
    found = await executed(await house(agents=["a*"], models=["quick/*"]), admin, machine)
    assert found["status"] == "succeeded"


async def test_executions_within_executions_keep_to_it_as_well(house):
    admin, limited = await house(), await house(models=["quick/small"])
    inner = task("corral:agent:asks", {"model": "quick/large"})
    await admin.put("/v1/workflows/inner", json={"definition": inner})
    outer = task("arn:aws:states:::states:startExecution.sync:2", {"StateMachineArn": "inner", "Input": {}})
    found = await executed(limited, admin, outer)
    assert found["status"] == "failed"
    assert "Forbidden" in found["cause"]


async def test_what_is_forked_may_use_what_who_forks_it_may(house):
    admin, limited = await house(), await house(models=["quick/small"])
    machine = task("corral:agent:asks", {"model": "quick/large"})
    first = await executed(admin, admin, machine)
    for client, status in ((limited, "failed"), (admin, "succeeded")):
        begun = await client.post(f"/v1/executions/{first['id']}/fork", json={})
        assert (await ended(admin, f"/v1/executions/{begun.json()['id']}"))["status"] == status


async def test_a_state_that_is_tried_keeps_to_it(house):
    state = task("corral:agent:asks")["States"]["A"] | {"Parameters": {"model": "quick/large"}}
    body = json.dumps({"definition": json.dumps(state), "input": "{}", "roleArn": "arn:aws:iam::123456789012:role/r"})
    headers = {"x-amz-target": "AWSStepFunctions.TestState", "content-type": "application/x-amz-json-1.0"}
    limited, admin = await house(models=["quick/small"]), await house()
    for client, status in ((limited, "FAILED"), (admin, "SUCCEEDED")):
        answer = await client.post("/", content=body, headers=headers)
        assert answer.json()["status"] == status, answer.text


async def test_what_begins_later_without_a_key_is_made_without_limits(house):
    schedule = {"cron": "0 3 * * *", "job": {"agent": "small", "input": {"prompt": "Hi"}}}
    rule = {"pattern": {"source": ["shop"]}, "targets": [{"job": {"agent": "small"}}]}
    for scope, statuses in (
        ({"agents": ["small"]}, (201, 403)),
        ({"agents": ["large"]}, (403, 403)),
        ({"models": ["quick/*"]}, (403, 403)),
        ({}, (200, 201)),
    ):
        client = await house(**scope)
        told = [
            (await client.put("/v1/schedules/nightly", json=schedule)).status_code,
            (await client.put("/v1/events/rules/sold", json=rule)).status_code,
        ]
        assert tuple(told) == statuses, scope


def test_a_scope_is_handed_on_whole():
    context = Context("r")
    assert context.scope is EVERYTHING
    context.limit_to(Scope(models=("m*",)))
    assert context.scope == Scope(models=("m*",))
    check_lasting(EVERYTHING)
    check_lasting(Scope(agents=("s*",)), "small")
    with pytest.raises(Forbidden):
        check_lasting(Scope(agents=("s*",)))
