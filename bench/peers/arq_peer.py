"""arq: jobs with results, on Redis (a Valkey that syncs its log every second)."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from valkey_server import valkey


async def job(_: object, number: int) -> int:
    """The trivial job."""
    await asyncio.sleep(0)
    return number


async def measure(port: int, jobs: int, idle: int) -> dict[str, float]:
    """Enqueue before the worker starts, drain, then single jobs."""
    figures: dict[str, float] = {}
    settings = RedisSettings(port=port)
    pool = await create_pool(settings)
    started = time.perf_counter()
    for first in range(0, jobs, 32):
        await asyncio.gather(*(pool.enqueue_job("job", n) for n in range(first, min(first + 32, jobs))))
    figures["enqueue_per_s"] = jobs / (time.perf_counter() - started)
    worker = Worker([job], redis_settings=settings, poll_delay=0.05, max_jobs=64, handle_signals=False)
    started = time.perf_counter()
    running = asyncio.create_task(worker.main())
    while worker.jobs_complete < jobs:
        await asyncio.sleep(0.005)
    figures["drain_per_s"] = jobs / (time.perf_counter() - started)
    times = []
    for number in range(idle):
        began = time.perf_counter()
        queued = await pool.enqueue_job("job", number)
        assert queued is not None
        await queued.result(poll_delay=0.002)
        times.append((time.perf_counter() - began) * 1000)
    figures["result_ms"] = statistics.median(times)
    running.cancel()
    return figures


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--idle", type=int, default=50)
    options = parser.parse_args()
    with valkey() as port:
        print(json.dumps(asyncio.run(measure(port, options.jobs, options.idle))), flush=True)


if __name__ == "__main__":
    main()
