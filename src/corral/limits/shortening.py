"""A conversation cut to a part of itself: its instructions, and its end from where somebody speaks anew."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corral.messages import Message


def shortened(messages: Sequence[Message], share: float) -> list[Message] | None:
    """The instructions and the last messages, about so much of all that was said; none: it cannot be made shorter.

    What is left out ends where a message of the user's begins a turn, so that no result of a tool is without its call.
    The last turn always stays whole.
    """
    spoken = [(index, size_of(message)) for index, message in enumerate(messages) if message.role != "system"]
    begins = [index for index, _ in spoken if _begins_turn(messages[index])]
    if len(begins) < 2:  # noqa: PLR2004 - one turn cannot be cut
        return None
    room = share * sum(size for _, size in spoken)
    first = begins[-1]
    for begin in reversed(begins):
        if sum(size for index, size in spoken if index >= begin) > room:
            break
        first = begin
    if first == spoken[0][0]:
        return None
    return [message for index, message in enumerate(messages) if message.role == "system" or index >= first]


def size_of(message: Message) -> int:
    """How long it is, for comparing."""
    text = message.text
    if len(message.content) == 1 and text:
        return len(text)
    return len(msgspec.json.encode(message.content, enc_hook=str))


def _begins_turn(message: Message) -> bool:
    return message.role == "user" and all(part.get("type") != "tool_result" for part in message.content)
