"""`corral workflows`, `executions`, `events`, and `approvals` of workflows: against a real server, and one that misbehaves."""

from __future__ import annotations

import json
import time

import pytest
from command_line import event_stream, json_answer

from corral.cli.client import Client
from corral.cli.execution_follow import followed
from corral.cli.execution_shown import timeline, visits_of
from corral.cli.failure import Exit, Failure
from corral.cli.workflows_api import WorkflowsApi

GREET = """
QueryLanguage: JSONata
StartAt: Greet
States:
  Greet: {Type: Pass, Output: "{% 'Hello, ' & $states.input.name %}", Next: Done}
  Done: {Type: Succeed}
"""
ASK = """
StartAt: Ask
States:
  Ask:
    Type: Task
    Resource: corral:approval
    Parameters:
      message: Shall we?
      choices: [approve, reject, later]
      form: {type: object, properties: {amount: {type: number}}}
    End: true
"""
FAIL = """
StartAt: "No"
States:
  "No": {Type: Fail, Error: Wrong, Cause: It is so.}
"""


@pytest.fixture
def run(corral, shared_server):
    """A command against the server of this file."""
    return lambda *arguments: corral(*arguments, "--url", shared_server.url)


@pytest.fixture
def declared(run, here):
    """Declares a workflow from text."""

    def declare(name, text):
        (here / f"{name}.asl.yaml").write_text(text)
        done = run("workflows", "update", name, f"{name}.asl.yaml")
        assert done.status == 0, done.err

    return declare


