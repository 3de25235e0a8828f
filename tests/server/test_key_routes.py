"""`/v1/keys`, and what keys do at the door of a server."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from token_scene_of_servers import SECRET, token_for

from corral.app import App
from corral.errors import Unauthenticated
from corral.security.issuing import KeyDesk
from corral.security.key_store import Grant
from corral.server.identity import KeyRefused
from corral.testing.contracts.setting import eventually

ADMIN = {"key": "the-admin-of-acme", "tenant": "acme", "roles": ["admin"]}


@pytest.fixture
def app():
    app = App()

    def who(payload, context):
        return [context.tenant, context.tier, list(context.roles), context.key_id, context.user_id]

    app.entrypoint(who)
    app.entrypoint(name="support")(who)
    return app


@pytest.fixture
async def service(build, app):
    keys = [ADMIN, {"key": "of-other", "tenant": "other", "roles": ["admin"]}, {"key": "plain", "tenant": "acme"}]
    return await build(app, security={"api_keys": keys})


@pytest.fixture
async def client(service):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral") as client:
        yield client


def shown(key):
    return {"authorization": f"Bearer {key}"}


async def test_a_key_from_its_making_to_its_end(service, client):
    asked = {"name": "ci", "tier": "gold", "roles": ["invoker", "billing"], "ttl_s": 3600}
    answer = await client.post("/v1/keys", json=asked, headers=shown(ADMIN["key"]))
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert (made["tenant"], made["state"], made["name"], made["tier"]) == ("acme", "active", "ci", "gold")
    assert made["created_by"].startswith("key settings-")
    assert made["expires_at"] == pytest.approx(made["created_at"] + 3600, abs=1)
    said = await client.post("/invocations", json={}, headers=shown(made["key"]))
    assert said.json() == ["acme", "gold", ["invoker", "billing"], made["id"], None]
    said = await client.post("/invocations", json={}, headers={"x-api-key": made["key"], "x-user-id": "ada"})
    assert said.json()[-1] == "ada"
    listed = (await client.get("/v1/keys", headers=shown(ADMIN["key"]))).json()
    assert [one["id"] for one in listed["items"]] == [made["id"]]
    assert made["key"] not in str(listed)
    assert "digest" not in str(listed)
    turned = await client.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 0}, headers=shown(ADMIN["key"]))
    assert (turned.status_code, turned.json()["id"]) == (200, made["id"])
    service.guarding.ring._ask_again_at = 0.0
    assert (await client.post("/invocations", json={}, headers=shown(made["key"]))).status_code == 401
    assert (await client.post("/invocations", json={}, headers=shown(turned.json()["key"]))).status_code == 200
    gone = await client.delete(f"/v1/keys/{made['id']}", headers=shown(ADMIN["key"]))
    assert gone.json()["state"] == "revoked"
    service.guarding.ring._ask_again_at = 0.0
    assert (await client.post("/invocations", json={}, headers=shown(turned.json()["key"]))).status_code == 401
    again = await client.post(f"/v1/keys/{made['id']}/rotate", json={}, headers=shown(ADMIN["key"]))
    assert (again.status_code, again.json()["code"]) == (409, "key_over")
    await service.audit.drain()
    entries = (await client.get("/v1/audit", params={"subject": made["id"]}, headers=shown(ADMIN["key"]))).json()
    assert [one["action"] for one in entries["items"]] == ["key.revoke", "key.rotate", "key.create"]
    assert made["key"] not in str(entries)


async def test_a_key_that_is_not_let_in_is_told_from_none_and_from_no_other(service, client):
    made = (await client.post("/v1/keys", json={}, headers=shown(ADMIN["key"]))).json()
    await client.delete(f"/v1/keys/{made['id']}", headers=shown(ADMIN["key"]))
    service.guarding.ring._ask_again_at = 0.0
    none = await client.get("/v1/queues")
    assert (none.status_code, none.json()["detail"]) == (401, Unauthenticated.__doc__)
    mistyped = made["key"][:-1] + ("a" if made["key"][-1] != "a" else "b")
    told = set()
    for wrong in (made["key"], mistyped, "plainly wrong", "corral_", "eyJ.x.y"):
        refused = await client.get("/v1/queues", headers=shown(wrong))
        assert (refused.status_code, refused.json()["code"]) == (401, "auth_error")
        assert refused.headers["www-authenticate"] == 'Bearer realm="corral"'
        told.add(refused.json()["detail"])
    assert told == {KeyRefused.__doc__}
    asked = await client.get("/v1/models", headers=shown("wrong"))
    assert asked.json()["error"]["code"] == "invalid_api_key"
    assert asked.json()["error"]["message"] == KeyRefused.__doc__


async def test_keys_are_one_tenants(client):
    made = (await client.post("/v1/keys", json={}, headers=shown(ADMIN["key"]))).json()
    other = shown("of-other")
    assert (await client.get("/v1/keys", headers=other)).json()["items"] == []
    assert (await client.get(f"/v1/keys/{made['id']}", headers=other)).status_code == 404
    assert (await client.delete(f"/v1/keys/{made['id']}", headers=other)).status_code == 404
    assert (await client.post(f"/v1/keys/{made['id']}/rotate", headers=other)).status_code == 404
    assert (await client.post("/v1/keys", json={"tenant": "other"}, headers=shown(ADMIN["key"]))).status_code == 400
    assert (await client.post("/invocations", json={}, headers=shown(made["key"]))).json()[0] == "acme"


async def test_a_key_whose_roles_say_nothing_may_all_but_manage_keys(client):
    assert (await client.get("/v1/queues", headers=shown("plain"))).status_code == 200
    refused = await client.get("/v1/keys", headers=shown("plain"))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "`admin`" in refused.json()["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "admin"},
        {"roles": "admin"},
        {"roles": [1]},
        {"name": 7},
        {"name": "a\nb"},
        {"ttl_s": "soon"},
        {"ttl_s": 0},
        {"ttl_s": True},
        {"aws": "yes"},
        {"aws": True},
        {"agents": ["x"] * 51},
        [],
    ],
)
async def test_what_a_key_cannot_be_is_a_400(client, wrong):
    answer = await client.post("/v1/keys", json=wrong, headers=shown(ADMIN["key"]))
    assert answer.status_code == 400, answer.text


async def test_lists_come_in_pages(client):
    made = [(await client.post("/v1/keys", json={}, headers=shown(ADMIN["key"]))).json()["id"] for _ in range(3)]
    first = (await client.get("/v1/keys?limit=2", headers=shown(ADMIN["key"]))).json()
    second = (await client.get(f"/v1/keys?cursor={first['next_cursor']}", headers=shown(ADMIN["key"]))).json()
    assert [one["id"] for one in first["items"] + second["items"]] == made[::-1]
    for wrong in ("limit=0", "limit=x", "cursor=", "colour=red"):
        assert (await client.get(f"/v1/keys?{wrong}", headers=shown(ADMIN["key"]))).status_code == 400


async def test_a_key_is_for_the_agents_and_models_it_names(service, client):
    desk = KeyDesk(service.stores.keys)
    made = await desk.create("acme", Grant(agents=("sup*",), models=("small",)))
    headers = shown(made.key)
    assert (await client.post("/v1/agents/support/invocations", json={}, headers=headers)).status_code == 200
    for address, body in (
        ("/invocations", {}),
        ("/v1/agents/main/invocations", {}),
        ("/v1/jobs", {"agent": "main"}),
        ("/v1/jobs/batches", {"agent": "main", "inputs": [1]}),
        ("/v1/chat/completions", {"model": "large", "messages": [{"role": "user", "content": "x"}]}),
        ("/v1/responses", {"model": "large", "input": "x"}),
        ("/v1/embeddings", {"model": "large", "input": "x"}),
    ):
        answer = await client.post(address, json=body, headers=headers)
        assert answer.status_code == 403, (address, answer.text)
    assert (await client.post("/v1/jobs", json={"agent": "support"}, headers=headers)).status_code == 202
    answer = await client.post("/v1/chat/completions", json={"model": "small", "messages": []}, headers=headers)
    assert answer.status_code != 403


async def test_a_limited_key_has_no_job_of_others_run_with_words_of_its_own(service, client):
    desk = KeyDesk(service.stores.keys)
    limited = shown((await desk.create("acme", Grant(roles=("operator",), agents=("sup*",)))).key)
    few_models = shown((await desk.create("acme", Grant(roles=("operator",), models=("small",)))).key)
    whole = shown(ADMIN["key"])
    jobs = {}
    for agent in ("main", "support"):
        made = await client.post("/v1/jobs", json={"agent": agent, "delay_s": 3600}, headers=whole)
        jobs[agent] = f"/v1/jobs/{made.json()['id']}"
        assert (await client.post(f"{jobs[agent]}/cancel", headers=limited)).status_code == 200
    asked = {"input": {"mine": True}}
    for job, headers, is_refused in (
        (jobs["main"], limited, True),
        (jobs["support"], few_models, True),
        (jobs["support"], limited, False),
        (jobs["main"], whole, False),
    ):
        answer = await client.post(f"{job}/retry", json=asked, headers=headers)
        assert answer.status_code in ({403} if is_refused else {200, 202}), answer.text
    again = (await client.post("/v1/jobs", json={"agent": "main", "delay_s": 3600}, headers=whole)).json()["id"]
    await client.post(f"/v1/jobs/{again}/cancel", headers=whole)
    assert (await client.post(f"/v1/jobs/{again}/retry", headers=limited)).is_success


async def test_the_first_key_closes_the_door(build, app):
    service = await build(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral") as client:
        assert (await client.post("/invocations", json={})).status_code == 200
        refused = await client.post("/v1/keys", json={"roles": ["admin"]})
        assert (refused.status_code, "on the machine" in refused.text) == (403, True)
        made = await KeyDesk(service.stores.keys).create("default", Grant(roles=("admin",)))
        service.guarding.ring._ask_again_at = 0.0
        assert (await client.post("/invocations", json={})).status_code == 401
        assert (await client.get("/ping")).status_code == 200
        assert (await client.get("/v1/keys", headers=shown(made.key))).status_code == 200
        await KeyDesk(service.stores.keys).revoke("default", made.record.id)
        service.guarding.ring._ask_again_at = 0.0
        assert (await client.post("/invocations", json={})).status_code == 401, "it does not open again by itself"


async def test_every_worker_refuses_what_one_revoked(build, app):
    here, there = await build(app), await build(app)
    desk = KeyDesk(here.stores.keys)
    made = await desk.create("acme", Grant())
    clients = [
        httpx.AsyncClient(transport=httpx.ASGITransport(one), base_url="http://corral", headers=shown(made.key))
        for one in (here, there)
    ]

    async def statuses():
        return {(await client.post("/invocations", json={})).status_code for client in clients}

    assert await statuses() == {200}
    await desk.revoke("acme", made.record.id)
    async with asyncio.timeout(2):
        await eventually(lambda: _are(statuses, {401}))
    for client in clients:
        await client.aclose()


async def _are(ask, expected):
    return await ask() == expected


async def test_tokens_of_others_are_let_in(build, app):
    issuer = {
        "issuer": "https://login.example",
        "audience": ["corral"],
        "algorithms": ["HS256"],
        "secret": SECRET,
        "roles_claim": "groups",
        "roles": {"ops": ["operator"]},
        "tier_claim": "plan",
    }
    service = await build(app, security={"jwt": [issuer]})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral") as client:
        good = shown(token_for(sub="ada", tenant="acme", plan="gold", groups=["ops"]))
        answer = await client.post("/invocations", json={}, headers={**good, "x-user-id": "somebody-else"})
        assert answer.json() == ["acme", "gold", ["invoker", "operator"], "jwt https://login.example", "ada"]
        assert (await client.get("/v1/queues", headers=good)).status_code == 200
        plain = shown(token_for(sub="bob", tenant="acme"))
        assert (await client.get("/v1/queues", headers=plain)).status_code == 403
        assert (await client.get("/v1/keys", headers=good)).status_code == 403
        for wrong in (token_for(secret="another secret of the same length", sub="eve", tenant="acme"), "eyJ.x.y"):
            refused = await client.post("/v1/agents/main/invocations", json={}, headers=shown(wrong))
            assert refused.status_code == 401
            assert refused.json()["code"] == "auth_error"
        assert (await client.post("/invocations", json={})).status_code == 401
