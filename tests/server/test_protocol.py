"""The connection on real sockets, below any application: what is no request, what does not come, and who leaves.

These tests also hold the line against uvicorn, whose protocol ours extends.
"""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from corral.server import protocol
from corral.server.protocol import CorralProtocol

REFUSED = {
    "/refused": [(b"content-length", b"0"), (b"connection", b"close")],
    "/refused/and/kept": [(b"content-length", b"0")],
}
"""Headers of answers that wait for no body."""


class Scene:
    """One connection's worth of server, with an application that the test holds in its hands."""

    def __init__(self) -> None:
        self.state = ServerState()
        self.bodies: list[bytes] = []
        self.paths: list[bytes] = []
        self.connections: list[CorralProtocol] = []
        self.go = asyncio.Event()
        self.go.set()
        self.left = asyncio.Event()
        self.begun = asyncio.Semaphore(0)
        self.left_asgi = asyncio.Event()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        config = Config(
            self.app, http=CorralProtocol, ws="websockets-sansio", lifespan="off", interface="asgi3", log_config=None
        )
        config.load()

        def made() -> CorralProtocol:
            connection = CorralProtocol(config=config, server_state=self.state, app_state={}, _loop=loop)
            self.connections.append(connection)
            return connection

        self.server = await loop.create_server(made, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def app(self, scope, receive, send) -> None:
        if scope["path"] in REFUSED:
            scope["corral.connection"].respond(413, REFUSED[scope["path"]], b"")
            return
        body = scope["corral.connection"].whole_body(scope) if scope["path"].startswith("/whole") else None
        more = body is None
        body = body or b""
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left_asgi.set()
                return
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        self.paths.append(scope["raw_path"])
        connection = scope["corral.connection"]
        connection.on_lost(self.left.set)
        self.begun.release()
        await self.go.wait()
        connection.forget()
        if scope["path"].endswith("/more"):
            assert (await receive())["type"] == "http.disconnect"
            self.left_asgi.set()
            return
        answer = b"%b:%b" % (scope["raw_path"], body)
        if scope["path"] == "/asgi":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})
        elif scope["path"] == "/asgi/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await send({"type": "http.response.body", "body": b"two"})
        elif scope["path"] == "/broken":
            raise ValueError("broken")
        elif scope["path"] == "/silent":
            return
        elif scope["path"] == "/stream":
            connection.begin_stream(200, [])
            connection.write_piece(b"one")
            connection.write_piece(b"two")
            await connection.drain()
            connection.end_stream(b"end")
        else:
            connection.respond(200, [(b"content-length", b"%d" % len(answer))], answer)

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *parts: bytes) -> bytes:
        """Send, and read until the server closes."""
        reader, writer = await self.connect()
        for part in parts:
            writer.write(part)
            await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


@pytest.fixture
async def scene():
    made = Scene()
    await made.start()
    yield made
    made.server.close()
    made.go.set()
    for connection in list(made.state.connections):
        connection.transport.abort()
    while made.state.tasks:
        await asyncio.wait(list(made.state.tasks))


def get(path: str = "/a", headers: str = "", version: str = "1.1") -> bytes:
    return f"GET {path} HTTP/{version}\r\nhost: x\r\n{headers}\r\n".encode()


