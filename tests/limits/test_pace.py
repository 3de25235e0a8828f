"""Many workers and one provider, over minutes that pass in a moment."""

from __future__ import annotations

import asyncio
import functools
import random

import msgspec
import pytest
from limit_scene import CountingProvider, LoopClock, MemoryLimits, in_jumping_time, letters, question

from corral.errors import ModelFailed, ModelRateLimited, ModelTimeout, PaceExceeded
from corral.limits.buckets import Rule, opened
from corral.limits.counting import LimitCounting
from corral.limits.pace import Pace, rules_of
from corral.messages import Delta, EmbedCall, EmbedReply, ModelReply, Usage, as_parts
from corral.observability.metrics import Metrics
from corral.settings.model_sections import LimitSettings, ModelSettings, ProviderSettings

MINUTE = Rule(tokens_per_minute=100_000)


def worker(store, rule=MINUTE, *, settings=None, counting=None, key="p"):
    return Pace(
        {key: rule},
        store,
        settings or LimitSettings(),
        letters,
        clock=LoopClock(),
        chance=random.Random(1).random,
        counting=counting,
    )


async def ask(pace, provider, call):
    return [event async for event in pace(call, provider.call)][-1]


def jumping(scene):
    @functools.wraps(scene)
    def run(**facts):
        in_jumping_time(lambda: scene(**facts))

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
    paces = [worker(store) for _ in range(4)]
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


@jumping
async def test_a_worker_alone_uses_all_there_is():
    store, provider = MemoryLimits(), CountingProvider()
    pace = worker(store)
    begun = LoopClock.monotonic()
    await keep_busy(pace, provider, begun + 180, chance=random.Random(3))
    allowance = provider.capacity + provider.per_s * (LoopClock.monotonic() - begun)
    assert provider.used >= 0.95 * allowance
    assert provider.refusals == 0
    await pace.stop()


@jumping
async def test_requests_a_minute_hold_as_well():
    store = MemoryLimits()
    provider = CountingProvider(tokens_per_minute=1e9, requests_per_minute=600)
    paces = [worker(store, Rule(requests_per_minute=600)) for _ in range(3)]
    begun = LoopClock.monotonic()
    await asyncio.gather(
        *(keep_busy(pace, provider, begun + 120, chance=random.Random(n)) for n, pace in enumerate(paces))
    )
    allowance = 600 + 10 * (LoopClock.monotonic() - begun)
    assert 0.95 * allowance <= provider.calls - provider.refusals <= allowance + 1
    assert provider.refusals == 0


@jumping
async def test_calls_at_a_time_are_counted_over_all_workers():
    store, provider = MemoryLimits(), CountingProvider(tokens_per_minute=1e9, latency_s=0.5)
    paces = [worker(store, Rule(concurrency=10)) for _ in range(3)]
    begun = LoopClock.monotonic()
    outcomes = await asyncio.gather(
        *(keep_busy(pace, provider, begun + 20, chance=random.Random(n)) for n, pace in enumerate(paces))
    )
    assert provider.most_running == 10
    calls = sum(outcome["ok"] for outcome in outcomes)
    assert calls > 0.9 * 10 * 20 / 0.5
    assert min(outcome["ok"] for outcome in outcomes) > 0.6 * max(outcome["ok"] for outcome in outcomes)
    for pace in paces:
        await pace.stop()
    state = opened(store.kept["p"][0], Rule(), LoopClock.now())
    assert state.leases == {}


@jumping
async def test_what_was_set_aside_and_not_used_comes_back():
    store, provider = MemoryLimits(), CountingProvider()
    pace = worker(store)
    for _ in range(40):
        await ask(pace, provider, question(100, writes=10, max_tokens=90_000, within_s=20))
    await pace.stop()
    assert provider.used == 40 * 110
    state = opened(store.kept["p"][0], MINUTE, LoopClock.now())
    assert state.tokens >= 100_000 - 40 * 110


