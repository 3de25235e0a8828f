"""DBOS: queued workflows that return what they got, and workflows of steps."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time

from dbos import DBOS, DBOSClient


@DBOS.workflow()
async def job(number: int) -> int:
    """The trivial job."""
    await asyncio.sleep(0)
    return number


@DBOS.step()
async def step(number: int) -> int:
    """The trivial step."""
    return number


@DBOS.workflow()
async def stepping(count: int) -> int:
    """Steps, one after the other."""
    for number in range(count):
        await step(number)
    return count


async def measure(url: str, jobs: int, idle: int) -> dict[str, float]:
    """Enqueue before the worker starts, drain, then single jobs, then steps."""
    figures: dict[str, float] = {}
    setup = DBOSClient(system_database_url=url)
    started = time.perf_counter()
    handles = [
        setup.enqueue({"queue_name": "bench", "workflow_name": "job", "workflow_id": f"drain-{time.time_ns()}-{n}"}, n)
        for n in range(jobs)
    ]
    figures["enqueue_per_s"] = jobs / (time.perf_counter() - started)
    DBOS.launch()
    started = time.perf_counter()
    await DBOS.register_queue_async("bench", polling_interval_sec=0.05)
    while True:
        left = await DBOS.list_queued_workflows_async(queue_name="bench", limit=1)
        if not left:
            break
        await asyncio.sleep(0.02)
    await asyncio.to_thread(handles[-1].get_result)
    figures["drain_per_s"] = jobs / (time.perf_counter() - started)
    times = []
    for number in range(idle):
        began = time.perf_counter()
        handle = await DBOS.enqueue_workflow_async("bench", job, number)
        await handle.get_result(polling_interval_sec=0.005)
        times.append((time.perf_counter() - began) * 1000)
    figures["result_ms"] = statistics.median(times)
    runs, steps = 16, 20
    started = time.perf_counter()
    flows = [await DBOS.start_workflow_async(stepping, steps) for _ in range(runs)]
    for flow in flows:
        await flow.get_result(polling_interval_sec=0.005)
    figures["steps_per_s"] = runs * steps / (time.perf_counter() - started)
    return figures


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--idle", type=int, default=50)
    parser.add_argument("--make-schema", action="store_true")
    options = parser.parse_args()
    DBOS(
        config={
            "name": "bench",
            "system_database_url": options.store,
            "use_listen_notify": options.store.startswith("postgres"),
            "log_level": "ERROR",
        }
    )
    if options.make_schema:
        DBOS.launch()
        os._exit(0)
    subprocess.run([sys.executable, __file__, "--store", options.store, "--make-schema"], check=True)
    print(json.dumps(asyncio.run(measure(options.store, options.jobs, options.idle))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
