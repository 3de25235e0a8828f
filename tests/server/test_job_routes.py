"""Jobs over HTTP: what is taken in, what is told, and what is refused."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from job_scene import UNKNOWN, assert_problem, key_of, submit

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


async def test_the_beginning_of_an_id_will_do(client, client_of):
    first, second = await submit(client), await submit(client)
    shared = next(n for n in range(36) if first[n] != second[n])
    assert (await client.get(f"/v1/jobs/{first[: shared + 1]}")).json()["id"] == first
    assert_problem(await client.get(f"/v1/jobs/{first[:8]}"), 400, "validation_error", f"{first} and {second}")
    assert_problem(await client.get(f"/v1/jobs/{first[:7]}"), 404, "job_not_found")
    assert_problem(await client_of("other").get(f"/v1/jobs/{first[: shared + 1]}"), 404, "job_not_found")


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
        ({"agent": "main", "run_at": 4_000_000_000, "delay_s": 5}, "/delay_s", "not both"),
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
    job = await jobs.first()
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


async def test_a_job_that_nobody_can_wait_for_is_taken_in_all_the_same(jobs, client):
    jobs.hub._followers_max = 0
    answer = await client.post("/v1/jobs?wait=5s", json={"agent": "main"})
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
