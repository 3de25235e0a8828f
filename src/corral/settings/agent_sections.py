"""What an operator decides about agents: how far a run may go when the agent itself says nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from corral.settings.section import Count, Seconds, Section


class AgentSettings(Section, frozen=True):
    """How far a run of an `Agent` may go, where its own `limits` say nothing, and what it reads of its session."""

    steps: Count = 25
    """Questions to a model in one run."""
    tool_calls: Count = 100
    """Calls of tools in one run."""
    seconds: Seconds = 600.0
    """How long one run may take, from when it began or went on; what it waits for people does not count."""
    tokens: Count | None = None
    """Tokens in one run, read and written; none: no limit."""
    usd: Annotated[float, Meta(gt=0)] | None = None
    """What one run may cost, as far as prices are known; none: no limit."""
    hand_offs: Annotated[int, Meta(ge=0)] = 10
    """How often agents may hand the work on within one run."""
    repeats: Annotated[int, Meta(ge=0)] = 3
    """A run that makes the same calls with the same results so many times in a row is stopped, as is one that goes to and fro
    between two or three; 0: never."""
    repairs: Annotated[int, Meta(ge=0, le=5)] = 1
    """How often a model may mend an answer that does not have the shape that was asked for."""
    history_max: Count = 200
    """Newest messages of a session that a run reads."""
    context_tokens: Annotated[int, Meta(ge=1000)] = 100_000
    """What a model reads at most; of a longer conversation it reads the newest part and a summary of the rest."""
    context_recent: Count = 20
    """Newest messages that it then reads word for word, as far as there is room for them."""
    summary_model: str = ""
    """The model that writes the summary, such as `auto:simple_query`; empty: an extract, made without a model."""
    record_tools: bool = True
    """Append calls of tools and their results to the session as well, not only what was asked and answered."""
    keep: Literal["auto", "always"] = "auto"
    """Which runs are stored: those in jobs, those that were begun through the API and those that wait for people (`auto`), or all."""
    kept_s: Seconds = 30 * 86_400.0
    """How long a stored run is kept after it last changed."""
    lease_s: Seconds = 30.0
    """A run whose worker was not heard of for so long is interrupted: it can be resumed elsewhere."""
    cancel_s: Seconds = 2.0
    """How often at most a worker looks whether one of its runs is to be cancelled by another process."""
    approval_ttl_s: Annotated[float, Meta(gt=0)] | None = None
    """A question to people that nobody answered for so long counts as refused; none: it waits forever."""
