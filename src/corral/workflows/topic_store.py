"""The port of topics: which events somebody waits for, and what begins when one comes.

Implemented once per engine in `backends/<engine>/topics.py`, and proved by `corral.testing.contracts.topics`.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from corral.errors import CorralError


class RulesFull(CorralError):
    """There are as many rules as a tenant may have: remove one that is needed no more."""

    status = 409
    code = "rules_full"


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A subscriber: what begins. Either a workflow or a job."""

    workflow: str = ""
    """The name of a workflow."""
    job: dict[str, Any] = {}
    """What `POST /v1/jobs` takes, without an input."""
    input: Any | UnsetType = UNSET
    """What it is given in the place of the event."""
    input_path: str = "$"
    """Which part of the event it is given."""


class EventRule(msgspec.Struct, frozen=True, kw_only=True):
    """Events of a topic that match a pattern go to some subscribers."""

    tenant: str
    name: str
    topic: str = "default"
    pattern: dict[str, Any] = {}
    targets: tuple[Target, ...] = ()
    description: str = ""
    paused: bool = False
    created_at: float = 0.0
    updated_at: float = 0.0


class TopicStore(Protocol):
    """Rules by tenant and name. Every method raises `StoreUnavailable` when the engine does not answer."""

    async def save(self, rule: EventRule, *, rules_max: int) -> tuple[EventRule, bool]:
        """Make a rule, or replace the one of that name: as it is kept now, and whether it is new.

        Durable when it returns. Its times are the store's; a rule that is replaced keeps the time it was made. Raises `RulesFull`
        where a new one would be one of more than `rules_max` of its tenant; those that are made in the same moment may all be.
        """
        ...

    async def remove(self, tenant: str, name: str) -> bool:
        """Remove; False: there was none."""
        ...

    async def get(self, tenant: str, name: str) -> EventRule | None:
        """One of them."""
        ...

    async def rules(self, tenant: str, *, topic: str | None = None) -> list[EventRule]:
        """All of a tenant, or those of one topic, by name."""
        ...

    async def listening(self, tenant: str, topic: str) -> list[EventRule]:
        """Those of a topic that are not paused, by name: every one that was saved before this was asked."""
        ...
