"""Where calls of tools go: through the layers of the service that runs here, or through those that need none."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

from corral.settings.tool_sections import ToolSettings
from corral.tools.bounded import Bounded
from corral.tools.checked import checked
from corral.tools.idempotent import Idempotent
from corral.tools.in_memory import EffectsInMemory
from corral.tools.permitted import Permitted
from corral.tools.policy import Policy
from corral.tools.stack import RunTool, wrap
from corral.tools.traced import Traced

_service: RunTool | None = None
_here: contextvars.ContextVar[RunTool | None] = contextvars.ContextVar("corral_tools", default=None)
_alone: RunTool | None = None


def use(run: RunTool | None) -> RunTool | None:
    """Have every toolbox of this process call through these layers; none: through those that need no service. Returns the last."""
    global _service
    before, _service = _service, run
    return before


@contextmanager
def using(run: RunTool) -> Iterator[None]:
    """Have what runs in this block call through these layers: for tests, and for services that share a process."""
    token = _here.set(run)
    try:
        yield
    finally:
        _here.reset(token)


def connected() -> RunTool:
    """The layers that are around a call here."""
    return _here.get() or _service or _plain()


def _plain() -> RunTool:
    """A script's: without a service there is no store, so effects are remembered in this process alone, and results are not kept."""
    global _alone  # noqa: PLW0603 - made when it is first needed
    if _alone is None:
        settings = ToolSettings()
        _alone = wrap(
            Bounded(settings), [Traced(), checked, Permitted(Policy()), Idempotent(EffectsInMemory(), settings)]
        )
    return _alone
