"""`GET /v1/jobs/{id}/events` over a real socket: what was said so far, then live, to the end."""

from __future__ import annotations

import asyncio
import json

import pytest
from job_scene import assert_problem, key_of, submit, until

from serving import Frames

SSE = {"accept": "text/event-stream"}


@pytest.fixture
async def server(serve_jobs):
    return await serve_jobs()


@pytest.fixture
def scene(server):
    return server.service


def follow(server, job_id, **headers):
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return server.client.stream("GET", f"/v1/jobs/{job_id}/events", headers={**SSE, **named})


def told(frames):
    return [(frame.get("id"), frame["event"]) for frame in frames]


async def test_what_was_said_so_far_then_live_then_the_end(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    await scene.say(job, "a", "b")
    async with follow(server, job_id) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        frames = Frames(response)
        first = await frames.next()
        assert (first["event"], json.loads(first["data"])["status"]) == ("status", "running")
        assert "id" not in first
        event = await frames.next()
        assert (event["id"], event["event"]) == ("1", "piece")
        said = json.loads(event["data"])
        assert (said["seq"], said["attempt"], said["kind"], said["data"]) == (1, 1, "piece", "a")
        assert (await frames.next())["id"] == "2"
        await scene.say(job, {"fraction": 0.5, "message": "half"}, kind="progress")
        event = await frames.next()
        assert (event["id"], event["event"]) == ("3", "progress")
        await scene.succeed(job, {"answer": 42})
        (end,) = await frames.rest()
    assert (end["id"], end["event"]) == ("3.end", "succeeded")
    assert json.loads(end["data"])["result"] == {"answer": 42}
    await scene.until_followed(0)


async def test_a_failure_ends_with_its_error(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    async with follow(server, job_id) as response:
        frames = Frames(response)
        await frames.next()
        await scene.fail(job, message="The card was declined.")
        (end,) = await frames.rest()
    assert end["event"] == "failed"
    assert json.loads(end["data"])["error"]["message"] == "The card was declined."


async def test_states_are_told_as_they_change(server, scene):
    job_id = await submit(server.client)
    async with follow(server, job_id) as response:
        frames = Frames(response)
        states = [await frames.data()]
        (job,) = await scene.claim()
        states.append(await frames.data())
        await scene.wait_for(job, "approval")
        states.append(await frames.data())
        await server.client.post(f"/v1/jobs/{job_id}/cancel")
        end = await frames.next()
    assert [state["status"] for state in states] == ["queued", "running", "waiting"]
    assert states[2]["awaits"].startswith("signal:approval")
    assert end["event"] == "cancelled"


async def test_who_comes_back_goes_on_where_it_was(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    await scene.say(job, *range(5))
    async with follow(server, job_id, last_event_id="3") as response:
        frames = Frames(response)
        await frames.next()
        assert told([await frames.next(), await frames.next()]) == [("4", "piece"), ("5", "piece")]
        await scene.succeed(job)
        assert told(await frames.rest()) == [("5.end", "succeeded")]
    async with follow(server, job_id, last_event_id="5.end") as response:
        assert response.status_code == 204
    async with follow(server, job_id, last_event_id="4") as response:
        assert told(await Frames(response).rest()) == [("5", "piece"), ("5.end", "succeeded")]
    async with follow(server, job_id, last_event_id="999999") as response:
        assert told(await Frames(response).rest()) == [("5.end", "succeeded")]


async def test_who_heard_the_end_of_a_job_that_runs_again_hears_more(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    await scene.say(job, "a")
    await scene.fail(job)
    async with follow(server, job_id) as response:
        last = (await Frames(response).rest())[-1]["id"]
    await server.client.post(f"/v1/jobs/{job_id}/retry")
    async with follow(server, job_id, last_event_id=last) as response:
        frames = Frames(response)
        assert (await frames.data())["status"] == "queued"
        (job,) = await scene.claim()
        await frames.next()
        await scene.say(job, "b")
        event = await frames.next()
        while event["event"] == "attempt":
            event = await frames.next()
        assert json.loads(event["data"])["data"] == "b"


async def test_a_long_story_comes_whole_and_once(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    for start in range(0, 3000, 500):
        await scene.say(job, *range(start, start + 500))
    async with follow(server, job_id) as response:
        reading = asyncio.create_task(Frames(response).rest())
        for start in range(3000, 4000, 100):
            await scene.say(job, *range(start, start + 100))
        await scene.succeed(job)
        frames = await reading
    pieces = [json.loads(frame["data"]) for frame in frames if frame["event"] == "piece"]
    assert [piece["seq"] for piece in pieces] == list(range(1, 4001))
    assert [piece["data"] for piece in pieces] == list(range(4000))


async def test_many_followers_are_one_reader_of_the_store(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    reads = []
    events = scene.stores.job_records.events

    async def counted(*args, **options):
        reads.append(options)
        return await events(*args, **options)

    scene.hub._records = type("Counted", (), {"get": scene.stores.job_records.get, "events": staticmethod(counted)})
    async with asyncio.TaskGroup() as tasks:

        async def one():
            async with follow(server, job_id) as response:
                return await Frames(response).rest()

        followers = [tasks.create_task(one()) for _ in range(20)]
        await scene.until_followed(20)
        assert scene.hub.jobs_followed == 1
        for number in range(10):
            await scene.say(job, number)
        await scene.succeed(job)
    for follower in followers:
        pieces = [frame for frame in follower.result() if frame["event"] == "piece"]
        assert [frame["id"] for frame in pieces] == [str(number) for number in range(1, 11)]
    assert len(reads) <= 40


async def test_a_slow_follower_slows_no_one(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    head = f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nhost: x\r\nauthorization: {key_of('acme')['authorization']}\r\n"
    writer.write(f"{head}accept: text/event-stream\r\n\r\n".encode())
    await scene.until_followed(1)
    async with follow(server, job_id) as response:
        frames = Frames(response)
        await frames.next()
        large = "x" * 50_000
        for _ in range(200):  # ten megabytes, of which the first follower reads nothing
            await scene.say(job, large)
            assert (await frames.next())["event"] == "piece"
        (topic,) = scene.hub._topics.values()
        assert topic._kept_bytes <= 300_000
        await scene.succeed(job)
        assert told(await frames.rest()) == [("200.end", "succeeded")]
    received = b""
    async with asyncio.timeout(20):
        while b"event: succeeded" not in received[-1000:]:
            received += await reader.read(1_000_000)
    assert received.count(b"event: piece") == 200
    writer.close()


async def test_an_idle_stream_says_that_it_is_there(serve_jobs):
    server = await serve_jobs(heartbeat_s=0.02)
    job_id = await submit(server.client)
    async with follow(server, job_id) as response:
        lines = response.aiter_lines()
        heard = [await anext(lines) for _ in range(7)]
    assert heard.count(": here") >= 2


async def test_a_client_that_leaves_is_followed_no_longer(server, scene):
    job_id = await submit(server.client)
    async with follow(server, job_id) as response:
        await Frames(response).next()
        await scene.until_followed(1)
    await scene.until_followed(0)
    assert scene.hub.jobs_followed == 0


async def test_a_worker_that_leaves_sends_its_followers_away(server, scene):
    job_id = await submit(server.client)
    async with follow(server, job_id) as response:
        frames = Frames(response)
        await frames.next()
        scene.hub.drain()
        rest = await frames.rest()
    assert not [frame for frame in rest if "event" in frame]


async def test_hints_that_are_lost_cost_a_moment(serve_jobs):
    server = await serve_jobs(poll_s=0.05)
    scene = server.service
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    async with follow(server, job_id) as response:
        frames = Frames(response)
        await frames.next()
        scene.hub._moved = lambda ids: None
        scene.hub._watch.close()
        scene.hub._watch = scene.stores.jobs.watch_jobs(lambda ids: None)
        await scene.say(job, "a")
        assert (await frames.next())["event"] == "piece"
        await scene.succeed(job)
        assert told(await frames.rest()) == [("1.end", "succeeded")]


async def test_a_job_that_was_removed_says_so(server, scene):
    job_id = await submit(server.client)
    async with follow(server, job_id) as response:
        frames = Frames(response)
        await frames.next()
        (topic,) = scene.hub._topics.values()
        topic.gone = True
        topic.wake()
        (end,) = await frames.rest()
    assert (end["event"], json.loads(end["data"])["code"]) == ("error", "job_not_found")


async def test_json_that_stands_on_several_lines_stays_one_event(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    from corral.jobs.job import JobEventDraft

    await scene.stores.jobs.emit([JobEventDraft(job.claim, "piece", b'{\n"a":\r\n1}')])
    await scene.succeed(job)
    async with follow(server, job_id) as response:
        frames = await Frames(response).rest()
    assert json.loads(frames[0]["data"])["data"] == {"a": 1}


async def test_without_asking_for_a_stream_it_is_a_page(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    await scene.say(job, *range(5))
    page = (await server.client.get(f"/v1/jobs/{job_id}/events", params={"after": 1, "limit": 2})).json()
    assert [event["data"] for event in page["items"]] == [1, 2]
    assert (page["next_after"], page["status"], page["last_seq"]) == (3, "running", 5)
    assert (await server.client.head(f"/v1/jobs/{job_id}/events", headers=SSE)).status_code == 200


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "", "9" * 400, "٣", "1.end.end", " 1 2"])
async def test_a_place_that_is_none_is_refused(server, after):
    job_id = await submit(server.client)
    answer = await server.client.get(f"/v1/jobs/{job_id}/events", params={"after": after}, headers=SSE)
    assert_problem(answer, 400, "validation_error", "`after`")


@pytest.mark.parametrize("last", ["-1", "x", "9" * 400, ".end"])
async def test_a_last_event_that_is_none_is_refused(server, last):
    job_id = await submit(server.client)
    answer = await server.client.get(f"/v1/jobs/{job_id}/events", headers={**SSE, "last-event-id": last})
    assert_problem(answer, 400, "validation_error", "last-event-id")


async def test_followers_are_bounded(server, scene):
    scene.hub._followers_max = 1
    job_id = await submit(server.client)
    async with follow(server, job_id) as response:
        await Frames(response).next()
        answer = await server.client.get(f"/v1/jobs/{job_id}/events", headers=SSE)
        assert_problem(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"


async def test_the_live_tail_is_quick(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    loop = asyncio.get_running_loop()
    took = []
    async with follow(server, job_id) as response:
        frames = Frames(response)
        await frames.next()
        for number in range(20):
            before = loop.time()
            await scene.say(job, number)
            await frames.next()
            took.append(loop.time() - before)
    assert sorted(took)[10] < 0.1  # far above what it takes, for a machine that does much else


async def test_who_follows_through_a_store_that_does_not_answer(server, scene):
    from corral.errors import StoreUnavailable

    job_id = await submit(server.client)
    (job,) = await scene.claim()
    await scene.say(job, "a")
    records = scene.hub._records

    class Down:
        down = True

        async def get(self, *args):
            if self.down:
                raise StoreUnavailable
            return await records.get(*args)

        async def events(self, *args, **options):
            if self.down:
                raise StoreUnavailable
            return await records.events(*args, **options)

    async with follow(server, job_id) as response:
        frames = Frames(response)
        await frames.next()
        await frames.next()
        scene.hub._records = down = Down()
        await scene.say(job, "b")
        await until(lambda: not scene.hub._dirty)
        down.down = False
        await scene.succeed(job)
        assert told(await frames.rest()) == [("2", "piece"), ("2.end", "succeeded")]
