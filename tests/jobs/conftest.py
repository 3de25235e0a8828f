from __future__ import annotations

import pytest
from working_scene import TENANT, HeartbeatOf, Interposed, Seen

from corral.backends.open import open_stores
from corral.jobs.worker import Worker
from corral.settings.sections import JobSettings
from ready import ready_url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """Every test of a worker runs on both engines."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return ready_url(tmp_path)


@pytest.fixture
async def stores(url):
    opened = open_stores(url)
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
async def seen():
    return Seen()


@pytest.fixture
async def make_worker(url, stores, seen):
    """Workers on one store: `await make_worker(handler, concurrency=4)`. They begin at once, and are stopped at the end."""
    made = []

    async def make(run, *, store=None, records=None, **settings):
        options = {name: settings.pop(name) for name in ("observer", "name", "in_thread", "slots") if name in settings}
        options.setdefault("observer", seen)
        beats = []

        def open_more():
            beats.append(HeartbeatOf(open_stores(url)))
            return beats[-1]

        worker = Worker(
            store or Interposed(stores.jobs),
            stores.blobs,
            run,
            JobSettings(**settings),
            open_stores=open_more,
            records=records,
            **options,
        )
        worker.beats = beats
        made.append(worker)
        await worker.start()
        return worker

    yield make
    for worker in made:
        await worker.stop()


@pytest.fixture
def enqueue(stores):
    async def enqueue_all(*drafts):
        return [each.id for each in await stores.jobs.enqueue(drafts)]

    return enqueue_all


@pytest.fixture
def look(stores):
    async def look_at(job_id):
        return await stores.job_records.get(TENANT, job_id)

    return look_at
