"""The `limits` library: its sliding window counter, asynchronous, on Redis or Valkey."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from limits import RateLimitItemPerMinute


async def measure(url: str, name: str, users: int, limit: int, seconds: float, at_once: int) -> float:
    """Decisions in a second."""
    limiter = SlidingWindowCounterRateLimiter(RedisStorage(f"async+{url}", implementation="redispy"))
    item = RateLimitItemPerMinute(limit)
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

    began = time.monotonic()
    await asyncio.gather(*(one_after_the_other(number) for number in range(at_once)))
    return decided / (time.monotonic() - began)


if __name__ == "__main__":
    url, name, *numbers = sys.argv[1:]
    users, limit, seconds, at_once = int(numbers[0]), int(numbers[1]), float(numbers[2]), int(numbers[3])
    print(json.dumps({"decided_per_s": asyncio.run(measure(url, name, users, limit, seconds, at_once))}))
