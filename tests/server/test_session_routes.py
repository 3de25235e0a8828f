from __future__ import annotations

import asyncio

import httpx
import msgspec
import pytest

from corral.app import App
from corral.server.session_api import DESCRIPTIONS
from corral.server.sessions import SessionRoutes
from corral.sessions.event import SessionKey
from corral.sessions.turns import Turns
from corral.settings.sections import SessionSettings

SESSION = "/v1/sessions/s1"
EVENTS = f"{SESSION}/events"
STATE = f"{SESSION}/state"


@pytest.fixture
async def service(build):
    keys = [{"key": f"key-of-{tenant}", "tenant": tenant} for tenant in ("acme", "other")]
    limits = {"body_max_bytes": 20_000_000, "json_depth_max": 64}
    app = App()
    app.entrypoint(lambda payload: payload)
    return await build(app, security={"api_keys": keys}, sessions={"ttl_s": 1000}, server=limits)


@pytest.fixture
async def stores(service):
    return service.stores


@pytest.fixture
async def client_of(service):
    """A client with a tenant's key."""
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
async def client(client_of):
    return client_of("acme")


async def say(client, *texts, **event):
    events = [{"role": "user", "content": text} | event for text in texts]
    answer = await client.post(EVENTS, json=events)
    assert answer.status_code == 201, answer.text
    return answer.json()["items"]


async def texts(client, **query):
    answer = await client.get(EVENTS, params=query)
    assert answer.status_code == 200, answer.text
    return [item["content"][0]["text"] for item in answer.json()["items"]]


def assert_problem(answer, status, code, what=""):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert what in problem["detail"]
    return problem


# -- events ------------------------------------------------------------------------------------------------------------


async def test_what_was_appended_is_listed_newest_first(client):
    answer = await client.post(EVENTS, json={"role": "user", "content": "hi"}, headers={"x-user-id": "ada"})
    assert answer.status_code == 201
    (event,) = answer.json()["items"]
    assert event["actor"] == "ada"
    assert event["content"] == [{"type": "text", "text": "hi"}]
    await say(client, "you", "there")
    page = (await client.get(EVENTS)).json()
    assert page["items"][-1] == event
    assert await texts(client) == ["there", "you", "hi"]
    assert page["next_cursor"] is None


async def test_events_are_paged_and_filtered(client):
    await say(client, "a", "b", actor="ada", metadata={"topic": "x/y"})
    await say(client, "c", role="tool", branch="side")
    (last,) = await say(client, "d", role="assistant")
    first_page = (await client.get(EVENTS, params={"limit": 3})).json()
    assert len(first_page["items"]) == 3
    rest = (await client.get(EVENTS, params={"cursor": first_page["next_cursor"]})).json()
    assert [item["content"][0]["text"] for item in rest["items"]] == ["a"]
    assert await texts(client, branch="side") == ["c"]
    assert await texts(client, branch="side", include_parents="true") == ["c", "b", "a"]
    assert await texts(client, actor="ada") == ["b", "a"]
    assert await texts(client, role="tool,assistant") == ["d", "c"]
    assert await texts(client, **{"metadata.topic": "x/y"}) == ["b", "a"]
    assert await texts(client, **{"metadata.topic": "z"}) == []
    assert await texts(client, since=last["created_at"] + 60) == []
    assert len(await texts(client, since=0)) == 4


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "ten"},
        {"limit": "-1"},
        {"limit": ""},
        {"limit": "٣"},
        {"limit": "9" * 5000},
        {"role": "robot"},
        {"role": "user,user"},
        {"role": ""},
        {"since": "yesterday"},
        {"since": "nan"},
        {"since": "inf"},
        {"include_parents": "maybe"},
    ],
)
async def test_a_query_that_means_nothing_is_refused(client, query):
    await say(client, "hi")
    assert_problem(await client.get(EVENTS, params=query), 400, "validation_error", next(iter(query)))


