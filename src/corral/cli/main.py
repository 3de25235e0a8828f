"""The console script, and the one place where errors become messages and exit statuses."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import corral
from corral.cli.failure import Exit, Failure, failure_of
from corral.cli.output import show, show_failure
from corral.errors import CorralError


def run() -> None:
    """The console script."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an old terminal shows what it can
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    as_json = "--json" in arguments
    try:
        return _run(arguments)
    except Failure as failure:
        return _failed(failure, as_json=as_json)
    except BrokenPipeError:
        return _unread()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of the program: say what it was, in the form asked for
        if not as_json:
            sys.excepthook(type(error), error, error.__traceback__)
        return _failed(_unexpected(error), as_json=as_json)


def _run(arguments: Sequence[str]) -> int:
    if list(arguments) in (["version"], ["--version"]):
        show(version_text())  # scripts ask this often: it does not wait for a parser
        return Exit.OK
    from corral.cli.program import Aborted, ReaderGone, UsageError, program  # noqa: PLC0415 - as said

    try:
        status = program().main(args=list(arguments), prog_name="corral", standalone_mode=False)
        sys.stdout.flush()
    except ReaderGone:
        return _unread()
    except Aborted:
        return Exit.INTERRUPTED
    except CorralError as error:
        raise failure_of(error) from error
    except UsageError as error:
        raise _misused(error) from error
    return status if isinstance(status, int) else Exit.OK


def version_text() -> str:
    """What `corral version` says."""
    return f"corral {corral.__version__} (Python {python_version()})"


def python_version() -> str:
    """The version of Python, as `platform` would say it after a slow import."""
    return ".".join(str(part) for part in sys.version_info[:3])


def _failed(failure: Failure, *, as_json: bool) -> int:
    with contextlib.suppress(OSError):  # nobody reads stderr either: the status still tells
        show_failure(failure, as_json=as_json)
    return failure.status


def _unexpected(error: Exception) -> Failure:
    """A fault of Corral's own."""
    return Failure(
        f"{type(error).__name__}: {error}",
        "This is a fault of Corral itself: report it with the traceback that the same command shows without --json.",
        code="internal_error",
    )


def _unread() -> int:
    """What is still in the buffer has nowhere to go, and Python would complain about it at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.BROKEN_PIPE


def _misused(error: Any) -> Failure:
    """An unknown verb or flag, or a value that does not fit."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "corral"
    return Failure(
        str(error.format_message()), f"`{path} --help` says how it is used.", code="usage", status=Exit.USAGE
    )
