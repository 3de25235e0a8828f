"""`corral agents`, `corral runs` and `corral approvals` against a real server."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time

import pytest
from command_line import CORRAL, DONE, RunningServer, event_stream, plain_environment

AGENTS = '''
from corral import Agent, App, tool
from corral.messages import Delta, ModelReply, Usage, as_parts

app = App()


@tool(approval=True)
async def refund(amount: int) -> str:
    """Give money back."""
    return f"refunded {amount}"


@tool
async def look() -> str:
    """Look something up."""
    return "found it"


def wants(name, **given):
    return [{"type": "tool_use", "id": "c1", "name": name, "input": given}]


def answer(messages):
    last = messages[-1]
    if last.role == "tool":
        return as_parts("It says: " + last.content[0]["content"][0]["text"])
    if last.text.startswith("refund"):
        return wants("refund", amount=9)
    if last.text == "look":
        return wants("look")
    if last.text == "fail":
        raise RuntimeError("on fire")
    return as_parts(f"{len(messages)} messages, the last is {last.text}")


async def model(call):
    content = answer(call.messages)
    if call.stream and content[0]["type"] == "text":
        for word in content[0]["text"].split(" "):
            yield Delta("text", word + " ", 0)
    yield ModelReply(content=content, model="scripted", usage=Usage(input=10, output=5), cost_usd=0.001)


app.add(Agent("support", "Be {manner}.", model=model, tools=[refund, look], variables={"manner": "kind"}, description="Helps."))


@app.entrypoint
async def main(payload, context):
    """Say it again."""
    return payload
'''


@pytest.fixture(scope="module")
def agents_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents")
    (folder / "agents.py").write_text(AGENTS)
    server = RunningServer(folder, "agents.py")
    yield server
    assert server.stop() == 0


@pytest.fixture
def at(corral, agents_server):
    """Ask that server: `at("agents", "list")`."""
    return lambda *arguments: corral(*arguments, "--url", agents_server.url)


def nobody_waits(at):
    """Answer what other tests have left open on the server they share."""
    for one in at("approvals", "list", "--agent", "support", "--json").json["items"]:
        assert at("approvals", "refuse", one["id"]).status == 0


def run_of(done):
    """The run's id in what was noted beside an answer."""
    return done.err.rsplit("run ", 1)[1].split()[0]


def test_agents_are_listed_and_shown(at):
    done = at("agents", "list")
    assert done.status == 0
    assert [line.split()[:3] for line in done.out.splitlines()[1:]] == [
        ["support", "agent", "refund,look"],
        ["main", "code", "-"],
    ]
    assert [one["name"] for one in at("agents", "list", "--json").json["agents"]] == ["support", "main"]
    shown = at("agents", "show", "support")
    assert "refund, look" in shown.out
    assert "Helps." in shown.out
    nobody_waits(at)
    assert at("agents", "show", "support", "--json").json["approvals_waiting"] == 0
    missing = at("agents", "show", "supports")
    assert (missing.status, "support" in missing.err) == (3, True)


def test_a_run_shows_text_on_stdout_and_tools_beside_it(at):
    done = at("agents", "run", "support", "look", "--session", "s-cli", "--user", "ann")
    assert done.status == 0
    assert done.out.strip() == "It says: found it"
    assert "→ look {}" in done.err
    assert "← look found it" in done.err
    assert "2 steps, 1 tool call, 30 tokens, $0.0020" in done.err
    shown = at("runs", "show", run_of(done))
    assert "user  look" in shown.out
    assert "done" in shown.out.splitlines()[0]
    assert at("runs", "show", run_of(done), "--json").json["journal"][0]["kind"] == "asked"
    again = at("agents", "run", "support", "hi", "--session", "s-cli", "--json").json
    assert (again["output"], again["status"], again["steps"]) == ("6 messages, the last is hi", "done", 1)
    listed = at("runs", "list", "--session", "s-cli", "--status", "done")
    assert run_of(done) in listed.out
    page = at("runs", "list", "--session", "s-cli", "--limit", "1", "--json").json
    assert len(page["items"]) == 1
    assert page["next_cursor"]
    assert "--cursor" in at("runs", "list", "--session", "s-cli", "--limit", "1").err


