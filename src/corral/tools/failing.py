"""How a call of a tool goes wrong: what a tool may raise, and the reply that tells a model about it."""

from __future__ import annotations

from typing import Any

from corral.errors import CorralError
from corral.messages import ToolCall, ToolFault, ToolReply, as_parts

_OURS_TO_MEND = (TypeError, ValueError, LookupError, AttributeError, AssertionError, NotImplementedError)
_SAID_MAX = 2_000


class ToolFailed(CorralError):
    """The tool could not do what it was asked for.

    Raise it in a tool to say why, in words a model can act upon: `raise ToolFailed("There is no ticket T-9.", code="not_found")`.
    """

    status = 502
    code = "tool_failed"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str = "failed",
        retryable: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        """`retryable`: the same call may succeed a little later, if the tool is one that may be called twice."""
        super().__init__(message, retry_after_s=retry_after_s)
        self.fault_code = code
        self.may_retry = retryable


def failed(
    call: ToolCall,
    code: str,
    message: str,
    *,
    retryable: bool = False,
    retry_after_s: float | None = None,
    attempts: int = 0,
) -> ToolReply:
    """A reply without a result. `attempts` is how often the tool itself was called: 0 says that nothing has happened."""
    return failed_with(
        call, ToolFault(code=code, message=message, retryable=retryable, retry_after_s=retry_after_s), attempts=attempts
    )


def failed_with(call: ToolCall, fault: ToolFault, *, attempts: int = 0, **more: Any) -> ToolReply:
    """The same for a fault that is there already."""
    return ToolReply(
        name=call.name, id=call.id, content=as_parts(fault.message), fault=fault, attempts=attempts, **more
    )


def fault_of(name: str, error: BaseException) -> ToolFault:
    """What an error that a tool raised says to a model, and whether calling again can help."""
    said = str(error).strip()[:_SAID_MAX]
    if isinstance(error, ToolFailed):
        return ToolFault(
            code=error.fault_code, message=said, retryable=error.may_retry, retry_after_s=error.retry_after_s
        )
    if isinstance(error, CorralError):
        return ToolFault(code=error.code, message=said, retryable=error.retryable, retry_after_s=error.retry_after_s)
    kind = type(error).__name__
    return ToolFault(
        code="failed",
        message=f"{name} failed: {kind}: {said}" if said else f"{name} failed: {kind}.",
        retryable=not isinstance(error, _OURS_TO_MEND),
    )
