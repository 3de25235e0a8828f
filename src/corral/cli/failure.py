"""What went wrong, in words, with the exit status and with what to do next."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from corral.errors import AppLoadError, ConfigError, CorralError, NotFound, StoreUnavailable


class Exit(IntEnum):
    """The exit statuses of `corral`; `docs/cli.md` has the same table."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    INVALID = 4
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Failure(Exception):
    """A command could not do what it was asked for."""

    def __init__(
        self, message: str, hint: str = "", *, code: str = "failed", status: Exit = Exit.FAILED, **details: Any
    ) -> None:
        """`hint` says what to do next; `details` are shown with `--json` only."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.status = status
        self.details = {name: value for name, value in details.items() if value}

    def as_json(self) -> dict[str, Any]:
        """The error as `--json` shows it."""
        content: dict[str, Any] = {"code": self.code, "message": self.message, "exit_status": int(self.status)}
        if self.hint:
            content["hint"] = self.hint
        return content | self.details


def failure_of(error: CorralError) -> Failure:
    """One of Corral's own errors as a failure of the command line."""
    status, hint = Exit.FAILED, ""
    if isinstance(error, ConfigError):
        status, hint = Exit.INVALID, "`corral validate` checks settings and app without starting anything."
    elif isinstance(error, AppLoadError):
        status, hint = Exit.INVALID, "Mend the file; `corral validate` tries it without starting anything."
    elif isinstance(error, NotFound | StoreUnavailable):
        status = Exit.NOT_FOUND
    return Failure(error.message, hint, code=error.code, status=status, errors=error.errors)
