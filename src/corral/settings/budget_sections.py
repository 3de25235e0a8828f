"""How much may be spent, by whom and in what time, and what happens on the way to its end."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from corral.settings.section import Count, Section

Do = Literal["warn", "smaller_model", "shorter_context", "cached_only", "queue", "reject"]


class LadderStep(Section, frozen=True):
    """What is done from some part of a budget on."""

    at: Annotated[float, Meta(gt=0, le=1)]
    """From which part of the budget on: `0.8`."""
    do: Do
    """`warn` somebody, ask a `smaller_model`, send a `shorter_context`, give `cached_only` answers, `queue` jobs until the budget is whole again, or `reject`."""
    to: str = ""
    """For `smaller_model`: which one."""
    keep: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    """For `shorter_context`: how much of the conversation is sent, its instructions and its end."""


class BudgetSettings(Section, frozen=True):
    """One budget: so much money, so many tokens, or both."""

    usd: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    """How much money may be spent in a period."""
    tokens: Count | None = None
    """How many tokens may be read and written in a period."""
    period: Literal["total", "day", "month"] = "month"
    """When it is whole again; `total`: never."""
    zone: str = "UTC"
    """In whose days and months: `Europe/Berlin`."""
    by: list[str] = []
    """For each of what it is counted: `user`, `session`, `run`, `agent`, `tier`, `tag:team`; none: all of a tenant share it."""
    only: dict[str, list[str]] = {}
    """For whom it is, as patterns: `{tenant: [acme], agent: ["research*"]}`; empty: for everybody."""
    ladder: list[LadderStep] = []
    """What is done on the way to its end, in this order; at its end calls are refused, unless a step says otherwise."""
    unpriced: Literal["refuse", "allow"] = "refuse"
    """What happens to calls of models whose price is not known, where the budget is one of money."""
    when_down: Literal["local", "open", "closed"] = "local"
    """While the store is away: each worker counts by itself from where the budget stood, everybody may spend, or nobody may."""
    lease_s: Annotated[float, Meta(ge=1, le=86_400)] = 30.0
    """What a worker that died had set aside is free again after this long."""
    webhook: str = ""
    """Told of each step that is reached, once per period: an `https://` address. Signed with `jobs.callback_secret`."""
