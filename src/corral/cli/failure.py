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
    CANCELLED = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141


NEXT_STEPS = {
    "config_error": "`corral validate` checks settings and app without starting anything.",
    "app_load_error": "Mend the file; `corral validate` tries it without starting anything.",
    "store_unavailable": "See that it runs and that its address is right, or name another one.",
    "session_not_found": "`corral sessions list` shows those there are.",
    "event_not_found": "`corral sessions show SESSION` shows the events and their ids.",
    "key_not_found": "`corral keys list` shows those there are.",
    "key_over": "`corral keys create` makes another one.",
    "forbidden": "`corral keys list` shows which roles keys have; `corral keys create --role …` makes another one.",
    "session_exists": "Choose another id, or delete that session first.",
    "job_not_found": "`corral jobs list` shows those there are.",
    "job_state_conflict": "`corral jobs show JOB` shows the state that it is in.",
    "run_not_found": "`corral runs list` shows those there are.",
    "run_busy": "`corral runs show RUN` shows how far it is; it can be cancelled, or forked.",
    "run_over": "`corral runs fork RUN --prompt …` goes on from it in a new run.",
    "approval_not_found": "`corral approvals list` shows what people are asked.",
    "approval_closed": "`corral approvals list --all` shows what was answered.",
    "queue_full": "`corral queues` shows what waits: start more workers (`corral worker`), or try again later.",
    "session_busy": "Wait for that request, or say what is to happen: `--on-conflict enqueue`, `interrupt`, `rollback`.",
}
"""What to do next, by the code of the error; the same whether a server says it or the store."""


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
    status = Exit.FAILED
    if isinstance(error, ConfigError | AppLoadError):
        status = Exit.INVALID
    elif isinstance(error, NotFound | StoreUnavailable):
        status = Exit.NOT_FOUND
    hint = NEXT_STEPS.get(error.code) or ("Try again in a moment." if error.retryable else "")
    return Failure(error.message, hint, code=error.code, status=status, errors=error.errors)
