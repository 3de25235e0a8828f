"""Many followers of jobs on one API process: what one costs, and how late it hears, beside others that never read.

    python bench/followers.py                            10,000 followers of 20 jobs, a minute or two
    python bench/followers.py --followers 1000 --clients 1

One process of `corral serve --role api` and one of `corral worker`, on SQLite and on one core; who follows is on another. Each
job says a piece a second, with the time in it; lateness is from there to the follower, through the store.

The first round is these alone. From then on there is a loud job besides, followed by some who read; and in every other of
those rounds by as many more who never read a byte. What these cost the others is the last word. Ports and files run out before
memory does: each client process has a loopback address of its own, and limits are raised as far as they go.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

AGENTS = '''
import asyncio, os, time
from corral import App

app = App()

@app.entrypoint
async def main(payload, context):
    """Say so many pieces, from when a file is there."""
    while not os.path.exists(payload["go"]):
        await asyncio.sleep(0.02)
    await asyncio.sleep(payload["offset"])
    for _ in range(payload["pieces"]):
        yield {"told": time.monotonic(), "text": "x" * payload["size"]}
        await asyncio.sleep(payload["pause"])
'''
PAUSE_S = 1.0
SIZE = 200
LOUD = {"pieces": 100, "size": 65_536, "pause": 0.1, "offset": 0.0}
OPENING = 100
"""Connections that a client opens at once."""
WAIT_S = 120.0
STAMP = b'"told":'
LOUD_ROUND, SLOW_ROUND = "beside a loud job", "the same, and some never read"
LATE = ("late p50 ms", "late p99 ms")
CORES = sorted(os.sched_getaffinity(0))

Figures = dict[str, float]


class _Follows(asyncio.Protocol):
    """One follower. It notes how late pieces are, and nothing else."""

    def __init__(self, job_id: str, lateness: list[float], *, pieces: int, reads: bool) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._job_id = job_id
        self._lateness = lateness
        self._left = pieces  # the end tells the whole result again
        self._reads = reads
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP transports are both ways
        self.transport.write(
            b"GET /v1/jobs/%b/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n"
            b"connection: close\r\n\r\n" % self._job_id.encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self.opened.done():
            assert data.startswith(b"HTTP/1.1 200"), data[:300]
            self.opened.set_result(None)
            if not self._reads:
                self.transport.pause_reading()
        data = self._rest + data
        at = data.find(STAMP)
        while at >= 0 and self._left > 0:
            end = data.find(b",", at)
            if end < 0:
                self._rest = data[at:]
                return
            self._left -= 1
            self._lateness.append(now - float(data[at + len(STAMP) : end]))
            at = data.find(STAMP, end)
        self._rest = data[-len(STAMP) :]

    def connection_lost(self, _: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


async def follow(options: argparse.Namespace) -> None:
    """What a client process does: open all, say so, read to the end, say how late all was."""
    told = json.loads(sys.stdin.readline())
    loop = asyncio.get_running_loop()
    lateness: list[float] = []
    gate = asyncio.Semaphore(OPENING)
    followers: list[_Follows] = []

    async def begin(job_id: str, *, reads: bool, count: bool) -> None:
        async with gate:
            connecting = socket.socket()
            connecting.setblocking(False)
            connecting.bind((f"127.0.0.{options.client + 2}", 0))
            if not reads:
                connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(connecting, ("127.0.0.1", told["port"]))
            noted = lateness if count else []
            _, follower = await loop.create_connection(
                lambda: _Follows(job_id, noted, pieces=told["pieces"], reads=reads), sock=connecting
            )
            await follower.opened
            if count:
                followers.append(follower)

    jobs = told["jobs"]
    asked = [begin(jobs[n % len(jobs)], reads=True, count=True) for n in range(told["followers"])]
    asked += [begin(told["loud"], reads=True, count=False) for _ in range(told["readers"])]
    asked += [begin(told["loud"], reads=False, count=False) for _ in range(told["slow"])]
    await asyncio.gather(*asked)
    print("open", flush=True)
    await asyncio.gather(*(follower.closed for follower in followers))
    print(json.dumps(lateness), flush=True)


def on_core(core: int, *command: str | Path) -> list[str]:
    """A command that stays on one core."""
    return ["taskset", "-c", str(core), *map(str, command)]


@contextmanager
def running(folder: Path, *command: str) -> Iterator[None]:
    """`corral …` in a folder and on the first core, until the end."""
    said = (folder / f"{command[0]}.txt").open("w")
    corral = Path(sys.executable).with_name("corral")
    process = subprocess.Popen(on_core(CORES[0], corral, *command), cwd=folder, stdout=said, stderr=said)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
        said.close()


class Bench:
    """A server, its worker and their jobs."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._options = options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def call(self, path: str, payload: Any = None) -> Any:
        """One request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET" if payload is None else "POST", path, payload and json.dumps(payload))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def wait_ready(self) -> None:
        """Until it answers."""
        until = time.monotonic() + WAIT_S
        while True:
            try:
                self.call("/readyz")
            except (OSError, ValueError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return

    def memory_mb(self) -> float:
        """What the API process occupies."""
        told = json.loads((self._folder / ".corral" / "run" / f"{self.port}.json").read_text())
        (pid,) = told["workers"]
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def submit(self, go: Path, **more: float) -> str:
        """A job that waits for that file."""
        asked = {"go": str(go), **more}
        job_id: str = self.call("/v1/jobs", {"agent": "main", "input": asked})["id"]
        return job_id

    def round(self, name: str, readers: int, slow: int) -> Figures:
        """Open all, let the jobs talk, and see how late it was. A loud job has so many readers, and so many who do not read."""
        options, go = self._options, self._folder / name
        jobs = [
            self.submit(go, pieces=options.pieces, size=SIZE, pause=PAUSE_S, offset=PAUSE_S * n / options.jobs)
            for n in range(options.jobs)
        ]
        told = {
            "port": self.port,
            "jobs": jobs,
            "pieces": options.pieces,
            "followers": options.followers // options.clients,
            "readers": readers // options.clients,
            "slow": slow // options.clients,
        }
        if readers:
            told["loud"] = self.submit(go, **LOUD)
        before = self.memory_mb()
        clients = [
            subprocess.Popen(
                on_core(CORES[-1], sys.executable, __file__, "--client", str(n)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in range(options.clients)
        ]
        began = time.monotonic()
        for client in clients:
            assert client.stdin is not None
            client.stdin.write(json.dumps(told) + "\n")
            client.stdin.flush()
        for client in clients:
            assert client.stdout is not None
            if client.stdout.readline() != "open\n":
                raise SystemExit("A client could not open its connections: what it said is above.")
        opened_s, opened = time.monotonic() - began, self.memory_mb()
        go.touch()
        lateness: list[float] = []
        for client in clients:
            assert client.stdout is not None
            lateness += json.loads(client.stdout.readline())
            client.wait()
        hundredths = statistics.quantiles(lateness, n=100)
        return {
            "followers": float(options.followers),
            "of the loud job": float(readers),
            "that never read": float(slow),
            "opened in s": opened_s,
            "KB per follower": (opened - before) * 1024 / options.followers,
            "MB when open": opened,
            "MB at the end": self.memory_mb(),
            "pieces": float(len(lateness)),
            "pieces that were missed": float(options.followers * options.pieces - len(lateness)),
            "late p50 ms": hundredths[49] * 1000,
            "late p99 ms": hundredths[98] * 1000,
        }


def measure(options: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """One round after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "agents.py").write_text(AGENTS)
        (folder / "corral.yaml").write_text("observability: {log_level: warning}\n")
        bench = Bench(folder, options)
        with running(folder, "serve", "agents.py", "--role", "api", "--port", str(bench.port)):
            bench.wait_ready()
            with running(folder, "worker", "agents.py"):
                yield "alone", bench.round("alone", 0, 0)
                for turn in range(options.turns):
                    yield LOUD_ROUND, bench.round(f"loud{turn}", options.slow, 0)
                    yield SLOW_ROUND, bench.round(f"slow{turn}", options.slow, options.slow)


