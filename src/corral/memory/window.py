"""A conversation fitted into what a model can read: the newest word for word, older ones as a summary, nothing by surprise.

The order of what comes out is the order of what went in, with the summary where the cut is and what was retrieved before
the question it was retrieved for. The beginning stays the same from turn to turn for as long as it can (see `cutting`), so
that providers which keep prefixes have it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from corral.errors import ContextTooLong
from corral.memory.cutting import Room, Weighed, cut_of
from corral.memory.extracting import extract_of
from corral.memory.sizes import CountMessage, Sizes, said
from corral.memory.summarising import Summariser
from corral.memory.trimming import Where, nowhere, results_trimmed, shortened
from corral.memory.units import is_pinned, is_question, is_whole, mended, units_of
from corral.messages import Caller, Message, ToolSpec

Source = Literal["", "model", "behind", "extract"]
Why = Literal["recent", "no_result", "no_call", "retrieved_budget", "too_large"]

_SUMMARY_HEAD = "Summary of the conversation so far:\n"
_STUB_TOKENS = 120
_TRIMS_MAX = 256


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """Something of the conversation that the model does not read word for word."""

    index: int
    """Its place among what was given: of the messages, or of what was retrieved."""
    tokens: int
    why: Why
    """`recent`: before the cut; `no_result`, `no_call`: half of a tool's call; `retrieved_budget`: more than there is room for."""
    summarised: bool = False
    """The summary covers it."""


class Trimmed(msgspec.Struct, frozen=True, kw_only=True):
    """A message that the model reads in part."""

    index: int
    before: int
    after: int
    why: Literal["tool_result", "too_large"]


class WindowReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a conversation."""

    max_tokens: int
    tokens: int
    """All that the model reads, tools and all; never more than `max_tokens`."""
    parts: dict[str, int]
    """Of these: `system` (with all that is pinned), `recent`, `summary`, `retrieved`, `tools`."""
    estimated: bool
    """Sizes are safe estimates: nobody said how the model counts."""
    summary: Source = ""
    """Where the summary comes from. `behind`: it does not cover everything yet; `extract`: no model made it; empty: there is none."""
    summary_covers: int = 0
    """Messages that the model's summary covers."""
    stable: int = 0
    """So many messages at the beginning come again as they are with the next words of this conversation."""
    left_out: list[LeftOut] = []
    trimmed: list[Trimmed] = []


class Fitted(msgspec.Struct, frozen=True):
    """What to send, and what was done for it."""

    messages: list[Message]
    report: WindowReport


class _Piece(msgspec.Struct):
    """A message on its way: where it came from, and what it is now."""

    index: int
    source: Message
    message: Message
    stays: bool = False
    """It is never left out: it is pinned, belongs to what is, or is the last question."""
    question: bool = False
    """The last question: also summarised when it is before the cut, for it will not be the last for ever."""