def post(path: str, body: bytes, headers: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


CLOSE = "connection: close\r\n"


async def test_it_answers_in_one_write_and_as_any_server_does(scene):
    assert (await scene.say(post("/a", b"body", CLOSE))).endswith(b"connection: close\r\n\r\n/a:body")
    assert (await scene.say(get("/asgi", CLOSE))).endswith(b"\r\n\r\nok")
    assert (await scene.say(get("/asgi/stream", CLOSE))).endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


@pytest.mark.parametrize("path", ["/broken", "/silent"])
async def test_an_application_that_does_not_answer_is_answered_for(scene, path, caplog):
    answer = await scene.say(get(path))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.endswith(b"Internal Server Error")
    assert len(caplog.records) == 1


async def test_a_connection_goes_on_after_an_answer_by_asgi(scene):
    answer = await scene.say(get("/asgi") + get("/asgi/stream") + get("/3", CLOSE))
    assert answer.count(b"HTTP/1.1 200 OK") == 3


async def test_pieces_of_one_turn_leave_together(scene):
    answer = await scene.say(get("/stream", CLOSE))
    assert answer.endswith(b"\r\n\r\n9\r\nonetwoend\r\n0\r\n\r\n")


async def test_requests_that_come_together_are_answered_in_order(scene):
    answer = await scene.say(post("/1", b"x") + post("/2", b"y") + get("/3", CLOSE))
    assert re.findall(rb"/\d:\w?(?=HTTP|$)", answer) == [b"/1:x", b"/2:y", b"/3:"]


async def test_a_connection_is_closed_when_it_was_idle_for_too_long_and_never_while_it_is_busy(scene):
    reader, writer = await scene.connect()
    for _ in range(2):
        scene.go.clear()
        writer.write(get())
        await scene.begun.acquire()
        (connection,) = scene.connections
        connection.timeout_keep_alive = 0.1
        asyncio.get_running_loop().call_later(
            0.2, scene.go.set
        )  # the second time, the timer of the first is over by then
        await reader.readuntil(b"/a:")
    began = asyncio.get_running_loop().time()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    assert asyncio.get_running_loop().time() - began > 0.05
    writer.close()


async def test_an_old_client_is_answered_and_left(scene):
    assert (await scene.say(get("/old", version="1.0"))).endswith(b"/old:")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_400_without_noise(scene, nonsense, caplog):
    answer = await scene.say(nonsense)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer
    assert not scene.paths
    assert not caplog.records


async def test_a_head_that_is_too_large_is_refused_however_it_comes(scene):
    large = get("/a", "".join(f"x-{n}: {'y' * 1000}\r\n" for n in range(70)))
    assert (await scene.say(large)).startswith(b"HTTP/1.1 431 ")
    pieces = [large[n : n + 9000] for n in range(0, len(large), 9000)]
    assert (await scene.say(*pieces)).startswith(b"HTTP/1.1 431 ")
    assert not scene.paths
    fits = get("/a", "".join(f"x-{n}: {'y' * 1000}\r\n" for n in range(60)) + CLOSE)
    assert (await scene.say(fits)).startswith(b"HTTP/1.1 200 ")


async def test_a_large_body_beside_a_small_head_is_no_large_head(scene):
    assert (await scene.say(post("/a", b"x" * 300_000, CLOSE))).startswith(b"HTTP/1.1 200 ")
    assert len(scene.bodies[0]) == 300_000


@pytest.mark.parametrize("path", ["/whole", "/pieces"])
async def test_a_large_body_that_is_read_does_not_keep_a_client_that_leaves_from_being_noticed(scene, path):
    reader, writer = await scene.connect()
    writer.write(get())
    await reader.readuntil(b"/a:")
    scene.go.clear()
    (connection,) = scene.connections
    connection.data_received(post(path, b"x" * 100_000))  # all of it at once, so reading pauses
    assert connection.flow.read_paused
    await scene.begun.acquire()
    await scene.begun.acquire()
    assert scene.bodies[1] == b"x" * 100_000
    writer.close()
    await asyncio.wait_for(scene.left.wait(), 10)


@pytest.mark.parametrize("path", ["/whole/more", "/pieces/more"])
async def test_a_body_is_read_once_and_who_reads_on_hears_that_the_client_has_gone(scene, path):
    _, writer = await scene.connect()
    writer.write(post(path, b"x"))
    await scene.begun.acquire()
    assert scene.bodies == [b"x"]
    writer.close()
    await asyncio.wait_for(scene.left_asgi.wait(), 10)


async def test_who_reads_on_hears_it_although_another_request_has_come(scene):
    _, writer = await scene.connect()
    writer.write(post("/pieces/more", b"x") + post("/pieces", b"y"))
    await scene.begun.acquire()
    writer.close()
    await asyncio.wait_for(scene.left_asgi.wait(), 10)
    assert scene.bodies == [b"x"]


@pytest.mark.parametrize("path", ["/whole", "/pieces"])
async def test_a_client_that_asks_before_it_sends_is_told_once_to_go_on(scene, path):
    reader, writer = await scene.connect()
    asking = post(path, b"", f"{CLOSE}expect: 100-Continue\r\n").replace(b"length: 0", b"length: 2")
    writer.write(asking)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    for piece in (b"x", b"y"):
        writer.write(piece)
    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b":xy")
    writer.close()


