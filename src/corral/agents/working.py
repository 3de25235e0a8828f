"""What everything that works has in common: `run`, for who wants the result and not the events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from corral.agents.event import AgentEvent, ApprovalAsked, Asked, Failed, Finished, Works
from corral.agents.result import RunResult, result_of
from corral.agents.saying import messages_of, said
from corral.agents.tally import text_of
from corral.errors import AgentFailed, error_of
from corral.messages import closing
from corral.models import connected as models


class Working:
    """Adds `run` and `run_sync` to what streams."""

    name: str

    def stream(self, prompt: Asked, *, session: str | None = None, **variables: Any) -> AsyncIterator[AgentEvent]:
        """Work, event by event."""
        raise NotImplementedError

    async def run(self, prompt: Asked, *, session: str | None = None, **variables: Any) -> RunResult:
        """Work, and return the result. Raises what it failed for."""
        approvals: list[ApprovalAsked] = []
        async with closing(self.stream(prompt, session=session, **variables)) as events:
            async for event in events:
                if isinstance(event, ApprovalAsked):
                    approvals.append(event)
                elif isinstance(event, Failed):
                    raise error_of(event.code, event.message)
                elif isinstance(event, Finished):
                    return result_of(event, approvals, [*messages_of(prompt), said(text_of(event), "assistant")])
        raise AgentFailed(f"The run of {self.name!r} ended without saying how.")

    def run_sync(self, prompt: Asked, *, session: str | None = None, **variables: Any) -> RunResult:
        """`await ….run(…)` for a thread."""
        return models.connected().from_thread(self.run(prompt, session=session, **variables))


def open_variables(members: Iterable[Works]) -> tuple[str, ...]:
    """The variables that these leave open, each once."""
    return tuple(dict.fromkeys(name for one in members for name in getattr(one, "open_variables", ())))


def variables_of(works: Works, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the variables that it leaves open; all of them, if it does not say which: a function takes what it names."""
    left_open = getattr(works, "open_variables", None)
    return dict(given) if left_open is None else {name: value for name, value in given.items() if name in left_open}
