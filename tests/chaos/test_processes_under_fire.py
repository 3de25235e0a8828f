"""Processes that are killed, stopped and reloaded while requests come: what is accepted is answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterable

import pytest

from processes import ITSELF, SELF_SERVED, Server, is_alive, serving, wait_until

pytestmark = pytest.mark.chaos

ROUNDS = 20 if os.environ.get("CORRAL_CHAOS") == "long" else 1
KILLS = 5 if ROUNDS > 1 else 1  # each one makes the pause before the next restart longer
KEPT, FRESH = 32, 4


class Fire:
    """Clients that send one request after the other: most on connections they keep, some on a new one each time.

    Nothing is forgiven: a connection may only close after an answer that said so. `refused` is no loss, for nobody
    listened any more; `dropped` is one.
    """

    def __init__(self, server: Server) -> None:
        self.port = server.port
        self.counts: Counter[str] = Counter()
        self.answered = asyncio.Semaphore(0)
        self._stop = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._run(keep=n < KEPT)) for n in range(KEPT + FRESH)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.finish()

    async def wait_for(self, answers: int) -> None:
        async with asyncio.timeout(30):
            for _ in range(answers):
                await self.answered.acquire()

    async def finish_refused(self) -> Counter[str]:
        """Go on until nobody listens any more."""
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks)
        return self.counts

    async def finish(self) -> Counter[str]:
        self._stop = True
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks)
        return self.counts

    async def _run(self, *, keep: bool) -> None:
        while not self._stop:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                self.counts["refused"] += 1
                return
            try:
                while await self._ask(reader, writer, keep=keep) and not self._stop:
                    pass
            except (OSError, asyncio.IncompleteReadError) as error:
                self.counts["dropped"] += 1
                self.counts[f"dropped: {error!r}"] += 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _ask(self, reader, writer, *, keep: bool) -> bool:
        """One request. False: the connection ends with it."""
        closing = b"" if keep else b"connection: close\r\n"
        writer.write(b"POST /invocations HTTP/1.1\r\nhost: x\r\n%bcontent-length: 15\r\n\r\n" % closing)
        writer.write(b'{"prompt": "x"}')
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
        await reader.readexactly(length)
        self.counts[head[9:12].decode()] += 1
        self.answered.release()
        return b"connection: close" not in head


async def until(condition, seconds: float = 15.0) -> None:
    """As `wait_until`, while this loop's clients go on."""
    await asyncio.to_thread(wait_until, condition, seconds)


async def gone(pids: Iterable[int]) -> None:
    await until(lambda: not any(is_alive(pid) for pid in pids))


async def replaced(server: Server, pids: set[int], seconds: float = 15.0) -> None:
    """Two workers serve, and these are not among them."""
    await until(lambda: len(server.workers()) == 2 and not pids & set(server.workers()), seconds)


@pytest.mark.parametrize("workers", [1, 2])
async def test_term_drops_nothing(tmp_path, workers):
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with serving(folder, config=f"server: {{workers: {workers}}}") as server:
            async with Fire(server) as fire:
                await fire.wait_for(200)
                server.send(signal.SIGTERM)
                counts = await fire.finish_refused()
            assert await asyncio.to_thread(server.process.wait, 20) == 0
        assert counts["refused"] > 0
        assert set(counts) <= {"200", "503", "refused"}, counts


async def test_term_of_an_app_that_serves_itself_drops_nothing(tmp_path):
    server = Server(tmp_path, agents=SELF_SERVED, program=ITSELF)
    await until(lambda: "Uvicorn running" in server.output())
    async with Fire(server) as fire:
        await fire.wait_for(200)
        server.send(signal.SIGTERM)
        counts = await fire.finish_refused()
    assert await asyncio.to_thread(server.stop) == 0
    assert set(counts) <= {"200", "503", "refused"}, counts


async def test_reload_drops_nothing(tmp_path):
    with serving(tmp_path, config="server: {workers: 2}") as server:
        async with Fire(server) as fire:
            for _ in range(ROUNDS):
                await fire.wait_for(200)
                before = set(server.workers())
                server.send(signal.SIGHUP)
                await replaced(server, before)
                await gone(before)
            counts = await fire.finish()
        assert set(counts) == {"200"}, counts


async def test_a_killed_worker_takes_only_its_own_requests_with_it(tmp_path):
    with serving(tmp_path, config="server: {workers: 2}") as server:
        async with Fire(server) as fire:
            for _ in range(KILLS):
                await fire.wait_for(200)
                victim = server.workers()[0]
                os.kill(victim, signal.SIGKILL)
                await replaced(server, {victim}, seconds=5)
                await fire.wait_for(200)
            counts = await fire.finish()
        assert {name for name in counts if not name.startswith("dropped")} == {"200"}
        assert counts["dropped"] <= KILLS * (KEPT + FRESH)


async def test_a_new_worker_is_there_within_a_second(tmp_path):
    with serving(tmp_path) as server:
        os.kill(server.workers()[0], signal.SIGKILL)
        async with asyncio.timeout(10):  # 0.1 s of it is the pause before the restart; the rest is for a busy machine
            assert (await asyncio.to_thread(server.agent, "main", {}))[0] == 200  # it waited for the new one


async def test_workers_do_not_outlive_their_supervisor(tmp_path):
    with serving(tmp_path, config="server: {workers: 2}") as server:
        workers = server.workers()
        async with Fire(server) as fire:
            await fire.wait_for(100)
            held = {"until": str(tmp_path / "released")}
            running = asyncio.create_task(asyncio.to_thread(server.agent, "held", held))
            await until(lambda: any(server.call("/health")[1]["in_flight"] for _ in range(4)))
            server.process.kill()
            counts = await fire.finish_refused()
            assert set(counts) <= {"200", "refused"}, counts
        # The socket is free for a supervisor that comes after, while what ran goes on.
        (tmp_path / "next").mkdir()
        successor = Server(tmp_path / "next", port=server.port)
        await asyncio.to_thread(successor.wait_ready)
        assert successor.stop() == 0
        (tmp_path / "released").touch()
        assert (await running)[0] == 200
        await gone(workers)