@jumping
async def test_a_call_that_takes_more_than_was_set_aside_is_paid_for_later():
    store, provider = MemoryLimits(), CountingProvider(tokens_per_minute=6_000, capacity=50_000)
    pace = worker(store, Rule(tokens_per_minute=6_000))
    await ask(pace, provider, question(100, writes=9_000, max_tokens=100))
    begun = LoopClock.monotonic()
    await ask(pace, provider, question(1_000, writes=1, max_tokens=1_000))
    assert 45 < LoopClock.monotonic() - begun < 52  # 3,100 of debt, and 2,000 of its own, at 100 a second
    await pace.stop()


@jumping
async def test_a_call_larger_than_the_bucket_waits_until_it_is_full():
    store, provider = MemoryLimits(), CountingProvider(tokens_per_minute=6_000, capacity=10_000)
    pace = worker(store, Rule(tokens_per_minute=6_000))
    await ask(pace, provider, question(8_000, writes=1, max_tokens=1))
    assert provider.used == 8_001
    await pace.stop()


@jumping
async def test_a_call_that_cannot_be_in_time_fails_at_once_and_says_when():
    store, provider = MemoryLimits(), CountingProvider(tokens_per_minute=6_000)
    metrics = Metrics()
    pace = worker(store, Rule(tokens_per_minute=6_000), counting=LimitCounting(metrics))
    await ask(pace, provider, question(5_900, writes=10, max_tokens=100))
    begun = LoopClock.monotonic()
    with pytest.raises(PaceExceeded) as refused:
        await ask(pace, provider, question(3_000, max_tokens=100, within_s=5))
    assert LoopClock.monotonic() - begun < 0.1
    assert 20 < refused.value.retry_after_s < 35
    assert refused.value.provider == "p"
    await ask(pace, provider, question(3_000, max_tokens=100, within_s=60))
    pace.status()
    text = metrics.render().decode()
    assert 'corral_ratelimit_decisions_total{provider="p",decision="refused"} 1' in text
    assert 'corral_ratelimit_decisions_total{provider="p",decision="waited"} 2' in text
    assert 'corral_provider_bucket_tokens{provider="p",kind="tokens"}' in text
    await pace.stop()


@jumping
async def test_a_deadline_that_comes_while_a_call_waits_ends_the_wait():
    store, provider = MemoryLimits(), CountingProvider(tokens_per_minute=1e9, latency_s=100)
    pace = worker(store, Rule(concurrency=1))
    first = asyncio.create_task(ask(pace, provider, question()))
    await asyncio.sleep(1)
    begun = LoopClock.monotonic()
    with pytest.raises(PaceExceeded):
        await ask(pace, provider, question(within_s=5))
    assert LoopClock.monotonic() - begun == pytest.approx(5, abs=0.01)
    begun = LoopClock.monotonic()
    with pytest.raises(PaceExceeded):
        await ask(pace, provider, question())
    assert LoopClock.monotonic() - begun == pytest.approx(60, abs=0.01)
    await first
    await pace.stop()


@jumping
async def test_with_another_place_to_ask_nobody_waits_long():
    store, provider = MemoryLimits(), CountingProvider(tokens_per_minute=1e9, latency_s=100)
    pace = worker(store, Rule(concurrency=1))
    first = asyncio.create_task(ask(pace, provider, question()))
    await asyncio.sleep(1)
    begun = LoopClock.monotonic()
    with pytest.raises(PaceExceeded):
        await ask(pace, provider, question(notes={"deployments.left": 1}))
    assert LoopClock.monotonic() - begun < 0.3
    await first
    await pace.stop()


