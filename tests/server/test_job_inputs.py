"""How large an input of a job may be, on every way in; and that a large body holds up nobody else."""

from __future__ import annotations

import asyncio
import itertools
import json
import random

import httpx
import pytest
from job_scene import SCHEDULE, assert_problem, key_of, submit

from corral.errors import InvalidJson, PayloadTooLarge
from corral.server.http import Request, parse_json
from corral.server.job_bodies import JobBodies
from corral.settings.sections import JobSettings

LIMIT = 1000
LARGE = "x" * LIMIT
FITS = "x" * (LIMIT - 2)  # two quotes


@pytest.fixture
async def small(make_jobs):
    """A server whose inputs and batches are small, and a client of it."""
    scene = await make_jobs(input_max_bytes=LIMIT, batch_max_bytes=100_000)
    transport = httpx.ASGITransport(scene)
    async with httpx.AsyncClient(transport=transport, base_url="http://corral", headers=key_of("acme")) as client:
        yield scene, client


def assert_too_large(answer, pointer):
    problem = assert_problem(answer, 413, "payload_too_large", "`jobs.input_max_bytes`")
    assert "put it in an object store" in problem["detail"]
    assert f"at most {LIMIT} bytes" in problem["detail"]
    assert [one["pointer"] for one in problem["errors"]] == [pointer]


async def test_an_input_that_is_too_large_is_refused_and_told_what_to_do(small):
    _, client = small
    await submit(client, input=FITS)
    assert_too_large(await client.post("/v1/jobs", json={"agent": "main", "input": LARGE}), "/input")
    assert_too_large(await client.post("/v1/jobs?wait=5s", json={"agent": "main", "input": LARGE}), "/input")
    assert len((await client.get("/v1/jobs")).json()["items"]) == 1


async def test_one_input_of_a_batch_that_is_too_large_refuses_it_whole(small):
    _, client = small
    for path in ("/v1/jobs", "/v1/jobs/batches"):
        several = {"agent": "main", "inputs": [FITS, 1, LARGE, 2]}
        assert_too_large(await client.post(path, json=several), "/inputs/2")
    assert (await client.get("/v1/jobs")).json()["items"] == []


async def test_many_inputs_may_be_large_together(small):
    _, client = small
    inputs = [{"n": number, "text": '[]{}\\" ' * 50} for number in range(50)]
    answer = await client.post("/v1/jobs/batches", json={"agent": "main", "inputs": inputs})
    assert answer.status_code == 202, answer.text
    page = (await client.get("/v1/jobs", params={"limit": 100})).json()
    kept = [(await client.get(f"/v1/jobs/{job['id']}")).json()["input"] for job in page["items"]]
    assert sorted(kept, key=lambda one: one["n"]) == inputs


async def test_a_batch_that_is_too_large_is_not_even_read(small):
    _, client = small
    answer = await client.post("/v1/jobs/batches", json={"agent": "main", "inputs": [FITS] * 200})
    problem = assert_problem(answer, 413, "payload_too_large", "`jobs.batch_max_bytes`")
    assert "in parts" in problem["detail"]
    assert "at most 1000 bytes (`jobs.input_max_bytes`)" in problem["detail"]


async def test_a_schedule_and_another_input_are_bounded_as_well(small):
    scene, client = small
    job_id = await submit(client)
    await scene.fail(await scene.first())
    assert_too_large(await client.post(f"/v1/jobs/{job_id}/retry", json={"input": LARGE}), "/input")
    large = {**SCHEDULE, "job": {"agent": "main", "input": LARGE}}
    assert_too_large(await client.put("/v1/schedules/daily", json=large), "/input")
    far_too_large = {"input": "x" * 80_000}
    answer = await client.post(f"/v1/jobs/{job_id}/retry", json=far_too_large)
    assert_problem(answer, 413, "payload_too_large", "`jobs.input_max_bytes`")
    assert_problem(await client.put("/v1/schedules/daily", json=far_too_large), 413, "payload_too_large")
    assert_problem(await client.post(f"/v1/jobs/{job_id}/signals/go", json=far_too_large), 413, "payload_too_large")
    assert (await client.get(f"/v1/jobs/{job_id}")).json()["status"] == "failed"


@pytest.mark.parametrize("value", [["x" * 900] * 3, "x" * 3000, {"inputs": "x" * 3000}, {"input": LARGE}, 7])
async def test_a_signal_is_whatever_it_is_however_large_inputs_may_be(small, value):
    scene, client = small
    job_id = await submit(client)
    answer = await client.post(f"/v1/jobs/{job_id}/signals/go", json=value)
    assert answer.status_code == 202, answer.text
    job = await scene.first()
    steps = await scene.stores.jobs.steps(job.id)
    assert [json.loads(step.value) for step in steps] == [value]


