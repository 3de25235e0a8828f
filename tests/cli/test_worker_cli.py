"""`corral worker` and the roles of `corral serve`, as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from command_line import COMMAND, RunningServer, plain_environment

from corral.cli.failure import Exit
from corral.server.runfile import RunFile
from corral.settings.load import load_settings
from forking import Forked
from processes import wait_until

AGENTS = """
import asyncio, os
from corral import App

app = App()

@app.entrypoint
async def main(payload, context):
    return {"said": payload, "pid": os.getpid()}

@app.entrypoint(name="talks")
async def talks(payload, context):
    yield "Hel"
    yield "lo"

@app.entrypoint(name="fails")
async def fails(payload, context):
    if os.path.exists("mended"):
        return "mended"
    raise ValueError("no such page")

@app.entrypoint(name="asks")
async def asks(payload, context):
    await context.progress(0.5, "waiting for a person")
    answer = await context.wait_for("approval", timeout=60)
    return {"approved": answer["ok"]}

@app.entrypoint(name="long")
async def long(payload, context):
    open("begun", "a").close()
    while not os.path.exists("released"):
        await asyncio.sleep(0.01)
    return "ended"
"""


class RunningWorker:
    """`corral worker`, as a process of its own."""

    def __init__(self, folder, *arguments: str, verb: str = "worker") -> None:
        self.folder = folder
        out, log = folder / "worker.out", folder / "worker.log"
        for file in (out, log):
            file.write_bytes(b"")
        self.process = Forked(
            COMMAND, [verb, "--json", *arguments], folder=folder, out=out, err=log, env=plain_environment()
        )

    def said(self):
        """What it announced when it was ready."""
        wait_until(lambda: self.process.poll() is not None or (self.folder / "worker.out").read_text().endswith("}\n"))
        text = (self.folder / "worker.out").read_text()
        assert text, (self.folder / "worker.log").read_text()
        return json.loads(text)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@contextmanager
def working(folder, *arguments: str, verb: str = "worker"):
    worker = RunningWorker(folder, *arguments, verb=verb)
    try:
        worker.said()
        yield worker
    finally:
        worker.stop()


def listens(pid: int) -> bool:
    """Whether a process holds a socket that takes connections."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {f"socket:[{fields[9]}]" for fields in lines if fields[3] == "0A"}
    return bool(listening & {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()})


@pytest.fixture
def agents(here):
    (here / "agents.py").write_text(AGENTS)
    return here


def test_a_worker_listens_nowhere_and_ends_when_told(agents, corral):
    with working(agents, "--workers", "2") as worker:
        said = worker.said()
        assert (said["status"], said["url"], len(said["workers"])) == ("working", None, 2)
        [server] = corral("status", "--json").json["servers"]
        assert (server["url"], server["role"], server["health"]) == (None, "worker", "ok")
        assert sorted(server["workers"]) == sorted(said["workers"])
        assert "worker" in corral("status").out
        for pid in said["workers"]:
            assert not listens(pid)
        assert worker.stop() == 0
    assert list((agents / ".corral/run").iterdir()) == []


def test_a_worker_loads_new_code_when_told(agents):
    with working(agents) as worker:
        before = worker.said()["workers"]
        worker.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "Reloaded." in (agents / "worker.log").read_text())
        [path] = (agents / ".corral/run").glob("*.json")
        wait_until(lambda: json.loads(path.read_bytes())["workers"] not in ([], before))
        assert worker.stop() == 0


def test_a_worker_that_is_asked_how_it_is(agents):
    with working(agents, "--port", "0") as worker:
        url = worker.said()["url"]
        for path in ("/ping", "/livez", "/readyz", "/metrics"):
            assert httpx.get(url + path, trust_env=False).status_code == 200
        assert worker.stop() == 0


