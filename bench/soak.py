"""The gateway at full rate for a long time: does memory grow, do answers get slower, is anything held that should have been given back?

    python bench/soak.py                     ten minutes
    python bench/soak.py --minutes 3

Everything is on: keys, exact cache, single-flight, routing, provider's limits, a budget, ledger, metrics, spans. Seven requests in ten are new
questions, two are streams, one was asked before. Minute by minute: rate, latencies, memory, tasks, open files. Ends with 1 if memory grows
by a megabyte a minute or more in the second half (in the first one caches fill), the last minute's median is 1.5 times the middle one's, or
something is held when nobody asks any more.
The load and the provider share one core; the gateway has the other one.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from load import Result, load, request_bytes
from models import CHAT, HERE, KEY, body, free_port, running

CONNECTIONS = 32
_KINDS = 10
_STREAMS = (3, 7)
_KNOWN = 5
_REST_S = 12.0
"""Leases of limits and of budgets end within this time once nobody asks."""
SLOPE_MAX = 1.0
SLOWER_MAX = 1.5
CONFIG = """
name: soak
security: {{api_keys: [{{key: "{key}", tenant: bench}}]}}
observability: {{access_log: false}}
models:
  providers:
    mock: {{kind: openai, base_url: "http://127.0.0.1:{provider}/v1", api_key: none, concurrency: 1000,
           requests_per_minute: 10000000, tokens_per_minute: 10000000000}}
  router: {{classes: {{simple_query: mock/gpt-4o-mini, complex_reasoning: mock/gpt-4o-mini, expert_task: mock/gpt-4o-mini}}}}
cache: {{exact: true, coalesce: always, entries_max: 20000}}
budgets: {{all: {{tokens: 1000000000, by: [session]}}}}
store: {{url: "sqlite:///{folder}/soak.db"}}
"""


class Questions:
    """Requests without end, mixed as said above."""

    def __init__(self) -> None:
        """None were asked."""
        self._number = 0
        whole, stream = (body("auto", stream=streams, salt="NUMBER") for streams in (False, True))
        self._whole, self._stream = whole, stream

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._number += 1
        kind = self._number % _KINDS
        salt = "known" if kind == _KNOWN else str(self._number)
        asked = (self._stream if kind in _STREAMS else self._whole).replace(b"NUMBER", salt.encode())
        session = f"s-{self._number % 500}"
        return request_bytes(CHAT, asked, {"authorization": f"Bearer {KEY}", "x-session-id": session})


def read(file: Path) -> list[dict[str, Any]]:
    """What the watcher wrote, but for a line that it is writing. Waits for the first one."""
    for _ in range(300):
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        if whole:
            return whole
        time.sleep(0.1)
    raise SystemExit("The gateway is not watched: nothing was written down about it.")


def slope(points: list[tuple[float, float]]) -> float:
    """Of the straight line through points that fits best."""
    count = len(points)
    middle_x, middle_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def main() -> int:
    """Run, show, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--minute-s", type=float, default=60.0, help="how long a minute is, for a quick look")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.sched_setaffinity(0, {0})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider, port, seen = free_port(), free_port(), folder / "seen.jsonl"
        stack.enter_context(
            running([sys.executable, str(HERE / "hosts" / "mock_provider.py"), str(provider)], provider, 0)
        )
        config = folder / "corral.yaml"
        config.write_text(CONFIG.format(key=KEY, provider=provider, folder=folder))
        watched = [sys.executable, str(HERE / "hosts" / "watched_gateway.py"), str(seen)]
        stack.enter_context(running([*watched, "gateway", "--port", str(port), "--config", str(config)], port, 1))
        first = time.monotonic()
        minutes = soaked(port, seen, given.minutes, given.minute_s, quiet=given.json)
        time.sleep(_REST_S)
        samples = read(seen)
    return judged(minutes, samples, first, given.minute_s, as_json=given.json)


def soaked(port: int, seen: Path, minutes: int, minute_s: float, *, quiet: bool) -> list[Result]:
    """One load after the other, each with connections of its own."""
    questions, results = Questions(), []
    for number in range(minutes):
        gc.collect()
        result = uvloop.run(load(port, questions, CONNECTIONS, minute_s))
        if set(result.statuses) != {200} or result.errors:
            raise SystemExit(f"minute {number + 1}: statuses {result.statuses}, {result.errors} errors")
        results.append(result)
        if not quiet:
            last = read(seen)[-1]
            print(
                f"minute {number + 1:3}  {result.per_second:7,.0f}/s   p50 {result.percentile_ms(0.5):6.2f} ms   "
                f"p99 {result.percentile_ms(0.99):7.2f} ms   {last['resident_mb']:6.1f} MB   {last['tasks']} tasks   "
                f"{last['files']} files",
                flush=True,
            )
    return results


def judged(
    minutes: list[Result], samples: list[dict[str, Any]], first: float, minute_s: float, *, as_json: bool
) -> int:
    """What it comes to; 1 if it is not what it should be."""
    middle = len(minutes) // 2
    warm = [one for one in samples if first + middle * minute_s <= one["at"] <= first + len(minutes) * minute_s]
    grows = slope([(one["at"] / 60, one["resident_mb"]) for one in warm])
    medians = [one.percentile_ms(0.5) for one in minutes]
    last = samples[-1]
    found = {
        "per_second": round(sum(len(one.latencies_s) for one in minutes) / sum(one.seconds for one in minutes)),
        "resident_mb": {"first": samples[0]["resident_mb"], "last": last["resident_mb"]},
        "grows_mb_per_minute": round(grows, 3),
        "p50_ms": [round(one, 2) for one in medians],
        "p99_ms": [round(one.percentile_ms(0.99), 2) for one in minutes],
        "at_rest": {name: last[name] for name in ("tasks", "running", "waiting", "reserved", "files", "threads")},
        "before": {name: samples[0][name] for name in ("tasks", "files", "threads")},
    }
    print(json.dumps(found) if as_json else "\n".join(f"{name:22} {value}" for name, value in found.items()))
    holds = any(last[name] for name in ("running", "waiting", "reserved"))
    return int(grows >= SLOPE_MAX or medians[-1] > SLOWER_MAX * medians[middle] or holds)


if __name__ == "__main__":
    sys.exit(main())
