"""One state, tried by itself."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.server.stepfunctions.operations import Asked, Work
from corral.workflows.arns import Arns
from corral.workflows.doing import CallTask
from corral.workflows.machine.run import Behalf


class Trying:
    """TestState."""

    def __init__(self, arns: Arns, call_task: CallTask | None) -> None:
        """`call_task` does what a Task without a mock asks for; none: such a Task is refused."""
        self._arns = arns
        self._call_task = call_task

    def operations(self) -> dict[str, Work]:
        """The one."""
        return {"TestState": self.run}

    async def run(self, asked: Asked) -> dict[str, Any]:
        """Run it: where data goes, and where it leads."""
        from corral.workflows.testing_request import TryRequest  # noqa: PLC0415 - with all that expressions need
        from corral.workflows.testing_state import try_state  # noqa: PLC0415 - as above

        request = msgspec.convert(asked.body, TryRequest)
        tried = await try_state(
            request,
            call_task=self._call_task,
            arns=self._arns,
            tenant=asked.tenant,
            behalf=Behalf.of(asked.request.context),
        )
        answer: dict[str, Any] = msgspec.to_builtins(tried)
        return answer
