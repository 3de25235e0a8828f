"""MCP servers that are programs: spoken to, given up, started again, and ended."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from corral.errors import ConfigError
from corral.messages import ToolCall
from corral.settings.policy_sections import McpSettings
from corral.tools.failing import ToolFailed
from corral.tools.mcp import stdio
from corral.tools.mcp.peer import Peer
from corral.tools.mcp.server import McpServer

SERVERS = Path(__file__).parent / "servers"
CALL = ToolCall(name="any")


@pytest.fixture
async def serve_tools():
    servers = []

    async def make(odd="", *, clock=None, **said):
        command = [sys.executable, "-S", str(SERVERS / "odd.py"), odd]
        settings = McpSettings(**{"command": command, "prefix": "", "restart_initial_s": 0.01, **said})
        server = McpServer("odd", settings, **({} if clock is None else {"clock": clock}), chance=lambda: 0.0)
        servers.append(server)
        await server.start()
        return server

    yield make
    for server in servers:
        await server.stop()
        await server.stop()


def said(output):
    return "".join(part["text"] for part in output.content)


async def call(server, name, **arguments):
    return said(await server.tools[name].invoke(arguments, CALL))


async def told_of(server, method):
    """All that the server was told, once this is among it."""
    async with asyncio.timeout(20):
        while True:
            told = json.loads(await call(server, "told"))
            if any(one.get("method") == method for one in told):
                return told


async def until(true):
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(0.005)


async def test_tools_are_listed_page_by_page_under_names_that_models_take(serve_tools):
    server = await serve_tools(prefix="my ")
    assert server.state == "connected"
    names = list(server.tools)
    assert len(names) == 6
    assert all(name.startswith("my_") and len(name) <= 64 for name in names)
    odd = server.tools[names[5]]
    assert len(odd.spec.description) == 4000
    assert odd.marks.untrusted
    assert odd.marks.source == "mcp:odd"
    assert not odd.marks.read_only


async def test_a_call_is_answered(serve_tools):
    server = await serve_tools()
    assert await call(server, "echo", text="hello 世界") == "hello 世界"
    answers = await asyncio.gather(*(call(server, "echo", text=str(n)) for n in range(50)))
    assert answers == [str(n) for n in range(50)]


@pytest.mark.parametrize(("odd", "spoken"), [("", "2025-06-18"), ("old", "2024-11-05")])
async def test_older_versions_are_spoken_as_well(serve_tools, odd, spoken):
    server = await serve_tools(odd)
    assert server._peer.version == spoken
    assert await call(server, "echo", text="x") == "x"


async def test_a_version_that_nobody_here_knows_is_refused(serve_tools):
    server = await serve_tools("future")
    assert server.state != "connected"
    assert "2099-01-01" in server.why


async def test_noise_changes_nothing(serve_tools):
    server = await serve_tools("noisy")
    assert await call(server, "echo", text="x") == "x"
    told = json.loads(await call(server, "told"))
    assert {"jsonrpc": "2.0", "id": "x", "result": {}} in told
    (refused,) = [one for one in told if one.get("id") == 7 and "error" in one]
    assert refused["error"]["code"] == -32601


async def test_a_tool_that_hangs_costs_its_timeout_and_is_told_to_stop(serve_tools):
    server = await serve_tools(timeout_s=0.2, timeout_max_s=0.4)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(ToolFailed) as late:
        await call(server, "hang")
    assert late.value.fault_code == "timeout"
    assert 0.19 <= loop.time() - began < 5
    told = await told_of(server, "notifications/cancelled")
    (cancelled,) = [one["params"] for one in told if one.get("method") == "notifications/cancelled"]
    (asked,) = [one["id"] for one in told if one.get("params", {}).get("name") == "hang"]
    assert cancelled["requestId"] == asked
    assert server._peer._questions == {}


async def test_progress_lets_a_tool_take_longer(serve_tools):
    server = await serve_tools(timeout_s=1.0, timeout_max_s=20)
    assert await call(server, "slow") == "late"  # after 1.2 s, with a word every 0.15 s


class Silent:
    """A wire that carries nothing back."""

    async def start(self, ears):
        self.ears = ears

    async def send(self, message):
        self.sent = message

    def agreed(self, version): ...

    async def stop(self): ...


async def test_progress_moves_the_end_but_not_beyond_the_longest():
    wire = Silent()
    peer = Peer("silent", wire, tools_changed=lambda: None)
    await wire.start(peer)
    asking = asyncio.create_task(peer.ask("tools/call", timeout_s=50, timeout_max_s=80))
    await until(lambda: hasattr(wire, "sent"))
    (question,) = peer._questions.values()
    first = question.timer.when()
    question.idle_s = 60.0
    token = wire.sent["params"]["_meta"]["progressToken"]
    progress = {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
    peer.heard(progress)
    assert first < question.timer.when() < question.until
    question.idle_s = 600.0
    peer.heard(progress)
    assert question.timer.when() == question.until
    peer.heard({"id": 1, "result": {"content": []}})
    assert await asking == {"content": []}
    await peer.stop()


async def test_who_is_cancelled_tells_the_server(serve_tools):
    server = await serve_tools()
    task = asyncio.create_task(call(server, "hang"))
    await until(lambda: len(server._peer._questions) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await told_of(server, "notifications/cancelled")


async def test_what_the_server_does_not_take_is_a_fault(serve_tools):
    server = await serve_tools()
    with pytest.raises(ToolFailed, match="Unknown tool") as failed:
        await server.call("nothing", {}, CALL)
    assert failed.value.fault_code == "invalid_input"


async def test_new_tools_are_seen_when_the_server_says_so(serve_tools):
    changes = []
    server = await serve_tools()
    server._changed = lambda: changes.append(1)
    await server.call("grow", {}, CALL)
    await until(lambda: "grown" in server.tools)
    assert changes == [1]


async def test_a_server_that_dies_fails_its_calls_at_once_and_is_started_again(serve_tools):
    server = await serve_tools()
    waiting = asyncio.create_task(call(server, "hang"))
    await until(lambda: len(server._peer._questions) == 1)
    with pytest.raises(ToolFailed, match="the roof came down") as died:
        await call(server, "die")
    assert (died.value.fault_code, died.value.may_retry) == ("unavailable", True)
    with pytest.raises(ToolFailed):
        await waiting
    await until(lambda: server.state == "connected" and server.starts == 2)
    assert await call(server, "echo", text="back") == "back"


async def test_nobody_waits_for_a_server_that_is_dead(serve_tools):
    server = await serve_tools("dies", restart_initial_s=30.0)
    assert server.state == "waiting"
    assert "no licence" in server.why
    with pytest.raises(ToolFailed, match="no licence") as failed:
        await server.call("echo", {}, CALL)
    assert failed.value.retry_after_s > 10
    assert server.tools == {}


async def test_pauses_between_starts_grow(serve_tools):
    server = await serve_tools("dies", restart_initial_s=0.01, restart_max_s=0.02)
    await until(lambda: server.starts >= 4)
    assert server.state in {"waiting", "connecting"}


async def test_a_server_that_says_nothing_is_given_up(serve_tools):
    server = await serve_tools("silent", connect_s=0.2, restart_initial_s=30.0)
    assert server.state == "waiting"
    assert "0.2 s" in server.why


async def test_a_program_that_is_not_there_says_so(serve_tools):
    server = await serve_tools(command=["/no/such/program"], restart_initial_s=30.0)
    assert "/no/such/program" in server.why


async def test_a_program_that_does_not_want_to_end_is_ended(serve_tools, monkeypatch):
    monkeypatch.setattr(stdio, "_GRACE_S", 0.05)
    server = await serve_tools("stubborn")
    pid = server._peer._wire.pid
    await server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert server.state == "stopped"


async def test_only_some_tools_are_taken_and_the_operators_word_counts(serve_tools):
    server = await serve_tools(tools=["e*", "hang", "told"], read_only=["told"])
    assert set(server.tools) == {"echo", "hang", "told"}
    marks = {name: tool.marks for name, tool in server.tools.items()}
    assert marks["told"].read_only
    assert not marks["hang"].read_only  # it says so itself, and nobody believes it
    trusting = await serve_tools(trust_hints=True, trusted=True)
    assert trusting.tools["hang"].marks.read_only
    assert not trusting.tools["hang"].marks.untrusted


async def test_calls_from_another_loop_are_answered(serve_tools):
    server = await serve_tools()
    assert await asyncio.to_thread(asyncio.run, call(server, "echo", text="from afar")) == "from afar"


async def test_its_environment_is_not_ours(monkeypatch):
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    server = McpServer(
        "reference",
        McpSettings(
            command=[sys.executable, str(SERVERS / "reference.py"), "stdio"],
            env={"GIVEN": "yes"},
            trust_hints=True,
            connect_s=50,
            timeout_s=30,
        ),
    )
    await server.start()
    try:
        assert server.state == "connected", server.why
        names = set(await call_lines(server, "reference_environment"))
        assert {"GIVEN", "PATH"} <= names
        assert "SECRET_OF_OURS" not in names
        # The rest of what the reference server can do, while it is up: starting it takes a second.
        marks = server.tools["reference_environment"].marks
        assert marks.read_only
        assert marks.idempotent
        added = await server.tools["reference_add"].invoke({"a": 1, "b": 2}, CALL)
        assert added.value == {"result": 3}
        assert server.tools["reference_add"].returns["type"] == "object"
        picture = await server.tools["reference_picture"].invoke({}, CALL)
        assert picture.content == [{"type": "image", "data": "cG5n", "media_type": "image/png"}]
        with pytest.raises(ToolFailed, match="fails"):
            await call(server, "reference_fails")
        with pytest.raises(ToolFailed, match="validation"):
            await call(server, "reference_add", a="x")
        await call(server, "reference_grows")
        await until(lambda: "reference_grown" in server.tools)
        assert await call(server, "reference_grown") == "new"
    finally:
        await server.stop()


async def call_lines(server, name):
    output = await server.tools[name].invoke({}, CALL)
    return [part["text"] for part in output.content]


@pytest.mark.parametrize("said", [{}, {"command": ["x"], "url": "http://x"}])
def test_a_server_is_a_program_or_an_address(said):
    with pytest.raises(ConfigError, match=r"tools\.mcp\.odd"):
        McpServer("odd", McpSettings(**said))
