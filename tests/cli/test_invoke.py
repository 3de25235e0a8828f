from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import pytest
from command_line import CORRAL, DONE, event_stream, json_answer

from corral.cli.failure import Exit

HELLO = event_stream(b'id: 1\ndata: "He"\n\n', b'id: 2\ndata: "llo"\n\n', DONE)


def sent(server):
    head, _, body = server.requests[-1].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return lines[0], headers, body


# -- what is sent


def test_a_prompt_and_everything_that_goes_with_it(corral, stub):
    server = stub(HELLO)
    flags = ["--agent", "a b", "--session", "s1", "--user", "u1", "--timeout", "2.5", "--on-conflict", "reject"]
    done = corral("invoke", "Hi", "--url", server.url, "--api-key", "k", *flags)
    assert (done.status, done.out, done.err) == (0, "Hello\n", "")
    line, headers, body = sent(server)
    assert line == "POST /v1/agents/a%20b/invocations HTTP/1.1"
    assert json.loads(body) == {"prompt": "Hi"}
    assert {name: headers[name] for name in ("x-session-id", "x-user-id", "x-timeout-s", "x-on-conflict")} == {
        "x-session-id": "s1",
        "x-user-id": "u1",
        "x-timeout-s": "2.5",
        "x-on-conflict": "reject",
    }
    assert headers["authorization"] == "Bearer k"
    assert headers["content-type"] == "application/json"


def test_url_and_key_from_the_environment(corral, stub, monkeypatch):
    server = stub(HELLO)
    monkeypatch.setenv("CORRAL_URL", server.url + "/below/")
    monkeypatch.setenv("CORRAL_API_KEY", "from-env")
    assert corral("invoke", "Hi").status == 0
    line, headers, _ = sent(server)
    assert line.startswith("POST /below/v1/agents/main/invocations")
    assert headers["authorization"] == "Bearer from-env"


@pytest.mark.parametrize("flag", ["--payload", "--file", "-f", "-p", "PROMPT"])
def test_stdin(corral, stub, monkeypatch, flag):
    server = stub(HELLO)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": [1]}\n'))
    arguments = ["-"] if flag == "PROMPT" else [flag, "-"]
    assert corral("invoke", *arguments, "--url", server.url).status == 0
    expected = {"prompt": '{"a": [1]}'} if flag == "PROMPT" else {"a": [1]}
    assert json.loads(sent(server)[2]) == expected


def test_json_that_is_piped_in(corral, stub, monkeypatch):
    server = stub(HELLO)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": [1]}\n'))
    assert corral("invoke", "--url", server.url).status == 0
    assert json.loads(sent(server)[2]) == {"a": [1]}
    monkeypatch.setattr(sys, "stdin", io.StringIO("just words"))
    done = corral("invoke")
    assert done.status == Exit.USAGE
    assert "corral invoke -" in done.err


