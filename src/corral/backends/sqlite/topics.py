"""Rules for events, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.encoding import findable
from corral.backends.event_rule_rows import bound_of, rule_of
from corral.backends.queries import read_queries
from corral.workflows.topic_store import RulesFull

if TYPE_CHECKING:
    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction
    from corral.workflows.topic_store import EventRule

_SQL = read_queries(Path(__file__).with_name("topics.sql"))


class SqliteTopics:
    """One row per rule."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def save(self, rule: EventRule, *, rules_max: int) -> tuple[EventRule, bool]:
        """Make or replace."""
        bound = bound_of(rule)

        def run(transaction: Transaction) -> tuple[EventRule, bool]:
            was = transaction.execute(_SQL["get"], {"tenant": rule.tenant, "name": rule.name}).fetchone()
            rows = transaction.execute(
                _SQL["save"], {**bound, "rules_max": rules_max, "now": transaction.now}
            ).fetchall()
            if not rows:
                raise RulesFull
            return rule_of(rows[0]), was is None

        return await self._engine.write(run)

    async def remove(self, tenant: str, name: str) -> bool:
        """Remove."""
        if not findable(tenant, name):
            return False
        bound = {"tenant": tenant, "name": name}
        return await self._engine.write(lambda transaction: transaction.execute(_SQL["remove"], bound).rowcount > 0)

    async def get(self, tenant: str, name: str) -> EventRule | None:
        """One of them."""
        found = await self._found("get", {"tenant": tenant, "name": name})
        return found[0] if found else None

    async def rules(self, tenant: str, *, topic: str | None = None) -> list[EventRule]:
        """All of a tenant."""
        return await self._found("list", {"tenant": tenant, "topic": topic})

    async def listening(self, tenant: str, topic: str) -> list[EventRule]:
        """Those of a topic."""
        return await self._found("listening", {"tenant": tenant, "topic": topic})

    async def _found(self, query: str, bound: dict[str, Any]) -> list[EventRule]:
        if not findable(*bound.values()):
            return []
        rows = await self._engine.read(lambda view: view.execute(_SQL[query], bound).fetchall())
        return [rule_of(row) for row in rows]
