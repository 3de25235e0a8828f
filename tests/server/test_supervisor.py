"""The supervisor and its workers, as real processes."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import sys
import threading

import pytest

from corral.server.supervisor import say
from processes import AGENTS, PROGRAM, Server, serving, wait_until


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
        seen: set[int] = set()

        def ask() -> None:
            seen.add(server.agent("slow", {"seconds": 0.1})[1]["pid"])

        def ask_together() -> bool:
            threads = [threading.Thread(target=ask) for _ in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return seen == set(server.workers())

        wait_until(ask_together)  # at once, as a rule; on a busy machine one worker may sleep through a round


def test_an_error_in_the_users_file_is_shown_once_and_ends_everything(tmp_path):
    server = Server(tmp_path, config="server: {workers: 3}", agents="import nothing_like_this\n")
    assert server.process.wait(15) == 1
    output = server.output()
    assert output.count("ModuleNotFoundError: No module named 'nothing_like_this'") == 1
    assert 'agents.py", line 1' in output
    assert "corral/server" not in output


def test_a_store_that_does_not_answer_ends_everything(tmp_path):
    server = Server(tmp_path, config="store: {url: 'sqlite:////proc/no/such.db'}")
    assert server.process.wait(15) == 1
    assert "store.url" in server.output()


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


def test_a_worker_that_cannot_come_back_is_tried_again_while_the_others_serve(tmp_path):
    with serving(tmp_path, config="server: {workers: 2}") as server:
        (tmp_path / "agents.py").write_text("1 / 0\n")
        os.kill(server.workers()[0], signal.SIGKILL)
        wait_until(lambda: server.output().count("ZeroDivisionError") >= 2)
        assert server.agent("main", {})[0] == 200
        assert len(server.workers()) == 1
        (tmp_path / "agents.py").write_text(AGENTS)
        wait_until(lambda: len(server.workers()) == 2)


def test_reload_does_not_take_the_lock_off_the_door(tmp_path):
    config = "server: {host: 0.0.0.0}\nsecurity: {api_keys: [{key: secret}]}"
    program = PROGRAM.replace(', "server.host": "127.0.0.1"', "")
    with serving(tmp_path, config=config, program=program) as server:
        assert server.agent("main", {})[0] == 401
        (tmp_path / "corral.yaml").write_text("server: {host: 127.0.0.1}")
        server.send(signal.SIGHUP)
        wait_until(lambda: "Set `security.api_keys`" in server.output())
        assert "Not reloaded" in server.output()
        assert server.agent("main", {})[0] == 401


def test_reload_takes_another_number_of_workers_but_not_another_port(tmp_path):
    program = "import os" + PROGRAM.replace("flags={", "flags={} if os.path.exists('taken') else {")
    with serving(tmp_path, program=program) as server:
        (tmp_path / "taken").touch()
        (tmp_path / "corral.yaml").write_text("server: {workers: 3, port: 1}")
        server.send(signal.SIGHUP)
        wait_until(lambda: len(server.workers()) == 3)
        assert "only change with a restart" in server.output()
        assert server.call("/ping")[0] == 200


def test_a_worker_that_dies_silently_while_it_starts_is_told_of(tmp_path):
    server = Server(tmp_path, agents="import os\nos._exit(3)\n")
    assert server.process.wait(15) == 1
    assert "ended with status 3 before it was ready" in server.output()


def test_what_agents_print_is_seen_at_once_and_what_libraries_flush_at_the_end_too(tmp_path):
    agents = "import atexit\natexit.register(print, 'flushed')\nprint('loaded')\n" + AGENTS
    with serving(tmp_path, agents=agents) as server:
        assert "loaded" in server.output()
        assert server.stop() == 0
        assert "flushed" in server.output()


def test_plain_words_for_plain_terminals(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii", errors="strict", write_through=True))
    say("agents.py changed, reloading … naïve")
    assert raw.getvalue() == b"agents.py changed, reloading ... na?ve\n"


def test_nobody_hears_and_nothing_breaks(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as closed:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stderr", closed)
        say("anybody?")
        monkeypatch.undo()
        with contextlib.suppress(BrokenPipeError):
            closed.close()
