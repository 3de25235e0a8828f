"""`/v1/costs`: added up, and for one's own tenant alone."""

from __future__ import annotations

import httpx
import pytest

from corral.app import App
from corral.limits.store import LedgerEntry, SpendQuery
from corral.messages import Usage
from corral.testing.contracts.setting import eventually
from corral.wiring.tidying import what_expires


@pytest.fixture
async def client_of(build):
    app = App()
    app.entrypoint(lambda payload: payload)
    keys = [{"key": f"key-of-{name}", "tenant": name} for name in ("acme", "other")]
    service = await build(app, security={"api_keys": keys}, cache={"exact": True})

    def client(tenant):
        headers = {"authorization": f"Bearer key-of-{tenant}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral", headers=headers)

    return client


async def ask(client, text="Hi", **headers):
    body = {"model": "sim/small", "messages": [{"role": "user", "content": text}]}
    return await client.post("/v1/chat/completions", json=body, headers=headers)


async def costs(client, **query):
    return (await client.get("/v1/costs", params=query)).json()["items"]


async def test_what_a_tenant_spent_is_its_own(client_of):
    async with client_of("acme") as acme, client_of("other") as other:
        await ask(acme)
        await ask(acme)
        await ask(other, "Something else")

        async def written():
            return [[one["calls"] for one in await costs(each)] for each in (acme, other)] == [[2], [1]]

        await eventually(written)  # behind the caller's back
        (ours,) = await costs(acme)
        assert (ours["key"], ours["cached"], ours["unpriced"]) == ("sim/small", 1, 0)
        assert ours["cost_usd"] > 0


async def test_answers_that_are_kept_stay_with_their_tenant(client_of):
    async with client_of("acme") as acme, client_of("other") as other:
        assert (await ask(acme)).headers["x-corral-cache"] == "miss"
        assert (await ask(other)).headers["x-corral-cache"] == "miss"
        assert (await ask(acme)).headers["x-corral-cache"] == "hit"


async def test_added_up_by_a_tag(client_of):
    async with client_of("acme") as acme:
        await ask(acme, "One", **{"x-corral-tags": "team=support"})
        await ask(acme, "Two", **{"x-corral-tags": "team=sales"})

        async def written():
            return {one["key"] for one in await costs(acme, tag="team")} == {"support", "sales"}

        await eventually(written)


@pytest.mark.parametrize(
    "query",
    [
        {"by": "moon"},
        {"by": "tag"},
        {"tag": ""},
        {"since": "soon"},
        {"since": "1y"},
        {"limit": "0"},
        {"limit": "x"},
    ],
)
async def test_what_cannot_be_added_up_is_said(client_of, query):
    async with client_of("acme") as acme:
        answer = await acme.get("/v1/costs", params=query)
    assert answer.status_code == 400
    assert answer.json()["code"] == "validation_error"


async def test_without_a_key_nothing(client_of):
    async with client_of("nobody") as nobody:
        assert (await nobody.get("/v1/costs")).status_code == 401
        assert (await ask(nobody)).status_code == 401


async def test_deployments_are_gauged(client_of):
    async with client_of("acme") as acme:
        await ask(acme)
        metrics = (await acme.get("/metrics")).text
    assert 'corral_llm_deployment_open{deployment="sim/small"} 0' in metrics


async def test_what_is_older_than_it_is_kept_goes_with_the_sweeps(build):
    app = App()
    app.entrypoint(lambda payload: payload)
    service = await build(app)
    ledger = service.stores.ledger
    old = LedgerEntry(
        id="e-1", tenant="default", provider="sim", model="sim/small", usage=Usage(), cost_usd=1.0, at=1.0
    )
    await ledger.write([old])
    assert await ledger.spend("default", SpendQuery())
    assert await what_expires(service.settings, service.stores)["costs"]() == 1
    assert not await ledger.spend("default", SpendQuery())
