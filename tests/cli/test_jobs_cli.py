"""What `corral jobs`, `queues` and `schedules` ask and print; test_worker_cli.py has them with a real server."""

from __future__ import annotations

import io
import json
import sys
import time
from types import SimpleNamespace

import pytest
from command_line import event_stream, json_answer

from corral.cli.client import ServerEvent
from corral.cli.failure import Exit, Failure
from corral.cli.job_filter import duration, moment
from corral.cli.jobs_follow import Follower, Printer
from corral.cli.jobs_stats import watch
from corral.cli.progress import ProgressBar

ID = "01a1fd7d-0000-7000-8000-000000000001"
JOB = {
    "id": ID,
    "tenant": "default",
    "agent": "main",
    "version": "",
    "status": "succeeded",
    "queue": "default",
    "priority": 5,
    "session_id": None,
    "user_id": None,
    "tags": ["a", "b"],
    "batch_id": None,
    "attempt": 1,
    "failures": 0,
    "max_attempts": 3,
    "created_at": 1.0,
    "run_at": None,
    "started_at": 2.0,
    "finished_at": 3.5,
    "deadline_at": None,
    "worker": None,
    "cancel_requested": False,
    "awaits": "",
    "progress": None,
    "error": None,
    "input": {"prompt": "Hi"},
    "result": {"said": "Hello"},
    "callback": None,
    "last_seq": 0,
}
ERROR = {"code": "agent_error", "type": "ValueError", "message": "no such page", "traceback": "Traceback …"}
FAILED = JOB | {"status": "failed", "result": None, "error": ERROR, "failures": 3, "attempt": 3}
QUEUES = {
    "queues": [{"queue": "default", "queued": 7, "scheduled": 1, "running": 2, "waiting": 0, "oldest_queued_s": 3.25}],
    "workers": [
        {
            "worker": "host:1",
            "queues": [],
            "slots": 64,
            "running": 2,
            "finished": 10,
            "failed": 1,
            "per_s": 12.5,
            "started_at": 1.0,
            "seen_at": 2.0,
        }
    ],
}
END = b'id: 9.end\nevent: succeeded\ndata: {"status": "succeeded", "result": {"said": "Hello"}}\n\n'


FAILED_END = b'id: 9.end\nevent: failed\ndata: {"status": "failed"}\n\n'


def said(kind, data, seq=1, attempt=1):
    """An event of a job, as it is sent."""
    content = json.dumps({"seq": seq, "attempt": attempt, "kind": kind, "at": 1.0, "data": data})
    return f"id: {seq}\nevent: {kind}\ndata: {content}\n\n".encode()


def asked(server):
    """Each request: its line, its headers and its JSON."""
    found = []
    for request in server.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines)}
        found.append((line.removesuffix(" HTTP/1.1"), headers, json.loads(body) if body else None))
    return found


# -- submit


def test_submit_says_the_id(corral, stub):
    server = stub(json_answer({"id": ID, "status": "queued"}, 202))
    flags = ["--priority", "9", "--delay", "5m", "--tag", "a", "--tag", "b", "--session", "s", "--queue", "gpu"]
    flags += ["--callback", "https://example.org/done", "--idempotency-key", "k1", "--api-key", "secret"]
    done = corral("jobs", "submit", "main", '{"n": 1}', "--url", server.url, *flags)
    assert (done.status, done.out, done.err) == (0, f"{ID}\n", "")
    [(line, headers, body)] = asked(server)
    assert line == "POST /v1/jobs"
    assert (headers["idempotency-key"], headers["authorization"]) == ("k1", "Bearer secret")
    assert body == {
        "agent": "main",
        "input": {"n": 1},
        "priority": 9,
        "delay_s": 300.0,
        "queue": "gpu",
        "tags": ["a", "b"],
        "session_id": "s",
        "callback": {"url": "https://example.org/done"},
    }


