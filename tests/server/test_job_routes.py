"""Jobs over HTTP: what is taken in, what is told, and what is refused."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from job_scene import JobScene, assert_problem, key_of, submit

from corral.server.job_api import DESCRIPTIONS

UNKNOWN = "01900000-0000-7000-8000-000000000000"


# -- handing in ----------------------------------------------------------------------------------------------------------


async def test_a_job_is_taken_in_and_found_again(client):
    fields = {"queue": "gpu", "priority": 7, "tags": ["a", "b"], "session_id": "s-1", "version": "v2"}
    answer = await client.post(
        "/v1/jobs", json={"agent": "main", "input": [1, "x"], **fields}, headers={"x-user-id": "ada"}
    )
    assert answer.status_code == 202
    said = answer.json()
    path = f"/v1/jobs/{said['id']}"
    assert said == {
        "id": said["id"],
        "status": "queued",
        "links": {"self": path, "events": f"{path}/events", "result": f"{path}/result", "cancel": f"{path}/cancel"},
    }
    assert answer.headers["location"] == path
    job = (await client.get(path)).json()
    assert job["input"] == [1, "x"]
    assert {name: job[name] for name in fields} == fields
    assert job["user_id"] == "ada"
    assert job["tenant"] == "acme"
    assert job["max_attempts"] == 3


async def test_what_is_null_is_as_if_left_out(client):
    names = ("session_id", "priority", "queue", "delay_s", "run_at", "tags", "callback", "backoff", "max_attempts")
    job_id = await submit(client, **dict.fromkeys(names))
    job = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert (job["queue"], job["priority"], job["tags"]) == ("default", 5, [])


async def test_headers_say_whose_session_it_is(client):
    answer = await client.post(
        "/v1/jobs", json={"agent": "main", "session_id": "of-the-body"}, headers={"x-session-id": "of-the-header"}
    )
    job = (await client.get(answer.headers["location"])).json()
    assert job["session_id"] == "of-the-header"


async def test_an_idempotency_key_is_one_job(client):
    headers = {"idempotency-key": "k-1"}
    body = {"agent": "main", "input": {"a": 1, "b": 2}}
    first = await client.post("/v1/jobs", json=body, headers=headers)
    again = await client.post("/v1/jobs", content='{"input": {"b": 2, "a": 1}, "agent": "main"}', headers=headers)
    assert again.json()["id"] == first.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = await client.post("/v1/jobs", json={"agent": "main", "input": 2}, headers=headers)
    assert_problem(other, 422, "idempotency_key_reused")


async def test_delays_and_times_make_it_scheduled(client):
    for fields in ({"delay_s": 60}, {"run_at": 4_000_000_000}, {"run_at": "2096-10-02T07:06:40Z"}):
        job = (await client.get(f"/v1/jobs/{await submit(client, **fields)}")).json()
        assert job["status"] == "scheduled", fields
        if "run_at" in fields:
            assert job["run_at"] == 4_000_000_000


@pytest.mark.parametrize(
    ("body", "pointer", "what"),
    [
        ({"agent": "main", "priorty": 1}, "/priorty", "did you mean 'priority'?"),
        ({"agent": "main", "callback": {"url": "https://example.com", "header": {}}}, "/callback/header", "'headers'?"),
        ({"agent": "main", "backoff": {"initial": 1}}, "/backoff/initial", "'initial_s'?"),
        ({}, "/agent", "required"),
        ({"agent": 7}, "/agent", "str"),
        ({"agent": ""}, "/agent", ">= 1"),
        ({"agent": "main\0"}, "/agent", "control character"),
        ({"agent": "main", "priority": 11}, "/priority", "<= 10"),
        ({"agent": "main", "priority": -1}, "/priority", ">= 0"),
        ({"agent": "main", "priority": "5"}, "/priority", "str"),
        ({"agent": "main", "priority": True}, "/priority", "bool"),
        ({"agent": "main", "queue": "a b"}, "/queue", "letters"),
        ({"agent": "main", "queue": "x" * 101}, "/queue", "100"),
        ({"agent": "main", "queue": "x\n"}, "/queue", "letters"),
        ({"agent": "main", "session_id": "x" * 257}, "/session_id", "256"),
        ({"agent": "main", "tags": ["ok", "\0"]}, "/tags/1", "control"),
        ({"agent": "main", "tags": [7]}, "/tags/0", "int"),
        ({"agent": "main", "tags": ["t"] * 33}, "/tags", "32"),
        ({"agent": "main", "delay_s": -1}, "/delay_s", ">= 0"),
        ({"agent": "main", "delay_s": 1e300}, "/delay_s", "<= "),
        ({"agent": "main", "run_at": "tomorrow"}, "/run_at", "seconds since 1970"),
        ({"agent": "main", "run_at": "2096-10-02T07:06:40"}, "/run_at", "zone"),
        ({"agent": "main", "run_at": 1e18}, "/run_at", "3000"),
        ({"agent": "main", "run_at": -1}, "/run_at", "1970"),
        ({"agent": "main", "deadline_s": 0}, "/deadline_s", "> 0"),
        ({"agent": "main", "timeout_s": "soon"}, "/timeout_s", "str"),
        ({"agent": "main", "max_attempts": 0}, "/max_attempts", ">= 1"),
        ({"agent": "main", "max_attempts": 2.5}, "/max_attempts", "float"),
        ({"agent": "main", "weight": 0}, "/weight", ">= 0.01"),
        ({"agent": "main", "backoff": {"jitter": 2}}, "/backoff/jitter", "<= 1"),
        ({"agent": "main", "callback": {}}, "/callback/url", "required"),
        ({"agent": "main", "callback": {"url": "ftp://example.com"}}, "/callback", "https://"),
        ({"agent": "main", "callback": {"url": "https://x", "headers": {"a": 1}}}, "/callback/headers", "int"),
        ({"agent": "main", "dedupe_s": 0}, "/dedupe_s", "> 0"),
    ],
)
async def test_what_is_no_job_is_refused(client, body, pointer, what):
    problem = assert_problem(await client.post("/v1/jobs", json=body), 400, "validation_error", what)
    assert problem["errors"][0]["pointer"].startswith(pointer)


@pytest.mark.parametrize("body", ["", "{", "[]", "7", "null", '"x"', '{"agent": "main", "delay_s": 1e999}', "[" * 100])
async def test_a_body_that_is_no_object_is_refused(client, body):
    answer = await client.post("/v1/jobs", content=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_whole_number_may_have_a_point(client):
    answer = await client.post("/v1/jobs", content='{"agent": "main", "priority": 7.0}')
    assert (await client.get(answer.headers["location"])).json()["priority"] == 7


async def test_an_agent_that_is_not_there_is_not_found(client):
    assert_problem(await client.post("/v1/jobs", json={"agent": "mian"}), 404, "not_found", "main")
    assert_problem(await client.post("/v1/jobs/batches", json={"agent": "mian", "inputs": [1]}), 404, "not_found")


async def test_an_input_that_the_agent_cannot_take_is_refused_at_once(client):
    problem = assert_problem(
        await client.post("/v1/jobs", json={"agent": "typed", "input": {"prompt": 7}}), 400, "validation_error"
    )
    assert problem["errors"][0]["pointer"] == "/input/prompt"
    await submit(client, agent="typed", input={"prompt": "hi"})
    several = {"agent": "typed", "inputs": [{"prompt": "hi"}, {}]}
    problem = assert_problem(await client.post("/v1/jobs/batches", json=several), 400, "validation_error")
    assert problem["errors"][0]["pointer"] == "/inputs/1/prompt"


async def test_a_full_queue_says_when_to_try_again(make_jobs):
    scene = await make_jobs(depth_max=2)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(scene), base_url="http://corral", headers=key_of("acme")
    ) as client:
        answers = [await client.post("/v1/jobs", json={"agent": "main"}) for _ in range(5)]
        assert answers[-1].status_code == 429
        assert_problem(answers[-1], 429, "queue_full")
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await client.post("/v1/jobs", json={"agent": "main", "queue": "other"})).status_code == 202


async def test_many_at_once_are_all_taken_in(client):
    ids = await asyncio.gather(*(submit(client, input=number) for number in range(100)))
    assert len(set(ids)) == 100
    page = (await client.get("/v1/jobs", params={"limit": 1000})).json()
    assert {job["id"] for job in page["items"]} == set(ids)


# -- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"params": {"wait": "10s"}}, {"params": {"wait": "10"}}, {"headers": {"prefer": "wait=10"}}]
)
async def test_who_waits_gets_the_end(jobs, client, options):
    waiting = asyncio.create_task(client.post("/v1/jobs", json={"agent": "main"}, **options))
    await jobs.until_followed()
    (job,) = await jobs.claim()
    await jobs.succeed(job, {"answer": 42})
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json()["result"] == {"answer": 42}
    assert answer.json()["status"] == "succeeded"
    assert ("preference-applied" in answer.headers) == ("headers" in options)
    assert not len(jobs.hub)


async def test_a_job_that_does_not_end_in_time_is_accepted(client):
    answer = await client.post("/v1/jobs", json={"agent": "main"}, params={"wait": "0.01"})
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    job = (await client.get(answer.headers["location"], params={"wait": "0.01s"})).json()
    assert (job["status"], job["input"]) == ("queued", None)


@pytest.mark.parametrize("wait", ["soon", "-1", "inf", "nan", "1e3", "", "s", "٣", "9" * 400])
async def test_a_wait_that_is_none_is_refused(client, wait):
    assert_problem(
        await client.post("/v1/jobs", json={"agent": "main"}, params={"wait": wait}), 400, "validation_error"
    )
    assert (await client.get("/v1/jobs")).json()["items"] == []


async def test_a_preference_that_cannot_be_understood_is_none(client):
    answer = await client.post("/v1/jobs", json={"agent": "main"}, headers={"prefer": "respond-async, wait=x"})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_a_worker_that_leaves_lets_nobody_wait(jobs, client):
    waiting = asyncio.create_task(client.post("/v1/jobs", json={"agent": "main"}, params={"wait": "20s"}))
    await jobs.until_followed()
    jobs.hub.drain()
    assert (await waiting).status_code == 202


# -- results ----------------------------------------------------------------------------------------------------------


async def test_the_bare_result(jobs, client):
    job_id = await submit(client)
    open_one = await client.get(f"/v1/jobs/{job_id}/result")
    assert (open_one.status_code, open_one.json()["status"]) == (202, "queued")
    assert open_one.headers["retry-after"] == "1"
    (job,) = await jobs.claim()
    await jobs.succeed(job, [1, None])
    answer = await client.get(f"/v1/jobs/{job_id}/result")
    assert (answer.status_code, answer.json()) == (200, [1, None])


@pytest.mark.parametrize(("code", "status"), [("agent_error", 500), ("deadline_exceeded", 504), ("worker_lost", 500)])
async def test_the_result_of_a_failure_is_a_problem(jobs, client, code, status):
    job_id = await submit(client)
    (job,) = await jobs.claim()
    await jobs.fail(job, code, "The card was declined.")
    problem = assert_problem(await client.get(f"/v1/jobs/{job_id}/result"), status, code, "The card was declined.")
    assert problem["job_id"] == job_id
    attempts = (await client.get(f"/v1/jobs/{job_id}/attempts")).json()["items"]
    assert [attempt["error"]["message"] for attempt in attempts] == ["The card was declined."]


async def test_the_result_of_a_cancelled_job_is_a_conflict(client):
    job_id = await submit(client)
    await client.delete(f"/v1/jobs/{job_id}")
    assert_problem(await client.get(f"/v1/jobs/{job_id}/result"), 409, "cancelled")


# -- lists ------------------------------------------------------------------------------------------------------------


async def test_lists_are_filtered_and_paged(jobs, client):
    first = await submit(client, queue="a", tags=["x"], session_id="s-1")
    second = await submit(client, queue="b", tags=["x", "y"], user_id="ada")
    third = await submit(client, queue="b", delay_s=60)

    async def ids(**query):
        answer = await client.get("/v1/jobs", params=query)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["items"]]

    assert await ids() == [third, second, first]
    assert await ids(queue="b") == [third, second]
    assert await ids(tag="x") == [second, first]
    assert await ids(session_id="s-1") == [first]
    assert await ids(user_id="ada") == [second]
    assert await ids(agent="main", status="scheduled") == [third]
    assert await ids(status=["scheduled", "queued"]) == [third, second, first]
    assert await ids(status="scheduled,queued") == [third, second, first]
    assert await ids(status="failed") == []
    assert await ids(since=4e9) == []
    assert await ids(until="2020-01-01T00:00:00Z") == []
    assert await ids(since=-1e300, until=1e300) == [third, second, first]
    page = (await client.get("/v1/jobs", params={"limit": 2})).json()
    assert [job["id"] for job in page["items"]] == [third, second]
    assert await ids(cursor=page["next_cursor"]) == [first]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "-1"},
        {"limit": "ten"},
        {"limit": "9" * 5000},
        {"status": "done"},
        {"status": ""},
        {"status": "queued,"},
        {"agent": ""},
        {"tag": "\0"},
        {"queue": "x" * 257},
        {"since": "yesterday"},
        {"since": "nan"},
        {"until": "inf"},
        {"sesion_id": "x"},
        {"cursor": ""},
        {"cursor": "\0"},
        {"cursor": "x" * 2000},
    ],
)
async def test_a_query_that_means_nothing_is_refused(client, query):
    assert_problem(await client.get("/v1/jobs", params=query), 400, "validation_error", next(iter(query)))


@pytest.mark.parametrize("cursor", ["!!", "abc", "bnVsbA", "WzFd", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ"])
async def test_a_cursor_of_somebody_elses_is_refused(client, cursor):
    await submit(client)
    answer = await client.get("/v1/jobs", params={"cursor": cursor})
    assert answer.status_code in {200, 404}, answer.text


@pytest.mark.parametrize("job_id", [UNKNOWN, "x", "%00", "x" * 5000, "%ff%fe", "🦄", "0" * 36])
async def test_a_job_that_is_not_there(client, job_id):
    for path in ("", "/result", "/attempts", "/events", "/callbacks"):
        assert_problem(await client.get(f"/v1/jobs/{job_id}{path}"), 404, "job_not_found")
    for path in ("/cancel", "/retry", "/discard", "/signals/go"):
        assert_problem(await client.post(f"/v1/jobs/{job_id}{path}"), 404, "job_not_found")
    assert_problem(await client.delete(f"/v1/jobs/{job_id}"), 404, "job_not_found")
    assert_problem(await client.get(f"/v1/jobs/batches/{job_id}"), 404, "not_found")
    assert_problem(await client.post(f"/v1/callbacks/{job_id}/replay"), 404, "not_found")


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
    assert (answer.status_code, answer.json()) == (202, {"id": job_id, "signal": "approval"})
    (job,) = await jobs.claim()
    (step,) = await jobs.stores.jobs.steps(job_id)
    assert (step.key, json.loads(step.value)) == ("signal:approval#1", value)
    await jobs.succeed(job)
    assert_problem(await client.post(f"/v1/jobs/{job_id}/signals/approval"), 409, "job_state_conflict", "ended")


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


# -- queues -----------------------------------------------------------------------------------------------------------


async def test_queues_say_how_deep_they_are(jobs, client):
    for _ in range(3):
        await submit(client, queue="gpu")
    await jobs.claim()
    said = (await client.get("/v1/queues")).json()
    (gpu,) = said["queues"]
    assert (gpu["queue"], gpu["queued"], gpu["running"]) == ("gpu", 2, 1)
    assert said["per_s"] == 0
    one = (await client.get("/v1/queues/gpu")).json()
    assert one["queued"] == 2
    assert one["oldest_queued_s"] >= 0
    assert (await client.get("/v1/queues/idle")).json()["queued"] == 0
    assert_problem(await client.get("/v1/queues/a%20b"), 404, "not_found")


# -- schedules --------------------------------------------------------------------------------------------------------

SCHEDULE = {"cron": "0 6 * * *", "timezone": "Europe/Berlin", "job": {"agent": "main", "input": {"kind": "daily"}}}


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
