"""Every address of jobs, tried by somebody else."""

from __future__ import annotations

import json

import httpx
from job_scene import SCHEDULE, UNKNOWN, submit

# -- isolation --------------------------------------------------------------------------------------------------------


async def test_every_route_is_isolated(jobs, client, client_of):
    """Each address, with the ids and names of one tenant, tried by another one: nothing is told, nothing is changed."""
    fields = {"tags": ["t"], "session_id": "s-secret", "queue": "q", "callback": {"url": "https://example.com/secret"}}
    failed = await submit(client, input="secret", **fields)
    (job,) = await jobs.claim()
    await jobs.say(job, "secret")
    await jobs.fail(job, message="secret")
    batch = (await client.post("/v1/jobs/batches", json={"agent": "main", "inputs": ["secret"]})).json()
    await client.put("/v1/schedules/nightly", json={**SCHEDULE, "job": {"agent": "main", "input": "secret"}})
    (delivery,) = (await client.get(f"/v1/jobs/{failed}/callbacks")).json()["items"]
    before = [(await client.get(path)).text for path in (f"/v1/jobs/{failed}", "/v1/jobs", "/v1/schedules")]
    stranger = client_of("other")
    ids = {"/v1/jobs/batches/{id}": batch["id"], "/v1/callbacks/{id}/replay": delivery["id"]}
    bodies = {"retry": {}, "cancel": {"all": True}, "redrive": {"all": True}, "discard": {"all": True}}
    schedule = {**SCHEDULE, "job": {"agent": "main", "input": "of the stranger"}}
    for route in jobs.routes:
        name = {"/v1/schedules/{name}": "nightly", "/v1/queues/{name}": "q"}.get(route.path, "go")
        path = route.path.replace("{id}", ids.get(route.path, failed)).replace("{name}", name)
        body = schedule if route.method == "PUT" else bodies.get(path.rpartition("/")[2], {"agent": "main", "input": 1})
        content = None if route.method == "GET" else json.dumps(body)
        answer = await stranger.request(route.method, path, content=content, headers={"accept": "text/event-stream"})
        address = f"{route.method} {route.path}"
        assert "secret" not in answer.text, address
        assert failed not in answer.text.replace(f"'{failed}'", ""), address
        if "{id}" in route.path or (route.path == "/v1/schedules/{name}" and route.method == "GET"):
            assert answer.status_code == 404, address
        assert answer.status_code < 500, address
    after = [(await client.get(path)).text for path in (f"/v1/jobs/{failed}", "/v1/jobs", "/v1/schedules")]
    assert after == before


async def test_an_idempotency_key_is_the_tenants_own(client, client_of):
    headers = {"idempotency-key": "same"}
    mine = await client.post("/v1/jobs", json={"agent": "main"}, headers=headers)
    theirs = await client_of("other").post("/v1/jobs", json={"agent": "main", "input": 2}, headers=headers)
    assert theirs.status_code == 202
    assert theirs.json()["id"] != mine.json()["id"]


async def test_a_fairness_key_does_not_reach_into_another_tenants_lane(jobs, client, client_of):
    drafts = []
    enqueue = jobs.stores.jobs.enqueue

    async def seen(given, **options):
        drafts.extend(given)
        return await enqueue(given, **options)

    jobs.desk._submissions._store = type("Seen", (), {"enqueue": staticmethod(seen)})
    await submit(client, fairness_key="other")
    await submit(client_of("other"))
    assert len({draft.fairness_key or draft.tenant for draft in drafts}) == 2


async def test_without_a_key_nobody_comes_in(jobs):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(jobs), base_url="http://corral") as client:
        for route in jobs.routes:
            path = route.path.replace("{id}", UNKNOWN).replace("{name}", "x")
            assert (await client.request(route.method, path)).status_code == 401
