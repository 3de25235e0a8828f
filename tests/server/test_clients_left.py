"""Who leaves before the answer is whole is counted as that, and is no error of the server's."""

from __future__ import annotations

import asyncio

import pytest

from corral.app import App
from corral.wiring.service import Service
from serving import Served, settings_at

HEADERS = {"authorization": "Bearer key"}
PATH = "/v1/agents/main/invocations"


class Leaving:
    """An agent that is asked by a client that leaves while it waits."""

    def __init__(self, how: str) -> None:
        self.asked = asyncio.Event()
        self._how = how

    async def whole(self, _payload: dict) -> str:
        self.asked.set()
        await self._wait()
        return "to nobody"

    async def streamed(self, _payload: dict):
        yield "first"
        self.asked.set()
        await self._wait()
        yield "to nobody"

    async def _wait(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self._how == "fails":
                raise ValueError("It was interrupted.") from None
            if self._how == "ends":
                raise


@pytest.fixture
async def serve(tmp_path, monkeypatch):
    """A server of an agent, and what its access log is told."""
    running = []

    async def make(agent):
        app = App()
        app.entrypoint(agent)
        served = Served(Service(app, settings_at(tmp_path, security={"api_keys": [{"key": "key", "tenant": "acme"}]})))
        await served.start()
        running.append(served)
        lines: asyncio.Queue[dict] = asyncio.Queue()
        monkeypatch.setattr(served.service.observing.logs, "access", lambda _now, fields: lines.put_nowait(fields))
        return served, lines

    yield make
    for served in running:
        await served.stop()


async def assert_counted(served, line, status, route, method):
    assert (line["event"], line["status"], line["path"]) == ("client left", status, route)
    assert "error" not in line
    metrics = (await served.client.get("/metrics", headers=HEADERS)).text
    assert f'corral_http_clients_left_total{{route="{route}"}} 1' in metrics
    assert f'corral_http_responses_total{{route="{route}",method="{method}",status="{status}"}} 1' in metrics


@pytest.mark.parametrize("how", ["ends", "fails", "answers all the same"])
@pytest.mark.parametrize(("shape", "status"), [("whole", 499), ("streamed", 200)])
async def test_a_client_that_leaves_an_agent_is_no_error(serve, monkeypatch, shape, status, how):
    agent = Leaving(how)
    served, lines = await serve(getattr(agent, shape))
    kept: list[object] = []
    monkeypatch.setattr(served.service.observing.traces, "keep", kept.append)
    asking = asyncio.create_task(served.client.post(PATH, json={"prompt": "x"}, headers=HEADERS))
    async with asyncio.timeout(10):
        await agent.asked.wait()
        asking.cancel()
        line = await lines.get()
    await assert_counted(served, line, status, "/v1/agents/{name}/invocations", "POST")
    assert not kept


async def test_who_follows_a_job_no_longer_is_counted_as_well(serve):
    agent = Leaving("ends")
    served, lines = await serve(agent.whole)
    job = (await served.client.post("/v1/jobs", json={"agent": "main", "input": {}}, headers=HEADERS)).json()
    async with asyncio.timeout(10):
        await lines.get()
        headers = HEADERS | {"accept": "text/event-stream"}
        await agent.asked.wait()
        async with served.client.stream("GET", f"/v1/jobs/{job['id']}/events", headers=headers) as answer:
            await anext(answer.aiter_raw())
        line = await lines.get()
    await assert_counted(served, line, 200, "/v1/jobs/{id}/events", "GET")
