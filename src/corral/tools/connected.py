"""Where calls of tools go: through the layers of the service that runs here, or through those that need none."""

from __future__ import annotations

from corral.here import Here
from corral.settings.tool_sections import ToolSettings
from corral.tools.bounded import Bounded
from corral.tools.checked import checked
from corral.tools.idempotent import Idempotent
from corral.tools.in_memory import EffectsInMemory
from corral.tools.permitted import Permitted
from corral.tools.policy import Policy
from corral.tools.stack import RunTool, wrap
from corral.tools.traced import Traced

_here: Here[RunTool] = Here("corral_tools")
use, using = _here.use, _here.using
"""Through which layers every toolbox of this process calls, or those of one block."""
_alone: RunTool | None = None


def connected() -> RunTool:
    """The layers that are around a call here."""
    return _here.find() or _plain()


def _plain() -> RunTool:
    """A script's: without a service there is no store, so effects are remembered in this process alone, and results are not kept."""
    global _alone  # noqa: PLW0603 - made when it is first needed
    if _alone is None:
        settings = ToolSettings()
        _alone = wrap(
            Bounded(settings), [Traced(), checked, Permitted(Policy()), Idempotent(EffectsInMemory(), settings)]
        )
    return _alone
