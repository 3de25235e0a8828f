"""The process that owns the socket and the workers: starts them, replaces them, and ends them without losing a request.

It never loads the user's code. Workers are forked from it (the framework is in memory by then, so that takes
milliseconds) and load the app afresh: that is why SIGHUP picks up new code.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from corral.errors import CorralError
from corral.server.child import Child, Inheritance, fork_child
from corral.server.listener import bind, check_exposure
from corral.server.reload import FileWatch
from corral.server.runfile import RunFile
from corral.settings.sections import Settings

_RESTART_S_MIN = 0.1
_RESTART_S_MAX = 10.0
_STABLE_S = 60.0
_KILL_AFTER_S = 10.0
"""A worker that has not ended this long after its drain time is killed."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU)

_PRELOADED = (
    "corral.app",
    "corral.service",
    "corral.server.worker",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)

LoadSettings = Callable[[], Settings]
Announce = Callable[[str, list[int]], None]
"""Called once when all workers are ready, with the URL and their process ids; without one, people are told."""


def serve(
    target: str,
    settings: Settings,
    *,
    reload_settings: LoadSettings | None = None,
    announce: Announce | None = None,
) -> int:
    """Serve `target` until SIGTERM or Ctrl-C; returns the exit status. Raises `ConfigError` before anything starts."""
    return Supervisor(target, settings, reload_settings or (lambda: settings), announce=announce).run()


def dev(
    target: str,
    settings: Settings,
    *,
    directory: Path | None = None,
    reload_settings: LoadSettings | None = None,
    announce: Announce | None = None,
) -> int:
    """Serve `target` with one worker that is replaced whenever a file below `directory` changes."""
    watch = FileWatch(directory or Path.cwd())
    return Supervisor(target, settings, reload_settings or (lambda: settings), watch=watch, announce=announce).run()