@pytest.mark.parametrize(
    ("text", "sent"),
    [("Hello there", {"prompt": "Hello there"}), ("[1]", [1]), ("@in.json", {"f": 1}), ("-", {"s": 1})],
)
def test_submit_takes_input_as_it_comes(here, corral, stub, monkeypatch, text, sent):
    (here / "in.json").write_text('{"f": 1}')
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"s": 1}'))
    server = stub(json_answer({"id": ID, "status": "queued"}, 202))
    done = corral("jobs", "submit", "main", text, "--url", server.url, "--json")
    assert done.json == {"id": ID, "status": "queued"}
    assert asked(server)[0][2] == {"agent": "main", "input": sent}


@pytest.mark.parametrize("text", ['{"n": 1', "@none.json", "@bad.json"])
def test_what_looks_like_json_must_be_json(here, corral, text):
    (here / "bad.json").write_text("Hello")
    done = corral("jobs", "submit", "main", text, "--url", "http://127.0.0.1:1", "--json")
    assert (done.status, done.error["code"]) == (Exit.USAGE, "usage")


def test_submit_needs_an_input(corral, monkeypatch):
    stdin = io.StringIO()
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert corral("jobs", "submit", "main").status == Exit.USAGE


def test_submit_and_wait_prints_what_it_says(corral, stub):
    stream = event_stream(said("piece", "Hel"), said("piece", "lo", 2), END)
    server = stub(json_answer({"id": ID, "status": "queued"}, 202), stream, json_answer(JOB))
    done = corral("jobs", "submit", "main", "Hi", "--wait", "--url", server.url)
    assert (done.status, done.out, done.err) == (0, "Hello\n", "")


def test_submit_and_wait_prints_the_result_of_one_that_said_nothing(corral, stub):
    server = stub(json_answer({"id": ID, "status": "queued"}, 202), event_stream(END), json_answer(JOB))
    done = corral("jobs", "submit", "main", "Hi", "--wait", "--url", server.url)
    assert (done.status, json.loads(done.out)) == (0, {"said": "Hello"})


def test_submit_and_wait_for_one_that_fails(corral, stub):
    server = stub(json_answer({"id": ID, "status": "queued"}, 202), event_stream(FAILED_END), json_answer(FAILED))
    done = corral("jobs", "submit", "main", "Hi", "--wait", "--url", server.url)
    assert (done.status, done.out) == (Exit.FAILED, "")
    assert "no such page" in done.err
    assert f"corral jobs show {ID}" in done.err


def test_a_batch(here, corral, stub):
    (here / "in.jsonl").write_text('{"n": 1}\n\n{"n": 2}\n')
    batch = {"id": "b1", "total": 2, "jobs": ["x", "y"]}
    ended = {"id": "b1", "total": 2, "created_at": 1.0, "counts": {"succeeded": 2}}
    server = stub(json_answer(batch, 202), json_answer(ended))
    done = corral("jobs", "submit", "main", "--batch", "in.jsonl", "--priority", "1", "--wait", "--url", server.url)
    assert (done.status, done.out, done.err) == (0, "b1\n", "2 succeeded\n")
    assert asked(server)[0][2] == {"agent": "main", "priority": 1, "inputs": [{"n": 1}, {"n": 2}]}


def test_a_large_batch_goes_in_parts(here, corral, stub, monkeypatch):
    monkeypatch.setattr("corral.cli.jobs_submit._BYTES_IN_ONE_REQUEST", 100)
    words = ["a" * 60, "b" * 20, "c" * 300, "d", "e"]
    (here / "in.jsonl").write_text("".join(f'"{word}"\n' for word in words))
    answers = [json_answer({"id": f"b{n}", "total": 1, "jobs": ["x"]}, 202) for n in range(3)]
    server = stub(*answers)
    done = corral("jobs", "submit", "main", "--batch", "in.jsonl", "--url", server.url)
    assert (done.status, done.out) == (0, "b0\nb1\nb2\n")
    assert [request[2]["inputs"] for request in asked(server)] == [words[:2], words[2:3], words[3:]]


