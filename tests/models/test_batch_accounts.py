"""Batches at a provider count in budgets, limits on callers and the bill: set aside when handed in, set right when collected."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import msgspec
import pytest
from faulty_server import Answer, faulty_server

from corral.backends.sqlite.stores import SqliteStores
from corral.context import Context, enter_context, leave_context
from corral.errors import CorralError, ModelAuthFailed, ModelRequestInvalid, ModelUnavailable
from corral.limits.budget import PriceUnknown
from corral.limits.budget_news import BudgetExceeded
from corral.limits.budget_rules import rules_of
from corral.limits.budgets import Budgets
from corral.limits.rates import RateExceeded, Rates
from corral.limits.store import SpendQuery
from corral.messages import Caller, Message, ModelCall, as_parts
from corral.models.batch_apis import batches_at
from corral.models.provider_batches import cancel_batch, collect_batch, poll_batch, submit_batch
from corral.observability.metrics import Metrics
from corral.settings.budget_sections import BudgetSettings
from corral.settings.model_sections import CacheSettings, ModelSettings
from corral.settings.sections import Settings, StoreSettings
from corral.wiring.modelling import Modelling
from ready import ready_url

ACME = Caller(tenant="acme", user_id="ann")
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
FULL_USD = (100 * 2.0 + 20 * 8.0) / 1e6
"""Of one answer of gpt-4.1, asked by itself."""


def calls(count=3, model="gpt-4.1", **more):
    said = [Message(role="user", content=as_parts("Summarise this."))]
    return [ModelCall(model=model, messages=said, max_tokens=1000, caller=ACME, **more) for _ in range(count)]


class Account:
    """OpenAI's batches, as far as they are needed."""

    def __init__(self, server):
        self.server = server
        self.state = {"id": "b-1", "status": "completed", "output_file_id": "out"}
        self.answered = (0, 1, 2)
        self.upload = Answer(pieces=[b'{"id": "file-1"}'])
        server.answers = self.answer

    def answer(self, asked):
        if asked.path == "/v1/files":
            return self.upload
        if asked.path == "/v1/files/out/content":
            body = {"id": "c", "model": "gpt-4.1", "usage": USAGE}
            body["choices"] = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Ok"}}]
            lines = [
                {"custom_id": str(n), "response": {"status_code": 200, "body": body}} for n in reversed(self.answered)
            ]
            return Answer(pieces=[b"\n".join(json.dumps(line).encode() for line in lines)])
        return Answer(pieces=[json.dumps(self.state).encode()])


@asynccontextmanager
async def house(folder, server, *, rates=None, budget=None):
    """A service's models on one store, as one worker has them."""
    stores = SqliteStores(ready_url(folder, "batches.db"))
    await stores.start()
    prices = folder / "prices.json"
    prices.write_text(json.dumps({"version": "1", "models": [{"id": "openai/gpt-4.1", "input": 2, "output": 8}]}))
    provider = {"base_url": f"{server.url}/v1", "api_key": "sk-secret-key"}
    models = msgspec.convert({"providers": {"openai": provider}, "prices": str(prices)}, ModelSettings)
    budgets = Budgets(rules_of({"all": BudgetSettings(**(budget or {"usd": 1.0}))}), stores.budgets)
    await budgets.start()
    settings = Settings(models=models, cache=CacheSettings(), store=StoreSettings(url=stores.url))
    modelling = Modelling(settings, stores, Metrics(), budgets=budgets, rates=rates, env={})
    await modelling.start()

    async def spent():
        await budgets.drain()
        ((_, standing),) = await budgets.standings(budgets.pockets(ACME))
        return round(standing.spent.usd, 9), standing.spent.tokens

    async def billed():
        await modelling.ledger.drain()
        return await stores.ledger.spend("acme", SpendQuery(since=0, by="model"))

    modelling.spent, modelling.billed = spent, billed
    try:
        yield modelling
    finally:
        await modelling.stop()
        await budgets.stop()
        await stores.stop()


@pytest.fixture
async def account():
    async with faulty_server() as server:
        yield Account(server)


