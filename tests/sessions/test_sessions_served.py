"""Sessions as a caller and an agent see them, through a real server."""

from __future__ import annotations

import asyncio

import pytest

from corral.app import App
from serving import Frames

EVENTS = "/v1/sessions/trip/events"


@pytest.fixture
def app():
    return App()


async def said(server, path=EVENTS):
    answer = await server.client.get(path)
    items = answer.json().get("items", [])
    return [(item["role"], item["content"][0].get("text"), item["actor"]) for item in reversed(items)]


async def test_an_agent_that_keeps_nothing_itself_is_recorded(app, serve):
    @app.entrypoint
    def invoke(payload):
        return {"result": f"You said {payload['prompt']}", "tokens": 3}

    server = await serve(app)
    for text in ("one", "two"):
        await server.invoke({"prompt": text}, x_session_id="trip", x_user_id="ada")
    assert await said(server) == [
        ("user", "one", "ada"),
        ("assistant", "You said one", "ada"),
        ("user", "two", "ada"),
        ("assistant", "You said two", "ada"),
    ]
    events = (await server.client.get(EVENTS)).json()["items"]
    assert events[0]["metadata"] == {"reply": {"tokens": 3}}
    assert events[0]["turn"] == events[1]["turn"] != events[2]["turn"]


async def test_a_stream_is_recorded_when_it_has_ended(app, serve):
    @app.entrypoint
    async def invoke(payload):
        for word in ("so", " it", " is"):
            yield {"data": word}

    server = await serve(app)
    await server.invoke({"prompt": "is it?"}, x_session_id="trip")
    assert await said(server) == [("user", "is it?", ""), ("assistant", "so it is", "")]


async def test_an_agent_that_appends_is_left_alone(app, serve):
    @app.entrypoint
    async def invoke(payload, context):
        session = context.session
        history = await session.messages()
        await session.append("user", payload["prompt"])
        await session.append("assistant", f"{len(history)} before", metadata={"tokens": 412})
        await session.state.update(lambda state: state | {"asked": state["asked"] + 1}, default={"asked": 0})
        return "not recorded"

    server = await serve(app)
    for _ in range(2):
        await server.invoke({"prompt": "hi"}, x_session_id="trip", x_user_id="ada")
    assert [text for _, text, _ in await said(server)] == ["hi", "0 before", "hi", "2 before"]
    assert (await server.client.get("/v1/sessions/trip/state")).json() == {"value": {"asked": 2}, "version": 2}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_synchronous_agent_has_its_session_too(app, serve, stream):
    def work(context):
        session = context.session.sync
        session.append("user", "from a thread")
        session.state.set(session.state.get(0) + 1)
        return [message.text for message in session.messages()]

    if stream:

        @app.entrypoint
        def invoke(payload, context):
            yield work(context)

    else:

        @app.entrypoint
        def invoke(payload, context):
            return work(context)

    server = await serve(app)
    answer = await server.invoke({}, x_session_id="trip")
    assert "from a thread" in answer.text
    assert await said(server) == [("user", "from a thread", "")]


async def test_an_isolated_agent_has_its_session_too(app, serve):
    @app.entrypoint
    async def invoke(payload, context):
        await context.session.append("user", "from another loop")
        return [message.text for message in await context.session.messages()]

    server = await serve(app, runtime={"isolate": True})
    answer = await server.invoke({}, x_session_id="trip")
    assert answer.json() == ["from another loop"]


async def test_a_turn_that_failed_is_not_recorded_and_frees_the_session(app, serve):
    @app.entrypoint
    async def invoke(payload):
        if payload["prompt"] == "bad":
            raise ValueError("no")
        return "fine"

    server = await serve(app)
    assert (await server.invoke({"prompt": "bad"}, x_session_id="trip")).status_code == 500
    assert (await server.invoke({"prompt": "good"}, x_session_id="trip", x_on_conflict="reject")).status_code == 200
    assert [text for _, text, _ in await said(server)] == ["good", "fine"]


