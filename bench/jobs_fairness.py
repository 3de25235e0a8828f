"""What a quiet tenant feels of a loud one: how long its jobs wait until they run, alone and beside 200,000 of another.

    python bench/jobs_fairness.py                       both engines, about a minute
    python bench/jobs_fairness.py --engine sqlite --flood 20000

One process serves and works, with everything on. Three times in one run the quiet tenant hands in one job after the other:
with nothing else to do (`idle`), beside the jobs of the loud one (`flooded`), and while that one hands in more (`filling`).

`begun` is what a caller feels: from asking for a job to the first line of the agent. `claimed` is the store's own part of it,
from the time the job was written to the time a worker took it; SQLite claims for an idle worker in the transaction that
writes, so there the idle figure is none at all, and only `begun` can be compared. The interpreter is set as servers set it: else
every half second a pass of the collector over all that is loaded makes the slowest 1 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from corral import App
from corral.backends.open import open_stores
from corral.backends.stores import Stores
from corral.clock import new_time_id
from corral.jobs.drafting import Caller
from corral.jobs.job import JobDraft
from corral.jobs.request import JobRequest
from corral.server.interpreter import settle
from corral.settings.load import load_settings
from corral.testing.servers.postgres import PostgresServer
from corral.wiring.service import Service
from worn_log import wear_in

ENGINES = ("sqlite", "postgresql")
BATCH = 1000
AIM = 3.0
PAUSE_S = 0.01
QUIET, LOUD = "quiet", "loud"

Figures = dict[str, float]


class Scene:
    """An app with the trivial job, and when the quiet tenant's began."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.runs = 0
        self.app = App()
        self.app.entrypoint(self.main)
        self._began: dict[int, float] = {}
        self._number = 0

    async def main(self, payload: Any) -> Any:
        """The trivial job."""
        if payload is not None:
            self._began[payload] = time.perf_counter()
        self.runs += 1
        await asyncio.sleep(0)
        return payload

    async def sampled(self, service: Service, name: str, until: asyncio.Task[None] | None = None) -> Figures:
        """One job after the other, so many or until that task is done."""
        claimed: list[float] = []
        begun: list[float] = []
        while (len(begun) < self.samples) if until is None else not until.done():
            self._number += 1
            asked = time.perf_counter()
            job = await service.desk.submit(Caller(tenant=QUIET), JobRequest(agent="main", input=self._number))
            found = await service.desk.get(QUIET, job.id, wait_s=60)
            assert found.started_at is not None, found
            claimed.append((found.started_at - found.created_at) * 1000)
            begun.append((self._began[self._number] - asked) * 1000)
            await asyncio.sleep(PAUSE_S)
        return {f"{name} samples": len(begun), **_spread(f"{name} begun", begun), **_spread(f"{name} claimed", claimed)}


def _spread(name: str, times_ms: list[float]) -> Figures:
    return {f"{name} p50 ms": statistics.median(times_ms), f"{name} p99 ms": statistics.quantiles(times_ms, n=100)[98]}


async def fill(stores: Stores, count: int) -> None:
    """The loud tenant hands in its jobs, a batch after the other."""
    now = time.time()
    for first in range(0, count, BATCH):
        drafts = [
            JobDraft(id=new_time_id(now), tenant=LOUD, agent="main", input=b"null")
            for _ in range(min(BATCH, count - first))
        ]
        await stores.jobs.enqueue(drafts)


@asynccontextmanager
async def serving(scene: Scene, url: str) -> AsyncIterator[Service]:
    """The service, warm."""
    flags = {"store.url": url, "jobs.ageing_s": 86_400, "observability.log_level": "warning"}
    service = scene.app.build(load_settings(flags=flags).settings)
    await service.start()
    settle()
    try:
        await scene.sampled(service, "", asyncio.create_task(asyncio.sleep(1)))  # all that is loaded once
        yield service
    finally:
        service.begin_drain()
        service.cancel_running()
        await service.stop()


async def measure(url: str, options: argparse.Namespace) -> Figures:
    """All three, in one process."""
    scene = Scene(options.samples)
    stores = open_stores(url)
    await stores.start()
    async with serving(scene, url) as service:
        figures = await scene.sampled(service, "idle")
    await fill(stores, options.flood)
    async with serving(scene, url) as service:
        before, began = scene.runs, time.perf_counter()
        figures |= await scene.sampled(service, "flooded")
        figures["flooded jobs/s"] = (scene.runs - before) / (time.perf_counter() - began)
        figures["still queued"] = float(await stores.job_records.depth("default", limit=options.flood))
        if options.filling:
            figures |= await scene.sampled(service, "filling", asyncio.create_task(fill(stores, options.filling)))
    await stores.stop()
    if not figures["still queued"]:
        raise SystemExit("The flood was over too soon: ask for a larger one.")
    for name in ("flooded", "filling") if options.filling else ("flooded",):
        for what in ("begun", "claimed"):
            if idle := figures[f"idle {what} p99 ms"]:
                figures[f"{name} / idle, {what} p99"] = figures[f"{name} {what} p99 ms"] / idle
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, action="append", help="may come twice; both if it is not given")
    parser.add_argument("--flood", type=int, default=200_000)
    parser.add_argument("--filling", type=int, default=20_000, help="0: leave that out")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--new-log", action="store_true", help="on a PostgreSQL that still makes the files of its log")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        postgres = PostgresServer(Path(folder) / "postgres")
        for engine in options.engine or ENGINES:
            url = f"sqlite:///{folder}/jobs.db"
            if engine == "postgresql":
                postgres.attach(fsync=True)
                url = postgres.url()
                if not options.new_log:
                    asyncio.run(wear_in(url))
            figures = uvloop.run(measure(url, options))
            if options.json:
                print(json.dumps({"engine": engine, **figures}), flush=True)
                continue
            print(f"{engine} (aim: {AIM:g} x idle)")
            for name, value in figures.items():
                print(f"  {name:32} {value:10,.2f}", flush=True)
        postgres.detach()


if __name__ == "__main__":
    main()
