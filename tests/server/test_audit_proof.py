"""`/v1/audit/verify`, `checkpoints`, `export`, and what is written down of requests that were refused or changed something."""

from __future__ import annotations

import sqlite3

import httpx
import pytest

from corral.app import App
from corral.errors import StoreUnavailable
from corral.messages import AuditEntry
from corral.security.exporting import verify_export
from corral.security.signing import AuditKeys, read_key
from corral.security.store import AuditQuery
from corral.security.verifying import read_checkpoint

KEY = "ed25519:" + "05" * 32
PUBLIC = read_key(KEY).public
ROLES = {"acme": [], "other": [], "auditor": ["auditor"], "invoker": ["invoker"], "operator": ["operator"]}


@pytest.fixture
async def service(build):
    keys = [
        {"key": f"key-of-{name}", "tenant": "acme" if roles else name, "roles": roles} for name, roles in ROLES.items()
    ]
    app = App()
    app.entrypoint(lambda payload: payload)
    return await build(app, security={"api_keys": keys, "audit_chain": {"key": KEY}})


@pytest.fixture
async def client_of(service):
    clients = []

    def make(name):
        headers = {"authorization": f"Bearer key-of-{name}"}
        transport = httpx.ASGITransport(service, client=("192.0.2.7", 1234))
        client = httpx.AsyncClient(transport=transport, base_url="http://corral", headers=headers)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def filled(service):
    for n in range(5):
        service.audit(entry(n))
    await service.audit.drain()


def entry(n, tenant="acme"):
    return AuditEntry(
        id=f"e-{n}", at=1000.0 + n, tenant=tenant, action="tool.call", subject="refund", decision="allowed"
    )


async def entries(service, tenant="acme", **query):
    await service.audit.drain()
    return [one.entry for one in (await service.stores.audit.entries(tenant, AuditQuery(**query))).items][::-1]


# -- that it is what was written ---------------------------------------------------------------------------------------


async def test_an_audit_that_is_as_it_was_is_said_to_be(filled, client_of):
    answer = (await client_of("auditor").get("/v1/audit/verify")).json()
    assert (answer["ok"], answer["entries"], answer["last"], answer["number"]) == (True, 5, 5, None)
    answer = (await client_of("other").get("/v1/audit/verify")).json()
    assert (answer["ok"], answer["entries"], answer["tenant"]) == (True, 0, "other")
    assert (await client_of("acme").get("/v1/audit/verify", params={"newest": 2})).json()["ok"]
    assert (await client_of("acme").get("/v1/audit/verify", params={"newest": 0})).status_code == 400
    assert (await client_of("acme").get("/v1/audit/verify", params={"latest": 2})).status_code == 400


async def test_one_that_was_changed_is_told_with_the_entry(filled, service, client_of, tmp_path, may_block):
    path = service.settings.store.url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE audit SET subject = 'nothing' WHERE number = 3")
    connection.commit()
    connection.close()
    answer = (await client_of("auditor").get("/v1/audit/verify")).json()
    assert (answer["ok"], answer["number"]) == (False, 3)
    assert "changed" in answer["fault"]
    assert "corral_security_audit_broken 1" in (await client_of("operator").get("/metrics")).text


async def test_checkpoints_come_with_the_keys_to_check_them(filled, service, client_of):
    await service.guarding.book.keeper.mark("acme")
    answer = (await client_of("auditor").get("/v1/audit/checkpoints")).json()
    (shown,) = answer["items"]
    assert (shown["number"], shown["kind"], answer["next_after"]) == (5, "head", None)
    assert answer["keys"] == [{"key_id": read_key(KEY).key_id, "algorithm": "ed25519", "public": PUBLIC}]
    assert AuditKeys(trusted=[answer["keys"][0]["public"]]).check(read_checkpoint(shown)) is True
    assert (await client_of("auditor").get("/v1/audit/checkpoints?after=5")).json()["items"] == []
    assert (await client_of("auditor").get("/v1/audit/checkpoints?limit=1")).json()["next_after"] == 5
    assert (await client_of("other").get("/v1/audit/checkpoints")).json()["items"] == []


