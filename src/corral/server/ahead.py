"""The process that goes ahead of a supervisor: it reads the command line and the settings and binds the socket.

So the supervisor, from which it was forked, never has in memory what that takes. Where one worker is wanted, the process
goes on as that worker: what it loaded on the way serves it, and nothing was loaded twice.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from corral.server.child import Child, Inheritance, live, work
from corral.server.terms import Terms, read_terms, terms_of

if TYPE_CHECKING:
    from corral.settings.sections import Settings

_LENGTH = 4
"""Bytes that say how long something is: the note, then the terms."""

_ahead: Ahead | None = None


class Report:
    """What a supervisor is told before it begins."""

    def __init__(self, note: dict[str, Any], terms: Terms, listener: socket.socket | None) -> None:
        """`note` is for who started it, and may hold what JSON can."""
        self.note = note
        self.terms = terms
        self.listener = listener


class Forerunner:
    """The process ahead, as the supervisor sees it."""

    def __init__(self, pid: int, line: socket.socket, alive: int, held: int) -> None:
        """`alive` is the reading end of the pipe that closes with this process, `held` the other one."""
        self.pid = pid
        self.alive = alive
        self.held = held
        self._line = line

    def report(self) -> Report | None:
        """Wait for what it found; none: there is nothing to serve, and it said why."""
        lengths, sent, _, _ = socket.recv_fds(self._line, 2 * _LENGTH, 1)
        if not lengths:
            return None
        listener = _received(sent[0]) if sent else None
        with self._line.dup().makefile("rb") as said:
            note = json.loads(said.read(int.from_bytes(lengths[:_LENGTH])))
            return Report(note, read_terms(said.read(int.from_bytes(lengths[_LENGTH:]))), listener)

    def status(self) -> int:
        """How it ended, as the exit status of a command."""
        _, ended = os.waitpid(self.pid, 0)
        status = os.waitstatus_to_exitcode(ended)
        return 128 - status if status < 0 else status

    def go_on(self, generation: int, run_folder: Path) -> Child:
        """Have it be the first worker, or end if it is not to be one."""
        with contextlib.suppress(OSError):  # if it has ended, that will be heard as of any worker
            self._line.sendall(os.fsencode(run_folder))
            self._line.shutdown(socket.SHUT_WR)
        self._line.setblocking(False)
        return Child(self.pid, generation, self._line.detach())

    def leave(self) -> None:
        """It is not needed any more."""
        self._line.close()


def _received(descriptor: int) -> socket.socket:
    listener = socket.socket(fileno=descriptor)
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener


class Ahead:
    """The supervisor, as the process ahead sees it."""

    def __init__(self, line: socket.socket, alive: int) -> None:
        self._line = line
        self._alive = alive

    def hand_over(self, note: dict[str, Any], target: str, settings: Settings, *, listen: bool) -> int:
        """Tell the supervisor to begin. Returns the exit status if this process has nothing more to do, and never returns otherwise.

        Raises `ConfigError` if the server cannot listen as the settings want.
        """
        warning, listener, terms = None, None, terms_of(settings)
        if listen:
            from corral.server.listener import bind, check_exposure  # noqa: PLC0415 - no supervisor has these

            warning = check_exposure(settings)
            listener = bind(terms.host, terms.port)
        if warning:
            print(f"Warning: {warning}", file=sys.stderr, flush=True)  # noqa: T201 - as a supervisor says it
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # from now on Ctrl-C is the supervisor's
        try:
            self._tell(note, terms, listener)
        except OSError:
            return 1  # it was told to end meanwhile
        if terms.workers == 1:
            live(lambda say: self._work(target, terms, listener, say), self._line.fileno(), (), mask)
        return 0

    def _tell(self, note: dict[str, Any], terms: Terms, listener: socket.socket | None) -> None:
        said, written = json.dumps(note).encode(), terms.written()
        lengths = len(said).to_bytes(_LENGTH) + len(written).to_bytes(_LENGTH)
        socket.send_fds(self._line, [lengths], [] if listener is None else [listener.fileno()])
        self._line.sendall(said + written)

    def _work(self, target: str, terms: Terms, listener: socket.socket | None, say: int) -> None:
        folder = b""
        while data := self._line.recv(4096):
            folder += data
        if not folder:
            return  # the supervisor has gone
        given = Inheritance(target, terms, listener, True, False, Path(os.fsdecode(folder)), self._alive)
        work(given, say)


def send_ahead(life: Callable[[], int]) -> Forerunner:
    """Fork the process that goes ahead; there, `life` runs and says by its result how it ends, unless it hands over by `ahead`."""
    ours, theirs = socket.socketpair()
    alive, held = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        os.close(held)
        _go(life, Ahead(theirs, alive))
    theirs.close()
    return Forerunner(pid, ours, alive, held)


def ahead() -> Ahead | None:
    """Where to hand over, if this process went ahead of a supervisor."""
    return _ahead


def _go(life: Callable[[], int], place: Ahead) -> NoReturn:
    global _ahead  # noqa: PLW0603 - the command line that runs in this process cannot be handed anything
    gc.disable()  # nearly all that is loaded now stays
    _ahead = place
    status = 1
    try:
        status = life()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
