"""Settings of who goes first when not all can be served at once."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from corral.settings.section import Count, Pause, Seconds, Section

Score = Annotated[float, Meta(gt=0, le=1000)]


class PriorityWeights(Section, frozen=True):
    """What each class of callers counts. The highest of those that fit is the score."""

    premium_user: Score = 10.0
    """A caller of one of `premium_tiers`."""
    active_session: Score = 5.0
    """The next message of a conversation that is going on."""
    known_user: Score = 4.0
    """Somebody who has been here for longer than `new_user_s`, and begins something new."""
    new_user: Score = 3.0
    """Somebody who is new, or whom nobody knows."""
    background_task: Score = 1.0
    """Work that nobody waits for: schedules, and who says so with `X-Corral-Priority`."""


class PrioritySettings(Section, frozen=True):
    """Who goes first when not all can be served at once, and how much is served at once."""

    enabled: bool = False
    """Have invocations and calls of the gateway wait in line, by score and fairly between tenants, and shed the lowest first. Off, it costs nothing, and what is too much is refused as it comes."""
    weights: PriorityWeights = PriorityWeights()
    """What each class of callers counts."""
    premium_tiers: tuple[str, ...] = ("premium*", "enterprise*")
    """Tiers (patterns) whose callers are premium users."""
    tiers: dict[str, Score] = {}
    """Scores of other tiers, by pattern, such as `gold: 8`."""
    tenants: dict[str, Score] = {}
    """Tenants that get more or less than others of what there is, such as `acme: 2`; 1 for all others."""
    active_session_s: Pause = 600.0
    """A conversation is active for so long after its last message."""
    new_user_s: Pause = 86_400.0
    """Who was first seen less than this ago is new."""
    adaptive: bool = True
    """Serve fewer at once when answers get slower, and more when they do not. Off: always `runtime.concurrency_max`, which is the most in any case."""
    concurrency_min: Count = 8
    """So many are served at once however slow answers are."""
    latency_tolerance: Annotated[float, Meta(gt=1, le=100)] = 1.15
    """So many times the latency of quiet times is accepted, at the 95th percentile."""
    waiting_max: Count = 500
    """Calls that may wait in one worker; of more, the lowest are answered 503 with `Retry-After`."""
    wait_max_s: Seconds = 10.0
    """How long a call may wait; one that would have to wait longer, or past its deadline, is refused at once."""
    elder_turn: Annotated[int, Meta(ge=2, le=1000)] = 8
    """Every so-many-th place goes to the score that had none for the longest: nobody starves."""
    tenant_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """While others wait, no tenant gets more than this share of the places, nor of the line."""
    jobs_share: Annotated[float, Meta(gt=0, le=1)] = 0.25
    """While callers wait in line, a worker in the same process runs no more than this share of its `jobs.concurrency`."""
