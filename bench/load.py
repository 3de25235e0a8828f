"""A small HTTP load generator: as many connections as asked for, each sending its next request when the last was answered.

It measures servers written in Python, so it does as little as it can itself: one prepared request, and just enough parsing
to know where a response ends.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Result:
    """What one run measured."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """The latency that `share` of the answers stayed below."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else float("nan")


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(
        self, requests: Iterator[bytes], result: Result, until: float, done: asyncio.Future[None], pace: Iterator[float]
    ) -> None:
        self.requests = requests
        self.pace = pace
        self.result = result
        self.until = until
        self.done = done
        self.sent_at = 0.0
        self.status = 0
        self.left = -1
        self.chunked = False
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP transports are both ways
        self._next(time.perf_counter())

    def _next(self, now: float) -> None:
        """The next request, now or when it is due: it is measured from then, however late it can be sent."""
        self.left = -1
        self.chunked = False
        self.buffer = b""
        self.sent_at = due = next(self.pace, now)
        if due > now:
            loop = asyncio.get_running_loop()
            loop.call_at(loop.time() + due - now, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        if self.left < 0 and not self.chunked:
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self.buffer[:end].lower(), self.buffer[end + 4 :]
            self.status = int(head[9:12])
            at = head.find(b"content-length: ")
            if at >= 0:
                self.left = int(head[at + 16 :].split(b"\r\n", 1)[0])
            else:
                self.chunked = True
                self.buffer = b""
        if self.chunked:
            self.buffer = (self.buffer + data)[-5:]
            if self.buffer == b"0\r\n\r\n":
                self._answered()
            return
        self.left -= len(data)
        if self.left <= 0:
            self._answered()

    def _answered(self) -> None:
        now = time.perf_counter()
        self.result.latencies_s.append(now - self.sent_at)
        self.result.statuses[self.status] = self.result.statuses.get(self.status, 0) + 1
        if now < self.until:
            self._next(now)
        else:
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.result.errors += 1
            self.done.set_result(None)


def request_bytes(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A complete POST request."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def load(
    port: int, requests: list[bytes] | Iterator[bytes], connections: int, seconds: float, *, per_second: float = 0.0
) -> Result:
    """Send for `seconds`: all connections together send the requests one after the other, of a list again and again.

    Each sends its next one as soon as it can, or, with `per_second`, so that all of them together send so many.
    """
    loop = asyncio.get_running_loop()
    result = Result()
    start = time.perf_counter()
    until = start + seconds
    waits: list[asyncio.Future[None]] = []
    turn = itertools.cycle(requests) if isinstance(requests, list) else requests
    for number in range(connections):
        every_s = connections / per_second if per_second else 0.0
        pace = itertools.count(start + number / per_second, every_s) if per_second else iter(())
        done: asyncio.Future[None] = loop.create_future()
        waits.append(done)
        await loop.create_connection(lambda d=done, p=pace: _Client(turn, result, until, d, p), "127.0.0.1", port)  # type: ignore[misc]  # mypy cannot infer a lambda's defaults
    await asyncio.wait_for(asyncio.gather(*waits), timeout=seconds + 30)
    result.seconds = time.perf_counter() - start
    return result
