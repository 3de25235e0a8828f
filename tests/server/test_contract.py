"""AgentCore's container contract over a real socket: `POST /invocations`."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse

from corral.app import App
from corral.errors import SessionBusy
from serving import Frames

SESSION = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"


@pytest.fixture
def app():
    return App()


async def echo(payload):
    return payload


async def post(server, body, **headers):
    return await server.client.post("/invocations", content=body, headers=headers)


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b'{"a":1,"b":[true,null,"x"]}', b'{"a": 1, "b": [true, null, "x"]}'),
        ('{"ä":"日本 \\u00e9"}'.encode(), '{"ä": "日本 é"}'.encode()),
        (b'"text with \\"quotes\\" and \\n"', b'"text with \\"quotes\\" and \\n"'),
        (b"null", b"null"),
        (b"[]", b"[]"),
        (b"1.0", b"1.0"),
        (b"1e5", b"100000.0"),
        (b"123456789012345678901234567890", b"123456789012345678901234567890"),
        (b"-0", b"0"),
        (b' {"a" : 1 } \n', b'{"a": 1}'),
        (b'{"a":1,"a":2}', b'{"a": 2}'),
        (b'\xef\xbb\xbf{"bom":1}', b'{"bom": 1}'),
        ('{"utf":16}'.encode("utf-16"), b'{"utf": 16}'),
    ],
)
async def test_a_value_is_answered_to_the_byte(app, serve, sent, answered):
    app.entrypoint(echo)
    server = await serve(app)
    answer = await post(server, sent)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == answered


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "nonsense"])
async def test_the_content_type_is_not_looked_at(app, serve, content_type):
    app.entrypoint(echo)
    server = await serve(app)
    answer = await post(server, b'{"a": 1}', **({"content-type": content_type} if content_type else {}))
    assert (answer.status_code, answer.json()) == (200, {"a": 1})


async def test_limits_of_our_own_api_are_not_the_contracts(app, serve):
    app.entrypoint(echo)
    server = await serve(app, runtime={"prompt_chars_max": 3})
    payload = {"prompt": "", "message": "x" * 100, "session_id": "x" * 300}
    assert (await server.invoke(payload)).json() == payload


async def test_any_value_is_answered_somehow(app, serve):
    class Odd:
        def __str__(self):
            return "odd ✓"

    @app.entrypoint
    def agent(payload):
        return {"surrogate": "\ud800", "set": {1}, "odd": {"nested": Odd()}}[payload]

    server = await serve(app)
    assert (await server.invoke("surrogate")).content == b'"\\ud800"'
    assert (await server.invoke("set")).content == b"[1]"
    assert (await server.invoke("odd")).json().startswith("{'nested': <")


@pytest.mark.parametrize("kind", ["plain", "streaming"])
async def test_a_response_of_the_agents_own_passes_through(app, serve, kind):
    after = threading.Event()

    @app.entrypoint
    async def agent(payload):
        if payload == "plain":
            return JSONResponse({"mine": 1}, 418, {"x-mine": "yes"}, background=BackgroundTask(after.set))
        return StreamingResponse(iter(["a", "b"]), 202, {"x-mine": "yes"}, "text/plain")

    server = await serve(app)
    answer = await server.invoke(kind)
    assert answer.headers["x-mine"] == "yes"
    if kind == "plain":
        assert (answer.status_code, answer.content) == (418, b'{"mine":1}')
        await asyncio.to_thread(after.wait, 5)
        assert after.is_set()
    else:
        assert (answer.status_code, answer.text) == (202, "ab")


async def test_a_response_that_fails_midway_is_cut_and_the_worker_goes_on(app, serve):
    @app.entrypoint
    async def agent(payload):
        def body():
            yield "a"
            raise ValueError("broken")

        return StreamingResponse(body()) if payload else "fine"

    server = await serve(app)
    with pytest.raises(Exception, match="incomplete"):
        await server.invoke(1)
    assert (await server.invoke(0)).json() == "fine"


# -- what is not valid ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "title", "details"),
    [
        (b"", "Invalid JSON", "Expecting value: line 1 column 1 (char 0)"),
        (b"{", "Invalid JSON", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"[1,]", "Invalid JSON", "Expecting value: line 1 column 4 (char 3)"),
        (b'{"a": 1} x', "Invalid JSON", "Extra data: line 1 column 10 (char 9)"),
        (
            b'"\xe4"',
            "Invalid encoding",
            "'utf-8' codec can't decode byte 0xe4 in position 1: invalid continuation byte",
        ),
        (b'"\\ud800"', "Invalid encoding", None),
        (b"NaN", "Invalid JSON", "NaN is not JSON"),
        (b"[-Infinity]", "Invalid JSON", "-Infinity is not JSON"),
        (b"1e999", "Invalid JSON", "1e999 is too large a number"),
        (b"[" * 200 + b"]" * 200, "Invalid JSON", None),
        (b"[" * 100_000, "Invalid JSON", None),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "Invalid JSON", None),
        (b"1" * 5000, "Invalid JSON", None),
    ],
)
async def test_what_is_no_json_is_a_400(app, serve, body, title, details):
    app.entrypoint(echo)
    server = await serve(app)
    answer = await post(server, body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"] == title
    if details is not None:
        assert (
            answer.content
            == json.dumps({"error": title, "details": details}, ensure_ascii=False, separators=(",", ":")).encode()
        )


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 128 + b"]" * 128,
        b'["' + b"[" * 1000 + b'"]',
        b'["\\\\", "\\"[[[", {"[": "]"}]' + b" " * 10,
        json.dumps([[1]] * 5000).encode(),
        json.dumps(["[" * 200, '\\"[' * 200]).encode(),
    ],
)
async def test_many_brackets_are_not_deep(app, serve, body):
    app.entrypoint(echo)
    server = await serve(app)
    assert (await post(server, body)).json() == json.loads(body)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [101, 5_000_000])
async def test_a_body_that_is_too_large_is_a_413(app, serve, chunked, size):
    app.entrypoint(echo)
    server = await serve(app, server={"body_max_bytes": 100})

    async def pieces():
        for start in range(0, size, 65536):
            yield b"1" * min(65536, size - start)

    head = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % size
    answer = b""
    if size == 101:
        response = await server.client.post("/invocations", content=pieces() if chunked else b"1" * size)
        assert response.status_code == 413
        assert "body_max_bytes" in response.json()["error"]
    else:  # the answer comes before the body was sent
        body = b"%x\r\n%b\r\n" % (65536, b"1" * 65536) if chunked else b"1" * 65536
        answer = await server.raw(b"POST /invocations HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n%b" % (head, body))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()
    assert (await server.invoke(1)).json() == 1


async def test_a_body_of_just_the_right_size_is_taken(app, serve):
    app.entrypoint(len)
    server = await serve(app, server={"body_max_bytes": 100})
    assert (await post(server, b'"' + b"x" * 98 + b'"')).json() == 98


async def test_thousands_of_random_bodies_are_only_ever_400s(app, serve):
    """Four thousand requests on one connection, ten at a time, half of them broken JSON and half of them noise."""
    import random

    app.entrypoint(echo)
    server = await serve(app, observability={"access_log": False, "traces": False})
    chance = random.Random(7)
    valid = b'{"prompt": "hello \\u00e9 [1, 2]", "list": [1, 2.5e3, null, true, {"a": "\xc3\xa9"}]}'
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    statuses = set()
    for _ in range(400):
        batch = []
        for _ in range(10):
            if chance.random() < 0.5:
                body = bytearray(valid)
                for _ in range(chance.randint(1, 4)):
                    body[chance.randrange(len(body))] = chance.randrange(256)
            else:
                body = chance.randbytes(chance.randint(0, 60))
            batch.append(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.write(b"".join(batch))
        for _ in batch:
            head = await reader.readuntil(b"\r\n\r\n")
            statuses.add(int(head[9:12]))
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
    assert 400 in statuses
    assert statuses <= {200, 400}


# -- agents that fail -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "status", "body"),
    [
        (ValueError("böse"), 500, '{"error":"böse"}'),
        (ValueError(), 500, '{"error":""}'),
        (KeyError("x"), 500, '{"error":"\'x\'"}'),
        (SystemExit(3), 500, '{"error":"3"}'),
        (HTTPException(404, "no such thing"), 404, '{"error":"no such thing"}'),
        (HTTPException(429), 429, '{"error":"Too Many Requests"}'),
        (HTTPException(422, {"fields": [1]}), 422, '{"error":{"fields":[1]}}'),
        (HTTPException(503, {"odd": {1}}), 503, '{"error":{"odd":[1]}}'),
    ],
)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_agents_error_is_answered_as_it_says(app, serve, kind, raised, status, body):
    if kind == "async":

        @app.entrypoint
        async def agent(payload):
            raise raised
    else:

        @app.entrypoint
        def agent(payload):
            raise raised

    server = await serve(app)
    answer = await server.invoke(1)
    assert (answer.status_code, answer.content.decode()) == (status, body)
    assert answer.headers["content-type"] == "application/json"


async def test_an_error_of_our_own_keeps_its_status(app, serve):
    @app.entrypoint
    async def agent(payload):
        raise SessionBusy(retry_after_s=0.2)

    server = await serve(app)
    answer = await server.invoke(1)
    assert (answer.status_code, answer.headers["retry-after"]) == (409, "1")


async def test_on_error_answers_and_says_so(app, serve):
    @app.entrypoint
    async def agent(payload):
        raise ValueError("broken")

    @app.on_error
    def sorry(error, payload, context):
        return {"sorry": str(error)}

    server = await serve(app)
    answer = await server.invoke(1)
    assert (answer.status_code, answer.json(), answer.headers["x-degraded"]) == (200, {"sorry": "broken"}, "on_error")


async def test_an_app_without_an_entrypoint_says_so(serve):
    from corral.agentcore import BedrockAgentCoreApp

    server = await serve(BedrockAgentCoreApp())
    answer = await server.invoke(1)
    assert (answer.status_code, answer.content) == (500, b'{"error":"No entrypoint defined."}')


class Exclaiming:
    """Middleware that changes what is asked, and what is answered."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        async def louder():
            message = await receive()
            return {**message, "body": message["body"].upper()} if message["type"] == "http.request" else message

        async def signed(message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-signed", b"yes")]}
            await send(message)

        await self.app(scope, louder, signed)


async def test_middleware_changes_what_is_asked_and_answered(serve):
    from starlette.middleware import Middleware

    from corral.agentcore import BedrockAgentCoreApp

    app = BedrockAgentCoreApp(middleware=[Middleware(Exclaiming)])
    app.entrypoint(echo)
    server = await serve(app)
    answer = await server.invoke("hello")
    assert (answer.json(), answer.headers["x-signed"]) == ("HELLO", "yes")


# -- addresses and methods --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_another_method_is_a_405(app, serve, method):
    app.entrypoint(echo)
    server = await serve(app)
    answer = await server.client.request(method, "/invocations")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/nothing", "/", "/invocations/", "/invocations/x", "/%2Finvocations", "//"])
async def test_another_path_is_a_404(app, serve, path):
    app.entrypoint(echo)
    server = await serve(app)
    assert (await server.invoke(1, path)).status_code == 404


@pytest.mark.parametrize("path", ["/invocations?x=1", "/%69nvocations", "/invocations?", "/invocation%73?a=b"])
async def test_the_same_path_in_other_words(app, serve, path):
    app.entrypoint(echo)
    server = await serve(app)
    assert (await server.invoke(1, path)).json() == 1


# -- what the agent sees ----------------------------------------------------------------------------------------------


@pytest.fixture
async def seen(app, serve):
    """What the agent's context said."""

    @app.entrypoint
    async def agent(payload, context):
        return {
            "session": context.session_id,
            "request": context.request_id,
            "user": context.user_id,
            "token": context.workload_access_token,
            "callback": context.oauth2_callback_url,
            "trace": context.trace_id,
            "headers": context.request_headers,
        }

    server = await serve(app)

    async def ask(*headers):
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        answer = await server.raw(
            b"POST /invocations HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n%b\r\n1" % head
        )
        head, _, body = answer.partition(b"\r\n\r\n")
        return json.loads(body) | {"status": int(head[9:12]), "head": head.decode().lower()}

    return ask


async def test_headers_become_the_context(seen):
    found = await seen(
        (b"x-amzn-bedrock-agentcore-runtime-session-id", b"short"),
        (b"X-Amzn-Bedrock-AgentCore-Runtime-Request-Id", b"r-1"),
        (b"X-Amzn-Bedrock-AgentCore-Runtime-User-Id", b"ann"),
        (b"WorkloadAccessToken", b"t-1"),
        (b"OAuth2CallbackUrl", b"https://back"),
        (b"traceparent", b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"),
    )
    assert {name: found[name] for name in ("session", "request", "user", "token", "callback", "trace")} == {
        "session": "short",
        "request": "r-1",
        "user": "ann",
        "token": "t-1",
        "callback": "https://back",
        "trace": "0123456789abcdef0123456789abcdef",
    }
    assert "x-request-id: r-1" in found["head"]


async def test_without_headers_there_is_a_request_id_and_nothing_else(seen):
    found = await seen()
    assert (found["session"], found["user"], found["token"], found["headers"]) == (None, None, None, None)
    assert len(found["request"]) == 36


async def test_the_newer_identity_token_goes_before_the_older_one(seen):
    found = await seen((b"WorkloadAccessToken", b"old"), (b"X-Amz-Bedrock-AgentCore-Identity-WAT", b"new"))
    assert found["token"] == "new"
    assert found["headers"] == {"workloadaccesstoken": "old", "x-amz-bedrock-agentcore-identity-wat": "new"}


async def test_an_agent_sees_the_headers_that_are_for_it(seen):
    found = await seen(
        *[(b"authorization", b"Bearer x"), (b"X-Custom", b"1"), (b"baggage", b"a=b"), (b"X-Api-Key", b"k")],
        *[(b"X-Amzn-Bedrock-AgentCore-Runtime-Custom-Thing", b"2"), (b"x-amzn-trace-id", b"3"), (b"x-amz-date", b"4")],
        *[(b"cookie", b"a=b"), (b"user-agent", b"me"), (b"accept", b"*/*"), (b"x-forwarded-for", b"1.2.3.4")],
        *[(b"if-none-match", b"e"), (b"sec-websocket-key", b"k"), (b"referer", b"r"), (b"te", b"trailers")],
    )
    assert found["headers"] == {
        "Authorization": "Bearer x",
        "x-custom": "1",
        "baggage": "a=b",
        "x-api-key": "k",
        "x-amzn-bedrock-agentcore-runtime-custom-thing": "2",
    }


@pytest.mark.parametrize("value", [b"x" * 257, b"tab\there", b"\x80\x81"])
async def test_a_session_id_that_is_none_is_a_400(seen, value):
    found = await seen((SESSION.encode(), value))
    assert found["status"] == 400
    assert "not an id" in found["error"]


async def test_a_request_id_that_is_none_is_replaced(seen):
    assert len((await seen((b"X-Request-Id", b"x" * 200)))["request"]) == 36


async def test_the_agent_can_read_the_request_itself(app, serve):
    @app.entrypoint
    async def agent(payload, context):
        request = context.request
        again = context.request
        return {
            "json": await request.json(),
            "body": (await again.body()).decode(),
            "method": request.method,
            "query": dict(request.query_params),
            "header": request.headers["x-custom"],
            "gone": await request.is_disconnected(),
        }

    server = await serve(app)
    answer = await server.invoke({"a": [1]}, "/invocations?q=1", x_custom="yes")
    assert answer.json() == {
        "json": {"a": [1]},
        "body": '{"a": [1]}',
        "method": "POST",
        "query": {"q": "1"},
        "header": "yes",
        "gone": False,
    }


# -- debug actions ----------------------------------------------------------------------------------------------------


async def test_debug_actions_are_answered_in_debug_only(serve):
    for debug in (False, True):
        app = App(debug=debug)
        app.entrypoint(echo)
        server = await serve(app)
        payload = {"_agent_core_app_action": "force_busy"}
        answer = await server.invoke(payload)
        assert answer.json() == ({"forced_status": "HealthyBusy"} if debug else payload)
        unknown = await server.invoke({"_agent_core_app_action": "reboot"})
        assert unknown.status_code == (400 if debug else 200)
        assert (await server.invoke({"_agent_core_app_action": ""})).status_code == 200
        status = (await server.client.get("/ping")).json()["status"]
        assert status == ("HealthyBusy" if debug else "Healthy")


async def test_the_operator_may_ask_for_debug_actions_too(app, serve):
    app.entrypoint(echo)
    server = await serve(app, runtime={"debug": True})
    answer = await server.invoke({"_agent_core_app_action": "job_status"})
    assert answer.content == b'{"active_count":0,"running_jobs":[]}'


# -- one connection, many requests --------------------------------------------------------------------------------------


async def test_requests_on_one_connection_do_not_mix(app, serve):
    @app.entrypoint
    async def agent(payload, context):
        await asyncio.sleep(0)
        if payload == "stream":
            return stream(context.session_id)
        return [payload, context.session_id]

    async def stream(session):
        yield session

    server = await serve(app)
    for number in range(20):
        answer = await server.invoke(number, x_session_id=f"s{number}")
        assert answer.json() == [number, f"s{number}"]
        async with server.stream("stream", x_session_id=f"t{number}") as response:
            assert await Frames(response).data() == f"t{number}"
