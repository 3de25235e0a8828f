"""Jobs over HTTP: cancelled, run again, put away, told something; one, many, batches."""

from __future__ import annotations

import json

import pytest
from job_scene import assert_problem, submit

# -- changes ----------------------------------------------------------------------------------------------------------


async def test_cancelling_twice_is_cancelling_once(jobs, client):
    job_id = await submit(client)
    for _ in range(2):
        answer = await client.post(f"/v1/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    running_id = await submit(client)
    (job,) = await jobs.claim()
    answer = await client.delete(f"/v1/jobs/{running_id}")
    assert (answer.status_code, answer.json()["status"], answer.json()["cancel_requested"]) == (202, "running", True)
    await jobs.succeed(job)
    assert_problem(await client.delete(f"/v1/jobs/{running_id}"), 409, "job_state_conflict", "succeeded")


async def test_a_dead_letter_runs_again(jobs, client):
    job_id = await submit(client)
    assert_problem(await client.post(f"/v1/jobs/{job_id}/retry"), 409, "job_state_conflict", "queued")
    (job,) = await jobs.claim()
    await jobs.fail(job)
    answer = await client.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    (job,) = await jobs.claim()
    await jobs.fail(job)
    answer = await client.post(f"/v1/jobs/{job_id}/retry", json={"input": {"prompt": "other"}})
    assert answer.json()["input"] == {"prompt": "other"}
    (job,) = await jobs.claim()
    assert json.loads(job.input) == {"prompt": "other"}
    assert_problem(
        await client.post(f"/v1/jobs/{job_id}/retry", json={"imput": 1}), 400, "validation_error", "'input'?"
    )


async def test_a_dead_letter_is_put_away(jobs, client):
    job_id = await submit(client)
    assert_problem(await client.post(f"/v1/jobs/{job_id}/discard"), 409, "job_state_conflict", "queued")
    (job,) = await jobs.claim()
    await jobs.fail(job)
    for _ in range(2):
        assert (await client.post(f"/v1/jobs/{job_id}/discard")).json()["status"] == "discarded"


@pytest.mark.parametrize("value", [{"approved": True}, None, [], "yes", 0])
async def test_a_signal_wakes_who_waits(jobs, client, value):
    job_id = await submit(client)
    (job,) = await jobs.claim()
    await jobs.wait_for(job, "approval")
    answer = await client.post(f"/v1/jobs/{job_id}/signals/approval", json=value)
    told = {"id": job_id, "signal": "approval", "status": "queued", "waits_for": None}
    assert (answer.status_code, answer.json()) == (202, told)
    (job,) = await jobs.claim()
    (step,) = await jobs.stores.jobs.steps(job_id)
    assert (step.key, json.loads(step.value)) == ("signal:approval#1", value)
    await jobs.succeed(job)
    assert_problem(await client.post(f"/v1/jobs/{job_id}/signals/approval"), 409, "job_state_conflict", "ended")


async def test_a_signal_that_nobody_waits_for_is_kept_and_answered_with_what_is_waited_for(jobs, client):
    job_id = await submit(client)
    (job,) = await jobs.claim()
    await jobs.wait_for(job, "approval")
    said = (await client.post(f"/v1/jobs/{job_id}/signals/aproval", json=1)).json()
    assert (said["status"], said["waits_for"]) == ("waiting", "approval")
    (step,) = await jobs.stores.jobs.steps(job_id)
    assert step.key == "signal:aproval#1"


async def test_signals_are_bounded(client):
    job_id = await submit(client)
    assert (await client.post(f"/v1/jobs/{job_id}/signals/go")).status_code == 202
    assert_problem(await client.post(f"/v1/jobs/{job_id}/signals/{'x' * 201}"), 400, "validation_error")
    assert_problem(await client.post(f"/v1/jobs/{job_id}/signals/a%00b"), 400, "validation_error")
    assert_problem(await client.post(f"/v1/jobs/{job_id}/signals/go", content="{"), 400, "invalid_json")
    big = await client.post(f"/v1/jobs/{job_id}/signals/go", json="x" * 70_000)
    assert_problem(big, 413, "payload_too_large")


# -- many -------------------------------------------------------------------------------------------------------------


async def test_a_batch_is_one_handle(jobs, client):
    answer = await client.post("/v1/jobs/batches", json={"agent": "main", "inputs": [1, None, {"a": 1}], "tags": ["t"]})
    assert answer.status_code == 202
    said = answer.json()
    assert (said["total"], len(said["jobs"])) == (3, 3)
    assert answer.headers["location"] == f"/v1/jobs/batches/{said['id']}" == said["links"]["self"]
    (job,) = await jobs.claim()
    await jobs.succeed(job)
    progress = (await client.get(said["links"]["self"])).json()
    assert (progress["total"], progress["ended"]) == (3, 1)
    assert progress["counts"]["succeeded"] == 1
    assert progress["counts"]["queued"] == 2
    listed = (await client.get(said["links"]["jobs"])).json()["items"]
    assert {job["id"] for job in listed} == set(said["jobs"])


async def test_a_list_of_inputs_is_a_batch_too(client):
    answer = await client.post("/v1/jobs", json={"agent": "main", "inputs": [1, 2]})
    assert answer.status_code == 202
    assert answer.json()["total"] == 2


async def test_a_repeated_batch_is_one_batch(client):
    headers = {"idempotency-key": "b-1"}
    body = {"agent": "main", "inputs": [1, 2, 3]}
    first = await client.post("/v1/jobs/batches", json=body, headers=headers)
    again = await client.post("/v1/jobs/batches", json=body, headers=headers)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert len((await client.get("/v1/jobs")).json()["items"]) == 3
    longer = await client.post("/v1/jobs/batches", json={**body, "inputs": [1, 2, 3, 4]}, headers=headers)
    assert_problem(longer, 422, "idempotency_key_reused")


@pytest.mark.parametrize(
    "body",
    [
        {"agent": "main"},
        {"agent": "main", "inputs": []},
        {"agent": "main", "inputs": {}},
        {"agent": "main", "inputs": [0] * 51},
        {"agent": "main", "inputs": [1], "input": 2},
        {"agent": "main", "inputs": [1], "prioriti": 2},
        [],
    ],
)
async def test_what_is_no_batch_is_refused(client, body):
    assert_problem(await client.post("/v1/jobs/batches", json=body), 400, "validation_error")
    assert (await client.get("/v1/jobs")).json()["items"] == []


async def test_many_are_changed_by_a_filter(jobs, client):
    a = [await submit(client, queue="a") for _ in range(3)]
    b = [await submit(client, queue="b") for _ in range(2)]
    answer = await client.post("/v1/jobs/cancel", json={"queue": "a"})
    assert answer.status_code == 200
    assert set(answer.json()["ids"]) == set(a)
    assert answer.json()["count"] == 3
    for job in await jobs.claim(10):
        await jobs.fail(job)
    assert (await client.post("/v1/jobs/redrive", json={"queue": "a"})).json()["ids"] == []
    assert set((await client.post("/v1/jobs/redrive", json={"status": "cancelled"})).json()["ids"]) == set(a)
    assert (await client.post("/v1/jobs/discard", json={"all": True, "limit": 1})).json()["count"] == 1
    assert (await client.post("/v1/jobs/discard", json={"status": ["failed"]})).json()["count"] == len(b) - 1


@pytest.mark.parametrize("verb", ["cancel", "redrive", "discard"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": False},
        {"all": 1},
        {"limit": 5},
        {"status": []},
        {"status": "done"},
        {"status": 7},
        {"status": [7]},
        {"status": [[]]},
        {"agent": None},
        {"agent": 7},
        {"agent": ""},
        {"tag": "\0"},
        {"quue": "a"},
        {"all": True, "limit": 0},
        {"all": True, "limit": True},
        {"all": True, "limit": 1.5},
        {"all": True, "limit": 1e300},
        {"since": "x"},
        {"since": True},
        {"since": []},
        {"all": True, "tenant": "other"},
        [],
        "all",
    ],
)
async def test_a_filter_that_means_nothing_is_refused(client, verb, body):
    await submit(client)
    assert_problem(await client.post(f"/v1/jobs/{verb}", json=body), 400, "validation_error")
    assert (await client.get("/v1/jobs")).json()["items"][0]["status"] == "queued"


async def test_only_dead_letters_are_redriven_or_discarded(client):
    assert_problem(
        await client.post("/v1/jobs/redrive", json={"status": "running"}), 400, "validation_error", "running"
    )
    assert_problem(await client.post("/v1/jobs/discard", json={"status": "cancelled"}), 400, "validation_error")
