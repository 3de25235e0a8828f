"""The one place where errors become messages and exit statuses."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from corral.cli.failure import Exit, Failure, failure_of
from corral.cli.output import show_failure
from corral.cli.program import Aborted, ReaderGone, UsageError, program
from corral.errors import CorralError


def outcome(arguments: Sequence[str]) -> int:
    """Run one command and say what went wrong, if anything did; returns the exit status."""
    as_json = "--json" in arguments
    try:
        return _run(arguments)
    except Failure as failure:
        return _failed(failure, as_json=as_json)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last line of the program: say what it was, in the form asked for
        if not as_json:
            sys.excepthook(type(error), error, error.__traceback__)
        return _failed(_unexpected(error), as_json=as_json)


def _run(arguments: Sequence[str]) -> int:
    try:
        status = program().main(args=list(arguments), prog_name="corral", standalone_mode=False)
        sys.stdout.flush()
    except ReaderGone:
        raise BrokenPipeError from None
    except Aborted:
        return Exit.INTERRUPTED
    except CorralError as error:
        raise failure_of(error) from error
    except UsageError as error:
        raise _misused(error) from error
    return status if isinstance(status, int) else Exit.OK


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


def _misused(error: Any) -> Failure:
    """An unknown verb or flag, or a value that does not fit."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "corral"
    return Failure(
        str(error.format_message()), f"`{path} --help` says how it is used.", code="usage", status=Exit.USAGE
    )
