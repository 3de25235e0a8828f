"""The layers: a call that is counted, and a call that becomes smaller before it is refused."""

from __future__ import annotations

import pytest
from budget_scene import Heard, budgets_of

from corral.backends.open import open_stores
from corral.errors import ModelFailed, ModelTimeout, NotCached
from corral.limits.accounts import NOTHING, amount_of
from corral.limits.budget import Budgeted, Estimate, PriceUnknown
from corral.limits.budget_news import BudgetExceeded
from corral.limits.ladder import Laddered
from corral.limits.shortening import shortened
from corral.messages import (
    Caller,
    CallPolicy,
    Delta,
    EmbedCall,
    EmbedReply,
    Message,
    ModelCall,
    ModelReply,
    Usage,
    as_parts,
)
from ready import ready_url

CALLER = Caller(tenant="acme")


@pytest.fixture
async def store(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield stores.budgets
    await stores.stop()


def call(*texts, **more):
    messages = [Message(role="user", content=as_parts(text)) for text in texts]
    return ModelCall(model="p/large", messages=messages, caller=CALLER, **more)


def counted(budgets, usd=0.25):
    return Budgeted(budgets, lambda _: Estimate(usd, 100))


async def read(events):
    return [event async for event in events]


def spent(budgets):
    (pocket,) = budgets.pockets(CALLER)
    return pocket.standing().spent, pocket.using


USAGE = Usage(input=10, output=5)


def provider(layer, cost=0.125, *, usage=USAGE, error=None, cancelled=False):
    async def answer(asked):
        yield Delta("text", "a")
        layer.billed(asked, usage, cost, cancelled=cancelled)
        if error is not None:
            raise error
        yield ModelReply(cost_usd=cost)

    return answer


async def test_what_a_call_cost_is_settled(store):
    budgets = budgets_of(store, team={"usd": 1, "tokens": 1_000})
    layer, asked = counted(budgets), call()
    assert len(await read(layer(asked, provider(layer)))) == 2
    assert spent(budgets) == (amount_of(0.125, 15), NOTHING)
    assert asked.notes == {"budget.reserved_usd": 0.25}


@pytest.mark.parametrize("error", [ModelTimeout(), ModelFailed(partial=ModelReply()), RuntimeError()])
async def test_a_call_that_failed_is_settled_by_what_it_took(store, error):
    budgets = budgets_of(store, team={"usd": 1})
    layer = counted(budgets)
    with pytest.raises(type(error)):
        await read(layer(call(), provider(layer, error=error)))
    assert spent(budgets) == (amount_of(0.125, 15), NOTHING)


async def test_of_a_call_that_nobody_waited_for_what_was_set_aside_counts(store):
    budgets = budgets_of(store, team={"usd": 1})
    layer = counted(budgets)
    events = layer(call(), provider(layer))
    assert await anext(events)
    await events.aclose()
    assert spent(budgets) == (NOTHING, NOTHING)  # its provider was never asked
    await read(layer(call(), provider(layer, None, usage=Usage(), cancelled=True)))
    assert spent(budgets) == (amount_of(0.25, 100), NOTHING)


async def test_who_has_too_little_does_not_ask(store):
    async def never(_):
        pytest.fail("it was asked")
        yield

    layer = counted(budgets_of(store, team={"usd": 0.1}))
    with pytest.raises(BudgetExceeded):
        await read(layer(call(), never))


async def test_who_has_no_budget_passes(store):
    async def answer(_):
        yield ModelReply()

    layer = counted(budgets_of(store, team={"usd": 1, "only": {"tenant": ["globex"]}}))
    asked = call()
    assert len(await read(layer(asked, answer))) == 1
    assert asked.notes == {}
    assert await layer.embed(EmbedCall(model="p/e", texts=[], caller=CALLER), embedded) == EmbedReply(vectors=[])


async def embedded(_):
    return EmbedReply(vectors=[])


@pytest.mark.parametrize(
    ("budget", "passes"),
    [({"usd": 1}, False), ({"usd": 1, "unpriced": "allow"}, True), ({"tokens": 1_000}, True)],
)
async def test_a_model_without_a_price(store, budget, passes):
    budgets = budgets_of(store, team=budget)
    layer = counted(budgets, None)
    asked = layer(call(), provider(layer, None))
    if not passes:
        with pytest.raises(PriceUnknown, match="unpriced: allow"):
            await read(asked)
        return
    await read(asked)
    assert spent(budgets) == (amount_of(0, 15), NOTHING)


async def test_embeddings_are_counted_as_well(store):
    budgets = budgets_of(store, team={"usd": 1})
    layer = counted(budgets)

    async def embed(asked):
        layer.billed(asked, Usage(input=7), 0.5, cancelled=False)
        return EmbedReply(vectors=[[1.0]])

    assert (await layer.embed(EmbedCall(model="p/e", texts=["a"], caller=CALLER), embed)).vectors
    assert spent(budgets) == (amount_of(0.5, 7), NOTHING)
    layer.billed(call(), Usage(), 9.0, cancelled=False)  # nobody's
    assert spent(budgets) == (amount_of(0.5, 7), NOTHING)


# -- the ladder --------------------------------------------------------------------------------------------------------

LADDER = [
    {"at": 0.8, "do": "warn"},
    {"at": 0.9, "do": "smaller_model", "to": "p/small"},
    {"at": 0.95, "do": "shorter_context"},
    {"at": 0.97, "do": "cached_only"},
    {"at": 1.0, "do": "reject"},
]


class Scene:
    """A budget that is used up to some part, and a model that remembers what it was asked."""

    def __init__(self, store):
        self.heard = Heard()
        self.budgets = budgets_of(store, heard=self.heard, team={"usd": 100, "ladder": LADDER})
        self.layer = Laddered(self.budgets)
        self.kept = False
        self.seen = None

    async def answer(self, asked):
        self.seen = asked
        if asked.policy.cache == "only" and not self.kept:
            raise NotCached
        yield Delta("text", "a")
        yield ModelReply()

    async def ask_at(self, share):
        pockets = self.budgets.pockets(CALLER)
        missing = amount_of(share * 100) - pockets[0].standing().spent
        reservation = await self.budgets.reserve(pockets, NOTHING)
        self.budgets.settle(reservation, missing)
        asked = call("one " * 50, "four")
        return asked, (await read(self.layer(asked, self.answer)))[-1]


async def test_every_step_is_reached_in_order_and_seen(store):
    scene = Scene(store)
    asked, reply = await scene.ask_at(0.5)
    assert (scene.seen, reply.degraded, asked.notes) == (asked, (), {})
    asked, reply = await scene.ask_at(0.85)
    assert (scene.seen.model, reply.degraded) == ("p/large", ())
    asked, reply = await scene.ask_at(0.92)
    assert (scene.seen.model, reply.degraded) == ("p/small", ("smaller_model",))
    assert asked.notes == {"degraded": "smaller_model", "budget.step": "team 0.9 smaller_model"}
    asked, reply = await scene.ask_at(0.96)
    assert (len(scene.seen.messages), reply.degraded) == (1, ("smaller_model", "shorter_context"))
    scene.kept = True
    asked, reply = await scene.ask_at(0.98)
    assert (scene.seen.policy.cache, reply.degraded[-1]) == ("only", "cached_only")
    scene.kept = False
    with pytest.raises(BudgetExceeded):
        await scene.ask_at(0.98)
    assert scene.heard.refusals == ["team"]
    assert ("team", "cached_only") in scene.heard.steps
    await scene.budgets.drain()
    assert [step for _, _, step, _ in scene.heard.news] == [0.8, 0.9, 0.95, 0.97]
    pockets = scene.budgets.pockets(CALLER)
    with pytest.raises(BudgetExceeded):
        await scene.budgets.reserve(pockets, amount_of(2.5))
    await scene.budgets.drain()
    assert scene.heard.news[-1] == ("team", "", 1.0, ("reject",))


async def test_a_call_that_asks_for_kept_answers_alone_hears_that_there_is_none(store):
    scene = Scene(store)
    with pytest.raises(NotCached):
        await read(scene.layer(call("a", policy=CallPolicy(cache="only")), scene.answer))


def said(role, text):
    return Message(role=role, content=as_parts(text))


def test_a_conversation_is_cut_where_somebody_speaks_anew():
    result = Message(role="user", content=[{"type": "tool_result", "tool_use_id": "1", "content": []}])
    told = [
        said("system", "be kind"),
        said("user", "a" * 100),
        said("assistant", "b" * 100),
        said("user", "c" * 50),
        said("assistant", "d" * 50),
        result,
        said("assistant", "e"),
        said("user", "f"),
    ]
    assert shortened(told, 0.01) == [told[0], told[7]]
    assert shortened(told, 0.99) == [told[0], *told[3:]]
    assert shortened(told[:3], 0.5) is None
    assert shortened([], 0.5) is None
