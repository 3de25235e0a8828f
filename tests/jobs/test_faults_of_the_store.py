"""Workers whose store fails under them: connections that are cut, a disk that is full, a clock that jumps."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import parse_qs, urlsplit

import pytest
from working_scene import TENANT, draft, until

import corral.backends.sqlite.writer as writer_module
from corral.backends.open import open_stores
from corral.backends.sqlite.connection import open_database
from corral.backends.sqlite.stores import SqliteStores
from corral.clock import SYSTEM_CLOCK
from corral.errors import StoreUnavailable
from corral.jobs.job import Ending
from corral.jobs.running import Outcome
from corral.jobs.worker import Worker
from corral.settings.sections import JobSettings
from ready import ready_url


class Cable:
    """What leads to a PostgreSQL, and can be cut: every connection that goes through it breaks, new ones work."""

    def __init__(self, url: str) -> None:
        self._socket = parse_qs(urlsplit(url).query)["host"][0] + "/.s.PGSQL.5432"
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._parts = urlsplit(url)

    async def start(self) -> str:
        """The URL that leads through it."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://{self._parts.username}@127.0.0.1:{port}{self._parts.path}"

    def cut(self) -> None:
        """In the middle of whatever is under way."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(self._socket)
        pair = {writer, there_writer}
        self._writers |= pair
        try:
            await asyncio.wait(
                [
                    asyncio.create_task(_carry(reader, there_writer)),
                    asyncio.create_task(_carry(there_reader, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._writers -= pair
            for one in pair:
                one.transport.abort()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()


async def test_connections_that_are_cut_lose_and_repeat_nothing(postgres_url):
    cable = Cable(postgres_url)
    url = await cable.start()
    stores = open_stores(url)
    await stores.start()
    kept: list[tuple[str, str]] = []

    async def run(job):
        async def effect(name):
            assert (job.id, name) not in kept
            await asyncio.sleep(0)
            return name

        for name in ("reserve", "charge"):
            await job.step(name, effect, (name,), {})
            kept.append((job.id, name))
        return Outcome()

    settings = JobSettings(concurrency=8, lease_s=5)
    worker = Worker(stores.jobs, stores.blobs, run, settings, open_stores=lambda: open_stores(url))
    await worker.start()
    drafts = [draft(n, max_attempts=20) for n in range(200)]
    for number in range(10):
        await stores.jobs.enqueue(drafts[number * 20 : number * 20 + 20])
        cable.cut()

    async def all_ended():
        return await stores.job_records.depth("default", limit=1) == 0

    await until(all_ended, 40)
    found = [await stores.job_records.get(TENANT, one.id) for one in drafts]
    assert {job.status for job in found} == {"succeeded"}
    assert len(kept) == len(set(kept)) == 400
    await worker.drain(5)
    await worker.stop()
    await stores.stop()
    await cable.stop()


async def enqueue_for_ever(stores, taken):
    while True:
        taken += [job.id for job in await stores.jobs.enqueue([draft("x" * 2000) for _ in range(20)])]


async def test_a_full_disk_refuses_jobs_and_loses_none_that_it_took(tmp_path, monkeypatch):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()

    def with_little_room(*args, **options):
        connection = open_database(*args, **options)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {max(pages, 300)}")
        return connection

    monkeypatch.setattr(writer_module, "open_database", with_little_room)
    engine = stores.jobs._engine
    await engine.write(lambda tx: tx.execute("PRAGMA max_page_count = 300").fetchone())
    taken: list[str] = []
    with pytest.raises(StoreUnavailable, match="full"):
        await enqueue_for_ever(stores, taken)
    assert taken
    monkeypatch.setattr(writer_module, "open_database", open_database)
    await stores.jobs.enqueue([draft("fits again")])

    async def run(_job):
        return Outcome()

    worker = Worker(stores.jobs, stores.blobs, run, JobSettings(), open_stores=lambda: open_stores(stores.url))
    await worker.start()

    async def all_ended():
        return await stores.job_records.depth("default", limit=1) == 0

    await until(all_ended, 20)
    assert {(await stores.job_records.get(TENANT, job_id)).status for job_id in taken} == {"succeeded"}
    await worker.stop()
    await stores.stop()


class Jumping:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.by = 0.0

    def now(self) -> float:
        return SYSTEM_CLOCK.now() + self.by

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic()


@pytest.mark.parametrize("by", [3600.0, -3600.0])
async def test_a_clock_that_jumps_lets_each_job_end_once(tmp_path, by):
    clock = Jumping()
    stores = SqliteStores(ready_url(tmp_path), clock=clock)
    await stores.start()
    (first,) = await stores.jobs.enqueue([draft("first")])
    ((held,), _) = ((await stores.jobs.claim("a", queues=[], limit=1, lease_s=10)).jobs, None)
    clock.by = by
    await stores.jobs.enqueue([draft("second")])
    await stores.jobs.reap()
    others = (await stores.jobs.claim("b", queues=[], limit=9, lease_s=10)).jobs
    taken_over = first.id in {job.id for job in others}
    assert taken_over == (by > 0)  # forwards, every lease has run out; backwards, none has
    ended = await stores.jobs.settle([Ending(claim=held.claim, kind="succeeded", result=b'"a"')])
    assert ended == [not taken_over]
    assert all(await stores.jobs.settle([Ending(claim=j.claim, kind="succeeded", result=b'"b"') for j in others]))
    job = await stores.job_records.get(TENANT, first.id)
    assert (job.status, bytes(job.result)) == ("succeeded", b'"b"' if taken_over else b'"a"')
    assert await stores.job_records.depth("default", limit=9) == 0
    await stores.stop()
