"""The AWS data plane, asked by the real boto3."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import uuid

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

from corral.app import App
from corral.context import Context
from sweeping import sweep

# botocore leaves the socket of an attempt it gave up to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ARN = "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/{}"
SESSION = "a-session-of-at-least-33-characters-{}"


@pytest.fixture
def client_of():
    """Makes boto3 clients, and lets no socket of theirs be found by the garbage collector in somebody else's test."""
    clients = []

    def make(port: int, **config):
        client = boto3.client(
            "bedrock-agentcore",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="y",
            config=Config(**config),
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
    sweep()


def app_of(calls: list[object]) -> App:
    app = App()

    @app.entrypoint
    async def main(payload, context: Context):
        calls.append(payload)
        return {"said": payload, "session": context.session_id, "user": context.user_id}

    @app.entrypoint(name="counter")
    async def counter(payload):
        for number in range(payload["to"]):
            yield number

    @app.entrypoint(name="fails")
    def fails(payload):
        calls.append(payload)
        raise ValueError("the agent's own words")

    return app


@pytest.fixture
async def served(serve, client_of):
    calls: list[object] = []
    server = await serve(app_of(calls))
    server.calls = calls
    client = await asyncio.to_thread(client_of, server.port, retries={"max_attempts": 2}, read_timeout=20)

    def invoke(name: str, payload: object, **more):
        """Ask in a thread; the answer with its body read."""
        arn = more.pop("arn", ARN.format(name))
        answer = client.invoke_agent_runtime(agentRuntimeArn=arn, payload=json.dumps(payload).encode(), **more)
        return answer, answer["response"].read()

    server.ask = lambda *args, **more: asyncio.to_thread(invoke, *args, **more)
    server.boto = client
    return server


async def test_a_value(served):
    answer, body = await served.ask("main", {"prompt": "hi"}, runtimeSessionId=SESSION.format(1), runtimeUserId="ada")
    assert (answer["statusCode"], answer["contentType"]) == (200, "application/json")
    assert answer["runtimeSessionId"] == SESSION.format(1)
    assert json.loads(body) == {"said": {"prompt": "hi"}, "session": SESSION.format(1), "user": "ada"}


async def test_without_a_session_there_is_a_fresh_one(served):
    answer, body = await served.ask("main", 1)
    assert json.loads(body)["session"] == answer["runtimeSessionId"]
    assert len(answer["runtimeSessionId"]) >= 33


async def test_a_stream_comes_piece_by_piece(served):
    answer, body = await served.ask("counter", {"to": 3}, qualifier="DEFAULT")
    assert answer["contentType"].startswith("text/event-stream")
    assert body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"

    def lines() -> list[bytes]:
        answer = served.boto.invoke_agent_runtime(agentRuntimeArn=ARN.format("counter"), payload=b'{"to": 2}')
        with contextlib.closing(answer["response"]) as body:
            return [line for line in body.iter_lines(chunk_size=1) if line]

    assert await asyncio.to_thread(lines) == [b"data: 0", b"data: 1"]


@pytest.mark.parametrize("suffix", ["", "-a1B2c3D4e5", "-a1B2c3D4e5:7", "-a1B2c3D4e5/runtime-endpoint/DEFAULT"])
async def test_an_arn_names_its_agent(served, suffix):
    _, body = await served.ask("counter" + suffix, {"to": 1})
    assert body == b"data: 0\n\n"


async def test_a_runtime_of_another_name_is_the_main_agent(served):
    _, body = await served.ask("", 5, arn=ARN.format("whatever-a1B2c3D4e5"))
    assert json.loads(body)["said"] == 5
    _, body = await served.ask("", 6, arn="whatever-a1B2c3D4e5", accountId="123456789012")
    assert json.loads(body)["said"] == 6


async def test_a_failing_agent_is_asked_once(served):
    with pytest.raises(ClientError) as caught:
        await served.ask("fails", {"prompt": "x"})
    answer = caught.value.response
    assert answer["Error"] == {"Code": "RuntimeClientError", "Message": "the agent's own words"}
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert served.calls == [{"prompt": "x"}]


async def test_what_is_not_a_runtimes_arn(served):
    with pytest.raises(ClientError) as caught:
        await served.ask("", 1, arn="arn:aws:s3:us-east-1:123456789012:bucket/x")
    assert caught.value.response["Error"]["Code"] == "ValidationException"


async def test_no_main_agent_is_resource_not_found(serve, client_of):
    app = App()
    app.entrypoint(name="one")(lambda payload: payload)
    app.entrypoint(name="two")(lambda payload: payload)
    server = await serve(app)
    client = await asyncio.to_thread(client_of, server.port)
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(client.invoke_agent_runtime, agentRuntimeArn=ARN.format("three"), payload=b"1")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


async def test_a_full_worker_throttles(serve, client_of):
    app, started, go = App(), asyncio.Event(), asyncio.Event()

    @app.entrypoint
    async def main(payload, context):
        started.set()
        await go.wait()
        return "done"

    server = await serve(app, sessions={"waiting_max": 1, "on_conflict": "reject"})
    client = await asyncio.to_thread(client_of, server.port, retries={"total_max_attempts": 1})
    ask = {"agentRuntimeArn": ARN.format("main"), "runtimeSessionId": SESSION.format("x"), "payload": b"1"}
    first = asyncio.create_task(asyncio.to_thread(client.invoke_agent_runtime, **ask))
    await started.wait()
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(client.invoke_agent_runtime, **ask)
    assert caught.value.response["Error"]["Code"] == "RetryableConflictException"
    go.set()
    assert (await first)["statusCode"] == 200


async def test_a_client_that_gives_up_and_asks_again_meets_its_run(serve, client_of):
    """boto3 asks a second time when it has heard nothing for its read timeout, with the same invocation id."""
    app, calls, retried = App(), [], asyncio.Event()

    @app.entrypoint
    async def main(payload, context):
        calls.append(context.request_headers)
        await retried.wait()
        return "once"

    server = await serve(app)
    client = await asyncio.to_thread(client_of, server.port, read_timeout=0.5, retries={"total_max_attempts": 4})
    loop, attempts = asyncio.get_running_loop(), []

    def counted(request, **_):
        attempts.append(request.headers["amz-sdk-invocation-id"])
        if len(attempts) == 2:
            loop.call_soon_threadsafe(retried.set)

    client.meta.events.register("before-send.bedrock-agentcore.InvokeAgentRuntime", counted)
    answer = await asyncio.to_thread(client.invoke_agent_runtime, agentRuntimeArn=ARN.format("main"), payload=b"1")
    assert await asyncio.to_thread(answer["response"].read) == b'"once"'
    assert len(attempts) >= 2
    assert len(set(attempts)) == 1
    assert len(calls) == 1


async def test_stopping_a_session_stops_what_runs_in_it(serve, client_of):
    app, started, stopped = App(), threading.Event(), asyncio.Event()

    @app.entrypoint
    async def main(payload, context):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    server = await serve(app)
    client = await asyncio.to_thread(client_of, server.port, retries={"total_max_attempts": 1})
    session = SESSION.format("to-stop")
    ask = {"agentRuntimeArn": ARN.format("main"), "runtimeSessionId": session, "payload": b"1"}
    running = asyncio.create_task(asyncio.to_thread(client.invoke_agent_runtime, **ask))
    await asyncio.to_thread(started.wait, 10)
    answer = await asyncio.to_thread(
        client.stop_runtime_session,
        agentRuntimeArn=ARN.format("main"),
        runtimeSessionId=session,
        clientToken=str(uuid.uuid4()),
    )
    assert answer["statusCode"] == 200
    await asyncio.wait_for(stopped.wait(), 10)
    with pytest.raises(ClientError):
        await running


async def test_the_clients_own_rules_hold(served):
    with pytest.raises(ParamValidationError):
        await served.ask("main", 1, runtimeSessionId="short")
