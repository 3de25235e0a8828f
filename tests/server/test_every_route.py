"""Every route there is, tried without a key, with keys that are none, with each role, and with another tenant's key.

Who adds a route adds its address to `WHO_MAY`, below the least role that may ask: without that, the build fails.
"""

from __future__ import annotations

import re

import httpx
import pytest

from corral.app import App
from corral.security.roles import ROLES, rights_of
from corral.server.stepfunctions.operations import needed_for
from corral.server.stepfunctions.shapes import SHAPES

WHO_MAY = {
    "public": """
        GET /approvals/{link}
        POST /approvals/{link}
        GET /livez
        GET /ping
        GET /readyz
    """,
    "invoker": """
        POST /
        GET /health
        POST /invocations
        POST /memories/
        POST /memories/{memory_id}/actor/{actor_id}/sessions
        POST /memories/{memory_id}/actor/{actor_id}/sessions/{session_id}
        DELETE /memories/{memory_id}/actor/{actor_id}/sessions/{session_id}/events/{event_id}
        GET /memories/{memory_id}/actor/{actor_id}/sessions/{session_id}/events/{event_id}
        POST /memories/{memory_id}/actors
        GET /memories/{memory_id}/details
        POST /memories/{memory_id}/events
        POST /memories/{memory_id}/extractionJobs
        GET /memories/{memory_id}/memoryRecord/{record_id}
        POST /memories/{memory_id}/memoryRecords
        POST /memories/{memory_id}/retrieve
        GET /openapi.json
        POST /runtimes/
        POST /runtimes/{arn}/invocations
        GET /runtimes/{arn}/invocations/.well-known/agent-card.json
        POST /runtimes/{arn}/stopruntimesession
        GET /runtimes/{runtime_id}/
        POST /runtimes/{runtime_id}/runtime-endpoints/
        GET /runtimes/{runtime_id}/runtime-endpoints/{endpoint}/
        POST /runtimes/{runtime_id}/versions/
        GET /s3
        GET /s3/{bucket}
        POST /s3/{bucket}
        DELETE /s3/{bucket}/{key}
        GET /s3/{bucket}/{key}
        PUT /s3/{bucket}/{key}
        GET /v1/actors
        GET /v1/agents
        GET /v1/agents/{name}
        POST /v1/agents/{name}/invocations
        POST /v1/agents/{name}/runs
        GET /v1/approvals
        GET /v1/approvals/{id}
        POST /v1/approvals/{id}
        POST /v1/approvals/{id}/link
        GET /v1/artefacts/{name}
        POST /v1/chat/completions
        POST /v1/embeddings
        POST /v1/events
        GET /v1/events/rules
        GET /v1/events/rules/{name}
        GET /v1/executions
        GET /v1/executions/{id}
        GET /v1/executions/{id}/events
        GET /v1/executions/{id}/history
        POST /v1/executions/{id}/stop
        GET /v1/invocations
        DELETE /v1/invocations/{request_id}
        GET /v1/jobs
        POST /v1/jobs
        POST /v1/jobs/batches
        GET /v1/jobs/batches/{id}
        DELETE /v1/jobs/{id}
        GET /v1/jobs/{id}
        GET /v1/jobs/{id}/attempts
        GET /v1/jobs/{id}/callbacks
        POST /v1/jobs/{id}/cancel
        GET /v1/jobs/{id}/events
        GET /v1/jobs/{id}/result
        POST /v1/jobs/{id}/signals/{name}
        GET /v1/limits
        GET /v1/memory/items
        GET /v1/memory/items/{id}
        GET /v1/memory/items/{id}/chunks
        GET /v1/memory/namespaces
        POST /v1/memory/search
        GET /v1/models
        GET /v1/models/{id}
        POST /v1/responses
        GET /v1/runs
        GET /v1/runs/{id}
        POST /v1/runs/{id}/cancel
        GET /v1/runs/{id}/entries
        POST /v1/runs/{id}/fork
        POST /v1/runs/{id}/resume
        GET /v1/schedules
        GET /v1/schedules/{name}
        GET /v1/sessions
        DELETE /v1/sessions/{session_id}
        GET /v1/sessions/{session_id}
        GET /v1/sessions/{session_id}/events
        POST /v1/sessions/{session_id}/events
        DELETE /v1/sessions/{session_id}/events/{event_id}
        POST /v1/sessions/{session_id}/fork
        GET /v1/sessions/{session_id}/state
        PUT /v1/sessions/{session_id}/state
        GET /v1/tools
        GET /v1/tools/{name}
        POST /v1/tools/{name}/call
        GET /v1/workflows
        GET /v1/workflows/{name}
        POST /v1/workflows/{name}/executions
        GET /v1/workflows/{name}/graph
        GET /v1/workflows/{name}/versions
    """,
    "developer": """
        POST /memories/create
        DELETE /memories/{memory_id}/delete
        POST /memories/{memory_id}/extractionJobs/start
        POST /memories/{memory_id}/memoryRecords/batchCreate
        POST /memories/{memory_id}/memoryRecords/batchDelete
        POST /memories/{memory_id}/memoryRecords/batchUpdate
        DELETE /memories/{memory_id}/memoryRecords/{record_id}
        PUT /memories/{memory_id}/update
        PUT /runtimes/
        DELETE /runtimes/{runtime_id}/
        PUT /runtimes/{runtime_id}/
        PUT /runtimes/{runtime_id}/runtime-endpoints/
        DELETE /runtimes/{runtime_id}/runtime-endpoints/{endpoint}/
        PUT /runtimes/{runtime_id}/runtime-endpoints/{endpoint}/
        DELETE /s3/{bucket}
        PUT /s3/{bucket}
        DELETE /v1/cache
        GET /v1/cache
        DELETE /v1/cache/semantic
        GET /v1/cache/semantic
        POST /v1/events/match
        DELETE /v1/events/rules/{name}
        PUT /v1/events/rules/{name}
        POST /v1/executions/{id}/fork
        POST /v1/memory/documents
        GET /v1/memory/export
        DELETE /v1/memory/items/{id}
        POST /v1/memory/jobs
        POST /v1/memory/records
        PATCH /v1/memory/records/{id}
        DELETE /v1/schedules/{name}
        PUT /v1/schedules/{name}
        POST /v1/workflows
        POST /v1/workflows/validate
        DELETE /v1/workflows/{name}
        PUT /v1/workflows/{name}
        POST /v1/workflows/{name}/versions
    """,
    "operator": """
        DELETE /v1/actors/{actor}
        DELETE /v1/budgets/{budget}
        PUT /v1/budgets/{budget}
        POST /v1/budgets/{budget}/reset
        POST /v1/callbacks/{id}/replay
        POST /v1/executions/{id}/redrive
        POST /v1/jobs/cancel
        POST /v1/jobs/discard
        POST /v1/jobs/redrive
        POST /v1/jobs/{id}/discard
        POST /v1/jobs/{id}/retry
        GET /v1/limits/of
        POST /v1/limits/reset
        DELETE /v1/memory
        GET /v1/queues
        GET /v1/queues/{name}
        GET /v1/running
        POST /v1/running/stop
        GET /v1/session-tiers
        DELETE /v1/sessions
    """,
    "auditor": """
        GET /metrics
        GET /v1/audit
        GET /v1/audit/checkpoints
        GET /v1/audit/export
        GET /v1/audit/verify
        GET /v1/budgets
        GET /v1/costs
    """,
    "admin": """
        GET /v1/keys
        POST /v1/keys
        DELETE /v1/keys/{id}
        GET /v1/keys/{id}
        POST /v1/keys/{id}/rotate
    """,
}
NEEDS = {address.strip(): role for role, block in WHO_MAY.items() for address in block.strip().splitlines()}

