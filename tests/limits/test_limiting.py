"""`RateLimiter`, as people put it on functions of theirs: every kind of function, on every loop and thread."""

from __future__ import annotations

import asyncio

import pytest

from corral import LLM, App, RateLimiter
from corral.context import Context, enter_context, leave_context
from corral.errors import ConfigError
from corral.limits.rates import RateExceeded
from corral.limits.rules import Visitor
from serving import settings_at

TWO = {"free_tier": {"requests_per_minute": 2}}


@pytest.fixture
def ada():
    context = Context("r-1")
    context.user_id, context.tier = "ada", "free"
    token = enter_context(context)
    yield context
    leave_context(token)


async def test_functions_that_are_awaited_or_streamed(ada):
    limiter = RateLimiter(limits=TWO, backend="memory")

    @limiter.limit
    async def handler(payload):
        """What it does."""
        return payload

    @limiter.limit
    async def stream(payload):
        yield payload

    assert handler.__doc__ == "What it does."
    assert await handler(1) == 1
    assert [piece async for piece in stream(2)] == [2]
    for third in (handler(3), anext(stream(3))):
        with pytest.raises(RateExceeded):
            await third


def test_plain_functions_without_any_loop(ada):
    limiter = RateLimiter(limits=TWO)
    handler, stream = limiter.limit(lambda payload: payload), limiter.limit(_twice)
    assert handler(1) == 1
    assert list(stream(2)) == [2, 2]
    with pytest.raises(RateExceeded):
        handler(3)
    with pytest.raises(RateExceeded):
        list(stream(3))


def _twice(payload):
    yield payload
    yield payload


async def test_plain_functions_in_threads_count_with_the_others(ada):
    limiter = RateLimiter(limits=TWO)
    handler = limiter.limit(lambda payload: payload)
    await limiter.admit()
    assert await asyncio.to_thread(handler, 1) == 1
    with pytest.raises(RateExceeded):
        await asyncio.to_thread(handler, 2)
    with pytest.raises(ConfigError, match="in a thread"):
        handler(3)


def test_one_limiter_on_one_loop_after_the_other(ada):
    limiter = RateLimiter(limits=TWO)

    async def ask():
        return len((await limiter.admit()).stands)

    assert [asyncio.run(ask()) for _ in range(3)] == [1, 1, 1]  # in memory, each loop begins anew


async def test_who_asks_may_be_read_from_anything():
    limiter = RateLimiter(limits=TWO, who=lambda request: Visitor(user=request["user"], tier="free"))
    handler = limiter.limit(_echo)
    for user in ("ada", "bob"):
        assert [await handler({"user": user}) for _ in range(2)]
        with pytest.raises(RateExceeded):
            await handler({"user": user})


async def _echo(request):
    return request


@pytest.mark.parametrize("isolate", [False, True])
async def test_agents_with_a_limit_share_the_store_of_their_service(build, isolate):
    import httpx

    app, limiter = App(), RateLimiter(limits={"all": {"requests_per_minute": 3}})

    @app.entrypoint
    @limiter.limit
    async def main(payload, context):
        return payload

    @app.entrypoint(name="plain")
    @limiter.limit
    def plain(payload):
        return payload

    @app.entrypoint(name="pieces")
    @limiter.limit
    def pieces(payload):
        yield payload

    service = await build(app, runtime={"isolate": isolate})
    transport = httpx.ASGITransport(service)
    async with httpx.AsyncClient(transport=transport, base_url="http://corral", headers={"x-user-id": "ada"}) as client:
        for name in ("main", "plain", "pieces"):
            assert (await client.post(f"/v1/agents/{name}/invocations", json=1)).status_code == 200
        for name in ("main", "plain"):
            refused = await client.post(f"/v1/agents/{name}/invocations", json=1)
            assert refused.status_code == 429
            assert refused.headers["ratelimit-limit"] == "3"
            assert int(refused.headers["retry-after"]) > 0


async def test_tokens_of_models_count_when_a_function_is_over(build):
    import httpx

    app, limiter = App(), RateLimiter(limits={"all": {"tokens_per_day": 100}})
    llm = LLM("sim/small")

    @app.entrypoint
    @limiter.limit
    async def main(payload):
        return await llm("Hi", max_tokens=20)

    @app.entrypoint(name="pieces")
    @limiter.limit
    async def pieces(payload):
        yield await llm("Ho", max_tokens=20)
        yield "end"

    service = await build(app)
    transport = httpx.ASGITransport(service)
    async with httpx.AsyncClient(transport=transport, base_url="http://corral") as client:
        for name in ("main", "pieces"):
            answers = [(await client.post(f"/v1/agents/{name}/invocations", json=1)).text for _ in range(20)]
            assert 1 <= sum("rate_exceeded" in text for text in answers) < 20
            (stands,) = await limiter._rates.standing(Visitor())
            assert stands.standing.remaining < 25
            await limiter._rates.reset(Visitor())


async def test_a_store_of_its_own(tmp_path):
    url = f"sqlite:///{tmp_path}/limits.db"
    one, other = (RateLimiter(limits={"all": {"requests_per_minute": 1}}, backend=url) for _ in range(2))
    await one.admit()
    with pytest.raises(RateExceeded):
        await other.admit()
    for limiter in (one, other):
        await limiter.stop()
        await limiter.stop()


def test_a_backend_that_is_none_says_so(tmp_path):
    with pytest.raises(ConfigError, match="memory, redis"):
        RateLimiter(limits=TWO, backend="memcached")
    assert settings_at(tmp_path).limits.rates == {}
