"""Many workers and one provider, over minutes that pass in a moment."""

from __future__ import annotations

import asyncio
import functools
import random

import msgspec
import pytest

from corral.errors import ModelFailed, ModelRateLimited, ModelTimeout, PaceExceeded
from corral.limits.buckets import Rule, opened
from corral.limits.counting import LimitCounting
from corral.limits.pace import Pace, rules_of
from corral.messages import Delta, EmbedCall, EmbedReply, ModelReply, Usage, as_parts
from corral.observability.metrics import Metrics
from corral.settings.model_sections import LimitSettings, ModelSettings, ProviderSettings
from limit_scene import CountingProvider, LoopClock, MemoryLimits, in_jumping_time, letters, question

MINUTE = Rule(tokens_per_minute=100_000)


def worker(store, rule=MINUTE, *, name="w-1", settings=None, counting=None, key="p"):
    return Pace(
        {key: rule},
        store,
        settings or LimitSettings(),
        letters,
        clock=LoopClock(),
        chance=random.Random(1).random,
        holder=name,
        counting=counting,
    )


async def ask(pace, provider, call):
    return [event async for event in pace(call, provider.call)][-1]


def jumping(scene):
    @functools.wraps(scene)
    def run():
        in_jumping_time(scene)

    return run


async def keep_busy(pace, provider, until, *, chance, at_once=40, **more):
    """Ask on and on; what came of it: answers, refusals, calls that were too late."""
    outcome = {"ok": 0, "429": 0, "late": 0, "exceeded": 0}

    async def one_after_the_other():
        while LoopClock.monotonic() < until:
            reads, writes = chance.randrange(200, 1200), chance.randrange(50, 400)
            call = question(reads, writes=writes, max_tokens=400, within_s=30, **more)
            begun = LoopClock.monotonic()
            try:
                await ask(pace, provider, call)
                came, pause_s = "ok", 0.0
            except ModelRateLimited as error:
                came, pause_s = "429", error.retry_after_s or 0.1
            except PaceExceeded as error:
                came, pause_s = "exceeded", error.retry_after_s
            outcome[came] += 1
            outcome["late"] += LoopClock.monotonic() - begun > 30 + provider.latency_s + 0.01
            await asyncio.sleep(pause_s)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    return outcome


@jumping
async def test_four_workers_use_what_is_allowed_and_no_more():
    store, provider = MemoryLimits(), CountingProvider()
    paces = [worker(store, name=f"w-{n}") for n in range(4)]
    begun = LoopClock.monotonic()
    outcomes = await asyncio.gather(
        *(keep_busy(pace, provider, begun + 300, chance=random.Random(n)) for n, pace in enumerate(paces))
    )
    passed_s = LoopClock.monotonic() - begun
    allowance = provider.capacity + provider.per_s * passed_s
    calls = sum(sum(outcome.values()) for outcome in outcomes)
    assert provider.used >= 0.95 * allowance
    assert provider.refusals < 0.005 * calls
    assert sum(outcome["late"] for outcome in outcomes) == 0
    # Each worker comes to the shared row a few times a second, and no worker is left out.
    assert store.swaps < 8 * 4 * passed_s
    assert min(outcome["ok"] for outcome in outcomes) > 0.7 * max(outcome["ok"] for outcome in outcomes)
    for pace in paces:
        await pace.stop()
