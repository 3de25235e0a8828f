"""A conversation fitted into what a model can read: the newest word for word, older ones as a summary, nothing by surprise.

The order of what comes out is the order of what went in, with the summary where the cut is and what was retrieved before
the question it was retrieved for. The beginning stays the same from turn to turn for as long as it can (see `cutting`), so
that providers which keep prefixes have it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from corral.errors import ContextTooLong
from corral.memory.cutting import Room
from corral.memory.extracting import extract_of
from corral.memory.fitting import Fitting, Piece, joined, stable_part
from corral.memory.report import Fitted, LeftOut, Source, Trimmed, WindowReport
from corral.memory.sizes import CountMessage, Sizes, said
from corral.memory.summarising import Summariser
from corral.memory.trimming import Where, nowhere, results_trimmed
from corral.memory.units import is_pinned, mended
from corral.messages import Caller, Message, ToolSpec

_SUMMARY_HEAD = "Summary of the conversation so far:\n"
_TRIMS_MAX = 256
_MODELS_MAX = 16


class ContextWindow:
    """Fits conversations into a budget of tokens. All methods are called on one loop."""

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
        self._count = count
        self._watch = watch
        self._tools: OrderedDict[str, dict[int, tuple[ToolSpec, int]]] = OrderedDict()
        self._trims: OrderedDict[int, tuple[Message, Message]] = OrderedDict()

    async def fit(  # noqa: PLR0913 - what there is of a call, all of it by name
        self,
        messages: Sequence[Message],
        *,
        model: str = "",
        tools: Sequence[ToolSpec] = (),
        tenant: str = "default",
        session: str = "",
        caller: Caller | None = None,
        retrieved: Sequence[Message] = (),
        where: Where = nowhere,
        reserve: int = 0,
        before: Fitted | None = None,
    ) -> Fitted:
        """What a model is to read of `messages`: the conversation, oldest first, best from its very beginning.

        `caller` is who is charged for a summary; summaries belong to its tenant and session (else `tenant` and `session`).
        `retrieved`: what was looked up for the last question, best first. `where` says where the whole of a tool's result
        lies. `reserve`: tokens kept free for the answer. `before`: what this returned last time for the same conversation, so that
        it weighs only what was added since. Raises `ContextTooLong` when instructions, pinned messages and
        tools alone are more than the budget.
        """
        sizes = before.sizes if before is not None and before.sizes.model == model else self._sizes_of(model)
        tools_tokens = sizes.of_tools(tools)
        budget = self.max_tokens - reserve - tools_tokens
        if not retrieved and (as_it_is := self._as_it_is(messages, budget, tools_tokens, sizes)) is not None:
            return as_it_is
        whole, gone = mended(messages)
        fitting = Fitting([self._piece(index, message, where, sizes) for index, message in whole], sizes)
        trimmed = fitting.trims(fitting.pieces, "tool_result", [piece.source for piece in fitting.pieces])
        self._check(fitting, budget, tools_tokens)
        caller = caller or Caller(tenant=tenant, session_id=session)
        room = Room(
            tokens=budget - (self._retrieved_tokens if retrieved else 0),
            summary=self._summary_tokens,
            recent_tokens=int(self.max_tokens * self._recent_share),
            recent=self._recent,
        )
        older, newer = fitting.cut(room, await self._summarised(fitting, caller))
        covered = [piece for piece in older if not piece.stays or piece.question]
        source, summary, covers = await self._summary(covered, fitting, budget, caller)
        left = budget - (sizes.of(summary) if summary else 0)
        kept = [piece for piece in older if piece.stays]
        fitted, dropped, cut_short = fitting.squeezed(kept + newer, left, where)
        looked_up, refused = self._looked_up(retrieved, left - fitting.tokens(fitted), sizes)
        out = joined(fitted, fitting.question, older, summary, looked_up)
        left_out = [LeftOut(index=index, tokens=0, why=why) for index, why in gone]
        left_out += [
            LeftOut(index=piece.index, tokens=sizes.of(piece.message), why="recent", summarised=n < covers)
            for n, piece in enumerate(covered)
            if not piece.stays
        ]
        left_out += [LeftOut(index=one.index, tokens=sizes.of(one.message), why="too_large") for one in dropped]
        parts = {
            "system": sizes.of_all([message for message in out if is_pinned(message)]),
            "recent": sizes.of_all(out),
            "summary": sizes.of(summary) if summary else 0,
            "retrieved": sizes.of_all(looked_up),
            "tools": tools_tokens,
        }
        parts["recent"] -= parts["system"] + parts["summary"] + parts["retrieved"]
        return self._seen(
            out,
            parts,
            sizes,
            summary=source,
            summary_covers=covers,
            stable=stable_part(out, looked_up),
            left_out=left_out + refused,
            trimmed=trimmed + cut_short,
        )

    # -- where there is nothing to do, as for most conversations

    def _as_it_is(self, messages: Sequence[Message], budget: int, tools: int, sizes: Sizes) -> Fitted | None:
        """All of it, word for word; none: something must be done."""
        found = sizes.sum_of(messages)
        if found.tokens > budget or found.largest > self._tool_result_max or not found.whole:
            return None
        parts = {
            "system": found.pinned,
            "recent": found.tokens - found.pinned,
            "summary": 0,
            "retrieved": 0,
            "tools": tools,
        }
        return self._seen(list(messages), parts, sizes, stable=len(messages))

    # -- the pieces

    def _sizes_of(self, model: str) -> Sizes:
        """Those of a conversation that begins here. What is known of tools is kept: they come again in all of them."""
        tools = self._tools.get(model)
        if tools is None:
            tools = self._tools[model] = {}
            if len(self._tools) > _MODELS_MAX:
                self._tools.popitem(last=False)
        return Sizes(self._count, model, tools)

    def _piece(self, index: int, message: Message, where: Where, sizes: Sizes) -> Piece:
        """A message with what tools returned cut to size. The results of a conversation come again: each is cut once."""
        if is_pinned(message) or sizes.of(message) <= self._tool_result_max:
            return Piece(index, message, message)
        known = self._trims.get(id(message))
        if known is None or known[0] is not message:  # held here, so that its id is not another's
            known = (message, results_trimmed(message, self._tool_result_max, sizes, where))
            self._trims[id(message)] = known
            if len(self._trims) > _TRIMS_MAX:
                self._trims.popitem(last=False)
        return Piece(index, message, known[1])

    def _check(self, fitting: Fitting, budget: int, tools_tokens: int) -> None:
        pinned = fitting.tokens([piece for piece in fitting.pieces if is_pinned(piece.message)])
        if pinned > budget:
            raise ContextTooLong(
                f"Instructions and pinned messages have {pinned} tokens, tools {tools_tokens}, and there is room for "
                f"{max(0, budget + tools_tokens)} together: pin less, give the agent fewer tools, or raise `max_tokens`."
            )

    # -- what is before the cut

    async def _summarised(self, fitting: Fitting, caller: Caller) -> int:
        """How many of the pieces that may go the kept summary covers: the cut is not before that."""
        if self.summariser is None:
            return 0
        loose = [piece.source for piece in fitting.pieces if not piece.stays]
        found = await self.summariser.newest(loose, caller)
        return 0 if found is None else found.upto

    async def _summary(
        self, covered: Sequence[Piece], fitting: Fitting, budget: int, caller: Caller
    ) -> tuple[Source, Message | None, int]:
        if not covered:
            return "", None, 0
        sizes = fitting.sizes
        most = min(self._summary_tokens, budget - fitting.tokens([piece for piece in fitting.pieces if piece.stays]))
        messages = [piece.source for piece in covered]
        found = None
        if self.summariser is not None:
            found = await self.summariser.summary(messages, caller, sizes, wait_s=self._wait_s)
        if found is None:
            text = extract_of(messages, most, sizes)
            return ("extract", said("user", text), 0) if text else ("", None, 0)
        text = sizes.beginning(_SUMMARY_HEAD + found.summary.text, most)
        if not text:
            return "", None, 0
        if found.upto == len(messages):
            return "model", said("user", text), found.upto
        rest = extract_of(messages[found.upto :], most - sizes.of_text(text), sizes)
        both = sizes.beginning(f"{text}\n\n{rest}", most) if rest else text
        return "behind", said("user", both), found.upto

    # -- what was looked up

    def _looked_up(self, retrieved: Sequence[Message], spare: int, sizes: Sizes) -> tuple[list[Message], list[LeftOut]]:
        most = min(self._retrieved_tokens, spare)
        taken: list[Message] = []
        refused: list[LeftOut] = []
        for index, message in enumerate(retrieved):
            size = sizes.of(message)
            if size <= most:
                taken.append(message)
                most -= size
            else:
                refused.append(LeftOut(index=index, tokens=size, why="retrieved_budget"))
        return taken, refused

    # -- what came of it

    def _seen(
        self,
        messages: list[Message],
        parts: dict[str, int],
        sizes: Sizes,
        *,
        summary: Source = "",
        summary_covers: int = 0,
        stable: int = 0,
        left_out: Sequence[LeftOut] = (),
        trimmed: Sequence[Trimmed] = (),
    ) -> Fitted:
        report = WindowReport(
            max_tokens=self.max_tokens,
            tokens=sum(parts.values()),
            parts=parts,
            estimated=sizes.estimated,
            summary=summary,
            summary_covers=summary_covers,
            stable=stable,
            left_out=list(left_out),
            trimmed=list(trimmed),
        )
        if self._watch is not None:
            self._watch(report)
        return Fitted(messages, report, sizes)
