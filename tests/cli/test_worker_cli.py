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
from command_line import CORRAL, RunningServer, plain_environment

from corral.server.runfile import RunFile
from corral.settings.load import load_settings
from processes import wait_until

AGENTS = """
from corral import App

app = App()

@app.entrypoint
async def main(payload, context):
    return {"said": payload, "queue": "%s"}

@app.entrypoint(name="talks")
async def talks(payload, context):
    yield "Hel"
    yield "lo"

@app.entrypoint(name="fails")
async def fails(payload, context):
    raise ValueError("no such page")
"""


class RunningWorker:
    """`corral worker`, as a process of its own."""

    def __init__(self, folder, *arguments: str, verb: str = "worker") -> None:
        self.folder = folder
        with (folder / "worker.out").open("wb") as out, (folder / "worker.log").open("wb") as log:
            self.process = subprocess.Popen(
                [CORRAL, verb, "--json", *arguments], cwd=folder, stdout=out, stderr=log, env=plain_environment()
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
    monkeypatch.setattr("corral.cli.jobs_api.DEFAULT_URL", "http://127.0.0.1:1")
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
