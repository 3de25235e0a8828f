"""What a log line says, and what it does not."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from corral.context import Context, enter_context, leave_context
from corral.errors import CorralError
from corral.observability.lines import LineWriter
from corral.observability.logs import Logs
from corral.observability.redaction import MASK, is_secret, redacted
from corral.observability.rendering import access_text, to_text
from corral.observability.structlogs import StructlogSetup
from corral.settings.sections import ObservabilitySettings


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


def test_secrets_in_tracebacks_and_objects_are_masked(logged):
    @dataclass
    class Login:
        user: str
        password: str

    class Key(msgspec.Struct):
        api_key: str

    _, read = logged
    try:
        raise ValueError("Authorization: Bearer hunter2hunter2")  # noqa: TRY301 - the traceback is under test
    except ValueError:
        logging.getLogger("mine").exception("x", extra={"login": Login("me", "hunter2"), "key": Key("hunter2")})
    deep: object = {"password": "hunter2"}
    for _ in range(10):
        deep = [deep]
    structlog.get_logger().warning("y", deep=deep, text="password=hunter2")
    first, second = read()
    assert "ValueError" in str(first["exception"])
    assert first["login"] == {"user": "me", "password": MASK}
    assert first["key"] == {"api_key": MASK}
    assert "hunter2" not in str(first) + str(second)


def test_extra_values_and_the_loggers_name_are_on_the_line(logged):
    _, read = logged
    logging.getLogger("mine.own").info("x", extra={"order": 7})
    structlog.get_logger("theirs").info("y", order=8)
    assert [(line["logger"], line["order"]) for line in read()] == [("mine.own", 7), ("theirs", 8)]


def test_what_is_bound_in_structlog_is_on_its_lines(logged):
    _, read = logged
    with structlog.contextvars.bound_contextvars(order=7):
        structlog.get_logger().info("x")
    assert read()[0]["order"] == 7


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value", [Rude(), float("nan"), "\ud800", 1 << 70, {Rude(): 1}, {1: 2}, object(), b"\xff", {"a", "b"}, print]
)
def test_nothing_a_user_logs_raises(logged, value):
    logs, read = logged
    structlog.get_logger().info("odd", thing=value)
    for message, arguments in [("odd %s", (value,)), ("wrong %d", ("text",)), (value, ())]:
        record = logging.LogRecord("mine", logging.INFO, __file__, 1, message, arguments, None)
        record.thing = value
        logs._handler.emit(record)
    assert len(read()) == 4


def test_a_value_that_contains_itself(logged):
    _, read = logged
    loop: list[object] = []
    loop.append(loop)
    structlog.get_logger().info("odd", loop=loop)
    assert read()[0]["event"] == "odd"


def test_warnings_and_dying_threads_are_lines(logged):
    _, read = logged
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)  # pytest has its own place for warnings
        warnings.warn("old", stacklevel=1)
        logging.captureWarnings(False)
    thread = threading.Thread(target=lambda: int("broken"), name="mine")
    thread.start()
    thread.join()
    first, second = read()
    assert "old" in str(first["event"])
    assert "'mine' died" in str(second["event"])


def test_lines_are_counted(logged, context):
    logs, _ = logged
    logging.getLogger("mine").error("x")
    structlog.get_logger().info("y")
    logs.access(0.0, {"status": 200})
    assert (logs.counts["error"], logs.counts["info"], logs.counts["debug"]) == (1, 2, 0)


def test_no_access_lines_at_a_higher_level(pipe):
    logs = Logs(ObservabilitySettings(log_format="json", log_level="warning"), LineWriter(pipe))
    logs._handler = logging.NullHandler()
    logs.access(0.0, {"status": 200})
    assert pipe.lines() == []


STRUCTLOG = """
import logging, sys
from corral.observability.logs import Logs
from corral.settings.sections import ObservabilitySettings
{before}
logs = Logs(ObservabilitySettings(log_format="json"))
logs.start()
assert {expected} == ("structlog" in sys.modules)
import structlog
assert structlog.__spec__.loader.__class__.__name__ == "SourceFileLoader"
structlog.get_logger().info("hello", n=1)
logs.stop()
logs.stop()
assert not structlog.is_configured()
"""


@pytest.mark.parametrize("before", ["", "import structlog"], ids=["imported later", "imported before"])
def test_structlog_is_set_up_when_somebody_uses_it(before):
    program = STRUCTLOG.format(before=before, expected=bool(before))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    line = json.loads(ended.stderr)
    assert (line["event"], line["n"], line["level"]) == ("hello", 1, "info")


def test_structlog_imported_later_ends_here_too(monkeypatch, context):
    emitted: list[dict[str, object]] = []
    setup = StructlogSetup(logging.INFO, emitted.append)
    for name in [name for name in sys.modules if name.partition(".")[0] == "structlog"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    setup.start()
    setup.start()
    assert sys.meta_path.count(setup) == 1
    importlib.import_module("colorsys")  # something else
    fresh = importlib.import_module("structlog")
    log = fresh.get_logger("mine")
    assert setup not in sys.meta_path
    error = ValueError("x")
    try:
        raise error
    except ValueError:
        log.exception("a")
        log.warning("b", exc_info=error)
        log.warning("c", exc_info=(ValueError, error, None))
        log.warning("d", exc_info=(None, None, None))
    log.debug("no")
    setup.stop()
    setup.stop()
    assert not fresh.is_configured()
    assert [(line["event"], line["level"], "exception" in line) for line in emitted] == [
        ("a", "error", True),
        ("b", "warning", True),
        ("c", "warning", True),
        ("d", "warning", False),
    ]
    assert {(line["logger"], line["request_id"]) for line in emitted} == {("mine", "request-1")}


def test_structlog_that_is_never_used_leaves_nothing_behind(monkeypatch):
    setup = StructlogSetup(logging.INFO, [].append)
    monkeypatch.delitem(sys.modules, "structlog")
    setup.start()
    setup.stop()
    assert setup not in sys.meta_path


def test_a_users_own_structlog_stays():
    program = "import structlog\nstructlog.configure(processors=[structlog.processors.KeyValueRenderer()])\n"
    program = STRUCTLOG.format(before=program, expected=True).replace("assert not structlog.is", "assert structlog.is")
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "event='hello'" in ended.stdout


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
    logs.start()
    logs.access(0.0, {"method": "GET", "path": "/x", "status": 404, "ms": 1.0, "request_id": "r", "session_id": "s"})
    logging.getLogger("mine").warning("careful", extra={"order": 7})
    logs.stop()
    first, second = pipe.lines()
    assert first == "404 GET /x  1.0 ms  session s  r"
    assert second[9:] == "warning  careful  order=7"


def test_colours_are_for_terminals(pipe):
    line = {"time": "2026-11-21T07:00:00.000Z", "level": "error", "event": "e", "order": 7, "exception": "Traceback"}
    assert to_text(line, colours=True) == b"07:00:00 \x1b[31merror   \x1b[0m e  \x1b[2morder=7\x1b[0m\nTraceback\n"
    request = {"status": 503, "method": "GET", "path": "/", "ms": 1.0, "request_id": "r"}
    assert access_text(request, colours=True).startswith(b"\x1b[31m503\x1b[0m GET /")


def test_a_warning_is_written_at_once(logged, pipe):
    logging.getLogger("mine").warning("now")
    assert "now" in pipe.lines(wait_s=10)[0]


def test_other_lines_are_written_soon(logged, pipe):
    logging.getLogger("mine").info("soon")
    assert "soon" in pipe.lines(wait_s=10)[0]


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc", f"Authorization: {MASK}"),
        ("sent Basic YWJjOmRlZg==", f"sent {MASK}"),
        ("Send `Authorization: Bearer …` or `X-Api-Key: …`.", "Send `Authorization: Bearer …` or `X-Api-Key: …`."),
        ("Authorization: Bearer …cdef", "Authorization: [redacted]"),
        ("password=…hunter2 token: …", "password=[redacted] token: …"),
        ("password=….hunter2 token=…`hunter2`", "password=[redacted] token=[redacted]"),
        ("Authorization: Bearer ….hunter2", "Authorization: [redacted]"),
        ("Send `token: …`.", "Send `token: …`."),
        ("{'api_key': 'abc', 'n': 1}", "{'api_key': '[redacted]', 'n': 1}"),
        ("?token=abc&x=1", f"?token={MASK}&x=1"),
        ("key " + "sk-" + "a1b2" * 5, f"key {MASK}"),
        ("postgresql://me:abc@host/db", f"postgresql://{MASK}@host/db"),
        ("redis://:abc@host", f"redis://{MASK}@host"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2ln", "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", MASK),
        (
            "input_tokens=7, a basic tokenizer, see https://host/x",
            "input_tokens=7, a basic tokenizer, see https://host/x",
        ),
    ],
)
def test_credentials_in_texts(text, shown):
    assert redacted(text) == shown
    assert redacted(shown) == shown


def _all_errors(kind):
    for one in kind.__subclasses__():
        yield one
        yield from _all_errors(one)


def test_our_own_words_hold_no_secret():
    """What an error says where nobody gave it words: it must be the same in logs and in the audit."""
    for kind in _all_errors(CorralError):
        words = " ".join((kind.__doc__ or "").split())
        assert redacted(words) == words