def test_a_batch_of_which_some_fail(here, corral, stub, monkeypatch):
    monkeypatch.setattr("corral.cli.jobs_submit._LOOK_S", 0.001)
    (here / "in.jsonl").write_text("1\n2\n")
    batch = {"id": "b1", "total": 2, "created_at": 1.0, "counts": {"running": 2}}
    half = batch | {"counts": {"succeeded": 1, "running": 1}}
    ended = batch | {"counts": {"succeeded": 1, "failed": 1}}
    server = stub(json_answer(batch, 202), json_answer(half), json_answer(ended))
    done = corral("jobs", "submit", "main", "--batch", "in.jsonl", "--wait", "--url", server.url, "--json")
    assert (done.status, done.json["counts"]) == (Exit.FAILED, {"succeeded": 1, "failed": 1})


@pytest.mark.parametrize("content", ["", '{"n": 1}\n{"n": '])
def test_a_batch_that_cannot_be_read_hands_nothing_in(here, corral, content):
    (here / "in.jsonl").write_text(content)
    done = corral("jobs", "submit", "main", "--batch", "in.jsonl", "--url", "http://127.0.0.1:1")
    assert done.status == Exit.USAGE


def test_a_batch_and_an_input(here, corral):
    (here / "in.jsonl").write_text("1\n")
    assert corral("jobs", "submit", "main", "{}", "--batch", "in.jsonl").status == Exit.USAGE


# -- tail


def test_tail_goes_on_where_the_connection_broke(corral, stub, monkeypatch):
    monkeypatch.setattr("corral.cli.jobs_follow._PAUSE_S", 0.001)
    cut = event_stream(said("piece", "Hel", 7), ended=False)
    busy = json_answer({"code": "store_unavailable", "detail": "?"}, 503)
    rest = event_stream(said("piece", "lo", 8), END)
    server = stub(cut, busy, rest, json_answer(JOB))
    done = corral("jobs", "tail", ID, "--url", server.url)
    assert (done.status, done.out) == (0, "Hello\n")
    assert [headers.get("last-event-id") for _, headers, _ in asked(server)] == [None, "7", "7", None]


def test_tail_ends_with_a_stream_that_says_no_end(corral, stub):
    server = stub(event_stream(said("piece", {"n": 1})), json_answer(JOB), json_answer(JOB))
    done = corral("jobs", "tail", ID, "--after", "3", "--url", server.url)
    assert (done.status, done.out) == (0, '{"n":1}\n')
    assert asked(server)[0][1]["last-event-id"] == "3"


def test_tail_as_json(corral, stub):
    stream = event_stream(said("piece", "x"), END)
    server = stub(stream, json_answer(JOB | {"status": "cancelled"}))
    done = corral("jobs", "tail", ID, "--url", server.url, "--json")
    assert done.status == Exit.CANCELLED
    assert [event["kind"] for event in done.json["events"]] == ["piece"]


def test_tail_of_a_job_that_is_removed(corral, stub):
    gone = b'event: error\ndata: {"status": 404, "code": "job_not_found", "detail": "The job was removed."}\n\n'
    done = corral("jobs", "tail", ID, "--url", stub(event_stream(gone)).url)
    assert done.status == Exit.NOT_FOUND
    assert "The job was removed." in done.err


def test_tail_of_no_job(corral, stub):
    server = stub(json_answer({"code": "job_not_found", "detail": "There is no such job."}, 404))
    done = corral("jobs", "tail", ID, "--url", server.url, "--json")
    assert (done.status, done.error["code"]) == (Exit.NOT_FOUND, "job_not_found")


class Scripted:
    """The API, as a list of what each connection brings."""

    def __init__(self, *connections) -> None:
        self.connections = list(connections)

    def events(self, job_id, *, after, left_s):
        self.left_s = left_s
        for one in self.connections.pop(0):
            if isinstance(one, Failure):
                raise one
            yield one

    def job(self, job_id):
        return JOB | {"status": "running"}


def test_following_gives_up_in_the_end():
    clock = iter(range(0, 10_000, 50))
    gone = Failure("gone", code="unreachable")
    api = Scripted([ServerEvent("status", {}, "1")], *([gone] for _ in range(20)))
    follower = Follower(api, ID, now=lambda: next(clock), sleep=lambda _: None)
    with pytest.raises(Failure, match="gone"):
        list(follower.events())
    assert len(api.connections) > 10


