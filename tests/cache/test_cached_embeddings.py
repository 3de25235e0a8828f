"""Vectors that are kept."""

from __future__ import annotations

import struct

import pytest
from cache_scene import TurnedClock

from corral.cache.embeddings import VECTORS_TTL_S, CachedEmbeddings
from corral.cache.keys import text_keys
from corral.cache.shelf import Shelf
from corral.cache.store import EntryDraft
from corral.errors import ModelUnavailable, NotCached
from corral.messages import Caller, CallPolicy, EmbedCall, EmbedReply, Usage
from corral.settings.model_sections import CacheSettings


class Embedder:
    """Says of a text how long it is."""

    def __init__(self):
        self.asked = []

    async def __call__(self, call):
        self.asked.append(call.texts)
        vectors = [[float(len(text)), 0.1, -1.5] for text in call.texts]
        usage = Usage(input=len(call.texts))
        return EmbedReply(vectors=vectors, model="small", provider="sim", usage=usage, cost_usd=0.5 * len(call.texts))


@pytest.fixture
async def shelf(stores, clock):
    shelf = Shelf(stores.cache, CacheSettings(), clock=clock)
    await shelf.start()
    yield shelf
    await shelf.stop()


def texts(*given, **more):
    policy = CallPolicy(**{name: more.pop(name) for name in list(more) if name.startswith("cache")})
    return EmbedCall(model="sim/small", texts=list(given), policy=policy, **more)


async def test_only_what_is_missing_is_asked_for_and_the_order_is_kept(shelf):
    layer, embedder = CachedEmbeddings(shelf), Embedder()
    first = await layer.embed(texts("a", "bb"), embedder)
    assert (first.cached, first.cost_usd) == (0, 1.0)
    await shelf.flush()
    call = texts("ccc", "bb", "dddd", "a", "ccc")
    reply = await layer.embed(call, embedder)
    assert embedder.asked == [["a", "bb"], ["ccc", "dddd"]]
    assert [vector[0] for vector in reply.vectors] == [3, 2, 4, 1, 3]
    assert reply.vectors[1][1] == struct.unpack("f", struct.pack("f", 0.1))[0]
    assert (reply.cached, reply.cost_usd, reply.usage.input) == (2, 1.0, 2)
    assert call.notes["cache.result"] == "part"
    assert call.notes["cache.saved_usd"] == 1.0
    await shelf.flush()
    whole = await layer.embed(texts("dddd", "ccc"), embedder)
    assert (whole.cached, whole.cost_usd, whole.usage, whole.provider) == (2, 0.0, Usage(), "sim")
    assert [vector[0] for vector in whole.vectors] == [4, 3]
    assert len(embedder.asked) == 2


async def test_one_call_is_one_look_and_one_writing(shelf, monkeypatch):
    seen = []
    for name in ("get", "put"):
        real = getattr(shelf._store, name)

        async def watched(*given, real=real, name=name):
            seen.append((name, len(given[1])))
            return await real(*given)

        monkeypatch.setattr(shelf._store, name, watched)
    await CachedEmbeddings(shelf).embed(texts(*(f"{n}" for n in range(100))), Embedder())
    await shelf.flush()
    assert seen == [("get", 100), ("put", 100)]


async def test_policies(shelf):
    layer, embedder = CachedEmbeddings(shelf), Embedder()
    with pytest.raises(NotCached, match="1 of 1"):
        await layer.embed(texts("a", cache="only"), embedder)
    await layer.embed(texts("a", cache_tags=("t",)), embedder)
    await shelf.flush()
    assert (await layer.embed(texts("a", cache="only"), embedder)).cached == 1
    assert (await layer.embed(texts("a", cache="bypass"), embedder)).cached == 0
    assert (await layer.embed(texts("a", cache="refresh"), embedder)).cached == 0
    assert (await layer.embed(texts("a", dimensions=5), embedder)).cached == 0
    assert (await layer.embed(texts("a", caller=Caller(tenant="evil")), embedder)).cached == 0
    await shelf.flush()
    await layer.embed(texts("z", cache_ttl_s=0), embedder)
    await shelf.flush()
    assert (await layer.embed(texts("z"), embedder)).cached == 0
    assert (await layer.embed(texts(), embedder)).vectors == []
    assert await shelf.drop("default", kind="answer") == 0


async def test_off_is_off(stores, clock):
    shelf = Shelf(stores.cache, CacheSettings(embeddings=False), clock=clock)
    layer, embedder = CachedEmbeddings(shelf), Embedder()
    for _ in range(2):
        assert (await layer.embed(texts("a"), embedder)).cached == 0


async def test_vectors_end_with_their_time(shelf, clock):
    layer, embedder = CachedEmbeddings(shelf), Embedder()
    await layer.embed(texts("a"), embedder)
    await shelf.flush()
    clock.at += VECTORS_TTL_S
    assert (await layer.embed(texts("a"), embedder)).cached == 0


async def test_what_cannot_be_read_or_has_no_key_is_asked_for(shelf):
    layer, embedder = CachedEmbeddings(shelf), Embedder()
    (key,) = text_keys(texts("a"))
    await shelf._store.put("default", [EntryDraft(key=key, value=b"junk", kind="vector", ttl_s=60)])
    assert (await layer.embed(texts("a"), embedder)).cached == 0
    assert (await layer.embed(texts("a", extra={"x": object()}), embedder)).cached == 0


async def test_a_failure_is_the_callers(shelf):
    async def fails(call):
        raise ModelUnavailable("down")

    with pytest.raises(ModelUnavailable):
        await CachedEmbeddings(shelf).embed(texts("a"), fails)


async def test_a_provider_that_miscounts_is_not_believed(shelf):
    async def miscounts(call):
        return EmbedReply(vectors=[[1.0]])

    layer = CachedEmbeddings(shelf)
    await layer.embed(texts("a", "b"), miscounts)
    await shelf.flush()
    assert (await layer.embed(texts("a"), miscounts)).cached == 0


async def test_without_a_store_vectors_are_at_hand():
    layer, embedder = CachedEmbeddings(Shelf(None, clock=TurnedClock())), Embedder()
    await layer.embed(texts("a", "b"), embedder)
    assert (await layer.embed(texts("b", "c"), embedder)).cached == 1
