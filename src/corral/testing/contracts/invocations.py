"""What an `InvocationStore` promises: a retried request is one run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.errors import IdempotencyKeyReused, ValidationFailed
from corral.runtime.store import Begun, Finished, InProgress
from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores

_REPLY = b'{"answer": 42}\0\xff'


async def begin(
    stores: Stores, key: str = "k", *, tenant: str = "acme", print_: str = "fp", lease_s: float = 60, ttl_s: float = 600
) -> Begun | InProgress | Finished:
    """Claim a key."""
    return await stores.invocations.begin(tenant, key, print_, lease_s=lease_s, ttl_s=ttl_s)


async def begun(
    stores: Stores, key: str = "k", *, tenant: str = "acme", lease_s: float = 60, ttl_s: float = 600
) -> str:
    """Claim a key that is free; its token."""
    claim = await begin(stores, key, tenant=tenant, lease_s=lease_s, ttl_s=ttl_s)
    assert isinstance(claim, Begun)
    return claim.token


class InvocationContract(Contract):
    """Claims and answers by idempotency key."""

    async def test_the_second_waits_and_then_hears_the_answer(self, stores: Stores, other_stores: Stores) -> None:
        token = await begun(stores)
        assert await begin(other_stores) == InProgress()
        assert await stores.invocations.finish("acme", "k", token, _REPLY)
        assert await begin(other_stores) == Finished(_REPLY)
        assert await begin(stores) == Finished(_REPLY)

    async def test_finishing_twice_is_finishing_once(self, stores: Stores) -> None:
        token = await begun(stores)
        assert await stores.invocations.finish("acme", "k", token, b"")
        assert await stores.invocations.finish("acme", "k", token, b"")
        assert await begin(stores) == Finished(b"")

    async def test_of_many_at_once_one_runs(self, stores: Stores, other_stores: Stores) -> None:
        claims = await asyncio.gather(*(begin(store) for _ in range(25) for store in (stores, other_stores)))
        assert sum(isinstance(claim, Begun) for claim in claims) == 1
        assert sum(isinstance(claim, InProgress) for claim in claims) == 49

    async def test_another_request_under_the_same_key_is_refused(self, stores: Stores) -> None:
        token = await begun(stores)
        with pytest.raises(IdempotencyKeyReused):
            await begin(stores, print_="other")
        await stores.invocations.finish("acme", "k", token, _REPLY)
        with pytest.raises(IdempotencyKeyReused):
            await begin(stores, print_="other")
        assert await begin(stores) == Finished(_REPLY)

    async def test_a_dead_run_is_taken_over_and_can_say_nothing_more(self, stores: Stores) -> None:
        dead = await begun(stores, lease_s=0)
        alive = await begun(stores)
        assert dead != alive
        assert not await stores.invocations.renew("acme", "k", dead, lease_s=60)
        assert not await stores.invocations.finish("acme", "k", dead, b"stale")
        await stores.invocations.abandon("acme", "k", dead)
        assert await begin(stores) == InProgress()
        assert await stores.invocations.finish("acme", "k", alive, _REPLY)
        assert not await stores.invocations.finish("acme", "k", dead, b"stale")
        assert await begin(stores) == Finished(_REPLY)

    async def test_many_take_a_dead_run_over_and_one_wins(self, stores: Stores, other_stores: Stores) -> None:
        await begun(stores, lease_s=0)
        claims = await asyncio.gather(*(begin(store) for _ in range(10) for store in (stores, other_stores)))
        assert sum(isinstance(claim, Begun) for claim in claims) == 1

    async def test_a_dead_run_is_no_excuse_for_another_request(self, stores: Stores) -> None:
        await begun(stores, lease_s=0)
        with pytest.raises(IdempotencyKeyReused):
            await begin(stores, print_="other")

    async def test_a_late_run_that_nobody_took_over_may_finish(self, stores: Stores) -> None:
        token = await begun(stores, lease_s=0)
        assert await stores.invocations.renew("acme", "k", token, lease_s=60)
        assert await begin(stores) == InProgress()
        late = await begun(stores, "late", lease_s=0)
        assert await stores.invocations.finish("acme", "late", late, _REPLY)
        assert await begin(stores, "late") == Finished(_REPLY)

    async def test_an_abandoned_key_is_free(self, stores: Stores) -> None:
        token = await begun(stores)
        await stores.invocations.abandon("acme", "k", token)
        await stores.invocations.abandon("acme", "k", token)
        assert isinstance(await begin(stores, print_="other"), Begun)

    async def test_an_answer_is_not_abandoned_nor_kept_alive(self, stores: Stores) -> None:
        token = await begun(stores)
        await stores.invocations.finish("acme", "k", token, _REPLY)
        await stores.invocations.abandon("acme", "k", token)
        assert not await stores.invocations.renew("acme", "k", token, lease_s=60)
        assert await begin(stores) == Finished(_REPLY)

    async def test_an_answer_ends_with_its_time_and_its_key_with_it(self, stores: Stores) -> None:
        token = await begun(stores, ttl_s=0)
        assert await begin(stores) == InProgress()  # a run that goes on is not over, whatever its answer's time
        await stores.invocations.finish("acme", "k", token, _REPLY)
        assert isinstance(await begin(stores, print_="other"), Begun)

    async def test_a_sweep_takes_what_is_over_and_no_run_that_goes_on(self, stores: Stores) -> None:
        running = await begun(stores, "running", ttl_s=0)
        for number in range(5):
            token = await begun(stores, f"{number}", ttl_s=0)
            await stores.invocations.finish("acme", f"{number}", token, _REPLY)
        await begun(stores, "dead", lease_s=0, ttl_s=0)
        kept = await begun(stores, "kept")
        await stores.invocations.finish("acme", "kept", kept, _REPLY)
        assert [await stores.invocations.expire(limit=4) for _ in range(3)] == [4, 2, 0]
        assert await begin(stores, "kept") == Finished(_REPLY)
        assert await stores.invocations.renew("acme", "running", running, lease_s=60)

    async def test_tenants_do_not_share_keys(self, stores: Stores) -> None:
        ours = await begun(stores, tenant="ours")
        theirs = await begun(stores, tenant="theirs")
        assert not await stores.invocations.finish("theirs", "k", ours, b"x")
        assert not await stores.invocations.renew("theirs", "k", ours, lease_s=60)
        await stores.invocations.abandon("theirs", "k", ours)
        await stores.invocations.finish("theirs", "k", theirs, _REPLY)
        assert await begin(stores, tenant="ours") == InProgress()

    @pytest.mark.parametrize("bad", ["", "nul\0", "half \ud800", "x" * 513])
    async def test_keys_that_cannot_be_kept_are_refused(self, stores: Stores, bad: str) -> None:
        with pytest.raises(ValidationFailed):
            await begin(stores, bad)
        with pytest.raises(ValidationFailed):
            await begin(stores, tenant=bad)
        assert not await stores.invocations.finish("acme", bad, "token", b"")
        assert not await stores.invocations.renew("acme", bad, "token", lease_s=1)
        await stores.invocations.abandon("acme", bad, "token")

    async def test_a_large_answer_survives(self, stores: Stores) -> None:
        reply = bytes(range(256)) * 10_000
        await stores.invocations.finish("acme", "k", await begun(stores), reply)
        assert await begin(stores) == Finished(reply)
