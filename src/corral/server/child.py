"""A worker process as its supervisor sees it, and the first steps of its life."""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from corral.errors import ConfigError, CorralError
from corral.server.terms import Terms

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU)
"""What the supervisor listens to."""

_READY = b"\x06"
_DEAF = b"\x04"

Life = Callable[[int], None]
"""All that a forked process does, given the descriptor by which it speaks to its supervisor."""


class Child:
    """What the supervisor knows of one worker."""

    def __init__(self, pid: int, generation: int, pipe: int) -> None:
        """`pipe` is where the worker says that it is ready, that it accepts no more, or why it cannot serve."""
        self.pid = pid
        self.generation = generation
        self.pipe = pipe
        self.ready = False
        self.deaf = False
        self.leaving = False
        """It was told to end, or has no part in what is to come."""
        self._draining = False
        self.kill_at: float | None = None
        self.failure = ""
        self.started_at = 0.0
        self._said = b""

    def hear(self) -> bool:
        """Read what it said. False: it says nothing more, at least now."""
        try:
            data = os.read(self.pipe, 65536)
        except (BlockingIOError, ConnectionResetError):  # it has nothing to say; it ended before it was all ears
            return False
        if not data:
            return False
        self._said += data
        self.ready = self._said.startswith(_READY)
        self.deaf = self.ready and _DEAF in self._said
        self.failure = self._said.strip(_READY + _DEAF).decode("utf-8", "replace")
        return True

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended already."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def retire(self, kill_at: float) -> None:
        """Let it finish what it has, and end; at the latest at `kill_at`, on the monotonic clock."""
        if not self.leaving:
            self.leaving = True
            self.kill_at = kill_at
            self.send(signal.SIGUSR1)

    def drain(self, kill_at: float) -> None:
        """As `retire`, while it refuses what is new; said twice, it ends at once."""
        self.leaving = True
        self.kill_at = kill_at
        self.send(signal.SIGUSR2 if self._draining else signal.SIGTERM)
        self._draining = True

    def kill(self) -> None:
        """It is not needed any more, and does nothing that anybody waits for."""
        self.leaving = True
        self.send(signal.SIGKILL)


class Inheritance(NamedTuple):
    """All that a worker gets from its supervisor."""

    target: str
    terms: Terms
    listener: Any
    """The listening socket; none: nothing is served."""
    alone: bool
    """No other worker accepts from the socket."""
    watching: bool
    """The worker is a developer's, and is replaced when a file changes."""
    run_folder: Path
    """Where the workers of this server share their metrics."""
    alive: int
    """The reading end of a pipe that closes with the supervisor."""


def fork_child(life: Life, generation: int, close: Iterable[int]) -> Child:
    """Start a process. `close` lists the descriptors of the supervisor that it must not hold."""
    said, say = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    # Until it has let go of the supervisor's handlers, a signal for the worker would be lost in them.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            live(life, say, [said, *close], mask)
    except OSError:
        os.close(said)
        os.close(say)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(say)
    os.set_blocking(said, False)
    return Child(pid, generation, said)


def told_by_child(find: Callable[[], bytes], close: Iterable[int]) -> bytes:
    """What `find` returns in a process of its own, which leaves nothing in this one. Raises `ConfigError` with what it raised."""
    child = fork_child(lambda say: _answer(say, find()), 0, close)
    os.set_blocking(child.pipe, True)
    with open(child.pipe, "rb") as answer:  # noqa: PTH123 - a descriptor
        said = answer.read()
    os.waitpid(child.pid, 0)
    if not said.startswith(_READY):
        raise ConfigError(said.decode("utf-8", "replace") or "The process that was to read them ended.")
    return said.removeprefix(_READY)


def _answer(say: int, answer: bytes) -> None:
    with open(say, "wb", closefd=False) as pipe:
        pipe.write(_READY + answer)


def live(life: Life, say: int, close: Iterable[int], mask: Iterable[int]) -> NoReturn:
    """All that this process does from now on, which a supervisor forked."""
    status = 1
    try:
        _reset_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for descriptor in close:
            os.close(descriptor)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # what agents print is seen when they print it
        life(say)
        status = 0
    except CorralError as error:
        _report(say, error.message)
    except BaseException:  # noqa: BLE001 - the last line of a process: say why, then end
        import traceback  # noqa: PLC0415 - as rarely as can be

        _report(say, traceback.format_exc())
    finally:
        try:
            atexit._run_exitfuncs()  # noqa: SLF001 - as multiprocessing does: libraries of the user's flush there
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    # Ctrl-C reaches the whole process group; the supervisor decides, and the workers hear from it. A handler that does
    # nothing, rather than none: programs that an agent starts would inherit that.
    signal.signal(signal.SIGINT, _nothing)
    signal.signal(signal.SIGHUP, _nothing)


def _nothing(_number: int, _frame: object) -> None:
    return


def _report(say: int, text: str) -> None:
    try:
        os.write(say, text.encode("utf-8", "replace")[-60_000:])
    except OSError:
        sys.stderr.write(text + "\n")


def work(given: Inheritance, say: int) -> None:
    """A worker's life. What it needs may be there already, from before the fork."""
    gc.disable()  # what is loaded stays: looking through it again and again is a tenth of the start
    from corral.server.sparing import spare  # noqa: PLC0415 - no supervisor of one worker has these

    spare()
    from corral.server.loading import load_app  # noqa: PLC0415 - as above
    from corral.server.worker import Worker, run_worker  # noqa: PLC0415 - as above

    settings = given.terms.opened()
    app = load_app(given.target)
    service = app.build(settings, run_folder=given.run_folder, development=given.watching)
    run_worker(
        lambda: Worker(service, given.listener, settings.server, alone=given.alone),
        ready=lambda: _say(say, _READY),
        parent=given.alive,
        deaf=lambda: _say(say, _DEAF),
    )


def _say(say: int, what: bytes) -> None:
    try:
        os.write(say, what)
    except BrokenPipeError:
        return  # nobody is there to hear it; the worker notices elsewhere
