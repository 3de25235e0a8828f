"""What one caller wishes of the simulator happens to that caller alone."""

from __future__ import annotations

import pytest
from model_scene import TurnedClock, collected

from corral.errors import ModelFailed, ModelRateLimited
from corral.messages import EmbedCall, Message, ModelCall, as_parts
from corral.models.deployments import Deployed
from corral.models.sim.provider import build_sim
from corral.models.stack import wrap
from corral.settings.model_sections import ModelSettings, ProviderSettings

QUICK = {"ttft_ms": 0, "itl_ms": 0}


def scene(**options):
    clock = TurnedClock()
    sim = build_sim("sim", ProviderSettings(kind="sim", options=QUICK | options), clock=clock, sleep=clock.nap)
    deployed = Deployed(ModelSettings(), clock=clock, sleep=clock.nap, chance=lambda: 0.5)
    return wrap(sim.call, [deployed]), sim, deployed, clock


def asks(number=0, **wish):
    extra = {"sim": wish} if wish else {}
    return ModelCall(
        model="sim/small", messages=[Message(role="user", content=as_parts(f"Hello {number}"))], extra=extra
    )


def state_of(deployed):
    (known,) = deployed.status()
    return known["breaker"], known["wait_s"]


@pytest.mark.parametrize("fault", ["429", "503", "5xx", "529", "cut", "reset", "type", "midstream", "404", "401"])
async def test_a_fault_that_one_wished_for_keeps_nobody_else_away(fault):
    call, _, deployed, clock = scene()
    for number in range(20):
        asked = asks(number, fault=fault, retry_after_s=40)
        with pytest.raises(ModelFailed) as failed:
            await collected(call(asked))
        assert failed.value.wished
        assert "limits" not in asked.notes
    assert state_of(deployed) == ("closed", 0.0)
    before = clock.at
    assert (await collected(call(asks())))[-1].text
    assert clock.at == before


async def test_who_wished_for_it_is_told_how_long_to_wait():
    call, _, _, _ = scene()
    with pytest.raises(ModelRateLimited) as refused:
        await collected(call(asks(fault="429", retry_after_s=40)))
    assert refused.value.retry_after_s == 40


async def test_a_wait_that_was_wished_for_is_nobody_else_s_even_where_the_fault_was_drawn():
    call, _, deployed, _ = scene(sequence=["429"])
    with pytest.raises(ModelRateLimited):
        await collected(call(asks(retry_after_s=40)))
    assert state_of(deployed) == ("closed", 0.0)


async def test_what_the_simulator_is_set_to_is_learnt():
    call, _, deployed, _ = scene(rpm=1, burst_s=60)
    await collected(call(asks()))
    refused = asks(reply="so")
    with pytest.raises(ModelRateLimited) as limited:
        await collected(call(refused))
    assert not limited.value.wished
    assert refused.notes["limits"].retry_after_s == pytest.approx(60)
    assert state_of(deployed) == ("closed", pytest.approx(60))

    call, _, deployed, _ = scene(faults={"503": 1.0})
    for number in range(20):
        with pytest.raises(ModelFailed):
            await collected(call(asks(number)))
    assert state_of(deployed)[0] == "open"


async def test_the_same_for_embeddings():
    _, sim, _, _ = scene()
    for fault in ("429", "503", "reset"):
        call = EmbedCall(model="embed", texts=["a"], extra={"sim": {"fault": fault, "retry_after_s": 40}})
        with pytest.raises(ModelFailed) as failed:
            await sim.embed(call)
        assert failed.value.wished
        assert "limits" not in call.notes