def test_following_for_a_time():
    clock = iter(range(100))
    api = Scripted([ServerEvent("status", {}, str(n)) for n in range(50)])
    with pytest.raises(Failure, match="goes on") as caught:
        list(Follower(api, ID, timeout_s=5, now=lambda: next(clock), sleep=lambda _: None).events())
    assert caught.value.code == "timeout"


class Silent(Scripted):
    """A job that says nothing: each connection is heard for as long as anybody listens."""

    def __init__(self, clock) -> None:
        self.clock = clock
        self.waited = []

    def events(self, job_id, *, after, left_s):
        self.waited.append(left_s())
        self.clock.now += left_s()
        raise Failure("silent", code="timeout")
        yield


def test_following_a_silent_job_for_a_time():
    clock = SimpleNamespace(now=100.0)
    api = Silent(clock)
    with pytest.raises(Failure, match="not ended within 5 s") as caught:
        list(Follower(api, ID, timeout_s=5, now=lambda: clock.now, sleep=lambda _: None).events())
    assert (caught.value.code, api.waited) == ("timeout", [5.0])


def test_the_time_to_wait_counts_although_the_stream_says_that_it_is_there(corral, stub):
    alive = b'event: status\ndata: {"status": "running"}\n\n: here\n\n'
    server = stub(json_answer({"id": ID, "status": "queued"}, 202), event_stream(alive, ended=False), hold=True)
    began = time.monotonic()
    done = corral("jobs", "submit", "main", "Hi", "--wait", "--timeout", "0.2", "--url", server.url)
    assert time.monotonic() - began < 5
    assert done.status == Exit.FAILED
    assert "not ended within 0.2 s" in done.err


def test_attempts_that_the_server_cannot_tell_are_told_later():
    class Away:
        def __init__(self, code):
            self.code = code

        def attempts(self, job_id):
            raise Failure("away", code=self.code)

    assert Follower(Away("unreachable"), ID).failed_attempts() == []
    with pytest.raises(Failure):
        Follower(Away("job_not_found"), ID).failed_attempts()


def test_pieces_and_what_stands_beside_them(capfd):
    def failed_attempts():
        return [{"attempt": number, "error": ERROR | {"message": f"no. {number}"}} for number in (1, 2)]

    printer = Printer(failed_attempts)
    for name, data in (
        ("status", {"id": ID, "status": "running"}),
        ("piece", {"data": "He"}),
        ("piece", {"data": "llo"}),
        ("attempt", {"attempt": 2}),
        ("log", {"data": "hm"}),
        ("progress", {"data": {"fraction": 0.5, "message": "half"}}),
        ("piece", {"data": {"n": 1}}),
        ("piece", {"data": "end"}),
        ("status", {"id": ID, "status": "waiting", "awaits": "signal:approval#1"}),
        ("status", {"id": ID, "status": "scheduled", "run_at": 1.0, "attempt": 2, "failures": 2}),
        ("status", {"id": ID, "status": "running", "attempt": 3, "failures": 2}),
    ):
        printer.show(ServerEvent(name, data))
    printer.end()
    out, err = capfd.readouterr()
    assert out == 'Hello\n{"n":1}\nend\n'
    assert err.splitlines()[:2] == ["Attempt 2 begins; what was said before does not count.", "hm"]
    assert f"corral jobs signal {ID} approval" in err
    assert [line for line in err.splitlines() if "failed" in line] == [
        "Attempt 1 failed: ValueError: no. 1",
        "Attempt 2 failed: ValueError: no. 2",
    ]
    assert "Attempt 3 is due at 19" in err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_and_taken_away():
    terminal = Terminal()
    bar = ProgressBar(terminal)
    bar.draw(0.5, "reading\x1b[2J")
    bar.draw(None, "on")
    bar.clear()
    bar.clear()
    first, second, blank, end = terminal.getvalue().split("\r")[1:]
    assert first == "[############............]  50% reading�[2J"
    assert second.rstrip() == "on"
    assert len(second) == len(first)
    assert (blank.strip(), end) == ("", "")


# -- looking


