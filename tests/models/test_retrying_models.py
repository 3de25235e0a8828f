from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_scene import Scripted, TurnedClock, answer, collected, question, settled, streamed

from corral.errors import (
    ContentFiltered,
    ModelAuthFailed,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelStreamBroken,
    ModelUnavailable,
    PaceExceeded,
)
from corral.messages import EmbedCall, EmbedReply, closing
from corral.models.retrying import ELSEWHERE, Retried
from corral.models.stack import wrap


def retried(clock: TurnedClock, **facts) -> Retried:
    facts.setdefault("chance", lambda: 1.0)
    return Retried(clock=clock, sleep=clock.nap, **facts)


def failing(*errors):
    """A model that fails with each of these, then answers."""
    left = list(errors)
    return Scripted(lambda call: [left.pop(0)] if left else [answer()])


async def test_failures_in_passing_are_tried_again_with_growing_pauses():
    clock, model = TurnedClock(), failing(ModelUnavailable(), ModelStreamBroken())
    call = question()
    assert await collected(wrap(model, [retried(clock)])(call)) == [answer()]
    assert clock.slept == [0.5, 1.0]
    assert call.notes["retries"] == 2
    assert model.open == 0


async def test_it_gives_up_in_the_end():
    clock, model = TurnedClock(), failing(*(ModelUnavailable(f"{n}") for n in range(9)))
    with pytest.raises(ModelUnavailable, match="2"):
        await collected(wrap(model, [retried(clock)])(question()))
    assert len(model.calls) == 3


@pytest.mark.parametrize("error", [ModelRequestInvalid(), ContentFiltered(), ModelAuthFailed(), PaceExceeded()])
async def test_what_would_not_change_is_not_tried_again(error):
    model = failing(error)
    with pytest.raises(type(error)):
        await collected(wrap(model, [retried(TurnedClock())])(question()))
    assert len(model.calls) == 1


async def test_a_provider_that_asks_for_a_pause_gets_it():
    clock, model = TurnedClock(), failing(ModelRateLimited(retry_after_s=7))
    await collected(wrap(model, [retried(clock)])(question()))
    assert clock.slept == [7]


async def test_a_pause_that_is_too_long_is_left_to_who_knows_other_places():
    clock, model = TurnedClock(), failing(ModelRateLimited(retry_after_s=31))
    with pytest.raises(ModelRateLimited):
        await collected(wrap(model, [retried(clock)])(question()))
    assert clock.slept == []


async def test_who_says_not_now_is_not_waited_for_if_there_is_another_place():
    clock, model = TurnedClock(), failing(ModelRateLimited(retry_after_s=1))
    with pytest.raises(ModelRateLimited):
        await collected(wrap(model, [retried(clock)])(question(notes={ELSEWHERE: 1})))
    assert clock.slept == []


async def test_never_past_the_deadline():
    clock, model = TurnedClock(), failing(ModelUnavailable(), ModelUnavailable())
    with pytest.raises(ModelUnavailable):
        await collected(wrap(model, [retried(clock)])(question(deadline=clock.at + 1.2)))
    assert clock.slept == [0.5]


async def test_half_an_answer_is_not_begun_again():
    partial = answer("Hel")
    model = Scripted(lambda call: [streamed("Hel")[0], ModelStreamBroken(partial=partial)])
    async with closing(wrap(model, [retried(TurnedClock())])(question(stream=True))) as events:
        assert await anext(events) == streamed("Hel")[0]
        with pytest.raises(ModelStreamBroken) as raised:
            await anext(events)
    assert raised.value.partial is partial
    assert len(model.calls) == 1


async def test_leaving_early_closes_and_a_cancelled_pause_tries_nothing():
    clock, model = TurnedClock(), Scripted(lambda call: streamed("a", "b"))
    async with closing(wrap(model, [retried(clock)])(question(stream=True))) as events:
        await anext(events)
        assert model.open == 1
    assert model.open == 0
    model = failing(ModelUnavailable())
    layer = Retried(clock=clock, sleep=clock.sleep, chance=lambda: 1.0)
    task = asyncio.ensure_future(collected(wrap(model, [layer])(question())))
    await settled()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(model.calls) == 1
    assert clock.sleeping == 0


async def test_embeddings_are_tried_again_as_well():
    clock, left = TurnedClock(), [ModelUnavailable()]

    async def embed(call: EmbedCall) -> EmbedReply:
        if left:
            raise left.pop()
        return EmbedReply(vectors=[[1.0]])

    call = EmbedCall(model="a/e", texts=["x"])
    assert (await retried(clock).embed(call, embed)).vectors == [[1.0]]
    left.append(ModelRequestInvalid())
    with pytest.raises(ModelRequestInvalid):
        await retried(clock).embed(call, embed)


@settings(deadline=None)
@given(seed=st.integers(), attempt=st.integers(1, 2_000), asked=st.none() | st.floats(0, 100))
def test_pauses_stay_within_their_bounds(seed, attempt, asked):
    layer = Retried(attempts_max=3_000, pause_s=0.5, pause_max_s=30, chance=random.Random(seed).random)
    pause = layer._pause(ModelUnavailable(retry_after_s=asked), attempt, question())
    if asked is not None and asked > 30:
        assert pause is None
    else:
        assert (asked or 0) <= pause <= 30
