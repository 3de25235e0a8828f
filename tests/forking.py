"""Processes of a test's own that begin with everything imported: each is forked from one that did that once.

Importing is most of what a server does before it serves, and hundreds of servers are started. How one starts by itself is
told by the tests of the command line, which start `corral` as a user does.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# What `corral serve` and `corral worker` have in memory before they start a worker.
_IMPORTED = [
    "corral.app",
    "corral.cli.outcome",
    "corral.server.supervisor",
    "corral.server.worker",
    "corral.settings.load",
    "corral.wiring.service",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_IMPORTED)


class Forked:
    """A program in a process of its own, as `subprocess.Popen` would start `python -c program argument…`."""

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        folder: Path,
        out: Path,
        err: Path,
        env: Mapping[str, str],
        start_new_session: bool = False,
    ) -> None:
        given = (program, list(arguments), str(folder), str(out), str(err), dict(env), start_new_session)
        self._process = _context.Process(target=_live, args=given)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The status it ended with."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The status it ends with."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("a forked program", timeout or 0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it just did: whoever forked it knows before we are told
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _live(
    program: str, arguments: list[str], folder: str, out: str, err: str, env: dict[str, str], start_new_session: bool
) -> None:
    gc.freeze()  # what was imported is shared with all others, and is no garbage
    if start_new_session:
        os.setsid()
    os.chdir(folder)
    for number, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(
        2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
    sys.argv = ["-c", *arguments]
    sys.path[0:1] = [""]
    exec(program, {"__name__": "__main__", "__builtins__": __builtins__})