def asked(run, execution):
    """What an execution asks, once it does."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = run("approvals", "list", "--execution", execution, "--json").json["items"]
        if found:
            return found[0]["id"]
    raise AssertionError("It asked nothing.")


def test_a_workflow_from_a_file_to_its_end(run, here):
    (here / "greet.asl.yaml").write_text(GREET)
    made = run("workflows", "create", "greet", "greet.asl.yaml", "--publish", "--description", "first")
    assert made.out == "greet is declared, as version 1.\n", made.err
    assert "greet" in run("workflows", "list").out
    shown = run("workflows", "show", "greet")
    assert '"Greet"' in shown.out
    assert "STANDARD, active" in shown.out
    assert "greet:1" in run("workflows", "versions", "greet").out
    done = run("workflows", "run", "greet:1", '{"name": "Ada"}')
    assert done.status == 0
    assert "ExecutionSucceeded" in done.out
    assert done.out.endswith('succeeded\n"Hello, Ada"\n')
    ended = run("workflows", "run", "greet", '{"name": "Bo"}', "--json").json
    assert (ended["status"], ended["output"]) == ("succeeded", "Hello, Bo")
    begun = run("workflows", "run", "greet", '{"name": "Bo"}', "--no-wait", "--idempotency-key", "k").out.strip()
    assert run("workflows", "run", "greet", '{"name": "Bo"}', "-W", "--idempotency-key", "k").out.strip() == begun
    assert run("executions", "tail", begun).out.endswith('"Hello, Bo"\n')
    assert begun in run("executions", "list", "--workflow", "greet", "--status", "succeeded").out
    table = run("executions", "history", begun).out
    assert "PassStateEntered" in table
    assert "Greet" in table
    (first, *_, last) = run("executions", "history", begun, "--timeline").out.splitlines()
    assert first.startswith("Greet")
    assert last.startswith("Done")
    events = run("executions", "history", begun, "--json", "--limit", "2", "--reverse").json["items"]
    assert events[0]["type"] == "ExecutionSucceeded"
    assert '"Hello, Bo"' in run("executions", "show", begun).out
    forked = run("executions", "fork", begun, "--input", '{"name": "Cy"}', "--wait")
    assert forked.out.endswith('"Hello, Cy"\n')
    assert run("workflows", "delete", "greet", "--yes").out == "Deleted greet.\n"
    assert run("workflows", "show", "greet").status == Exit.NOT_FOUND


def test_what_fails_is_said_so(run, declared):
    declared("fails", FAIL)
    done = run("workflows", "run", "fails", "--quiet")
    assert (done.status, done.out) == (Exit.FAILED, "failed  Wrong\n  It is so.\n")
    execution = run("executions", "list", "--workflow", "fails", "--json").json["items"][0]["id"]
    assert "corral executions redrive" in run("executions", "show", execution).err
    assert run("executions", "redrive", execution, "--wait").status == Exit.FAILED
    assert run("executions", "redrive", execution).out == f"{execution} goes on.\n"


def test_a_question_is_answered_on_the_command_line(run, declared):
    declared("ask", ASK)
    execution = run("workflows", "run", "ask", "--no-wait").out.strip()
    approval = asked(run, execution)
    assert "ask/Ask" in run("approvals", "list", "--execution", execution).out
    assert "approve, reject, later" in run("approvals", "show", approval).out
    assert "/approvals/" in run("approvals", "link", approval).out
    refused = run("approvals", "answer", approval, "never")
    assert (refused.status, "'approve'" in refused.err) == (Exit.FAILED, True)
    answer = run("approvals", "answer", approval, "later", "--form", '{"amount": 3}', "--note", "soon", "--user", "ann")
    assert answer.out == "Answered: Shall we?\n"
    ended = run("executions", "tail", execution, "--json").json
    assert ended["output"] == {"decision": "later", "by": "ann", "note": "soon", "form": {"amount": 3}}
    second = run("workflows", "run", "ask", "--no-wait").out.strip()
    assert run("approvals", "refuse", asked(run, second)).out == "Refused: Shall we?\n"
    third = run("workflows", "run", "ask", "--no-wait").out.strip()
    assert run("executions", "stop", third, "--error", "Enough").out == f"Stopped {third}.\n"
    assert run("executions", "show", third, "--json").json["error"] == "Enough"


def test_workflows_are_drawn_and_checked_without_a_server(corral, here):
    (here / "greet.asl.yaml").write_text(GREET)
    (here / "wrong.asl.yaml").write_text(GREET.replace("Next: Done", "Nxt: Done"))
    assert corral("workflows", "validate", "greet.asl.yaml").out == "The definition is valid.\n"
    wrong = corral("workflows", "validate", "wrong.asl.yaml")
    assert wrong.status == Exit.INVALID
    assert "/States/Greet" in wrong.out
    told = corral("workflows", "validate", "wrong.asl.yaml", "--json").json
    assert not told["valid"]
    assert "Greet" in corral("workflows", "graph", "greet.asl.yaml").out
    assert corral("workflows", "graph", "greet.asl.yaml", "-o", "greet.svg").out == "Wrote greet.svg\n"
    assert (here / "greet.svg").read_text().startswith("<svg")
    schema = json.loads(corral("workflows", "schema").out)
    assert "States" in schema["properties"]
    assert corral("workflows", "schema", "-o", "asl.json", "--json").json == {"written": ["asl.json"]}
    missing = corral("workflows", "validate", "nothing.yaml")
    assert (missing.status, "no file" in missing.err) == (Exit.USAGE, True)


def test_events_begin_what_waits_for_them(run, declared, corral):
    declared("welcome", GREET)
    pattern = '{"detail": {"name": [{"prefix": "A"}]}}'
    made = run("events", "set", "names", pattern, "--workflow", "welcome", "--input-path", "$.detail")
    assert made.out == "names waits for events of default.\n"
    assert "welcome" in run("events", "rules").out
    assert run("events", "show", "names", "--json").json["targets"][0]["input_path"] == "$.detail"
    published = run("events", "publish", "Named", '{"name": "Ada"}', "--id", "e-1")
    assert "workflow welcome, by job" in published.out
    assert "begun before" in run("events", "publish", "Named", '{"name": "Ada"}', "--id", "e-1").out
    assert "Nobody waits" in run("events", "publish", "Named", '{"name": "Bo"}').err
    assert run("events", "set", "names", pattern, "-w", "welcome", "--paused").out == "names is kept, and rests.\n"
    assert run("events", "remove", "names").out == "Removed names.\n"
    assert run("events", "remove", "names").status == Exit.NOT_FOUND
    assert run("events", "set", "none", pattern).status == Exit.USAGE
    assert corral("events", "match", pattern, '{"detail": {"name": "Ada"}}').out == "It matches.\n"
    assert corral("events", "match", pattern, '{"detail": {"name": "Bo"}}').status == Exit.FAILED


def frame(name, data, number=""):
    head = f"id: {number}\n" if number else ""
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def test_a_stream_that_breaks_goes_on_where_it_broke(stub):
    event = {"id": 1, "previous_id": 0, "at": 1.0, "type": "ExecutionStarted", "details": {}}
    server = stub(
        event_stream(frame("history", event, "1"), frame("progress", {"state": "A", "data": "half"}), ended=False),
        json_answer({"title": "Away", "status": 503}, 503),
        event_stream(frame("succeeded", {"status": "succeeded"}, "2.end")),
    )
    slept = []
    told = list(followed(WorkflowsApi(Client(server.url)), "x", sleep=slept.append))
    assert [one.name for one in told] == ["history", "progress", "succeeded"]
    assert len(slept) == 2
    assert b"last-event-id: 1" in server.requests[-1].lower()
    lost = stub(json_answer({"title": "No such execution", "status": 404}, 404))
    with pytest.raises(Failure):
        list(followed(WorkflowsApi(Client(lost.url)), "x", sleep=slept.append))


def happened(*events):
    return [
        {"id": n, "previous_id": n - 1, "at": at, "type": kind, "details": {"name": name} if name else {}}
        for n, (at, kind, name) in enumerate(events, 1)
    ]


def test_a_timeline_has_a_bar_for_each_state():
    events = happened(
        (0.0, "ExecutionStarted", ""),
        (0.0, "TaskStateEntered", "Ask"),
        (0.0, "TaskScheduled", ""),
        (1.0, "TaskFailed", ""),
        (1.0, "TaskScheduled", ""),
        (2.0, "TaskSucceeded", ""),
        (2.0, "TaskStateExited", "Ask"),
        (2.0, "WaitStateEntered", "Wait"),
        (4.0, "ExecutionTimedOut", ""),
    )
    ask, wait = visits_of(events)
    assert (ask.name, ask.tries, ask.how, ask.ended) == ("Ask", 2, "succeeded", 2.0)
    assert (wait.name, wait.how, wait.ended) == ("Wait", "failed", 4.0)
    first, second = timeline(events, width=4)
    assert first == "Ask   ██       2.000s  (2 tries)"
    assert second == "Wait    xx     2.000s  failed"
    assert timeline([]) == []
