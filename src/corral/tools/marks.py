"""What is known of a tool beside what it does: whether it may be repeated, how long it may take, what it costs."""

from __future__ import annotations

from typing import Literal

import msgspec

from corral.errors import ConfigError

Scope = Literal["tenant", "user", "session", "public"]

SCOPES: tuple[Scope, ...] = ("tenant", "user", "session", "public")


class Marks(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The marks of one tool. Those left at none are as the settings say (`tools.…`)."""

    read_only: bool = False
    """It changes nothing anywhere: it may be called ahead, twice, and in read-only mode."""
    idempotent: bool = False
    """Calling it twice with the same arguments is as good as once."""
    timeout_s: float | None = None
    """Longest call, all its attempts included."""
    retries: int | None = None
    """Further attempts after one that failed. Only for tools that may be called twice."""
    cost_usd: float | None = None
    """What one attempt costs."""
    concurrency: int | None = None
    """Calls at a time in one process; none: no limit of its own."""
    cache_ttl_s: float | None = None
    """How long a result is given out again; none: never."""
    cache_scope: Scope = "tenant"
    """Who shares kept results: all of a tenant, one user, one session, or everybody (`public`)."""
    output_max_bytes: int | None = None
    """A longer result is kept apart as an artefact, and its beginning is given."""
    approval: bool = False
    """A person says yes before each call."""
    permissions: tuple[str, ...] = ()
    """What the caller's roles must include."""
    untrusted: bool = False
    """Its results hold words that nobody of ours wrote."""
    source: str = "code"
    """Where it comes from: `code`, `mcp:NAME`, `openapi:NAME`, `url:…`."""

    @property
    def side_effects(self) -> bool:
        """Whether calling it may change something."""
        return not self.read_only

    @property
    def repeatable(self) -> bool:
        """Whether calling it twice does no harm."""
        return self.read_only or self.idempotent


def check_marks(name: str, marks: Marks) -> None:
    """Refuse marks that contradict each other, when the tool is made and not when it is called."""
    if marks.retries and not marks.repeatable:
        raise ConfigError(
            f"The tool {name!r} has retries={marks.retries} but is neither idempotent nor read_only: a second call could do its "
            "work twice. Say idempotent=True if it could not, or leave retries away."
        )
    if marks.cache_ttl_s and not marks.read_only:
        raise ConfigError(
            f"The tool {name!r} has cache_ttl_s={marks.cache_ttl_s:g} but is not read_only: a kept result would stand for work that "
            "is not done. Say read_only=True if it changes nothing, or leave cache_ttl_s away."
        )
    if marks.cache_scope not in SCOPES:
        raise ConfigError(f"The tool {name!r} has cache_scope={marks.cache_scope!r}; take one of {', '.join(SCOPES)}.")
    amounts = {
        "timeout_s": marks.timeout_s,
        "concurrency": marks.concurrency,
        "cache_ttl_s": marks.cache_ttl_s,
        "output_max_bytes": marks.output_max_bytes,
    }
    for what, amount in amounts.items():
        if amount is not None and not amount > 0:
            raise ConfigError(f"The tool {name!r} has {what}={amount}; it must be more than zero.")
    if (marks.retries or 0) < 0 or (marks.cost_usd or 0) < 0:
        raise ConfigError(f"The tool {name!r} has retries or cost_usd below zero.")
