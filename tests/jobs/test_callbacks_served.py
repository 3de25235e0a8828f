"""Callbacks and schedules by way of a whole server."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from corral.app import App
from corral.jobs.signing import verify
from listening import Listening, read_request

SECRET = "whsec_" + base64.b64encode(b"a secret of at least twenty-four bytes").decode()
JOBS = {"callback_secret": SECRET, "callback_allow": ["127.0.0.1"]}


@pytest.fixture
def app():
    app = App()

    @app.entrypoint
    async def invoke(payload):
        return {"answer": payload["question"]}

    return app


async def test_the_end_of_a_job_is_posted_and_signed(serve, app):
    heard = asyncio.Queue()

    async def behave(reader, writer):
        heard.put_nowait(await read_request(reader))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with Listening(behave) as receiver:
        server = await serve(app, jobs=JOBS)
        asked = {"agent": "main", "input": {"question": 42}}
        asked["callback"] = {"url": f"http://127.0.0.1:{receiver.port}/hook", "headers": {"X-Mine": "yes"}}
        answer = await server.client.post("/v1/jobs", json=asked)
        assert answer.status_code == 202, answer.text
        async with asyncio.timeout(10):
            head, body = await heard.get()
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
    assert verify(body, headers, SECRET)
    assert headers["x-mine"] == "yes"
    said = json.loads(body)
    assert said["type"] == "job.succeeded"
    assert said["data"]["id"] == answer.json()["id"]
    assert said["data"]["result"] == {"answer": 42}


@pytest.mark.parametrize(
    ("jobs", "url", "said"),
    [
        (JOBS, "http://169.254.169.254/latest/meta-data", "not public"),
        (JOBS, "file:///etc/passwd", "http"),
        ({}, "https://hooks.example/", "jobs.callback_secret"),
    ],
)
async def test_a_callback_that_can_never_be_sent_is_refused(serve, app, jobs, url, said):
    server = await serve(app, jobs=jobs)
    answer = await server.client.post("/v1/jobs", json={"agent": "main", "input": {}, "callback": {"url": url}})
    assert answer.status_code == 400
    assert said in answer.text


async def test_a_schedule_of_the_settings_runs(serve, app):
    entry = {"cron": "@every 1s", "agent": "main", "input": {"question": 1}}
    server = await serve(app, jobs={"schedules": {"tick": entry}})
    async with asyncio.timeout(20):
        while True:
            jobs = (await server.client.get("/v1/jobs?tag=schedule:settings:tick&status=succeeded")).json()
            if jobs["items"]:
                break
            await asyncio.sleep(0.05)  # by the clock on the wall, which no test turns
