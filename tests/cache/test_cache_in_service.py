"""The cache in a whole service: through the gateway, counted, shown and cleared."""

from __future__ import annotations

import httpx
import pytest

from corral.app import App
from corral.testing.contracts.setting import eventually


@pytest.fixture
async def client(build):
    app = App()
    app.entrypoint(lambda payload: payload)
    service = await build(app, cache={"exact": True})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral") as client:
        yield client


async def ask(client, **more):
    body = {"model": "sim/small", "messages": [{"role": "user", "content": "What is a corral?"}], **more}
    answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer


async def kept(client):
    return {one["kind"]: one["entries"] for one in (await client.get("/v1/cache")).json()["items"]}


async def test_the_second_answer_is_the_first_one_until_it_is_cleared(client):
    first = (await ask(client)).json()["choices"]
    assert (await ask(client)).json()["choices"] == first
    streamed = await ask(client, stream=True)
    assert "data: [DONE]" in streamed.text
    metrics = (await client.get("/metrics")).text
    assert 'corral_cache_requests_total{cache="exact",result="miss"} 1' in metrics
    assert 'corral_cache_requests_total{cache="exact",result="hit"} 2' in metrics
    assert (await client.delete("/v1/cache")).json() == {"cleared": 1}
    assert (await kept(client)).get("answer", 0) == 0
    await ask(client)
    metrics = (await client.get("/metrics")).text
    assert 'corral_cache_requests_total{cache="exact",result="miss"} 2' in metrics


async def test_texts_are_embedded_once(client):
    body = {"model": "sim/embed", "input": ["one", "two"]}
    assert len((await client.post("/v1/embeddings", json=body)).json()["data"]) == 2

    async def written():
        return (await kept(client)).get("vector") == 2

    await eventually(written)  # behind the caller's back
    again = await client.post("/v1/embeddings", json={**body, "input": ["two", "three"]})
    assert len(again.json()["data"]) == 2
    metrics = (await client.get("/metrics")).text
    assert 'corral_cache_requests_total{cache="embeddings",result="miss"} 3' in metrics