@jumping
async def test_who_pays_more_waits_less_and_nobody_waits_for_ever():
    store, provider = MemoryLimits(), CountingProvider(tokens_per_minute=60_000, latency_s=0.1)
    pace = worker(store, Rule(tokens_per_minute=60_000))
    begun = LoopClock.monotonic()
    outcomes = await asyncio.gather(
        *(keep_busy(pace, provider, begun + 120, chance=random.Random(n), at_once=30, priority=n) for n in (9, 1))
    )
    assert outcomes[0]["ok"] > 3 * outcomes[1]["ok"] > 0
    await pace.stop()


@jumping
async def test_a_cancelled_waiter_leaves_no_trace():
    store, provider = MemoryLimits(), CountingProvider(tokens_per_minute=1e9, latency_s=10)
    pace = worker(store, Rule(concurrency=1))
    first = asyncio.create_task(ask(pace, provider, question()))
    await asyncio.sleep(1)
    waiting = [asyncio.create_task(ask(pace, provider, question())) for _ in range(5)]
    await asyncio.sleep(1)
    assert pace.status()[0]["waiting"] == 5
    for task in waiting[:4]:
        task.cancel()
    await asyncio.wait(waiting[:4])
    assert pace.status()[0]["waiting"] == 1
    await first
    await waiting[4]
    assert pace.status()[0] | {"headroom": 0} == pace.status()[0] | {"headroom": 0, "running": 0, "waiting": 0}
    assert provider.calls == 2
    await pace.stop()


@jumping
async def test_a_call_cancelled_in_the_very_moment_of_its_turn_gives_the_turn_on():
    store, provider = MemoryLimits(), CountingProvider(latency_s=1)
    pace = worker(store, Rule(concurrency=1, tokens_per_minute=100_000, requests_per_minute=100))
    first = asyncio.create_task(ask(pace, provider, question()))
    await asyncio.sleep(0.5)
    second, third = (asyncio.create_task(ask(pace, provider, question())) for _ in range(2))
    await asyncio.sleep(0.1)
    gate = pace._gates["p"]
    waiter = gate._line.first()
    waiter.future.add_done_callback(lambda _: second.cancel())
    await asyncio.wait([first, second, third])
    assert second.cancelled()
    assert third.result().text == "done"
    assert gate.used == 0
    await pace.stop()


@jumping
@pytest.mark.parametrize(("cache_read_counts", "took"), [(True, 11_111), (False, 11_101)])
async def test_tokens_are_counted_as_the_provider_counts_them(cache_read_counts, took):
    async def answer(_):
        usage = Usage(input=1, cache_read=10, cache_write=100, output=1_000, reasoning=10_000)
        yield ModelReply(content=as_parts("x"), usage=usage)

    pace = worker(MemoryLimits(), Rule(tokens_per_minute=60_000, cache_read_counts=cache_read_counts))
    await ask(pace, type("P", (), {"call": staticmethod(answer)}), question(1_000, max_tokens=500))
    assert pace._gates["p"]._refund == 1_500 - took
    await pace.stop()


@jumping
async def test_a_call_closed_early_is_settled():
    async def talkative(_):
        for _ in range(1_000):
            yield Delta("text", "four")
            await asyncio.sleep(0.01)

    store = MemoryLimits()
    pace = worker(store)
    stream = pace(question(500, max_tokens=50_000, stream=True), talkative)
    for _ in range(100):
        await anext(stream)
    await stream.aclose()
    assert pace.status()[0]["running"] == 0
    await pace.stop()
    state = opened(store.kept["p"][0], MINUTE, LoopClock.now())
    assert state.tokens == pytest.approx(100_000, abs=1)  # the 600 it took have come in again meanwhile


