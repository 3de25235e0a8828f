"""A run as what happened in it, entry by entry: whoever folds the entries can go on where they end."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from corral.context import Context
from corral.messages import Message, ModelReply, ToolCall, ToolReply, Usage

_encode_sorted = msgspec.json.Encoder(order="deterministic").encode

TAINTED = "tainted"
"""In a message's metadata and in a run's notes: where words came from that nobody of ours wrote."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Something that is so from now on. Entries are only ever appended."""

    at: float = 0.0
    """When it was written, in seconds since 1970."""


class Asked(Entry, frozen=True, kw_only=True, tag="asked"):
    """The first entry: what the run is about.

    The conversation before it is not copied: it is read again from the session, up to the event that was its newest.
    """

    agent: str
    messages: list[Message]
    """What was asked, with what the agent's instructions say already filled in (role `system`)."""
    session: str = ""
    session_at: str = ""
    """The session's newest event when the run began; empty: it had none."""
    parent: str = ""
    """The run this is a fork of."""


class Answered(Entry, frozen=True, kw_only=True, tag="answered"):
    """The model's answer of a step; steps count from 1."""

    step: int
    reply: ModelReply
    wasted_usd: float = 0.0
    """What calls ahead have cost that nobody had use for, since the answer before."""


class ToolDone(Entry, frozen=True, kw_only=True, tag="tool_done"):
    """A tool that the step's answer asked for has replied, with a result or a fault."""

    step: int
    reply: ToolReply


class Told(Entry, frozen=True, kw_only=True, tag="told"):
    """Messages that no model said.

    `repair` asks to mend an answer, `guard` stands in place of an answer, and `steer` comes from somebody outside.
    """

    step: int
    messages: list[Message]
    why: Literal["repair", "guard", "steer"]


class ApprovalWanted(Entry, frozen=True, kw_only=True, tag="approval_wanted"):
    """A call waits for a person."""

    step: int
    approval: str
    """Its id, the same however often the run comes here: see `approval_id`."""
    call: str
    """The call's id in the model's answer."""
    tool: str
    input: dict[str, Any] = {}
    message: str = ""
    rule: str = ""


class Decided(Entry, frozen=True, kw_only=True, tag="decided"):
    """A person has said yes or no."""

    approval: str
    decision: Literal["approve", "refuse"]
    by: str = ""
    note: str = ""
    input: dict[str, Any] | None = None
    """Set: the call is made with this instead."""


class HandedOff(Entry, frozen=True, kw_only=True, tag="handed_off"):
    """Another agent goes on."""

    step: int
    to: str
    reason: str = ""


class Ended(Entry, frozen=True, kw_only=True, tag="ended"):
    """How the run ended. One that failed for a reason that may pass (`retryable`) goes on when it is resumed."""

    outcome: Literal["done", "failed", "cancelled"]
    output: Any = None
    code: str = ""
    message: str = ""
    retryable: bool = False


Made = tuple[str, Any, list[dict[str, Any]]]
"""A call and what came of it: its tool, its input, and the content of the result."""
_NAME = operator.itemgetter(0)

AnyEntry = Asked | Answered | ToolDone | Told | ApprovalWanted | Decided | HandedOff | Ended