async def test_requests_to_one_session_go_one_after_the_other(app, serve):
    running = 0

    @app.entrypoint
    async def invoke(payload):
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        running -= 1
        return payload["prompt"]

    server = await serve(app)
    requests = [server.invoke({"prompt": str(number)}, x_session_id="trip") for number in range(20)]
    assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}
    texts = [text for _, text, _ in await said(server)]
    assert texts[0::2] == texts[1::2]
    assert sorted(texts[0::2], key=int) == [str(number) for number in range(20)]


@pytest.mark.parametrize("policy", ["reject", "interrupt", "rollback"])
async def test_what_a_newer_request_may_do(app, serve, policy):
    begun = asyncio.Event()

    @app.entrypoint
    async def invoke(payload, context):
        await context.session.append("user", payload["prompt"])
        if payload["prompt"] == "slow":
            begun.set()
            await asyncio.Event().wait()
        return "done"

    server = await serve(app)
    slow = asyncio.create_task(server.invoke({"prompt": "slow"}, "/v1/agents/main/invocations", x_session_id="trip"))
    await begun.wait()
    newer = await server.invoke(
        {"prompt": "new"}, "/v1/agents/main/invocations", x_session_id="trip", x_on_conflict=policy
    )
    if policy == "reject":
        assert (newer.status_code, newer.json()["code"]) == (409, "session_busy")
        slow.cancel()
        return
    assert newer.status_code == 200
    answer = await slow
    assert (answer.status_code, answer.json()["code"]) == (409, "interrupted")
    texts = [text for _, text, _ in await said(server)]
    assert texts == (["new"] if policy == "rollback" else ["slow", "new"])


async def test_a_stream_that_is_interrupted_says_so(app, serve):
    @app.entrypoint
    async def invoke(payload):
        yield "begun"
        if payload == "slow":
            await asyncio.Event().wait()

    server = await serve(app)
    path = "/v1/agents/main/invocations"
    async with server.stream("slow", path, x_session_id="trip") as response:
        frames = Frames(response)
        assert await frames.data() == "begun"
        await server.invoke("new", path, x_session_id="trip", x_on_conflict="interrupt")
        last = await frames.next()
        assert last["event"] == "error"
        assert '"interrupted"' in last["data"]


async def test_deleting_the_session_cancels_the_turn_that_runs_there(app, serve):
    begun = asyncio.Event()

    @app.entrypoint
    async def invoke(payload, context):
        await context.session.append("user", "hi")
        begun.set()
        await asyncio.Event().wait()

    server = await serve(app)
    slow = asyncio.create_task(server.invoke({}, x_session_id="trip"))
    await begun.wait()
    assert (await server.client.delete("/v1/sessions/trip")).status_code == 204
    assert (await slow).status_code == 409
    assert (await server.client.get("/v1/sessions/trip")).status_code == 404


async def test_an_agent_may_delete_its_own_session(app, serve):
    @app.entrypoint
    async def invoke(payload, context):
        await context.session.append("user", "forget me")
        return await context.session.delete()

    server = await serve(app)
    answer = await server.invoke({}, x_session_id="trip")
    assert (answer.status_code, answer.json()) == (200, True)
    assert (await server.client.get("/v1/sessions/trip")).status_code == 404


async def test_recording_can_be_turned_off(app, serve):
    @app.entrypoint
    async def invoke(payload):
        return "hello"

    server = await serve(app, sessions={"record": False})
    await server.invoke({"prompt": "hi"}, x_session_id="trip")
    assert (await server.client.get("/v1/sessions/trip")).status_code == 404


async def test_the_same_session_id_of_two_tenants_is_two_sessions(app, serve):
    @app.entrypoint
    async def invoke(payload, context):
        return [message.text for message in await context.session.messages()]

    keys = [{"key": f"key-of-{tenant}", "tenant": tenant} for tenant in ("acme", "other")]
    server = await serve(app, security={"api_keys": keys})
    acme, other = (server.client_of(authorization=f"Bearer key-of-{tenant}") for tenant in ("acme", "other"))
    for client in (acme, other):
        answer = await client.post("/invocations", json={"prompt": "hi"}, headers={"x-session-id": "trip"})
        assert answer.json() == []
        await client.aclose()
