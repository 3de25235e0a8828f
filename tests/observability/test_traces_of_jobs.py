"""What is recorded while jobs and tasks run, where nobody keeps their traces, is let go of when they are over."""

from __future__ import annotations

import httpx
import pytest

from corral import App, current_context, span

ONE_TASK = {"StartAt": "Look", "States": {"Look": {"Type": "Task", "Resource": "corral:function:look", "End": True}}}


class Seen:
    """The contexts of what ran, and how much was held back for each while it did."""

    def __init__(self):
        self.contexts = []
        self.held = []

    def note(self, payload):
        context = current_context()
        with span("inside"):
            pass
        self.contexts.append(context)
        self.held.append(len(context.traces.spans))
        if payload == {"fail": True}:
            raise ValueError("as asked")


@pytest.fixture
async def scene(build):
    seen = Seen()
    app = App()

    async def look(payload):
        seen.note(payload)

    app.entrypoint(look)
    app.function(look)
    service = await build(app, observability={"trace_sample": 0.0}, jobs={"attempts_max": 1})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral") as client:
        yield service, client, seen


async def test_of_a_job(scene):
    _, client, seen = scene
    answer = await client.post("/v1/jobs?wait=10s", json={"agent": "main", "input": {}})
    assert answer.json()["status"] == "succeeded", answer.text
    assert seen.held == [1]
    assert seen.contexts[0].traces.spans == []


async def test_of_a_task(scene):
    _, client, seen = scene
    made = await client.post("/v1/workflows", json={"name": "one", "definition": ONE_TASK})
    assert made.status_code == 201, made.text
    answer = await client.post("/v1/workflows/one/executions?wait=10s", json={"input": {}})
    assert answer.json()["status"] == "succeeded", answer.text
    assert seen.held == [1]
    assert seen.contexts[0].traces.spans == []


async def test_a_job_that_fails_keeps_them(scene):
    service, client, seen = scene
    answer = await client.post("/v1/jobs?wait=10s", json={"agent": "main", "input": {"fail": True}})
    assert answer.json()["status"] == "failed", answer.text
    traces = service.observing.traces
    assert seen.contexts[0].traces is traces
    await traces.drain()
    kept = await service.stores.spans.trace("default", seen.contexts[0].trace_id)
    assert {one.name for one in kept} == {"inside", "invoke_agent main"}