async def test_an_export_is_whole_and_signed(filled, client_of):
    answer = await client_of("auditor").get("/v1/audit/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    verdict = verify_export(answer.content.splitlines(keepends=True), AuditKeys(trusted=[PUBLIC]))
    assert (verdict.ok, verdict.entries, verdict.tenant) == (True, 5, "acme")
    other = (await client_of("other").get("/v1/audit/export")).content.splitlines(keepends=True)
    assert verify_export(other, AuditKeys(trusted=[PUBLIC])).entries == 0
    assert (await client_of("auditor").head("/v1/audit/export")).content == b""


async def test_an_export_that_ends_early_is_found_to_be_short(filled, service, client_of, monkeypatch):
    chain = service.stores.audit.chain
    await service.guarding.book.keeper.mark("acme")

    async def away(tenant, *, after, limit=1000):
        if after >= 3:
            raise StoreUnavailable
        return await chain(tenant, after=after, limit=3)

    monkeypatch.setattr(service.stores.audit, "chain", away)
    lines = (await client_of("auditor").get("/v1/audit/export")).content.splitlines(keepends=True)
    verdict = verify_export(lines, AuditKeys(trusted=[PUBLIC]))
    assert (verdict.ok, verdict.number) == (False, 4)


async def test_every_change_of_an_operator_is_written(service):
    watched = set(service.guarding._requests._written)
    for route in service.routes:
        if route.method not in {"GET", "HEAD"} and route.needs in {"operator", "admin"}:
            assert (route.method, route.path) in watched


@pytest.mark.parametrize("path", ["/v1/audit", "/v1/audit/verify", "/v1/audit/checkpoints", "/v1/audit/export"])
async def test_who_only_runs_agents_reads_no_audit(client_of, path):
    assert (await client_of("invoker").get(path)).status_code == 403
    assert (await client_of("nobody").get(path)).status_code == 401
    assert (await client_of("auditor").get(path)).status_code == 200


# -- what requests leave there -----------------------------------------------------------------------------------------


async def test_refusals_are_written_once_and_then_counted(service, client_of):
    for _ in range(4):
        await client_of("invoker").get("/v1/audit")
    for _ in range(3):
        await client_of("nobody").post("/invocations", json={})
    first, *rest = await entries(service)
    assert rest == []
    assert (first.action, first.subject, first.decision, first.rule) == (
        "request.refused",
        "GET /v1/audit",
        "denied",
        "forbidden",
    )
    assert first.details["status"] == 403
    assert first.details["client"] == "192.0.2.7"
    assert "auditor" in first.reason
    (unknown,) = await entries(service, "default")
    assert (unknown.subject, unknown.details["status"]) == ("POST /invocations", 401)
    service.guarding._requests.stop()  # a minute later
    _, counted = await entries(service)
    assert (counted.details["count"], counted.details["first"]) == (3, first.id)
    _, counted = await entries(service, "default")
    assert counted.details["count"] == 2
    service.guarding._requests.stop()
    assert len(await entries(service)) == 2


async def test_a_websocket_that_is_refused_is_written(service):
    sent = []

    async def send(message):
        sent.append(message["type"])

    scope = {
        "type": "websocket",
        "path": "/v1/jobs/stream",
        "query_string": b"",
        "headers": [],
        "client": ("192.0.2.7", 1),
    }
    await service({**scope}, None, send)
    await service({**scope, "path": "/anything/else"}, None, send)
    assert sent == ["websocket.close"] * 2
    one, other = await entries(service, "default")
    assert (one.subject, one.details["status"]) == ("WEBSOCKET /v1/jobs/stream", 401)
    assert other.subject == "WEBSOCKET (none)"


async def test_what_is_changed_is_written_with_who_and_what(service, client_of):
    done = await client_of("operator").post("/v1/jobs/cancel", json={"queue": "default"})
    assert done.status_code == 200, done.text
    await client_of("operator").post("/v1/jobs/j-1/retry")
    await client_of("operator").get("/v1/queues")
    await client_of("acme").post("/invocations", json={})
    written = [one for one in await entries(service) if one.action == "api.change"]
    assert [(one.subject, one.decision, one.rule) for one in written] == [
        ("POST /v1/jobs/cancel", "done", ""),
        ("POST /v1/jobs/{id}/retry", "failed", "job_not_found"),
    ]
    assert written[1].details == {"status": 404, "path": "/v1/jobs/j-1/retry", "needs": "operator"}


async def test_workflows_that_are_changed_are_written_whichever_api_does_it(service, client_of):
    machine = '{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}'
    made = await client_of("acme").post("/v1/workflows", json={"name": "one", "definition": machine})
    assert made.status_code in {200, 201}, made.text
    headers = {"x-amz-target": "AWSStepFunctions.CreateStateMachine", "content-type": "application/x-amz-json-1.0"}
    body = {"name": "two", "definition": machine, "roleArn": "arn:aws:iam::000000000000:role/any"}
    assert (await client_of("acme").post("/", json=body, headers=headers)).status_code == 200
    headers["x-amz-target"] = "AWSStepFunctions.ListStateMachines"
    assert (await client_of("acme").post("/", json={}, headers=headers)).status_code == 200
    written = [one for one in await entries(service) if one.action == "api.change"]
    assert [one.subject for one in written] == ["POST /v1/workflows", "POST /"]
    assert written[1].details["operation"] == "CreateStateMachine"


async def test_refusals_of_many_kinds_are_bounded(service, client_of):
    service.guarding._requests._alike_max = 3
    for n in range(6):
        await client_of("nobody").get(f"/v1/jobs/j-{n}", headers={"authorization": "Bearer x"})
        await client_of("nobody").get(
            ("/v1/jobs", "/v1/costs", "/v1/tools", "/v1/sessions", "/v1/queues", "/health")[n]
        )
    assert len(service.guarding._requests._counts) <= 4
    assert len(await entries(service, "default", limit=100)) == len(service.guarding._requests._counts)


async def test_without_an_audit_nobody_is_told(build):
    app = App()
    app.entrypoint(lambda payload: payload)
    service = await build(app, security={"audit": False})
    assert service.guarding._requests is None
