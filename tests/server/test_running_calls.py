"""What the gateway answers just now is seen and stopped like all else that runs; and who may name another tenant."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from corral.gateway import app
from corral.testing.contracts.setting import eventually

KEYS = [
    *({"key": f"key-of-{name}", "tenant": name} for name in ("acme", "other")),
    {"key": "key-of-house", "tenant": "house", "roles": ["operator", "platform"]},
    {"key": "key-of-reader", "tenant": "house", "roles": ["auditor", "platform"]},
    {"key": "key-of-admin", "tenant": "acme", "roles": ["admin"]},
    {"key": "key-of-both", "tenant": "house", "roles": ["admin", "platform"]},
]
PROVIDERS = {
    "slow": {"kind": "sim", "options": {"ttft_ms": 600_000}},
    "drip": {"kind": "sim", "options": {"ttft_ms": 0, "itl_ms": 600_000}},
    "quick": {"kind": "sim", "options": {"ttft_ms": 0, "itl_ms": 0}},
}
FIRST = "One two three four five six seven eight nine ten."


@pytest.fixture
async def worker(serve):
    """Workers on one store, each with a real socket: clients leave, and streams are seen as they come."""

    async def make():
        served = await serve(app, security={"api_keys": KEYS}, models={"providers": PROVIDERS})
        served.service.board._every_s = 0.02
        return served

    return make


def client(worker, who="acme"):
    return httpx.AsyncClient(base_url=worker.url, headers={"authorization": f"Bearer key-of-{who}"}, timeout=30)


async def ask(asker, name, model="slow/small", path="/v1/chat/completions", **more):
    body = {"model": model, "user": "ann", **more}
    question = f"{name}: {FIRST}"  # the same question of two at once is asked once
    if path == "/v1/chat/completions":
        body["messages"] = [{"role": "user", "content": question}]
    else:
        body["input"] = question
    headers = {"x-request-id": name, "x-session-id": "s-1"}
    return await asker.post(path, json=body, headers=headers)


async def running(asker, **query):
    answer = await asker.get("/v1/running", params=query)
    assert answer.status_code == 200, answer.text
    return {one["id"]: one for one in answer.json()["items"]}


async def until(asker, *wanted, **query):
    async def there():
        return set(await running(asker, **query)) == set(wanted)

    await eventually(there)


async def stop(asker, **given):
    answer = await asker.post("/v1/running/stop", json=given)
    assert answer.status_code == 200, answer.text
    return {one["id"] for one in answer.json()["items"]}


async def test_calls_of_all_workers_are_seen_and_stopped_by_a_filter(worker):
    one, two = await worker(), await worker()
    async with client(one) as here, client(two) as there, client(two, "other") as other:
        calls = {
            "chat": asyncio.create_task(ask(here, "chat")),
            "elsewhere": asyncio.create_task(ask(there, "elsewhere")),
            "another": asyncio.create_task(ask(there, "another", "slow/medium")),
            "response": asyncio.create_task(ask(there, "response", path="/v1/responses")),
            "theirs": asyncio.create_task(ask(other, "theirs")),
        }
        await until(here, "chat", "elsewhere", "another", "response")
        await until(other, "theirs")
        seen = (await running(here, kind="call", user="ann", session="s-1"))["elsewhere"]
        assert (seen["kind"], seen["model"], seen["agent"], seen["tenant"]) == ("call", "slow/small", "", "acme")
        assert seen["cost_usd"] > 0
        assert seen["age_s"] >= 0
        assert await running(here, kind="invocation") == {}
        assert set(await running(here, model="slow/medium")) == {"another"}
        assert await stop(here, model="slow/medium") == {"another"}
        stopped = await calls["another"]
        assert (stopped.status_code, stopped.json()["error"]["code"]) == (409, "cancelled")
        await until(here, "chat", "elsewhere", "response")
        assert await stop(here, kind="call") == {"chat", "elsewhere", "response"}
        assert {(await calls[name]).status_code for name in ("chat", "elsewhere", "response")} == {409}
        assert not calls["theirs"].done()
        await until(here)
        assert await stop(other, id="theirs") == {"theirs"}
        assert (await calls["theirs"]).status_code == 409
        page = (await here.get("/metrics")).text
        assert 'corral_running_stopped_total{kind="call"} 4' in page


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_a_stream_that_is_stopped_says_so_at_its_end(worker, path):
    served = await worker()
    body = {"model": "drip/small", "stream": True}
    body |= {"input": FIRST} if path == "/v1/responses" else {"messages": [{"role": "user", "content": FIRST}]}
    async with client(served) as asker:
        async with asker.stream("POST", path, json=body) as answer:
            assert answer.status_code == 200
            lines = answer.aiter_lines()
            await anext(lines)
            (seen,) = (await running(asker)).values()
            assert await stop(asker, kind="call") == {seen["id"]}
            rest = [line async for line in lines]
        assert any("stopped by an operator" in line for line in rest), rest
        await until(asker)
        assert (await ask(asker, "after", "quick/small")).status_code == 200


async def test_a_client_that_left_is_no_longer_listed(worker):
    served = await worker()
    async with client(served) as asker:
        task = asyncio.create_task(ask(asker, "gone"))
        await until(asker, "gone")
        task.cancel()
        await asyncio.wait([task])
        await until(asker)


async def test_embeddings_are_calls_as_well(worker):
    served = await worker()
    async with client(served) as asker:
        task = asyncio.create_task(ask(asker, "vectors", "slow/embed", "/v1/embeddings"))
        await until(asker, "vectors")
        await stop(asker, all=True)
        assert (await task).status_code == 409


async def test_the_platforms_operator_names_a_tenant(worker):
    one, two = await worker(), await worker()
    async with client(one) as acme, client(two, "house") as house, client(two, "reader") as reader:
        call = asyncio.create_task(ask(acme, "theirs"))
        await until(acme, "theirs")
        assert await running(house) == {}
        await until(house, "theirs", tenant="acme")
        assert (await reader.get("/v1/running", params={"tenant": "acme"})).status_code == 403  # an auditor stays one
        refused = await acme.post("/v1/running/stop", json={"tenant": "house", "all": True})
        assert refused.status_code == 403
        assert "platform" in refused.text
        assert await stop(house, all=True) == set()  # its own alone
        assert not call.done()
        assert await stop(house, tenant="acme", all=True) == {"theirs"}
        assert (await call).status_code == 409

        async def is_written_down():
            noted = (await acme.get("/v1/audit", params={"action": "running.stop"})).json()["items"]
            return [json.dumps(one["details"]) for one in noted if "of house" in json.dumps(one["details"])]

        await eventually(is_written_down)


async def test_only_who_has_the_platforms_role_gives_it_on(worker):
    served = await worker()
    async with client(served, "admin") as admin, client(served, "both") as both:
        refused = await admin.post("/v1/keys", json={"roles": ["operator", "platform"]})
        assert refused.status_code == 403
        assert "on the machine" in refused.json()["detail"]
        assert (await admin.post("/v1/keys", json={"roles": ["operator"]})).status_code == 201
        assert (await both.post("/v1/keys", json={"roles": ["operator", "platform"]})).status_code == 201
