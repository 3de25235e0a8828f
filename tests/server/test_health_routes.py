"""`/ping` to the byte, and what tells an orchestrator whether to send requests."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from corral.app import App
from corral.errors import ConfigError, StoreUnavailable
from corral.runtime import warmup
from corral.runtime.health import PingStatus


async def echo(payload):
    return payload


@pytest.fixture
def app():
    found = App()
    found.entrypoint(echo)
    return found


async def ping(server):
    return (await server.client.get("/ping")).json()


class Clock:
    def __init__(self):
        self.time = time.time()

    def now(self):
        return self.time


@pytest.fixture
def clock(app):
    app.health._clock = Clock()
    return app.health._clock


# -- /ping ------------------------------------------------------------------------------------------------------------


async def test_a_ping_to_the_byte(app, serve):
    app.health._changed_at = 1_700_000_000.9
    server = await serve(app)
    answer = await server.client.get("/ping")
    assert answer.content == b'{"status":"Healthy","time_of_last_update":1700000000}'
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    head = await server.client.head("/ping")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(answer.content))
    assert (await server.client.post("/ping")).status_code == 405
    assert (await server.client.get("/ping?x=1")).status_code == 200
    assert (await server.client.get("/p%69ng")).status_code == 200


async def test_the_time_moves_with_the_status_only(app, serve, clock):
    server = await serve(app)
    first = await ping(server)
    clock.time += 100
    assert await ping(server) == first
    task = app.add_async_task("job", {"file": "x"})
    clock.time += 100
    busy = await ping(server)
    assert busy == {"status": "HealthyBusy", "time_of_last_update": int(clock.time)}
    clock.time += 100
    assert await ping(server) == busy
    assert app.get_async_task_info() == {"active_count": 1, "running_jobs": [{"name": "job", "duration": 200.0}]}
    assert app.complete_async_task(task)
    assert not app.complete_async_task(task)
    assert await ping(server) == {"status": "Healthy", "time_of_last_update": int(clock.time)}


async def test_a_running_invocation_is_healthy_unless_the_operator_says_busy(serve):
    for busy in (False, True):
        app, gate, here = App(), asyncio.Event(), asyncio.Event()

        @app.entrypoint
        async def agent(payload, here=here, gate=gate):
            here.set()
            await gate.wait()

        server = await serve(app, runtime={"ping_busy_while_invoking": busy})
        asking = asyncio.create_task(server.invoke(1))
        await here.wait()
        assert (await ping(server))["status"] == ("HealthyBusy" if busy else "Healthy")
        gate.set()
        await asking
        assert (await ping(server))["status"] == "Healthy"


async def test_the_apps_own_handler_decides_and_may_be_overruled(app, serve):
    answers = iter(["HealthyBusy", PingStatus.HEALTHY_BUSY, ValueError("broken"), "Sick", None, "Healthy"])

    @app.ping
    def handler():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    server = await serve(app)
    assert [(await ping(server))["status"] for _ in range(5)] == ["HealthyBusy", "HealthyBusy", *["Healthy"] * 3]
    app.force_ping_status(PingStatus.HEALTHY_BUSY)
    assert app.get_current_ping_status() is PingStatus.HEALTHY_BUSY
    assert (await ping(server))["status"] == "HealthyBusy"
    app.clear_forced_ping_status()
    assert (await ping(server))["status"] == "Healthy"


def test_a_ping_handler_that_waits_is_refused(app):
    with pytest.raises(ConfigError, match="plain function"):

        @app.ping
        async def handler():
            return "Healthy"


async def test_a_background_task_is_busy_while_it_runs(app, serve):
    go_on = asyncio.Event()

    @app.async_task
    async def work(number, *, add):
        """Adds."""
        await go_on.wait()
        if add is None:
            raise ValueError("broken")
        return number + add

    assert (work.__name__, work.__doc__) == ("work", "Adds.")
    server = await serve(app)
    running = [asyncio.create_task(work(1, add=2)), asyncio.create_task(work(1, add=None))]
    await asyncio.sleep(0)
    assert (await ping(server))["status"] == "HealthyBusy"
    assert app.get_async_task_info()["active_count"] == 2
    go_on.set()
    assert await running[0] == 3
    with pytest.raises(ValueError, match="broken"):
        await running[1]
    assert (await ping(server))["status"] == "Healthy"


def test_only_coroutine_functions_are_background_tasks(app):
    with pytest.raises(ValueError, match="only be applied to async functions"):
        app.async_task(lambda: None)


async def test_a_draining_worker_says_so_and_refuses_new_work(app, serve):
    server = await serve(app)
    server.service.begin_drain()
    answer = await server.client.get("/ping")
    assert (answer.status_code, answer.json()["status"], answer.headers["connection"]) == (503, "Draining", "close")
    refused = await server.invoke(1)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert (await server.client.get("/readyz")).json() == {"status": "not ready", "failed": ["worker"]}
    assert (await server.client.get("/livez")).json() == {"status": "ok"}


# -- /livez, /readyz, /health -------------------------------------------------------------------------------------------


async def test_ready_means_that_everything_answers(app, serve):
    server = await serve(app)
    assert (await server.client.get("/livez")).json() == {"status": "ok"}
    assert (await server.client.get("/readyz")).json() == {"status": "ok", "failed": []}
    detail = (await server.client.get("/health")).json()
    assert detail["status"] == "ok"
    assert detail["in_flight"] == 0
    assert detail["ping"]["status"] == "Healthy"
    assert detail["parts"] == {name: {"status": "ok", "detail": ""} for name in ("worker", "store", "agent:main")}


async def test_a_store_that_is_away_is_not_ready(app, serve):
    async def away():
        raise StoreUnavailable("The store is away.")

    server = await serve(app)
    health = next(route.handler.__self__ for route in server.service.routes if route.path == "/readyz")
    health._check_store = away
    assert (await server.client.get("/readyz")).json()["failed"] == ["store"]
    detail = await server.client.get("/health")
    assert (detail.status_code, detail.json()["status"]) == (503, "failing")
    assert detail.json()["parts"]["store"] == {"status": "failed", "detail": "The store is away."}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(warmup, "_PAUSE_S", 0.01)
    monkeypatch.setattr(warmup, "_PAUSE_S_MAX", 0.02)


async def until_ready(server):
    async with asyncio.timeout(10):
        while (await server.client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - a thread brings it about
            await asyncio.sleep(0.01)


async def decided(server, agent):
    """What /health says of an agent once it is not just being built any more."""
    async with asyncio.timeout(10):
        while (found := (await parts(server))[f"agent:{agent}"])["status"] == "starting":  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.002)
    return found


async def parts(server):
    return (await server.client.get("/health")).json()["parts"]


@pytest.mark.usefixtures("quick")
async def test_a_worker_is_ready_when_its_agents_are_built_and_its_hooks_have_run(serve):
    app = App()
    go_on, built, warmed = threading.Event(), [], []

    def create():
        go_on.wait(10)
        built.append(1)
        if len(built) < 3:
            raise ValueError("not yet")
        return echo

    async def model():
        return "model"

    app.lazy(create, "billing")
    app.lazy(model)
    app.lazy(model)
    app.warmup(lambda: warmed.append("sync"))

    @app.warmup
    async def warm():
        warmed.append("async")

    server = await serve(app)
    found = await parts(server)
    assert found["agent:billing"] == {"status": "starting", "detail": "It is still being built."}
    assert {"warmup:model", "warmup:model#2", "warmup:<lambda>", "warmup:warm"} <= set(found)
    assert (await server.client.get("/readyz")).status_code == 503
    go_on.set()
    assert await decided(server, "billing") in (
        {"status": "failed", "detail": "ValueError: not yet"},
        {"status": "ok", "detail": ""},
    )
    await until_ready(server)
    assert sorted(warmed) == ["async", "sync"]
    assert (await server.invoke(5, "/v1/agents/billing/invocations")).json() == 5


@pytest.mark.usefixtures("quick")
async def test_what_a_factory_builds_must_be_something_to_call(serve):
    app = App()
    app.lazy(lambda: 42, "main")
    server = await serve(app)
    found = await decided(server, "main")
    assert found["status"] == "failed"
    assert "not something Corral can call" in found["detail"]
    answer = await server.invoke(1, "/v1/agents/main/invocations")
    assert (answer.status_code, answer.json()["code"]) == (500, "config_error")


async def test_a_request_does_not_wait_for_the_next_try(serve):
    app, built = App(), []

    def create():
        built.append(1)
        if len(built) == 1:
            raise ValueError("not yet")
        return echo

    app.lazy(create, "main")
    server = await serve(app)
    assert (await decided(server, "main"))["status"] == "failed"
    assert (await server.invoke(1)).json() == 1
    assert (await server.client.get("/readyz")).status_code == 200


async def test_starting_twice_is_starting_once(app, serve):
    ran = []
    app.warmup(lambda: ran.append(1))
    server = await serve(app)
    server.service.warmups.start()
    await server.service.start()
    await until_ready(server)
    assert ran == [1]


async def test_the_metrics_are_served_unless_switched_off(app, serve):
    server = await serve(app)
    await server.invoke(1)
    answer = await server.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'corral_requests_total{agent="main",outcome="ok"' in answer.text
    other = App()
    other.entrypoint(echo)
    off = await serve(other, observability={"metrics": False})
    assert (await off.client.get("/metrics")).status_code == 404
