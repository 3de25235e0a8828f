"""Where a conversation is cut that has become too long: before it is the summary, after it every word.

The cut is found by going through the conversation from its beginning, so it is the same for the same beginning: it stays
where it is while words are added, and moves on only when they no longer fit. What a provider has read and kept of the
conversation is therefore good for many turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corral.memory.units import Unit


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens there are for a conversation."""

    tokens: int
    """For all of it: what always stays, the summary, and the newest."""
    summary: int
    """Of these for the summary, once there is one."""
    recent_tokens: int
    """After a cut the newest messages take no more than this, so that there is room for the next ones."""
    recent: int
    """And are no more than this many."""


class Weighed(msgspec.Struct, frozen=True):
    """A unit, and what it weighs."""

    unit: Unit
    tokens: int
    stays: bool
    """It is never cut off."""
    question: int
    """Tokens of the user's words it begins with; 0: it begins with something else."""


def cut_of(weighed: Sequence[Weighed], room: Room, before: int = 0) -> int:
    """The first unit after the cut; 0: nothing is cut off. The newest unit is always after it.

    `before`: where the cut was the last time, if that is known: it is never earlier.
    """
    cut = min(before, max(0, len(weighed) - 1))
    recent = staying = asked = 0
    for number, one in enumerate(weighed):
        if one.question:
            asked = one.question
        if one.stays:
            staying += one.tokens
        elif number >= cut:
            recent += one.tokens
        spare = room.tokens - staying - (room.summary + asked if cut else 0)
        if recent > spare:
            most = min(room.recent_tokens, room.tokens - staying - room.summary - asked)
            cut = max(cut, _new_cut(weighed, number, cut, most, room.recent))
            recent = sum(other.tokens for other in weighed[cut : number + 1] if not other.stays)
    return cut


def _new_cut(weighed: Sequence[Weighed], number: int, cut: int, most: int, recent: int) -> int:
    """As early as the limits allow, and at the beginning of a turn if there is one; at the latest before unit `number`."""
    tokens = messages = 0
    best = number
    turn: int | None = None
    for place in range(number, cut - 1, -1):
        one = weighed[place]
        messages += one.unit.last - one.unit.first + 1
        tokens += 0 if one.stays else one.tokens
        if tokens > most or messages > recent:
            break
        best = place
        if one.unit.turn:
            turn = place
    return best if turn is None else turn
