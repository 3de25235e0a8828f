from __future__ import annotations

import pytest
from memory_scene import Scene

import corral.backends.postgres.stores  # noqa: F401 - before any loop runs: importing reads files
from ready import ready_url


@pytest.fixture
async def make_memory(tmp_path):
    """Scenes on stores of their own: `await make_memory(chunk_tokens=50)`."""
    made = []

    async def make(url=None, **options):
        scene = Scene(url or ready_url(tmp_path, f"corral-{len(made)}.db"), **options)
        made.append(scene)
        await scene.stores.start()
        return scene

    yield make
    for scene in made:
        await scene.stores.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def either_url(request, tmp_path):
    """An empty store on each engine."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return ready_url(tmp_path, "either.db")
