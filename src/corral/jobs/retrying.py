"""Whether an attempt that failed is worth another one, and when: pure policy, with chance from outside."""

from __future__ import annotations

import asyncio
import math
import random
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec

from corral.errors import AgentFailed, CorralError
from corral.jobs.job import Backoff, JobError
from corral.observability.redaction import redacted_text

RETRY_AFTER_MAX_S = 86_400.0
"""An error may ask for a day of patience, not more."""
MESSAGE_MAX = 2_000
TRACEBACK_MAX = 8_000
_FRAMES_MAX = 20
_OURS = str(Path(__file__).parents[1])


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of a job after a failed attempt."""

    kind: Literal["retry", "failed"]
    error: JobError
    delay_s: float = 0.0


class Retrying:
    """The rules of an operator, applied to errors."""

    def __init__(
        self, *, never: Collection[str] = (), always: Collection[str] = (), chance: Callable[[], float] = random.random
    ) -> None:
        """Classes by name, alone or with their module; the class nearest to the error's own decides."""
        self._never = frozenset(never)
        self._always = frozenset(always)
        self._chance = chance

    def judge(self, error: BaseException, *, failures: int, max_attempts: int, backoff: Backoff) -> Verdict:
        """`failures` are those before this one."""
        retryable = self.is_retryable(error)
        described = describe(error, retryable=retryable)
        if not retryable or failures + 1 >= max_attempts:
            return Verdict("failed", described)
        return Verdict("retry", described, self.delay_s(backoff, failures, asked_s=_retry_after(error)))

    def is_retryable(self, error: BaseException) -> bool:
        """What the operator says of its class; else what it says of itself; else yes."""
        own = origin(error)
        for kind in type(own).__mro__:
            names = {kind.__name__, f"{kind.__module__}.{kind.__qualname__}"}
            if names & self._never:
                return False
            if names & self._always:
                return True
        said = _attribute(own, "retryable")
        if isinstance(own, AgentFailed) or not isinstance(said, bool):
            return True
        return said

    def delay_s(self, backoff: Backoff, failures: int, *, asked_s: float | None = None) -> float:
        """The pause before the next attempt."""
        try:
            pause = backoff.initial_s * backoff.factor**failures
        except OverflowError:
            pause = math.inf
        pause = max(0.0, min(backoff.max_s, pause)) * (1.0 - backoff.jitter * self._chance())
        if asked_s is not None:
            pause = max(pause, min(asked_s, RETRY_AFTER_MAX_S))
        return pause


def origin(error: BaseException) -> BaseException:
    """The agent's own error, where it was wrapped on its way here."""
    while isinstance(error, AgentFailed) and error.original is not None:
        error = error.original
    return error


def describe(error: BaseException, *, retryable: bool) -> JobError:
    """The error as people read it: redacted, and of bounded size."""
    own = origin(error)
    code = own.code if isinstance(own, CorralError) else AgentFailed.code
    message = "The agent was cancelled from inside." if isinstance(own, asyncio.CancelledError) else _said(own)
    return JobError(
        code=code,
        message=_cut(message, MESSAGE_MAX),
        type=_name(type(own)),
        traceback=_traceback(own),
        retryable=retryable,
    )


def _said(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - a user's own __str__ may raise anything
        return type(error).__name__


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _cut(text: str, length: int) -> str:
    text = _carriable(redacted_text(text))
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _traceback(error: BaseException) -> str:
    if error.__traceback__ is None:
        return ""
    try:
        lines = traceback.format_exception(type(error), error, _from_the_agent(error.__traceback__), limit=-_FRAMES_MAX)
    except Exception:  # noqa: BLE001 - it shows the user's own error, whose __str__ may raise anything
        return ""
    text = _carriable(redacted_text("".join(lines)))
    # The end says where it happened.
    return text if len(text) <= TRACEBACK_MAX else f"…{text[-TRACEBACK_MAX + 1 :]}"


def _from_the_agent(trace: TracebackType) -> TracebackType:
    """The part that begins in the user's code; all of it where none of it is the user's."""
    begin: TracebackType | None = trace
    while begin is not None and begin.tb_frame.f_code.co_filename.startswith(_OURS):
        begin = begin.tb_next
    return begin or trace


def _carriable(text: str) -> str:
    """Text that every store can keep: no NUL, and no lone half of a character."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()


def _retry_after(error: BaseException) -> float | None:
    for one in (error, origin(error)):
        for name in ("retry_after_s", "retry_after"):
            asked = _attribute(one, name)
            if isinstance(asked, int | float) and not isinstance(asked, bool) and asked >= 0:
                return float(min(asked, RETRY_AFTER_MAX_S))
    return None


def put_off_s(error: BaseException) -> float | None:
    """For how long an error asks to be put off: what cannot be done now has not failed. None: it does not ask."""
    asked = _attribute(origin(error), "put_off_s")
    if isinstance(asked, int | float) and not isinstance(asked, bool) and asked > 0:
        return float(min(asked, RETRY_AFTER_MAX_S))
    return None


def _attribute(error: BaseException, name: str) -> object:
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001 - a property of a user's own error may raise anything
        return None