def test_a_worker_is_not_taken_for_a_server(agents, corral, monkeypatch):
    monkeypatch.setattr("corral.cli.client.DEFAULT_URL", "http://127.0.0.1:1")
    with working(agents, "--port", "0"):
        assert corral("queues", "--json").error["code"] == "unreachable"


def test_a_worker_without_agents_says_so(here):
    worker = RunningWorker(here)
    assert worker.process.wait(30) == 4
    assert "app_load_error" in (here / "worker.log").read_text()


def test_what_a_killed_worker_left_behind_is_cleared(here):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        (here / f"worker-{pid}").mkdir()
        (here / f"worker-{pid}.json").write_text("{}")
    (here / "8080.json").write_text("{}")
    file = RunFile(here, "127.0.0.1", 0, "agents.py", "worker")
    assert file.url == ""
    assert sorted(path.name for path in here.iterdir()) == ["8080.json"]  # our own is written anew
    file.write("serving", [1])
    assert json.loads((here / f"worker-{os.getpid()}.json").read_bytes())["role"] == "worker"


@pytest.mark.parametrize(
    ("role", "answers", "runs_jobs", "keeps_house"),
    [
        ("all", True, True, True),
        ("api", True, False, False),
        ("worker", False, True, True),
        ("control", False, False, True),
    ],
)
def test_what_each_role_does(here, role, answers, runs_jobs, keeps_house):
    settings = load_settings(flags={"server.role": role}).settings
    assert (settings.answers, settings.runs_jobs, settings.keeps_house) == (answers, runs_jobs, keeps_house)
    idle = load_settings(flags={"server.role": role, "jobs.worker": False}).settings
    assert not idle.runs_jobs


def test_an_api_server_says_its_role(agents, corral):
    server = RunningServer(agents, "--role", "api")
    try:
        assert corral("status", "--json").json["servers"][0]["role"] == "api"
        assert corral("invoke", "Hi", "--json").json["reply"]["said"] == {"prompt": "Hi"}
    finally:
        assert server.stop() == 0


