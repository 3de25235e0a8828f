"""Agents in jobs while their workers are killed: no answer is paid for twice, and no tool does twice what may be done once.

The models and tools of these agents do nothing but tell a service in this process, which counts, and which kills the worker that
told it: before it has an answer, or just after.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from processes import Server, serving, wait_until

pytestmark = pytest.mark.chaos

LONG = os.environ.get("CORRAL_CHAOS") == "long"
HOUSES = 10 if LONG else 1
"""A worker that was killed often is started again after ten seconds: houses beside each other (`-n 10`) take no longer than one."""
FAULTS = 50 if LONG else 3
JOBS_PER_FAULT = 12
STEPS = 5
CONCURRENCY = 4

AGENTS = """
import asyncio, http.client, json, os
from corral import Agent, App, current_context, tool
from corral.messages import ModelReply, Usage, as_parts

app = App()
PORT, STEPS = json.load(open("told.json"))

def tell(kind, step):
    service = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    try:
        service.request("POST", "/", json.dumps([kind, current_context().job_id, step, os.getpid()]))
        service.getresponse().read()
    finally:
        service.close()

@tool
def charge(step: int) -> str:
    "May be done once."
    tell("charge", step)
    return f"charged {step}"

@tool(idempotent=True)
def reserve(step: int) -> str:
    "May be done again when nobody knows what came of it."
    tell("reserve", step)
    return f"reserved {step}"

async def model(call):
    step = sum(message.role == "assistant" for message in call.messages)
    await asyncio.to_thread(tell, "ask", step)
    name = "charge" if step % 2 else "reserve"
    content = [{"type": "tool_use", "id": f"c{step}", "name": name, "input": {"step": step}}]
    yield ModelReply(content=content if step < STEPS else as_parts("done"), usage=Usage(input=1, output=1))

app.add(Agent("shop", "Sell.", model=model, tools=[charge, reserve]), name="main")
"""


class Service:
    """Counts what it is told, and kills whoever tells it something when it is armed."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int]] = []
        self.killed: list[int] = []
        self._armed: str | None = None
        self._lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                body = self.rfile.read(size)
                if len(body) < size:
                    return  # whoever told it was killed in the middle of a word
                kind, job, step, pid = json.loads(body)
                when = service.tell(kind, job, step)
                if when == "before":
                    service.kill(pid)
                    return
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()
                self.wfile.flush()
                if when == "after":
                    service.kill(pid)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def tell(self, kind: str, job: str, step: int) -> str | None:
        with self._lock:
            self.told.append((kind, job, step))
            when = None
            if kind != "ask":
                when, self._armed = self._armed, None
            return when

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.killed.append(pid)

    def arm(self, when: str) -> None:
        """Have whoever does something next killed: `before` it hears an answer, or `after`."""
        with self._lock:
            self._armed = when

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request) -> str:
    if request.param == "sqlite":
        return "sqlite:///.corral/corral.db"
    url: str = request.getfixturevalue("fresh_postgres_url")
    return url


def asked(server: Server, path: str, payload: object = None, key: str = "") -> Any:
    """An answer, from whichever worker lives."""
    answers: list[Any] = []

    def answered() -> bool:
        try:
            status, answer = server.call(path, payload, {"idempotency-key": key} if key else None)
        except (OSError, http.client.HTTPException, ValueError):
            return False
        answers.append(answer)
        return status in {200, 202}

    wait_until(answered, 30)
    return answers[-1]


def faults_of(server: Server, job: str) -> dict[int, str]:
    """Which steps of a job's run have a tool without a result, and why."""
    (run,) = asked(server, f"/v1/runs?job_id={job}")["items"]
    entries = asked(server, f"/v1/runs/{run['id']}/entries?limit=1000")["items"]
    replies = [entry["entry"]["reply"] for entry in entries if entry["kind"] == "tool_done"]
    return {int(reply["id"][1:]): reply["fault"]["code"] for reply in replies if reply.get("fault")}


def place(kind: str, step: int) -> int:
    return 2 * step + (kind != "ask")


@pytest.mark.parametrize("_house", range(HOUSES))
@pytest.mark.timeout(1800 if LONG else 90)
def test_workers_that_are_killed_between_tools_repeat_none(tmp_path, store_url, service, _house):
    (tmp_path / "told.json").write_text(json.dumps([service.port, STEPS]))
    config = (
        f"server: {{workers: 3, drain_s: 5}}\njobs: {{lease_s: 1.0, concurrency: {CONCURRENCY}, retry_max_s: 2.0}}\n"
        f"tools: {{effect_lease_s: 1.0}}\nstore: {{url: '{store_url}'}}"
    )
    with serving(tmp_path, config=config, agents=AGENTS) as server:
        jobs: list[str] = []
        for number in range(FAULTS):
            service.arm(random.choice(["before", "after"]))
            inputs = [{"prompt": f"sell {each}"} for each in range(JOBS_PER_FAULT)]
            body = {"agent": "main", "inputs": inputs, "max_attempts": 200}
            jobs += asked(server, "/v1/jobs/batches", body, key=f"batch {number}")["jobs"]
            wait_until(lambda n=number: len(service.killed) > n, 30)
            wait_until(lambda: service.killed[-1] not in server.workers() and len(server.workers()) == 3, 40)
        for job in jobs:
            wait_until(
                lambda j=job: asked(server, f"/v1/jobs/{j}")["status"] not in {"queued", "running", "scheduled"}, 60
            )
            ended = asked(server, f"/v1/jobs/{job}")
            assert (ended["status"], ended["result"]) == ("succeeded", "done"), (ended, server.output()[-3000:])
        check(server, service, jobs)
        assert "Traceback" not in server.output()


def check(server: Server, service: Service, jobs: list[str]) -> None:
    """In no job did anything happen again once something later had happened, and nothing was charged twice."""
    furthest: dict[str, int] = {}
    for kind, job, step in service.told:
        assert place(kind, step) >= furthest.get(job, 0), f"{kind} {step} of {job} happened again"
        furthest[job] = place(kind, step)
    assert set(furthest) == set(jobs)
    done = Counter((job, step) for kind, job, step in service.told if kind == "charge")
    assert max(done.values()) == 1
    for job in jobs:
        missing = [step for step in range(1, STEPS, 2) if not done[job, step]]
        if missing:  # killed when it was about to: nobody may do it again, and the model was told so
            faults = faults_of(server, job)
            assert [faults.get(step) for step in missing] == ["outcome_unknown"] * len(missing)
    assert sum(done.values()) >= len(jobs) * (STEPS // 2) - len(service.killed) * CONCURRENCY
