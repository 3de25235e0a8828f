"""Why a call is not answered, before any provider's way of saying it."""

from __future__ import annotations

from typing import Literal

from corral.models.sim.buckets import UNLIMITED, Verdict

Kind = Literal[
    "invalid", "auth", "forbidden", "missing", "too_long", "filtered", "rate", "server", "overloaded", "timeout"
]

STATUSES: dict[int, Kind] = {
    400: "invalid",
    401: "auth",
    403: "forbidden",
    404: "missing",
    408: "timeout",
    413: "invalid",
    422: "invalid",
    429: "rate",
    500: "server",
    502: "server",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
"""What the statuses mean that providers use; others are as their hundred."""

_SAID: dict[Kind, str] = {
    "invalid": "The request is not valid.",
    "auth": "The API key is not valid.",
    "forbidden": "This key may not use this model.",
    "missing": "There is no such model.",
    "too_long": "The input is too long for this model.",
    "filtered": "The content was blocked by the content filter.",
    "rate": "Rate limit reached.",
    "server": "The server had an error while processing your request.",
    "overloaded": "The service is overloaded. Please try again later.",
    "timeout": "The model did not finish in time.",
}


class Refused(Exception):
    """A call that is answered by an error."""

    def __init__(
        self,
        kind: Kind,
        message: str = "",
        *,
        status: int = 0,
        retry_after_s: float | None = None,
        verdict: Verdict = UNLIMITED,
        param: str = "",
        wished: bool = False,
    ) -> None:
        """`status` if it is not the kind's own; `param` is the field that is wrong; `wished`: the call asked for it."""
        super().__init__(message or _SAID[kind])
        self.kind = kind
        self.message = message or _SAID[kind]
        self.status = status
        self.retry_after_s = retry_after_s
        self.verdict = verdict
        self.param = param
        self.wished = wished


def refused_with(status: int, retry_after_s: float | None = None, *, wished: bool = False) -> Refused:
    """The error of that status, as a fault makes it happen."""
    kind = STATUSES.get(status) or ("invalid" if status < 500 else "server")  # noqa: PLR2004 - HTTP's classes
    if kind == "rate" and retry_after_s is None:
        retry_after_s = 1.0
    return Refused(kind, status=status, retry_after_s=retry_after_s, wished=wished)
