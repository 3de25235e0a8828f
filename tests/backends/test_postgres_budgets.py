"""Budgets together on PostgreSQL: what one worker sets aside, no other gives away."""

from __future__ import annotations

import asyncio

import msgspec

from corral.limits.accounts import NOTHING, amount_of, decode_account
from corral.limits.budget_news import BudgetExceeded
from corral.limits.budget_rules import rules_of
from corral.limits.budgets import Budgets
from corral.messages import Caller
from corral.settings.budget_sections import BudgetSettings

ANN = Caller(tenant="acme", user_id="ann")


def budgets_on(stores):
    said = {"team": {"usd": 100}, "user": {"usd": 1_000, "by": ["user"]}}
    return Budgets(rules_of(msgspec.convert(said, dict[str, BudgetSettings])), stores.budgets)


async def test_two_hundred_at_once_at_99_percent_overspend_nothing(postgres_stores, other_postgres_stores):
    workers = [budgets_on(postgres_stores), budgets_on(other_postgres_stores)]
    first = await workers[0].reserve(workers[0].pockets(ANN), amount_of(99))
    workers[0].settle(first, amount_of(99))
    await workers[0].drain()
    passed = 0

    async def call(budgets):
        nonlocal passed
        try:
            reservation = await budgets.reserve(budgets.pockets(ANN), amount_of(0.05))
        except BudgetExceeded:
            return
        passed += 1
        await asyncio.sleep(0)
        budgets.settle(reservation, amount_of(0.05))

    await asyncio.gather(*(call(workers[index % 2]) for index in range(200)))
    for one in workers:
        await one.drain()
    assert passed == 20
    known = await postgres_stores.budgets.read([rule.place(ANN, workers[0].now()) for rule in workers[0].rules])
    for kept in known.accounts:
        account = decode_account(kept.body)
        assert (account.spent, account.held(known.now)) == (amount_of(100), NOTHING)
