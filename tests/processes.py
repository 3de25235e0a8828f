"""A real server of real processes, for the tests that need one."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from forking import Forked

AGENTS = """
import asyncio, os, time
from corral import App

app = App()
VERSION = 1

@app.entrypoint
async def echo(payload, context):
    return {"pid": os.getpid(), "version": VERSION, "payload": payload}

@app.entrypoint(name="slow")
async def slow(payload, context):
    await asyncio.sleep(payload["seconds"])
    return {"pid": os.getpid()}

@app.entrypoint(name="held")
async def held(payload, context):
    while not os.path.exists(payload["until"]):
        await asyncio.sleep(0.01)
    return {"pid": os.getpid()}

@app.entrypoint(name="stuck")
def stuck(payload, context):
    time.sleep(payload["seconds"])

@app.entrypoint(name="note")
async def note(payload, context):
    first, = await context.session.append("user", payload["text"])
    await asyncio.sleep(0)
    second, = await context.session.append("assistant", payload["text"])
    return {"first": first.seq, "second": second.seq}
"""

PROGRAM = """
import sys
from corral.settings.load import load_settings
from corral.server.supervisor import serve, dev
def settings():
    return load_settings(flags={"server.port": int(sys.argv[2]), "server.host": "127.0.0.1"}).settings
run = dev if sys.argv[1] == "dev" else serve
sys.exit(run("agents.py", settings(), reload_settings=settings))
"""

SELF_SERVED = (
    AGENTS
    + """
if __name__ == "__main__":
    import sys
    app.run(port=int(sys.argv[2]), host="127.0.0.1")
    print("ended")
"""
)
ITSELF = "import runpy; runpy.run_path('agents.py', run_name='__main__')"


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Ask again and again, for other processes tell us nothing."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A supervisor and its workers in a folder of their own."""

    def __init__(
        self,
        folder: Path,
        mode: str = "serve",
        config: str = "",
        agents: str = AGENTS,
        port: int | None = None,
        program: str = PROGRAM,
    ) -> None:
        self.folder = folder
        self.port = free_port() if port is None else port
        (folder / "agents.py").write_text(agents)
        (folder / "corral.yaml").write_text(config)
        said = folder / "said.txt"
        said.write_text("")
        env = {name: value for name, value in os.environ.items() if not name.startswith("CORRAL_")}
        self.process = Forked(
            program,
            [mode, str(self.port)],
            folder=folder,
            out=said,
            err=said,
            env=env,
            start_new_session=True,  # so that a test can press Ctrl-C
        )

    def output(self) -> str:
        return (self.folder / "said.txt").read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def press_ctrl_c(self) -> None:
        """The terminal sends it to the supervisor and to all workers."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait_ready(self) -> None:
        wait_until(lambda: self.process.poll() is not None or "Corral serves" in self.output(), 60.0)
        assert self.process.poll() is None, self.output()

    def run_file(self) -> dict[str, object]:
        return json.loads((self.folder / ".corral" / "run" / f"{self.port}.json").read_text())

    def workers(self) -> list[int]:
        return list(self.run_file()["workers"])

    def call(self, path: str, payload: object = None, headers: dict[str, str] | None = None) -> tuple[int, object]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            body = None if payload is None else json.dumps(payload)
            connection.request("GET" if payload is None else "POST", path, body, headers or {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def agent(self, name: str, payload: object, headers: dict[str, str] | None = None) -> tuple[int, object]:
        return self.call(f"/v1/agents/{name}/invocations", payload, headers)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


class Held:
    """A request whose agent goes on until the test lets it end."""

    def __init__(self, server: Server) -> None:
        self._until = server.folder / "released"
        self._answers: list[tuple[int, object]] = []
        self._thread = threading.Thread(target=self._ask, args=(server,), daemon=True)
        self._thread.start()
        wait_until(lambda: any(server.call("/health")[1]["in_flight"] for _ in range(4)))

    def _ask(self, server: Server) -> None:
        self._answers.append(server.agent("held", {"until": str(self._until)}))

    def release(self) -> None:
        self._until.touch()

    def answer(self) -> tuple[int, object]:
        self._thread.join(20)
        return self._answers[0]


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that ended, and was not yet asked how, does not)."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


@contextmanager
def serving(
    folder: Path, mode: str = "serve", config: str = "", agents: str = AGENTS, program: str = PROGRAM
) -> Iterator[Server]:
    server = Server(folder, mode, config, agents, program=program)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()