OPERATIONS = {
    "developer": "Create Update Delete Publish Tag Untag Validate Test",
    "operator": "RedriveExecution UpdateMapRun",
}
"""Of Step Functions, at `POST /`: what is asked for stands in a header."""

MARK = "acme-keeps-this"
KEYS = [
    {"key": f"{tenant}-{role}", "tenant": tenant, "roles": [role]} for tenant in ("acme", "other") for role in ROLES
]


@pytest.fixture
async def service(build):
    app = App("routes")
    app.entrypoint(lambda payload: payload)
    return await build(app, security={"api_keys": KEYS})


@pytest.fixture
async def ask(service):
    """One request with a key: `await ask("GET /v1/jobs", "acme-invoker")`."""
    client = httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral")

    async def make(address, shown, /, *, body=None, headers=None, **ids):
        method, _, path = address.partition(" ")
        for name in re.findall(r"{(\w+)}", path):
            path = path.replace(f"{{{name}}}", ids.get(name, "none-such"))
        given = {} if shown is None else {"authorization": f"Bearer {shown}"}
        content = {} if method in {"GET", "HEAD"} else {"json": {} if body is None else body}
        return await client.request(method, path, headers={**given, **(headers or {})}, **content)

    yield make
    await client.aclose()


def test_each_route_says_who_may_ask(service):
    found = {f"{route.method} {route.path}": "public" if route.public else route.needs for route in service.routes}
    assert found == NEEDS, "a route is new, is gone, or needs another role: see WHO_MAY"


