"""Tokens of models: charged by estimate, settled by what was used, however the call ended."""

from __future__ import annotations

import pytest
from limit_scene import LoopClock, MemoryLimits, in_jumping_time, letters, question

from corral.errors import ModelRateLimited, ModelStreamBroken
from corral.limits.rated_models import RatedModels
from corral.limits.rates import RateExceeded, Rates
from corral.limits.rules import Visitor
from corral.messages import Delta, EmbedCall, EmbedReply, ModelReply, Usage, as_parts

NOBODY = Visitor()


class Model:
    """Says what it is told to."""

    def __init__(self, *events):
        self.events = events

    async def __call__(self, call):
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            yield event

    async def embed(self, call):
        if isinstance(self.events[0], Exception):
            raise self.events[0]
        return EmbedReply(vectors=[], usage=Usage(input=self.events[0]))


async def used_by(model, *, limit=1_000, call=None):
    """How many of the tokens were used, after one call."""
    rates = Rates(limits={"all": {"tokens_per_hour": limit}}, store=MemoryLimits(), clock=LoopClock())
    layer = RatedModels(rates, letters)
    try:
        async for _ in layer(call or question(100, max_tokens=200), model):
            pass
    finally:
        await rates.drain()
        (stands,) = await rates.standing(NOBODY)
        await rates.stop()
        used_by.last = limit - stands.standing.remaining
    return used_by.last


def reply(usage):
    return ModelReply(content=as_parts("done"), usage=usage)


@pytest.mark.parametrize(
    ("events", "used"),
    [
        ([reply(Usage(input=90, output=30, cache_read=10))], 130),
        ([reply(Usage(input=400, output=400))], 800),
        ([Delta(kind="text", text="x" * 40), reply(Usage())], 110),
        ([], 100),
    ],
)
def test_what_was_used_counts(events, used):
    assert in_jumping_time(lambda: used_by(Model(*events))) == used


@pytest.mark.parametrize(
    ("events", "used"),
    [
        ([ModelRateLimited("no")], 0),
        ([Delta(kind="text", text="x" * 40), ModelStreamBroken("cut")], 110),
        ([ModelStreamBroken("cut", partial=reply(Usage(input=90, output=5)))], 95),
    ],
)
def test_what_failed_counts_as_far_as_it_came(events, used):
    async def scene():
        with pytest.raises((ModelRateLimited, ModelStreamBroken)):
            await used_by(Model(*events))

    in_jumping_time(scene)
    assert used_by.last == used


def test_what_may_be_too_much_is_not_asked():
    async def scene():
        with pytest.raises(RateExceeded):
            await used_by(Model(AssertionError("asked")), limit=250)

    in_jumping_time(scene)
    assert used_by.last == 0


def test_embeddings_count_as_well():
    async def scene():
        rates = Rates(limits={"all": {"tokens_per_hour": 1_000}}, store=MemoryLimits(), clock=LoopClock())
        layer = RatedModels(rates, letters)
        call = EmbedCall(model="p/e", texts=["x" * 100])
        await layer.embed(call, Model(70).embed)
        with pytest.raises(ModelRateLimited):
            await layer.embed(call, Model(ModelRateLimited("no")).embed)
        await rates.drain()
        (stands,) = await rates.standing(NOBODY)
        assert stands.standing.remaining == 930
        await rates.stop()

    in_jumping_time(scene)
