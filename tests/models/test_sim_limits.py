"""The allowances: never more than was allowed, and said in headers."""

from __future__ import annotations

import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_scene import TurnedClock
from sim_process import simulating

from corral.messages import Message, ModelCall, as_parts
from corral.models.provider import LimitsSeen
from corral.models.sim.buckets import Allowance, Bucket
from corral.models.sim.engine import Engine
from corral.models.sim.options import SimOptions
from corral.models.sim.provider import build_sim
from corral.models.sim.refusal import Refused
from corral.models.sim.shapes.shape import seconds
from corral.settings.model_sections import ProviderSettings

steps = st.lists(st.tuples(st.floats(0, 90), st.integers(1, 200)), min_size=1, max_size=60)


@given(steps, st.integers(1, 3_000), st.floats(0.1, 120))
def test_in_no_span_of_time_is_more_admitted_than_capacity_and_rate_allow(steps, tpm, burst_s):
    now, taken = 0.0, []
    allowance = Allowance(None, tpm, burst_s, now)
    for pause, amount in steps:
        now += pause
        verdict = allowance.admit(amount, now)
        if not verdict.wait_s:
            taken.append((now, amount))
    capacity = max(1.0, tpm * burst_s / 60)
    for n, (start, _) in enumerate(taken):
        total = 0
        for end, amount in taken[n:]:
            total += amount
            assert total <= capacity + (end - start) * tpm / 60 + 1e-6


@given(steps, st.integers(1, 3_000))
def test_who_waits_as_long_as_told_is_let_in(steps, tpm):
    now = 0.0
    bucket = Bucket(tpm, tpm, now)
    for pause, amount in steps:
        now += pause
        wait = bucket.wait_s(amount, now)
        if wait == float("inf"):
            assert amount > tpm
            continue
        now += wait + 1e-6
        assert bucket.wait_s(amount, now) == 0
        bucket.take(amount, now)
        assert bucket.taken <= bucket.allowed(now) + 1e-6


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_of_requests_and_tokens_both_are_taken_or_neither(amounts):
    allowance = Allowance(10, 100, 60, 0)
    for amount in amounts:
        before = (allowance.requests.level(0), allowance.tokens.level(0))
        verdict = allowance.admit(amount, 0)
        after = (allowance.requests.level(0), allowance.tokens.level(0))
        assert after == (before if verdict.wait_s else (before[0] - 1, before[1] - amount))


def asks(text: str = "Hello", **more) -> ModelCall:
    return ModelCall(model="small", messages=[Message(role="user", content=as_parts(text))], **more)


def engine(**options) -> tuple[Engine, TurnedClock]:
    clock = TurnedClock()
    return Engine(SimOptions(ttft_ms=0, itl_ms=0, **options), clock=clock, sleep=clock.nap), clock


def test_a_refused_call_is_told_when_to_come_again():
    sim, clock = engine(rpm=60, burst_s=1)
    sim.begin(asks()).close()
    with pytest.raises(Refused) as refused:
        sim.begin(asks())
    assert refused.value.retry_after_s == pytest.approx(1)
    clock.at += refused.value.retry_after_s
    sim.begin(asks()).close()
    assert sim.shown()["rate_limited"] == 1


def test_each_key_and_model_has_its_own():
    sim, _ = engine(rpm=60, burst_s=1)
    sim.begin(asks(), who="a").close()
    sim.begin(asks(), who="b").close()
    with pytest.raises(Refused):
        sim.begin(asks(), who="a")


def test_what_was_reserved_and_not_written_is_put_back():
    sim, _ = engine(tpm=1_000, charge="reserve")
    turn = sim.begin(asks(max_tokens=900))
    with pytest.raises(Refused):
        sim.begin(asks(max_tokens=900))
    turn.close()
    turn.close()
    (used,) = sim.shown()["allowances"]
    assert used["tokens"] == turn.usage.total
    sim.begin(asks(max_tokens=900)).close()


def test_what_is_larger_than_all_that_may_gather_is_never_let_in():
    sim, _ = engine(tpm=10)
    with pytest.raises(Refused, match="too large") as refused:
        sim.begin(asks("word " * 100))
    assert refused.value.retry_after_s is None


async def test_a_provider_notes_what_it_saw():
    provider = build_sim(
        "sim", ProviderSettings(kind="sim", options={"rpm": 100, "tpm": 10_000, "ttft_ms": 0, "itl_ms": 0})
    )
    call = asks()
    async for _ in provider.call(call):
        pass
    limits = call.notes["limits"]
    assert isinstance(limits, LimitsSeen)
    assert (limits.requests_limit, limits.requests_left, limits.tokens_limit) == (100, 99, 10_000)


def test_spans_of_time_look_as_openais():
    assert [seconds(value) for value in (0.0, 0.12, 1.0, 6.5, 360.0, 61.5)] == [
        "0ms",
        "120ms",
        "1s",
        "6.5s",
        "6m0s",
        "1m1.5s",
    ]


def test_headers_of_each_language():
    with simulating("--rpm", "60", "--tpm", "100000", "--burst-s", "1", "--ttft-ms", "0", "--itl-ms", "0") as server:
        message = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
        openai = [server.post("/v1/chat/completions", message) for _ in range(3)]
        anthropic = [server.post("/v1/messages", message | {"model": "n"}) for _ in range(3)]
        converse = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
        bedrock = [server.post("/model/o/converse", converse) for _ in range(3)]
        stats = server.stats()
        server.reset()
        again = server.stats()
    good, bad = _both(openai)
    assert good.headers["x-ratelimit-limit-requests"] == "60"
    assert good.headers["x-ratelimit-limit-tokens"] == "100000"
    assert re.fullmatch(r"\d+ms|[\d.]+s", good.headers["x-ratelimit-reset-tokens"])
    assert bad.json()["error"]["code"] == "rate_limit_exceeded"
    assert bad.json()["error"]["type"] == "requests"
    assert 1 <= int(bad.headers["retry-after"]) <= 10
    good, bad = _both(anthropic)
    assert good.headers["anthropic-ratelimit-requests-limit"] == "60"
    assert good.headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
    assert bad.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(bad.headers["retry-after"]) <= 10
    _, bad = _both(bedrock)
    assert bad.headers["x-amzn-errortype"] == "ThrottlingException"
    assert stats["rate_limited"] > 0
    assert all(used["requests"] <= used["requests_allowed"] + 1 for used in stats["allowances"])
    assert again["calls"] == 0


def _both(responses: list[httpx.Response]) -> tuple[httpx.Response, httpx.Response]:
    """One that was let in, and one that was not: more came than one in a second."""
    assert {response.status_code for response in responses} == {200, 429}
    return responses[0], next(response for response in responses if response.status_code == 429)
