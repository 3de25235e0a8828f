"""The console script. It loads as little as can be: `corral version` is quick, and Ctrl-C is heard from the start."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence

import corral

_STANDING = frozenset({"serve", "gateway", "worker"})
"""What needs a supervisor, which stays as small as it is here."""


def run() -> None:
    """The console script."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # an old terminal shows what it can
    arguments = sys.argv[1:]
    sys.exit(answered(_stand if _STANDING.intersection(arguments[:1]) else _run, arguments))


def main(arguments: Sequence[str]) -> int:
    """Run one command in this process, whatever it is; returns the exit status."""
    return answered(_run, arguments)


def _stand(arguments: Sequence[str]) -> int:
    from corral.cli.standing import stand  # noqa: PLC0415 - as said

    return stand(arguments)


def _run(arguments: Sequence[str]) -> int:
    if list(arguments) in (["version"], ["--version"]):
        print(version_text(), flush=True)  # noqa: T201 - scripts ask this often: it does not wait for a parser
        return 0
    from corral.cli.outcome import outcome  # noqa: PLC0415 - as said

    return outcome(arguments)


def answered(run: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """What a command says, or how it ends that was interrupted, or whose reader has gone."""
    try:
        return run(arguments)
    except KeyboardInterrupt:
        from corral.cli.failure import Exit  # noqa: PLC0415 - as above

        return Exit.INTERRUPTED
    except BrokenPipeError:
        return _unread()


def version_text() -> str:
    """What `corral version` says."""
    return f"corral {corral.__version__} (Python {python_version()})"


def python_version() -> str:
    """The version of Python, as `platform` would say it after a slow import."""
    return ".".join(str(part) for part in sys.version_info[:3])


def _unread() -> int:
    """What is still in the buffer has nowhere to go, and Python would complain about it at its end."""
    from corral.cli.failure import Exit  # noqa: PLC0415 - as above

    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.BROKEN_PIPE
