"""`make demo`, as a newcomer and as a machine runs it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import plain_environment

DEMO = Path(__file__).parents[2] / "examples/demo.py"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _one_at_a_time(tmp_path_factory):
    """Both serve from the same folder, and either may be asked of another worker."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_without_a_terminal_it_shows_everything_and_ends():
    done = subprocess.run(
        [sys.executable, str(DEMO)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=plain_environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 'data: "84."' in done.stdout
    assert "Your name is Ada." in done.stdout
    assert "The barn door was left open." in done.stdout
    assert "One saddle reserved, and paid." in done.stdout
    sessions = done.stdout.partition("7. What was kept")[2]
    assert "demo-" in sessions
    assert "\x1b" not in done.stdout


def test_on_a_terminal_it_serves_until_ctrl_c():
    master, slave = pty.openpty()
    environment = {**plain_environment(), "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, str(DEMO)], stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    seen = b""
    told = False
    with contextlib.suppress(OSError):  # how Linux says that the other side is closed
        while True:
            seen += os.read(master, 65536)
            if not told and b"until Ctrl-C" in seen:
                told = True
                process.send_signal(signal.SIGINT)
    os.close(master)
    assert process.wait(timeout=40) == 0, seen.decode()
    assert b"\x1b[1m" in seen
    assert b"Stopped." in seen
    assert b"Traceback" not in seen
    (store,) = re.findall(r"sessions list --store sqlite:///(\S+)\.db", seen.decode())
    for left in DEMO.parents[1].glob(f"{store}.*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
