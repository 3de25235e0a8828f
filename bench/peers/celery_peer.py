"""Celery: one prefork process, Redis as broker and for results (a Valkey that syncs its log every second)."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from celery import Celery

PORT = os.environ.get("BENCH_VALKEY_PORT", "6379")
app = Celery("celery_peer", broker=f"redis://127.0.0.1:{PORT}/0", backend=f"redis://127.0.0.1:{PORT}/1")
app.conf.task_acks_late = True
app.conf.worker_hijack_root_logger = False


@app.task(name="job")
def job(number: int) -> int:
    """The trivial job."""
    return number


def measure(jobs: int, idle: int) -> dict[str, float]:
    """Enqueue before the worker starts, drain, then single jobs."""
    figures: dict[str, float] = {}
    started = time.perf_counter()
    results = [job.delay(number) for number in range(jobs)]
    figures["enqueue_per_s"] = jobs / (time.perf_counter() - started)
    command = [sys.executable, "-m", "celery", "-A", "celery_peer", "worker", "-c", "1", "-l", "CRITICAL"]
    worker = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results[0].get(timeout=60)  # the worker is up
    started = time.perf_counter()
    done = sum(result.ready() for result in results[:: max(1, jobs // 50)]) * max(1, jobs // 50)
    results[-1].get(timeout=120)
    figures["drain_per_s"] = max(1, jobs - done) / (time.perf_counter() - started)
    times = []
    for number in range(idle):
        began = time.perf_counter()
        job.delay(number).get(timeout=20)
        times.append((time.perf_counter() - began) * 1000)
    figures["result_ms"] = statistics.median(times)
    worker.terminate()
    worker.wait()
    return figures


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--idle", type=int, default=50)
    parser.add_argument("--inside", action="store_true")
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(measure(options.jobs, options.idle)), flush=True)
        return
    from valkey_server import valkey

    with valkey() as port:
        command = [sys.executable, __file__, "--inside", "--jobs", str(options.jobs), "--idle", str(options.idle)]
        subprocess.run(command, check=True, env={**os.environ, "BENCH_VALKEY_PORT": str(port)})


if __name__ == "__main__":
    main()
