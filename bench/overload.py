"""Three times the load that a server can carry, with and without `priorities`: who gets what.

    python bench/overload.py                  about half a minute
    python bench/overload.py --seconds 3 --json

The agent asks something behind it that serves so many at once and then gets slower, as a model on one GPU does. All servers are real
processes, the load comes over HTTP from this one. What each class gets is its 95th percentile and how many answers; refused calls are
not answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load import Result, load, request_bytes
from runtime import BIN, answers, environment, free_port

AGENTS = """
import asyncio
import random

from corral import App

app = App()
running = 0


@app.entrypoint
async def answer(payload):
    global running
    running += 1
    try:
        await asyncio.sleep({latency_s} * max(1.0, running / {knee}) * random.uniform(0.7, 1.3))
    finally:
        running -= 1
    return "done"
"""
KEYS = {"premium": "premium", "usual": "", "background": ""}
CLASSES = {"premium": {}, "usual": {}, "background": {"x-corral-priority": "1"}}
SHARES = {"premium": 0.15, "usual": 0.35, "background": 0.5}


@contextmanager
def server(latency_s: float, knee: int, *, with_priorities: bool) -> Iterator[int]:
    """A server on a free port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "agents.py").write_text(AGENTS.format(latency_s=latency_s, knee=knee), encoding="utf-8")
        said = {
            "security": {"api_keys": [{"key": name, "tier": tier} for name, tier in KEYS.items()]},
            "priorities": {"enabled": with_priorities},
            "observability": {"traces": False, "access_log": False},
            "models": {"gateway": False},
        }
        Path(folder, "corral.yaml").write_text(json.dumps(said), encoding="utf-8")
        process = subprocess.Popen(
            [str(BIN / "corral"), "serve", "--port", str(port)],
            cwd=folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 30
            while not answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit("The server did not start.")
                time.sleep(0.01)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def request_of(name: str) -> bytes:
    """A question of that class."""
    return request_bytes("/invocations", b'{"prompt": "hi"}', {"x-api-key": name, **CLASSES[name]})


async def together(port: int, callers: dict[str, int], seconds: float) -> dict[str, Result]:
    """All classes at once, each with so many callers who ask again when they are answered."""
    some = {name: count for name, count in callers.items() if count}
    results = await asyncio.gather(*(load(port, [request_of(name)], count, seconds) for name, count in some.items()))
    return dict(zip(some, results, strict=True))


def measure(seconds: float, latency_s: float, knee: int, times: float) -> dict[str, Any]:
    """Unloaded, loaded without, loaded with."""
    callers = {name: max(1, round(knee * times * share)) for name, share in SHARES.items()}
    found: dict[str, Any] = {"latency_ms": latency_s * 1000, "knee": knee, "callers": callers}
    for name, with_priorities in (("without", False), ("with", True)):
        with server(latency_s, knee, with_priorities=with_priorities) as port:
            if with_priorities:
                quiet = asyncio.run(together(port, {"premium": 2}, seconds / 2))
                found["unloaded"] = shown(quiet)
            found[name] = shown(asyncio.run(together(port, callers, seconds)))
    found["premium_times_unloaded"] = {
        name: round(found[name]["premium"]["p95_ms"] / found["unloaded"]["premium"]["p95_ms"], 2)
        for name in ("without", "with")
    }
    return found


def shown(results: dict[str, Result]) -> dict[str, Any]:
    """What each class got."""
    return {
        name: {
            "p50_ms": round(result.percentile_ms(0.5), 1),
            "p95_ms": round(result.percentile_ms(0.95), 1),
            "answers_per_s": round(result.statuses.get(200, 0) / result.seconds, 1),
            "refused": sum(count for status, count in result.statuses.items() if status != 200),
        }
        for name, result in results.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--latency-s", type=float, default=0.1)
    parser.add_argument("--knee", type=int, default=20)
    parser.add_argument("--times", type=float, default=3.0, help="so many times what can be carried")
    parser.add_argument("--json", action="store_true")
    said = parser.parse_args()
    found = measure(said.seconds, said.latency_s, said.knee, said.times)
    if said.json:
        json.dump(found, sys.stdout, indent=2)
        return
    print(f"{'':10}{'':12}{'p50 ms':>10}{'p95 ms':>10}{'answers/s':>12}{'refused':>10}")
    for part in ("unloaded", "without", "with"):
        for name, one in found[part].items():
            print(
                f"{part:10}{name:12}{one['p50_ms']:>10}{one['p95_ms']:>10}{one['answers_per_s']:>12}{one['refused']:>10}"
            )
    print("premium p95 against unloaded:", found["premium_times_unloaded"])


if __name__ == "__main__":
    main()
