"""What an operator decides about how often each caller may ask, and how much at the same time."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from corral.settings.section import Count, Pause, Section

RateName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}(?![\s\S])")]
Amount = Annotated[float, Meta(gt=0, le=1e15)]
Mark = Literal["tenant", "key", "user", "session", "tier", "agent", "model"]
WhenDown = Literal["local", "open", "closed"]


class RateSettings(Section, frozen=True):
    """How often, and for how many tokens; of several amounts each one is kept to. Those named `free_tier` are for the tier `free`."""

    requests_per_second: Amount | None = None
    """In any second."""
    requests_per_minute: Amount | None = None
    """In any minute."""
    requests_per_hour: Amount | None = None
    """In any hour."""
    requests_per_day: Amount | None = None
    """In any 24 hours."""
    tokens_per_second: Amount | None = None
    """Tokens of models, read and written."""
    tokens_per_minute: Amount | None = None
    """In any minute."""
    tokens_per_hour: Amount | None = None
    """In any hour."""
    tokens_per_day: Amount | None = None
    """In any 24 hours."""
    by: list[Mark] = []
    """Whoever has all of these in common shares the limit, always within one tenant. Empty: by `user`, and who names none by the key."""
    only: dict[Mark, list[str]] = {}
    """For whom it is: patterns by mark, such as `tier: [free, trial*]` or `model: [openai/*]`. Empty: for everybody."""
    when_down: WhenDown = "local"
    """While the store is away: each worker keeps to its part (`local`), everybody passes (`open`), or nobody (`closed`)."""


class ConcurrencySettings(Section, frozen=True):
    """How many invocations may run at the same time for one and the same; none: as many as there are."""

    per_session: Count | None = None
    """Of one session. 1 refuses at once what would otherwise wait for the session's turn."""
    per_user: Count | None = None
    """Of one user; who names none goes by the key."""
    per_key: Count | None = None
    """Of one key."""
    per_tenant: Count | None = None
    """Of one tenant."""
    wait_s: Pause = 0.0
    """How long a request may wait for one of the others to end, before it is answered 429."""
    when_down: WhenDown = "local"
    """While the store is away: each worker keeps to its part (`local`), everybody passes (`open`), or nobody (`closed`)."""
