"""Limits on who asks: how exactly processes keep to one together, and what a decision costs.

    .venv/bin/python bench/rates.py                        # four processes hammer one key for a minute, SQLite
    .venv/bin/python bench/rates.py --store postgresql://… --seconds 10
    .venv/bin/python bench/rates.py --cost                 # in memory, and on SQLite: what a request pays
    .venv/bin/python bench/rates.py --versus               # against the `limits` library, on one Valkey, in one run

Each worker is a process of its own that asks as fast as it can. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from corral.limits.rates import RateExceeded, Rates
from corral.limits.rules import Visitor
from corral.wiring.limiting import RateLimiter

ADA = Visitor(tenant="acme", user="ada")
PEER = Path(__file__).parent / "peers" / "limits_peer.py"
PEERS = Path(__file__).parents[1] / ".venv-limits" / "bin" / "python"


async def hammer(limiter: RateLimiter | Rates, seconds: float, *, at_once: int, users: int = 1) -> dict[str, Any]:
    """Ask on and on: how many were admitted, and how many were decided."""
    visitors = [ADA] if users == 1 else [Visitor(tenant="acme", user=f"user-{number}") for number in range(users)]
    told = {"admitted": 0, "decided": 0}
    until = time.monotonic() + seconds

    async def one_after_the_other(first: int) -> None:
        number = first
        while time.monotonic() < until:
            for _ in range(20):
                number += at_once
                told["decided"] += 1
                try:
                    await limiter.admit(visitors[number % users])
                except RateExceeded:
                    continue
                told["admitted"] += 1
            await asyncio.sleep(0)

    began, busy = time.monotonic(), time.process_time()
    await asyncio.gather(*(one_after_the_other(number) for number in range(at_once)))
    cpu_us = (time.process_time() - busy) / told["decided"] * 1e6
    return {**told, "seconds": time.monotonic() - began, "cpu_us": cpu_us}


def limiter_of(args: argparse.Namespace) -> RateLimiter:
    """One limit, counted by user."""
    return RateLimiter(limits={"all": {f"requests_per_{args.window}": args.limit}}, backend=args.store or "memory")


async def work(args: argparse.Namespace) -> None:
    """One worker: says that it is ready, and begins when it is told to."""
    limiter = limiter_of(args)
    await limiter.admit(Visitor(tenant="other", user="ada"))  # the store is open now
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    told = await hammer(limiter, args.seconds, at_once=args.at_once, users=args.users)
    await limiter.stop()
    print(json.dumps(told))


async def together(args: argparse.Namespace) -> dict[str, Any]:
    """Start the workers, have them begin at the same time, and add up."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, __file__, "--work", "--store", args.store, "--seconds", str(args.seconds)]
    command += ["--limit", str(args.limit), "--window", args.window, "--at-once", str(args.at_once)]
    workers = [await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe) for _ in range(args.workers)]
    for worker in workers:
        assert worker.stdout is not None
        await worker.stdout.readline()
    told = [json.loads(out) for out, _ in await asyncio.gather(*(worker.communicate(b"go\n") for worker in workers))]
    admitted = sum(one["admitted"] for one in told)
    return {
        "workers": args.workers,
        "limit": args.limit,
        "seconds": args.seconds,
        "admitted": admitted,
        "share": round(admitted / args.limit, 5),
        "decisions_per_s": round(sum(one["decided"] / one["seconds"] for one in told)),
    }


async def cost(folder: str) -> dict[str, Any]:
    """Decisions in memory; what a request waits for on SQLite, where its worker has some in advance and where it has not."""
    limits = {"all": {"requests_per_minute": 1e9, "tokens_per_day": 1e12}}
    memory = await hammer(Rates(limits=limits), 2.0, at_once=1)
    embedded = RateLimiter(limits={"all": {"requests_per_minute": 60_000}}, backend=f"sqlite:///{folder}/corral.db")
    often = await _p50_us(embedded, [ADA] * 2_000, 0.001)
    seldom = await _p50_us(embedded, [Visitor(user=f"user-{number}") for number in range(500)], 0.0)
    await embedded.stop()
    return {
        "memory_decisions_per_s": round(memory["decided"] / memory["seconds"]),
        "memory_cpu_us": round(memory["cpu_us"], 1),
        "sqlite_often_p50_us": often,
        "sqlite_first_of_user_p50_us": seldom,
    }


async def _p50_us(limiter: RateLimiter, visitors: list[Visitor], pause_s: float) -> float:
    times = []
    for visitor in visitors:
        began = time.perf_counter()
        await limiter.admit(visitor)
        times.append(time.perf_counter() - began)
        await asyncio.sleep(pause_s)
    return round(statistics.median(times) * 1e6, 1)


async def versus(args: argparse.Namespace) -> dict[str, Any]:
    """In turns on one Valkey: one user who asks on and on, and many users who ask now and then."""
    from corral.testing.servers.valkey import ValkeyServer  # noqa: PLC0415 - only here

    shown: dict[str, Any] = {}
    server = ValkeyServer()
    server.start()
    try:
        for name, users, limit in (("one_user", 1, 1e8), ("one_user_refused", 1, 100), ("many_users", 1_000, 1e8)):
            ours: list[dict[str, float]] = []
            theirs: list[dict[str, float]] = []
            for turn in range(args.turns):
                limiter = RateLimiter(limits={f"{name}{turn}": {"requests_per_minute": limit}}, backend=server.url)
                await limiter.admit(Visitor(tenant="other"))  # connected, as the other is
                told = await hammer(limiter, args.seconds, at_once=args.at_once, users=users)
                await limiter.stop()
                ours.append({"per_s": told["decided"] / told["seconds"], "cpu_us": told["cpu_us"]})
                theirs.append(await _peer(server.url, f"{name}{turn}", users, limit, args))
            shown[name] = {
                "corral_per_s": round(_median(ours, "per_s")),
                "limits_per_s": round(_median(theirs, "per_s")),
                "ratio": round(_median(ours, "per_s") / _median(theirs, "per_s"), 1),
                "cpu_ratio": round(_median(theirs, "cpu_us") / _median(ours, "cpu_us"), 1),
            }
    finally:
        server.remove()
    return shown


def _median(figures: list[dict[str, float]], name: str) -> float:
    return statistics.median(one[name] for one in figures)


async def _peer(url: str, name: str, users: int, limit: float, args: argparse.Namespace) -> dict[str, float]:
    command = [str(PEERS), str(PEER), url, name, str(users), str(int(limit)), str(args.seconds), str(args.at_once)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    told: dict[str, float] = json.loads(out)
    return told


async def main() -> None:
    """Run as a worker, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--limit", type=float, default=6_000.0)
    parser.add_argument("--window", default="minute")
    parser.add_argument("--users", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--versus", action="store_true")
    parser.add_argument("--work", action="store_true")
    args = parser.parse_args()
    args.seconds = args.seconds or (2.0 if args.versus else 60.0)
    if args.work:
        await work(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.cost:
            print(json.dumps(await cost(folder)))
            return
        if args.versus:
            print(json.dumps(await versus(args)))
            return
        args.store = args.store or f"sqlite:///{folder}/corral.db"
        print(json.dumps(await together(args)))


if __name__ == "__main__":
    asyncio.run(main())
