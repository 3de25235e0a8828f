"""Limits by user, tier and whatever else: together with other workers, and without the store."""

from __future__ import annotations

import asyncio

import pytest
from limit_scene import LoopClock, MemoryLimits, in_jumping_time

from corral.context import Context, enter_context
from corral.errors import ConfigError, StoreUnavailable
from corral.limits.allowance import Standing
from corral.limits.rate_headers import headers_of, openai_headers_of
from corral.limits.rates import LimitsUnavailable, Passed, RateExceeded, Rates
from corral.limits.rules import Visitor, rules_of
from corral.wiring.limiting import RateLimiter

FREE = {"free_tier": {"requests_per_minute": 10, "tokens_per_day": 50_000}}
ADA = Visitor(tenant="acme", user="ada", tier="free")


def limiter_on(store, limits, **more):
    return Rates(limits=limits, store=store, clock=LoopClock(), **more)


async def passes(limiter, visitor=ADA, **more):
    try:
        return await limiter.admit(visitor, **more)
    except RateExceeded:
        return None


async def how_many(limiter, visitor=ADA, tries=100, **more):
    return sum([await passes(limiter, visitor, **more) is not None for _ in range(tries)])


@pytest.mark.parametrize("tier", ["free", "free_tier"])
def test_a_tier_may_be_named_as_its_limit_is(tier):
    (requests, _) = rules_of(FREE)
    assert requests.fits(Visitor(tier=tier))
    assert not requests.fits(Visitor(tier="pro"))


def test_so_many_a_minute_and_then_so_many_more():
    async def scene():
        limiter = limiter_on(MemoryLimits(), FREE)
        assert await how_many(limiter) == 10
        with pytest.raises(RateExceeded) as refused:
            await limiter.admit(ADA)
        assert "free_tier.requests_per_minute" in refused.value.message
        assert "10 requests per minute" in refused.value.message
        assert 55 < refused.value.retry_after_s <= 61
        await asyncio.sleep(refused.value.retry_after_s)
        assert await how_many(limiter) == 10

    in_jumping_time(scene)


def test_everybody_has_their_own():
    async def scene():
        limiter = limiter_on(MemoryLimits(), FREE)
        bob = Visitor(tenant="acme", user="bob", tier="free")
        elsewhere = Visitor(tenant="other", user="ada", tier="free")
        paying = Visitor(tenant="acme", user="cyd", tier="pro")
        for visitor in (ADA, bob, elsewhere):
            assert await how_many(limiter, visitor) == 10
        assert await how_many(limiter, paying) == 100

    in_jumping_time(scene)


def test_workers_keep_to_a_limit_together():
    async def scene():
        store = MemoryLimits()
        workers = [limiter_on(store, {"all": {"requests_per_minute": 1_000, "by": ["tenant"]}}) for _ in range(4)]
        ends = asyncio.get_running_loop().time() + 60

        async def hammer(limiter):
            passed = 0
            while asyncio.get_running_loop().time() < ends:
                if await passes(limiter) is not None:
                    passed += 1
                await asyncio.sleep(0.003)
            return passed

        passed = await asyncio.gather(*(hammer(limiter) for limiter in workers))
        assert 990 <= sum(passed) <= 1_000

    in_jumping_time(scene)


def test_a_flow_within_the_limit_is_never_refused_and_seldom_asks():
    async def scene():
        store = MemoryLimits()
        limiter = limiter_on(store, {"all": {"requests_per_minute": 60_000}})
        for _ in range(3_000):
            assert await passes(limiter) is not None
            await asyncio.sleep(0.002)
        assert store.swaps < 300

    in_jumping_time(scene)


def test_tokens_are_charged_by_estimate_and_settled_by_truth():
    async def scene():
        limiter = limiter_on(MemoryLimits(), {"free_tier": {"tokens_per_day": 1_000}})
        first = await limiter.admit(ADA, tokens=900)
        assert await passes(limiter, tokens=200) is None
        first.settle(300)
        second = await passes(limiter, tokens=700)
        assert second is not None
        second.settle(1_500)  # it took more than anybody thought
        assert await passes(limiter, tokens=1) is None
        with pytest.raises(RateExceeded, match="asks for 2000 tokens at once"):
            await limiter.admit(ADA, tokens=2_000)

    in_jumping_time(scene)


def test_what_one_limit_refuses_counts_for_none():
    async def scene():
        store = MemoryLimits()
        limiter = limiter_on(
            store, {"a": {"requests_per_minute": 10}, "b": {"requests_per_hour": 15, "tokens_per_hour": 100}}
        )
        assert await passes(limiter, tokens=101) is None
        assert await how_many(limiter) == 10
        (await limiter.admit(Visitor(user="bob"), tokens=100)).undo()
        assert await how_many(limiter, Visitor(user="bob"), tokens=10) == 10

    in_jumping_time(scene)


def test_without_the_store_each_worker_counts_alone():
    async def scene():
        store = MemoryLimits()
        limiter = limiter_on(store, FREE)
        store.away = True
        assert await how_many(limiter) == 10
        store.away = False
        await asyncio.sleep(2)
        assert await how_many(limiter) == 10  # what was counted alone is not known to others

    in_jumping_time(scene)