def test_list(corral, stub):
    server = stub(json_answer({"items": [JOB], "next_cursor": "c2"}))
    flags = ["--status", "queued", "--status", "running", "--agent", "a b", "--tag", "t", "--since", "2026-11-21T00:00"]
    done = corral("jobs", "list", "--url", server.url, *flags, "--session", "s", "--user", "u", "--batch", "b")
    assert done.out.splitlines()[0].split()[:4] == ["JOB", "STATUS", "AGENT", "QUEUE"]
    assert done.out.splitlines()[1].split()[:2] == [ID, "succeeded"]
    assert "1.5 s" in done.out
    assert "--cursor c2" in done.err
    line = asked(server)[0][0]
    assert line.startswith("GET /v1/jobs?agent=a+b&tag=t&session_id=s&user_id=u&batch_id=b&status=queued")
    assert "limit=20" in line


def test_lists_as_json_and_empty(corral, stub):
    page = {"items": [FAILED], "next_cursor": None}
    assert corral("jobs", "dead", "--url", stub(json_answer(page)).url, "--json").json == page
    empty = {"items": [], "next_cursor": None}
    for verb in ("list", "dead"):
        done = corral("jobs", verb, "--url", stub(json_answer(empty)).url)
        assert (done.status, done.out) == (0, "")
        assert done.err


def test_dead_letters_say_what_they_died_of(corral, stub):
    server = stub(json_answer({"items": [FAILED], "next_cursor": None}))
    done = corral("jobs", "dead", "--url", server.url, "--queue", "q")
    assert "ValueError" in done.out
    assert "no such page" in done.out
    assert "redrive" in done.err
    assert "status=failed" in asked(server)[0][0]


def test_show_tells_the_whole_story(corral, stub):
    attempt = {
        "attempt": 1,
        "worker": "host:1",
        "started_at": 1.0,
        "ended_at": 2.0,
        "error": ERROR | {"message": "1st"},
    }
    delivery = {"status": "failed", "attempts": 4, "answer": "410"}
    job = FAILED | {"callback": {"url": "https://x"}, "progress": {"fraction": 0.25, "message": "reading"}}
    answers = [json_answer(job), json_answer({"items": [attempt]}), json_answer({"items": [delivery]})]
    done = corral("jobs", "show", ID, "--url", stub(*answers).url)
    assert done.status == 0
    for text in (
        "failed",
        "25% reading",
        "3, 3 of 3 failures",
        '"prompt": "Hi"',
        "no such page",
        "1st",
        "host:1",
        "410",
    ):
        assert text in done.out
    whole = corral("jobs", "show", ID, "--url", stub(*answers).url, "--json").json
    assert (whole["attempts"], whole["callbacks"]) == ([attempt], [delivery])


# -- acting


def test_by_id(corral, stub):
    for verb, path, done_text in (
        ("cancel", "cancel", "Cancelled 2 jobs."),
        ("redrive", "retry", "Redriven 2 jobs."),
        ("discard", "discard", "Discarded 2 jobs."),
    ):
        jobs = [JOB | {"id": one, "status": "queued"} for one in "xy"]
        server = stub(*(json_answer(job) for job in jobs for _ in range(2)))
        assert corral("jobs", verb, "x", "y", "--url", server.url).out == f"{done_text}\n"
        lines = [f"GET /v1/jobs/{one}\nPOST /v1/jobs/{one}/{path}" for one in "xy"]
        assert [line for line, _, _ in asked(server)] == "\n".join(lines).split("\n")


def test_what_was_so_already_is_said(corral, stub):
    for verb, before, after, text in (
        ("cancel", {"status": "cancelled"}, {"status": "cancelled"}, f"{ID} was cancelled already.\n"),
        ("discard", {"status": "discarded"}, {"status": "discarded"}, f"{ID} was discarded already.\n"),
        ("cancel", {"status": "running"}, {"status": "running"}, "Asked 1 job to stop.\n"),
        (
            "cancel",
            {"status": "running", "cancel_requested": True},
            {"status": "running"},
            f"{ID} was asked to stop already.\n",
        ),
    ):
        server = stub(json_answer(JOB | before), json_answer(JOB | after))
        assert corral("jobs", verb, ID[:9], "--url", server.url).out == text
        assert [line for line, _, _ in asked(server)] == [f"GET /v1/jobs/{ID[:9]}", f"POST /v1/jobs/{ID}/{verb}"]
    server = stub(json_answer(JOB | {"status": "cancelled"}), json_answer(JOB))
    assert corral("jobs", "cancel", ID, "--url", server.url, "--json").json == {"ids": [], "count": 0, "already": [ID]}


