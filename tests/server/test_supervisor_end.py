"""How the supervisor and its workers end: in order, at once, or without each other."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from processes import Held, Server, is_alive, serving, wait_until


def test_draining_finishes_what_runs_and_refuses_what_is_new(tmp_path):
    with serving(tmp_path) as server:
        held = Held(server)
        server.send(signal.SIGTERM)
        wait_until(lambda: server.call("/ping")[0] == 503)
        assert server.run_file()["state"] == "stopping"
        assert server.call("/ping")[1]["status"] == "Draining"
        assert server.call("/readyz")[0] == 503
        status, problem = server.agent("main", {})
        assert (status, problem["code"]) == (503, "draining")
        held.release()
        assert held.answer()[0] == 200
        assert server.process.wait(10) == 0


def test_a_second_term_ends_at_once(tmp_path):
    with serving(tmp_path) as server:
        held = Held(server)
        server.send(signal.SIGTERM)
        wait_until(lambda: server.call("/ping")[0] == 503)
        server.send(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert held.answer()[1]["code"] == "draining"


def test_what_does_not_end_in_time_is_cancelled_and_told_so(tmp_path):
    with serving(tmp_path, config="server: {drain_s: 0.2}") as server:
        held = Held(server)
        server.send(signal.SIGTERM)
        assert server.process.wait(10) == 0
        status, problem = held.answer()
        assert (status, problem["code"]) == (503, "draining")


def test_a_worker_goes_on_answering_until_the_balancer_has_noticed(tmp_path):
    with serving(tmp_path, config="server: {drain_delay_s: 60}") as server:
        server.send(signal.SIGTERM)
        wait_until(lambda: server.call("/readyz")[0] == 503)
        assert server.agent("main", {})[0] == 503
        server.send(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_an_old_generation_finishes_what_it_runs(tmp_path):
    with serving(tmp_path) as server:
        held, before = Held(server), server.workers()
        server.send(signal.SIGHUP)
        wait_until(lambda: server.workers() != before)
        wait_until(lambda: server.agent("main", {})[1]["pid"] == server.workers()[0])
        held.release()
        assert held.answer() == (200, {"pid": before[0]})
        wait_until(lambda: not is_alive(before[0]))


def test_ctrl_c_lets_what_runs_finish(tmp_path):
    with serving(tmp_path, config="server: {workers: 2}") as server:
        held = Held(server)
        server.press_ctrl_c()
        wait_until(lambda: server.call("/ping")[0] == 503)
        assert "Ctrl-C again stops at once" in server.output()
        held.release()
        assert held.answer()[0] == 200
        assert server.process.wait(10) == 0


def test_a_worker_that_hears_twice_that_it_is_to_end_still_answers_what_it_runs(tmp_path):
    """Of two signals that come together, uvloop may tell one twice; only its supervisor says that it has no time."""
    with serving(tmp_path) as server:
        held, [pid] = Held(server), server.workers()
        for _ in range(2):
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: server.call("/ping")[0] == 503)
        held.release()
        assert held.answer()[0] == 200


def test_ctrl_c_twice_ends_at_once(tmp_path):
    with serving(tmp_path) as server:
        held = Held(server)
        server.press_ctrl_c()
        wait_until(lambda: server.call("/ping")[0] == 503)
        server.press_ctrl_c()
        assert server.process.wait(10) == 0
        assert held.answer()[1]["code"] == "draining"


def test_a_stuck_agent_cannot_keep_a_worker_alive(tmp_path):
    with serving(tmp_path, config="server: {drain_s: 0.2}") as server:
        stuck = threading.Thread(target=lambda: server.agent("stuck", {"seconds": 60}))
        stuck.start()
        wait_until(lambda: server.call("/health")[1]["in_flight"] == 1)
        server.send(signal.SIGTERM)
        assert server.process.wait(10) == 0
        stuck.join(10)


def test_term_while_workers_start_ends_them(tmp_path):
    server = Server(tmp_path, agents="import time\nopen('begun', 'w').close()\ntime.sleep(60)\n")
    wait_until((tmp_path / "begun").exists)
    assert server.run_file()["state"] == "starting"
    assert server.stop() == 0


SOCKET = """
from corral import App

app = App()

@app.entrypoint
def main(payload): ...

@app.websocket
async def talk(websocket, context):
    await websocket.accept()
    while (word := await websocket.receive_text()) != "bye":
        await websocket.send_text(word)
    await websocket.close()
"""


def test_a_websocket_may_end_its_conversation(tmp_path):
    with serving(tmp_path, agents=SOCKET) as server, connect(f"ws://127.0.0.1:{server.port}/ws") as websocket:
        server.send(signal.SIGTERM)
        wait_until(lambda: not listens(server.port))
        websocket.send("still here")
        assert websocket.recv(10) == "still here"
        websocket.send("bye")
        assert server.process.wait(10) == 0


def test_a_websocket_that_goes_on_is_told_to_come_back(tmp_path):
    config = "server: {drain_s: 0.2}"
    with (
        serving(tmp_path, config=config, agents=SOCKET) as server,
        connect(f"ws://127.0.0.1:{server.port}/ws") as websocket,
    ):
        server.send(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(10)
        assert closed.value.rcvd.code == 1012  # service restart
        assert server.process.wait(10) == 0


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