async def test_a_cursor_of_somebody_elses_is_refused(client):
    assert (await client.get(EVENTS, params={"cursor": "!!"})).status_code == 404
    assert (await client.get("/v1/sessions", params={"cursor": "!!"})).status_code == 404
    assert (await client.get("/v1/actors", params={"cursor": "!!"})).status_code == 404


async def test_several_events_are_appended_together_or_not_at_all(client):
    body = [{"role": "user", "content": "a"}, {"role": "user"}]
    problem = assert_problem(await client.post(EVENTS, json=body), 400, "validation_error")
    assert problem["errors"][0]["pointer"] == "/1/content"
    assert_problem(await client.get(EVENTS), 404, "session_not_found", "'s1'")


@pytest.mark.parametrize("body", [[], {}, 7, None, "hi", [[]], {"role": "user", "content": "a", "tenant": "other"}])
async def test_what_is_no_event_is_refused(client, body):
    assert_problem(await client.post(EVENTS, content=msgspec.json.encode(body)), 400, "validation_error")


async def test_a_session_with_a_bad_id_is_not_made(client):
    for path in ("/v1/sessions/a%0Ab", f"/v1/sessions/{'x' * 257}", "/v1/sessions/%00"):
        assert_problem(
            await client.post(f"{path}/events", json={"role": "user", "content": "a"}), 400, "validation_error"
        )
        assert_problem(await client.put(f"{path}/state", json={"value": 1}), 400, "validation_error")
        assert_problem(await client.get(f"{path}/state"), 400, "validation_error")
        assert (await client.get(path)).status_code == 404


async def test_ids_may_hold_anything_that_can_be_encoded(client):
    path = "/v1/sessions/user%2F1%3Aa%20%C3%A9"
    await client.post(f"{path}/events", json={"role": "user", "content": "a"})
    assert (await client.get(path)).json()["session_id"] == "user/1:a é"


async def test_an_event_is_deleted(client):
    first, _ = await say(client, "a", "b")
    address = f"{EVENTS}/{first['id'].replace('#', '%23')}"
    answer = await client.delete(address)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers
    assert await texts(client) == ["b"]
    assert_problem(await client.delete(address), 404, "event_not_found")
    assert_problem(await client.delete(f"{EVENTS}/nonsense"), 404, "event_not_found")
    assert_problem(await client.delete("/v1/sessions/none/events/x"), 404, "event_not_found")


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_sessions_are_listed_and_described(client):
    for number in range(3):
        await client.post(
            f"/v1/sessions/s{number}/events", json={"role": "user", "content": "a", "actor": f"a{number}"}
        )
    page = (await client.get("/v1/sessions", params={"limit": 2})).json()
    assert [item["session_id"] for item in page["items"]] == ["s2", "s1"]
    rest = (await client.get("/v1/sessions", params={"cursor": page["next_cursor"]})).json()
    assert [item["session_id"] for item in rest["items"]] == ["s0"]
    mine = (await client.get("/v1/sessions", params={"actor": "a1"})).json()
    assert [item["session_id"] for item in mine["items"]] == ["s1"]
    info = (await client.get(SESSION)).json()
    assert info == mine["items"][0]
    assert info["expires_at"] == pytest.approx(info["updated_at"] + 1000)
    assert_problem(await client.get("/v1/sessions/none"), 404, "session_not_found", "'none'")


async def test_a_session_is_deleted_and_its_turn_with_it(client, stores):
    turns = Turns(stores.turns, lambda: stores, SessionSettings())
    await turns.start()
    turn = await turns.take(SessionKey("acme", "s1"))
    lost = asyncio.Event()
    turn.on_lost(lost.set)
    await say(client, "a")
    assert (await client.delete(SESSION)).status_code == 204
    await lost.wait()
    assert_problem(await client.delete(SESSION), 404, "session_not_found")
    await turns.stop()