def test_without_the_store_all_pass_or_none_if_so_wished():
    async def scene():
        store = MemoryLimits()
        store.away = True
        is_open = limiter_on(store, {"a": {"requests_per_minute": 1, "when_down": "open"}})
        assert await how_many(is_open) == 100
        closed = limiter_on(store, {"a": {"requests_per_minute": 1, "when_down": "closed"}})
        with pytest.raises(LimitsUnavailable) as refused:
            await closed.admit(ADA)
        assert (refused.value.status, refused.value.retry_after_s) == (503, 1.0)

    in_jumping_time(scene)


def test_what_was_taken_in_advance_is_given_back():
    async def scene():
        store = MemoryLimits()
        limits = {"all": {"requests_per_minute": 1_000}}
        limiter = limiter_on(store, limits)
        for _ in range(50):
            await limiter.admit(ADA)
            await asyncio.sleep(0.001)
        await limiter.stop()
        await limiter.stop()
        assert await how_many(limiter_on(store, limits), tries=1_100) == 950

    in_jumping_time(scene)


def test_how_the_limits_stand():
    async def scene():
        limiter = limiter_on(MemoryLimits(), FREE)
        admission = await limiter.admit(ADA, tokens=100)
        headers = dict(headers_of(admission.stands))
        assert headers[b"ratelimit-limit"] == b"10"
        assert headers[b"ratelimit-remaining"] == b"9"
        assert 55 <= int(headers[b"ratelimit-reset"]) <= 61
        assert b"50000;w=86400;name=free_tier.tokens_per_day" in headers[b"ratelimit-policy"]
        assert headers_of([]) == []

    in_jumping_time(scene)


def test_what_one_worker_gives_back_others_have_soon():
    async def scene():
        store = MemoryLimits()
        one, other = (limiter_on(store, {"free_tier": {"tokens_per_day": 1_000}}) for _ in range(2))
        admission = await one.admit(ADA, tokens=1_000)
        assert await passes(other, tokens=500) is None
        admission.settle(100)
        admission.settle(0)
        await asyncio.sleep(12)  # neither what was refused is remembered for long, nor is what was given back kept
        assert await passes(other, tokens=900) is not None
        assert await passes(other, tokens=1) is None
        await one.stop()

    in_jumping_time(scene)


def test_many_at_once_ask_the_store_together():
    async def scene():
        store = MemoryLimits()
        limiter = limiter_on(store, {"all": {"requests_per_minute": 40}})
        passed = await asyncio.gather(*(passes(limiter) for _ in range(100)))
        assert sum(one is not None for one in passed) == 40
        assert store.swaps < 10

    in_jumping_time(scene)


def test_several_at_once_pass_together_or_not_at_all():
    async def scene():
        limiter = limiter_on(MemoryLimits(), FREE)
        assert await passes(limiter, times=8) is not None
        assert await passes(limiter, times=3) is None
        assert await passes(limiter, times=2) is not None

    in_jumping_time(scene)


def test_a_store_that_hangs_holds_up_one_request_and_not_each():
    async def scene():
        store = MemoryLimits()
        limiter = limiter_on(store, {"all": {"requests_per_minute": 5}})
        store.latency_s = 1_000.0
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await passes(limiter) is not None
        assert loop.time() - began == pytest.approx(2.0)
        visitors = [Visitor(user=f"user-{number}") for number in range(500)]
        assert all([await passes(limiter, visitor) for visitor in visitors])
        assert loop.time() - began == pytest.approx(2.0)
        await asyncio.sleep(1.5)
        asking = asyncio.create_task(passes(limiter))  # one looks whether it is back
        await asyncio.sleep(0)
        assert all([await passes(limiter, visitor) for visitor in visitors])
        assert loop.time() - began == pytest.approx(3.5)
        assert await asking is not None
        store.latency_s = 0.002
        await asyncio.sleep(1.5)
        assert await how_many(limiter_on(store, {"all": {"requests_per_minute": 5}})) == 5

    in_jumping_time(scene)


def test_what_was_used_up_before_stays_so_without_the_store():
    async def scene():
        store = MemoryLimits()
        limiter = limiter_on(store, FREE, workers=2)
        assert await how_many(limiter) == 10
        store.away = True
        await asyncio.sleep(1)
        assert await how_many(limiter) == 0
        bob = Visitor(tenant="acme", user="bob", tier="free")
        assert await how_many(limiter, bob) == 5  # this worker's part
        await asyncio.sleep(61)
        assert await how_many(limiter) == 5

    in_jumping_time(scene)


def test_what_is_not_a_window_begins_anew():
    async def scene():
        store = MemoryLimits()
        limiter = limiter_on(store, FREE)
        await limiter.admit(ADA)
        for key, (_, version) in store.kept.items():
            store.kept[key] = (b"\xff\x00", version + 1)
        await asyncio.sleep(10)
        assert await how_many(limiter) == 10

    in_jumping_time(scene)


