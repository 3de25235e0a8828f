from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_scene import Scripted, TurnedClock, answer, collected, question, settled, streamed

from corral.errors import ModelUnavailable
from corral.messages import CallPolicy, closing
from corral.models.deployments import Deployed
from corral.models.hedging import HedgeBudget
from corral.models.stack import wrap
from corral.settings.model_sections import ModelSettings, NamedModelSettings

NAMES = {"smart": NamedModelSettings(deployments={"a/one": 1, "b/one": 1}, balance="order")}


class Scene:
    """A place that answers in a second as a rule, and then does not."""

    def __init__(self, *, share=1.0, headroom=lambda _: 1.0, names=None):
        self.clock = TurnedClock()
        self.abandoned = []
        self.layer = Deployed(
            ModelSettings(names=NAMES if names is None else names, hedge=True, hedge_share_max=share),
            clock=self.clock,
            sleep=self.clock.sleep,
            chance=random.Random(1).random,
            headroom=headroom,
            abandoned=lambda call, name: self.abandoned.append(name),
        )
        self.gates = {"a/one": asyncio.Event(), "b/one": asyncio.Event()}
        self.model = Scripted(lambda call: [self.gates[call.model], *self.says(call)])
        self.says = lambda call: [answer(f"from {call.model}")]
        live = self.layer.fleet.get("a/one").live
        for _ in range(30):
            live.answered(first_s=1.0, total_s=1.0, stream=True, now=self.clock.at)

    def ask(self, **facts):
        self.call = question(model="smart", **facts)
        return asyncio.ensure_future(collected(wrap(self.model, [self.layer])(self.call)))

    def assert_clean(self):
        assert self.model.open == 0
        assert self.clock.sleeping == 0
        assert not any(one["in_flight"] for one in self.layer.status())


async def test_a_quick_answer_asks_nobody_twice():
    scene = Scene()
    task = scene.ask()
    await scene.clock.turn(0.5)
    scene.gates["a/one"].set()
    assert (await task)[-1].text == "from a/one"
    assert scene.model.asked == ["a/one"]
    scene.assert_clean()


async def test_a_late_one_is_overtaken_and_its_cost_is_not_forgotten():
    scene = Scene()
    task = scene.ask()
    await scene.clock.turn(0.9)
    assert scene.model.asked == ["a/one"]
    await scene.clock.turn(0.3)
    assert scene.model.asked == ["a/one", "b/one"]
    scene.gates["b/one"].set()
    assert (await task)[-1].text == "from b/one"
    assert scene.call.notes["deployment"] == "b/one"
    assert scene.call.notes["hedged"] == "b/one"
    assert scene.abandoned == ["a/one"]
    assert scene.layer.hedges.won == 1
    assert {one["deployment"]: one["outcome"] for one in scene.call.notes["attempts"]} == {
        "a/one": "abandoned",
        "b/one": "ok",
    }
    scene.assert_clean()


async def test_the_late_one_may_still_win():
    scene = Scene()
    task = scene.ask()
    await scene.clock.turn(1.2)
    scene.gates["a/one"].set()
    assert (await task)[-1].text == "from a/one"
    assert scene.abandoned == ["b/one"]
    assert scene.layer.hedges.won == 0
    scene.assert_clean()


async def test_streams_race_to_their_first_piece_and_only_one_is_heard():
    scene = Scene()
    scene.says = lambda call: streamed(call.model, "!")
    task = scene.ask(stream=True)
    await scene.clock.turn(1.2)
    scene.gates["b/one"].set()
    assert [getattr(event, "text", "") for event in await task] == ["b/one", "!", "b/one!"]
    scene.assert_clean()


async def test_one_that_fails_leaves_the_race_to_the_other():
    for failing, winning in (("a/one", "b/one"), ("b/one", "a/one")):
        scene = Scene()
        scene.says = lambda call, failing=failing: [
            ModelUnavailable("x") if call.model == failing else answer(call.model)
        ]
        task = scene.ask()
        await scene.clock.turn(1.2)
        scene.gates[failing].set()
        await settled()
        assert not task.done()
        scene.gates[winning].set()
        assert (await task)[-1].text == winning
        scene.assert_clean()


async def test_when_both_fail_the_first_ones_error_is_raised():
    scene = Scene()
    scene.says = lambda call: [ModelUnavailable(f"{call.model} is down")]
    task = scene.ask()
    await scene.clock.turn(1.2)
    for gate in scene.gates.values():
        gate.set()
    with pytest.raises(ModelUnavailable, match="a/one is down"):
        await task
    scene.assert_clean()


async def test_a_failure_of_ours_is_not_hidden():
    scene = Scene()
    scene.says = lambda call: [TypeError("a bug")]
    task = scene.ask()
    await scene.clock.turn(1.2)
    scene.gates["b/one"].set()
    with pytest.raises(TypeError, match="a bug"):
        await task
    scene.assert_clean()


async def test_a_question_about_headroom_that_fails_leaves_nothing_running():
    scene = Scene(headroom=lambda name: 1 / 0 if name == "b/one" else 1.0)
    task = scene.ask()
    await scene.clock.turn(1.2)
    with pytest.raises(ZeroDivisionError):
        await task
    scene.assert_clean()


async def test_a_cancelled_caller_cancels_both():
    for turned in (0.5, 1.2):
        scene = Scene()
        task = scene.ask()
        await scene.clock.turn(turned)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        scene.assert_clean()


async def test_a_reader_that_leaves_closes_the_winner():
    scene = Scene()
    scene.says = lambda call: streamed("a", "b")
    events = wrap(scene.model, [scene.layer])(question(model="smart", stream=True))
    async with closing(events) as pieces:
        first = asyncio.ensure_future(anext(pieces))
        await scene.clock.turn(1.2)
        scene.gates["b/one"].set()
        await first
    scene.assert_clean()


async def test_nobody_is_asked_twice_if_that_would_do_harm():
    scene = Scene()
    task = scene.ask(policy=CallPolicy(idempotent=False))
    await scene.clock.turn(60)
    assert scene.model.asked == ["a/one"]
    scene.gates["a/one"].set()
    await task
    scene = Scene(headroom=lambda name: 0.1)
    task = scene.ask()
    await scene.clock.turn(60)
    assert scene.model.asked == ["a/one"], "limits are tight"
    scene.gates["a/one"].set()
    await task
    scene.assert_clean()


async def test_with_a_single_place_it_is_asked_again():
    scene = Scene(names={"smart": NamedModelSettings(deployments={"a/one": 1})})
    task = scene.ask()
    await scene.clock.turn(1.2)
    assert scene.model.asked == ["a/one", "a/one"]
    scene.gates["a/one"].set()
    await task
    scene.assert_clean()


@settings(deadline=None)
@given(share=st.sampled_from([0.0, 0.05, 0.3, 1.0]), calls=st.lists(st.booleans(), max_size=400))
def test_no_more_than_their_share_of_calls_is_asked_twice(share, calls):
    budget, hedged = HedgeBudget(share), 0
    for number, is_late in enumerate(calls, 1):
        budget.earn()
        hedged += is_late and budget.spend()
        assert hedged <= share * number + 1 + 1e-6
