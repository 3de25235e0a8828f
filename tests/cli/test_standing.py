"""The supervisor that `corral serve`, `gateway` and `worker` leave standing: small, and no less able for that."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import typer
from command_line import CORRAL, RunningServer, plain_environment

from corral.cli import serving
from corral.cli.failure import Exit
from corral.cli.main import main
from corral.cli.plain import OPTIONS, read_plainly
from corral.cli.starting import asked
from forking import Forked
from processes import is_alive, wait_until

AGENTS = """
import os
from corral import App

app = App()
VERSION = 1

@app.entrypoint
async def main(payload, context):
    return {"pid": os.getpid(), "version": VERSION}
"""
STANDS = "import corral.cli.main, corral.cli.standing, corral.cli.told, corral.server.supervisor"
HEAVY = "typer click yaml msgspec uvicorn uvloop httptools asyncio logging inspect dataclasses sqlite3 ssl shutil"
SMALL_KB = 14_000
"""What a supervisor has to itself: half of what the framework takes, and more than twice what it needs."""


@pytest.fixture
def agents(here):
    (here / "agents.py").write_text(AGENTS)
    return here


@contextmanager
def served(folder: Path, *arguments: str, verb: str = "serve"):
    server = RunningServer(folder, *arguments, verb=verb)
    try:
        yield server
    finally:
        server.stop()


def own_kb(pid: int) -> int:
    """Memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def answer(server: RunningServer) -> dict[str, int]:
    said: dict[str, int] = httpx.post(f"{server.url}/invocations", json={}, trust_env=False).json()
    return said


def workers(server: RunningServer) -> list[int]:
    [path] = (server.folder / ".corral/run").glob("*.json")
    pids: list[int] = json.loads(path.read_bytes())["workers"]
    return pids


def log(server: RunningServer) -> str:
    return (server.folder / "server.log").read_text()


# -- what it has in memory


def test_it_imports_next_to_nothing():
    code = f"import sys; {STANDS}; print(*({{*'{HEAVY}'.split()}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux about memory")
def test_it_stays_small_whatever_its_worker_goes_through(agents):
    with served(agents) as server:
        supervisor, first = server.process.pid, answer(server)
        assert own_kb(supervisor) < SMALL_KB < own_kb(first["pid"])
        (agents / "agents.py").write_text(AGENTS.replace("VERSION = 1", "VERSION = 2"))
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: answer(server)["version"] == 2)
        wait_until(lambda: not is_alive(first["pid"]))
        os.kill(answer(server)["pid"], signal.SIGKILL)
        wait_until(lambda: "the next one starts" in log(server))
        wait_until(lambda: len(workers(server)) == 1)
        assert answer(server)["version"] == 2
        assert own_kb(supervisor) < SMALL_KB
        assert server.stop() == 0


# -- what it still does


def test_settings_are_read_anew_by_another_process(agents):
    with served(agents) as server:
        (agents / "corral.yaml").write_text("server: {prot: 1}")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "Did you mean `port`?" in log(server))
        assert "Not reloaded" in log(server)
        (agents / "corral.yaml").write_text("server: {workers: 2}")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(workers(server)) == 2)
        server.process.send_signal(signal.SIGTTOU)
        wait_until(lambda: len(workers(server)) == 1)
        server.process.send_signal(signal.SIGTTIN)
        wait_until(lambda: len(workers(server)) == 2)
        wait_until(lambda: answer(server)["pid"] in workers(server))  # those before it answer until they have ended


def test_keys_are_not_taken_away_by_a_reload(agents):
    (agents / "corral.yaml").write_text("server: {host: 0.0.0.0}\nsecurity: {api_keys: [{key: secret}]}")
    with served(agents) as server:
        (agents / "corral.yaml").write_text("server: {host: 127.0.0.1}")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "Set `security.api_keys`" in log(server))
        assert httpx.post(f"{server.url}/invocations", json={}, trust_env=False).status_code == 401


def test_what_an_operator_insists_on_is_warned_of(agents):
    with served(agents, "--host", "0.0.0.0", "--allow-unauthenticated") as server:
        assert "Warning: Anybody who can reach 0.0.0.0" in log(server)


def test_a_worker_does_not_outlive_it(agents):
    with served(agents) as server:
        pid = answer(server)["pid"]
        server.process.kill()
        wait_until(lambda: not is_alive(pid))


# -- a start that fails, or is broken off


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CORRAL, *arguments], capture_output=True, text=True, env=plain_environment(), check=False)


def test_a_port_that_is_taken_is_said_before_anything_starts(agents):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("serve", "--port", str(taken.getsockname()[1]), "--json")
    assert done.returncode == Exit.INVALID
    assert "is taken by another program" in json.loads(done.stderr)["message"]
    assert done.stdout == ""


