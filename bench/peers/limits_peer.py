"""The `limits` library: its sliding window counter, asynchronous, on Redis or Valkey."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from limits import RateLimitItemPerMinute


async def measure(url: str, name: str, users: int, limit: int, seconds: float, at_once: int) -> dict[str, float]:
    """Decisions in a second, and what each of them costs this process."""
    limiter = SlidingWindowCounterRateLimiter(RedisStorage(f"async+{url}", implementation="redispy"))
    item = RateLimitItemPerMinute(limit)
    await limiter.hit(item, name, "somebody")  # connected
    decided = 0
    until = time.monotonic() + seconds

    async def one_after_the_other(first: int) -> None:
        nonlocal decided
        number = first
        while time.monotonic() < until:
            for _ in range(20):
                number += at_once
                decided += 1
                await limiter.hit(item, name, f"user-{number % users}")

    began, busy = time.monotonic(), time.process_time()
    await asyncio.gather(*(one_after_the_other(number) for number in range(at_once)))
    cpu_us = (time.process_time() - busy) / decided * 1e6
    return {"per_s": decided / (time.monotonic() - began), "cpu_us": cpu_us}


if __name__ == "__main__":
    url, name, *numbers = sys.argv[1:]
    users, limit, seconds, at_once = int(numbers[0]), int(numbers[1]), float(numbers[2]), int(numbers[3])
    print(json.dumps(asyncio.run(measure(url, name, users, limit, seconds, at_once))))
