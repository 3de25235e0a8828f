"""`/v1/cache`, and who may see and clear what."""

from __future__ import annotations

import httpx
import pytest

from corral.app import App
from corral.cache.store import EntryDraft, Tally
from corral.server.cache import CacheRoutes


@pytest.fixture
async def service(build):
    keys = [{"key": f"key-of-{tenant}", "tenant": tenant} for tenant in ("acme", "other")]
    app = App()
    app.entrypoint(lambda payload: payload)
    return await build(app, security={"api_keys": keys})


@pytest.fixture
async def client_of(service):
    clients = []

    def make(tenant):
        headers = {"authorization": f"Bearer key-of-{tenant}"}
        client = httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral", headers=headers)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def filled(service):
    cache = service.stores.cache
    drafts = [
        EntryDraft(key=b"a" * 16, value=b"secret", ttl_s=60, tags=("red", "a&b")),
        EntryDraft(key=b"b" * 16, value=b"123", ttl_s=60, tags=("red",)),
        EntryDraft(key=b"c" * 16, value=b"1234", ttl_s=60, kind="vector"),
    ]
    await cache.put("acme", drafts)
    await cache.tally([Tally("acme", "answer", hits=3, misses=1, saved_usd=0.5)])
    return cache


async def test_it_says_how_much_is_kept(filled, client_of):
    answer = await client_of("acme").get("/v1/cache")
    assert answer.json() == {
        "items": [
            {"kind": "answer", "entries": 2, "bytes": 9, "hits": 3, "misses": 1, "saved_usd": 0.5},
            {"kind": "vector", "entries": 1, "bytes": 4, "hits": 0, "misses": 0, "saved_usd": 0.0},
        ]
    }
    assert (await client_of("other").get("/v1/cache")).json() == {"items": []}


@pytest.mark.parametrize(
    ("query", "cleared"),
    [
        ("", 3),
        ("?tag=red", 2),
        ("?tag=a%26b", 1),
        ("?tag=a%26b&tag=red", 2),
        ("?kind=vector", 1),
        ("?tag=red&kind=vector", 0),
    ],
)
async def test_it_throws_away_what_was_meant(filled, client_of, query, cleared):
    assert (await client_of("acme").delete(f"/v1/cache{query}")).json() == {"cleared": cleared}


@pytest.mark.parametrize("query", ["?tags=red", "?tag=", "?kind=all", "?" + "&".join(["tag=x"] * 101)])
async def test_what_is_misspelt_clears_nothing(filled, client_of, query):
    client = client_of("acme")
    answer = await client.delete(f"/v1/cache{query}")
    assert answer.status_code in {400, 422}
    assert len((await filled.get("acme", [c * 16 for c in (b"a", b"b", b"c")])).found) == 3


async def test_isolation(filled, client_of):
    """Each address, tried by another tenant: nothing is told, nothing is cleared."""
    stranger = client_of("other")
    for route in CacheRoutes(filled).routes():
        for query in ("", "?tag=red") if route.method == "DELETE" else ("",):
            answer = await stranger.request(route.method, f"{route.path}{query}", headers={"x-tenant": "acme"})
            assert answer.json() in ({"items": []}, {"cleared": 0})
        assert (await client_of("nobody").request(route.method, route.path)).status_code == 401
    looked = await filled.get("acme", [c * 16 for c in (b"a", b"b", b"c")])
    assert (len(looked.found), looked.generation) == (3, 0)