async def test_what_is_set_aside_gives_way_to_what_it_cost_once(account, tmp_path):
    async with house(tmp_path, account.server) as models:
        api = batches_at("openai")
        handle = msgspec.json.decode(msgspec.json.encode(await submit_batch(api, calls())))
        usd, tokens = await models.spent()
        assert usd == pytest.approx(3 * (1000 * 8 + tokens % 1000 / 3 * 2) / 1e6 / 2, rel=0.01)
        assert 3000 < tokens < 3200
        assert await models.billed() == []
    async with house(tmp_path, account.server) as models:  # another worker goes on, after the first one is gone
        api = batches_at("openai")
        assert (await models.spent())[1] == tokens
        assert (await poll_batch(api, handle)).done
        for _ in range(3):
            answers = await collect_batch(api, handle)
            assert [answer.reply.cost_usd for answer in answers] == pytest.approx([FULL_USD / 2] * 3)
            assert await models.spent() == (pytest.approx(3 * FULL_USD / 2), 360)
        (row,) = await models.billed()
        assert (row.key, row.calls, row.cost_usd) == ("openai/gpt-4.1", 3, pytest.approx(3 * FULL_USD / 2))


async def test_only_what_was_answered_is_paid_and_what_failed_is_free(account, tmp_path):
    async with house(tmp_path, account.server) as models:
        api = batches_at("openai")
        handle = await submit_batch(api, calls())
        account.answered = (1,)
        await cancel_batch(api, handle)
        answers = await collect_batch(api, handle)
        assert [answer.code for answer in answers] == ["model_failed", "", "model_failed"]
        assert await models.spent() == (pytest.approx(FULL_USD / 2), 120)
        account.state = {"id": "b-2", "status": "validating"}
        handle = await submit_batch(api, calls(2))
        account.state = {"id": "b-2", "status": "failed"}
        assert (await poll_batch(api, handle)).state == "failed"
        assert await models.spent() == (pytest.approx(FULL_USD / 2), 120)


async def test_a_batch_that_does_not_fit_into_the_budget_is_not_handed_in(account, tmp_path):
    async with house(tmp_path, account.server, budget={"usd": 0.01}) as models:
        api = batches_at("openai")
        with pytest.raises(BudgetExceeded, match="all"):
            await submit_batch(api, calls(3))
        assert account.server.asked == []
        await submit_batch(api, calls(2))
        assert (await models.spent())[0] > 0.008
        with pytest.raises(PriceUnknown, match="no-such-model"):
            await submit_batch(api, calls(1, model="no-such-model"))


@pytest.mark.parametrize(
    ("answer", "error", "is_kept"),
    [
        (Answer(status=401, pieces=[b'{"error": {"message": "no"}}']), ModelAuthFailed, False),
        (Answer(fault="close"), ModelUnavailable, False),
        (Answer(pieces=[b'{"id": '], fault="cut"), CorralError, True),
    ],
)
async def test_what_the_provider_did_not_take_does_not_count(answer, error, is_kept, account, tmp_path):
    rates = Rates(limits={"all": {"tokens_per_day": 10_000}})
    async with house(tmp_path, account.server, rates=rates) as models:
        api = batches_at("openai")
        account.upload = answer
        with pytest.raises(error):
            await submit_batch(api, calls(5))
        assert bool((await models.spent())[1]) is is_kept
        account.upload = Answer(pieces=[b'{"id": "file-1"}'])
        if is_kept:
            with pytest.raises(RateExceeded):
                await submit_batch(api, calls(5))
        else:
            await submit_batch(api, calls(5))
    await rates.stop()


async def test_callers_limits_count_the_whole_batch(account, tmp_path):
    rates = Rates(limits={"all": {"tokens_per_day": 10_000}})
    async with house(tmp_path, account.server, rates=rates) as models:
        api = batches_at("openai")
        await submit_batch(api, calls(5))
        spent = await models.spent()
        with pytest.raises(RateExceeded):
            await submit_batch(api, calls(5))
        assert await models.spent() == spent
    await rates.stop()


async def test_a_batch_is_its_tenants_own(account, tmp_path):
    async with house(tmp_path, account.server) as models:
        api = batches_at("openai")
        handle = await submit_batch(api, calls())
        spent = await models.spent()
        context = Context("r-1", "support")
        context.tenant = "other"
        token = enter_context(context)
        try:
            with pytest.raises(ModelRequestInvalid, match="another tenant"):
                await collect_batch(api, handle)
        finally:
            leave_context(token)
        assert await models.spent() == spent
