"""Corral's side of `bench/jobs.py`: one worker process with everything on."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from corral import App
from corral.backends.open import open_stores
from corral.backends.stores import Stores
from corral.clock import new_time_id
from corral.jobs.desk import JobDesk
from corral.jobs.drafting import Caller
from corral.jobs.hub import JobHub
from corral.jobs.job import JobDraft
from corral.jobs.request import JobRequest
from corral.server.interpreter import settle
from corral.settings.load import load_settings
from corral.settings.sections import JobSettings
from corral.wiring.service import Service

BATCH = 1000
RUNS, STEPS = 16, 50
BEHIND = 1
"""The priority of jobs that only wait behind the others."""

Figures = dict[str, float]


class Counted:
    """An app with the trivial job, one of steps, and a count of the runs."""

    def __init__(self) -> None:
        self.app = App()
        self.left = 0
        self.done = asyncio.Event()
        self.began: dict[int, float] = {}
        """When numbered jobs began."""
        self.app.entrypoint(self.trivial)
        self.app.entrypoint(name="steps")(self.steps)

    async def trivial(self, payload: Any) -> Any:
        """The trivial job."""
        if payload:
            self.began[payload["number"]] = time.perf_counter()
        await asyncio.sleep(0)
        self.left -= 1
        if self.left == 0:
            self.done.set()
        return payload

    async def steps(self, payload: int, context: Any) -> int:
        """Steps, one after the other."""
        for number in range(payload):
            await context.step("step", self.step, number)
        return payload

    async def step(self, number: int) -> int:
        """The trivial step."""
        return number


def drafts(count: int, *, tenant: str = "default", **more: Any) -> list[JobDraft]:
    """So many trivial jobs."""
    now = time.time()
    return [JobDraft(id=new_time_id(now), tenant=tenant, agent="main", input=b"{}", **more) for _ in range(count)]


async def fill(stores: Stores, count: int, **more: Any) -> float:
    """Enqueue in batches; how many a second."""
    batches = [drafts(min(BATCH, count - first), **more) for first in range(0, count, BATCH)]
    started = time.perf_counter()
    for batch in batches:
        await stores.jobs.enqueue(batch)
    return count / (time.perf_counter() - started)


@asynccontextmanager
async def serving(counted: Counted, url: str) -> AsyncIterator[Service]:
    """The service, working; the interpreter as workers have it."""
    flags = {"store.url": url, "jobs.ageing_s": 86_400, "observability.log_level": "warning"}
    service = counted.app.build(load_settings(flags=flags).settings)
    await service.start()
    settle()
    try:
        yield service
    finally:
        service.begin_drain()
        service.cancel_running()
        await service.stop()


async def measure(options: argparse.Namespace) -> Figures:
    """Enqueue before the worker starts, drain, then single jobs, then steps."""
    figures: Figures = {}
    counted = Counted()
    stores = open_stores(options.store)
    await stores.start()
    if options.behind:
        await fill(stores, options.behind, priority=BEHIND)
    figures["enqueue_batch_per_s"] = await fill(stores, options.jobs)
    if not options.only_drain:
        figures["enqueue_per_s"] = await one_by_one(stores, options.jobs // 4)
    counted.left = options.jobs if options.only_drain else options.jobs + options.jobs // 4
    count = counted.left
    started = time.perf_counter()
    async with serving(counted, options.store) as service:
        await counted.done.wait()
        while not options.behind and await stores.job_records.depth("default", limit=1):  # noqa: ASYNC110 - asked as users do
            await asyncio.sleep(0.001)
        figures["drain_per_s"] = count / (time.perf_counter() - started)
        if not options.only_drain:
            await asyncio.sleep(1)
            figures["result_ms"] = await latency(service.desk, options.idle)
            figures["result_apart_ms"] = await apart(options)
            figures["steps_per_s"] = await steps(service)
    await stores.stop()
    return figures


async def one_by_one(stores: Stores, count: int) -> float:
    """Single jobs handed in, 32 at a time."""
    desk = JobDesk(stores.jobs, stores.job_records, JobHub(stores.jobs, stores.job_records), JobSettings())
    waiting = iter(range(count))

    async def producer() -> None:
        for _ in waiting:
            await desk.submit(Caller(tenant="default"), JobRequest(agent="main", input={}))

    started = time.perf_counter()
    await asyncio.gather(*(producer() for _ in range(32)))
    return count / (time.perf_counter() - started)


async def latency(desk: JobDesk, idle: int) -> float:
    """Milliseconds from handing in to having the result, in an idle queue."""
    times = []
    for _ in range(idle):
        began = time.perf_counter()
        _, found = await desk.run(Caller(tenant="default"), JobRequest(agent="main", input={}), 30)
        times.append((time.perf_counter() - began) * 1000)
        assert found is not None
        assert found.status == "succeeded"
        await asyncio.sleep(0.005)
    return statistics.median(times)


async def apart(options: argparse.Namespace) -> float:
    """The same, asked for by another process."""
    asker = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--store", options.store, "--idle", str(options.idle), "--ask", stdout=PIPE
    )
    said, _ = await asker.communicate()
    return float(said)


async def ask(options: argparse.Namespace) -> float:
    """What the other process does."""
    stores = open_stores(options.store)
    await stores.start()
    hub = JobHub(stores.jobs, stores.job_records)
    await hub.start()
    found = await latency(JobDesk(stores.jobs, stores.job_records, hub, JobSettings()), options.idle)
    await hub.stop()
    await stores.stop()
    return found


async def steps(service: Service) -> float:
    """Durable steps a second, of several runs at once."""
    caller = Caller(tenant="default")
    started = time.perf_counter()
    jobs = [await service.desk.submit(caller, JobRequest(agent="steps", input=STEPS)) for _ in range(RUNS)]
    for job in jobs:
        found = await service.desk.get("default", job.id, wait_s=60)
        assert found.status == "succeeded", found
    return RUNS * STEPS / (time.perf_counter() - started)


async def fairness(options: argparse.Namespace) -> Figures:
    """How long one tenant's jobs wait until they run, alone and while another tenant floods the queue."""
    counted = Counted()
    stores = open_stores(options.store)
    await stores.start()
    async with serving(counted, options.store) as service:
        figures = await pickup_p99(counted, service, "idle", options.idle)
    await fill(stores, options.jobs, tenant="flood")
    async with serving(counted, options.store) as service:
        figures |= await pickup_p99(counted, service, "flooded", options.idle)
        figures["still_queued"] = float(await stores.job_records.depth("default", limit=options.jobs))
    await stores.stop()
    return figures


