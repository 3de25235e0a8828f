"""A worker process as its supervisor sees it, and the first steps of its life."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from corral.errors import CorralError
from corral.server.loading import load_app
from corral.settings.sections import Settings

_READY = b"\x06"


class Child:
    """What the supervisor knows of one worker."""

    def __init__(self, pid: int, generation: int, pipe: int) -> None:
        """`pipe` is where the worker says that it is ready, or why not."""
        self.pid = pid
        self.generation = generation
        self.pipe = pipe
        self.ready = False
        self.retiring = False
        self.failure = ""
        self.started_at = time.monotonic()
        self._said = b""

    def hear(self) -> bool:
        """Read what it said. False: it will say nothing more."""
        try:
            data = os.read(self.pipe, 65536)
        except (BlockingIOError, OSError):
            return False
        if not data:
            return False
        self._said += data
        if self._said.startswith(_READY):
            self.ready = True
        else:
            self.failure = self._said.decode("utf-8", "replace")
        return True

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended already."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def retire(self) -> None:
        """Let it finish what it has, and end."""
        if not self.retiring:
            self.retiring = True
            self.send(signal.SIGUSR1)


class Inheritance(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker gets from its supervisor."""

    target: str
    settings: Settings
    listener: Any
    """The listening socket."""
    generation: int
    alone: bool
    """No other worker accepts from the socket."""
    watching: bool
    """The worker is a developer's, and is replaced when a file changes."""
    run_folder: Path
    """Where the workers of this server share their metrics."""
    alive: int
    """The reading end of a pipe that closes with the supervisor."""


def fork_child(inheritance: Inheritance, close: Sequence[int]) -> Child:
    """Start a worker. `close` lists the descriptors of the supervisor that it must not hold."""
    said, say = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(say)
        os.set_blocking(said, False)
        return Child(pid, inheritance.generation, said)
    status = 1
    try:
        for descriptor in (said, *close):
            os.close(descriptor)
        _reset_signals()
        _live(inheritance, say)
        status = 0
    except CorralError as error:
        _report(say, error.message)
    except BaseException:  # noqa: BLE001 - the last line of a process: say why, then end
        _report(say, traceback.format_exc())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_DFL)
    # Ctrl-C reaches the whole process group; the supervisor decides, and the workers hear from it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _report(say: int, text: str) -> None:
    try:
        os.write(say, text.encode("utf-8", "replace")[-60_000:])
    except OSError:
        sys.stderr.write(text + "\n")


def _live(given: Inheritance, say: int) -> None:
    from corral.server.worker import Worker, run_worker  # noqa: PLC0415 - loaded by the supervisor before the fork

    app = load_app(given.target)
    service = app.build(given.settings, run_folder=given.run_folder, development=given.watching)

    def ready() -> None:
        os.write(say, _READY)

    run_worker(lambda: Worker(service, given.listener, given.settings.server, alone=given.alone), ready, given.alive)
