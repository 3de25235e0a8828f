"""The stage `rated`: who has asked as often as they may, or has as much running as may run, is told so before anything begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from corral.errors import Draining, Overloaded, SessionBusy, SessionQueueFull
from corral.limits.places import Places, Stay
from corral.limits.rate_headers import headers_of
from corral.limits.rates import Rates
from corral.limits.rules import visitor_of
from corral.runtime.invocation import Invocation
from corral.runtime.pipeline import Proceed, Stage
from corral.runtime.reply import Reply

_NOT_BEGUN = (Draining, Overloaded, SessionBusy, SessionQueueFull)
"""What was refused further on, for reasons that are none of the caller's number."""


def rated(rates: Rates | None, places: Places | None) -> Stage:
    """Count the call, where it is one: answers that were kept do not come here, and what this worker refuses counts for nothing."""

    async def stage(call: Invocation, proceed: Proceed) -> Reply:
        visitor = visitor_of(call.context)
        if places is not None:
            call.at_end(_leaving(await places.enter(visitor)))
        if rates is None:
            return await proceed(call)
        admission = await rates.admit(visitor, where="door")
        call.told = headers_of(admission.stands)
        try:
            return await proceed(call)
        except _NOT_BEGUN:
            admission.undo()
            raise

    return stage


def _leaving(stay: Stay) -> Callable[[Invocation], Awaitable[None]]:
    async def leave(call: Invocation) -> None:
        del call
        stay.leave()

    return leave
