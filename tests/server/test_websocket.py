"""`/ws` over a real socket."""

from __future__ import annotations

import asyncio

import pytest
from starlette.websockets import WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from corral.app import App
from corral.context import current_context

SESSION = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"


@pytest.fixture
def app():
    return App()


def dial(server, path="/ws", **options):
    return connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None, **options)


async def closed(websocket):
    """The code the server closed with."""
    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(websocket.recv(), 10)
    return websocket.close_code


async def refused(server, path="/ws", **options):
    """The status of a refused handshake."""
    with pytest.raises(InvalidStatus) as caught:
        await dial(server, path, **options).__aenter__()
    return caught.value.response.status_code


async def test_a_conversation(app, serve):
    @app.websocket
    async def talk(websocket, context):
        await websocket.accept()
        assert context is current_context()
        assert context.request is websocket
        await websocket.send_json({"session": context.session_id, "headers": context.request_headers})
        async for text in websocket.iter_text():
            await websocket.send_text(text.upper())

    server = await serve(app)
    headers = {SESSION: "s-1", "Authorization": "Bearer x", "Cookie": "a=b", "X-Custom": "1"}
    async with dial(server, additional_headers=headers) as websocket:
        first = await websocket.recv()
        assert '"session":"s-1"' in first
        assert '"Authorization":"Bearer x"' in first
        assert '"x-custom":"1"' in first
        assert "cookie" not in first.lower()
        await websocket.send("hello")
        assert await websocket.recv() == "HELLO"
        await websocket.send("again")
        assert await websocket.recv() == "AGAIN"


async def test_bytes_go_through_as_they_are(app, serve):
    @app.websocket
    async def talk(websocket, context):
        await websocket.accept()
        await websocket.send_bytes(await websocket.receive_bytes())
        await websocket.close(4000, "enough")

    server = await serve(app)
    async with dial(server) as websocket:
        await websocket.send(b"\x00\xff" * 30_000)
        assert await websocket.recv() == b"\x00\xff" * 30_000
        assert await closed(websocket) == 4000


@pytest.mark.parametrize(
    ("query", "session"), [(f"?{SESSION}=s-2", "s-2"), (f"?{SESSION.lower()}=s-2", "s-2"), ("?x=1", None)]
)
async def test_the_session_may_travel_in_the_query(app, serve, query, session):
    @app.websocket
    async def talk(websocket, context):
        await websocket.accept()
        await websocket.send_json(context.session_id)
        await websocket.close()

    server = await serve(app)
    async with dial(server, f"/ws{query}") as websocket:
        assert await websocket.recv() == ('"s-2"' if session else "null")


async def test_without_a_handler_the_handshake_is_refused(app, serve):
    app.entrypoint(lambda payload: payload)
    server = await serve(app)
    assert await refused(server) == 403


async def test_other_paths_are_refused(app, serve):
    @app.websocket
    async def talk(websocket, context):
        await websocket.accept()

    server = await serve(app)
    assert await refused(server, "/ws/more") == 403
    assert await refused(server, "/invocations") == 403


@pytest.mark.parametrize("session", ["x" * 257, "tab%09here"])
async def test_a_session_that_is_none_is_refused(app, serve, session):
    @app.websocket
    async def talk(websocket, context):
        await websocket.accept()

    server = await serve(app)
    assert await refused(server, f"/ws?{SESSION}={session}") == 403
    assert await refused(server, additional_headers={SESSION: "x" * 257}) == 403


async def test_with_keys_only_those_who_have_one_come_in(app, serve):
    @app.websocket
    async def talk(websocket, context):
        await websocket.accept()
        await websocket.send_text(context.tenant)

    server = await serve(app, security={"api_keys": [{"key": "k-1", "tenant": "acme"}]})
    assert await refused(server) == 403
    assert await refused(server, additional_headers={"Authorization": "Bearer k-2"}) == 403
    async with dial(server, additional_headers={"Authorization": "Bearer k-1"}) as websocket:
        assert await websocket.recv() == "acme"


async def test_a_key_for_other_agents_does_not_come_in(app, serve):
    @app.websocket
    async def talk(websocket, _):
        await websocket.accept()
        await websocket.send_text("welcome")

    server = await serve(app, security={"api_keys": [{"key": "k-1", "roles": ["admin"]}]})
    admin = {"Authorization": "Bearer k-1"}

    async def key_for(*agents):
        made = await server.client.post("/v1/keys", json={"roles": ["invoker"], "agents": list(agents)}, headers=admin)
        return {"Authorization": f"Bearer {made.json()['key']}"}

    assert await refused(server, additional_headers=await key_for("support")) == 403
    async with dial(server, additional_headers=await key_for("support", "main")) as websocket:
        assert await websocket.recv() == "welcome"


async def test_a_page_of_another_site_is_refused(app, serve):
    @app.websocket
    async def talk(websocket, context):
        await websocket.accept()
        await websocket.send_text("in")

    server = await serve(app)
    assert await refused(server, origin="https://evil.example") == 403
    async with dial(server, origin="http://localhost:3000") as websocket:
        assert await websocket.recv() == "in"


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("raised", [ValueError("broken"), SystemExit(1)])
async def test_an_error_closes_with_1011(app, serve, accepted, raised):
    @app.websocket
    async def talk(websocket, context):
        if accepted:
            await websocket.accept()
        raise raised

    server = await serve(app)
    if accepted:
        async with dial(server) as websocket:
            assert await closed(websocket) == 1011
    else:
        assert await refused(server) == 403
    assert (await server.client.get("/ping")).status_code == 200


async def test_a_handler_that_closed_before_it_failed_is_left_at_that(app, serve):
    @app.websocket
    async def talk(websocket, context):
        await websocket.accept()
        await websocket.close(4001)
        raise ValueError("broken")

    server = await serve(app)
    async with dial(server) as websocket:
        assert await closed(websocket) == 4001


async def test_a_client_that_leaves_ends_the_conversation_quietly(app, serve, caplog):
    ended = asyncio.Event()

    @app.websocket
    async def talk(websocket, context):
        await websocket.accept()
        try:
            await websocket.receive_text()
        except WebSocketDisconnect:
            ended.set()
            raise

    server = await serve(app)
    async with dial(server):
        pass
    await asyncio.wait_for(ended.wait(), 10)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_conversations_run_side_by_side(app, serve):
    here = []
    all_here = asyncio.Event()

    @app.websocket
    async def talk(websocket, context):
        await websocket.accept()
        here.append(context.session_id)
        if len(here) == 10:
            all_here.set()
        await all_here.wait()
        await websocket.send_text(context.session_id)

    server = await serve(app)

    async def one(number):
        async with dial(server, additional_headers={SESSION: f"s{number}"}) as websocket:
            return await websocket.recv()

    assert await asyncio.gather(*map(one, range(10))) == [f"s{number}" for number in range(10)]
