"""The same file, hosted by AgentCore's own runtime and by Corral, answers the same bytes."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from processes import free_port, wait_until

pytest.importorskip("bedrock_agentcore", reason="`make test-reference` installs the reference runtime")
pytestmark = pytest.mark.reference

SESSION = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"


@contextmanager
def hosted(module: str, folder: Path, *more: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("hosted.py")), module, str(port), *more]
    with (folder / f"{module}.txt").open("w") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
    try:
        wait_until(lambda: process.poll() is not None or listens(port), 30)
        assert process.poll() is None, (folder / f"{module}.txt").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def both(folder: Path, *more: str) -> Iterator[tuple[int, ...]]:
    """The reference's port, and ours."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(hosted(m, folder, *more)) for m in ("bedrock_agentcore", "corral.agentcore"))


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    yield from both(tmp_path_factory.mktemp("hosted"))


@pytest.fixture(scope="module")
def debug_ports(tmp_path_factory):
    yield from both(tmp_path_factory.mktemp("hosted-debug"), "debug")


def ask(port: int, body: bytes | None, method: str = "POST", path: str = "/invocations", **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {"content-type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.getheader("content-type"), response.read()
    finally:
        connection.close()


def same(ports, body, **more):
    reference, ours = (ask(port, body, **more) for port in ports)
    assert ours == reference
    return ours


VALUES = [
    "dict",
    "text",
    "number",
    "none",
    "tuple",
    "set",
    "dataclass",
    "nested",
    "odd",
    "explosive",
    "nan",
    "bytes",
    "empty",
]


@pytest.mark.parametrize("value", VALUES)
def test_values(ports, value):
    assert same(ports, json.dumps({"value": value}).encode())[0] == 200


@pytest.mark.parametrize("kind", ["stream", "sync_stream"])
@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("values", [VALUES, []])
def test_streams(ports, kind, fail, values):
    status, content_type, _ = same(ports, json.dumps({kind: values, "fail": fail}).encode())
    assert (status, content_type) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1,]",
        b"nope",
        b'{"a": 1} x',
        b"\xff\xfe\xfa",
        b'"\xe4"',
        b"null",
        b'"text"',
        b"[]",
        b"12345678901234567890123",
        b"1e3",
    ],
)
def test_bodies(ports, body):
    same(ports, body)


@pytest.mark.parametrize(
    "payload", [{"raise": "böse"}, {"raise": ""}, {"http": 404}, {"http": 503}, {"response": 1}, {"busy": 1}]
)
def test_other_answers(ports, payload):
    same(ports, json.dumps(payload).encode())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {SESSION: "s" * 40},
        {
            "Authorization": "Bearer x",
            "Cookie": "a=b",
            "X-Custom": "1",
            "X-Amz-Date": "2",
            "Origin": "http://localhost",
        },
        {
            "x-amzn-bedrock-agentcore-runtime-custom-thing": "3",
            "X-Amzn-Other": "4",
            "X-Forwarded-For": "5",
            "If-Match": "6",
        },
        {"WorkloadAccessToken": "one", "X-Amz-Bedrock-AgentCore-Identity-WAT": "two", "OAuth2CallbackUrl": "http://x/"},
        {"X-Amzn-Bedrock-AgentCore-Runtime-Request-Id": "request-7"},
    ],
)
def test_context(ports, headers):
    answers = [json.loads(ask(port, b'{"context": 1}', **headers)[2]) for port in ports]
    if "X-Amzn-Bedrock-AgentCore-Runtime-Request-Id" not in headers:
        for answer in answers:
            assert len(answer.pop("request_id")) == 36
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "action", ["job_status", "force_busy", "force_healthy", "clear_forced_status", "nonsense", "", 5, None]
)
def test_debug_actions(debug_ports, action):
    same(debug_ports, json.dumps({"_agent_core_app_action": action}).encode())


def test_ping(ports):
    for port in ports:
        status, content_type, body = ask(port, None, "GET", "/ping")
        assert (status, content_type) == (200, "application/json")
        answer = json.loads(body)
        assert answer["status"] == "Healthy"
        assert isinstance(answer["time_of_last_update"], int)
        assert set(answer) == {"status", "time_of_last_update"}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/invocations"), ("POST", "/ping"), ("GET", "/nothing"), ("DELETE", "/invocations")]
)
def test_wrong_addresses(ports, method, path):
    reference, ours = (ask(port, None, method, path)[0] for port in ports)
    assert ours == reference


def test_websockets(ports):
    for port in ports:
        with connect(f"ws://127.0.0.1:{port}/ws", additional_headers={SESSION: "s" * 40}) as socket_:
            socket_.send("hello")
            assert json.loads(socket_.recv()) == {"said": "hello", "session": "s" * 40}
        with connect(f"ws://127.0.0.1:{port}/ws") as socket_:
            socket_.send("fail")
            with pytest.raises(ConnectionClosedError) as caught:
                socket_.recv()
            assert caught.value.rcvd.code == 1011
