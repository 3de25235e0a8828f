"""MCP servers at an address: sessions, streams of events, and what happens when either breaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from corral.messages import ToolCall
from corral.settings.policy_sections import McpSettings
from corral.tools.failing import ToolFailed
from corral.tools.mcp.events import Event, EventReader
from corral.tools.mcp.peer import Peer
from corral.tools.mcp.server import McpServer

CALL = ToolCall(name="any")


@contextlib.asynccontextmanager
async def served(app, port=0):
    """An app on a real socket of this loop."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task
        listener.close()


@contextlib.asynccontextmanager
async def connected(url, **said):
    settings = McpSettings(
        **{"url": f"{url}/mcp", "prefix": "", "restart_initial_s": 0.01, "restart_max_s": 0.05, **said}
    )
    server = McpServer("there", settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def until(true):
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - the other side brings it about
            await asyncio.sleep(0.005)


async def call(server, name, **arguments):
    output = await server.tools[name].invoke(arguments, CALL)
    return "".join(part["text"] for part in output.content)


def reference():
    made = MCPServer("reference")

    @made.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @made.tool()
    async def slow(ctx: Context) -> str:
        """Say how far it is, and answer."""
        for step in range(4):
            await asyncio.sleep(0.01)
            await ctx.report_progress(step, 4)
        return "late"

    @made.tool()
    async def grows(ctx: Context) -> str:
        """Have one more tool."""

        def grown() -> str:
            """New."""
            return "new"

        made.add_tool(grown)
        await ctx.session.send_tool_list_changed()
        return "grown"

    return made


@pytest.mark.parametrize("as_json", [False, True], ids=["events", "json"])
async def test_the_reference_server(as_json):
    app = reference().streamable_http_app(json_response=as_json)
    async with served(app) as url, connected(url) as server:
        assert server.state == "connected", server.why
        assert server._peer.version == "2025-06-18"
        answers = await asyncio.gather(*(call(server, "add", a=n, b=1) for n in range(20)))
        assert answers == [str(n + 1) for n in range(20)]
        with pytest.raises(ToolFailed, match="validation"):
            await call(server, "add", a="x")
        await call(server, "grows")
        await until(lambda: "grown" in server.tools)
        assert await call(server, "grown") == "new"


async def test_progress_is_heard_in_the_stream_of_the_answer(monkeypatch):
    heard = []
    told = Peer._told
    monkeypatch.setattr(Peer, "_told", lambda peer, method, params: (heard.append(method), told(peer, method, params)))
    async with served(reference().streamable_http_app()) as url, connected(url) as server:
        assert await call(server, "slow") == "late"
    assert heard.count("notifications/progress") == 4


class Scripted:
    """A server that answers as it is told; what it was asked is at hand."""

    def __init__(self):
        self.asked = []
        self.headers = []
        self.sessions = 0
        self.known = set()
        self.to_call = lambda message: JSONResponse(reply(message, {"content": [{"type": "text", "text": "ok"}]}))
        self.to_get = lambda request: Response(status_code=405)
        self.app = Starlette(
            routes=[
                Route("/mcp", self.post, methods=["POST"]),
                Route("/mcp", self.get),
                Route("/mcp", self.delete, methods=["DELETE"]),
            ]
        )

    async def post(self, request):
        message = await request.json()
        self.asked.append(message)
        self.headers.append(dict(request.headers))
        method = message.get("method")
        if method == "initialize":
            self.sessions += 1
            session = f"session-{self.sessions}"
            self.known.add(session)
            result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {}, "serverInfo": {}}
            return JSONResponse(reply(message, result), headers={"mcp-session-id": session})
        if request.headers.get("mcp-session-id") not in self.known:
            return Response("no such session", status_code=404)
        if "id" not in message:
            return Response(status_code=202)
        if method == "tools/list":
            return JSONResponse(reply(message, {"tools": [{"name": "do"}]}))
        return self.to_call(message)

    async def get(self, request):
        self.headers.append(dict(request.headers))
        return self.to_get(request)

    async def delete(self, request):
        self.asked.append({"method": "DELETE"})
        return Response(status_code=200)


def reply(message, result):
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def event(message, event_id=""):
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: message\ndata: {json.dumps(message)}\n\n".encode()


