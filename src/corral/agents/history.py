"""An agent and its session: what was said before is read once, and what a run says is appended as one turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from corral.errors import ConfigError
from corral.messages import Message

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from corral.agents.connected import House
    from corral.agents.journal import RunState
    from corral.context import Context
    from corral.sessions.session import Session

_PAGE_MAX = 1000
_RUN, _TAINTED = "run", "tainted"


class History:
    """The conversation that a run stands in."""

    __slots__ = ("_session", "at", "messages", "recorded", "tainted")

    def __init__(self, session: Session | None = None) -> None:
        """None: a run that stands alone."""
        self._session = session
        self.messages: list[Message] = []
        """The newest ones before the run, oldest first; never the result of a tool without its call."""
        self.at = ""
        """The newest event's id."""
        self.tainted: tuple[str, ...] = ()
        """Where words in it came from that nobody of ours wrote."""
        self.recorded = ""
        """The run whose turn is the newest: one that is resumed finds itself here if it was appended already."""

    @property
    def session_id(self) -> str:
        """The session's id, if there is one."""
        return "" if self._session is None else self._session.id

    async def load(self, limit: int, *, upto: str | None = None) -> None:
        """Read the newest messages: `upto` an event, for a run that is resumed and began when that was the newest."""
        if self._session is None:
            return
        newest: list[Any] = []
        cursor: str | None = None
        while len(newest) < limit:
            page = await self._session.events(
                min(limit - len(newest), _PAGE_MAX), cursor=cursor, branch="main", include_parents=True
            )
            if page.items and not newest and not self.recorded:
                self.recorded = str(page.items[0].metadata.get(_RUN, ""))
            newest += [event for event in page.items if upto is None or event.id <= upto]
            cursor = page.next_cursor
            if cursor is None:
                break
        self.at = newest[0].id if newest else ""
        sources: dict[str, None] = {}
        for event in reversed(newest):
            sources.update(dict.fromkeys(event.metadata.get(_TAINTED, ())))
        self.tainted = tuple(sources)
        said = [Message(role=event.role, content=event.content) for event in reversed(newest)]
        self.messages = _whole(said) if len(said) >= limit else said

    async def record(self, run_id: str, state: RunState, *, with_tools: bool) -> None:
        """Append what the run said, in one transaction. Does nothing if it stands there already."""
        if self._session is None or self.recorded == run_id:
            return
        metadata: dict[str, Any] = {_RUN: run_id}
        if state.tainted:
            metadata[_TAINTED] = list(state.tainted)
        said = [message for message in state.messages if message.role != "system"]
        if not with_tools:
            said = [plain for plain in map(_spoken, said) if plain is not None]
        if said:
            await self._session.append(said, metadata=metadata)
            self.recorded = run_id


def _whole(messages: Sequence[Message]) -> list[Message]:
    """From the first thing a user said on: what was cut off in the middle of a turn is of no use to a model."""
    for index, message in enumerate(messages):
        if message.role == "user":
            return list(messages[index:])
    return list(messages)


def _spoken(message: Message) -> Message | None:
    if message.role == "tool":
        return None
    content = [part for part in message.content if part.get("type") not in {"tool_use", "reasoning"}]
    return Message(role=message.role, content=content, metadata=message.metadata) if content else None


async def open_session(stack: AsyncExitStack, house: House, context: Context | None, session: str) -> Any:
    """The request's own session, whose turn it has; or another one, with its turn for as long as the run works."""
    if not session:
        return None
    if context is not None and context.has_session and context.session.id == session:
        return context.session
    if house.open_session is None:
        raise ConfigError(
            f"There are no sessions here, so {session!r} cannot be one: run the agent with `corral dev`, `corral serve` or "
            "`corral invoke`, or leave `session` out."
        )
    return await stack.enter_async_context(house.open_session(context, session))