def test_a_file_that_does_not_load_ends_it(agents):
    (agents / "agents.py").write_text("1 / 0\n")
    done = run("serve", "--port", "0")
    assert done.returncode == Exit.FAILED
    assert done.stderr.count("ZeroDivisionError") == 1
    assert "corral/server" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["serve", "--prot", "1"], Exit.USAGE, "--port"),
        (["serve", "--workers", "many"], Exit.USAGE, "many"),
        (["worker", "--help"], Exit.OK, "Run jobs until"),
        (["gateway", "--config", "none.yaml"], Exit.INVALID, "There is no file none.yaml"),
    ],
)
def test_what_is_said_before_there_is_anything_to_serve(here, arguments, status, said):
    done = run(*arguments)
    assert done.returncode == status
    assert said in done.stdout + done.stderr


LOADING = """
import os, time
import corral.cli.standing
from corral.cli.main import run

def go_ahead(arguments):
    open("begun.part", "w").write(str(os.getpid()))
    os.rename("begun.part", "begun")
    time.sleep(60)

if os.environ.get("SLOW"):
    corral.cli.standing._go_ahead = go_ahead
run()
"""


def begun(folder: Path, *, slow: bool) -> Forked:
    """A server that is on its way: it reads settings for a minute, or its worker loads for so long."""
    (folder / "agents.py").write_text("import time\nopen('begun', 'w').close()\ntime.sleep(60)\n")
    said = folder / "said.txt"
    said.write_text("")
    process = Forked(
        LOADING,
        ["serve", "--port", "0"],
        folder=folder,
        out=said,
        err=said,
        env=plain_environment() | ({"SLOW": "1"} if slow else {}),
        start_new_session=True,
    )
    wait_until((folder / "begun").exists)
    return process


def test_it_can_be_told_to_end_while_its_worker_starts(here):
    process = begun(here, slow=False)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_ctrl_c_while_settings_are_read(here):
    process = begun(here, slow=True)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == Exit.INTERRUPTED
    wait_until(lambda: not is_alive(int((here / "begun").read_text())))


def test_the_process_ahead_is_killed(here):
    process = begun(here, slow=True)
    os.kill(int((here / "begun").read_text()), signal.SIGKILL)
    assert process.wait(20) == 128 + signal.SIGKILL


# -- command lines that are read without the parser


def by_parser(monkeypatch, *arguments: str):
    """What the parser makes of a command line."""
    found = []
    monkeypatch.setattr(serving, "start", lambda asked: found.append(asked) or 0)
    assert main(arguments) == 0
    return found[0]


@pytest.mark.parametrize(
    "line",
    [
        "serve",
        "serve agents.py --workers 4 --host 0.0.0.0 --port=8081 --json",
        "serve -w 2 -p 0 --store sqlite:///x.db --hot redis://h --config c.yaml pack.age:app",
        "serve --role api --allow-unauthenticated --host=",
        "serve --workers 1 --workers 3",
        "gateway --port 0 --config=c.yaml --json",
        "gateway",
        "worker",
        "worker agents.py -q a --queue b --concurrency 3 -c 4 --port 0",
        "worker --host ::1 --workers 2",
    ],
)
@pytest.mark.parametrize("config", ["", "of_environment.yaml"])
def test_what_is_plain_means_the_same_to_the_parser(monkeypatch, line, config):
    monkeypatch.setenv("CORRAL_CONFIG", config)
    verb, *rest = line.split()
    plain = read_plainly([verb, *rest])
    if plain is not None:
        assert asked(verb, **plain) == by_parser(monkeypatch, verb, *rest)
    assert (plain is None) == line.endswith("=")


@pytest.mark.parametrize(
    "line",
    [
        "serve --help",
        "serve a.py b.py",
        "serve --port x",
        "serve --port",
        "serve --port -1",
        "serve --port \u0661",
        "serve -p8080",
        "serve -p=1",
        "serve --json=1",
        "serve --role none",
        "serve --host --json",
        "serve --hos x",
        "serve -- a.py",
        "gateway agents.py",
        "gateway --queue a",
        "worker --role api",
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(line):
    assert read_plainly(line.split()) is None


@pytest.mark.parametrize("verb", list(OPTIONS))
def test_every_option_is_known_without_the_parser(verb):
    command = typer.main.get_command(getattr(serving, f"{verb}_app"))
    named = {flag: param.name for param in command.params for flag in param.opts if flag.startswith("-")}
    assert {flag: option.name for flag, option in OPTIONS[verb].items()} == named