def test_the_beginning_of_an_id_will_do(corral, stub):
    server = stub(json_answer(JOB), json_answer({}, 202))
    assert corral("jobs", "signal", ID[:8], "go", "--url", server.url).status == 0
    server_too = stub(json_answer(JOB), event_stream(END), json_answer(JOB))
    assert corral("jobs", "tail", ID[:12], "--url", server_too.url).status == 0
    message = f"The ids of several jobs begin with {ID[:8]!r}, such as a and b: give more of it."
    problem = {"code": "validation_error", "detail": message, "errors": [{"pointer": "/id", "message": message}]}
    refused = corral("jobs", "show", ID[:8], "--url", stub(json_answer(problem, 400)).url)
    assert refused.status == Exit.FAILED
    assert refused.err.count("several jobs") == 1
    assert "openapi" not in refused.err
    assert [line for line, _, _ in asked(server)] == [f"GET /v1/jobs/{ID[:8]}", f"POST /v1/jobs/{ID}/signals/go"]


def test_by_filter_until_none_is_left(corral, stub):
    server = stub(json_answer({"ids": ["x", "y"]}), json_answer({"ids": ["y", "z"]}), json_answer({"ids": ["z"]}))
    done = corral("jobs", "cancel", "--queue", "q", "--status", "queued", "--yes", "--url", server.url, "--json")
    assert done.json == {"ids": ["x", "y", "z"], "count": 3}
    assert [(line, body) for line, _, body in asked(server)] == [
        ("POST /v1/jobs/cancel", {"queue": "q", "status": ["queued"]})
    ] * 3


def test_every_job_there_is(corral, stub):
    server = stub(json_answer({"ids": []}))
    assert corral("jobs", "discard", "--all", "--yes", "--url", server.url).out == "Discarded 0 jobs.\n"
    assert asked(server)[0][2] == {"all": True}


def test_acting_on_many_is_confirmed_and_meant(corral):
    for verb in ("cancel", "redrive", "discard"):
        assert corral("jobs", verb).status == Exit.USAGE
        assert corral("jobs", verb, "x", "--queue", "q").status == Exit.USAGE
        done = corral("jobs", verb, "--queue", "q", "--url", "http://127.0.0.1:1", "--json")
        assert (done.status, done.error["code"]) == (Exit.USAGE, "not_confirmed")


def test_retry_with_another_input(corral, stub):
    server = stub(json_answer(JOB), json_answer(JOB))
    assert "runs again" in corral("jobs", "retry", ID, "--url", server.url).out
    assert corral("jobs", "retry", ID, '{"n": 2}', "--url", server.url, "--json").json == JOB
    assert [body for _, _, body in asked(server)] == [{}, {"input": {"n": 2}}]


def test_signal(corral, stub):
    server = stub(json_answer({}, 202), json_answer({}, 202))
    assert corral("jobs", "signal", ID, "go on", '{"ok": true}', "--url", server.url).status == 0
    assert corral("jobs", "signal", ID, "go", "--url", server.url).status == 0
    assert [(line, body) for line, _, body in asked(server)] == [
        (f"POST /v1/jobs/{ID}/signals/go%20on", {"ok": True}),
        (f"POST /v1/jobs/{ID}/signals/go", None),
    ]
    wrong = corral("jobs", "signal", ID, "go", "words", "--url", server.url)
    assert wrong.status == Exit.USAGE
    assert "VALUE is not JSON" in wrong.err