class RunState:
    """What a run's entries amount to. `apply` is the only thing that changes it."""

    __slots__ = (
        "answer",
        "approvals",
        "asked",
        "cost_usd",
        "decisions",
        "ended",
        "entries",
        "hand_offs",
        "messages",
        "pending",
        "repairs",
        "results",
        "step",
        "tainted",
        "tool_calls",
        "tools_called",
        "turns",
        "unpriced",
        "usage",
    )

    def __init__(self) -> None:
        """Of a run that has not begun."""
        self.asked: Asked | None = None
        self.messages: list[Message] = []
        """The run's own part of the conversation: what was asked, answers, and results of tools. Whole turns only."""
        self.step = 0
        """Answers so far."""
        self.answer: ModelReply | None = None
        """The last answer, if it calls no tool and nothing was said since: what the run may end with."""
        self.pending: list[ToolCall] = []
        """Calls of the last answer that have no result yet, in its order, edited as a person decided."""
        self.results: dict[str, ToolReply] = {}
        """Results of the last answer's calls, by the call's id."""
        self.approvals: dict[str, ApprovalWanted] = {}
        """Of the calls that are pending, by the call's id."""
        self.decisions: dict[str, Decided] = {}
        """What was decided about them, by the call's id."""
        self.turns: list[list[Made]] = []
        """Per step that called tools: each call with its result, in an order that is not the calls'."""
        self.tools_called: list[str] = []
        """Names of all tools that have replied, each once, the first first."""
        self.tainted: tuple[str, ...] = ()
        """Where words came from that nobody of ours wrote and that stand in `messages`."""
        self.tool_calls = 0
        self.hand_offs = 0
        self.repairs = 0
        self.usage = Usage()
        self.cost_usd = 0.0
        self.unpriced = False
        """Whether an answer's price is not known, so that `cost_usd` is not all."""
        self.ended: Ended | None = None
        self.entries = 0

    @property
    def waits_for(self) -> list[ApprovalWanted]:
        """What a person must still decide."""
        return [wanted for call, wanted in self.approvals.items() if call not in self.decisions]

    @property
    def over(self) -> bool:
        """Whether there is nothing to go on with."""
        return self.ended is not None and not self.ended.retryable

    @property
    def cost(self) -> float | None:
        """What it cost; none: a price is not known."""
        return None if self.unpriced else self.cost_usd

    def apply(self, entry: AnyEntry) -> None:
        """Take the next entry into account."""
        self.entries += 1
        self.ended = None  # whatever comes after an end has gone on
        match entry:
            case Answered():
                self._answered(entry)
            case ToolDone():
                self._tool_done(entry.reply)
            case Asked():
                self.asked = entry
                self.messages = list(entry.messages)
                self.tainted = tainted_in(entry.messages)
            case Told():
                self._told(entry)
            case ApprovalWanted():
                self.approvals[entry.call] = entry
            case Decided():
                self._decided(entry)
            case HandedOff():
                self.hand_offs += 1
            case Ended():
                self.ended = entry

    def _answered(self, entry: Answered) -> None:
        reply = entry.reply
        self.step = entry.step
        self.usage = add_usage(self.usage, reply.usage)
        if reply.cost_usd is None:
            self.unpriced = self.unpriced or bool(reply.usage.total)
        else:
            self.cost_usd += reply.cost_usd
        self.cost_usd += entry.wasted_usd
        if reply.content:
            self.messages.append(reply.as_message())
        self.pending = [
            ToolCall(name=str(part.get("name", "")), input=part.get("input") or {}, id=part["id"])
            for part in reply.content
            if part.get("type") == "tool_use"
        ]
        self.answer = None if self.pending or reply.stop_reason == "pause" else reply
        self.results = {}
        self.approvals = {}
        self.decisions = {}

    def _told(self, entry: Told) -> None:
        if entry.why == "guard":  # instead of what the model said
            if self.messages and self.messages[-1].role == "assistant":
                self.messages.pop()
            if self.answer is not None:
                content = [part for message in entry.messages for part in message.content]
                self.answer = msgspec.structs.replace(self.answer, content=content)
        else:
            self.answer = None
            self.repairs += entry.why == "repair"
        self.messages.extend(entry.messages)

    def _tool_done(self, reply: ToolReply) -> None:
        self.results[reply.id] = reply
        self.tool_calls += 1
        if reply.cost_usd is not None:
            self.cost_usd += reply.cost_usd
        if reply.name not in self.tools_called:
            self.tools_called.append(reply.name)
        for source in reply.tainted:
            if source not in self.tainted:
                self.tainted = (*self.tainted, source)
        self.pending = [call for call in self.pending if call.id != reply.id]
        if not self.pending:
            self._close_turn()

    def _close_turn(self) -> None:
        """Every call has its result: they become the next message, in the order in which the model asked."""
        uses = [part for part in self.messages[-1].content if part.get("type") == "tool_use"]
        replies = [self.results[part["id"]] for part in uses]
        self.messages.append(Message(role="tool", content=[reply.as_part() for reply in replies]))
        made = [
            (str(use.get("name")), use.get("input"), reply.content) for use, reply in zip(uses, replies, strict=True)
        ]
        self.turns.append(_in_order(made))

    def _decided(self, entry: Decided) -> None:
        wanted = next((one for one in self.approvals.values() if one.approval == entry.approval), None)
        if wanted is None:
            return
        self.decisions[wanted.call] = entry
        by = (entry.by or "unnamed") if entry.decision == "approve" else ""
        self.pending = [
            msgspec.structs.replace(call, approved_by=by, input=call.input if entry.input is None else entry.input)
            if call.id == wanted.call
            else call
            for call in self.pending
        ]


