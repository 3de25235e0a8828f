"""`/v1/memory`: documents and facts over HTTP, and who may see what."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from corral.app import App
from corral.server.memory_api import DESCRIPTIONS
from listening import Listening, answering

GUIDE = "# Guide\n\nRestart the router first.\n\n## Phones\n\nPhones take a minute to start.\n"


@pytest.fixture
async def service(build):
    keys = [{"key": f"key-of-{tenant}", "tenant": tenant} for tenant in ("acme", "other", "house")]
    app = App()
    app.entrypoint(lambda payload: payload)
    return await build(
        app,
        security={"api_keys": keys},
        memory={"teams": {"support": ["ada", "bob"]}, "publishers": ["house"], "inline_max_bytes": 500},
    )


@pytest.fixture
async def client_of(service):
    clients = []

    def make(tenant, user="", session=""):
        headers = {"authorization": f"Bearer key-of-{tenant}"}
        headers |= {"x-user-id": user} if user else {}
        headers |= {"x-session-id": session} if session else {}
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(service), base_url="http://corral", headers=headers, timeout=20
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def ada(client_of):
    return client_of("acme", "ada", "s-1")


async def search(client, query, **more):
    answer = await client.post("/v1/memory/search", json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def texts(client, query, **more):
    return [one["text"] for one in await search(client, query, **more)]


async def ended(client, job):
    answer = await client.get(f"/v1/jobs/{job}", params={"wait": 20})
    return answer.json()


async def test_a_document_is_taken_in_found_and_cited(ada):
    answer = await ada.post("/v1/memory/documents", json={"text": GUIDE, "source": "guide.md", "scope": "tenant"})
    assert answer.status_code == 200, answer.text
    ingested = answer.json()
    assert (ingested["outcome"], ingested["title"], ingested["chunks"], ingested["added"]) == ("new", "Guide", 2, 2)
    first, *_ = await search(ada, "how long do phones take?")
    assert first["text"] == "Phones take a minute to start."
    assert first["citation"]["place"] == "Guide > Phones"
    assert (first["citation"]["source"], first["citation"]["document"]) == ("guide.md", ingested["id"])
    assert first["namespace"] == {"name": "main", "scope": "tenant"}
    again = await ada.post("/v1/memory/documents", json={"text": GUIDE, "source": "guide.md", "scope": "tenant"})
    assert (again.json()["outcome"], again.json()["id"]) == ("same", ingested["id"])
    chunks = (await ada.get(f"/v1/memory/items/{ingested['id']}/chunks")).json()["items"]
    assert [chunk["place"] for chunk in chunks] == ["Guide", "Guide > Phones"]


async def test_what_is_large_is_a_jobs(ada, client_of):
    text = "\n\n".join(f"Paragraph {n} is about topic{n}." for n in range(60))
    answer = await ada.post("/v1/memory/documents", json={"text": text, "source": "long.txt", "metadata": {"n": 1}})
    assert answer.status_code == 202, answer.text
    job = await ended(ada, answer.json()["job_id"])
    assert job["status"] == "succeeded", job
    assert job["result"]["id"] == answer.json()["id"]
    assert "topic42" in (await texts(ada, "topic42"))[0]
    assert await texts(client_of("acme", "bob"), "topic42") == []
    small = await ada.post("/v1/memory/documents", json={"text": "Tiny.", "wait": False})
    assert (await ended(ada, small.json()["job_id"]))["status"] == "succeeded"
    assert await texts(ada, "tiny") == ["Tiny."]


async def test_a_file_may_be_base64(ada):
    page = b"<html><head><title>Shop</title></head><body><h1>Hours</h1><p>Open at <b>nine</b>.</p></body></html>"
    body = {"data": base64.b64encode(page).decode(), "source": "shop.html"}
    answer = await ada.post("/v1/memory/documents", json=body)
    assert answer.json()["title"] == "Shop"
    assert await texts(ada, "when open?") == ["Open at nine."]


async def test_facts_are_remembered_corrected_and_forgotten(ada):
    answer = await ada.post("/v1/memory/records", json={"text": "Likes tea.", "metadata": {"topic": "drink", "n": 2}})
    assert answer.status_code == 201, answer.text
    fact = answer.json()
    assert (fact["version"], fact["kind"], fact["namespace"]) == (
        1,
        "record",
        {"name": "main", "scope": "user", "owner": "ada"},
    )
    path = f"/v1/memory/records/{fact['id']}"
    changed = await ada.patch(path, json={"text": "Likes coffee.", "version": 1})
    assert (changed.status_code, changed.json()["text"], changed.json()["version"]) == (200, "Likes coffee.", 2)
    assert changed.json()["metadata"] == {"topic": "drink", "n": 2}
    assert (await ada.patch(path, json={"text": "Likes milk.", "version": 1})).status_code == 409
    assert await texts(ada, "tea") == []
    assert await texts(ada, "coffee", filters=[{"key": "n", "op": ">", "value": 1}]) == ["Likes coffee."]
    assert await texts(ada, "coffee", filters=[{"key": "n", "op": ">", "value": 2}]) == []
    assert (await ada.delete(f"/v1/memory/items/{fact['id']}")).status_code == 204
    assert (await ada.delete(f"/v1/memory/items/{fact['id']}")).status_code == 404
    assert (await ada.get(f"/v1/memory/items/{fact['id']}")).status_code == 404


async def test_scopes_say_who_sees_it(client_of):
    ada, bob, eve = client_of("acme", "ada", "s-1"), client_of("acme", "bob"), client_of("acme", "eve", "s-1")
    for body in (
        {"text": "note of ada", "scope": "user"},
        {"text": "note of the session", "scope": "session"},
        {"text": "note of the team", "scope": "team:support"},
        {"text": "note of the tenant", "scope": "tenant"},
    ):
        assert (await ada.post("/v1/memory/records", json=body)).status_code == 201
    house = client_of("house")
    assert (await house.post("/v1/memory/records", json={"text": "note of all", "scope": "public"})).status_code == 201
    assert (await ada.post("/v1/memory/records", json={"text": "x", "scope": "public"})).status_code == 403
    assert (await eve.post("/v1/memory/records", json={"text": "x", "scope": "team:support"})).status_code == 403

    async def seen(client):
        return {text.removeprefix("note of ").removeprefix("the ") for text in await texts(client, "note")}

    assert await seen(ada) == {"ada", "session", "team", "tenant", "all"}
    assert await seen(bob) == {"team", "tenant", "all"}
    assert await seen(eve) == {"session", "tenant", "all"}
    assert await seen(client_of("acme")) == {"tenant", "all"}
    assert await seen(client_of("other", "ada", "s-1")) == {"all"}
    assert await texts(ada, "note", scopes=["user"]) == ["note of ada"]
    listed = (await ada.get("/v1/memory/items", params={"scope": "team"})).json()["items"]
    assert [item["text"] for item in listed] == ["note of the team"]


async def test_everything_can_be_listed_exported_and_erased(ada, client_of):
    await ada.post("/v1/memory/documents", json={"text": GUIDE, "source": "guide.md"})
    await ada.post("/v1/memory/records", json={"text": "Likes tea.", "namespace": "facts"})
    spaces = (await ada.get("/v1/memory/namespaces")).json()["items"]
    assert [(one["namespace"]["name"], one["items"], one["chunks"]) for one in spaces] == [
        ("facts", 1, 1),
        ("main", 1, 2),
    ]
    export = await ada.get("/v1/memory/export")
    lines = [json.loads(line) for line in export.text.splitlines()]
    assert [line["kind"] for line in lines] == ["record", "document"]
    assert lines[1]["content"][1] == {"place": "Guide > Phones", "text": "Phones take a minute to start."}
    assert (await client_of("acme", "bob").get("/v1/memory/export")).text == ""
    assert (await ada.delete("/v1/memory")).status_code == 400
    assert (await ada.delete("/v1/memory", params={"of": "ada"})).status_code == 400
    assert (await ada.delete("/v1/memory", params={"of": "user:ada"})).json() == {"deleted_items": 2}
    assert (await ada.get("/v1/memory/items")).json()["items"] == []
    assert (await ada.delete("/v1/memory", params={"of": "all"})).json() == {"deleted_items": 0}


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("POST", "/v1/memory/documents", {}, None),
        ("POST", "/v1/memory/documents", {"text": "x", "url": "https://x"}, None),
        ("POST", "/v1/memory/documents", {"url": "ftp://x"}, "/url"),
        ("POST", "/v1/memory/documents", {"data": "?"}, "/data"),
        ("POST", "/v1/memory/documents", {"text": "x", "media_type": "text/rtf"}, "/media_type"),
        ("POST", "/v1/memory/documents", {"text": "x", "scop": "user"}, "/scop"),
        ("POST", "/v1/memory/documents", {"text": "x", "wait": 1}, "/wait"),
        ("POST", "/v1/memory/records", {"text": " "}, None),
        ("POST", "/v1/memory/records", {"text": 1}, "/text"),
        ("POST", "/v1/memory/records", {"text": "x", "ttl_s": 0}, "/ttl_s"),
        ("POST", "/v1/memory/records", {"text": "x", "scope": "moon"}, "/scope"),
        ("POST", "/v1/memory/records", {"text": "x", "scope": "team"}, "/scope"),
        ("POST", "/v1/memory/records", {"text": "x", "scope": "user:ada"}, "/scope"),
        ("POST", "/v1/memory/records", {"text": "x", "team": "a"}, "/team"),
        ("POST", "/v1/memory/records", {"text": "x", "metadata": []}, "/metadata"),
        ("POST", "/v1/memory/records", {"text": "x", "events": "e"}, "/events"),
        ("POST", "/v1/memory/records", {"text": "x", "namespace": "a\nb"}, "/namespace"),
        ("POST", "/v1/memory/search", {"query": ""}, "/query"),
        ("POST", "/v1/memory/search", {"query": "x", "k": 1000}, "/k"),
        ("POST", "/v1/memory/search", {"query": "x", "k": True}, "/k"),
        ("POST", "/v1/memory/search", {"query": "x", "kinds": ["tale"]}, "/kinds"),
        ("POST", "/v1/memory/search", {"query": "x", "filters": {}}, "/filters"),
        ("POST", "/v1/memory/search", {"query": "x", "filters": [{"key": "a", "op": "~"}]}, "/filters/0"),
        ("POST", "/v1/memory/search", {"query": "x", "filters": [{"key": "a", "value": []}]}, "/filters/0/value"),
        ("POST", "/v1/memory/jobs", {"do": "dance"}, "/do"),
        ("POST", "/v1/memory/jobs", {"do": {}}, "/do"),
        ("POST", "/v1/memory/jobs", {"do": "refresh", "ids": [1]}, "/ids"),
        ("GET", "/v1/memory/items?limit=0", None, None),
        ("GET", "/v1/memory/items?kind=tale", None, None),
        ("GET", "/v1/memory/items?namespace=", None, None),
    ],
)
async def test_what_is_wrong_is_said(ada, method, path, body, pointer):
    answer = await ada.request(method, path, json=body)
    assert answer.status_code == 400, answer.text
    if pointer:
        assert answer.json()["errors"][0]["pointer"] == pointer


async def test_what_has_no_owner_is_not_kept_for_somebody(client_of):
    nobody = client_of("acme")
    for scope, hint in (("user", "X-User-Id"), ("session", "X-Session-Id"), ("team:support", "may not")):
        answer = await nobody.post("/v1/memory/records", json={"text": "x", "scope": scope})
        assert answer.status_code == 403
        assert hint in answer.text
    answer = await nobody.post("/v1/memory/records", json={"text": "x"})
    assert answer.json()["namespace"] == {"name": "main", "scope": "tenant"}


async def test_a_taken_id_is_a_conflict(ada, client_of):
    assert (await ada.post("/v1/memory/records", json={"text": "Hers.", "id": "fact-1"})).status_code == 201
    bob = client_of("acme", "bob")
    assert (await bob.post("/v1/memory/records", json={"text": "His.", "id": "fact-1"})).status_code == 409
    assert (await ada.post("/v1/memory/records", json={"text": "Again.", "id": "fact-1"})).status_code == 409


def page(text, status="200 OK"):
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: text/markdown; charset=utf-8\r\ncontent-length: {len(body)}\r\n\r\n"
    return answering(head.encode() + body)


async def test_documents_are_fetched_and_refreshed(serve):
    app = App()
    app.entrypoint(lambda payload: payload)
    async with (
        Listening(page("# News\n\nThe bridge is closed.\n")) as web,
        Listening(page("", "404 Not Found")) as lost,
    ):
        server = await serve(app, memory={"fetch_allow": ["127.0.0.1"]}, jobs={"attempts_max": 1})
        client = server.client
        url = f"http://127.0.0.1:{web.port}/news"
        answer = await client.post("/v1/memory/documents", json={"url": url, "metadata": {"a": 1}})
        assert answer.status_code == 202
        assert (await ended(client, answer.json()["job_id"]))["result"]["outcome"] == "new"
        assert await texts(client, "bridge") == ["The bridge is closed."]
        missing = await client.post("/v1/memory/documents", json={"url": f"http://127.0.0.1:{lost.port}/"})
        failed = await ended(client, missing.json()["job_id"])
        assert failed["status"] == "failed"
        assert "404" in failed["error"]["message"]
        web.behave = page("# News\n\nThe bridge is open.\n")
        job = (await client.post("/v1/memory/jobs", json={"do": "refresh"})).json()["job_id"]
        assert (await ended(client, job))["result"] == {"documents": 1, "changed": 1, "failed": {}}
        assert await texts(client, "bridge") == ["The bridge is open."]
        web.behave = page("", "500 Oops")
        job = (await client.post("/v1/memory/jobs", json={"do": "refresh"})).json()["job_id"]
        result = (await ended(client, job))["result"]
        assert (result["documents"], list(result["failed"].values())) == (
            1,
            [f"{url} answers 500, not 200: give the address of the document itself."],
        )
        assert await texts(client, "bridge") == ["The bridge is open."]


async def test_places_can_be_found_by_meaning_and_anew(serve):
    app = App()
    app.entrypoint(lambda payload: payload)
    server = await serve(app, memory={"embedder": "sim/embedding"}, models={"default": "sim/small"})
    client = server.client
    ingested = (await client.post("/v1/memory/documents", json={"text": GUIDE, "source": "guide.md"})).json()
    assert ingested["embedded"] == 2
    assert (await texts(client, "Phones take a minute to start."))[0] == "Phones take a minute to start."
    job = (await client.post("/v1/memory/jobs", json={"do": "reindex"})).json()["job_id"]
    assert (await ended(client, job))["result"] == {"embedded": 0}


# -- isolation --------------------------------------------------------------------------------------------------------

STRANGERS = {
    "POST /v1/memory/documents": ({"json": {"text": "Mine.", "source": "guide.md"}}, 200),
    "GET /v1/memory/items": ({}, 200),
    "GET /v1/memory/items/{id}": ({}, 404),
    "DELETE /v1/memory/items/{id}": ({}, 404),
    "GET /v1/memory/items/{id}/chunks": ({}, 404),
    "POST /v1/memory/records": ({"json": {"text": "Mine.", "scope": "tenant"}}, 201),
    "PATCH /v1/memory/records/{id}": ({"json": {"text": "Mine."}}, 404),
    "POST /v1/memory/search": ({"json": {"query": "secret"}}, 200),
    "GET /v1/memory/namespaces": ({}, 200),
    "GET /v1/memory/export": ({}, 200),
    "POST /v1/memory/jobs": ({"json": {"do": "refresh"}}, 202),
    "DELETE /v1/memory": ({"params": {"of": "user:ada"}}, 200),
}


def test_every_route_is_described_and_has_an_isolation_test(service):
    routes = service.remembering.routes(service.desk.submit)
    assert {f"{route.method} {route.path}" for route in routes} == set(STRANGERS) == set(DESCRIPTIONS)


@pytest.mark.parametrize("address", STRANGERS)
async def test_a_tenant_neither_sees_nor_changes_what_others_keep(client_of, address):
    owner, stranger = client_of("acme", "ada", "s-1"), client_of("other", "ada", "s-1")
    await owner.post("/v1/memory/documents", json={"text": "A secret guide.", "source": "guide.md"})
    fact = (await owner.post("/v1/memory/records", json={"text": "A secret.", "namespace": "secret"})).json()

    async def everything():
        return (await owner.get("/v1/memory/export")).text, (await owner.get("/v1/memory/namespaces")).text

    before = await everything()
    method, _, path = address.partition(" ")
    request, status = STRANGERS[address]
    answer = await stranger.request(method, path.format(id=fact["id"]), **request, headers={"x-tenant": "acme"})
    assert answer.status_code == status, answer.text
    assert "secret" not in answer.text
    assert await everything() == before


@pytest.mark.parametrize("address", STRANGERS)
async def test_nobody_comes_in_without_a_credential(client_of, address):
    method, _, path = address.partition(" ")
    answer = await client_of("nobody").request(method, path.format(id="x"))
    assert answer.status_code == 401