def test_a_run_that_fails_says_so(at):
    done = at("agents", "run", "support", "fail")
    assert done.status == 1
    assert "on fire" in done.err
    assert at("agents", "run", "main", "hi").status == 3
    assert at("agents", "run", "support", "hi", "--var", "manner").status == 2
    assert "/variables/manner" in at("agents", "run", "support", "hi", "--var", "manner=rude").err


def test_a_run_waits_for_a_person_who_answers_elsewhere(at):
    nobody_waits(at)
    done = at("agents", "run", "support", "refund me")
    assert done.status == 0
    assert "corral approvals approve" in done.err
    run = run_of(done)
    listed = at("approvals", "list", "--run", run)
    approval = listed.out.splitlines()[1].split()[0]
    assert 'refund {"amount":9}' in listed.out
    assert "1 of its runs wait" in at("agents", "show", "support").err
    assert "waits for a person" in at("runs", "show", run).out
    again = at("runs", "resume", run)
    assert "corral approvals approve" in again.err or "paused" in again.err or again.status == 0
    approved = at("approvals", "approve", approval, "--input", '{"amount": 5}', "--note", "less", "--user", "bob")
    assert 'Approved: refund {"amount":9}' in approved.out
    assert run in approved.err
    resumed = at("runs", "resume", run)
    assert resumed.out.strip() == "It says: refunded 5"
    assert "approved by bob: less" in at("runs", "show", run).out
    closed = at("approvals", "refuse", approval)
    assert (closed.status, "approved already" in closed.err) == (1, True)
    everything = at("approvals", "list", "--all", "--run", run, "--json").json["items"]
    assert [one["status"] for one in everything] == ["approved"]
    assert "No such approvals" in at("approvals", "list", "--status", "expired").err
    assert at("runs", "resume", run, "--json").status == 1


def test_a_refusal_is_told_to_the_model(at):
    run = run_of(at("agents", "run", "support", "refund me"))
    approval = at("approvals", "list", "--run", run, "--json").json["items"][0]["id"]
    assert at("approvals", "refuse", approval, "--note", "no money", "--json").json["status"] == "refused"
    done = at("runs", "resume", run, "--json").json
    assert "no money" in done["output"]


def test_runs_are_cancelled_and_forked(at):
    run = run_of(at("agents", "run", "support", "refund me"))
    assert at("runs", "cancel", run).out.strip() == f"Cancelled {run}."
    assert at("runs", "cancel", run, "--json").json["status"] == "cancelled"
    done = run_of(at("agents", "run", "support", "look"))
    assert f"{done} is done already" in at("runs", "cancel", done).out
    fork = at("runs", "fork", done, "--step", "0", "--prompt", "hello", "--resume")
    assert fork.out.strip() == "2 messages, the last is hello"
    plain = at("runs", "fork", done, "--step", "1")
    assert plain.out.strip() in plain.err
    made = at("runs", "fork", done, "--json").json
    assert (made["parent_id"], made["status"]) == (done, "interrupted")
    assert at("runs", "fork", done, "--prompt", "more", "--resume", "--json").json["status"] == "done"
    assert at("runs", "show", "no-such-run").status == 3
    assert "No such runs" in at("runs", "list", "--agent", "nobody").err


def test_a_chat_that_is_piped_in(agents_server, here):
    lines = "hi\n\nlook\n/session\n/session other\n/reset\n/help\n/what\n//slash\n/exit\nnever said\n"
    command = [CORRAL, "agents", "chat", "support", "--url", agents_server.url]
    done = subprocess.run(
        command, input=lines, capture_output=True, text=True, cwd=here, env=plain_environment(), check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "2 messages, the last is hi ",
        "It says: found it ",
        "2 messages, the last is /slash ",
    ]
    assert "This is the conversation other" in done.stderr
    assert "/what is none of" in done.stderr


def test_a_chat_as_json(agents_server, here):
    command = [CORRAL, "agents", "chat", "--json", "--session", "s-json", "--url", agents_server.url]
    done = subprocess.run(
        command,
        input="hi\nrefund me\nfail\n",
        capture_output=True,
        text=True,
        cwd=here,
        env=plain_environment(),
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["agent"], told["session_id"]) == ("support", "s-json")
    assert [turn.get("status", "failed") for turn in told["turns"]] == ["done", "paused", "failed"]


