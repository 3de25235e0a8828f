"""Threads for synchronous agents."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import pytest

from corral.runtime.pool import ThreadPool


def test_no_more_threads_than_allowed_and_no_more_than_needed():
    pool = ThreadPool(3, "test")
    go, names = threading.Event(), set()

    def work() -> None:
        names.add(threading.current_thread().name)
        assert go.wait(10)

    waiting = [pool.submit(work) for _ in range(8)]
    go.set()
    for future in waiting:
        future.result(10)
    assert names <= {"test-1", "test-2", "test-3"}
    for _ in range(5):
        pool.submit(work).result(10)
    pool.close()


def test_errors_come_back():
    pool = ThreadPool(1, "test")
    with pytest.raises(SystemExit):
        pool.submit(sys.exit, 3).result(10)
    assert pool.submit(len, "four").result(10) == 4
    pool.close()


def test_a_closed_pool_cancels_what_waits_and_takes_nothing_more():
    pool = ThreadPool(1, "test")
    started, go = threading.Event(), threading.Event()

    def work() -> bool:
        started.set()
        return go.wait(10)

    running = pool.submit(work)
    assert started.wait(10)
    waiting = pool.submit(work)
    pool.close()
    with pytest.raises(CancelledError):
        waiting.result(10)
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(work)
    go.set()
    assert running.result(10) is True


def test_a_thread_that_never_returns_does_not_keep_the_process_alive():
    program = """
import threading
from corral.runtime.pool import ThreadPool
started = threading.Event()
ThreadPool(1, "stuck").submit(lambda: (started.set(), threading.Event().wait()))
started.wait()
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=20, check=False).returncode == 0
