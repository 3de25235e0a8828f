"""One conversation on its way into a window: its pieces, where it is cut, and what is done when that is not enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from corral.errors import ContextTooLong
from corral.memory.cutting import Room, Weighed, cut_of
from corral.memory.report import Trimmed
from corral.memory.sizes import Sizes
from corral.memory.trimming import Where, results_trimmed, shortened
from corral.memory.units import Unit, is_pinned, is_question, units_of
from corral.messages import Message

_STUB_TOKENS = 120


class Piece(msgspec.Struct):
    """A message on its way: where it came from, and what it is now."""

    index: int
    source: Message
    message: Message
    stays: bool = False
    """It is never left out: it is pinned, belongs to what is, or is the last question."""
    question: bool = False
    """The last question: also summarised when it is before the cut, for it will not be the last for ever."""


class Fitting:
    """The pieces of a conversation, in order."""

    def __init__(self, pieces: list[Piece], sizes: Sizes) -> None:
        self.pieces = pieces
        self.sizes = sizes
        self._units: list[Unit] = []
        self._weighed: list[Weighed] = []
        self.question = -1
        """The index of the last question; -1: there is none."""
        self._weigh()

    def tokens(self, pieces: Sequence[Piece]) -> int:
        """What they weigh together."""
        return self.sizes.of_all([piece.message for piece in pieces])

    # -- where it is cut

    def _weigh(self) -> None:
        messages = [piece.message for piece in self.pieces]
        for unit in units_of(messages):
            own = self.pieces[unit.first : unit.last + 1]
            stays = any(is_pinned(piece.message) for piece in own)
            for piece in own:
                piece.stays = stays
            asked = self.sizes.of(own[0].message) if unit.turn and not stays else 0
            self._units.append(unit)
            self._weighed.append(Weighed(unit, self.tokens(own), stays, asked))
        last = next((piece for piece in reversed(self.pieces) if is_question(piece.message)), None)
        if last is not None:
            last.question = True
            self.question = last.index

    def cut(self, room: Room, summarised: int = 0) -> tuple[list[Piece], list[Piece]]:
        """What is before the cut, and what is after it. The first `summarised` of the pieces that may go went before."""
        number = cut_of(self._weighed, room, self._unit_after(summarised)) if self._weighed else 0
        place = self._units[number].first if self._units else 0
        for piece in self.pieces[:place]:
            piece.stays = piece.stays or piece.question
        return self.pieces[:place], self.pieces[place:]

    def _unit_after(self, summarised: int) -> int:
        """The unit that begins after so many pieces that may go; the beginning if none does."""
        for number, one in enumerate(self._weighed):
            if summarised <= 0:
                return 0 if summarised else number
            summarised -= 0 if one.stays else one.unit.last - one.unit.first + 1
        return 0

    # -- what is too large even so

    def squeezed(self, pieces: list[Piece], most: int, where: Where) -> tuple[list[Piece], list[Piece], list[Trimmed]]:
        """What stays and the newest, made to fit: results first, then everything that is not pinned, then older units."""
        if self.tokens(pieces) <= most:
            return pieces, [], []
        given = [piece.message for piece in pieces]
        loose = [piece for piece in pieces if not is_pinned(piece.message)]
        for piece in loose:
            piece.message = results_trimmed(piece.source, _STUB_TOKENS, self.sizes, where)
            if self.tokens(pieces) <= most:
                break
        share = most
        while self.tokens(pieces) > most and share > 1:
            share //= 2
            for piece in sorted(loose, key=lambda one: self.sizes.of(one.message), reverse=True):
                piece.message = shortened(piece.message, share, self.sizes)
                if self.tokens(pieces) <= most:
                    break
        trimmed = self.trims(pieces, "too_large", given)
        fitted, dropped = self._thinned(pieces, most)
        return fitted, dropped, trimmed

    def _thinned(self, pieces: list[Piece], most: int) -> tuple[list[Piece], list[Piece]]:
        """Units go, oldest first, while all of it does not fit; what is pinned and the last unit never do."""
        units = units_of([piece.message for piece in pieces])
        dropped: list[Piece] = []
        for unit in units[:-1]:
            if self.tokens(pieces) - self.tokens(dropped) <= most:
                break
            own = pieces[unit.first : unit.last + 1]
            if not any(is_pinned(piece.message) for piece in own):
                dropped += own
        gone = {piece.index for piece in dropped}
        fitted = [piece for piece in pieces if piece.index not in gone]
        if self.tokens(fitted) > most:
            raise ContextTooLong(
                f"The last message has more than the {most} tokens that are left beside instructions, pinned messages and "
                "tools, even cut short: pin less, give the agent fewer tools, or raise `max_tokens`."
            )
        return fitted, dropped

    def trims(
        self, pieces: Sequence[Piece], why: Literal["tool_result", "too_large"], before: Sequence[Message]
    ) -> list[Trimmed]:
        """Those that are not what they were."""
        return [
            Trimmed(index=piece.index, before=self.sizes.of(old), after=self.sizes.of(piece.message), why=why)
            for piece, old in zip(pieces, before, strict=True)
            if piece.message is not old
        ]


def joined(
    fitted: Sequence[Piece], question: int, before: Sequence[Piece], summary: Message | None, looked_up: list[Message]
) -> list[Message]:
    """In order: what stays from before the cut, the summary, and the rest; before the last question what was looked up."""
    old = {piece.index for piece in before}
    out: list[Message] = []
    said_summary = summary is None
    said_found = not looked_up
    for piece in fitted:
        if not said_summary and (piece.index not in old or piece.index == question):
            out.append(summary)  # type: ignore[arg-type]  # there is one
            said_summary = True
        if not said_found and piece.index == question:
            out += looked_up
            said_found = True
        out.append(piece.message)
    if not said_summary:
        out.append(summary)  # type: ignore[arg-type]  # as above
    return out if said_found else out + looked_up


def stable_part(out: Sequence[Message], looked_up: Sequence[Message]) -> int:
    """How many messages at the beginning do not depend on what was looked up."""
    if not looked_up:
        return len(out)
    return next(n for n, message in enumerate(out) if message is looked_up[0])
