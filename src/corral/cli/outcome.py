"""One command, from its words to its exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from corral.cli.failure import Exit, Failure
from corral.cli.program import Aborted, ReaderGone, UsageError, program
from corral.cli.told import told


def outcome(arguments: Sequence[str]) -> int:
    """Run one command and say what went wrong, if anything did; returns the exit status."""
    return told(partial(_run, arguments), as_json="--json" in arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        status = program().main(args=list(arguments), prog_name="corral", standalone_mode=False)
        sys.stdout.flush()
    except ReaderGone:
        raise BrokenPipeError from None
    except Aborted:
        return Exit.INTERRUPTED
    except UsageError as error:
        raise _misused(error) from error
    return status if isinstance(status, int) else Exit.OK


def _misused(error: Any) -> Failure:
    """An unknown verb or flag, or a value that does not fit."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "corral"
    return Failure(
        str(error.format_message()), f"`{path} --help` says how it is used.", code="usage", status=Exit.USAGE
    )
