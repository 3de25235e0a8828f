"""The one place where errors become messages and exit statuses."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from corral.errors import CorralError

if TYPE_CHECKING:
    from corral.cli.failure import Failure


def told(run: Callable[[], int], *, as_json: bool) -> int:
    """Do something and say what went wrong, if anything did; returns the exit status."""
    try:
        return run()
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last line of the program: say what it was, in the form asked for
        return _told(error, as_json=as_json)


def _told(error: Exception, *, as_json: bool) -> int:
    # Loaded here: a supervisor that nothing befalls never has them in memory.
    from corral.cli.failure import Failure, failure_of  # noqa: PLC0415 - as said

    if isinstance(error, CorralError):
        error = failure_of(error)
    if isinstance(error, Failure):
        return _failed(error, as_json=as_json)
    if not as_json:
        sys.excepthook(type(error), error, error.__traceback__)
    unexpected = Failure(
        f"{type(error).__name__}: {error}",
        "This is a fault of Corral itself: report it with the traceback that the same command shows without --json.",
        code="internal_error",
    )
    return _failed(unexpected, as_json=as_json)


def _failed(failure: Failure, *, as_json: bool) -> int:
    from corral.cli.output import show_failure  # noqa: PLC0415 - as above

    with contextlib.suppress(OSError):  # nobody reads stderr either: the status still tells
        show_failure(failure, as_json=as_json)
    return failure.status
