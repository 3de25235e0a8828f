"""What was asked, and what is said: conversations as agents give them to each other."""

from __future__ import annotations

from collections.abc import Iterable

from corral.agents.event import Asked
from corral.agents.journal import TAINTED
from corral.messages import Message, Role, as_parts


def messages_of(asked: Asked) -> list[Message]:
    """A prompt as a conversation."""
    if isinstance(asked, str):
        return [said(asked)]
    return [asked] if isinstance(asked, Message) else list(asked)


def question_of(asked: Asked) -> str:
    """The last thing a person said."""
    if isinstance(asked, str):
        return asked
    return next((one.text for one in reversed(messages_of(asked)) if one.role == "user" and one.text), "")


def conversation_of(asked: Asked) -> str:
    """All of it as text: who decides by a prompt of its own is shown it so."""
    messages = [one for one in messages_of(asked) if one.text and one.role in {"user", "assistant"}]
    if len(messages) == 1:
        return messages[0].text
    return "\n\n".join(f"{one.role}: {one.text}" for one in messages)


def said(text: str, role: Role = "user", *, tainted: Iterable[str] = ()) -> Message:
    """A message of nothing but text; `tainted` is where words in it came from that nobody of ours wrote."""
    sources = list(dict.fromkeys(tainted))
    return Message(role=role, content=as_parts(text), metadata={TAINTED: sources} if sources else {})
