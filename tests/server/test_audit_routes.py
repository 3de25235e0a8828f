"""`/v1/audit`, and who may see what."""

from __future__ import annotations

import httpx
import pytest

from corral.app import App
from corral.messages import AuditEntry


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
    for n in range(5):
        service.audit(
            AuditEntry(
                id=f"e-{n}",
                at=1000.0 + n,
                tenant="acme",
                action="tool.call",
                subject="refund" if n else "secret",
                decision="denied" if n % 2 else "allowed",
                rule="small refunds",
                run_id="r-1",
                details={"input": {"amount": n}},
            )
        )
    await service.audit.drain()


async def test_the_latest_come_first(filled, client_of):
    answer = (await client_of("acme").get("/v1/audit", params={"limit": 2})).json()
    assert [one["number"] for one in answer["items"]] == [5, 4]
    assert len(answer["items"][0].pop("hash")) == 64
    assert answer["items"][0] == {
        "number": 5,
        "id": "e-4",
        "at": 1004.0,
        "action": "tool.call",
        "subject": "refund",
        "decision": "allowed",
        "rule": "small refunds",
        "reason": "",
        "actor": "",
        "agent": "",
        "session_id": "",
        "run_id": "r-1",
        "details": {"input": {"amount": 4}},
    }
    rest = (await client_of("acme").get("/v1/audit", params={"cursor": answer["next_cursor"]})).json()
    assert [one["number"] for one in rest["items"]] == [3, 2, 1]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("params", "numbers"),
    [
        ({"decision": "denied"}, [4, 2]),
        ({"subject": "secret", "run_id": "r-1"}, [1]),
        ({"since": "1001", "until": "1970-01-01T00:16:43+00:00"}, [3, 2]),
        ({"rule": "another"}, []),
    ],
)
async def test_filters(filled, client_of, params, numbers):
    answer = await client_of("acme").get("/v1/audit", params=params)
    assert [one["number"] for one in answer.json()["items"]] == numbers


async def test_another_tenant_sees_nothing(filled, client_of):
    for params in ({}, {"run_id": "r-1"}, {"subject": "secret"}):
        answer = await client_of("other").get("/v1/audit", params=params)
        assert answer.json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    "params",
    [{"decisions": "denied"}, {"limit": "0"}, {"since": "soon"}, {"since": "nan"}, {"rule": ""}, {"tenant": "acme"}],
)
async def test_what_cannot_be_asked_is_refused(filled, client_of, params):
    assert (await client_of("other").get("/v1/audit", params=params)).status_code == 400


async def test_a_cursor_of_somebody_elses_is_not_found(filled, client_of):
    assert (await client_of("acme").get("/v1/audit", params={"cursor": "nonsense"})).status_code == 404


async def test_old_entries_are_swept(filled, service, client_of):
    assert await service.guarding.book.keeper.expire() == 5
    assert (await client_of("acme").get("/v1/audit")).json()["items"] == []


async def test_it_can_be_off(build):
    app = App()
    app.entrypoint(lambda payload: payload)
    service = await build(app, security={"audit": False})
    assert service.audit is None