class ContextWindow:
    """Fits conversations into a budget of tokens."""

    def __init__(  # noqa: PLR0913 - one for each thing that somebody decides
        self,
        max_tokens: int = 100_000,
        *,
        recent: int = 20,
        recent_share: float = 0.7,
        summary_share: float = 0.05,
        retrieved_share: float = 0.15,
        tool_result_max: int = 4_000,
        summariser: Summariser | None = None,
        wait_s: float = 5.0,
        count: CountMessage | None = None,
        watch: Callable[[WindowReport], None] | None = None,
    ) -> None:
        """Everything is kept word for word while it fits in `max_tokens`; what no longer does is summarised.

        After a cut the newest `recent` messages are kept, fewer if they are larger than `recent_share` of the budget.
        `tool_result_max`: tokens that one result of a tool may have. `wait_s`: how long a reply waits for a summary.
        Without a `summariser` there is an extract in its place, which says so.
        """
        self.max_tokens = max_tokens
        self._recent = max(1, recent)
        self._recent_share = recent_share
        self._summary_tokens = int(max_tokens * summary_share)
        self._retrieved_tokens = int(max_tokens * retrieved_share)
        self._tool_result_max = max(1, min(tool_result_max, max_tokens // 2))
        self.summariser = summariser
        self._wait_s = wait_s
        self._sizes = Sizes(count)
        self._watch = watch
        self._trims_known: OrderedDict[int, tuple[Message, Message]] = OrderedDict()

    async def fit(
        self,
        messages: Sequence[Message],
        *,
        caller: Caller | None = None,
        tools: Sequence[ToolSpec] = (),
        retrieved: Sequence[Message] = (),
        where: Where = nowhere,
        reserve: int = 0,
    ) -> Fitted:
        """What a model is to read of `messages` (the whole conversation from its beginning, oldest first).

        `retrieved`: what was looked up for the last question, best first. `where` says where the whole of a tool's result
        lies. `reserve`: tokens kept free for the answer. Raises `ContextTooLong` when instructions, pinned messages and
        tools alone are more than the budget.
        """
        tools_tokens = self._sizes.of_tools(tools)
        budget = self.max_tokens - reserve - tools_tokens
        if not retrieved and self._fits(messages, budget):
            return self._as_it_is(messages, tools_tokens)
        whole, gone = mended(messages)
        pieces = [self._piece(index, message, where) for index, message in whole]
        trimmed = self._trims(pieces, "tool_result", [piece.source for piece in pieces])
        room = Room(
            tokens=budget - (self._retrieved_tokens if retrieved else 0),
            summary=self._summary_tokens,
            recent_tokens=int(self.max_tokens * self._recent_share),
            recent=self._recent,
        )
        before, after, question = self._cut(pieces, room)
        self._check(before + after, budget, tools_tokens)
        covered = [piece for piece in before if not piece.stays or piece.question]
        source, summary, covers = await self._summary(covered, before + after, budget, caller or Caller())
        kept = [piece for piece in before if piece.stays]
        fitted, dropped, cut_short = self._squeezed(kept + after, budget - self._size_of(summary), where)
        trimmed += cut_short
        looked_up, refused = self._looked_up(retrieved, budget - self._tokens(fitted) - self._size_of(summary))
        out = _joined(fitted, question, before, summary, looked_up)
        left_out = [LeftOut(index=index, tokens=0, why=why) for index, why in gone]  # type: ignore[arg-type]  # both are reasons
        left_out += [
            self._gone(piece, "recent", summarised=source != "extract" and n < covers)
            for n, piece in enumerate(covered)
            if not piece.stays
        ]
        left_out += [self._gone(piece, "too_large") for piece in dropped] + refused
        parts = {
            "system": sum(self._sizes.of(piece.message) for piece in fitted if is_pinned(piece.message)),
            "recent": sum(self._sizes.of(piece.message) for piece in fitted if not is_pinned(piece.message)),
            "summary": self._size_of(summary),
            "retrieved": self._sizes.of_all(looked_up),
            "tools": tools_tokens,
        }
        report = WindowReport(
            max_tokens=self.max_tokens,
            tokens=sum(parts.values()),
            parts=parts,
            estimated=self._sizes.estimated,
            summary=source,
            summary_covers=covers,
            stable=_stable(out, looked_up),
            left_out=left_out,
            trimmed=trimmed,
        )
        return self._seen(Fitted(out, report))

    # -- what stays whole

    def _fits(self, messages: Sequence[Message], budget: int) -> bool:
        """Whether there is nothing to do, as for most conversations: that is worth knowing quickly."""
        of, most = self._sizes.of, self._tool_result_max
        for message in messages:
            size = of(message)
            budget -= size
            if size > most and not is_pinned(message):
                return False
        return budget >= 0 and is_whole(messages)

    def _as_it_is(self, messages: Sequence[Message], tools_tokens: int) -> Fitted:
        of = self._sizes.of
        system = sum(of(message) for message in messages if is_pinned(message))
        every = sum(map(of, messages))
        parts = {"system": system, "recent": every - system, "summary": 0, "retrieved": 0, "tools": tools_tokens}
        report = WindowReport(
            max_tokens=self.max_tokens,
            tokens=every + tools_tokens,
            parts=parts,
            estimated=self._sizes.estimated,
            stable=len(messages),
        )
        return self._seen(Fitted(list(messages), report))

    def _seen(self, fitted: Fitted) -> Fitted:
        if self._watch is not None:
            self._watch(fitted.report)
        return fitted

    def _piece(self, index: int, message: Message, where: Where) -> _Piece:
        """A message with what tools returned cut to size. The results of a conversation come again: each is cut once."""
        if is_pinned(message) or self._sizes.of(message) <= self._tool_result_max:
            return _Piece(index, message, message)
        known = self._trims_known.get(id(message))
        if known is None or known[0] is not message:
            known = (message, results_trimmed(message, self._tool_result_max, self._sizes, where))
            self._trims_known[id(message)] = known
            if len(self._trims_known) > _TRIMS_MAX:
                self._trims_known.popitem(last=False)
        return _Piece(index, message, known[1])

    def _cut(self, pieces: list[_Piece], room: Room) -> tuple[list[_Piece], list[_Piece], int]:
        """What is before the cut, what is after it, and the place of the last question in the conversation (-1: none)."""
        messages = [piece.message for piece in pieces]
        weighed: list[Weighed] = []
        for unit in units_of(messages):
            own = pieces[unit.first : unit.last + 1]
            stays = any(is_pinned(piece.message) for piece in own)
            for piece in own:
                piece.stays = stays
            asked = self._sizes.of(own[0].message) if unit.turn and not stays else 0
            weighed.append(Weighed(unit, self._tokens(own), stays, asked))
        place = weighed[cut_of(weighed, room)].unit.first if weighed else 0
        question = next((n for n in range(len(pieces) - 1, -1, -1) if is_question(messages[n])), -1)
        if question >= 0:
            pieces[question].question = True
            pieces[question].stays = pieces[question].stays or question < place
        return pieces[:place], pieces[place:], pieces[question].index if question >= 0 else -1

    def _check(self, pieces: Sequence[_Piece], budget: int, tools_tokens: int) -> None:
        pinned = sum(self._sizes.of(piece.message) for piece in pieces if piece.stays and is_pinned(piece.message))
        if pinned > budget:
            raise ContextTooLong(
                f"Instructions and pinned messages have {pinned} tokens, tools {tools_tokens}, and there is room for "
                f"{max(0, budget + tools_tokens)} together: pin less, give the agent fewer tools, or raise `max_tokens`."
            )

    # -- what is before the cut

    async def _summary(
        self, covered: Sequence[_Piece], pieces: Sequence[_Piece], budget: int, caller: Caller
    ) -> tuple[Source, Message | None, int]:
        if not covered:
            return "", None, 0
        staying = sum(self._sizes.of(piece.message) for piece in pieces if piece.stays)
        most = min(self._summary_tokens, budget - staying)
        messages = [piece.message for piece in covered]
        found = None
        if self.summariser is not None:
            found = await self.summariser.summary(messages, caller, self._sizes, wait_s=self._wait_s)
        if found is None:
            text = extract_of(messages, most, self._sizes)
            return ("extract", said("user", text), 0) if text else ("", None, 0)
        text = self._sizes.beginning(_SUMMARY_HEAD + found.text, most)
        if not text:
            return "", None, 0
        if found.covers == len(messages):
            return "model", said("user", text), found.covers
        rest = extract_of(messages[found.covers :], most - self._sizes.of_text(text), self._sizes)
        both = self._sizes.beginning(f"{text}\n\n{rest}" if rest else text, most)
        return "behind", said("user", both), found.covers

    # -- what is too large even so

    def _squeezed(
        self, pieces: list[_Piece], most: int, where: Where
    ) -> tuple[list[_Piece], list[_Piece], list[Trimmed]]:
        """What stays and the newest, made to fit: results first, then everything that is not pinned, then older units."""
        if self._tokens(pieces) <= most:
            return pieces, [], []
        given = [piece.message for piece in pieces]
        loose = [piece for piece in pieces if not is_pinned(piece.message)]
        for piece in loose:
            piece.message = results_trimmed(piece.source, _STUB_TOKENS, self._sizes, where)
            if self._tokens(pieces) <= most:
                break
        share = most
        while self._tokens(pieces) > most and share > 1:
            share //= 2
            for piece in sorted(loose, key=lambda one: self._sizes.of(one.message), reverse=True):
                piece.message = shortened(piece.message, share, self._sizes)
                if self._tokens(pieces) <= most:
                    break
        trimmed = self._trims(pieces, "too_large", given)
        fitted, dropped = self._thinned(pieces, most)
        return fitted, dropped, trimmed

    def _thinned(self, pieces: list[_Piece], most: int) -> tuple[list[_Piece], list[_Piece]]:
        """Units go, oldest first, while all of it does not fit; what is pinned and the last unit never do."""
        units = units_of([piece.message for piece in pieces])
        dropped: list[_Piece] = []
        for unit in units[:-1]:
            if self._tokens(pieces) - self._tokens(dropped) <= most:
                break
            own = pieces[unit.first : unit.last + 1]
            if not any(is_pinned(piece.message) for piece in own):
                dropped += own
        gone = {piece.index for piece in dropped}
        fitted = [piece for piece in pieces if piece.index not in gone]
        if self._tokens(fitted) > most:
            raise ContextTooLong(
                f"The last message has more than the {most} tokens that are left beside instructions, pinned messages and "
                "tools, even cut short: pin less, give the agent fewer tools, or raise `max_tokens`."
            )
        return fitted, dropped

    # -- what was looked up

    def _looked_up(self, retrieved: Sequence[Message], spare: int) -> tuple[list[Message], list[LeftOut]]:
        most = min(self._retrieved_tokens, spare)
        taken: list[Message] = []
        refused: list[LeftOut] = []
        for index, message in enumerate(retrieved):
            size = self._sizes.of(message)
            if size <= most:
                taken.append(message)
                most -= size
            else:
                refused.append(LeftOut(index=index, tokens=size, why="retrieved_budget"))
        return taken, refused

    # -- sums

    def _tokens(self, pieces: Sequence[_Piece]) -> int:
        return sum(self._sizes.of(piece.message) for piece in pieces)

    def _size_of(self, message: Message | None) -> int:
        return 0 if message is None else self._sizes.of(message)

    def _gone(self, piece: _Piece, why: Why, **more: Any) -> LeftOut:
        return LeftOut(index=piece.index, tokens=self._sizes.of(piece.message), why=why, **more)

    def _trims(
        self, pieces: Sequence[_Piece], why: Literal["tool_result", "too_large"], before: Sequence[Message]
    ) -> list[Trimmed]:
        return [
            Trimmed(index=piece.index, before=self._sizes.of(old), after=self._sizes.of(piece.message), why=why)
            for piece, old in zip(pieces, before, strict=True)
            if piece.message is not old
        ]


def _joined(
    fitted: Sequence[_Piece], question: int, before: Sequence[_Piece], summary: Message | None, looked_up: list[Message]
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


def _stable(out: Sequence[Message], looked_up: Sequence[Message]) -> int:
    if not looked_up:
        return len(out)
    return next(n for n, message in enumerate(out) if message is looked_up[0])
