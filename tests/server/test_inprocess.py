"""`python agents.py`: one process that serves itself."""

from __future__ import annotations

import signal

import pytest

from processes import ITSELF, SELF_SERVED, Held, Server, wait_until


@pytest.fixture
def server(tmp_path):
    found = Server(tmp_path, agents=SELF_SERVED, program=ITSELF)
    try:
        wait_until(lambda: found.process.poll() is not None or "Uvicorn running" in found.output())
        yield found
    finally:
        found.stop()


def test_it_says_what_existing_tools_wait_for_and_answers(server):
    assert f"Uvicorn running on http://127.0.0.1:{server.port} (Press CTRL+C to quit)\n" in server.output()
    assert server.call("/ping")[0] == 200
    assert server.agent("main", {})[1]["pid"] == server.process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order(server, number):
    held = Held(server)
    server.send(number)
    wait_until(lambda: server.call("/ping")[0] == 503)
    assert server.agent("main", {})[0] == 503
    held.release()
    assert held.answer()[0] == 200
    assert server.process.wait(10) == 0
    assert server.output().endswith("ended\n")


def test_said_twice_it_ends_at_once(server):
    held = Held(server)
    server.press_ctrl_c()
    wait_until(lambda: server.call("/ping")[0] == 503)
    server.press_ctrl_c()
    assert server.process.wait(10) == 0
    assert held.answer()[1]["code"] == "draining"


def test_a_taken_port_is_said_plainly(server, tmp_path):
    (tmp_path / "other").mkdir()
    other = Server(tmp_path / "other", agents=SELF_SERVED, port=server.port, program=ITSELF)
    assert other.process.wait(15) == 1
    assert f"Port {server.port} on 127.0.0.1 is taken by another program" in other.output()
    assert "Traceback" not in other.output()
