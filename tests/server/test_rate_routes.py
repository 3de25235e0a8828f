"""Limits over HTTP: at every door, with headers, without counting what did not begin, and never a 500."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect

from corral.app import App
from corral.errors import ConfigError, StoreUnavailable
from corral.testing.contracts.setting import eventually

KEYS = [
    {"key": "key-ada", "tenant": "acme", "tier": "free"},
    {"key": "key-bob", "tenant": "umbrella", "tier": "free"},
    {"key": "key-pro", "tenant": "acme", "tier": "pro"},
    {"key": "key-low", "tenant": "acme", "tier": "free", "roles": ["invoker"]},
]
TWO = {"free_tier": {"requests_per_minute": 2}}
CHAT = {"model": "sim/small", "messages": [{"role": "user", "content": "Hi"}]}


def app_of():
    app = App()

    @app.entrypoint
    async def main(payload):
        if payload == "fail":
            raise ValueError("on purpose")
        return payload

    @app.entrypoint(name="slow")
    async def slow(payload):
        app.began.set()
        await app.gate.wait()
        return payload

    @app.websocket
    async def handler(websocket, context):
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text.upper())

    app.began, app.gate = asyncio.Event(), asyncio.Event()
    return app


@pytest.fixture
async def client_of(build):
    """A service with limits, and clients with keys."""

    async def make(limits, app=None, **more):
        service = await build(app or app_of(), security={"api_keys": KEYS}, limits=limits, **more)

        def client(key="key-ada", **headers):
            headers = {"authorization": f"Bearer {key}", **headers}
            return httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral", headers=headers)

        client.service = service
        return client

    return make


async def statuses(client, path, bodies, **headers):
    return [(await client.post(path, json=body, headers=headers)).status_code for body in bodies]


async def test_a_tier_asks_so_often_and_each_tenant_for_itself(client_of):
    client = await client_of({"rates": TWO})
    async with client() as ada, client("key-bob") as bob, client("key-pro") as pro:
        assert await statuses(ada, "/invocations", [1, 2, 3]) == [200, 200, 429]
        assert await statuses(bob, "/v1/agents/main/invocations", [1, 2, 3]) == [200, 200, 429]
        assert await statuses(pro, "/invocations", range(5)) == [200] * 5


async def test_headers_say_how_it_stands(client_of):
    client = await client_of({"rates": TWO})
    async with client() as ada:
        first = await ada.post("/invocations", json=1)
        assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == ("2", "1")
        assert first.headers["ratelimit-policy"] == "2;w=60;name=free_tier.requests_per_minute"
        assert 0 < int(first.headers["ratelimit-reset"]) <= 61
        failed = await ada.post("/invocations", json="fail")
        assert (failed.status_code, failed.headers["ratelimit-remaining"]) == (500, "0")
        refused = await ada.post("/v1/agents/main/invocations", json=3)
        assert (refused.status_code, refused.headers["ratelimit-remaining"]) == (429, "0")
        assert 0 < int(refused.headers["retry-after"]) <= 61
        problem = refused.json()
        assert (problem["code"], problem["retryable"]) == ("rate_exceeded", True)
        assert "2 requests per minute" in problem["detail"]
        aws = await ada.post("/runtimes/main/invocations", json=3)
        assert (aws.status_code, aws.headers["x-amzn-errortype"]) == (429, "ThrottlingException")


async def test_without_limits_there_is_no_header(client_of):
    client = await client_of({})
    async with client() as ada:
        answer = await ada.post("/invocations", json=1)
        assert not [name for name in answer.headers if name.startswith("ratelimit")]
        assert (await ada.get("/v1/limits")).json() == {"items": []}


async def test_what_was_answered_before_does_not_count_again(client_of):
    client = await client_of({"rates": {"free_tier": {"requests_per_minute": 3}}})
    async with client(**{"idempotency-key": "one"}) as ada:
        assert await statuses(ada, "/invocations", [1] * 5) == [200] * 5
    async with client() as ada:
        key = {"idempotency-key": "two"}
        body = {"agent": "main", "input": 1}
        assert await statuses(ada, "/v1/jobs", [body] * 4, **key) == [202] * 4
        assert await statuses(ada, "/v1/jobs", [body, body]) == [202, 429]


async def test_what_could_not_begin_does_not_count(client_of):
    client = await client_of({"rates": TWO})
    async with client() as ada:
        assert await statuses(ada, "/v1/jobs", [{"agent": "nobody", "input": 1}] * 3) == [404] * 3
        client.service.door.draining = True
        assert await statuses(ada, "/invocations", [1] * 3) == [503] * 3
        client.service.door.draining = False
        assert await statuses(ada, "/invocations", [1, 2, 3]) == [200, 200, 429]


async def test_a_turn_that_somebody_else_has_does_not_count(client_of):
    app = app_of()
    client = await client_of({"rates": TWO}, app)
    async with client(**{"x-session-id": "s"}) as ada:
        first = asyncio.create_task(ada.post("/v1/agents/slow/invocations", json=1))
        await app.began.wait()
        assert await statuses(ada, "/invocations", [2] * 3, **{"x-on-conflict": "reject"}) == [409] * 3
        app.gate.set()
        assert (await first).status_code == 200
        assert await statuses(ada, "/invocations", [3, 4]) == [200, 429]


async def test_jobs_of_a_batch_count_each(client_of):
    client = await client_of({"rates": {"free_tier": {"requests_per_minute": 5}}})
    async with client() as ada:
        assert await statuses(ada, "/v1/jobs/batches", [{"agent": "main", "inputs": [1, 2, 3]}] * 2) == [202, 429]
        assert await statuses(ada, "/v1/jobs", [{"agent": "main", "input": 1}] * 3) == [202, 202, 429]


async def test_executions_count(client_of):
    client = await client_of({"rates": TWO})
    pass_on = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}
    async with client() as ada:
        assert await statuses(ada, "/v1/workflows", [{"name": "w", "definition": pass_on}]) == [201]
        path, key = "/v1/workflows/w/executions", {"idempotency-key": "one"}
        assert set(await statuses(ada, path, [{}, {}], **key)) <= {200, 202}
        assert await statuses(ada, "/v1/workflows/nothing/executions", [{}]) == [404]
        assert set(await statuses(ada, path, [{"name": "b"}])) <= {200, 202}
        assert await statuses(ada, path, [{"name": "c"}]) == [429]
        machine = (await ada.get("/v1/workflows/w")).json()["arn"]
        body = json.dumps({"stateMachineArn": machine})
        headers = {"x-amz-target": "AWSStepFunctions.StartExecution", "content-type": "application/x-amz-json-1.0"}
        assert (await ada.post("/", content=body, headers=headers)).status_code == 429


async def test_the_gateway_says_it_in_openais_words(client_of):
    rates = {"all": {"requests_per_minute": 3, "tokens_per_day": 10_000, "by": ["tenant"]}}
    client = await client_of({"rates": rates})
    async with client() as ada:
        first = await ada.post("/v1/chat/completions", json=CHAT)
        assert first.headers["x-ratelimit-limit-requests"] == "3"
        assert first.headers["x-ratelimit-remaining-requests"] == "2"
        assert first.headers["x-ratelimit-limit-tokens"] == "10000"
        assert first.headers["ratelimit-limit"] == "3"
        assert await statuses(ada, "/v1/chat/completions", [CHAT] * 3) == [200, 200, 429]
        refused = await ada.post("/v1/responses", json={"model": "sim/small", "input": "Hi"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert int(refused.headers["retry-after"]) > 0


async def test_tokens_count_as_they_were_used(client_of):
    client = await client_of({"rates": {"free_tier": {"tokens_per_day": 2_000}}})
    async with client() as ada:
        used = (await ada.post("/v1/chat/completions", json=CHAT)).json()["usage"]["total_tokens"]
        (stands,) = (await ada.get("/v1/limits")).json()["items"]
        assert stands["remaining"] == 2_000 - used
        dear = {**CHAT, "max_tokens": 3_000}
        refused = await ada.post("/v1/chat/completions", json=dear)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert refused.headers.get_list("ratelimit-limit") == ["2000"]
        assert await statuses(ada, "/v1/chat/completions", [CHAT]) == [200]


async def test_models_have_limits_of_their_own(client_of):
    rates = {"small": {"requests_per_minute": 1, "by": ["tenant"], "only": {"model": ["sim/small"]}}}
    client = await client_of({"rates": rates})
    async with client() as ada:
        assert await statuses(ada, "/v1/chat/completions", [CHAT, CHAT]) == [200, 429]
        assert await statuses(ada, "/v1/chat/completions", [{**CHAT, "model": "sim/large"}]) == [200]


async def test_ones_own_standing_and_beginning_anew(client_of):
    client = await client_of({"rates": {"each": {"requests_per_minute": 2}}})
    headers = {"x-user-id": "ada"}
    async with client(**headers) as ada, client("key-low", **headers) as low, client("key-bob", **headers) as bob:
        assert await statuses(ada, "/invocations", [1, 2, 3]) == [200, 200, 429]
        (stands,) = (await ada.get("/v1/limits")).json()["items"]
        assert (stands["name"], stands["limit"], stands["remaining"]) == ("each.requests_per_minute", 2, 0)
        assert (await bob.get("/v1/limits/of", params={"user": "ada"})).json()["items"][0]["remaining"] == 2
        assert (await low.get("/v1/limits/of", params={"user": "ada"})).status_code == 403
        assert (await low.post("/v1/limits/reset", json={"user": "ada"})).status_code == 403
        assert (await bob.post("/v1/limits/reset", json={"user": "ada"})).json()["reset"]
        assert await statuses(ada, "/invocations", [3]) == [429]  # that was another tenant's
        reset = await ada.post("/v1/limits/reset", json={"user": "ada"})
        assert reset.json() == {"reset": ["each.requests_per_minute"]}
        assert await statuses(ada, "/invocations", [4]) == [200]
        assert (await ada.post("/v1/limits/reset", json={"usr": "ada"})).status_code == 400
        assert (await ada.get("/v1/limits/of", params={"user": "a\nb"})).status_code == 400


async def test_so_many_at_once(client_of):
    app = app_of()
    client = await client_of({"concurrency": {"per_session": 1, "per_user": 2}}, app)
    async with client(**{"x-user-id": "ada"}) as ada:

        async def ask(session, path="/v1/agents/slow/invocations"):
            return (await ada.post(path, json=1, headers={"x-session-id": session})).status_code

        first, second = asyncio.create_task(ask("a")), asyncio.create_task(ask("b"))

        async def both_run():
            return len(client.service.invocations) == 2

        await eventually(both_run)
        assert await ask("a") == 429
        refused = await ada.post("/invocations", json=1, headers={"x-session-id": "c"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "per_user" in refused.json()["error"]
        app.gate.set()
        assert [await first, await second] == [200, 200]
        assert await ask("a") == 200


async def test_a_store_that_is_away_is_never_a_500(client_of, monkeypatch):
    client = await client_of({"rates": {"free_tier": {"requests_per_minute": 2}, "shut": SHUT}})

    async def away(*_args, **_kwargs):
        raise StoreUnavailable("away")

    limits = client.service.stores.limits
    monkeypatch.setattr(limits, "swap", away)
    monkeypatch.setattr(limits, "read", away)
    async with client() as ada, client("key-pro") as pro:
        assert await statuses(ada, "/invocations", [1, 2, 3]) == [200, 200, 429]
        refused = await pro.post("/v1/agents/main/invocations", json=1)
        assert (refused.status_code, refused.json()["code"]) == (503, "limits_unavailable")
        assert refused.headers["retry-after"] == "1"
        metrics = (await ada.get("/metrics")).text
    assert 'corral_limits_refused_total{rule="free_tier.requests_per_minute"} 1' in metrics
    assert "corral_limits_store_failures_total" in metrics
    assert 'corral_limits_alone_total{rule="free_tier.requests_per_minute"} 3' in metrics


SHUT = {"requests_per_minute": 9, "only": {"tier": ["pro"]}, "when_down": "closed"}


async def test_messages_of_a_websocket_count(serve):
    server = await serve(app_of(), limits={"rates": {"all": {"requests_per_minute": 2}}})
    async with connect(f"ws://127.0.0.1:{server.port}/ws", proxy=None) as socket:
        for text in ("one", "two", "three"):
            await socket.send(text)
        assert [await socket.recv() for _ in range(2)] == ["ONE", "TWO"]
        refused = json.loads(await socket.recv())
        assert refused["code"] == "rate_exceeded"
        assert refused["retry_after_s"] > 0


async def test_limits_that_cannot_be_are_refused_when_it_starts(build):
    with pytest.raises(ConfigError, match="allows nothing"):
        await build(app_of(), limits={"rates": {"empty": {}}})
