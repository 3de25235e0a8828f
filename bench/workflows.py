"""What an execution costs: Corral against the engine in moto's server, the same machines, the same client, one run.

    make bench-workflows                 everything, about two minutes
    python bench/workflows.py --seconds 2 --json

Both get one server process and two clients over HTTP that speak the Step Functions protocol: start an execution, look until it
has ended, start the next one. Corral writes each of its durable executions down (SQLite); moto keeps everything in memory.
Only ratios are worth reading: what disturbs this machine disturbs both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from corral.testing.servers.postgres import PostgresServer, installed

PEERS_PYTHON = Path(__file__).parent.parent / ".venv-workflows" / "bin" / "python"
CLIENTS = 2
LOOPS = 100
ROLE = "arn:aws:iam::123456789012:role/bench"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:stamp"
TARGETS = {
    "10 Pass, express / moto": 10.0,
    "10 Pass, durable / moto": 3.0,
    "loop of 100, express / moto": 10.0,
    "loop of 100, durable / moto": 3.0,
}
FIRST_TASK_MS = 10.0

PASSES = {f"P{i}": {"Type": "Pass", **({"Next": f"P{i + 1}"} if i < 9 else {"End": True})} for i in range(10)}
MACHINES = {
    "10 Pass": {"StartAt": "P0", "States": PASSES},
    "loop of 100": {
        "StartAt": "Init",
        "States": {
            "Init": {"Type": "Pass", "Result": {"i": 0}, "Next": "More"},
            "More": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.i", "NumericLessThan": LOOPS, "Next": "Add"}],
                "Default": "Done",
            },
            "Add": {"Type": "Pass", "Parameters": {"i.$": "States.MathAdd($.i, 1)"}, "Next": "More"},
            "Done": {"Type": "Succeed"},
        },
    },
}
TRANSITIONS = {"10 Pass": 10, "loop of 100": 2 * LOOPS + 3}
TASK = {"StartAt": "Stamp", "States": {"Stamp": {"Type": "Task", "Resource": FUNCTION, "End": True}}}

APP = """
import time
import uuid
from corral import App

app = App()

@app.function
def stamp(payload):
    return {"waited": time.time() - payload["at"]}