def tainted_in(messages: Iterable[Message]) -> tuple[str, ...]:
    """Where words in these came from that nobody of ours wrote: what other agents found carries it along."""
    return tuple(dict.fromkeys(source for one in messages for source in one.metadata.get(TAINTED, ())))


def fold(entries: Iterable[AnyEntry]) -> RunState:
    """The state that these entries lead to."""
    state = RunState()
    for entry in entries:
        state.apply(entry)
    return state


def approval_id(run_id: str, step: int, call: str) -> str:
    """The id of an approval: the same for the same call of the same run."""
    return hashlib.blake2b(f"{run_id}/{step}/{call}".encode(), digest_size=12).hexdigest()


def effect_key(run_id: str, step: int, call: str) -> str:
    """The idempotency key of a tool's call: the same however often a run comes to it."""
    return f"{run_id}/{step}/{call}"


def add_usage(one: Usage, other: Usage) -> Usage:
    """Both together."""
    return Usage(
        input=one.input + other.input,
        cache_read=one.cache_read + other.cache_read,
        cache_write=one.cache_write + other.cache_write,
        output=one.output + other.output,
        reasoning=one.reasoning + other.reasoning,
        estimated=one.estimated or other.estimated,
    )


def _in_order(made: list[Made]) -> list[Made]:
    """The same calls with the same results are the same list, whichever was asked for first."""
    if len({name for name, _, _ in made}) == len(made):
        return sorted(made, key=_NAME)
    return sorted(made, key=_encode_sorted)


# -- where entries are kept -------------------------------------------------------------------------------------------


class Keeper(Protocol):
    """Keeps the entries of one run, for who works on it now."""

    @property
    def run_id(self) -> str:
        """The run's id."""
        ...

    @property
    def entries(self) -> Sequence[AnyEntry]:
        """What was written before this go: none, and the run is new."""
        ...

    @property
    def lasts(self) -> bool:
        """Whether this run can be gone on with elsewhere: its effects must be told from new ones then."""
        ...

    async def append(self, entry: AnyEntry) -> None:
        """Write an entry down; the loop acts on it once this has returned. Raises if the run is no longer ours."""
        ...

    async def decisions(self, wanted: Sequence[ApprovalWanted]) -> Sequence[Decided]:
        """What people have said to these, waiting for it where waiting costs nothing (in a job); none: the run pauses here.

        They are appended by the loop, not by the keeper.
        """
        ...

    async def close(self) -> None:
        """This go is over, whether the run is or not. May be called twice."""
        ...


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is about to begin, or to go on."""

    agent: str
    context: Context | None
    """The invocation it belongs to: tenant, user, session, job."""
    session: str = ""
    run_id: str = ""
    """Set: this run is to go on."""


class Keeping(Protocol):
    """Who keeps runs."""

    async def open(self, opening: Opening) -> Keeper:
        """The keeper of a run. In a job it is the run of the same place in an earlier attempt, if there was one."""
        ...


class InMemory:
    """A keeper that keeps the list and nothing else: a run of its own process."""

    __slots__ = ("entries", "lasts", "run_id")

    def __init__(self, run_id: str, entries: Iterable[AnyEntry] = (), *, lasts: bool = True) -> None:
        """`entries` are what the run begins with: those of another one, to go on from there.

        `lasts`: whoever has this keeper may go on with the run.
        """
        self.lasts = lasts
        self.run_id = run_id
        self.entries: list[AnyEntry] = list(entries)

    async def append(self, entry: AnyEntry) -> None:
        """Add it to the list."""
        self.entries.append(entry)

    async def decisions(self, wanted: Sequence[ApprovalWanted]) -> Sequence[Decided]:  # noqa: ARG002 - the port's shape
        """Nobody can be asked."""
        return ()

    async def close(self) -> None:
        """Nothing is held."""
