"""An expert: any role, with a domain of its own that others choose it by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from corral.agents.event import AgentEvent, Asked, Works
from corral.agents.roles.role import Role, as_works
from corral.agents.working import Working, open_variables, variables_of
from corral.messages import closing
from corral.tools.tool import Tool


class Expert(Working):
    """Works as the role it is made of. Its description and its examples tell a router what to send here.

    billing = Expert(answer_bills, name="billing", description="Invoices, refunds, payments.", examples=["Why was I charged twice?"])
    """

    def __init__(self, role: Role, *, name: str = "", description: str = "", examples: Sequence[str] = ()) -> None:
        """`examples` are questions it is for; a name and a description that are not given are the role's own."""
        self._works = as_works(role, name)
        self.name = name or self._works.name
        self.description = description or self._works.description
        self.examples = tuple(examples)

    def __repr__(self) -> str:
        return f"Expert({self.name!r})"

    @property
    def members(self) -> dict[str, Works]:
        """Who works in it."""
        return {self._works.name: self._works}

    @property
    def open_variables(self) -> tuple[str, ...]:
        """The variables that the role leaves open."""
        return open_variables([self._works])

    def with_tools(self, *tools: Tool) -> Expert:
        """The same expert with more tools, if it is made of what takes some."""
        adds = getattr(self._works, "with_tools", None)
        if adds is None:
            return self
        return Expert(adds(*tools), name=self.name, description=self.description, examples=self.examples)

    async def stream(self, prompt: Asked, *, session: str | None = None, **variables: Any) -> AsyncIterator[AgentEvent]:
        """As the role does."""
        async with closing(
            self._works.stream(prompt, session=session, **variables_of(self._works, variables))
        ) as events:
            async for event in events:
                own = event.agent == self._works.name and event.agent != self.name
                yield msgspec.structs.replace(event, agent=self.name) if own else event
