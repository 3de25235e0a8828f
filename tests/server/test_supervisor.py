"""The supervisor and its workers, as real processes."""

from __future__ import annotations

import signal
import socket
import threading

import pytest

from processes import AGENTS, Server, serving, wait_until


def test_it_answers_says_where_and_leaves_nothing_behind(tmp_path):
    with serving(tmp_path, config="server: {workers: 2}") as server:
        assert f"http://127.0.0.1:{server.port} (2 workers" in server.output()
        assert server.call("/ping")[0] == 200
        assert server.agent("main", {"prompt": "hi"})[0] == 200
        running = server.run_file()
        assert running["state"] == "serving"
        assert running["pid"] == server.process.pid
        assert len(server.workers()) == 2
        assert server.stop() == 0
    assert list((tmp_path / ".corral" / "run").iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        server.call("/ping")


def test_several_workers_share_the_connections(tmp_path):
    with serving(tmp_path, config="server: {workers: 2}") as server:
        seen = set()

        def ask() -> None:
            seen.add(server.agent("slow", {"seconds": 0.2})[1]["pid"])

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == set(server.workers())


def test_an_error_in_the_users_file_is_shown_once_and_ends_everything(tmp_path):
    server = Server(tmp_path, config="server: {workers: 3}", agents="import nothing_like_this\n")
    assert server.process.wait(15) == 1
    output = server.output()
    assert output.count("ModuleNotFoundError: No module named 'nothing_like_this'") == 1
    assert 'agents.py", line 1' in output
    assert "corral/server" not in output
    server.said.close()


def test_a_store_that_does_not_answer_ends_everything(tmp_path):
    server = Server(tmp_path, config="store: {url: 'sqlite:////proc/no/such.db'}")
    assert server.process.wait(15) == 1
    assert "store.url" in server.output()
    server.said.close()


def test_a_taken_port_is_said_plainly(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        from corral.errors import ConfigError
        from corral.server.listener import bind

        with pytest.raises(ConfigError, match="is taken by another program"):
            bind("127.0.0.1", taken.getsockname()[1])


def test_hup_loads_the_new_code(tmp_path):
    with serving(tmp_path) as server:
        (tmp_path / "agents.py").write_text(AGENTS.replace("VERSION = 1", "VERSION = 2"))
        server.send(signal.SIGHUP)
        wait_until(lambda: server.agent("main", {})[1]["version"] == 2)


def test_hup_with_broken_code_keeps_the_old_one(tmp_path):
    with serving(tmp_path, config="server: {workers: 2}") as server:
        (tmp_path / "agents.py").write_text("def broken(:\n")
        server.send(signal.SIGHUP)
        wait_until(lambda: "Not reloaded" in server.output())
        assert "SyntaxError" in server.output()
        assert server.agent("main", {})[1]["version"] == 1
        (tmp_path / "agents.py").write_text(AGENTS.replace("VERSION = 1", "VERSION = 3"))
        server.send(signal.SIGHUP)
        wait_until(lambda: server.agent("main", {})[1]["version"] == 3)


def test_hup_with_broken_settings_keeps_everything(tmp_path):
    with serving(tmp_path) as server:
        (tmp_path / "corral.yaml").write_text("server: {prot: 1}")
        server.send(signal.SIGHUP)
        wait_until(lambda: "Did you mean `port`?" in server.output())
        assert server.agent("main", {})[0] == 200


def test_workers_come_and_go_by_signal(tmp_path):
    with serving(tmp_path) as server:
        server.send(signal.SIGTTIN)
        wait_until(lambda: len(server.workers()) == 2)
        server.send(signal.SIGTTOU)
        wait_until(lambda: len(server.workers()) == 1)
        assert server.agent("main", {})[0] == 200


def test_dev_serves_what_was_just_saved(tmp_path):
    with serving(tmp_path, "dev") as server:
        (tmp_path / "agents.py").write_text(AGENTS.replace("VERSION = 1", "VERSION = 22"))
        wait_until(lambda: server.agent("main", {})[1]["version"] == 22)
        assert "agents.py changed, reloading" in server.output()


def test_dev_waits_for_a_file_that_can_be_loaded(tmp_path):
    server = Server(tmp_path, "dev", agents="1 / 0\n")
    wait_until(lambda: "Waiting for a change" in server.output())
    assert "ZeroDivisionError" in server.output()
    (tmp_path / "agents.py").write_text(AGENTS)
    server.wait_ready()
    assert server.agent("main", {})[0] == 200
    assert server.stop() == 0


def test_a_second_term_ends_at_once(tmp_path):
    with serving(tmp_path) as server:
        waiting = threading.Thread(target=lambda: server.agent("slow", {"seconds": 60}))
        waiting.start()
        wait_until(lambda: server.call("/health")[1]["in_flight"] == 1)
        server.send(signal.SIGTERM)
        wait_until(lambda: server.call("/ping")[0] == 503)
        server.send(signal.SIGTERM)
        assert server.process.wait(10) == 0
        waiting.join(10)


def test_draining_finishes_what_runs_and_refuses_what_is_new(tmp_path):
    with serving(tmp_path) as server:
        found = []
        running = threading.Thread(target=lambda: found.append(server.agent("slow", {"seconds": 1.0})))
        running.start()
        wait_until(lambda: server.call("/health")[1]["in_flight"] == 1)
        server.send(signal.SIGTERM)
        wait_until(lambda: server.call("/ping")[0] == 503)
        assert server.call("/ping")[1]["status"] == "Draining"
        assert server.call("/readyz")[0] == 503
        status, problem = server.agent("main", {})
        assert (status, problem["code"]) == (503, "draining")
        running.join(10)
        assert found[0][0] == 200
        assert server.process.wait(10) == 0


def test_what_does_not_end_in_time_is_cancelled_and_told_so(tmp_path):
    with serving(tmp_path, config="server: {drain_s: 0.2}") as server:
        found = []
        running = threading.Thread(target=lambda: found.append(server.agent("slow", {"seconds": 60})))
        running.start()
        wait_until(lambda: server.call("/health")[1]["in_flight"] == 1)
        server.send(signal.SIGTERM)
        assert server.process.wait(10) == 0
        running.join(10)
        assert found[0][0] == 503
        assert found[0][1]["code"] == "draining"
