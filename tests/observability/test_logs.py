"""What a log line says, and what it does not."""

from __future__ import annotations

import json
import logging
import os
import threading

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from corral.context import Context, enter_context, leave_context
from corral.observability.lines import LineWriter
from corral.observability.logs import Logs
from corral.observability.redaction import MASK, is_secret, redacted
from corral.settings.sections import ObservabilitySettings


class Pipe:
    """A stream whose other end the test reads."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def fileno(self) -> int:
        return self.writer

    def lines(self) -> list[str]:
        os.set_blocking(self.reader, False)
        try:
            return os.read(self.reader, 1 << 20).decode().splitlines()
        except BlockingIOError:
            return []

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def logged(pipe):
    """Logging as a worker sets it up, and everything put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    writer = LineWriter(pipe)
    logs = Logs(ObservabilitySettings(log_format="json", log_level="info"), writer)
    logs.start()
    logs.start()

    def read() -> list[dict[str, object]]:
        writer.flush()
        return [json.loads(line) for line in pipe.lines()]

    yield logs, read
    logs.stop()
    logs.stop()
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def context():
    context = Context("request-1", "billing")
    context.session_id, context.trace_id, context.tenant = "session-1", "ab" * 16, "acme"
    token = enter_context(context)
    yield context
    leave_context(token)


def test_every_line_says_in_which_request(logged, context):
    _, read = logged
    logging.getLogger("mine").info("by %s", "logging")
    structlog.get_logger().info("by structlog", answer=42)
    for line, event in zip(read(), ["by logging", "by structlog"], strict=True):
        assert line["event"] == event
        assert line["level"] == "info"
        assert (line["request_id"], line["session_id"], line["tenant"]) == ("request-1", "session-1", "acme")
        assert (line["agent"], line["trace_id"]) == ("billing", "ab" * 16)
        assert str(line["time"]).endswith("Z")


def test_levels_are_kept_to(logged):
    _, read = logged
    logging.getLogger("mine").debug("no")
    structlog.get_logger().debug("no")
    logging.getLogger("uvicorn").info("no")
    structlog.get_logger().error("yes")
    assert [(line["level"], line["event"]) for line in read()] == [("error", "yes")]


def test_errors_bring_their_traceback(logged):
    _, read = logged
    try:
        int("broken")
    except ValueError:
        logging.getLogger("mine").exception("it failed")
    (line,) = read()
    assert "ValueError: invalid literal" in str(line["exception"])


def test_secrets_are_masked(logged):
    _, read = logged
    structlog.get_logger().info(
        "call", api_key="abc", headers={"Authorization": "Bearer 12345678", "accept": "x"}, input_tokens=7
    )
    logging.getLogger("mine").warning("sent Bearer abcdefghijkl to http://me:hunter2@host/")
    first, second = read()
    assert first["api_key"] == MASK
    assert first["headers"] == {"Authorization": MASK, "accept": "x"}
    assert first["input_tokens"] == 7
    assert "abcdefghijkl" not in str(second["event"])
    assert "hunter2" not in str(second["event"])


def test_nothing_a_user_logs_raises(logged):
    class Rude:
        def __repr__(self) -> str:
            return "rude"

    logs, read = logged
    structlog.get_logger().info("odd", thing=Rude(), number=float("nan"), surrogate="\ud800")
    logs._handler.emit(logging.LogRecord("mine", logging.INFO, __file__, 1, "wrong %d", ("text",), None))
    assert len(read()) == 2


def test_other_peoples_processes_get_no_access_lines(pipe):
    Logs(ObservabilitySettings(log_format="json"), LineWriter(pipe)).access(0.0, {"status": 200})
    assert pipe.lines() == []


def test_the_access_line(logged):
    logs, read = logged
    logs.access(
        1_700_000_000.25, {"method": "POST", "path": "/invocations", "status": 200, "ms": 1.5, "request_id": "r"}
    )
    assert read() == [
        {
            "time": "2023-11-14T22:13:20.250Z",
            "level": "info",
            "event": "request",
            "method": "POST",
            "path": "/invocations",
            "status": 200,
            "ms": 1.5,
            "request_id": "r",
        }
    ]


def test_people_get_text(pipe):
    writer = LineWriter(pipe)
    logs = Logs(ObservabilitySettings(log_format="console"), writer)
    logs._handler = logging.NullHandler()
    logs.access(0.0, {"method": "GET", "path": "/x", "status": 404, "ms": 1.0, "request_id": "r", "session_id": "s"})
    (line,) = pipe.lines()
    assert "404" in line
    assert "session s" in line


def test_a_warning_is_written_at_once(logged, pipe):
    logging.getLogger("mine").warning("now")
    assert "now" in pipe.lines()[0]


def test_lines_of_many_threads_stay_whole(pipe):
    writer = LineWriter(pipe)
    writer.start()
    threads = [
        threading.Thread(target=lambda n=n: [writer.write(b"%d" % n * 20 + b"\n") for _ in range(100)])
        for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.stop()
    writer.stop()
    lines = pipe.lines()
    assert len(lines) == 500
    assert all(len(set(line)) == 1 for line in lines)


def test_a_reader_that_went_away_hurts_nobody():
    pipe = Pipe()
    os.close(pipe.reader)
    writer = LineWriter(pipe)
    writer.write(b"lost\n")
    os.close(pipe.writer)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_redaction_never_raises_and_is_stable(value):
    once = redacted(value)
    assert redacted(once) == once


@pytest.mark.parametrize(
    "key", ["password", "API-Key", "x_api_key", "Authorization", "client_secret", "set-cookie", "auth.token"]
)
def test_secret_keys(key):
    assert is_secret(key)


@pytest.mark.parametrize("key", ["input_tokens", "monkey", "tokenizer", "author", 3])
def test_other_keys(key):
    assert not is_secret(key)