async def pickup_p99(counted: Counted, service: Service, name: str, count: int) -> Figures:
    """99th percentiles of milliseconds: from being written to being claimed, and from being asked for to its first line."""
    claimed, begun = [], []
    for number in range(1, count + 1):
        asked = time.perf_counter()
        job = await service.desk.submit(Caller(tenant="small"), JobRequest(agent="main", input={"number": number}))
        found = await service.desk.get("small", job.id, wait_s=60)
        claimed.append(((found.started_at or 0.0) - found.created_at) * 1000)
        begun.append((counted.began[number] - asked) * 1000)
        await asyncio.sleep(0.01)
    return {f"{name}_p99_ms": _p99(claimed), f"{name}_begun_p99_ms": _p99(begun)}


def _p99(times_ms: list[float]) -> float:
    return statistics.quantiles(times_ms, n=100)[98]


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--behind", type=int, default=0)
    parser.add_argument("--idle", type=int, default=50)
    parser.add_argument("--only-drain", action="store_true")
    parser.add_argument("--fair", action="store_true", help="only what one tenant feels of another's flood")
    parser.add_argument("--ask", action="store_true", help="only the latency, of a worker in another process")
    options = parser.parse_args()
    task = ask if options.ask else fairness if options.fair else measure
    print(json.dumps(uvloop.run(task(options))))


if __name__ == "__main__":
    main()