async def test_what_is_beside_the_inputs_of_a_batch_is_bounded(small):
    _, client = small
    several = {"agent": "main", "inputs": [1], "tags": ["x"] * 20_000}
    assert_problem(await client.post("/v1/jobs", json=several), 413, "payload_too_large", "/tags")


async def test_a_job_that_is_made_by_no_request_is_bounded_as_well(small):
    scene, _ = small
    with pytest.raises(PayloadTooLarge, match="object store"):
        scene.desk.check("acme", {"agent": "main", "input": LARGE})


@pytest.mark.parametrize(
    ("body", "status", "what"),
    [
        (b'{"agent": "main", "input": 1' + b" " * 2000, 400, "JSON"),
        (b'{"agent": "main", "inputs": [' + b"1, " * 2000 + b"x]}", 400, "JSON"),
        (b'{"agent": "main", "inputs": ' + b" " * 2000 + b"7}", 400, "/inputs"),
        (b"[1]" + b" " * 2000, 400, "JSON object"),
        (b'{"agent": "main", "inputs": [1, "\xff"]' + b" " * 2000 + b"}", 400, ""),
        (b'{"agent": "main", "input": ' + b"[" * 100 + b"]" * 100 + b" " * 2000 + b"}", 400, "json_depth_max"),
        (b'{"agent": "main", "inputs": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", 400, "json_depth_max"),
        (b'{"agent": "main", "\xff": 1' + b" " * 2000 + b"}", 400, "invalid_encoding"),
        (b'{"agent": "main", "inptu": 1' + b" " * 2000 + b"}", 400, "did you mean 'input'"),
        (b'{"agent": "main", "input": 1' + b" " * 2000 + b"}", 202, ""),
    ],
)
async def test_large_bodies_are_understood_as_small_ones_are(small, body, status, what):
    _, client = small
    answer = await client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert what in answer.text


async def test_others_are_served_while_a_large_batch_is_read():
    inputs = [{"list": [[], {}, [number]]} for number in range(1000)]
    body = json.dumps({"agent": "main", "inputs": inputs}).encode()

    async def receive():
        return {"type": "http.request", "body": body}

    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    milliseconds = itertools.count()
    bodies = JobBodies(JobSettings(input_max_bytes=LIMIT), lambda: next(milliseconds) / 1000)
    watching = asyncio.create_task(others())
    read = await bodies.many(Request({"headers": []}, receive, None, 0.0))
    watching.cancel()
    assert read == {"agent": "main", "inputs": inputs}
    assert turns > 100


async def test_a_limit_without_a_key_is_refused(client):
    field = "concurrency_limit"
    for more in ({"input": 1}, {"input": 1, "session_id": "s"}, {"inputs": [1]}):
        answer = await client.post("/v1/jobs", json={"agent": "main", field: 3, **more})
        problem = assert_problem(answer, 400, "validation_error", "concurrency_key")
        assert problem["errors"][0]["pointer"] == f"/{field}"
    scheduled = {**SCHEDULE, "job": {"agent": "main", field: 3}}
    answer = await client.put("/v1/schedules/daily", json=scheduled)
    assert assert_problem(answer, 400, "validation_error")["errors"][0]["pointer"] == f"/job/{field}"
    await submit(client, concurrency_limit=3, concurrency_key="k")
    await submit(client, concurrency_limit=None)


def _depth(value):
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _grown(chance, depth):
    kind = chance.random()
    if depth == 0 or kind < 0.3:
        return chance.choice([1, "", "[", '"]', "\\", '\\"{', "}[\\\\", "é"])
    if kind < 0.65:
        return [_grown(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {
        chance.choice(["", "a", '"{', "\\"]) + str(n): _grown(chance, depth - 1) for n in range(chance.randrange(4))
    }


def test_depth_is_what_it_is_whatever_stands_in_strings():
    chance = random.Random(7)
    for _ in range(2000):
        value = _grown(chance, 9)
        body, depth = json.dumps(value).encode(), _depth(value)
        brackets = body.count(b"[") + body.count(b"{")
        assert parse_json(body, max(depth, 1)) == value
        if depth and brackets:
            with pytest.raises(InvalidJson, match="nested deeper"):
                parse_json(body, depth - 1)


@pytest.mark.parametrize("body", [b"[" * 1000, b"]" * 1000, b'{"a":' * 300, b'["' + b"[" * 500, b"[[]" * 200])
def test_brackets_that_do_not_fit_are_no_json(body):
    with pytest.raises(InvalidJson):
        parse_json(body)