def compared(rounds: dict[str, list[Figures]]) -> Figures:
    """How late the others were with those who never read, as a ratio to how late without them."""
    late = {
        (name, what): statistics.median(figures[what] for figures in rounds[name])
        for name in (LOUD_ROUND, SLOW_ROUND)
        for what in LATE
    }
    return {f"{what}, ratio": late[SLOW_ROUND, what] / late[LOUD_ROUND, what] for what in LATE}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--followers", type=int, default=10_000)
    parser.add_argument("--slow", type=int, default=100, help="followers of the loud job, and who never read")
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--pieces", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4, help="processes that follow")
    parser.add_argument("--turns", type=int, default=2, help="rounds with those who never read, and without")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.client is not None:
        uvloop.run(follow(options))
        return
    rounds: dict[str, list[Figures]] = {}
    for name, figures in measure(options):
        rounds.setdefault(name, []).append(figures)
        show(name, figures, as_json=options.json)
    show("with those who never read / without", compared(rounds), as_json=options.json)


def show(name: str, figures: Figures, *, as_json: bool) -> None:
    """One round."""
    if as_json:
        print(json.dumps({"round": name, **figures}), flush=True)
        return
    print(name)
    for what, value in figures.items():
        print(f"  {what:26} {value:12,.2f}", flush=True)


if __name__ == "__main__":
    main()
