"""What a context window did to a conversation, and why."""

from __future__ import annotations

from typing import Literal

import msgspec

from corral.memory.sizes import Sizes
from corral.messages import Message

Source = Literal["", "model", "behind", "extract"]
Why = Literal["recent", "no_result", "no_call", "retrieved_budget", "too_large"]


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
    sizes: Sizes
    """What was weighed for it: see `before` of `ContextWindow.fit`."""