# -- jobs, handed in on one process and run by another


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A server that only answers and a worker that only works, with one store."""
    folder = tmp_path_factory.mktemp("house")
    (folder / "agents.py").write_text(AGENTS)
    (folder / "corral.yaml").write_text("jobs: {retry_initial_s: 0.01, attempts_max: 2}\n")
    server = RunningServer(folder, "--role", "api")
    try:
        with working(folder, "--concurrency", "8") as worker:
            server.worker = worker
            yield server
    finally:
        assert server.stop() == 0


@pytest.fixture
def inside(house, monkeypatch):
    monkeypatch.chdir(house.folder)
    return house


def test_what_one_process_takes_in_another_runs(inside, corral):
    done = corral("jobs", "submit", "main", '{"n": 1}', "--wait", "--tag", "first")
    result = json.loads(done.out)
    assert (done.status, result["said"]) == (0, {"n": 1})
    assert result["pid"] in inside.worker.said()["workers"]
    [job] = corral("jobs", "list", "--tag", "first", "--json").json["items"]
    assert "succeeded" in corral("jobs", "show", job["id"]).out
    assert corral("jobs", "tail", job["id"]).status == 0


def test_what_is_said_comes_live(inside, corral):
    done = corral("jobs", "submit", "talks", "Hi", "--wait")
    assert (done.status, done.out) == (0, "Hello\n")


def test_a_job_that_waits_for_a_person(inside, corral):
    job = corral("jobs", "submit", "asks", "{}", "--json").json["id"]
    wait_until(lambda: corral("jobs", "show", job, "--json").json["status"] == "waiting")
    assert "approval" in corral("jobs", "show", job).out
    assert corral("jobs", "signal", job, "approval", '{"ok": true}').status == 0
    tailed = corral("jobs", "tail", job, "--json").json
    assert (tailed["status"], tailed["result"]) == ("succeeded", {"approved": True})
    assert next(event["data"] for event in tailed["events"] if event["kind"] == "progress") == {
        "fraction": 0.5,
        "message": "waiting for a person",
    }


def test_dead_letters(inside, corral):
    jobs = [corral("jobs", "submit", "fails", "{}", "--tag", "dying", "--json").json["id"] for _ in range(2)]
    done = corral("jobs", "tail", jobs[0])
    assert (done.status, done.out) == (Exit.FAILED, "")
    assert "no such page" in done.err
    assert corral("jobs", "tail", jobs[1]).status == Exit.FAILED
    dead = corral("jobs", "dead", "--tag", "dying")
    assert dead.out.count("no such page") == 2
    assert len(corral("jobs", "show", jobs[0], "--json").json["attempts"]) == 2
    assert corral("jobs", "discard", jobs[1]).out == "Discarded 1 job.\n"
    (inside.folder / "mended").touch()
    done = corral("jobs", "redrive", "--tag", "dying", "--yes", "--json")
    assert done.json == {"ids": [jobs[0]], "count": 1}
    assert corral("jobs", "tail", jobs[0]).status == 0
    assert corral("jobs", "tail", jobs[1], "--json").status == Exit.CANCELLED


def test_cancelling(inside, corral):
    job = corral("jobs", "submit", "main", "{}", "--delay", "1h", "--json").json["id"]
    assert corral("jobs", "cancel", job).out == "Cancelled 1 job.\n"
    assert corral("jobs", "tail", job).status == Exit.CANCELLED
    assert corral("jobs", "retry", job, '{"again": 1}').status == 0
    assert json.loads(corral("jobs", "submit", "main", "{}", "--wait").out)["said"] == {}
    assert corral("jobs", "tail", job, "--json").json["result"]["said"] == {"again": 1}


def test_a_batch_and_what_is_to_be_seen_of_it(inside, corral):
    (inside.folder / "inputs.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(20)))
    done = corral("jobs", "submit", "main", "--batch", "inputs.jsonl", "--wait", "--json")
    assert (done.status, done.json["counts"]["succeeded"]) == (0, 20)
    batch = done.json["batches"][0]["id"]
    assert len(corral("jobs", "list", "--batch", batch, "--json").json["items"]) == 20
    assert corral("jobs", "submit", "main", "{}", "--delay", "1h", "--queue", "later").status == 0
    queues = corral("queues", "--json").json
    assert [queue["scheduled"] for queue in queues["queues"] if queue["queue"] == "later"] == [1]
    assert [worker["slots"] for worker in queues["workers"]] == [8]
    assert "later" in corral("jobs", "stats", "--once").out
    assert corral("jobs", "cancel", "--queue", "later", "--yes").out == "Cancelled 1 job.\n"


def test_schedules_come_and_go(inside, corral):
    assert "due next" in corral("schedules", "set", "often", "@every 1h", "main", "Hi").out
    assert [item["name"] for item in corral("schedules", "list", "--json").json["items"]] == ["often"]
    assert corral("schedules", "set", "never", "every monday", "main").status == Exit.FAILED
    assert corral("schedules", "remove", "often").status == 0
    assert corral("schedules", "remove", "often").status == Exit.NOT_FOUND


def test_a_job_goes_on_at_another_worker(agents, corral):
    """SIGTERM hands back what does not end in time; nobody notices."""
    (agents / "corral.yaml").write_text("server: {drain_s: 0.05}\n")
    server = RunningServer(agents, "--role", "api")
    try:
        with working(agents) as worker:
            job = corral("jobs", "submit", "long", "{}", "--json").json["id"]
            wait_until((agents / "begun").exists)
            assert worker.stop() == 0
        assert corral("jobs", "show", job, "--json").json["status"] == "queued"
        (agents / "released").touch()
        with working(agents):
            tailed = corral("jobs", "tail", job, "--json").json
        assert (tailed["status"], tailed["result"], tailed["failures"]) == ("succeeded", "ended", 0)
    finally:
        assert server.stop() == 0
