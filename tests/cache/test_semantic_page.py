"""`GET /v1/cache/semantic` and `corral cache audit`: what answers by meaning are worth, said to people."""

from __future__ import annotations

import asyncio
import json

import pytest

from corral.cache.semantic.status import status_of
from corral.cache.semantic_store import AnswerDraft, Label, Route, SemanticTally
from corral.cli import cache_audit
from corral.errors import ValidationFailed
from corral.server.semantic import SemanticRoutes
from corral.settings.model_sections import SemanticCacheSettings

ROUTE = Route(b"r" * 16, "sim/small", "abc")


class Request:
    """As much of a request as the handlers look at."""

    def __init__(self, tenant="acme", query=b""):
        self.context = type("Context", (), {"tenant": tenant})
        self.scope = {"query_string": query}
        self.answer = None

    async def respond_json(self, content):
        self.answer = content


async def fill(store, *, right=200, wrong_at=0.8):
    await store.put(
        "acme",
        [AnswerDraft(id=b"i" * 16, scope=b"s" * 16, question="Q?", vector=b"", value=b"v", ttl_s=9.0)],
        entries_max=9,
    )
    await store.tally([SemanticTally(tenant="acme", route=ROUTE, hits=3, misses=1, saved_usd=0.5)])
    labels = [Label(answer=b"i" * 16, score=0.9, same=True, audited=False)] * right
    wrong = Label(answer=b"i" * 16, score=wrong_at, same=False, audited=True, question="New?", kept="Q?")
    await store.label("acme", ROUTE, [*labels, *[wrong] * 20])


async def test_the_status_says_from_where_on_it_serves_and_why(stores):
    await fill(stores.semantic)
    found = await status_of(stores.semantic, SemanticCacheSettings(mode="serve"), "acme")
    (route,) = found.routes
    assert (found.answers, route.hits, route.misses, route.saved_usd) == (1, 3, 1, 0.5)
    assert (route.threshold, route.serving, route.labels, route.wrong, route.labels_needed) == (0.9, True, 200, 0, 0)
    assert route.wrong_between[0] == 0.0
    assert 0.014 < route.wrong_between[1] < 0.02
    assert (route.audits, route.audits_wrong) == (20, 20)
    fixed = await status_of(stores.semantic, SemanticCacheSettings(mode="fixed"), "acme")
    assert (fixed.routes[0].threshold, fixed.routes[0].serving) == (0.95, True)
    assert (await status_of(stores.semantic, SemanticCacheSettings(), "umbrella")).routes == []


async def test_the_status_says_what_is_missing(stores):
    await fill(stores.semantic, right=100, wrong_at=0.95)
    (route,) = (await status_of(stores.semantic, SemanticCacheSettings(mode="serve"), "acme")).routes
    assert (route.threshold, route.serving, route.labels_needed) == (None, False, 149)


async def test_over_http_each_tenant_sees_and_clears_its_own(stores):
    await fill(stores.semantic)
    routes = SemanticRoutes(stores.semantic, SemanticCacheSettings(mode="serve"))
    assert [(route.method, route.path) for route in routes.routes()] == [
        ("GET", "/v1/cache/semantic"),
        ("DELETE", "/v1/cache/semantic"),
    ]
    ours, theirs = Request(), Request("umbrella")
    await routes.show(ours)
    await routes.show(theirs)
    assert ours.answer["last_wrong"][0]["question"] == "New?"
    assert ours.answer["routes"][0].route == ROUTE.key.hex()
    assert (theirs.answer["answers"], theirs.answer["routes"], theirs.answer["last_wrong"]) == (0, [], [])
    for query, tenant, gone in ((b"tag=faq", "acme", 0), (b"", "umbrella", 0), (b"", "acme", 1)):
        request = Request(tenant, query)
        await routes.clear(request)
        assert request.answer == {"cleared": gone}
    for query in (b"tags=faq", b"tag="):
        with pytest.raises(ValidationFailed):
            await routes.clear(Request(query=query))


@pytest.fixture
def served(stores, monkeypatch):
    """What the command line is answered."""

    async def answer(mode):
        await fill(stores.semantic)
        await stores.semantic.restart("acme", ROUTE, "too many were wrong")
        request = Request()
        await SemanticRoutes(stores.semantic, SemanticCacheSettings(mode=mode)).show(request)
        import msgspec

        content = msgspec.json.decode(msgspec.json.encode(request.answer))
        monkeypatch.setattr(cache_audit, "client_for", lambda *_: type("C", (), {"ask": lambda *_: content}))
        return content

    return answer


@pytest.mark.parametrize("mode", ["off", "shadow", "serve", "fixed"])
async def test_the_command_line_tells_it(served, mode, capsys):
    await served(mode)
    await asyncio.to_thread(cache_audit.audit)
    said = capsys.readouterr()
    assert "1 answers; at most 2.0%" in said.out
    assert ("149 right ones to go" in said.out) == (mode != "fixed")
    assert "New?" in said.out
    assert "too many were wrong" in said.err
    assert ("cache.semantic.mode" in said.err) == (mode != "serve")


async def test_the_command_line_tells_it_in_json(served, capsys):
    content = await served("serve")
    await asyncio.to_thread(cache_audit.audit, as_json=True)
    assert json.loads(capsys.readouterr().out) == content
