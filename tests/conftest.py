from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from blockbuster import BlockBuster
from hypothesis import settings

from corral.app import App
from corral.testing.servers.fixtures import fresh_postgres_url, postgres_server, postgres_url, worker_postgres_url
from corral.wiring.service import Service
from ready import prepare
from serving import Served, settings_at
from sweeping import sweep

__all__ = ["fresh_postgres_url", "postgres_server", "postgres_url", "worker_postgres_url"]

# Searches are short by default, so that all of them stay within minutes; `HYPOTHESIS_PROFILE=long` takes its time.
settings.register_profile("short", max_examples=25, deadline=None)
settings.register_profile("long", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Of what is read to collect tests nothing is garbage, and looking for it takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: a third of a test is waiting, for a lease to end or for a process to begin."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of many seconds come first, lest one that is alone at the end has all others wait."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None and item.get_closest_marker("chaos") is None)


def pytest_collection_finish() -> None:
    """What all tests use is made once; and all modules are there, so the garbage collector need not look at them again."""
    prepare()
    sweep()


@pytest.fixture(scope="session", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clients trust one authority instead of the world's hundred and fifty, which each would read for 30 ms."""
    bundle, end = Path(certifi.where()).read_text(), "-----END CERTIFICATE-----\n"
    one = tmp_path_factory.mktemp("authority") / "one.pem"
    one.write_text(bundle[: bundle.index(end) + len(end)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: str(one))
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):  # of this machine's operator; httpx would read that instead
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def no_blocking_calls() -> Iterator[BlockBuster]:
    """Code of ours that blocks a running event loop raises `BlockingError`; threads without a loop may block."""
    guard = BlockBuster("corral")
    for function in guard.functions.values():
        # asyncpg looks for ~/.pgpass and certificates, once per connection.
        function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args")
    for function in guard.functions.values():  # what is imported when it is first needed is read from disk once
        function.can_block_in("<frozen importlib._bootstrap>", "_find_and_load")
        # asyncpg looks for a password file and certificates when it connects; we cannot help that.
        function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_arguments")
    guard.activate()
    yield guard
    guard.deactivate()


@pytest.fixture(autouse=True)
def _loop_is_watched(no_blocking_calls: BlockBuster) -> None:
    """Every test is under the guard, unless it asks for `may_block`."""


@pytest.fixture
def may_block(no_blocking_calls: BlockBuster) -> Iterator[None]:
    """This test blocks a loop on purpose."""
    no_blocking_calls.deactivate()
    yield
    no_blocking_calls.activate()


@pytest.fixture
async def build(tmp_path: Any) -> AsyncIterator[Callable[..., Awaitable[Service]]]:
    """Services with a store of the test's own, started, without a socket."""
    built: list[Service] = []

    async def make(app: App, **sections: dict[str, Any]) -> Service:
        service = app.build(settings_at(tmp_path, **sections))
        built.append(service)
        await service.start()
        return service

    yield make
    for service in built:
        service.cancel_running()
        async with asyncio.timeout(20):
            await service.stop()


@pytest.fixture
async def serve(tmp_path: Any) -> AsyncIterator[Callable[..., Awaitable[Served]]]:
    """Servers on real sockets of this loop: `server = await serve(app, runtime={…})`."""
    servers: list[Served] = []

    async def make(app: App, **sections: dict[str, Any]) -> Served:
        server = Served(app.build(settings_at(tmp_path, **sections)))
        servers.append(server)
        await server.start()
        return server

    yield make
    for server in servers:
        await server.stop()