async def test_a_session_is_said_with_every_request_and_ended():
    script = Scripted()
    async with served(script.app) as url:
        async with connected(url, headers={"Authorization": "Bearer k"}) as server:
            assert await call(server, "do") == "ok"
        later = script.headers[1:]
        assert all(headers["mcp-session-id"] == "session-1" for headers in later)
        assert all(headers["mcp-protocol-version"] == "2025-06-18" for headers in later)
        assert all(headers["authorization"] == "Bearer k" for headers in script.headers)
        assert script.asked[-1] == {"method": "DELETE"}


async def test_a_session_that_is_forgotten_is_begun_anew():
    script = Scripted()
    async with served(script.app) as url, connected(url) as server:
        script.known.clear()
        with pytest.raises(ToolFailed) as failed:
            await call(server, "do")
        assert (failed.value.fault_code, failed.value.may_retry) == ("unavailable", True)
        await until(lambda: server.state == "connected" and server.starts == 2)
        assert await call(server, "do") == "ok"


async def test_a_stream_that_breaks_off_is_taken_up_again():
    script = Scripted()
    asked = []

    def broken(message):
        asked.append(message)
        started = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "begun"}}

        async def body():
            yield b"retry: 10\n\n" + event(started, "e-1")

        return StreamingResponse(body(), media_type="text/event-stream")

    def resumed(request):
        if request.headers.get("last-event-id") != "e-1":
            return Response(status_code=405)

        async def body():
            yield event(reply(asked[-1], {"content": [{"type": "text", "text": "at last"}]}), "e-2")

        return StreamingResponse(body(), media_type="text/event-stream")

    script.to_call, script.to_get = broken, resumed
    async with served(script.app) as url, connected(url) as server:
        assert await call(server, "do") == "at last"
        assert len(asked) == 1


async def test_a_stream_that_cannot_be_taken_up_again_is_a_fault():
    script = Scripted()

    def broken(message):
        async def body():
            yield b": nothing\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    script.to_call = broken
    async with served(script.app) as url, connected(url) as server:
        with pytest.raises(ToolFailed, match="broke off"):
            await call(server, "do")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda message: Response("go away", status_code=403), "403"),
        (lambda message: Response("{", media_type="application/json"), "broke off"),
        (lambda message: Response(status_code=200), "broke off"),
    ],
)
async def test_answers_that_are_none_are_faults(answer, words):
    script = Scripted()
    script.to_call = answer
    async with served(script.app) as url, connected(url) as server:
        with pytest.raises(ToolFailed, match=words):
            await call(server, "do")


async def test_what_the_server_says_by_itself_is_heard():
    script = Scripted()
    listed = asyncio.Event()

    def listening(request):
        async def body():
            yield event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            await asyncio.sleep(30)

        return StreamingResponse(body(), media_type="text/event-stream")

    script.to_get = listening
    async with served(script.app) as url, connected(url):
        await until(lambda: sum(one.get("method") == "tools/list" for one in script.asked) >= 2)
        listed.set()
    assert listed.is_set()


async def test_a_server_that_hangs_costs_its_timeout():
    script = Scripted()

    def hanging(message):
        async def body():
            yield b": wait\n\n"
            await asyncio.sleep(30)

        return StreamingResponse(body(), media_type="text/event-stream")

    script.to_call = hanging
    async with served(script.app) as url, connected(url, timeout_s=0.2, timeout_max_s=0.3) as server:
        with pytest.raises(ToolFailed) as late:
            await call(server, "do")
        assert late.value.fault_code == "timeout"
        await until(lambda: any(one.get("method") == "notifications/cancelled" for one in script.asked))
        wire = server._peer._wire
        await until(lambda: not wire._streams and not wire._pool.open)  # nothing is left open
        assert server.state == "connected"


async def test_a_server_that_comes_late_is_found():
    script = Scripted()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with connected(f"http://127.0.0.1:{port}", restart_max_s=0.05) as server:
        assert server.state == "waiting"
        assert "cannot be reached" in server.why
        async with served(script.app, port):
            await until(lambda: server.state == "connected")
            assert await call(server, "do") == "ok"


def test_events_come_in_pieces():
    reader = EventReader()
    whole = b"id: 1\nevent: message\ndata: a\r\ndata: b\n\n: comment\n\nretry: 250\ndata:c\n\ndata: lost"
    events = [event for n in range(len(whole)) for event in reader.feed(whole[n : n + 1])]
    assert events == [Event("message", b"a\nb", "1"), Event("message", b"c", "1")]
    assert reader.retry_s == 0.25
    with pytest.raises(ValueError, match="bytes"):
        EventReader().feed(b"data: " + b"x" * (17 * 1024 * 1024))