@jumping
async def test_what_failed_is_settled_by_how_it_failed():
    def failing(error):
        async def fail(_):
            raise error
            yield

        return fail

    store = MemoryLimits()
    pace = worker(store, Rule(tokens_per_minute=60_000, tokens_capacity=60_000))
    gate = pace._gates["p"]
    partial = ModelReply(content=as_parts("x"), usage=Usage(input=700, output=77))
    for error, took in (
        (ModelTimeout(), 1_000),
        (ModelFailed(partial=partial), 777),
        (ModelRateLimited(retry_after_s=0.0), 0),
        (RuntimeError(), 1_000),
    ):
        with pytest.raises(type(error)):
            await ask(pace, type("P", (), {"call": staticmethod(failing(error))}), question(1_000, max_tokens=500))
        assert gate._refund == 1_500 - took
        await asyncio.sleep(2)  # it is back in the bucket
        assert gate.used == 0
    await pace.stop()


@jumping
async def test_a_refusal_stops_all_workers_for_as_long_as_the_provider_says():
    store, provider = MemoryLimits(), CountingProvider()
    ours, theirs = worker(store), worker(store)
    await asyncio.gather(ask(ours, provider, question()), ask(theirs, provider, question()))

    async def refuse(_):
        raise ModelRateLimited(retry_after_s=20.0)
        yield

    with pytest.raises(ModelRateLimited):
        await ask(ours, type("P", (), {"call": staticmethod(refuse)}), question())
    begun = LoopClock.monotonic()
    assert ours.headroom("p/m") == 0
    await asyncio.sleep(2.5)  # longer than a lease
    await asyncio.gather(*(ask(pace, provider, question(within_s=40)) for pace in (ours, theirs)))
    assert 20 <= LoopClock.monotonic() - begun < 22
    with pytest.raises(ModelRateLimited):
        await ask(ours, type("P", (), {"call": staticmethod(refuse)}), question())
    with pytest.raises(PaceExceeded) as refused:
        await ask(ours, provider, question(within_s=5))
    assert refused.value.retry_after_s == pytest.approx(20, abs=0.5)
    await ours.stop()
    await theirs.stop()


@jumping
async def test_a_provider_that_allows_less_than_was_thought_is_soon_not_overrun():
    store = MemoryLimits()
    provider = CountingProvider(tokens_per_minute=50_000)
    paces = [worker(store) for _ in range(2)]  # which believe in 100,000
    begun = LoopClock.monotonic()
    await asyncio.gather(
        *(keep_busy(pace, provider, begun + 300, chance=random.Random(n), at_once=10) for n, pace in enumerate(paces))
    )
    refusals, calls, used = provider.refusals, provider.calls, provider.used
    allowance = provider.capacity + provider.per_s * (LoopClock.monotonic() - begun)
    assert refusals < 0.25 * calls
    assert used > 0.6 * allowance
    for pace in paces:
        await pace.stop()


@jumping
async def test_what_a_provider_says_is_left_is_believed_unless_learning_is_off():
    async def answered(call):
        call.notes["limits"] = msgspec.defstruct(
            "Seen",
            [
                ("tokens_left", int | None, 1_000),
                ("requests_left", int | None, None),
                ("tokens_limit", int | None, None),
                ("requests_limit", int | None, None),
            ],
        )()
        yield ModelReply(content=as_parts("done"), usage=Usage(input=10, output=10))

    provider = type("P", (), {"call": staticmethod(answered)})
    for learn in (True, False):
        store = MemoryLimits()
        pace = worker(store, settings=LimitSettings(learn=learn))
        await ask(pace, provider, question())
        await pace.stop()
        state = opened(store.kept["p"][0], MINUTE, LoopClock.now())
        assert (state.tokens < 3_000) is learn


@jumping
async def test_a_worker_that_is_killed_loses_no_more_than_its_lease():
    store, provider = MemoryLimits(), CountingProvider(latency_s=5)
    dying, living = worker(store), worker(store)
    calls = [asyncio.create_task(ask(dying, provider, question(2_000, max_tokens=2_000))) for _ in range(20)]
    await asyncio.sleep(1)
    gate = dying._gates["p"]
    gate._stopping = True  # nothing is heard of it any more
    gate._cancel_timer()
    lost, _, _ = gate.held
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    begun = LoopClock.monotonic()
    provider.level, provider.at = provider.capacity - 20 * 2_100, LoopClock.monotonic()
    outcome = await keep_busy(living, provider, begun + 60, chance=random.Random(1))
    allowance = provider.level + provider.per_s * 60
    assert outcome["429"] == 0
    assert provider.used - 20 * 2_100 > 0.9 * (allowance - lost - 20 * 4_000)
    assert living.status()[0]["running"] == 0
    await living.stop()