def test_on_a_terminal_nothing_is_waited_for(corral, monkeypatch):
    stdin = io.StringIO()
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(stdin, "read", lambda: pytest.fail("read"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert "nothing to send" in corral("invoke").err


def test_a_file(corral, stub, here):
    server = stub(HELLO)
    (here / "p.json").write_text('{"prompt": "Grüße"}')
    assert corral("invoke", "-f", "p.json", "--url", server.url).status == 0
    assert json.loads(sent(server)[2]) == {"prompt": "Grüße"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to send"),
        (["Hi", "-p", "{}"], "twice"),
        (["-p", "{no"], "--payload is not JSON"),
        (["-f", "nowhere.json"], "nowhere.json cannot be read"),
        (["-f", "latin.json"], "it is not UTF-8"),
        (["-f", "bad.json"], "bad.json is not JSON"),
        (["Hi", "--url", "localhost:8080"], "not the URL of a server"),
        (["Hi", "--url", "http://x:y"], "not the URL of a server"),
        (["Hi", "--url", "http://["], "not the URL of a server"),
        (["Hi", "--url", "http://x/a b"], "not the URL of a server"),
        (["Hi", "--api-key", "ключ"], "API key cannot be sent"),
        (["Hi", "--api-key", "a\nb"], "API key cannot be sent"),
        (["\udcff"], "not UTF-8"),
        (["-p", "[" * 50_000], "nested too deeply"),
        (["Hi", "--session", "grün"], "X-Session-Id"),
        (["Hi", "--user", "a\r\nb: c"], "X-User-Id"),
        (["Hi", "--timeout", "0"], "--timeout"),
        (["Hi", "--on-conflict", "argue"], "--on-conflict"),
    ],
)
def test_what_cannot_be_sent(corral, here, monkeypatch, arguments, said):
    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    (here / "latin.json").write_bytes(b'"\xe9"')
    (here / "bad.json").write_text("[1,")
    done = corral("invoke", *arguments)
    assert (done.status, done.out) == (Exit.USAGE, "")
    assert said in done.err
    assert len(done.err.splitlines()) >= 2
    assert corral("invoke", *arguments, "--json").error["code"] == "usage"


# -- what comes back


def test_a_stream_as_json(corral, stub):
    stream = event_stream(b'data: "He"\n\n', b'data: "llo"\n\ndata: {"n":1}\n\n', DONE)
    server = stub(stream)
    done = corral("invoke", "Hi", "--url", server.url, "--session", "s", "--json")
    assert done.json == {
        "agent": "main",
        "session_id": "s",
        "url": server.url,
        "request_id": "r1",
        "pieces": ["He", "llo", {"n": 1}],
        "text": "Hello",
    }


def test_pieces_that_are_not_text_have_lines_of_their_own(corral, stub):
    stream = event_stream(b'data: "He"\n\ndata: {"n":1}\n\n', b'data: "llo"\n\n', DONE)
    assert corral("invoke", "Hi", "--url", stub(stream).url).out == 'He\n{"n":1}\nllo\n'


def test_events_cut_anywhere_are_put_together(corral, stub):
    whole = ('id: 1\r\ndata: "Grü"\r\n\r\n: a comment\nid: 2\ndata: "ße"\n\n' + DONE.decode()).encode()
    stream = event_stream(*(whole[n : n + 1] for n in range(len(whole))))
    assert corral("invoke", "Hi", "--url", stub(stream).url).out == "Grüße\n"


def test_an_event_of_many_lines(corral, stub):
    stream = event_stream(b'data: {"a":\ndata: 1}\n\n', DONE)
    assert corral("invoke", "Hi", "--url", stub(stream).url).out == '{"a":1}\n'


@pytest.mark.parametrize(
    ("reply", "shown"), [("Hello", "Hello\n"), ({"a": 1}, '{\n  "a": 1\n}\n'), (None, "null\n"), (7, "7\n")]
)
def test_a_reply_that_is_no_stream(corral, stub, reply, shown):
    assert corral("invoke", "Hi", "--url", stub(json_answer(reply)).url).out == shown
    done = corral("invoke", "Hi", "--url", stub(json_answer(reply)).url, "--json")
    assert (done.json["reply"], done.json["request_id"]) == (reply, "r1")


def test_orders_to_the_terminal_are_not_passed_on(monkeypatch, capsys):
    from corral.cli.output import harmless, paint

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert harmless("a\x1b]0;title\x07b\x9b31m\tc\n", sys.stdout) == "a�]0;title�b�31m\tc\n"
    assert harmless(paint("x", "1", sys.stdout), sys.stdout) == "\x1b[1mx\x1b[0m"


# -- what goes wrong


def test_an_error_in_the_middle(corral, stub):
    problem = {"detail": "It broke.", "code": "agent_error", "status": 500, "request_id": "r7"}
    stream = event_stream(b'data: "He"\n\n', b"event: error\ndata: " + json.dumps(problem).encode() + b"\n\n")
    done = corral("invoke", "Hi", "--url", stub(stream).url)
    assert (done.status, done.out) == (Exit.FAILED, "He\n")
    assert done.err == "Error: It broke.\nNext: The server's log has the traceback, at request r7.\n"
    done = corral("invoke", "Hi", "--json", "--url", stub(stream).url)
    assert (done.status, done.out) == (Exit.FAILED, "")
    assert (done.error["code"], done.error["request_id"]) == ("agent_error", "r7")


@pytest.mark.parametrize("ended", [True, False])
def test_a_stream_without_a_last_word_was_cut(corral, stub, ended):
    server = stub(event_stream(b'data: "He"\n\n', ended=ended))
    done = corral("invoke", "Hi", "--url", server.url)
    assert (done.status, done.out) == (Exit.FAILED, "He\n")
    assert "before" in done.err


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{", b"SSH-2.0-x\r\n\r\n"])
def test_a_server_that_says_nonsense(corral, stub, answer):
    done = corral("invoke", "Hi", "--json", "--url", stub(answer).url)
    assert (done.status, done.out) == (Exit.FAILED, "")
    assert done.error["code"] == "connection_lost"


@pytest.mark.parametrize("body", [b"<html>", b"data: <html>\n\n"])
def test_a_server_that_is_not_corral(corral, stub, body):
    kind = b"text/event-stream" if body.startswith(b"data") else b"text/html"
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(body), body)
    done = corral("invoke", "Hi", "--json", "--url", stub(answer).url)
    assert done.error["code"] == "not_corral"


def test_no_server(corral):
    done = corral("invoke", "Hi", "--url", "http://127.0.0.1:1")
    assert (done.status, done.out) == (Exit.NOT_FOUND, "")
    assert "No server answers at http://127.0.0.1:1" in done.err
    assert "corral dev" in done.err
    done = corral("invoke", "Hi", "--url", "http://no-such-host.invalid", "--json")
    assert (done.status, done.error["code"]) == (Exit.NOT_FOUND, "unreachable")


@pytest.mark.parametrize(
    ("status", "problem", "exit_status", "said"),
    [
        (404, {"detail": "There is no agent named 'x'.", "code": "not_found"}, Exit.NOT_FOUND, "no agent named"),
        (404, {"detail": "No session.", "code": "session_not_found"}, Exit.NOT_FOUND, "corral sessions list"),
        (401, {"title": "Send a key", "code": "auth_error"}, Exit.FAILED, "CORRAL_API_KEY"),
        (409, {"detail": "Busy.", "code": "session_busy", "retryable": True}, Exit.FAILED, "--on-conflict enqueue"),
        (429, {"detail": "Full.", "code": "overloaded", "retryable": True}, Exit.FAILED, "Try again"),
        (502, None, Exit.FAILED, "The server answered 502.\nNext: If that is not Corral"),
        (422, {"detail": "No."}, Exit.FAILED, "/openapi.json"),
        (
            500,
            {"detail": "No.", "code": "internal_error", "request_id": "r9"},
            Exit.FAILED,
            "log says more, at request r9",
        ),
        (
            400,
            {
                "detail": "Wrong shape.",
                "errors": [{"pointer": "/a", "message": "M1"}, {"pointer": "/b", "message": "M2"}],
            },
            Exit.FAILED,
            "Wrong shape.\n  /a: M1\n  /b: M2",
        ),
    ],
)
def test_problems(corral, stub, status, problem, exit_status, said):
    answer = json_answer(problem, status, "application/problem+json")
    done = corral("invoke", "Hi", "--url", stub(answer).url)
    assert (done.status, done.out) == (exit_status, "")
    assert said in done.err
    done = corral("invoke", "Hi", "--json", "--url", stub(answer).url)
    assert done.error["code"] == (problem or {}).get("code", f"http_{status}")
    assert done.error["http_status"] == status
    assert done.error["exit_status"] == exit_status


def test_a_server_that_is_silent_for_too_long(corral, stub, monkeypatch):
    monkeypatch.setattr("corral.cli.invoke._MARGIN_S", 0.05)
    server = stub(b"", hold=True)
    done = corral("invoke", "Hi", "--url", server.url, "--timeout", "0.05", "--json")
    assert (done.status, done.error["code"]) == (Exit.FAILED, "timeout")


# -- as processes


def test_ctrl_c_closes_the_connection(stub):
    server = stub(event_stream(b'data: "He"\n\n', ended=False), hold=True)
    process = subprocess.Popen(
        [CORRAL, "invoke", "Hi", "--url", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.read(2) == b"He"  # shown while the stream goes on
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()  # what is left running is found by another test
        pytest.fail(f"it did not end: {process.communicate()}")
    assert process.returncode == Exit.INTERRUPTED
    assert (out, err) == (b"\n", b"")
    assert server.left.wait(10)


def test_a_reader_that_leaves_ends_the_run(stub):
    many = [b'data: "%s"\n\n' % (b"x" * 5000)] * 400
    server = stub(event_stream(*many, DONE))
    command = [CORRAL, "invoke", "Hi", "--url", server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(10) == b"x" * 10
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=20) == Exit.BROKEN_PIPE


def test_real_agents(shared_server, corral, monkeypatch):
    monkeypatch.chdir(shared_server.folder)  # the server that runs from here is found by itself
    assert corral("invoke", "--session", "real", "My name is Ada").out == "Good to meet you, Ada.\n"
    assert "Ada" in corral("invoke", "--session", "real", "--json", "Who am I?").json["text"]
    broken = corral("invoke", "--agent", "fragile", "--payload", '{"after": 2}')
    assert (broken.status, broken.out) == (Exit.FAILED, "Piece 1. Piece 2. \n")
    assert "barn door" in broken.err
    wrong = corral("invoke", "--payload", '{"question": 1}')
    assert wrong.status == Exit.FAILED
    assert "/prompt: This field is required." in wrong.err
    assert corral("invoke", "--agent", "nobody", "Hi").status == Exit.NOT_FOUND


def test_pieces_are_shown_when_they_come(shared_server):
    """The first word is there while the server still speaks."""
    environment = {**os.environ, "CORRAL_URL": shared_server.url}
    with subprocess.Popen([CORRAL, "invoke", "Hello"], stdout=subprocess.PIPE, env=environment) as process:
        first = os.read(process.stdout.fileno(), 65536).decode()
        rest = process.stdout.read().decode()
    assert process.returncode == 0
    assert first.startswith("Hello!")
    assert rest