async def test_nobody_gets_in_without_a_key_that_is_good(service, ask):
    made_up = "corral_live_aaaaaaaaaaaaaaaa_" + "0" * 49
    for address, needs in NEEDS.items():
        for key in (None, "", "acme-invoker-", "acme-Admin", made_up, "eyJhbGciOiJub25lIn0.e30."):
            answer = await ask(address, key)
            assert (answer.status_code == 401) == (needs != "public"), (address, key, answer.text)
            if needs != "public":
                assert answer.headers["www-authenticate"] == 'Bearer realm="corral"'


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_may_what_it_may_and_no_more(service, ask, role):
    rights = rights_of((role,))
    for address, needs in NEEDS.items():
        if needs == "public":
            continue
        answer = await ask(address, f"acme-{role}")
        assert answer.status_code != 401, address
        if needs in rights:
            assert answer.status_code != 403, (address, answer.text)
            assert answer.status_code < 500, (address, answer.text)
        else:
            assert answer.status_code == 403, (address, answer.status_code)
            assert needs in answer.text, "the refusal names the role that is missing"


async def test_operations_at_one_address_have_their_own_weight(ask):
    named = [(role, word) for role, words in OPERATIONS.items() for word in words.split()]
    for operation in SHAPES:
        expected = next((role for role, word in reversed(named) if operation.startswith(word)), "invoker")
        assert needed_for(operation) == expected, operation
        for role in ROLES:
            headers = {"x-amz-target": f"AWSStepFunctions.{operation}"}
            answer = await ask("POST /", f"acme-{role}", headers=headers)
            refused = answer.status_code == 403
            assert refused == (expected not in rights_of((role,))), (operation, role, answer.text)
            if refused:
                assert answer.json()["__type"] == "AccessDeniedException"


SOCKETS = {"/ws", "/v1/jobs/stream"}


async def test_sockets_ask_as_well(service):
    assert set(service._sockets()) == SOCKETS, "a WebSocket is new: nobody is let in without a key, or as an auditor"
    for path in SOCKETS:
        for key in ("", "acme-invoker-", "acme-auditor"):
            said = []
            scope = {
                "type": "websocket",
                "path": path,
                "query_string": b"",
                "headers": [(b"authorization", f"Bearer {key}".encode())],
            }

            async def receive():
                return {"type": "websocket.connect"}

            async def send(message, said=said):
                said.append(message)

            await service(scope, receive, send)
            assert said == [{"type": "websocket.close", "code": 1008}], (path, key)


async def test_what_one_tenant_has_another_never_sees_nor_changes(service, ask):
    ids = await seeded(ask)
    before = await standing(ask, ids)
    assert all(MARK in text for text in before.values()), before
    for address, needs in NEEDS.items():
        if needs == "public" or address == "GET /metrics":
            continue
        for role in ("admin", "auditor") if needs == "auditor" else ("admin",):
            answer = await ask(address, f"other-{role}", **ids)
            assert MARK not in answer.text, address
            assert answer.status_code < 500, (address, answer.text)
    assert await standing(ask, ids) == before


async def seeded(ask):
    """Something of acme's in each room; its ids by the names that paths have for them."""
    key = "acme-admin"

    async def made(address, body, member="id", **ids):
        answer = await ask(address, key, body=body, **ids)
        assert answer.status_code < 300, (address, answer.text)
        return answer.json()[member] if member else ""

    session = "acme-session"
    event = {"role": "user", "content": MARK}
    await made("POST /v1/sessions/{session_id}/events", event, "", session_id=session)
    job = await made("POST /v1/jobs?wait=5s", {"agent": "main", "input": {"said": MARK}})
    record = await made("POST /v1/memory/records", {"text": MARK, "namespace": "notes"})
    api_key = await made("POST /v1/keys", {"name": MARK})
    memory = await ask(
        "POST /memories/create", key, body={"name": "notes", "eventExpiryDuration": 30, "description": MARK}
    )
    assert memory.status_code < 300, memory.text
    await ask("PUT /s3/{bucket}", key, bucket="acme-bucket")
    workflow = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": MARK, "End": True}}}
    await made("PUT /v1/workflows/{name}", {"definition": workflow}, "", name="acme-flow")
    return {
        "session_id": session,
        "id": job,
        "name": "acme-flow",
        "memory_id": memory.json()["memory"]["id"],
        "bucket": "acme-bucket",
        "key": "object",
        "record_id": record,
        "api_key": api_key,
    }


async def standing(ask, ids):
    """What acme sees of it."""
    key = "acme-admin"
    places = {
        "session": ask("GET /v1/sessions/{session_id}/events", key, **ids),
        "job": ask("GET /v1/jobs/{id}", key, **ids),
        "record": ask("GET /v1/memory/items/{id}", key, id=ids["record_id"]),
        "key": ask("GET /v1/keys/{id}", key, id=ids["api_key"]),
        "memory": ask("GET /memories/{memory_id}/details", key, **ids),
        "workflow": ask("GET /v1/workflows/{name}", key, **ids),
    }
    return {name: (await answer).text for name, answer in places.items()}
