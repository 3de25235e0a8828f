from __future__ import annotations

import asyncio

import msgspec
import pytest

from corral.errors import ModelFailed, ModelTimeout
from corral.limits.budget import Budgeted
from corral.messages import Caller, Delta, ModelCall, ModelReply


class Held(msgspec.Struct):
    usd: float


class Purse:
    def __init__(self, usd=1.0):
        self.usd = usd
        self.settled = []

    async def reserve(self, caller, estimate_usd):
        assert caller.tenant == "acme"
        if (estimate_usd or 0.0) > self.usd:
            raise PermissionError
        return Held(estimate_usd or 0.5)

    async def settle(self, reservation, cost_usd):
        self.settled.append((reservation.usd, cost_usd))


def call(**more):
    return ModelCall(model="p/m", messages=[], caller=Caller(tenant="acme"), **more)


def budgeted(purse, estimate=0.25):
    return Budgeted(purse, lambda _: estimate)


async def test_what_a_call_cost_is_settled():
    async def answer(_):
        yield Delta("text", "a")
        yield ModelReply(cost_usd=0.125)

    purse, asked = Purse(), call()
    events = [event async for event in budgeted(purse)(asked, answer)]
    assert len(events) == 2
    assert purse.settled == [(0.25, 0.125)]
    assert asked.notes == {"budget.reserved_usd": 0.25}


async def test_without_a_price_what_was_set_aside_counts():
    async def answer(_):
        yield ModelReply()

    purse = Purse()
    assert [event async for event in budgeted(purse, None)(call(), answer)]
    assert purse.settled == [(0.5, None)]


async def test_who_has_too_little_does_not_ask():
    async def never(_):
        pytest.fail("it was asked")
        yield

    purse = Purse(0.1)
    with pytest.raises(PermissionError):
        [event async for event in budgeted(purse)(call(), never)]
    assert purse.settled == []


@pytest.mark.parametrize(
    ("error", "cost"),
    [(ModelTimeout(), 0.0), (ModelFailed(partial=ModelReply(cost_usd=0.5)), 0.5), (RuntimeError(), 0.0)],
)
async def test_a_call_that_failed_is_settled(error, cost):
    async def fail(_):
        raise error
        yield

    purse = Purse()
    with pytest.raises(type(error)):
        [event async for event in budgeted(purse)(call(), fail)]
    assert purse.settled == [(0.25, cost)]


async def test_a_call_that_is_closed_or_cancelled_is_settled():
    async def endless(_):
        while True:
            yield Delta("text", "a")
            await asyncio.sleep(0)

    purse = Purse()
    events = budgeted(purse)(call(), endless)
    await anext(events)
    await events.aclose()
    assert purse.settled == [(0.25, None)]

    async def listen():
        return [event async for event in budgeted(purse)(call(), endless)]

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert purse.settled[1:] == [(0.25, None)]