"""
SERVE = """
import sys
from corral.server.supervisor import serve
from corral.settings.load import load_settings
settings = load_settings(flags={"server.port": int(sys.argv[1]), "server.host": "127.0.0.1"}).settings
sys.exit(serve("agents.py", settings))
"""


class Client:
    """One connection that speaks the protocol."""

    def __init__(self, port: int) -> None:
        """To a server on this machine."""
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, operation: str, payload: dict[str, Any], path: str = "/") -> Any:
        """One request and its answer."""
        body = json.dumps(payload).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: states.us-east-1.amazonaws.com\r\ncontent-type: application/x-amz-json-1.0\r\n"
            f"x-amz-target: AWSStepFunctions.{operation}\r\nauthorization: AWS4-HMAC-SHA256 Credential="
            "a/20260101/us-east-1/states/aws4_request, SignedHeaders=host, Signature=0\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        said = json.loads(await reader.readexactly(length) or b"null")
        if b"connection: close" in answer or answer.startswith(b"http/1.0"):
            self.close()
        if b" 20" not in answer.split(b"\r\n", 1)[0]:
            raise SystemExit(f"{operation} was answered with {said}")
        return said

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def free_port() -> int:
    """One that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def child(command: list[str], folder: Path) -> Iterator[None]:
    """A process for as long as this lasts."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("CORRAL_")}
    with (folder / f"said-{time.time_ns()}.txt").open("w") as said:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=said, stderr=said)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


@asynccontextmanager
async def serving(command: list[str], folder: Path, port: int) -> AsyncIterator[int]:
    """A server that answers."""
    with child(command, folder):
        for _ in range(600):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield port


def moto(folder: Path) -> Any:
    """The server of moto."""
    port = free_port()
    return serving([str(PEERS_PYTHON), "-m", "moto.server", "-p", str(port)], folder, port)


def corral(folder: Path, store: str, workers: int = 1) -> Any:
    """Our server."""
    folder.mkdir(exist_ok=True)
    (folder / "agents.py").write_text(APP)
    (folder / "corral.yaml").write_text(f"server: {{workers: {workers}}}\nstore: {{url: '{store}'}}\n")
    port = free_port()
    return serving([sys.executable, "-c", SERVE, str(port)], folder, port)


async def create(client: Client, name: str, definition: Any, kind: str = "STANDARD") -> str:
    """A state machine; its ARN."""
    asked = {"name": name.replace(" ", "-"), "definition": json.dumps(definition), "roleArn": ROLE, "type": kind}
    arn: str = (await client.call("CreateStateMachine", asked))["stateMachineArn"]
    return arn


async def ended(client: Client, arn: str) -> Any:
    """An execution that is over: its clients can only ask."""
    while True:
        found = await client.call("DescribeExecution", {"executionArn": arn})
        if found["status"] != "RUNNING":
            return found
        await asyncio.sleep(0.001)


async def one(client: Client, machine: str) -> None:
    """One execution, until it has ended."""
    started = await client.call("StartExecution", {"stateMachineArn": machine, "name": uuid.uuid4().hex, "input": "{}"})
    found = await ended(client, started["executionArn"])
    if found["status"] != "SUCCEEDED":
        raise SystemExit(f"An execution ended so: {found}")


async def one_express(client: Client, machine: str) -> None:
    """One express execution."""
    found = await client.call("StartSyncExecution", {"stateMachineArn": machine, "input": "{}"})
    if found["status"] != "SUCCEEDED":
        raise SystemExit(f"An execution ended so: {found}")


async def per_second(port: int, machine: str, run: Any, seconds: float, clients: int = CLIENTS) -> float:
    """Executions per second."""
    until = time.perf_counter() + seconds
    done = 0

    async def work() -> None:
        nonlocal done
        client = Client(port)
        while time.perf_counter() < until:
            await run(client, machine)
            done += 1
        client.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    return done / (time.perf_counter() - began)


async def against_moto(folder: Path, seconds: float) -> dict[str, float]:
    """Executions per second, side by side."""
    figures: dict[str, float] = {}
    async with moto(folder) as theirs, corral(folder / "lite", "sqlite:///.corral/corral.db") as ours:
        there, here = Client(theirs), Client(ours)
        await there.call("", {"stepfunctions": {"execute_state_machine": True}}, "/moto-api/config")
        for name, definition in MACHINES.items():
            durable = await create(here, name, definition)
            express = await create(here, f"{name} express", definition, "EXPRESS")
            peer = await create(there, name, definition)
            for _ in range(2):  # twice, in turns: what disturbs one disturbs the others
                for what, run in {
                    f"{name}, moto": per_second(theirs, peer, one, seconds),
                    f"{name}, express": per_second(ours, express, one_express, seconds),
                    f"{name}, durable": per_second(ours, durable, one, seconds),
                }.items():
                    figures[what] = max(figures.get(what, 0.0), await run)
        task = await create(here, "task", TASK)
        waited = []
        for _ in range(200):
            asked = {"stateMachineArn": task, "input": json.dumps({"at": time.time()})}
            started = await here.call("StartExecution", asked)
            found = await ended(here, started["executionArn"])
            waited.append(json.loads(found["output"])["waited"])
            await asyncio.sleep(0.005)
        figures["start to first task, p50 ms"] = statistics.median(waited) * 1000
        figures["start to first task, p99 ms"] = sorted(waited)[-2] * 1000
        there.close()
        here.close()
    return figures


async def on_postgres(folder: Path, url: str, seconds: float) -> dict[str, float]:
    """Transitions per second with one worker and with two."""
    figures: dict[str, float] = {}
    for workers in (1, 2):
        async with corral(folder / f"pg-{workers}", url, workers) as port:
            client = Client(port)
            for name, definition in MACHINES.items():
                machine = await create(client, f"{name} {workers}", definition)
                rate = await per_second(port, machine, one, seconds, clients=8)
                figures[f"{name}, PostgreSQL, transitions/s, {workers} worker{'s' * (workers > 1)}"] = (
                    rate * TRANSITIONS[name]
                )
            client.close()
    return figures


def ratios(figures: dict[str, float]) -> dict[str, float]:
    """How often more."""
    return {
        f"{name}, {kind} / moto": figures[f"{name}, {kind}"] / figures[f"{name}, moto"]
        for name in MACHINES
        for kind in ("express", "durable")
    }


def main() -> int:
    """Measure, print, and say whether it is as good as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not PEERS_PYTHON.exists():
        raise SystemExit("moto's engine lives in an environment of its own: run `make bench-workflows`.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = asyncio.run(against_moto(folder, options.seconds))
        if installed():
            server = PostgresServer(folder / "postgres")
            server.attach()
            try:
                figures |= asyncio.run(on_postgres(folder, server.url(), options.seconds))
            finally:
                server.detach()
    compared = ratios(figures)
    if options.json:
        print(json.dumps({"figures": figures, "ratios": compared}, indent=2))
    else:
        for what, figure in figures.items():
            print(f"{what:60} {figure:12,.1f}")
        for what, ratio in compared.items():
            print(f"{what:60} {ratio:11,.1f}x  (at least {TARGETS[what]:g}x)")
    late = figures["start to first task, p50 ms"] > FIRST_TASK_MS
    return int(late or any(ratio < TARGETS[what] for what, ratio in compared.items()))


if __name__ == "__main__":
    sys.exit(main())