@jumping
async def test_without_a_store_each_worker_keeps_to_its_part():
    store, provider = MemoryLimits(), CountingProvider()
    paces = [worker(store) for _ in range(4)]
    begun = LoopClock.monotonic()
    running = [
        asyncio.create_task(keep_busy(pace, provider, begun + 240, chance=random.Random(n)))
        for n, pace in enumerate(paces)
    ]
    await asyncio.sleep(80)
    store.away, before = True, provider.used
    await asyncio.sleep(80)
    during = provider.used - before
    store.away = False
    outcomes = await asyncio.gather(*running)
    assert 0.7 < during / (80 * provider.per_s) < 1.05
    calls = sum(sum(outcome.values()) for outcome in outcomes)
    assert provider.refusals < 0.02 * calls
    assert sum(outcome["late"] for outcome in outcomes) == 0
    for pace in paces:
        await pace.stop()


@jumping
async def test_nothing_is_asked_of_the_store_when_nobody_calls():
    store, provider = MemoryLimits(), CountingProvider()
    pace = worker(store)
    await pace.start()
    await asyncio.sleep(10)
    assert store.swaps == 0
    await ask(pace, provider, question())
    await asyncio.sleep(10)
    quiet = store.swaps
    await asyncio.sleep(100)
    assert store.swaps == quiet < 6
    state = opened(store.kept["p"][0], MINUTE, LoopClock.now())
    assert state.leases == {}
    await pace.drain()
    await pace.stop()
    await pace.stop()
    assert store.swaps == quiet


@jumping
async def test_a_rush_after_a_pause_waits_for_a_few_exchanges_and_no_longer():
    store, rule = MemoryLimits(), Rule(tokens_per_minute=1e9, requests_per_minute=1e6, concurrency=1000)
    provider = CountingProvider(tokens_per_minute=1e9, requests_per_minute=1e6, latency_s=0.001)
    pace = worker(store, rule)
    waits = []

    async def one():
        begun = LoopClock.monotonic()
        await ask(pace, provider, question(300, writes=100, max_tokens=200))
        waits.append(LoopClock.monotonic() - begun - provider.latency_s)

    for _ in range(2):  # on a store that nobody asked before, and after a pause
        before, calls = store.swaps, []
        for number in range(600):
            calls.append(asyncio.create_task(one()))
            await asyncio.sleep(0.001)
            if number == 100:
                assert store.swaps - before <= 6
        await asyncio.gather(*calls)
        assert store.swaps - before <= 6 + 0.5 / 0.05  # twenty a second, as ever
        await asyncio.sleep(30)
    assert max(waits) < 0.02
    assert sum(wait > 0.001 for wait in waits) < len(waits) / 10
    await pace.stop()


@jumping
async def test_a_wish_does_not_grow_where_the_store_has_no_more():
    store, provider = MemoryLimits(), CountingProvider(latency_s=0.01)
    first, second = worker(store), worker(store)
    until = LoopClock.monotonic() + 60
    await asyncio.gather(
        *(keep_busy(pace, provider, until, chance=random.Random(number)) for number, pace in enumerate((first, second)))
    )
    gates = [pace._gates["p"] for pace in (first, second)]
    assert max(gate._wished.want_tokens for gate in gates) < 100_000
    for pace in (first, second):
        await pace.stop()


