"""A budget for code of one's own."""

from __future__ import annotations

import httpx
import pytest
from budget_scene import ACME

from corral import App, TokenBudgetManager
from corral.errors import ConfigError
from corral.limits.budget_news import BudgetExceeded
from corral.messages import Caller


async def test_so_much_a_month():
    budget = TokenBudgetManager(monthly_budget_usd=10, ladder=[{"at": 0.5, "do": "smaller_model", "to": "small"}])
    async with budget.spending(usd=2) as call:
        call.took(usd=6)
    status = await budget.status()
    assert (status.spent_usd, status.limit_usd, status.used, status.steps) == (6, 10, 0.6, ("smaller_model",))
    with pytest.raises(BudgetExceeded):
        async with budget.spending(usd=5):
            pytest.fail("there is too little")
    with pytest.raises(RuntimeError):
        async with budget.spending(usd=4):
            raise RuntimeError
    async with budget.spending(usd=4):
        pass  # it does not say what it took
    assert (await budget.status()).spent_usd == 10
    await budget.stop()
    await budget.stop()


async def test_money_a_month_and_tokens_a_day_for_each_user():
    budget = TokenBudgetManager(10, daily_tokens=100, by=["user"])
    async with budget.spending(usd=1, tokens=90, caller=ACME):
        pass
    with pytest.raises(BudgetExceeded, match=r"'own\.day' of 'ann' allows 100 tokens a day"):
        async with budget.spending(usd=1, tokens=20, caller=ACME):
            pytest.fail("there is too little")
    status = await budget.status(ACME)
    assert (status.spent_tokens, status.limit_tokens, status.used) == (90, 100, 0.9)
    assert (await budget.status(Caller(tenant="acme", user_id="bob"))).used == 0
    await budget.stop()


@pytest.mark.parametrize("given", [{}, {"monthly_budget_usd": 0}, {"daily_tokens": 1, "by": ["users"]}])
def test_what_makes_no_sense_is_refused(given):
    with pytest.raises(ConfigError):
        TokenBudgetManager(**given)


async def test_in_a_service_it_is_one_for_all_workers(build):
    async def worker():
        app, budget = App(), TokenBudgetManager(monthly_budget_usd=10)

        @app.entrypoint
        async def spend(payload):
            async with budget.spending(usd=payload["usd"]):
                return (await budget.status()).used

        app.on_shutdown(budget.stop)
        service = await build(app)
        return httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral"), budget

    one, budget = await worker()
    two, _ = await worker()
    async with one, two:
        assert (await one.post("/invocations", json={"usd": 6})).json() == 0.6
        await budget.stop()
        refused = await two.post("/v1/agents/main/invocations", json={"usd": 6})
        assert refused.status_code == 402, refused.text
        assert (await two.post("/invocations", json={"usd": 4})).json() == 1.0
