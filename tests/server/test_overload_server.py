"""A real server under more load than it can carry."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from corral.app import App

sys.path.append(str(Path(__file__).parents[2] / "bench"))
from load import load, request_bytes

KEYS = [{"key": "premium", "tier": "premium"}, {"key": "free", "tier": "free"}]
KNEE = 4


@pytest.fixture
def app():
    """What it asks serves so many at once, and then gets slower."""
    found = App()
    running = 0

    @found.entrypoint
    async def answer(payload):
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(0.1 * max(1.0, running / KNEE) * random.uniform(0.8, 1.2))
        finally:
            running -= 1
        return "done"

    return found


@pytest.fixture
async def as_():
    """Clients with a key: `as_(server, "free")`."""
    clients = []

    def make(server, key, **headers):
        clients.append(server.client_of(**{"x-api-key": key, **headers}))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


def question(key, **headers):
    return request_bytes("/invocations", b'{"prompt": "hi"}', {"x-api-key": key, **headers})


async def loaded(app, serve, **sections):
    server = await serve(app, security={"api_keys": KEYS}, **sections)
    premium, free = await asyncio.gather(
        load(server.port, [question("premium")], 2, 1.5),
        load(server.port, [question("free", **{"x-corral-priority": "1"})], KNEE * 9, 1.5),
    )
    return server, premium, free


async def test_under_load_premium_users_are_served_as_ever_and_the_rest_goes_on(app, serve, as_):
    _, without, _ = await loaded(app, serve)
    priorities = {
        "enabled": True,
        "adaptive": False,
    }  # how it finds the number is tried where no other load disturbs it
    server, premium, free = await loaded(app, serve, priorities=priorities, runtime={"concurrency_max": KNEE})
    assert premium.percentile_ms(0.5) < 0.6 * without.percentile_ms(0.5)
    assert set(premium.statuses) == {200}
    assert free.statuses[200] >= 10
    client = as_(server, "free")
    health = (await client.get("/health")).json()
    assert health["load"]["agents"]["limit"] == KNEE
    text = (await client.get("/metrics")).text
    assert 'corral_limits_places{line="models"} 4' in text
    assert 'corral_limits_line_wait_seconds_count{line="agents",class="premium_user"}' in text


async def test_health_is_never_shed_and_the_others_are_told_when_to_come_back(app, serve, as_):
    server = await serve(
        app,
        security={"api_keys": KEYS},
        runtime={"concurrency_max": 1},
        priorities={"enabled": True, "adaptive": False, "waiting_max": 1},
    )
    client = as_(server, "free", **{"x-corral-priority": "1"})
    premium = as_(server, "premium")
    answers = await asyncio.gather(*(client.post("/invocations", json={}) for _ in range(6)), premium.get("/health"))
    *others, health = answers
    assert health.status_code == 200
    assert sorted(one.status_code for one in others) == [200] * 2 + [503] * 4
    for one in others:
        if one.status_code == 503:
            assert 1 <= int(one.headers["retry-after"]) <= 60
    assert (await premium.post("/invocations", json={})).status_code == 200
    assert (await premium.get("/readyz")).status_code == 200


async def test_a_priority_is_a_digit(app, serve):
    server = await serve(app)
    for said in ("10", "-1", "high", ""):
        answer = await server.client.post("/invocations", json={}, headers={"x-corral-priority": said})
        assert answer.status_code == 400, said
    assert (await server.client.post("/invocations", json={}, headers={"x-corral-priority": "9"})).status_code == 200


async def test_calls_of_the_gateway_stand_in_a_line_of_their_own(app, serve, as_):
    server = await serve(
        app,
        security={"api_keys": KEYS},
        runtime={"concurrency_max": 1},
        priorities={"enabled": True, "adaptive": False},
    )
    body = {"model": "sim/echo", "messages": [{"role": "user", "content": "hi"}]}
    client = as_(server, "free")
    overload = server.service.guarding._models
    rank = overload.priorities.rank("default", "premium", None, None)
    place = await overload.enter("other", rank, "default", None)
    asked = asyncio.ensure_future(client.post("/v1/chat/completions", json=body))
    async with asyncio.timeout(10):
        while not overload.waiting:  # noqa: ASYNC110 - it comes over a socket, and tells nobody
            await asyncio.sleep(0.001)
    assert not asked.done()
    assert (await client.post("/invocations", json={})).status_code == 200  # agents that wait for it are not in its way
    place.leave()
    assert (await asked).status_code == 200
    embedded = await client.post("/v1/embeddings", json={"model": "sim/embed", "input": "hi"})
    assert embedded.status_code == 200
    assert overload.in_flight == 0


async def test_jobs_get_the_priority_of_who_hands_them_in(app, serve, as_):
    server = await serve(app, security={"api_keys": KEYS}, priorities={"enabled": True}, jobs={"worker": False})

    async def priority(key, **said):
        client = as_(server, key)
        answer = await client.post("/v1/jobs", json={"agent": "main", "input": {}, **said})
        return (await client.get(f"/v1/jobs/{answer.json()['id']}")).json()["priority"]

    assert [await priority("premium"), await priority("free")] == [10, 3]
    assert [await priority("premium", priority=2), await priority("free", priority=9)] == [2, 3]

    schedule = server.service.desk.check("default", {"agent": "main", "input": {}})
    assert schedule.priority == 1  # nobody waits for it
    assert server.service.desk.check("default", {"agent": "main", "input": {}, "priority": 7}).priority == 7


async def test_without_priorities_jobs_are_as_urgent_as_they_say(app, serve):
    server = await serve(app, jobs={"worker": False})
    desk = server.service.desk
    assert desk.check("default", {"agent": "main", "input": {}}).priority == 5
    assert desk.check("default", {"agent": "main", "input": {}, "priority": 9}).priority == 9
    assert "load" not in (await server.client.get("/health")).json()