def test_looking_takes_nothing_and_beginning_anew_forgets_all():
    async def scene():
        store = MemoryLimits()
        one, other = (limiter_on(store, FREE) for _ in range(2))
        assert [stand.standing.remaining for stand in await one.standing(ADA)] == [10, 50_000]
        assert [stand.standing.reset_s for stand in await one.standing(ADA)] == [0, 0]
        assert await how_many(one) == 10
        await asyncio.sleep(6)  # what was taken in advance and not used is back
        assert [stand.standing.remaining for stand in await other.standing(ADA)] == [0, 49_990]
        assert await one.reset(ADA) == ["free_tier.requests_per_minute", "free_tier.tokens_per_day"]
        assert await how_many(one) == 10
        assert await other.reset(Visitor(tier="pro")) == []
        store.away = True
        assert len(await other.standing(ADA)) == 2
        with pytest.raises(StoreUnavailable):
            await other.reset(ADA)

    in_jumping_time(scene)


def test_at_the_door_tokens_are_only_looked_at():
    async def scene():
        rates = {"free_tier": {"tokens_per_hour": 10}, "small": {"requests_per_minute": 1, "only": {"model": "s*"}}}
        limiter = limiter_on(MemoryLimits(), rates)
        asks = Visitor(user="ada", tier="free", model="small")
        for _ in range(20):
            assert len((await limiter.admit(asks, where="door")).stands) == 1
        assert len((await limiter.admit(asks, tokens=10, where="model")).stands) == 2
        assert await passes(limiter, asks, where="door") is None
        with pytest.raises(RateExceeded, match="small"):
            await limiter.admit(Visitor(user="ada", model="small"), where="model")

    in_jumping_time(scene)


def test_who_has_no_name_goes_by_the_key_and_what_has_no_session_passes():
    async def scene():
        limiter = limiter_on(MemoryLimits(), {"all": {"requests_per_minute": 2}})
        for key in ("k-1", "k-2"):
            assert await how_many(limiter, Visitor(key=key)) == 2
        assert await how_many(limiter, Visitor(user="k-1")) == 2
        by_session = limiter_on(MemoryLimits(), {"all": {"requests_per_minute": 2, "by": "session"}})
        assert await how_many(by_session, Visitor(session="s")) == 2
        assert await how_many(by_session, Visitor()) == 100

    in_jumping_time(scene)


async def test_whoever_comes_by_is_not_remembered_for_ever(monkeypatch):
    monkeypatch.setattr("corral.limits.rates._KNOWN_MAX", 10)
    store = MemoryLimits(latency_s=0.0)
    rates = Rates(limits={"all": {"requests_per_second": 1_000}}, store=store)
    for number in range(50):
        await rates.admit(Visitor(user=f"user-{number}"))
    assert len(rates._known) == 10
    alone = Rates(limits={"all": {"requests_per_second": 1_000}})
    for number in range(100):
        await alone.admit(Visitor(user=f"user-{number}"))
    assert len(alone._link._store._kept) == 50
    await rates.stop()
    await alone.stop()


@pytest.mark.parametrize(
    ("reset_s", "said"), [(0.12, b"120ms"), (1.0, b"1s"), (59.2, b"1m0s"), (372.0, b"6m12s"), (3_600.0, b"1h0m0s")]
)
def test_how_limits_stand_in_openais_words(reset_s, said):
    (rule,) = rules_of({"a": {"tokens_per_day": 50}})
    headers = dict(openai_headers_of([Passed(rule, Standing(True, 7.9, reset_s))]))
    assert headers == {
        b"x-ratelimit-limit-tokens": b"50",
        b"x-ratelimit-remaining-tokens": b"7",
        b"x-ratelimit-reset-tokens": said,
    }


async def test_a_handler_of_ones_own():
    limiter = RateLimiter(limits={"free_tier": {"requests_per_minute": 2}})

    @limiter.limit
    async def handler(payload, context):
        return payload

    ada = Context("r-1")
    ada.user_id, ada.tier = "ada", "free"
    assert [await handler(n, ada) for n in range(2)] == [0, 1]
    with pytest.raises(RateExceeded):
        await handler(3, ada)
    bob = Context("r-2")
    bob.user_id, bob.tier = "bob", "free"
    enter_context(bob)
    assert await handler(4, None) == 4


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        ({"a": {"requests_per_year": 1}}, "requests_per_minute"),
        ({"a": {"requests_per_minute": 0}}, "above 0"),
        ({"a": {"requests_per_minute": True}}, "above 0"),
        ({"a": {"requests_per_minute": 1, "by": ["colour"]}}, "colour"),
        ({"a": {"requests_per_minute": 1, "only": {"colour": "red"}}}, "colour"),
        ({"a": {"requests_per_minute": 1, "when_down": "maybe"}}, "maybe"),
        ({"a": {"by": ["user"]}}, "allows nothing"),
        ({"a,b": {"requests_per_minute": 1}}, "name is 1 to 64"),
    ],
)
def test_what_is_no_limit_says_so(limits, what):
    with pytest.raises(ConfigError, match=what):
        rules_of(limits)
