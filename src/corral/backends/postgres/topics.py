"""Rules for events, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import findable
from corral.backends.event_rule_rows import bound_of, rule_of
from corral.backends.queries import read_queries
from corral.workflows.topic_store import RulesFull

if TYPE_CHECKING:
    from corral.backends.postgres.engine import Engine
    from corral.workflows.topic_store import EventRule

_SQL = read_queries(Path(__file__).with_name("topics.sql"))

_COLUMNS = ("tenant", "name", "topic", "paused", "body")


class PostgresTopics:
    """One row per rule."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def save(self, rule: EventRule, *, rules_max: int) -> tuple[EventRule, bool]:
        """Make or replace."""
        bound = bound_of(rule)
        rows = await self._engine.fetch(_SQL["save"], *(bound[name] for name in _COLUMNS), rules_max)
        if not rows:
            raise RulesFull
        *kept, is_new = rows[0]
        return rule_of(kept), is_new

    async def remove(self, tenant: str, name: str) -> bool:
        """Remove."""
        if not findable(tenant, name):
            return False
        return await self._engine.fetch_one(_SQL["remove"], tenant, name) is not None

    async def get(self, tenant: str, name: str) -> EventRule | None:
        """One of them."""
        found = await self._found("get", tenant, name)
        return found[0] if found else None

    async def rules(self, tenant: str, *, topic: str | None = None) -> list[EventRule]:
        """All of a tenant."""
        return await self._found("list", tenant, topic)

    async def listening(self, tenant: str, topic: str) -> list[EventRule]:
        """Those of a topic."""
        return await self._found("listening", tenant, topic)

    async def _found(self, query: str, *bound: str | None) -> list[EventRule]:
        if not findable(*bound):
            return []
        return [rule_of(row) for row in await self._engine.fetch(_SQL[query], *bound)]
