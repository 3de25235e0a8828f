"""pgqueuer: jobs without results, on PostgreSQL."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from contextlib import suppress

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries


async def measure(url: str, jobs: int, idle: int) -> dict[str, float]:
    """Enqueue before the worker starts, drain; then single jobs, timed until the handler has run."""
    figures: dict[str, float] = {}
    producer = Queries(AsyncpgDriver(await asyncpg.connect(url)))
    with suppress(asyncpg.DuplicateObjectError, asyncpg.DuplicateTableError):
        await producer.install()
    started = time.perf_counter()
    for first in range(0, jobs, 1000):
        count = min(1000, jobs - first)
        await producer.enqueue(["job"] * count, [b"{}"] * count, [0] * count)
    figures["enqueue_batch_per_s"] = jobs / (time.perf_counter() - started)

    worker = PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))
    done = 0
    reached = asyncio.Event()
    target = jobs

    @worker.entrypoint("job")
    async def job(_: object) -> None:
        nonlocal done
        await asyncio.sleep(0)
        done += 1
        if done >= target:
            reached.set()

    started = time.perf_counter()
    running = asyncio.create_task(worker.run(batch_size=100))
    await reached.wait()
    figures["drain_per_s"] = jobs / (time.perf_counter() - started)
    await asyncio.sleep(1)
    times = []
    for _ in range(idle):
        reached.clear()
        target = done + 1
        began = time.perf_counter()
        await producer.enqueue("job", b"{}", 0)
        await reached.wait()
        times.append((time.perf_counter() - began) * 1000)
    figures["result_ms"] = statistics.median(times)
    worker.shutdown.set()
    with suppress(Exception):
        await asyncio.wait_for(running, 5)
    return figures


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--idle", type=int, default=50)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.store, options.jobs, options.idle))), flush=True)


if __name__ == "__main__":
    main()
