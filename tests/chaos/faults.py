"""Faults of a server's workers and of its store, any of them at any time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from corral.testing.servers.postgres import PostgresServer
from processes import Server, is_alive, wait_until

SOCKET = ".s.PGSQL.5432"
FULL_S = 0.3
PER_STEP = 3
STEP_S = 4.0

# What the program of the server adds to Corral's own: a thousand kills would make the pause before the next restart long,
# as they should, and the test with it; and the clock can be set.
PROGRAM = """
import os, sys, time
from corral import clock

def now():
    try:
        return time.time() + int(os.readlink("clock")) / 1000
    except OSError:
        return time.time()

clock.SystemClock.now = staticmethod(now)
from corral.server import crew
from corral.settings.load import load_settings
from corral.server.supervisor import serve

crew._RESTART_S_MAX = 0.2
settings = lambda: load_settings(flags={"server.port": int(sys.argv[2]), "server.host": "127.0.0.1"}).settings
sys.exit(serve("agents.py", settings(), reload_settings=settings))
"""


class Proxy:
    """A way to PostgreSQL that can be cut. It has a thread and a loop of its own."""

    def __init__(self, database: PostgresServer) -> None:
        self._behind = str(database.socket_folder / SOCKET)
        self._folder = tempfile.TemporaryDirectory(prefix="corral-cut-")
        self.url = f"postgresql://corral@/postgres?host={self._folder.name}"
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pairs: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listening = asyncio.start_unix_server(self._pair, f"{self._folder.name}/{SOCKET}")
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)

    def cut(self) -> None:
        """Every connection is gone, in the middle of whatever it carries."""
        self._loop.call_soon_threadsafe(self._abort)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._folder.cleanup()

    async def _close(self) -> None:
        self._server.close()
        self._abort()
        while self._pairs:
            await asyncio.wait(self._pairs)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _pair(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._pairs.add(task)
        task.add_done_callback(self._pairs.discard)
        try:
            behind, ahead = await asyncio.open_unix_connection(self._behind)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, ahead}
        await asyncio.gather(_carry(reader, ahead), _carry(behind, writer))
        self._writers -= {writer, ahead}


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


class Faults:
    """What goes wrong, and how often it did. `step` makes several things go wrong at once."""

    def __init__(
        self, server: Server, *, workers: int, lease_s: float, database: PostgresServer | None, proxy: Proxy | None
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._server = server
        self._workers = workers
        self._lease_s = lease_s
        self._database = database
        self._proxy = proxy

    @property
    def count(self) -> int:
        return self.counts.total()

    def step(self) -> None:
        """Some workers stall and others are killed meanwhile, and something befalls the store, the disk or the clock."""
        wait_until(lambda: len(self._server.workers()) == self._workers, 60)
        stalled = self._stop(PER_STEP)
        until = time.monotonic() + self._lease_s + random.uniform(0.2, 0.9)
        random.choice(self._kinds())()
        for _ in range(PER_STEP):
            self._kill(stalled)
            wait_until(lambda: random.random() < 0.3)
        wait_until(lambda: time.monotonic() > until)
        for pid in stalled:
            self._send(pid, signal.SIGCONT)

    def _kinds(self) -> list[Callable[[], None]]:
        kinds = [self._set_clock]
        if shutil.which("prlimit") is not None:
            kinds.append(self._fill_disk)
        if self._database is not None:
            kinds += [self._cut, self._cut, self._restart]
        return kinds

    def _stop(self, count: int) -> list[int]:
        stalled = random.sample(self._server.workers(), count)
        for pid in stalled:
            self._send(pid, signal.SIGSTOP)
            self.counts["stalled"] += 1
        return stalled

    def _kill(self, stalled: list[int]) -> None:
        """One that goes on, or one that never wakes up."""
        others = [pid for pid in self._server.workers() if pid not in stalled]
        victims = stalled if random.random() < 0.1 or not others else others
        self._send(random.choice(victims), signal.SIGKILL)
        self.counts["killed"] += 1

    def _send(self, pid: int, number: signal.Signals) -> None:
        if is_alive(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _cut(self) -> None:
        assert self._proxy is not None
        self._proxy.cut()
        self.counts["cut off"] += 1

    def _restart(self) -> None:
        assert self._database is not None
        self._database.restart(random.choice(["fast", "immediate"]))
        self.counts["database restarted"] += 1

    def _fill_disk(self) -> None:
        """No file grows any more: SQLite's under the workers, or PostgreSQL's log, which ends it and has it recover."""
        if self._database is None:
            pids, owner = self._server.workers(), os.geteuid()
        else:
            pids, owner = _children(self._postmaster()), self._database.data.stat().st_uid
        with _no_room(pids, owner):
            end = time.monotonic() + FULL_S
            wait_until(lambda: time.monotonic() > end)
        self.counts["disk full"] += 1

    def _set_clock(self) -> None:
        """Of the machine that the workers run on: forwards or back."""
        link = self._server.folder / "clock"
        fresh = link.with_name("clock.new")
        fresh.symlink_to(str(random.randint(-int(STEP_S * 1000), int(STEP_S * 1000))))
        fresh.replace(link)
        self.counts["clock set"] += 1

    def _postmaster(self) -> int:
        assert self._database is not None
        wait_until((self._database.data / "postmaster.pid").exists)
        return int((self._database.data / "postmaster.pid").read_text().splitlines()[0])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def _no_room(pids: list[int], owner: int) -> Iterator[None]:
    """Files of these processes cannot grow beyond a page."""
    _limit(pids, owner, "4096")
    try:
        yield
    finally:
        _limit(pids, owner, "unlimited")


def _limit(pids: list[int], owner: int, size: str) -> None:
    who = {"user": owner, "group": owner, "extra_groups": []} if os.geteuid() != owner else {}
    for pid in pids:  # one that has ended has no limits
        subprocess.run(
            ["prlimit", "--pid", str(pid), f"--fsize={size}:"], check=False, stderr=subprocess.DEVNULL, **who
        )
