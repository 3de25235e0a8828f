"""`/v1/tools` and `/v1/artefacts`, and who may see what."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from corral import Context, Toolbox, ToolFailed, tool
from corral.agents.agent import Agent
from corral.app import App
from corral.messages import ToolCall

TENANTS = ("acme", "other")


class Bank:
    def __init__(self):
        self.paid = []


@pytest.fixture
def bank():
    return Bank()


@pytest.fixture
def app(bank):
    app = App()

    @app.tool(read_only=True, cache_ttl_s=60)
    async def look(ticket_id: str, n: int = 3) -> dict:
        """Look a ticket up."""
        bank.paid.append("look")
        return {"ticket": ticket_id, "n": n}

    @app.tool
    def pay(amount: float, context: Context) -> str:
        bank.paid.append((context.tenant, context.user_id, amount))
        if amount < 0:
            raise ToolFailed("Less than nothing.", code="declined")
        return f"paid {amount}"

    @app.tool(output_max_bytes=20)
    async def log(context: Context) -> str:
        return f"{context.tenant}'s secret\n" * 100

    @tool
    async def helper_only(a: int) -> int:
        return a

    @tool(name="look")
    async def other_look() -> str:
        return "the agent's"

    app.add(Agent("helper", "Help.", tools=[helper_only, other_look]))
    app.entrypoint(lambda payload: payload)
    return app


@pytest.fixture
async def service(build, app):
    keys = [{"key": f"key-of-{tenant}", "tenant": tenant} for tenant in TENANTS]
    return await build(app, security={"api_keys": keys})


@pytest.fixture
async def client_of(service):
    clients = []

    def make(tenant, **headers):
        headers["authorization"] = f"Bearer key-of-{tenant}"
        client = httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral", headers=headers)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def client(client_of):
    return client_of("acme")


async def test_all_tools_are_listed(client):
    found = (await client.get("/v1/tools")).json()["items"]
    assert [(one["name"], one["agents"]) for one in found] == [
        ("helper_only", ["helper"]),
        ("log", []),
        ("look", []),
        ("look", ["helper"]),
        ("pay", []),
        ("read_artefact", []),
    ]
    look = found[2]
    assert look["parameters"]["required"] == ["ticket_id"]
    assert (look["read_only"], look["cache_ttl_s"], look["source"]) == (True, 60.0, "code")
    of_helper = (await client.get("/v1/tools", params={"agent": "helper"})).json()["items"]
    assert [one["name"] for one in of_helper] == ["helper_only", "look"]


async def test_one_is_shown(client):
    assert (await client.get("/v1/tools/look")).json()["description"] == "Look a ticket up."
    assert (await client.get("/v1/tools/look?agent=helper")).json()["agents"] == ["helper"]
    answer = await client.get("/v1/tools/lok")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "did you mean 'look'?" in answer.json()["detail"]
    assert "of the agent 'nobody'" in (await client.get("/v1/tools/look?agent=nobody")).json()["detail"]


@pytest.mark.parametrize("query", ["?agnet=helper", "?agent=", "?agent=" + "x" * 65])
async def test_a_misspelt_parameter_is_said(client, query):
    assert (await client.get(f"/v1/tools{query}")).status_code == 400


async def test_a_tool_is_called_as_an_agent_would(client, bank):
    reply = (await client.post("/v1/tools/look/call", json={"input": {"ticket_id": "T", "n": "5"}})).json()
    assert reply["value"] == {"ticket": "T", "n": 5}
    assert reply["content"] == [{"type": "text", "text": '{"ticket":"T","n":5}'}]
    assert (reply["fault"], reply["cached"], reply["attempts"]) == (None, "", 1)
    reply = (await client.post("/v1/tools/look/call", json={"input": {"ticket_id": "T", "n": 5}})).json()
    assert reply["cached"] == "kept"
    assert (await client.post("/v1/tools/look/call?agent=helper")).json()["value"] == "the agent's"


async def test_what_does_not_fit_is_said(client):
    for body, said in (
        ({"inptu": {}}, "did you mean"),
        ({"input": []}, "JSON object"),
        ([], "JSON object"),
    ):
        answer = await client.post("/v1/tools/look/call", json=body)
        assert answer.status_code == 400
        assert said in str(answer.json())
    fault = (await client.post("/v1/tools/look/call", json={"input": {"tiket": 1}})).json()["fault"]
    assert fault["code"] == "invalid_input"
    assert "`ticket_id` is missing" in fault["message"]


async def test_a_tool_that_fails_is_an_answer(client):
    answer = await client.post("/v1/tools/pay/call", json={"input": {"amount": -1}})
    assert answer.status_code == 200
    assert answer.json()["fault"] == {
        "code": "declined",
        "message": "Less than nothing.",
        "retryable": False,
        "retry_after_s": None,
    }


async def test_a_key_has_one_effect(client_of, bank):
    client = client_of("acme", **{"idempotency-key": "k", "x-user-id": "ada"})
    replies = [(await client.post("/v1/tools/pay/call", json={"input": {"amount": 5}})).json() for _ in range(3)]
    assert [reply["cached"] for reply in replies] == ["", "replayed", "replayed"]
    assert bank.paid == [("acme", "ada", 5.0)]
    assert (await client.post("/v1/tools/pay/call", json={"input": {"amount": 6}})).json()["fault"]["code"] == (
        "idempotency_key_reused"
    )


async def test_isolation(client_of, bank, service):
    """Each address, tried by another tenant and another user: nothing is told, nothing is shared."""
    ada, bob, stranger = (
        client_of("acme", **{"x-user-id": "ada", "idempotency-key": "k"}),
        client_of("acme", **{"x-user-id": "bob", "idempotency-key": "k"}),
        client_of("other", **{"x-user-id": "ada", "idempotency-key": "k", "x-tenant": "acme"}),
    )
    name = (await ada.post("/v1/tools/log/call")).json()["artefact"]
    assert (await ada.get(f"/v1/artefacts/{name}")).text == "acme's secret\n" * 100
    read = {"input": {"name": name}}
    for one in (bob, stranger, client_of("acme")):
        assert (await one.get(f"/v1/artefacts/{name}")).status_code == 404
        reply = (await one.post("/v1/tools/read_artefact/call", json=read)).json()
        assert reply["fault"]["code"] == "not_found"
    assert "acme's secret" in (await ada.post("/v1/tools/read_artefact/call", json=read)).json()["value"]
    # the same key of another tenant is another call, of another user none at all
    assert "other's" in (await stranger.post("/v1/tools/log/call")).text
    assert (await bob.post("/v1/tools/log/call")).json()["fault"]["code"] == "idempotency_key_reused"
    # kept results of a tenant are not another's
    for one in (client_of("acme"), client_of("other")):
        reply = (await one.post("/v1/tools/look/call", json={"input": {"ticket_id": "T"}})).json()
        assert reply["cached"] == ""
    assert bank.paid.count("look") == 2
    for route in (route for route in service.routes if route.path.startswith(("/v1/tools", "/v1/artefacts"))):
        answer = await client_of("nobody").request(route.method, route.path.replace("{name}", "look"))
        assert answer.status_code == 401


async def test_agents_of_the_service_call_through_its_layers(service, bank):
    call = ToolCall(name="pay", input={"amount": 1}, idempotency_key="from an agent")
    box = Toolbox(tuple(service.app.tools))
    first, again = await box.call(call), await box.call(call)
    assert (first.cached, again.cached) == ("", "replayed")
    assert len(bank.paid) == 1
    await service.stop()
    alone = await box.call(call)  # no service, no store: this process remembers for itself
    assert alone.cached == ""
    await asyncio.gather(service.stop(), service.stop())