class Supervisor:
    """One listening socket and its workers."""

    def __init__(
        self,
        target: str,
        settings: Settings,
        reload_settings: LoadSettings,
        *,
        watch: FileWatch | None = None,
        announce: Announce | None = None,
    ) -> None:
        """With `watch`, changed files replace the workers as SIGHUP does, and blocking code is pointed out."""
        self._target = target
        self._settings = settings
        self._reload_settings = reload_settings
        self._watch = watch
        self._wanted = 1 if watch is not None else settings.server.workers
        self._children: dict[int, Child] = {}
        self._generation = 0
        self._selector = selectors.DefaultSelector()
        self._pending: list[signal.Signals] = []
        self._restart_at: list[float] = []
        self._restart_s = _RESTART_S_MIN
        self._stopping_since = 0.0
        self._exit_status = 0
        self._announced = False
        self._announce = announce or self._tell
        self._alive: tuple[int, int]
        """A pipe that closes when this process is gone: how workers notice."""
        self._listener: socket.socket
        self._run_file: RunFile

    def run(self) -> int:
        """Do everything; returns the exit status."""
        server = self._settings.server
        warning = check_exposure(self._settings)
        self._listener = bind(server.host, server.port)
        port: int = self._listener.getsockname()[1]
        self._run_file = RunFile(Path(".corral/run"), server.host, port, self._target)
        if warning:
            _say(f"Warning: {warning}")
        _preload()
        self._alive = os.pipe()
        with self._signals() as wakeup, contextlib.closing(self._listener):
            try:
                for _ in range(self._wanted):
                    self._start_child()
                self._loop(wakeup)
            finally:
                self._run_file.remove()
        return self._exit_status

    # -- waiting for something to happen

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        before = {number: signal.signal(number, self._received) for number in _SIGNALS}
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)

    def _received(self, number: int, _frame: object) -> None:
        self._pending.append(signal.Signals(number))

    def _loop(self, wakeup: int) -> None:
        self._selector.register(wakeup, selectors.EVENT_READ)
        while self._children or (self._restart_at and not self._stopping_since):
            for key, _ in self._selector.select(self._pause()):
                if key.fd == wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wakeup, 4096)
                else:
                    self._heard(key.data)
            while self._pending:
                self._handle(self._pending.pop(0))
            self._reap()
            self._on_time()

    def _pause(self) -> float:
        if self._watch is not None:
            return 0.25
        if self._restart_at:
            return max(0.0, min(self._restart_at) - time.monotonic())
        return 1.0

    def _on_time(self) -> None:
        now = time.monotonic()
        if self._stopping_since:
            if (
                now - self._stopping_since
                > self._settings.server.drain_s + self._settings.server.drain_delay_s + _KILL_AFTER_S
            ):
                self._tell_all(signal.SIGKILL)
            return
        while self._restart_at and self._restart_at[0] <= now:
            self._restart_at.pop(0)
            self._start_child()
        if self._watch is not None and (changed := self._watch.changed()):
            _say(f"{changed} changed, reloading …")
            self._replace()

    # -- what happens

    def _handle(self, number: signal.Signals) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            self._stop()
        elif number == signal.SIGHUP:
            self._replace()
        elif number == signal.SIGTTIN:
            self._wanted += 1
            self._start_child()
            self._note()
        elif number == signal.SIGTTOU and self._wanted > 1:
            self._wanted -= 1
            self._current()[-1].retire()
            self._note()

    def _stop(self) -> None:
        if self._stopping_since:
            self._tell_all(signal.SIGTERM)  # the second one means: at once
            return
        self._stopping_since = time.monotonic()
        self._listener.close()  # the workers have it too; the last one that lets go of it ends the listening
        self._note()
        self._tell_all(signal.SIGTERM)

    def _tell_all(self, number: signal.Signals) -> None:
        for child in self._children.values():
            child.send(number)

    def _replace(self) -> None:
        """Start a new generation; the old one retires when the new one is ready, and stays when it is not."""
        if self._stopping_since:
            return
        for child in self._children.values():
            if not child.ready and child.generation == self._generation and self._generation > 0:
                child.send(signal.SIGKILL)  # a reload that was overtaken by the next one
        try:
            self._settings = self._reload_settings()
        except CorralError as error:
            _say(f"Not reloaded, the settings are not valid:\n{error.message}")
            return
        if self._watch is None:
            self._wanted = self._settings.server.workers
        self._generation += 1
        self._restart_at.clear()
        for _ in range(self._wanted):
            self._start_child()

    def _start_child(self) -> None:
        inheritance = Inheritance(
            target=self._target,
            settings=self._settings,
            listener=self._listener,
            generation=self._generation,
            alone=self._wanted == 1,
            watching=self._watch is not None,
            run_folder=self._run_file.folder,
            alive=self._alive[0],
        )
        child = fork_child(inheritance, [self._alive[1], *(child.pipe for child in self._children.values())])
        self._children[child.pid] = child
        self._selector.register(child.pipe, selectors.EVENT_READ, child)

    def _heard(self, child: Child) -> None:
        """A worker said that it is ready, or why it is not."""
        if not child.hear():
            self._selector.unregister(child.pipe)
        elif child.ready and not child.retiring and child.generation == self._generation:
            self._ready()

    def _ready(self) -> None:
        current = self._current()
        if len(current) < self._wanted or not all(child.ready for child in current):
            return
        for child in self._children.values():
            if child.generation < self._generation:
                child.retire()
        self._note()
        if not self._announced:
            self._announced = True
            self._announce(self._run_file.url, [child.pid for child in current])
        elif self._generation and any(child.generation < self._generation for child in self._children.values()):
            _say("Reloaded.")

    def _current(self) -> list[Child]:
        return [c for c in self._children.values() if c.generation == self._generation and not c.retiring]

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, status: int) -> None:
        while child.hear():
            pass  # what it still had to say
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.pipe)
        os.close(child.pipe)
        if self._stopping_since or child.retiring or child.generation < self._generation:
            return
        if child.ready:
            self._crashed(child, status)
        elif child.failure or not self._announced:
            self._failed_to_start(child, status)
        else:
            self._crashed(child, status)

    def _crashed(self, child: Child, status: int) -> None:
        if time.monotonic() - child.started_at > _STABLE_S:
            self._restart_s = _RESTART_S_MIN
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        _say(f"Worker {child.pid} {how}; the next one starts in {self._restart_s:g} s.")
        self._restart_at.append(time.monotonic() + self._restart_s)
        self._restart_s = min(self._restart_s * 2, _RESTART_S_MAX)

    def _failed_to_start(self, child: Child, status: int) -> None:
        reason = child.failure or f"The worker ended with status {status} before it was ready."
        older = [c for c in self._children.values() if c.generation < self._generation]
        for sibling in self._current():
            sibling.send(signal.SIGKILL)
            sibling.retiring = True
        if older:
            self._generation = max(c.generation for c in older)
            _say(f"{reason}\n\nNot reloaded: the version before keeps serving.")
        elif self._watch is not None:
            _say(f"{reason}\n\nWaiting for a change …")
            self._restart_at = [float("inf")]  # not before a file changes
        else:
            if not self._stopping_since:
                _say(reason)
            self._exit_status = 1
            self._stop()

    # -- what people see

    def _note(self) -> None:
        state = "stopping" if self._stopping_since else "serving"
        self._run_file.write(state, [child.pid for child in self._current()])

    def _tell(self, url: str, workers: list[int]) -> None:
        count = f"{len(workers)} worker{'s' if len(workers) > 1 else ''}"
        _say(f"Corral serves {self._target} on {url} ({count}, pid {os.getpid()}). Ctrl-C stops it.")


def _preload() -> None:
    """Load the framework before the first fork: workers share the memory, and start in milliseconds."""
    for name in _PRELOADED:
        importlib.import_module(name)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - what the operator sees of the supervisor