async def test_everything_is_deleted_only_when_it_is_meant(client):
    await say(client, "a")
    assert_problem(await client.delete("/v1/sessions"), 400, "validation_error", "confirm=all")
    assert_problem(await client.delete("/v1/sessions", params={"confirm": "yes"}), 400, "validation_error")
    answer = await client.delete("/v1/sessions", params={"confirm": "all"})
    assert (answer.status_code, answer.json()) == (200, {"deleted_sessions": 1})
    assert (await client.get("/v1/sessions")).json()["items"] == []


async def test_a_session_is_copied(client):
    first, _ = await say(client, "a", "b")
    answer = await client.post(f"{SESSION}/fork", json={"session_id": "s2", "at_event": first["id"]})
    assert answer.status_code == 201
    assert answer.json()["session_id"] == "s2"
    assert len((await client.get("/v1/sessions/s2/events")).json()["items"]) == 1
    assert (await client.post(f"{SESSION}/fork", json={"session_id": "s3", "at_event": None})).status_code == 201
    assert_problem(await client.post(f"{SESSION}/fork", json={"session_id": "s2"}), 409, "session_exists")
    wrong = {"session_id": "s4", "at_event": "0000000000000000#00000001"}
    assert_problem(await client.post(f"{SESSION}/fork", json=wrong), 404, "event_not_found")
    assert_problem(await client.post("/v1/sessions/none/fork", json={"session_id": "s5"}), 404, "session_not_found")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/session_id"),
        ({"session_id": "a\u0007"}, "/session_id"),
        ({"session_id": "x", "at_event": 7}, "/at_event"),
        ({"session_id": "x", "tenant": "other"}, "/tenant"),
    ],
)
async def test_a_copy_needs_a_good_id(client, body, pointer):
    await say(client, "a")
    problem = assert_problem(await client.post(f"{SESSION}/fork", json=body), 400, "validation_error")
    assert problem["errors"][0]["pointer"] == pointer


# -- state -------------------------------------------------------------------------------------------------------------


async def test_state_is_read_and_written_with_versions(client):
    answer = await client.get(STATE)
    assert (answer.json(), answer.headers["etag"]) == ({"value": None, "version": 0}, '"0"')
    answer = await client.put(STATE, json={"value": {"a": 1}, "expected_version": 0})
    assert (answer.status_code, answer.json(), answer.headers["etag"]) == (200, {"version": 1}, '"1"')
    answer = await client.get(STATE)
    assert (answer.json(), answer.headers["etag"]) == ({"value": {"a": 1}, "version": 1}, '"1"')
    assert_problem(await client.put(STATE, json={"value": 2, "expected_version": 0}), 409, "state_conflict")
    assert_problem(await client.put(STATE, json={"value": 2}, headers={"if-match": '"0"'}), 409, "state_conflict")
    for number, tag in enumerate(('"1"', 'W/"2"', "3", "*"), 2):
        answer = await client.put(STATE, json={"value": None}, headers={"if-match": tag})
        assert answer.json() == {"version": number}
    assert (await client.put(STATE, json={"value": 3, "expected_version": None})).json() == {"version": 6}
    assert (await client.put(STATE, json={"value": 3, "expected_version": 6.0})).json() == {"version": 7}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ([], {}),
        ({}, {}),
        ({"value": 1, "version": 1}, {}),
        ({"value": 1, "expected_version": -1}, {}),
        ({"value": 1, "expected_version": True}, {}),
        ({"value": 1, "expected_version": 0.5}, {}),
        ({"value": 1, "expected_version": 0}, {"if-match": ""}),
        ({"value": 1, "expected_version": "1"}, {}),
        ({"value": 1, "expected_version": 2**60}, {}),
        ({"value": 1}, {"if-match": "abc"}),
        ({"value": 1}, {"if-match": "9" * 30}),
        ({"value": 1}, {"if-match": "9" * 5000}),
        ({"value": "x" * 70_000}, {}),
    ],
)
async def test_a_state_that_cannot_be_is_refused(client, body, headers):
    assert_problem(await client.put(STATE, json=body, headers=headers), 400, "validation_error")


# -- actors ------------------------------------------------------------------------------------------------------------


