"""What a server of several processes tells about itself."""

from __future__ import annotations

import http.client
import json
import os
import signal

import pytest
from prometheus_client.parser import text_string_to_metric_families

from processes import Server, serving, wait_until

AGENTS = """
import logging, os, time
import structlog
from corral import App, span

app = App()

@app.entrypoint
async def main(payload, context):
    structlog.get_logger().info("greeted", token="hunter2")
    return os.getpid()

@app.entrypoint(name="broken")
async def broken(payload, context):
    with span("inside"):
        raise ValueError("password=hunter2")

@app.entrypoint(name="blocks")
async def blocks(payload, context):
    time.sleep(0.5)
"""


def metrics(server: Server) -> dict[str, float]:
    """Sums over labels, as whichever worker answers sees them."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


def lines(server: Server) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]


def requests(server: Server) -> list[dict[str, object]]:
    return [line for line in lines(server) if line["event"] == "request"]


@pytest.mark.chaos
def test_counts_of_all_workers_add_up_and_outlive_a_killed_one(tmp_path):
    with serving(tmp_path, config="server: {workers: 2}", agents=AGENTS) as server:
        pids = {server.agent("main", {})[1] for _ in range(30)}
        wait_until(lambda: metrics(server)["corral_requests_total"] == 30)
        wait_until(lambda: metrics(server)["corral_workers"] == 2)
        wait_until(lambda: len(requests(server)) == 30)
        victim = pids.pop()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in server.workers() and len(server.workers()) == 2)
        seen = 30.0
        for _ in range(10):
            server.agent("main", {})
            now = metrics(server)["corral_requests_total"]
            assert now >= seen  # other workers' numbers may be a second old, but never older than in the last answer
            seen = now
        wait_until(lambda: metrics(server)["corral_requests_total"] == 40)
        wait_until(lambda: metrics(server)["corral_workers"] == 2)
    assert len(requests(server)) == 40


def test_every_request_is_a_line_even_when_the_server_is_told_to_stop(tmp_path):
    with serving(tmp_path, agents=AGENTS) as server:
        for n in range(10):
            server.agent("main", {}, {"X-Request-Id": f"r{n}"})
        server.agent("broken", {}, {"X-Request-Id": "bad"})
        server.call("/ping")
    said = lines(server)
    assert [line["request_id"] for line in requests(server)] == [*(f"r{n}" for n in range(10)), "bad"]
    greeted = [line for line in said if line["event"] == "greeted"]
    assert [line["request_id"] for line in greeted] == [f"r{n}" for n in range(10)]
    assert {line["agent"] for line in greeted} == {"main"}
    (failed,) = [line for line in said if "exception" in line]
    assert failed["request_id"] == "bad"
    assert "agents.py" in str(failed["exception"])
    assert "hunter2" not in server.output()


def test_a_developer_is_told_what_blocks(tmp_path):
    with serving(tmp_path, "dev", agents=AGENTS) as server:
        server.agent("blocks", {})
        server.agent("blocks", {})
    line = 1 + AGENTS.splitlines().index("    time.sleep(0.5)")
    (told,) = [entry for entry in lines(server) if "blocks the event loop" in str(entry["event"])]
    assert f"agents.py:{line}, in blocks," in str(told["event"])
