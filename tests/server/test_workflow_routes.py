"""`/v1/workflows`, `/v1/executions`, `/v1/approvals` and `/v1/events`, over real sockets; and who may see and change what."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from corral.app import App
from corral.server.execution_stream import _or_silence
from corral.testing.contracts.setting import eventually
from corral.workflows.desk import WorkflowDraft
from serving import Frames

KEYS = [{"key": f"key-of-{tenant}", "tenant": tenant} for tenant in ("acme", "other")]
PASS = {"StartAt": "Say", "States": {"Say": {"Type": "Pass", "Result": "hello", "End": True}}}
DOUBLE = {
    "StartAt": "Double",
    "States": {"Double": {"Type": "Task", "Resource": "corral:function:double", "End": True}},
}
ASK = {
    "StartAt": "Ask",
    "States": {
        "Ask": {
            "Type": "Task",
            "Resource": "corral:approval",
            "Parameters": {
                "message.$": "$.question",
                "choices": ["approve", "reject", "escalate"],
                "assignee": "ann",
                "details": {"secret": "of acme"},
            },
            "End": True,
        }
    },
}
FAIL = {"StartAt": "No", "States": {"No": {"Type": "Fail", "Error": "Wrong", "Cause": "It is so."}}}
YAML = """
StartAt: Wait
States:
  Wait: {Type: Wait, Seconds: 300, End: true}