async def test_actors_are_listed_and_forgotten(client):
    await say(client, "a", actor="ada/1")
    await say(client, "b", actor="bob")
    page = (await client.get("/v1/actors", params={"limit": 1})).json()
    assert [item["actor"] for item in page["items"]] == ["ada/1"]
    rest = (await client.get("/v1/actors", params={"cursor": page["next_cursor"]})).json()
    assert [(item["actor"], item["sessions"]) for item in rest["items"]] == [("bob", 1)]
    assert (await client.delete("/v1/actors/ada%2F1")).json() == {"deleted_sessions": 0}
    assert await texts(client) == ["b"]
    assert (await client.delete("/v1/actors/bob")).json() == {"deleted_sessions": 1}
    assert (await client.delete("/v1/actors/bob")).json() == {"deleted_sessions": 0}
    assert (await client.get("/v1/actors")).json()["items"] == []


# -- the tenant is the credential's ------------------------------------------------------------------------------------


async def nothing_in(answer):
    assert answer.json() == {"items": [], "next_cursor": None}


async def not_found(answer):
    assert answer.status_code == 404


async def deleted_none(answer):
    assert answer.json() == {"deleted_sessions": 0}


async def made_their_own(answer):
    assert answer.status_code in {200, 201}


async def empty_state(answer):
    assert answer.json() == {"value": None, "version": 0}


EVENT_BODY = {"role": "user", "content": "mine"}


async def counts_none(answer):
    assert answer.status_code == 200
    assert set(answer.json().values()) == {0}


STRANGERS = {
    "GET /v1/sessions": ({}, nothing_in),
    "DELETE /v1/sessions": ({"params": {"confirm": "all"}}, deleted_none),
    "GET /v1/sessions/{session_id}": ({}, not_found),
    "DELETE /v1/sessions/{session_id}": ({}, not_found),
    "GET /v1/sessions/{session_id}/events": ({}, not_found),
    "POST /v1/sessions/{session_id}/events": ({"json": EVENT_BODY}, made_their_own),
    "DELETE /v1/sessions/{session_id}/events/{event_id}": ({}, not_found),
    "POST /v1/sessions/{session_id}/fork": ({"json": {"session_id": "stolen"}}, not_found),
    "GET /v1/sessions/{session_id}/state": ({}, empty_state),
    "PUT /v1/sessions/{session_id}/state": ({"json": {"value": "mine", "expected_version": 0}}, made_their_own),
    "GET /v1/session-tiers": ({}, counts_none),
    "GET /v1/actors": ({}, nothing_in),
    "DELETE /v1/actors/{actor}": ({}, deleted_none),
}


async def everything(client):
    paths = ("/v1/sessions", SESSION, EVENTS, STATE, "/v1/actors")
    return [(await client.get(path)).json() for path in paths]


def test_every_route_is_described_and_has_an_isolation_test(stores):
    addresses = {f"{route.method} {route.path}" for route in SessionRoutes(stores.sessions, stores.tiers).routes()}
    assert addresses == set(STRANGERS) == set(DESCRIPTIONS)


@pytest.mark.parametrize("address", STRANGERS)
async def test_a_tenant_neither_sees_nor_changes_what_others_keep(client_of, address):
    owner, stranger = client_of("acme"), client_of("other")
    (event,) = await say(owner, "secret", actor="ada")
    await owner.put(STATE, json={"value": "secret"})
    before = await everything(owner)
    method, _, path = address.partition(" ")
    path = path.format(session_id="s1", event_id=event["id"].replace("#", "%23"), actor="ada")
    request, check = STRANGERS[address]
    answer = await stranger.request(method, path, **request, headers={"x-tenant": "acme"})
    await check(answer)
    assert "secret" not in answer.text
    assert await everything(owner) == before


@pytest.mark.parametrize("address", STRANGERS)
async def test_nobody_comes_in_without_a_credential(client_of, address):
    method, _, path = address.partition(" ")
    client = client_of("nobody")
    answer = await client.request(method, path.format(session_id="s1", event_id="e", actor="a"))
    assert answer.status_code == 401