async def test_who_does_not_read_a_body_does_not_ask_for_it(scene):
    asking = post("/refused", b"", "expect: 100-continue\r\n").replace(b"length: 0", b"length: 2")
    assert (await scene.say(asking)).startswith(b"HTTP/1.1 413 ")


async def test_a_head_that_does_not_come_is_not_waited_for(scene, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S_MAX", 0.05)
    assert await scene.say() == b""
    assert (await scene.say(b"GET / HT")).startswith(b"HTTP/1.1 408 ")
    reader, writer = await scene.connect()
    writer.write(get("/a"))
    assert b"/a:" in await reader.readuntil(b"/a:")
    writer.write(b"GET /b HTTP/1.1\r\n")  # the second request of a connection is not waited for either
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_body_that_stops_coming_is_not_waited_for(scene, monkeypatch):
    monkeypatch.setattr(protocol, "BODY_PAUSE_S_MAX", 0.05)
    answer = await scene.say(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 408 ")
    await asyncio.wait_for(scene.left_asgi.wait(), 10)


async def test_an_answer_may_take_longer_than_a_head(scene, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S_MAX", 0.01)
    monkeypatch.setattr(protocol, "BODY_PAUSE_S_MAX", 0.01)
    scene.go.clear()
    answer = asyncio.create_task(scene.say(post("/a", b"x", CLOSE)))
    await scene.begun.acquire()
    assert scene.connections[0]._waiting is None
    scene.go.set()
    assert (await answer).startswith(b"HTTP/1.1 200 ")


async def test_nonsense_after_a_request_does_not_take_its_answer(scene):
    scene.go.clear()
    answer = asyncio.create_task(scene.say(post("/a", b"x") + b"\x00\x01nonsense\r\n\r\n"))
    await scene.begun.acquire()
    scene.go.set()
    said = await answer
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(b"/a:x")
    assert b"connection: close" in said


async def test_nonsense_within_a_body_is_answered_400(scene):
    answer = await scene.say(b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    await asyncio.wait_for(scene.left_asgi.wait(), 10)


async def test_a_broken_body_does_not_take_the_answers_of_requests_before_it(scene):
    scene.go.clear()
    broken = b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n"
    answer = asyncio.create_task(scene.say(post("/a", b"x") + post("/b", b"y") + broken))
    await scene.begun.acquire()
    scene.go.set()
    said = await answer
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert said.endswith(b"/b:y")


async def test_a_client_that_leaves_is_noticed(scene):
    scene.go.clear()
    _, writer = await scene.connect()
    writer.write(post("/a", b"x"))
    await scene.begun.acquire()
    writer.close()
    await asyncio.wait_for(scene.left.wait(), 10)
    assert not scene.state.connections


async def test_who_watches_a_connection_that_is_gone_is_told_as_well(scene):
    scene.go.clear()
    _, writer = await scene.connect()
    writer.write(post("/a", b"x"))
    await scene.begun.acquire()
    connection = scene.connections[0]
    connection.transport.abort()
    await asyncio.wait_for(scene.left.wait(), 10)
    late = asyncio.Event()
    connection.on_lost(late.set)
    await asyncio.wait_for(late.wait(), 10)
    scene.go.set()  # the answer goes nowhere, quietly
    writer.close()


async def test_a_request_for_another_protocol_is_answered_in_this_one(scene):
    headers = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    reader, writer = await scene.connect()
    writer.write(get("/a", headers))
    assert b"200 OK" in await reader.readuntil(b"/a:")
    writer.write(get("/b", CLOSE))
    assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"/b:")
    writer.close()


@pytest.mark.parametrize("together", [True, False])
async def test_a_request_for_another_protocol_keeps_its_body_and_who_comes_after_it(scene, together):
    headers = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    smuggled = get("/smuggled")
    head, rest = post("/1", smuggled, headers), post("/2", b"y", headers) + get("/3", CLOSE)
    if not together:
        head, rest = head.removesuffix(smuggled), smuggled + rest
    reader, writer = await scene.connect()
    writer.write(get())
    await reader.readuntil(b"/a:")
    scene.connections[0].data_received(head)
    scene.connections[0].data_received(rest)
    assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"/3:")
    assert scene.paths == [b"/a", b"/1", b"/2", b"/3"]
    assert scene.bodies == [b"", smuggled, b"y", b""]
    writer.close()


async def test_many_that_ask_for_another_protocol_may_come_at_once(scene):
    headers = "connection: upgrade\r\nupgrade: h2c\r\n"
    answer = await scene.say(get("/1", headers) * 2_000 + get("/end", CLOSE))
    assert answer.count(b"200 OK") == 2_001


async def test_a_target_that_is_none_is_refused_although_another_protocol_is_asked_for(scene):
    nonsense = b"GET http:// HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert (await scene.say(nonsense)).startswith(b"HTTP/1.1 400 ")
    tunnel = b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert (await scene.say(tunnel)).startswith(b"HTTP/1.1 400 ")
    assert not scene.paths


async def test_of_a_stream_only_the_head_is_sent_to_who_asks_for_no_more(scene):
    answer = await scene.say(get("/stream").replace(b"GET", b"HEAD") + get("/b", CLOSE))
    first, _, second = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in first
    assert second.startswith(b"HTTP/1.1 200 OK")
    assert second.endswith(b"/b:")


async def test_who_reads_late_does_not_get_the_body_of_the_request_that_follows(scene):
    reader, writer = await scene.connect()
    writer.write(post("/a", b"mine"))
    await reader.readuntil(b"/a:mine")
    (connection,) = scene.connections
    earlier = connection.cycle.scope
    connection.data_received(post("/whole", b"other"))
    assert connection.whole_body(earlier) is None
    assert b"/whole:other" in await reader.readuntil(b"other")
    writer.close()


async def test_a_body_in_very_many_pieces_is_copied_once(scene):
    reader, writer = await scene.connect()
    writer.write(get())
    await reader.readuntil(b"/a:")
    (connection,) = scene.connections
    connection.data_received(b"POST /whole HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    connection.data_received(b"1\r\nx\r\n" * 1_000)
    assert type(connection.cycle.body) is bytearray
    connection.data_received(b"1\r\ny\r\n0\r\n\r\n")
    assert b"/whole:xx" in await reader.readuntil(b"xy")
    assert type(scene.bodies[1]) is bytes
    writer.close()


@pytest.mark.parametrize("rest", [b"x", b"xy", b"xy\r\n\r\n"])
async def test_what_comes_after_an_answer_and_begins_no_request_does_not_keep_a_connection(scene, rest):
    reader, writer = await scene.connect()
    writer.write(post("/refused/and/kept", b"xy").removesuffix(b"xy"))
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = scene.connections
    connection.timeout_keep_alive_task.cancel()
    connection.timeout_keep_alive_task, connection.timeout_keep_alive = None, 0.01
    connection.data_received(rest)
    connection._look_whether_idle()  # when the timer would have run
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_blank_lines_do_not_keep_a_connection_that_asks_nothing(scene, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S_MAX", 0.05)
    assert await scene.say(b"\r\n", b"\r\n") == b""


async def test_told_to_leave_it_closes_when_nothing_is_on_its_way(scene):
    reader, writer = await scene.connect()
    writer.write(get("/a"))
    await reader.readuntil(b"/a:")
    scene.connections[0].shutdown()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_told_to_leave_it_answers_what_is_half_there(scene):
    reader, writer = await scene.connect()
    writer.write(get("/a"))
    await reader.readuntil(b"/a:")
    scene.connections[0].data_received(b"GET /b HTTP/1.1\r\nho")
    scene.connections[0].shutdown()
    writer.write(b"st: x\r\n\r\n")
    said = await asyncio.wait_for(reader.read(), 10)
    assert b"connection: close" in said
    assert said.endswith(b"/b:")
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