def test_a_signal_that_the_job_does_not_wait_for(corral, stub):
    told = {"id": ID, "signal": "aproval", "status": "waiting", "waits_for": "approval"}
    done = corral("jobs", "signal", ID, "aproval", "1", "--url", stub(json_answer(told, 202)).url)
    assert done.status == 0
    assert f"waits for 'approval' now, not for that: corral jobs signal {ID} approval" in done.err
    assert corral("jobs", "signal", ID, "x", "--url", stub(json_answer(told, 202)).url, "--json").json == told


# -- times


def test_moments_and_durations():
    assert moment("2h", now=10_000.0) == 2800.0
    assert moment("12.5") == 12.5
    assert moment("1970-01-02T00:00+00:00") == 86_400.0
    assert (duration("90"), duration("5m"), duration("1.5h")) == (90.0, 300.0, 5400.0)


@pytest.mark.parametrize("flags", [("--since", "yesterday"), ("--status", "lost")])
def test_what_is_no_filter(corral, flags):
    assert corral("jobs", "list", *flags).status == Exit.USAGE


def test_what_is_no_duration(corral):
    assert corral("jobs", "submit", "main", "{}", "--delay", "soon").status == Exit.USAGE


# -- queues and schedules


def test_queues_and_stats(corral, stub):
    for verb in (("queues",), ("jobs", "stats"), ("jobs", "stats", "--once")):
        done = corral(*verb, "--url", stub(json_answer(QUEUES)).url)
        lines = [line.split() for line in done.out.splitlines()]
        assert lines[1] == ["default", "7", "1", "2", "0", "3.2", "s"]
        assert lines[4][:6] == ["host:1", "all", "2/64", "10", "1", "12.5"]
        assert corral(*verb, "--url", stub(json_answer(QUEUES)).url, "--json").json == QUEUES
    done = corral("queues", "--url", stub(json_answer({"queues": [], "workers": []})).url)
    assert (done.status, done.out) == (0, "")
    assert "corral worker" in done.err


def test_stats_refresh_until_ctrl_c(capfd):
    pauses = iter([None, None])

    def pause():
        try:
            next(pauses)
        except StopIteration:
            raise KeyboardInterrupt from None

    later = QUEUES | {"queues": [QUEUES["queues"][0] | {"queued": 4321}]}
    watch(QUEUES, lambda: later, pause)
    assert "4321" in capfd.readouterr().out


def test_schedules(corral, stub):
    schedule = {
        "name": "nightly",
        "cron": "0 6 * * *",
        "timezone": "Europe/Berlin",
        "catch_up": "one",
        "paused": False,
        "job": {"agent": "main", "input": {}},
        "workflow": None,
        "next_at": 1.0,
        "last_at": None,
    }
    server = stub(json_answer({"items": [schedule]}), json_answer(schedule), json_answer({}))
    listed = corral("schedules", "list", "--url", server.url)
    assert "Europe/Berlin" in listed.out
    flags = ["--timezone", "Europe/Berlin", "--tag", "t"]
    done = corral("schedules", "set", "nightly", "0 6 * * *", "main", '{"n": 1}', *flags, "--url", server.url)
    assert "due next" in done.out
    assert corral("schedules", "remove", "nightly", "--url", server.url).out == "Removed nightly.\n"
    assert [line for line, _, _ in asked(server)][1:] == ["PUT /v1/schedules/nightly", "DELETE /v1/schedules/nightly"]
    assert asked(server)[1][2]["job"] == {"agent": "main", "input": {"n": 1}, "tags": ["t"]}
    starting = stub(json_answer(schedule | {"workflow": "triage"}))
    corral("schedules", "set", "n", "@hourly", "workflow:triage", '{"n": 1}', "--url", starting.url)
    assert {"workflow": "triage", "input": {"n": 1}}.items() <= asked(starting)[0][2].items()
    assert "--tag" in corral("schedules", "set", "n", "@hourly", "workflow:triage", "--tag", "t").err
    resting = stub(json_answer(schedule | {"paused": True}), json_answer({"items": []}))
    assert "rests" in corral("schedules", "set", "n", "@hourly", "main", "--paused", "--url", resting.url).out
    assert "corral schedules set" in corral("schedules", "list", "--url", resting.url).err