class Terminal:
    """A person at a terminal."""

    def __init__(self, *command, cwd):
        self.seen = ""
        self._side, theirs = pty.openpty()
        environment = plain_environment() | {"TERM": "xterm", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment, start_new_session=True
        )
        os.close(theirs)

    def expect(self, text, within_s=30):
        """Read until this was shown since the last time."""
        end = time.monotonic() + within_s
        while text not in self.seen:
            ready, _, _ = select.select([self._side], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} did not come: {self.seen!r}"
            try:
                self.seen += os.read(self._side, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"{text!r} did not come: {self.seen!r}") from None
        self.seen = self.seen.partition(text)[2]

    def type(self, text):
        os.write(self._side, text.encode())

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._side)


def test_a_chat_at_a_terminal_asks_before_it_acts(agents_server, here):
    terminal = Terminal(CORRAL, "agents", "chat", "--url", agents_server.url, cwd=here)
    try:
        terminal.expect("you >")
        terminal.type("hi\n")
        terminal.expect("the last is hi")
        terminal.expect("you >")
        terminal.type("refund me\n")
        terminal.expect("May I?")
        terminal.expect("l: later")
        terminal.type("e\n")
        terminal.expect("as JSON")
        terminal.type("nonsense\n")
        terminal.expect("not JSON")
        terminal.expect("l: later")
        terminal.type("e\n")
        terminal.expect("as JSON")
        terminal.type('{"amount": 3}\n')
        terminal.expect("It says: refunded 3")
        terminal.expect("you >")
        terminal.type("refund me\n")
        terminal.expect("l: later")
        terminal.type("n\n")
        terminal.expect("Why?")
        terminal.type("no money\n")
        terminal.expect("It says: This call was refused")
        terminal.expect("you >")
        terminal.type("refund me\n")
        terminal.expect("l: later")
        terminal.type("l\n")
        terminal.expect("corral runs resume")
        terminal.expect("you >")
        terminal.type("/exit\n")
        assert terminal.process.wait(timeout=30) == 0
    finally:
        terminal.close()


def test_a_stream_without_a_last_word_is_an_error(corral, stub):
    piece = b'id: 1\ndata: {"type": "text", "text": "half"}\n\n'
    done = corral("agents", "run", "support", "hi", "--url", stub(event_stream(piece)).url)
    assert (done.status, done.out) == (1, "half\n")
    assert "corral runs resume" in done.err


def test_hand_offs_and_values_are_shown(corral, stub):
    events = (
        b'data: {"type": "hand_off", "to": "expert", "reason": "hard"}\n\n'
        b'data: {"type": "tool_started", "id": "1", "name": "look", "input": {}}\n\n'
        b'data: {"type": "tool_finished", "id": "1", "name": "look", "error": "timeout", "duration_s": 1.5}\n\n'
        b'data: {"type": "finished", "output": {"answer": 42}, "reason": "done"}\n\n'
    )
    done = corral("agents", "run", "support", "hi", "--url", stub(event_stream(events, DONE)).url)
    assert done.status == 0
    assert json.loads(done.out) == {"answer": 42}
    assert "expert goes on: hard" in done.err
    assert "look failed: timeout (1.50 s)" in done.err


def test_of_a_team_no_run_is_named_that_nobody_keeps(corral, stub):
    """The server names those that are kept in a header; of a team that pauses, the run is a member's, and kept."""
    done = b'data: {"type": "finished", "output": "over", "reason": "done", "run_id": "r-7"}\n\n'
    asked = b'data: {"type": "approval", "approval": "a-1", "tool": "refund", "input": {}}\n\n'
    paused = asked + done.replace(b'"done"', b'"paused"')
    for event, named, kept in ((done, b"", False), (done, b"x-run-id: r-7\r\n", True), (paused, b"", True)):
        answer = event_stream(event, DONE).replace(b"\r\n", b"\r\n" + named, 1)
        seen = corral("agents", "run", "pair", "hi", "--url", stub(answer).url)
        assert (seen.status, "r-7" in seen.err) == (0, kept)