@jumping
async def test_stopping_tells_those_who_wait():
    store, provider = MemoryLimits(), CountingProvider(tokens_per_minute=1e9, latency_s=10)
    pace = worker(store, Rule(concurrency=1))
    first = asyncio.create_task(ask(pace, provider, question()))
    await asyncio.sleep(1)
    second = asyncio.create_task(ask(pace, provider, question()))
    await asyncio.sleep(1)
    await pace.stop()
    with pytest.raises(PaceExceeded, match="shutting down"):
        await second
    assert (await first).text == "done"


@jumping
async def test_embeddings_are_paced_as_well():
    async def embed(call):
        return EmbedReply(vectors=[[0.0]], usage=Usage(input=30))

    async def refuse(call):
        raise ModelRateLimited(retry_after_s=3.0)

    store = MemoryLimits()
    pace = worker(store)
    call = EmbedCall(model="p/e", texts=["x" * 10, "y" * 20])
    await pace.embed(call, embed)
    with pytest.raises(ModelRateLimited):
        await pace.embed(call, refuse)
    begun = LoopClock.monotonic()
    await pace.embed(call, embed)
    assert LoopClock.monotonic() - begun == pytest.approx(3, abs=0.2)
    elsewhere = EmbedCall(model="q/e", texts=["x"])
    await pace.embed(elsewhere, embed)
    await pace.stop()


@jumping
async def test_a_model_may_have_limits_of_its_own_within_its_provider_s():
    store, provider = MemoryLimits(), CountingProvider(tokens_per_minute=1e9, latency_s=1)
    pace = Pace(
        {"p": Rule(concurrency=10), "p/small": Rule(concurrency=2)},
        store,
        LimitSettings(),
        letters,
        clock=LoopClock(),
        chance=random.Random(1).random,
    )
    small = [asyncio.create_task(ask(pace, provider, question(model="p/small"))) for _ in range(6)]
    large = [asyncio.create_task(ask(pace, provider, question(model="p/large"))) for _ in range(8)]
    await asyncio.sleep(0.5)
    assert provider.running == 10
    await asyncio.gather(*small, *large)
    assert pace.headroom("q/any") == 1.0
    assert pace.headroom("p/small") == 1.0
    await pace.stop()


@jumping
async def test_calls_take_turns_one_by_one_where_no_tokens_are_limited():
    orders = []
    for long in (10, 4000):
        limits = {"p": Rule(tokens_per_minute=1_000_000_000), "p/m": Rule(concurrency=1)}
        pace = Pace(limits, MemoryLimits(), LimitSettings(), letters, clock=LoopClock(), chance=random.Random(1).random)
        provider, order = CountingProvider(tokens_per_minute=1e9, latency_s=0.01), []

        async def turn(reads, priority, pace=pace, provider=provider, order=order):
            await ask(pace, provider, question(reads, priority=priority))
            order.append(priority)

        await asyncio.gather(*(turn(*one) for one in [(long, 9), (10, 1)] * 40))
        orders.append(order)
        await pace.stop()
    assert orders[0] == orders[1]


@jumping
async def test_who_is_not_in_the_settings_passes():
    store, provider = MemoryLimits(), CountingProvider(latency_s=0)
    pace = worker(store, key="other")
    assert (await ask(pace, provider, question())).text == "done"
    assert store.swaps == 0


def test_rules_come_from_the_settings():
    rules = rules_of(
        ModelSettings(
            providers={
                "a": ProviderSettings(tokens_per_minute=100_000, tokens_capacity=200_000),
                "b": ProviderSettings(kind="bedrock", requests_per_minute=60, concurrency=7),
            }
        )
    )
    assert rules["a"] == Rule(tokens_per_minute=100_000, tokens_capacity=200_000)
    assert rules["b"] == Rule(requests_per_minute=60, concurrency=7, cache_read_counts=False)
    assert (rules["a"].tokens_max, rules["b"].requests_max) == (200_000, 60)
