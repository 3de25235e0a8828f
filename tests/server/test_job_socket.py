"""`WS /v1/jobs/stream`: many jobs on one connection."""

from __future__ import annotations

import asyncio
import json

import pytest
from job_scene import key_of, submit
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

UNKNOWN = "01900000-0000-7000-8000-000000000000"


@pytest.fixture
async def server(serve_jobs):
    return await serve_jobs()


@pytest.fixture
def scene(server):
    return server.service


def dial(server, tenant="acme", path="/v1/jobs/stream", **options):
    return connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None, additional_headers=key_of(tenant), **options)


async def heard(websocket):
    return json.loads(await asyncio.wait_for(websocket.recv(), 10))


async def ask(websocket, **what):
    await websocket.send(json.dumps(what))


async def test_many_jobs_on_one_connection(server, scene):
    ids = [await submit(server.client, input=number) for number in range(3)]
    claimed = {job.id: job for job in await scene.claim(3)}
    await scene.say(claimed[ids[0]], "before")
    async with dial(server) as websocket:
        await ask(websocket, subscribe=[{"id": job_id, "after": 0} for job_id in ids])
        first = [await heard(websocket) for _ in range(4)]
        assert sorted(one["id"] for one in first if one["event"] == "status") == sorted(ids)
        (piece,) = [one for one in first if one["event"] == "piece"]
        assert (piece["id"], piece["seq"], piece["data"]["data"]) == (ids[0], 1, "before")
        for number, job_id in enumerate(ids):
            await scene.say(claimed[job_id], number)
            said = await heard(websocket)
            assert (said["id"], said["data"]["data"]) == (job_id, number)
        await scene.succeed(claimed[ids[0]], "x")
        assert (await heard(websocket))["data"]["result"] == "x"
        await scene.fail(claimed[ids[1]])
        end = await heard(websocket)
        assert (end["event"], end["data"]["error"]["code"]) == ("failed", "agent_error")
        await scene.until_followed(1)
    await scene.until_followed(0)


async def test_what_is_left_is_heard_no_more(server, scene):
    ids = [await submit(server.client) for _ in range(2)]
    claimed = {job.id: job for job in await scene.claim(2)}
    async with dial(server) as websocket:
        await ask(websocket, subscribe=ids)
        for _ in range(2):
            await heard(websocket)
        await ask(websocket, unsubscribe=[ids[0]])
        await scene.until_followed(1)
        await scene.say(claimed[ids[0]], "unheard")
        await scene.say(claimed[ids[1]], "heard")
        assert (await heard(websocket))["id"] == ids[1]
        await ask(websocket, subscribe=[{"id": ids[0], "after": 0}])
        again = [await heard(websocket) for _ in range(2)]
        assert [(one["id"], one["event"]) for one in again] == [(ids[0], "status"), (ids[0], "piece")]


async def test_who_subscribes_goes_on_where_it_was(server, scene):
    job_id = await submit(server.client)
    (job,) = await scene.claim()
    await scene.say(job, *range(700))
    async with dial(server) as websocket:
        await ask(websocket, subscribe=[{"id": job_id, "after": 100}])
        assert (await heard(websocket))["event"] == "status"
        assert [(await heard(websocket))["seq"] for _ in range(600)] == list(range(101, 701))


async def test_a_job_of_another_tenant_is_not_there(server, scene):
    job_id = await submit(server.client)
    async with dial(server, "other") as websocket:
        await ask(websocket, subscribe=[job_id, UNKNOWN, "x\0"])
        for wanted in (job_id, UNKNOWN, "x\0"):
            said = await heard(websocket)
            assert (said["id"], said["event"], said["data"]["code"]) == (wanted, "error", "job_not_found")
    assert scene.hub.jobs_followed == 0


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "7",
        '{"subscribe": {}}',
        '{"subscribe": [7]}',
        '{"subscribe": [{}]}',
        '{"subscribe": [{"id": 7}]}',
        '{"subscribe": [{"id": "x", "after": -1}]}',
        '{"subscribe": [{"id": "x", "after": "1"}]}',
        '{"subscribe": [{"id": "x", "after": true}]}',
        '{"subscribe": [{"id": "x", "after": 1e300}]}',
        '{"subscribe": [{"id": "x", "since": 1}]}',
        '{"unsubscribe": [7]}',
        '{"unsubscribe": "x"}',
        '{"subscripe": []}',
        "[" * 100,
        b"\x00\xff",
        "x" * 1_100_000,
    ],
)
async def test_a_message_that_means_nothing_is_answered_and_survived(server, scene, message):
    job_id = await submit(server.client)
    async with dial(server, max_size=None) as websocket:
        await websocket.send(message)
        said = await heard(websocket)
        assert said["event"] == "error"
        assert said["data"]["code"] in {"validation_error", "invalid_json"}
        await ask(websocket, subscribe=[job_id])
        assert (await heard(websocket))["data"]["status"] == "queued"


async def test_subscriptions_are_bounded(server, scene, monkeypatch):
    monkeypatch.setattr("corral.server.job_socket.SUBSCRIPTIONS_MAX", 2)
    ids = [await submit(server.client) for _ in range(3)]
    async with dial(server) as websocket:
        await ask(websocket, subscribe=ids)
        said = [await heard(websocket) for _ in range(3)]
        assert sorted(one["event"] for one in said) == ["error", "status", "status"]
        await scene.until_followed(2)


async def test_a_worker_that_leaves_closes(server, scene):
    async with dial(server) as idle, dial(server) as busy:
        await ask(busy, subscribe=[await submit(server.client)])
        await heard(busy)
        scene.hub.drain()
        for websocket in (idle, busy):
            with pytest.raises(ConnectionClosed):
                await heard(websocket)
            assert websocket.close_code == 1012


async def test_a_job_that_was_removed_says_so(server, scene):
    async with dial(server) as websocket:
        await ask(websocket, subscribe=[await submit(server.client)])
        await heard(websocket)
        (topic,) = scene.hub._topics.values()
        topic.gone = True
        topic.wake()
        assert (await heard(websocket))["data"]["code"] == "job_not_found"


async def test_strangers_and_other_addresses_are_refused(server):
    for path, headers in (("/v1/jobs/stream", {}), ("/v1/jobs/streams", key_of("acme")), ("/ws", key_of("acme"))):
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None, additional_headers=headers)
        assert caught.value.response.status_code == 403
