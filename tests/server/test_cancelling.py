"""Cancelling an invocation by its id, whichever worker is asked."""

from __future__ import annotations

import http.client
import threading
from typing import Any

from corral.runtime.invocation import Invocations
from corral.server.cancelling import CancelNotes
from processes import serving, wait_until


def deleted(server: Any, request_id: str) -> int:
    """Ask for it on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("DELETE", f"/v1/invocations/{request_id}")
        return connection.getresponse().status
    finally:
        connection.close()


def test_any_worker_cancels_what_another_one_runs(tmp_path):
    with serving(tmp_path, config="server: {workers: 3}") as server:
        found: list[Any] = []

        def run(number: int) -> None:
            found.append(server.agent("slow", {"seconds": 60}, {"x-request-id": f"run-{number}"}))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for number in range(6):
            wait_until(lambda n=number: deleted(server, f"run-{n}") == 202)
        for thread in threads:
            thread.join(20)
        assert [(status, problem["code"]) for status, problem in found] == [(409, "cancelled")] * 6
        assert list((tmp_path / ".corral" / "run" / str(server.port) / "cancel").iterdir()) == []


async def test_a_note_that_nobody_takes_is_taken_back(tmp_path):
    notes = CancelNotes(tmp_path, Invocations())
    await notes.start()
    await notes.start()
    assert not await notes.ask("default", "nothing-like-it")
    assert list((tmp_path / "cancel").iterdir()) == []
    await notes.stop()
    await notes.stop()


async def test_without_a_run_folder_there_is_nobody_to_ask():
    notes = CancelNotes(None, Invocations())
    await notes.start()
    assert not await notes.ask("default", "x")
    await notes.stop()