"""


def app_of():
    app = App()
    app.entrypoint(lambda payload: payload)

    @app.function
    async def double(event):
        if event.get("fail"):
            raise ValueError("It broke.")
        return {"doubled": event["n"] * 2}

    go_on = asyncio.Event()

    @app.function
    async def tell(event, context):
        await context.progress(0.5, "half way")
        await go_on.wait()
        return {"told": True}

    app.go_on = go_on
    return app


@pytest.fixture
async def server(serve):
    app = app_of()
    server = await serve(app, security={"api_keys": KEYS})
    server.go_on = app.go_on
    return server


@pytest.fixture
async def client(server):
    async with server.client_of(authorization="Bearer key-of-acme") as client:
        yield client


@pytest.fixture
async def stranger(server):
    async with server.client_of(authorization="Bearer key-of-other") as client:
        yield client


async def declare(client, name, definition, **more):
    answer = await client.post("/v1/workflows", json={"name": name, "definition": definition, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def begin(client, name, given=None, *, wait="10s", **more):
    params = {"wait": wait} if wait else {}
    body = {} if given is None else {"input": given}
    answer = await client.post(f"/v1/workflows/{name}/executions", params=params, json=body, **more)
    assert answer.status_code in {200, 202}, answer.text
    return answer.json()


async def question_of(client, execution):
    """What an execution asks, once it does."""

    async def found():
        return (await client.get("/v1/approvals", params={"execution_id": execution})).json()["items"]

    await eventually(found)
    return (await found())[0]


def frames_of(text):
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in fields:
            found.append((fields.get("event"), fields.get("id"), json.loads(fields["data"])))
    return found


# -- definitions ------------------------------------------------------------------------------------------------------------


async def test_a_workflow_is_declared_shown_changed_and_deleted(client):
    made = await declare(client, "greet", PASS, tags={"team": "a"})
    assert (made["name"], made["kind"], made["status"], made["definition"]) == ("greet", "STANDARD", "active", PASS)
    assert made["arn"].endswith(":stateMachine:greet")
    assert "Say" in made["graph"]
    again = await client.post("/v1/workflows", json={"name": "greet", "definition": PASS})
    assert again.status_code == 200
    other = await client.post("/v1/workflows", json={"name": "greet", "definition": FAIL})
    assert (other.status_code, other.json()["code"]) == (409, "workflow_exists")
    changed = await client.put("/v1/workflows/greet", json={"definition": FAIL, "publish": True, "description": "no"})
    assert (changed.status_code, changed.json()["published"]) == (200, 1)
    assert changed.json()["revision"] != made["revision"]
    shown = (await client.get("/v1/workflows/greet")).json()
    assert (shown["definition"], shown["versions"], shown["tags"]) == (FAIL, [1], {"team": "a"})
    assert (await client.get("/v1/workflows/greet", params={"version": 1})).json()["definition"] == FAIL
    assert (await client.get("/v1/workflows/greet", params={"version": 9})).status_code == 404
    (version,) = (await client.get("/v1/workflows/greet/versions")).json()["items"]
    assert (version["version"], version["description"]) == (1, "no")
    assert (await client.put("/v1/workflows/new", json={"definition": json.dumps(PASS)})).status_code == 201
    page = (await client.get("/v1/workflows", params={"limit": 1})).json()
    assert [one["name"] for one in page["items"]] == ["new"]
    rest = await client.get("/v1/workflows", params={"cursor": page["next_cursor"]})
    assert [one["name"] for one in rest.json()["items"]] == ["greet"]
    assert (await client.delete("/v1/workflows/greet")).status_code == 204
    assert (await client.get("/v1/workflows/greet")).status_code == 404
    assert (await client.delete("/v1/workflows/greet")).status_code == 404


async def test_what_is_wrong_with_a_definition_is_said_with_its_place(client):
    wrong = {"StartAt": "Say", "States": {"Say": {"Type": "Pass", "Nxt": "Say", "End": True}}}
    refused = await client.post("/v1/workflows", json={"name": "x", "definition": wrong})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_definition")
    assert any(one["pointer"].startswith("/States/Say") for one in refused.json()["errors"])
    told = (await client.post("/v1/workflows/validate", json={"definition": wrong})).json()
    assert not told["valid"]
    assert any("Next" in one["hint"] for one in told["faults"])
    assert (await client.post("/v1/workflows/validate", json={"definition": PASS})).json() == {
        "valid": True,
        "faults": [],
    }
    broken = (await client.post("/v1/workflows/validate", json={"definition": "{"})).json()
    assert not broken["valid"]


async def test_yaml_is_kept_as_json(client):
    made = await declare(client, "waits", YAML)
    assert made["definition"]["States"]["Wait"]["Seconds"] == 300
    execution = await begin(client, "waits", wait=None)
    assert execution["status"] == "running"
    assert (await client.delete("/v1/workflows/waits")).status_code == 202
    late = await client.post("/v1/workflows/waits/executions")
    assert (late.status_code, late.json()["code"]) == (409, "workflow_deleting")
    assert (await client.post(f"/v1/executions/{execution['id']}/stop")).json()["status"] == "aborted"
    assert (await client.get("/v1/workflows/waits")).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x"}, "/definition"),
        ({"name": "a b", "definition": PASS}, "/name"),
        ({"definition": PASS}, "/name"),
        ({"name": "x", "definition": PASS, "kind": "FAST"}, "/kind"),
        ({"name": "x", "definition": PASS, "kind": []}, "/kind"),
        ({"name": "x", "definition": PASS, "tags": {"a": 1}}, "/tags"),
        ({"name": "x", "definition": PASS, "publish": 1}, "/publish"),
        ({"name": "x", "definition": PASS, "description": "d"}, "/description"),
        ({"name": "x", "definition": PASS, "descripton": "d"}, "/descripton"),
    ],
)
async def test_a_request_that_is_none_is_refused(client, body, pointer):
    answer = await client.post("/v1/workflows", json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_a_kind_is_for_ever(client):
    await declare(client, "quick", PASS, kind="EXPRESS")
    answer = await client.put("/v1/workflows/quick", json={"definition": PASS, "kind": "STANDARD"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/kind")
    ended = await begin(client, "quick", {"n": 1})
    assert (ended["status"], ended["output"], ended["kind"]) == ("succeeded", "hello", "EXPRESS")


async def test_workflows_are_drawn(client):
    await declare(client, "greet", PASS)
    svg = await client.get("/v1/workflows/greet/graph")
    assert svg.headers["content-type"] == "image/svg+xml"
    assert svg.text.startswith("<svg")
    mermaid = await client.get("/v1/workflows/greet/graph", params={"format": "mermaid"})
    assert "Say" in mermaid.text
    execution = await begin(client, "greet")
    coloured = await client.get("/v1/workflows/greet/graph", params={"execution": execution["id"]})
    assert coloured.text != svg.text
    await declare(client, "other", FAIL)
    assert (await client.get("/v1/workflows/other/graph", params={"execution": execution["id"]})).status_code == 400
    assert (await client.get("/v1/workflows/greet/graph", params={"format": "png"})).status_code == 400


# -- executions -------------------------------------------------------------------------------------------------------------


async def test_an_execution_is_begun_followed_and_listed(client):
    await declare(client, "double", DOUBLE)
    ended = await begin(client, "double", {"n": 4})
    assert (ended["status"], ended["output"], ended["workflow"]) == ("succeeded", {"doubled": 8}, "double")
    assert ended["input"] == {"n": 4}
    shown = await client.get(f"/v1/executions/{ended['id']}", params={"wait": "1s"})
    assert shown.json() == ended
    by_arn = await client.get("/v1/executions/" + ended["arn"].replace("/", "%2F"))
    assert by_arn.json()["id"] == ended["id"]
    page = (await client.get("/v1/executions", params={"workflow": "double", "status": "succeeded,failed"})).json()
    assert [one["id"] for one in page["items"]] == [ended["id"]]
    assert "input" not in page["items"][0]
    assert (await client.get("/v1/executions", params={"status": "running"})).json()["items"] == []
    assert (await client.get("/v1/executions", params={"since": ended["started_at"] + 1})).json()["items"] == []
    history = (await client.get(f"/v1/executions/{ended['id']}/history")).json()
    types = [event["type"] for event in history["items"]]
    assert (types[0], types[-1], history["next_after"]) == ("ExecutionStarted", "ExecutionSucceeded", None)
    part = (await client.get(f"/v1/executions/{ended['id']}/history", params={"limit": 2})).json()
    rest = await client.get(f"/v1/executions/{ended['id']}/history", params={"after": part["next_after"]})
    assert part["items"] + rest.json()["items"] == history["items"]
    back = (await client.get(f"/v1/executions/{ended['id']}/history", params={"reverse": "true"})).json()
    assert back["items"] == history["items"][::-1]


async def test_a_live_stream_ends_as_the_execution_ends(client):
    await declare(client, "ask", ASK)
    execution = await begin(client, "ask", {"question": "Sure?"}, wait=None)
    asked = await question_of(client, execution["id"])
    path = f"/v1/executions/{execution['id']}/events"
    headers = {"accept": "text/event-stream"}
    following = asyncio.create_task(client.get(path, headers=headers, timeout=20))
    answer = await client.post(f"/v1/approvals/{asked['id']}", json={"decision": "escalate", "note": "why"})
    assert (answer.status_code, answer.json()["status"], answer.json()["decision"]) == (200, "answered", "escalate")
    frames = frames_of((await following).text)
    assert [data["id"] for name, _, data in frames if name == "history"] == list(range(1, len(frames)))
    name, mark, ended = frames[-1]
    assert (name, ended["status"], ended["output"]["decision"]) == ("succeeded", "succeeded", "escalate")
    assert mark == f"{len(frames) - 1}.end"
    behind = await client.get(path, headers={**headers, "last-event-id": "3"})
    assert frames_of(behind.text) == frames[3:]
    assert (await client.get(path, headers={**headers, "last-event-id": mark})).status_code == 204
    assert (await client.get(path)).json()["items"][0]["type"] == "ExecutionStarted"


async def test_what_a_task_says_is_heard_while_it_runs(server, client):
    await declare(
        client,
        "tell",
        {**DOUBLE, "States": {"Double": {**DOUBLE["States"]["Double"], "Resource": "corral:function:tell"}}},
    )
    execution = await begin(client, "tell", {}, wait=None)
    path = f"/v1/executions/{execution['id']}/events"
    headers = {"accept": "text/event-stream"}
    async with client.stream("GET", path, headers=headers) as response:
        frames = Frames(response)
        while (frame := await frames.next())["event"] != "progress":
            assert frame["event"] == "history"
        assert json.loads(frame["data"])["state"] == "Double"
        assert "token" not in frame["data"]
        server.go_on.set()
        rest = await frames.rest()
    assert rest[-1]["event"] == "succeeded"
    assert json.loads(rest[-1]["data"])["output"] == {"told": True}


async def test_who_watches_a_worker_that_leaves_is_sent_away(server, client):
    await declare(client, "waits", YAML)
    execution = await begin(client, "waits", wait=None)
    path = f"/v1/executions/{execution['id']}"
    waiting = asyncio.create_task(client.get(path, params={"wait": "60s"}))
    async with client.stream("GET", f"{path}/events", headers={"accept": "text/event-stream"}) as response:
        frames = Frames(response)
        assert (await frames.next())["event"] == "history"
        server.service.begin_drain()
        rest = await frames.rest()
    assert [frame for frame in rest if frame.get("event", "history") != "history"] == []
    assert (await waiting).json()["status"] == "running"


async def test_a_stream_says_that_it_is_there(build):
    service = await build(app_of())
    desk = service.flowing.desk
    saved = await desk.save("default", WorkflowDraft(name="waits", definition=YAML))
    info = await desk.begin("default", saved.machine.name, {})
    told = _or_silence(desk.engine.follow("default", info.id), 0.01, desk.leaving)
    async with contextlib.aclosing(told):
        async for news in told:
            if news is None:
                break


async def test_one_key_is_one_execution(client):
    await declare(client, "double", DOUBLE)
    headers = {"idempotency-key": "k-1"}
    first = await begin(client, "double", {"n": 1}, headers=headers)
    again = await client.post("/v1/workflows/double/executions", json={"input": {"n": 1}}, headers=headers)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (first["id"], "true")
    other = await client.post("/v1/workflows/double/executions", json={"input": {"n": 2}}, headers=headers)
    assert other.status_code == 422
    named = await client.post("/v1/workflows/double/executions", json={"input": {"n": 1}, "name": "mine"})
    assert named.json()["name"] == "mine"
    await client.get(f"/v1/executions/{named.json()['id']}", params={"wait": "10s"})
    taken = await client.post("/v1/workflows/double/executions", json={"input": {"n": 1}, "name": "mine"})
    assert (taken.status_code, taken.json()["code"]) == (409, "execution_exists")
    both = await client.post("/v1/workflows/double/executions", json={"name": "x"}, headers=headers)
    assert both.status_code == 400


async def test_what_failed_goes_on_and_is_begun_anew(client):
    await declare(client, "double", DOUBLE)
    failed = await begin(client, "double", {"fail": True})
    assert (failed["status"], failed["error"]) == ("failed", "ValueError")
    again = await client.post(f"/v1/executions/{failed['id']}/redrive")
    assert (again.status_code, again.json()["redrives"]) == (202, 1)
    assert (await client.get(f"/v1/executions/{failed['id']}", params={"wait": "10s"})).json()["status"] == "failed"
    fork = await client.post(f"/v1/executions/{failed['id']}/fork", json={"input": {"n": 3}, "name": "better"})
    assert (fork.status_code, fork.json()["name"]) == (202, "better")
    ended = (await client.get(f"/v1/executions/{fork.json()['id']}", params={"wait": "10s"})).json()
    assert ended["output"] == {"doubled": 6}
    refused = await client.post(f"/v1/executions/{ended['id']}/redrive")
    assert refused.status_code == 409
    await declare(client, "waits", YAML)
    waiting = await begin(client, "waits", wait=None)
    stopped = await client.post(f"/v1/executions/{waiting['id']}/stop", json={"error": "Enough", "cause": "so it is"})
    assert (stopped.json()["status"], stopped.json()["error"], stopped.json()["cause"]) == (
        "aborted",
        "Enough",
        "so it is",
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/executions?status=well"),
        ("GET", "/v1/executions?limit=0"),
        ("GET", "/v1/executions?cursor="),
        ("GET", "/v1/executions?nonsense=1"),
        ("GET", "/v1/executions/x/history?reverse=yes"),
        ("GET", "/v1/approvals?kind=x"),
        ("GET", "/v1/approvals?cursor=x"),
        ("GET", "/v1/approvals?status=x"),
    ],
)
async def test_a_query_that_is_none_is_refused(client, method, path):
    assert (await client.request(method, path)).status_code in {400, 404}


async def test_an_input_is_bounded(client):
    await declare(client, "greet", PASS)
    answer = await client.post("/v1/workflows/greet/executions", json={"input": "x" * 300_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert (await client.post("/v1/workflows/nobody/executions")).status_code == 404


# -- approvals --------------------------------------------------------------------------------------------------------------


async def test_a_question_is_shown_and_answered_once(client):
    await declare(client, "ask", ASK)
    execution = await begin(client, "ask", {"question": "Sure?"}, wait=None)
    asked = await question_of(client, execution["id"])
    assert (asked["kind"], asked["workflow"], asked["state"], asked["message"]) == ("workflow", "ask", "Ask", "Sure?")
    assert (asked["choices"], asked["assignee"], asked["status"]) == (
        ["approve", "reject", "escalate"],
        "ann",
        "waiting",
    )
    path = f"/v1/approvals/{asked['id']}"
    assert (await client.get(path)).json() == asked
    for wrong in (
        {"decision": "maybe"},
        {"decision": ""},
        {"decision": "approve", "input": {}},
        {"decision": "approve", "form": {"a": 1}},
    ):
        assert (await client.post(path, json=wrong)).status_code == 400
    answer = await client.post(path, json={"decision": "approve"}, headers={"x-user-id": "ann"})
    assert (answer.json()["status"], answer.json()["by"]) == ("approved", "ann")
    again = await client.post(path, json={"decision": "approve"}, headers={"x-user-id": "ann"})
    assert again.status_code == 200
    other = await client.post(path, json={"decision": "reject"}, headers={"x-user-id": "bob"})
    assert other.status_code == 409
    ended = (await client.get(f"/v1/executions/{execution['id']}", params={"wait": "10s"})).json()
    assert ended["output"]["decision"] == "approve"
    assert (await client.get("/v1/approvals", params={"status": "waiting"})).json()["items"] == []
    closed = (await client.get("/v1/approvals", params={"status": "approved", "kind": "workflow"})).json()["items"]
    assert [one["id"] for one in closed] == [asked["id"]]


async def test_questions_come_in_pages_the_newest_first(client):
    await declare(client, "ask", ASK)
    executions = [(await begin(client, "ask", {"question": str(n)}, wait=None))["id"] for n in range(5)]
    for execution in executions:
        await question_of(client, execution)
    found, cursor = [], None
    while True:
        params = {"limit": 2, "status": "waiting", **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/v1/approvals", params=params)).json()
        found += [one["message"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == ["4", "3", "2", "1", "0"]


# -- events -----------------------------------------------------------------------------------------------------------------


async def test_an_event_starts_a_workflow_once(client):
    await declare(client, "double", DOUBLE)
    rule = {
        "pattern": {"detail": {"n": [{"numeric": [">", 1]}]}},
        "targets": [{"workflow": "double", "input_path": "$.detail"}],
    }
    made = await client.put("/v1/events/rules/big", json=rule)
    assert (made.status_code, made.json()["topic"]) == (201, "default")
    assert (await client.put("/v1/events/rules/big", json=rule)).status_code == 200
    event = {"detail_type": "Number", "detail": {"n": 21}, "id": "e-1"}
    (published,) = (await client.post("/v1/events", json=event)).json()["items"]
    assert [(one["rule"], one["workflow"], one["is_new"]) for one in published["begun"]] == [("big", "double", True)]
    again = (
        await client.post("/v1/events", json={"events": [event, {"detail_type": "Number", "detail": {"n": 0}}]})
    ).json()
    assert [[one["is_new"] for one in item["begun"]] for item in again["items"]] == [[False], []]
    job = (await client.get(f"/v1/jobs/{published['begun'][0]['job_id']}", params={"wait": "10s"})).json()
    ended = (await client.get(f"/v1/executions/{job['result']['execution']}", params={"wait": "10s"})).json()
    assert ended["output"] == {"doubled": 42}
    assert len((await client.get("/v1/executions")).json()["items"]) == 1
    (listed,) = (await client.get("/v1/events/rules", params={"topic": "default"})).json()["items"]
    assert listed == (await client.get("/v1/events/rules/big")).json()
    tried = {"pattern": {"source": [{"prefix": "shop."}]}, "event": {"source": "shop.orders"}}
    assert (await client.post("/v1/events/match", json=tried)).json() == {"matches": True}
    assert (await client.delete("/v1/events/rules/big")).status_code == 204
    assert (await client.delete("/v1/events/rules/big")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/events", {"detail": {}}),
        ("/v1/events", {"detail_type": "x", "detail": 1}),
        ("/v1/events", {"detail_type": "x", "time": "now"}),
        ("/v1/events", {"detail_type": "x", "resources": "a"}),
        ("/v1/events", {"detail_type": "x", "topic": "a b"}),
        ("/v1/events", {"events": []}),
        ("/v1/events", {"events": [{"detail_type": "x"}, {"detail_type": ""}]}),
        ("/v1/events/match", {"pattern": {"a": "b"}, "event": {}}),
        ("/v1/events/match", {"pattern": {}, "event": 1}),
    ],
)
async def test_an_event_that_is_none_is_refused(client, path, body):
    answer = await client.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"targets": {}},
        {"targets": [{"workflow": "a", "job": {"agent": "main"}}]},
        {"targets": [{"workflow": "a", "input_path": ""}]},
        {"targets": [{"job": 1}]},
        {"targets": [{"workflow": "a"}], "paused": 1},
        {"targets": [{"workflow": "a"}], "description": 1},
    ],
)
async def test_a_rule_that_is_none_is_refused(client, rule):
    assert (await client.put("/v1/events/rules/x", json=rule)).status_code == 400


async def test_a_schedule_starts_a_workflow(client):
    await declare(client, "greet", PASS)
    said = {"cron": "@every 1s", "workflow": "greet", "input": {"n": 1}}
    made = (await client.put("/v1/schedules/often", json=said)).json()
    assert (made["workflow"], made["job"]["input"]["input"]) == ("greet", {"n": 1})

    async def started():
        return (await client.get("/v1/executions", params={"workflow": "greet"})).json()["items"]

    await eventually(started)
    (first, *_) = await started()
    assert (await client.get(f"/v1/executions/{first['id']}", params={"wait": "10s"})).json()["input"] == {"n": 1}
    assert (await client.delete("/v1/schedules/often")).status_code == 204


# -- isolation --------------------------------------------------------------------------------------------------------------


async def test_every_route_is_isolated(server, client, stranger):
    """Each address, with the names and ids of one tenant, tried by another one: nothing is told, nothing is changed."""
    await declare(client, "ask", {**ASK, "Comment": "secret"})
    execution = await begin(client, "ask", {"question": "secret"}, wait=None)
    asked = await question_of(client, execution["id"])
    rule = {"pattern": {"source": ["secret"]}, "targets": [{"workflow": "ask"}]}
    await client.put("/v1/events/rules/mine", json=rule)

    async def state():
        paths = [
            "/v1/workflows/ask",
            f"/v1/executions/{execution['id']}",
            f"/v1/approvals/{asked['id']}",
            "/v1/events/rules",
        ]
        return [(await client.get(path)).text for path in paths]

    before = await state()
    bodies = {
        "/v1/workflows": {"name": "ask", "definition": PASS},
        "/v1/workflows/{name}": {"definition": PASS},
        "/v1/workflows/validate": {"definition": PASS},
        "/v1/approvals/{id}": {"decision": "approve"},
        "/v1/events": {"detail_type": "x", "source": "secret"},
        "/v1/events/match": {"pattern": {}, "event": {}},
        "/v1/events/rules/{name}": {"targets": [{"workflow": "ask"}]},
    }
    tried = 0
    for route in server.service.routes:
        if route.tag not in {"workflows", "executions", "approvals", "events"}:
            continue
        tried += 1
        name = "mine" if route.path.startswith("/v1/events") else "ask"
        identifier = asked["id"] if route.path.startswith("/v1/approvals") else execution["id"]
        path = route.path.replace("{name}", name).replace("{id}", identifier)
        content = None if route.method in {"GET", "DELETE"} else json.dumps(bodies.get(route.path, {}))
        answer = await stranger.request(route.method, path, content=content, headers={"accept": "text/event-stream"})
        address = f"{route.method} {route.path}"
        assert "secret" not in answer.text, address
        assert answer.status_code < 500, address
        if "{" in route.path and route.method not in {"PUT", "DELETE"}:
            assert answer.status_code in {404, 200, 201}, address
            if "{id}" in route.path:
                assert answer.status_code == 404, address
    assert tried >= 26
    assert await state() == before


async def test_without_a_key_nobody_comes_in(server):
    async with server.client_of() as client:
        for route in server.service.routes:
            if route.tag in {"workflows", "executions", "approvals", "events"} and not route.public:
                path = route.path.replace("{id}", "x").replace("{name}", "x")
                assert (await client.request(route.method, path)).status_code == 401, path


@pytest.mark.parametrize("together", [False, True])
async def test_a_task_whose_job_is_cancelled_before_it_runs_has_failed(serve, together):
    server = await serve(app_of(), security={"api_keys": KEYS}, server={"role": "api"})
    async with server.client_of(authorization="Bearer key-of-acme") as client:
        await client.post("/v1/workflows", json={"name": "double", "definition": DOUBLE})
        begun = (await client.post("/v1/workflows/double/executions", json={"input": {"n": 1}})).json()

        async def queued():
            return bool((await client.get("/v1/jobs")).json()["items"])

        await eventually(queued)
        (job,) = (await client.get("/v1/jobs")).json()["items"]
        if together:
            answer = await client.post("/v1/jobs/cancel", json={"status": ["queued"]})
        else:
            answer = await client.post(f"/v1/jobs/{job['id']}/cancel")
        assert answer.status_code == 200, answer.text
        found = (await client.get(f"/v1/executions/{begun['id']}")).json()
        assert (found["status"], found["error"]) == ("failed", "States.TaskFailed")
        assert found["cause"] == "The job of this task was cancelled."
