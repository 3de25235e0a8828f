"""Queues, schedules and callbacks over HTTP, and what the addresses of jobs say of themselves."""

from __future__ import annotations

import pytest
from job_scene import SCHEDULE, JobScene, assert_problem, submit

from corral.server.job_api import DESCRIPTIONS

# -- queues -----------------------------------------------------------------------------------------------------------


async def test_queues_say_how_deep_they_are(jobs, client):
    for _ in range(3):
        await submit(client, queue="gpu")
    await jobs.claim()
    said = (await client.get("/v1/queues")).json()
    queues = {one["queue"]: one for one in said["queues"]}
    assert (queues["gpu"]["queued"], queues["gpu"]["running"]) == (2, 1)
    assert queues["default"] == dict.fromkeys(queues["default"], 0) | {"queue": "default"}
    assert said["per_s"] == 0
    one = (await client.get("/v1/queues/gpu")).json()
    assert one["queued"] == 2
    assert one["oldest_queued_s"] >= 0
    assert (await client.get("/v1/queues/idle")).json()["queued"] == 0
    assert_problem(await client.get("/v1/queues/a%20b"), 404, "not_found")


# -- schedules --------------------------------------------------------------------------------------------------------


async def test_a_schedule_is_kept_replaced_and_removed(client):
    made = await client.put("/v1/schedules/nightly", json=SCHEDULE)
    assert made.status_code == 201, made.text
    schedule = made.json()
    assert schedule["job"] == SCHEDULE["job"]
    assert schedule["next_at"] > 0
    assert "tenant" not in schedule
    replaced = await client.put("/v1/schedules/nightly", json={**SCHEDULE, "cron": "@hourly", "paused": True})
    assert (replaced.status_code, replaced.json()["paused"]) == (200, True)
    assert (await client.get("/v1/schedules/nightly")).json()["cron"] == "@hourly"
    assert [one["name"] for one in (await client.get("/v1/schedules")).json()["items"]] == ["nightly"]
    assert (await client.delete("/v1/schedules/nightly")).status_code == 204
    assert_problem(await client.delete("/v1/schedules/nightly"), 404, "not_found")
    assert_problem(await client.get("/v1/schedules/nightly"), 404, "not_found")


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("n", {"cron": "61 * * * *"}, ""),
        ("n", {"cron": ""}, ""),
        ("n", {"cron": 7}, "cron"),
        ("n", {"cron": "@every -1s"}, ""),
        ("n", {"cron": "0 0 * * * " + "x" * 5000}, "256"),
        ("n", {"timezone": "Europe/Berln"}, "Europe/Berlin"),
        ("n", {"timezone": "../../etc/passwd"}, ""),
        ("n", {"timezone": "a\0b"}, ""),
        ("n", {"catch_up": "never"}, "catch_up"),
        ("n", {"job": {}}, "job"),
        ("n", {"job": {"agent": "main", "prio": 1}}, "priority"),
        ("n", {"job": []}, "job"),
        ("n", {"chron": "x"}, "'cron'?"),
        ("a b", {}, "name"),
        ("%00", {}, "name"),
        ("x" * 101, {}, "name"),
    ],
)
async def test_a_schedule_that_means_nothing_is_refused(client, name, change, what):
    answer = await client.put(f"/v1/schedules/{name}", json={**SCHEDULE, **change})
    assert_problem(answer, 400, "validation_error", what)
    assert (await client.get("/v1/schedules")).json()["items"] == []


async def test_a_fault_says_once_where_it_is(client):
    fault = {"pointer": "/job/priority", "message": "Expected `int` <= 10."}
    for said in (
        (await client.put("/v1/schedules/n", json={**SCHEDULE, "job": {"agent": "main", "priority": 11}})).json(),
        (await client.post("/v1/jobs", json={"agent": "main", "priority": 11})).json(),
    ):
        assert said["errors"] == [fault]
        assert said["detail"] == f"{fault['pointer']}: {fault['message']}"
        assert "agent" not in said["title"]
        fault = fault | {"pointer": "/priority"}


async def test_a_schedule_of_an_agent_that_is_not_there(client):
    assert_problem(await client.put("/v1/schedules/n", json={**SCHEDULE, "job": {"agent": "x"}}), 404, "not_found")


async def test_what_a_schedule_makes_is_what_would_be_handed_in(jobs, client):
    await client.put("/v1/schedules/n", json={**SCHEDULE, "job": {"agent": "main", "input": 1, "queue": "q"}})
    (schedule,) = await jobs.stores.schedules.schedules("acme")
    (draft,) = jobs.desk.drafts(schedule, 0.0)
    assert (draft.tenant, draft.queue, draft.input) == ("acme", "q", b"1")


# -- callbacks --------------------------------------------------------------------------------------------------------


async def test_callbacks_are_shown_without_their_secrets_and_sent_again(jobs, client):
    callback = {"url": "https://example.com/hook", "headers": {"authorization": "Bearer secret"}}
    job_id = await submit(client, callback=callback)
    assert (await client.get(f"/v1/jobs/{job_id}/callbacks")).json() == {"items": []}
    (job,) = await jobs.claim()
    await jobs.succeed(job)
    (sent,) = (await client.get(f"/v1/jobs/{job_id}/callbacks")).json()["items"]
    assert (sent["url"], sent["status"], sent["attempts"]) == ("https://example.com/hook", "pending", 0)
    assert "token" not in sent
    shown = await client.get(f"/v1/jobs/{job_id}")
    assert shown.json()["callback"] == {"url": "https://example.com/hook", "headers": {"authorization": "***"}}
    assert "secret" not in (await client.get("/v1/jobs")).text
    replayed = await client.post(f"/v1/callbacks/{sent['id']}/replay")
    assert (replayed.status_code, replayed.json()["status"]) == (202, "pending")


# -- the description ---------------------------------------------------------------------------------------------------


def test_every_address_is_described(tmp_path):
    scene = JobScene(f"sqlite:///{tmp_path}/never-opened.db")
    assert {f"{route.method} {route.path}" for route in scene.routes} == set(DESCRIPTIONS)


async def test_answers_have_the_shape_that_is_described(jobs, client):
    jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="it comes with schemathesis")
    callback = {"url": "https://example.com"}
    job_id = await submit(client, callback=callback, tags=["t"])
    (job,) = await jobs.claim()
    await jobs.say(job, "a")
    await jobs.fail(job)
    batch = (await client.post("/v1/jobs/batches", json={"agent": "main", "inputs": [1]})).json()
    await client.put("/v1/schedules/n", json=SCHEDULE)
    validated = 0
    for route in jobs.routes:
        if route.method == "GET":
            name = "n" if "schedules" in route.path else "default"
            path = route.path.replace("{id}", batch["id"] if "batches" in route.path else job_id)
            answer = await client.get(path.replace("{name}", name))
            described = route.answers.get(answer.status_code)
            if described is not None and described.schema is not None:
                jsonschema_rs.validate(described.schema, answer.json())
                validated += 1
    assert validated == 10
