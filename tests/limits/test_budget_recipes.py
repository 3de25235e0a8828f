"""What the recipes and the page of budgets show is what works."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import msgspec
import pytest
import yaml

from corral.agents.agent import Agent
from corral.app import App
from corral.cli.program import VERBS
from corral.gateway import app
from corral.limits.accounts import NOTHING, amount_of
from corral.limits.budget_rules import rules_of
from corral.messages import Caller
from corral.settings.sections import Settings
from corral.testing.contracts.setting import eventually

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["budgets.md", "recipes/monthly-cap.md", "recipes/stop-runaway.md"]
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^    corral ([a-z]+)", re.MULTILINE)


def settings_on(page):
    (shown,) = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    return yaml.safe_load(re.sub(r"\$\{(\w+)\}", lambda found: found[1].lower(), shown))


def client_of(service, key):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral", headers=headers)


@pytest.mark.parametrize("page", PAGES)
def test_the_settings_that_are_shown_are_settings(page):
    assert rules_of(msgspec.convert(settings_on(page), Settings).budgets)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_that_are_shown_are_commands(page):
    verbs = COMMAND.findall((DOCS / page).read_text(encoding="utf-8"))
    assert verbs
    assert set(verbs) <= set(VERBS)


async def test_a_hard_monthly_cap_per_team(build):
    service = await build(app, **settings_on("recipes/monthly-cap.md"))
    budgets = service.guarding.spending.budgets
    body = {"model": "sim/medium", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}

    async def spend(usd):
        reservation = await budgets.reserve(budgets.pockets(Caller(tenant="support")), NOTHING)
        budgets.settle(reservation, amount_of(usd))

    async with (
        client_of(service, "support_key") as support,
        client_of(service, "shop_key") as shop,
        client_of(service, "support_lead_key") as lead,
    ):
        await budgets.standings(budgets.pockets(Caller(tenant="support")))
        await spend(185)
        smaller = await support.post("/v1/chat/completions", json=body)
        assert (smaller.headers["x-corral-degraded"], smaller.json()["model"]) == ("smaller_model", "small")
        await spend(20)
        assert (await support.post("/v1/chat/completions", json=body)).status_code == 402
        others = await shop.post("/v1/chat/completions", json=body)
        assert (others.status_code, "x-corral-degraded" in others.headers) == (200, False)
        assert (await lead.put("/v1/budgets/cap", json={"usd": 250})).json()["limit_usd"] == 250

        async def passes():
            return (await support.post("/v1/chat/completions", json=body)).status_code == 200

        await eventually(passes)


async def test_stop_a_runaway_run(build):
    settings = settings_on("recipes/stop-runaway.md")
    settings["budgets"]["each_run"]["usd"] = 0.00001  # of the simulator's cheap model
    house = App()
    asked = 0

    async def again() -> str:
        """Look once more."""
        return "Not yet."

    agent = Agent("research", "Go on.", tools=[again], model="sim/small")
    house.add(agent)

    @house.entrypoint(name="rounds")
    async def rounds(payload):
        nonlocal asked
        while True:
            asked += 1
            await agent.run("Again!")

    @house.entrypoint(name="slow")
    async def slow(payload):
        await asyncio.sleep(600)

    service = await build(house, **settings)
    async with client_of(service, "") as client:
        answer = await client.post("/v1/agents/rounds/invocations", json={})
        assert (answer.status_code, answer.json()["code"]) == (402, "budget_exceeded")
        assert asked < 100
        running = asyncio.create_task(client.post("/v1/agents/slow/invocations", json={}, headers={"x-user-id": "ann"}))

        async def is_seen():
            return (await client.get("/v1/running", params={"agent": "slow", "user": "ann"})).json()["items"] != []

        await eventually(is_seen)
        await client.post("/v1/running/stop", json={"agent": "slow", "user": "ann"})
        stopped = await running
        assert (stopped.status_code, stopped.json()["code"]) == (409, "cancelled")
