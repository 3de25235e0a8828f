"""Tools from elsewhere in a whole service: found by the name of the place, listed with their source, under the policy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import pytest

from corral.app import App
from corral.errors import ConfigError
from corral.messages import ToolCall
from corral.settings.policy_sections import McpSettings, OpenApiSettings, RuleSettings
from corral.settings.tool_sections import ToolSettings
from corral.tools.elsewhere import Elsewhere
from corral.tools.places import checked_source, tools_from
from corral.tools.policy import Rule
from corral.tools.tool import tool
from corral.tools.toolbox import Toolbox
from listening import Listening, answering

ODD = str(Path(__file__).parent / "servers/odd.py")
COMMAND = [sys.executable, "-S", ODD]
DOCUMENT = {
    "openapi": "3.1.0",
    "paths": {"/orders": {"get": {"operationId": "orders", "summary": "List them."}}},
}
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]"


@tool(name="odd_echo")
async def our_own_echo(text: str) -> str:
    """Ours."""
    return f"ours: {text}"


@pytest.fixture
async def shop(tmp_path):
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(DOCUMENT))
    async with Listening(answering(OK)) as server:
        yield {"document": str(path), "base_url": f"http://127.0.0.1:{server.port}", "allow": ["127.0.0.1"]}


@pytest.fixture
async def service(build, shop):
    app = App()
    app.entrypoint(lambda payload: payload)
    app.rule(Rule(RuleSettings(name="no dying", decide="deny", tools=["odd_die"], reason="it ends the server")))
    return await build(
        app,
        tools={"mcp": {"odd": {"command": COMMAND, "restart_initial_s": 0.01}}, "openapi": {"shop": shop}},
    )


async def test_toolboxes_have_what_a_place_has(service):
    box = Toolbox(["mcp:odd", "openapi:shop"])
    assert "odd_echo" in box
    assert {"odd_echo", "orders"} <= {spec.name for spec in box.specs()}
    reply = await box.call(ToolCall(name="odd_echo", input={"text": "hello"}))
    assert (reply.content[0]["text"], reply.tainted) == ("hello", ("tool:odd_echo",))
    assert (await box.call(ToolCall(name="orders"))).value == []
    fault = (await box.call(ToolCall(name="order"))).fault
    assert fault.code == "not_found"
    assert "Did you mean orders?" in fault.message


async def test_one_of_ours_goes_before(service):
    box = Toolbox(["mcp:odd"]).plus(our_own_echo, "openapi:shop")
    assert (await box.call(ToolCall(name="odd_echo", input={"text": "x"}))).value == "ours: x"
    assert "orders" in box
    assert len(box) == 7


async def test_rules_of_code_hold_for_them(service):
    reply = await Toolbox(["mcp:odd"]).call(ToolCall(name="odd_die"))
    assert reply.fault.code == "denied"
    assert "it ends the server" in reply.fault.message


async def test_they_are_listed_with_their_source(service):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral") as client:
        items = (await client.get("/v1/tools")).json()["items"]
        sources = {one["name"]: one["source"] for one in items}
        assert sources["odd_echo"] == "mcp:odd"
        assert sources["orders"] == "openapi:shop"
        answer = await client.post("/v1/tools/odd_echo/call", json={"input": {"text": "hi"}})
        assert answer.json()["tainted"] == ["tool:odd_echo"]


async def test_what_the_settings_do_not_name_is_said_so(service):
    with pytest.raises(ConfigError, match="did you mean 'mcp:odd'"):
        Toolbox(["mcp:ood"]).specs()
    with pytest.raises(ConfigError, match=r"tools\.openapi\.nothing"):
        Toolbox(["openapi:nothing"]).specs()


def test_without_a_service_there_is_nothing_from_elsewhere():
    assert tools_from("mcp:odd") == {}
    assert Toolbox(["mcp:odd"]).specs() == []


@pytest.mark.parametrize("odd", ["odd", "mcp:", "http://x", ""])
def test_what_is_no_place_is_refused(odd):
    with pytest.raises(ConfigError, match="no place"):
        checked_source(odd)


async def test_a_place_that_is_away_holds_nobody_up():
    elsewhere = Elsewhere(
        ToolSettings(
            mcp={"gone": McpSettings(command=["/no/such/program"])},
            openapi={"gone": OpenApiSettings(document="http://127.0.0.1:9/x", allow=["127.0.0.1"])},
        )
    )
    await elsewhere.start()
    await elsewhere.start()
    assert list(elsewhere) == []
    await elsewhere.drain()
    await elsewhere.stop()
    await elsewhere.stop()


async def test_a_document_that_comes_late_is_read(shop, monkeypatch):
    monkeypatch.setattr("corral.tools.elsewhere._PAUSE_S", 0.01)
    body = json.dumps({**DOCUMENT, "servers": [{"url": "/"}]}).encode()
    answers = [
        b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body),
    ]

    async def behave(reader, writer):
        await answering(answers.pop(0) if len(answers) > 1 else answers[0])(reader, writer)

    async with Listening(behave) as server:
        url = f"http://127.0.0.1:{server.port}/openapi.json"
        elsewhere = Elsewhere(ToolSettings(openapi={"shop": OpenApiSettings(document=url, allow=["127.0.0.1"])}))
        await elsewhere.start()
        assert list(elsewhere) == []
        (trying,) = elsewhere._trying
        await trying
        assert [one.name for one in elsewhere] == ["orders"]
        await elsewhere.stop()


async def test_a_document_that_can_never_be_used_stops_the_start():
    elsewhere = Elsewhere(ToolSettings(openapi={"shop": OpenApiSettings(document="/no/such/file")}))
    with pytest.raises(ConfigError, match=r"tools\.openapi\.shop"):
        await elsewhere.start()


async def test_a_service_says_at_its_start_that_a_place_is_not_named(build):
    app = App()
    app.entrypoint(lambda payload: payload)
    app.tools.include("mcp:nothing")
    with pytest.raises(ConfigError, match=r"tools\.mcp\.nothing"):
        await build(app)


async def test_roles_come_from_the_key(build):
    @tool(permissions=("clerk",))
    async def refund() -> str:
        """Give money back."""
        return "done"

    app = App()
    app.entrypoint(lambda payload: payload)
    app.tools.add(refund)
    keys = [{"key": "of-ada", "roles": ["clerk"]}, {"key": "of-bob"}]
    service = await build(app, security={"api_keys": keys})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral") as client:
        answers = {}
        for name in ("ada", "bob"):
            headers = {"authorization": f"Bearer of-{name}"}
            answers[name] = (await client.post("/v1/tools/refund/call", json={"input": {}}, headers=headers)).json()
    assert answers["ada"]["value"] == "done"
    assert answers["bob"]["fault"]["code"] == "denied"
    assert "clerk" in answers["bob"]["fault"]["message"]


async def test_a_job_has_the_roles_of_who_asked_for_it(build):
    @tool(permissions=("clerk",))
    async def refund() -> str:
        """Give money back."""
        return "done"

    app = App()
    app.tools.add(refund)

    @app.entrypoint
    async def clerk(payload, context):
        reply = await app.tools.use("refund")
        return "done" if reply.fault is None else reply.fault.code

    keys = [{"key": "of-ada", "roles": ["clerk"]}, {"key": "of-bob"}]
    service = await build(app, security={"api_keys": keys})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral") as client:
        answers = {}
        for name in ("ada", "bob"):
            headers = {"authorization": f"Bearer of-{name}"}
            asked = {"agent": "main", "input": {}}
            answers[name] = (await client.post("/v1/jobs?wait=10s", json=asked, headers=headers)).json()
    assert {name: answer.get("result") for name, answer in answers.items()} == {"ada": "done", "bob": "denied"}
