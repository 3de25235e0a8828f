"""Limits shared between processes: how much of an allowance is used, how often a provider says no, and what a call pays for it.

    .venv/bin/python bench/limits.py                       # four processes, a minute, SQLite
    .venv/bin/python bench/limits.py --store postgresql://… --seconds 120 --workers 8
    .venv/bin/python bench/limits.py --kill                # one process dies in the middle

The provider is a small server in this process that enforces tokens per minute with a bucket of its own. Each worker is a
process of its own that asks as fast as it may. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from corral.backends.open import open_stores
from corral.errors import ModelRateLimited, PaceExceeded
from corral.limits.buckets import Rule
from corral.limits.pace import Pace
from corral.messages import EmbedCall, Message, ModelCall, ModelEvent, ModelReply, Usage, as_parts
from corral.settings.model_sections import LimitSettings

WAIT_S = 20.0
LATENCY_S = 0.5


class Provider:
    """Enforces tokens per minute: `tokens` in a line, `ok` or `429 SECONDS` back."""

    def __init__(self, tokens_per_minute: float) -> None:
        self.per_s = tokens_per_minute / 60
        self.capacity = self.level = tokens_per_minute
        self.at: float | None = None
        self.began = 0.0
        self.used = 0.0
        self.refusals = self.calls = 0
        self.last = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One worker's connection."""
        while line := await reader.readline():
            name, tokens = line.split()
            writer.write(name + b" " + self.answer(float(tokens)).encode() + b"\n")
        writer.close()

    def answer(self, tokens: float) -> str:
        """Take the tokens, or say when."""
        now = time.monotonic()
        if self.at is None:
            self.at = self.began = now
        self.level = min(self.capacity, self.level + (now - self.at) * self.per_s)
        self.at = self.last = now
        self.calls += 1
        if tokens > self.level:
            self.refusals += 1
            return f"{(tokens - self.level) / self.per_s:.3f}"
        self.level -= tokens
        self.used += tokens
        return "ok"


class Line:
    """A worker's connection to the provider: many questions at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._asked: dict[bytes, asyncio.Future[bytes]] = {}
        self._number = 0
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while line := await self._reader.readline():
            name, answer = line.split()
            self._asked.pop(name).set_result(answer)

    async def call(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        """Ask, and take as long as models do."""
        usage = Usage(input=int(call.extra["reads"]), output=int(call.extra["writes"]))
        self._number += 1
        name = str(self._number).encode()
        future = self._asked[name] = asyncio.get_running_loop().create_future()
        self._writer.write(name + b" %d\n" % usage.total)
        answer = await future
        if answer != b"ok":
            raise ModelRateLimited("no more for now", retry_after_s=float(answer))
        await asyncio.sleep(LATENCY_S)
        yield ModelReply(content=as_parts("done"), usage=usage)


def reads(call: ModelCall | EmbedCall) -> int:
    """As well as estimates do: within a tenth."""
    assert isinstance(call, ModelCall)
    return int(call.extra["reads"] * random.uniform(0.9, 1.1))


async def work(args: argparse.Namespace) -> None:
    """One worker: asks on and on, and tells what came of it."""
    stores = open_stores(args.store, hot=args.hot)
    await stores.start()
    rule = Rule(tokens_per_minute=args.tokens)
    pace = Pace({"p": rule}, stores.limits, LimitSettings(wait_max_s=WAIT_S), reads)
    line = Line(*await asyncio.open_connection("127.0.0.1", args.port))
    until = time.monotonic() + args.seconds
    told = {"ok": 0, "refused": 0, "exceeded": 0, "late": 0}

    async def one_after_the_other() -> None:
        while time.monotonic() < until:
            extra = {"reads": random.randrange(100, 600), "writes": random.randrange(50, 200)}
            begun = time.monotonic()
            call = ModelCall(
                model="p/m",
                messages=[Message(role="user", content=[])],
                max_tokens=200,
                extra=extra,
                deadline=min(begun + WAIT_S, until),
            )
            pause_s = 0.0
            try:
                async for _ in pace(call, line.call):
                    told["ok"] += 1
            except ModelRateLimited as error:
                told["refused"] += 1
                pause_s = error.retry_after_s or 0.1
            except PaceExceeded as error:
                told["exceeded"] += 1
                pause_s = min(error.retry_after_s or 0.1, max(0.0, until - time.monotonic()))
            told["late"] += time.monotonic() - begun > WAIT_S + LATENCY_S + 0.25
            await asyncio.sleep(pause_s)

    await asyncio.gather(*(one_after_the_other() for _ in range(args.at_once)))
    await pace.stop()
    await stores.stop()
    print(json.dumps(told))


async def passing_us(args: argparse.Namespace) -> float:
    """What a call pays for being paced, while there is room: microseconds of CPU, the best of several rounds."""
    stores = open_stores(args.store)
    await stores.start()
    reply = ModelReply(content=as_parts("done"), usage=Usage(input=1, output=1))

    async def answer(_: ModelCall) -> AsyncIterator[ModelEvent]:
        yield reply

    async def seconds(layer: Any) -> float:
        call = ModelCall(model="q/m", messages=[], max_tokens=1, extra={"reads": 1})
        begun = time.process_time()
        for _ in range(2_000):
            async for _ in layer(call):
                pass
        return (time.process_time() - begun) / 2_000

    pace = Pace({"q": Rule(tokens_per_minute=1e12)}, stores.limits, LimitSettings(), lambda _: 1)
    await seconds(lambda call: pace(call, answer))
    paced = min([await seconds(lambda call: pace(call, answer)) for _ in range(7)])
    plain = min([await seconds(answer) for _ in range(7)])
    await pace.stop()
    await stores.stop()
    return (paced - plain) * 1e6


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Serve, start the workers, add up."""
    provider = Provider(args.tokens)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    command = [sys.executable, __file__, "--work", "--port", str(port), "--store", args.store, "--hot", args.hot]
    command += ["--seconds", str(args.seconds), "--tokens", str(args.tokens), "--at-once", str(args.at_once)]
    workers = [
        await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(args.workers)
    ]
    if args.kill:
        await asyncio.sleep(args.seconds / 2)
        workers[0].kill()
    told = [json.loads(out) for out, _ in [await worker.communicate() for worker in workers] if out]
    server.close()
    passed_s = provider.last - provider.began
    allowance = provider.capacity + provider.per_s * passed_s
    return {
        "workers": args.workers,
        "seconds": round(passed_s, 1),
        "calls": provider.calls,
        "used_share": round(provider.used / allowance, 4),
        "refused_share": round(provider.refusals / max(1, provider.calls), 5),
        "late": sum(one["late"] for one in told),
        "each": told,
        "killed": bool(args.kill),
    }


async def main() -> None:
    """Run as a worker, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default="")
    parser.add_argument("--hot", default="")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--tokens", type=float, default=100_000.0)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--no-cost", action="store_true")
    parser.add_argument("--work", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    if args.work:
        await work(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        args.store = args.store or f"sqlite:///{Path(folder)}/corral.db"
        shown = await measure(args)
        if not args.no_cost:
            shown["paced_us"] = round(await passing_us(args), 2)
        print(json.dumps(shown))


if __name__ == "__main__":
    asyncio.run(main())
