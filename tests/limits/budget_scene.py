"""Budgets in a store of the test's own, and a store that can be away."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.errors import StoreUnavailable
from corral.limits.budget_news import BudgetObserver
from corral.limits.budget_rules import rules_of
from corral.limits.budgets import Budgets
from corral.messages import Caller
from corral.settings.budget_sections import BudgetSettings

ACME = Caller(tenant="acme", user_id="ann", run_id="r1", tags={"team": "support"})


class Heard(BudgetObserver):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.news: list[tuple[str, str, float, tuple[str, ...]]] = []
        self.refusals: list[str] = []
        self.steps: list[tuple[str, str]] = []
        self.levels: dict[str, float] = {}

    def reached(self, news: Any) -> None:
        self.news.append((news.place.budget, news.place.who, news.step, news.does))

    def refused(self, rule: Any) -> None:
        self.refusals.append(rule.name)

    def degraded(self, rule: Any, step: str) -> None:
        self.steps.append((rule.name, step))

    def stands(self, budget: str, level: float) -> None:
        self.levels[budget] = level


class Shaky:
    """A store that can be away."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.away = False
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def asked(*args: Any, **more: Any) -> Any:
            self.asked += 1
            if self.away:
                raise StoreUnavailable
            return await method(*args, **more)

        return asked


def budgets_of(
    store: Any, *, heard: Heard | None = None, more: dict[str, Any] | None = None, **budgets: Any
) -> Budgets:
    """As the settings would say them."""
    settings = msgspec.convert(budgets, dict[str, BudgetSettings])
    return Budgets(rules_of(settings), store, observer=heard, **(more or {}))
