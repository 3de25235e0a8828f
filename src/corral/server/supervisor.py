"""The process that owns the socket and the workers: starts them, replaces them, and ends them without losing a request.

It never loads the user's code. Workers are forked from it and load the app afresh: that is why SIGHUP picks up new code.
Where there are several, the framework is in its memory by then: they share that, and start in milliseconds. A supervisor
that `corral` starts for one worker loads next to nothing: see `corral.server.ahead`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from corral.server.child import SIGNALS, Child, Inheritance, fork_child, work
from corral.server.crew import Crew, News
from corral.server.farewell import say_farewell
from corral.server.runfile import RunFile
from corral.server.terms import Terms, terms_again, terms_of

if TYPE_CHECKING:
    import socket

    from corral.server.ahead import Forerunner
    from corral.server.reload import FileWatch
    from corral.settings.sections import Settings

_KILL_AFTER_S = 10.0
"""A worker that has not ended this long after its drain time is killed."""
_HURRY_S = 5.0
"""How long a worker may take that was told to end at once."""

_PRELOADED = (
    "corral.app",
    "corral.wiring.service",
    "corral.server.worker",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)

LoadSettings = Callable[[], "Settings"]
Announce = Callable[[str, list[int]], None]
"""Called once when all workers are ready, with the URL and their process ids; without one, people are told."""


def serve(
    target: str,
    settings: Settings,
    *,
    listen: bool = True,
    reload_settings: LoadSettings | None = None,
    announce: Announce | None = None,
) -> int:
    """Serve `target` until SIGTERM or Ctrl-C; returns the exit status. Raises `ConfigError` before anything starts.

    Without `listen` there is no socket, and the workers do what they have of their own: jobs.
    """
    return _run(target, settings, reload_settings or (lambda: settings), listen=listen, announce=announce)


def dev(
    target: str,
    settings: Settings,
    *,
    directory: Path | None = None,
    reload_settings: LoadSettings | None = None,
    announce: Announce | None = None,
) -> int:
    """Serve `target` with one worker that is replaced whenever a file below `directory` changes."""
    from corral.server.reload import FileWatch  # noqa: PLC0415 - who serves does not look

    watch = FileWatch(directory or Path.cwd())
    return _run(target, settings, reload_settings or (lambda: settings), listen=True, watch=watch, announce=announce)


def _run(
    target: str,
    settings: Settings,
    reload_settings: LoadSettings,
    *,
    listen: bool,
    watch: FileWatch | None = None,
    announce: Announce | None = None,
) -> int:
    listener, terms = None, terms_of(settings)
    if listen:
        from corral.server.listener import bind, check_exposure  # noqa: PLC0415 - not every supervisor binds for itself

        if warning := check_exposure(settings):
            say(f"Warning: {warning}")
        listener = bind(terms.host, terms.port)
    return Supervisor(
        target,
        terms,
        lambda: terms_again(reload_settings(), terms, listens=listen),
        listener,
        watch=watch,
        announce=announce,
    ).run()


class Supervisor:
    """One listening socket and its workers."""

    def __init__(
        self,
        target: str,
        terms: Terms,
        again: Callable[[], Terms],
        listener: socket.socket | None,
        *,
        first: Forerunner | None = None,
        watch: FileWatch | None = None,
        announce: Announce | None = None,
    ) -> None:
        """`again` reads the terms anew, or raises. `first` went ahead, and is the first worker if there is to be one alone.

        With `watch`, changed files replace the workers as SIGHUP does, and blocking code is pointed out.
        """
        self._target = target
        self._terms = terms
        self._listener = listener
        self._again = again
        self._watch = watch
        self._announce = announce or self._introduce
        self._crew = Crew(1 if watch is not None else terms.workers, self._start)
        self._first = first
        if first is not None and self._crew.wanted > 1:
            first.leave()
            self._first = None
        self._selector = selectors.DefaultSelector()
        self._pending: list[signal.Signals] = []
        self._stopping = False
        self._exit_status = 0
        self._alive, held = os.pipe() if first is None else (first.alive, first.held)
        """A pipe that closes when this process is gone: how workers notice."""
        self._held = [held, self._selector.fileno()]
        """Descriptors that are ours alone."""
        self._run_file: RunFile

    def run(self) -> int:
        """Do everything; returns the exit status."""
        terms, listener = self._terms, self._listener
        port = 0 if listener is None else listener.getsockname()[1]
        self._run_file = RunFile(Path(".corral/run"), terms.host, port, self._target, terms.role)
        if self._first is None:
            _preload()
        with self._signals() as wakeup, listener or contextlib.nullcontext():
            try:
                self._note()
                self._let_in(terms)
                self._crew.renew()
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
        self._held += [reader, writer]
        before = {number: signal.signal(number, self._received) for number in SIGNALS}
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
        while len(self._crew) or not self._stopping:
            for key, _ in self._selector.select(self._pause()):
                if key.fd == wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wakeup, 4096)
                else:
                    self._heard(key.data)
            while self._pending:
                self._handle(self._pending.pop(0))
            self._reap()
            self._crew.restart_due()
            if self._stopping:
                self._close_when_deaf()
            elif self._watch is not None and (changed := self._watch.changed()):
                say(f"{changed} changed, reloading …")
                self._renew()

    def _pause(self) -> float:
        if self._watch is not None and not self._stopping:
            return self._watch.pause_s
        restart_in_s = self._crew.restart_in_s
        return 1.0 if restart_in_s is None else min(1.0, restart_in_s)

    # -- what happens

    def _handle(self, number: signal.Signals) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            self._stop(number)
        elif self._stopping:
            return
        elif number == signal.SIGHUP:
            self._renew()
        elif number == signal.SIGTTIN:
            self._crew.resize(self._crew.wanted + 1)
        elif number == signal.SIGTTOU and self._crew.wanted > 1:
            self._crew.resize(self._crew.wanted - 1)
            self._note()

    def _stop(self, number: signal.Signals | None = None) -> None:
        if self._stopping:
            self._crew.drain(_HURRY_S)  # said twice, this means: at once
            return
        self._stopping = True
        self._note()
        if number == signal.SIGINT and len(self._crew):
            say("Stopping when all that runs has been answered; Ctrl-C again stops at once.")
        self._crew.drain(self._terms.drain_delay_s + self._crew.leave_within_s)

    def _close_when_deaf(self) -> None:
        """No worker accepts connections any more: let go of the socket, and of no client."""
        if self._listener is not None and self._listener.fileno() >= 0 and all(child.deaf for child in self._crew):
            say_farewell(self._listener)

    def _renew(self) -> None:
        """Start a new generation; the old one retires when the new one is ready, and stays when it is not."""
        try:
            terms = self._again()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the settings, the old ones still serve
            say(f"Not reloaded, the settings are not valid:\n{getattr(error, 'message', error)}")
            return
        if self._listener is not None and (terms.host, terms.port) != (self._terms.host, self._terms.port):
            say("`server.host` and `server.port` only change with a restart.")
        if terms.workers > 1:
            _preload()
        if self._watch is None:
            self._crew.resize(terms.workers)
        self._let_in(terms._replace(host=self._terms.host, port=self._terms.port))
        try:
            self._crew.renew()
        except OSError as error:
            say(f"Not reloaded, no process can be started: {error.strerror}.")

    def _let_in(self, terms: Terms) -> None:
        """From now on workers start with these settings."""
        self._terms = terms
        self._crew.leave_within_s = terms.drain_s + _KILL_AFTER_S

    def _start(self, generation: int) -> Child:
        if self._first is not None:
            child = self._first.go_on(generation, self._run_file.folder)
            self._first = None
        else:
            child = fork_child(partial(work, self._inheritance()), generation, self._ours())
        self._selector.register(child.pipe, selectors.EVENT_READ, child)
        return child

    def _inheritance(self) -> Inheritance:
        return Inheritance(
            target=self._target,
            terms=self._terms,
            listener=self._listener,
            alone=self._crew.wanted == 1,
            watching=self._watch is not None,
            run_folder=self._run_file.folder,
            alive=self._alive,
        )

    def _ours(self) -> list[int]:
        """The descriptors that no other process must hold."""
        return [*self._held, *(child.pipe for child in self._crew)]

    def _heard(self, child: Child) -> None:
        was_ready = child.ready
        if not child.hear():
            self._selector.unregister(child.pipe)
            return
        if was_ready or self._stopping:
            return
        first = not self._crew.serves
        news = self._crew.heard(child)
        if news is not News.NOTHING:
            self._note()
        if news is News.TAKEN_OVER:
            if first:
                self._announce(self._run_file.url, [worker.pid for worker in self._crew.workers])
            else:
                say("Reloaded.")

    def _reap(self) -> None:
        while len(self._crew):
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child, news = self._crew.ended(pid)
            if child is not None:
                self._let_go(child)
                if not self._stopping:
                    self._tell(news, child, os.waitstatus_to_exitcode(status))

    def _let_go(self, child: Child) -> None:
        while child.hear():
            pass  # what it still had to say
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.pipe)
        os.close(child.pipe)

    def _tell(self, news: News, child: Child, status: int) -> None:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        if news is News.CRASHED:
            self._note()
            reason = f"\n{child.failure.rstrip()}" if child.failure else ""
            say(f"Worker {child.pid} {how}; the next one starts in {self._crew.restart_in_s:.1f} s.{reason}")
        elif news is News.NOT_STARTED:
            reason = child.failure or f"The worker {how} before it was ready."
            if self._crew.serves:
                say(f"{reason}\n\nNot reloaded: the version before keeps serving.")
            elif self._watch is not None:
                say(f"{reason}\n\nWaiting for a change …")
            else:
                say(reason)
                self._exit_status = 1
                self._stop()

    # -- what people see

    def _note(self) -> None:
        state = "stopping" if self._stopping else "serving" if self._crew.serves else "starting"
        self._run_file.write(state, [child.pid for child in self._crew.workers])

    def _introduce(self, url: str, workers: list[int]) -> None:
        count = f"{len(workers)} worker{'s' if len(workers) > 1 else ''}"
        does = f"serves {self._target} on {url}" if url else f"runs the jobs of {self._target}"
        say(f"Corral {does} ({count}, pid {os.getpid()}). Ctrl-C stops it.")


def _preload() -> None:
    """Load the framework before the first fork: workers share the memory, and start in milliseconds."""
    from corral.server.sparing import spare  # noqa: PLC0415 - only where workers are several

    spare()
    gc.disable()  # what is loaded stays: nothing of it is garbage, and no worker is to look through it
    for name in _PRELOADED:
        import_module(name)
    gc.freeze()
    gc.enable()


def say(text: str) -> None:
    """Tell the operator, on whatever kind of terminal; one that has gone does not matter."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    text = (
        text.replace("…", "...").encode(encoding, "replace").decode(encoding) if not _speaks(encoding, text) else text
    )
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - what the operator sees of the supervisor


def _speaks(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
