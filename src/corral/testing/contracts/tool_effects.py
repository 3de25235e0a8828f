"""What `ToolEffects` and `ToolArtefacts` promise: one effect for a key, and what is long is found again by whom it belongs to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.errors import IdempotencyKeyReused, ValidationFailed
from corral.testing.contracts.setting import Contract
from corral.tools.store import Begun, Claim, Ended, Running, Unknown

if TYPE_CHECKING:
    from corral.backends.stores import Stores

_REPLY = b'{"name": "refund"}\0\xff'


async def begin(
    stores: Stores,
    key: str = "k",
    *,
    tenant: str = "acme",
    print_: str = "fp",
    lease_s: float = 60,
    ttl_s: float = 600,
    take_over: bool = False,
) -> Claim:
    """Claim a key."""
    return await stores.tool_effects.begin(
        tenant, key, print_, tool="refund", lease_s=lease_s, ttl_s=ttl_s, take_over=take_over
    )


async def begun(stores: Stores, key: str = "k", *, lease_s: float = 60, ttl_s: float = 600) -> str:
    """Claim a key that is free; its token."""
    claim = await begin(stores, key, lease_s=lease_s, ttl_s=ttl_s)
    assert isinstance(claim, Begun)
    assert not claim.again
    return claim.token


class ToolEffectContract(Contract):
    """Claims and replies by idempotency key."""

    async def test_the_second_hears_what_came_of_it(self, stores: Stores, other_stores: Stores) -> None:
        token = await begun(stores)
        running = await begin(other_stores)
        assert isinstance(running, Running)
        assert 50 < running.left_s <= 60
        assert await stores.tool_effects.finish("acme", "k", token, _REPLY)
        assert await begin(other_stores) == Ended(_REPLY)
        assert await begin(stores, take_over=True) == Ended(_REPLY)

    async def test_of_many_at_once_one_calls(self, stores: Stores, other_stores: Stores) -> None:
        claims = await asyncio.gather(*(begin(one) for _ in range(20) for one in (stores, other_stores)))
        assert sum(isinstance(claim, Begun) for claim in claims) == 1
        assert sum(isinstance(claim, Running) for claim in claims) == 39

    async def test_a_dead_call_is_unknown_to_who_may_not_take_over(self, stores: Stores) -> None:
        await begun(stores, lease_s=0)
        for _ in range(2):
            unknown = await begin(stores)
            assert isinstance(unknown, Unknown)
            assert unknown.tool == "refund"
            assert unknown.begun_at > 0

    async def test_a_dead_call_is_taken_over_and_can_say_nothing_more(
        self, stores: Stores, other_stores: Stores
    ) -> None:
        dead = await begun(stores, lease_s=0)
        claims = await asyncio.gather(
            *(begin(one, take_over=True) for _ in range(10) for one in (stores, other_stores))
        )
        (alive,) = [claim for claim in claims if isinstance(claim, Begun)]
        assert alive.again
        assert not await stores.tool_effects.renew("acme", "k", dead, lease_s=60)
        assert not await stores.tool_effects.finish("acme", "k", dead, b"stale")
        await stores.tool_effects.give_up("acme", "k", dead)
        await stores.tool_effects.lose("acme", "k", dead)
        assert isinstance(await begin(stores), Running)
        assert await stores.tool_effects.finish("acme", "k", alive.token, _REPLY)
        assert await begin(stores) == Ended(_REPLY)

    async def test_who_was_late_may_still_say_what_came_of_it(self, stores: Stores) -> None:
        token = await begun(stores, lease_s=0)
        assert isinstance(await begin(stores), Unknown)
        assert await stores.tool_effects.finish("acme", "k", token, _REPLY)
        assert await begin(stores) == Ended(_REPLY)

    async def test_renewing_keeps_it_and_losing_ends_it(self, stores: Stores) -> None:
        token = await begun(stores, lease_s=0)
        assert await stores.tool_effects.renew("acme", "k", token, lease_s=60)
        assert isinstance(await begin(stores, take_over=True), Running)
        await stores.tool_effects.lose("acme", "k", token)
        assert isinstance(await begin(stores), Unknown)

    async def test_given_up_the_key_is_free(self, stores: Stores) -> None:
        token = await begun(stores)
        await stores.tool_effects.give_up("acme", "k", token)
        token = await begun(stores)
        assert await stores.tool_effects.finish("acme", "k", token, _REPLY)
        await stores.tool_effects.give_up("acme", "k", token)
        await stores.tool_effects.lose("acme", "k", token)
        assert not await stores.tool_effects.renew("acme", "k", token, lease_s=60)
        assert await begin(stores) == Ended(_REPLY)

    async def test_another_call_under_the_same_key_is_refused(self, stores: Stores) -> None:
        token = await begun(stores)
        with pytest.raises(IdempotencyKeyReused):
            await begin(stores, print_="other")
        await stores.tool_effects.finish("acme", "k", token, _REPLY)
        with pytest.raises(IdempotencyKeyReused):
            await begin(stores, print_="other", take_over=True)

    async def test_tenants_do_not_meet(self, stores: Stores) -> None:
        token = await begun(stores)
        assert isinstance(await begin(stores, tenant="other", print_="other"), Begun)
        assert not await stores.tool_effects.finish("other", "k", token, b"")
        assert isinstance(await begin(stores), Running)

    async def test_what_is_past_its_time_is_gone(self, stores: Stores) -> None:
        ended = await begun(stores, "ended", ttl_s=0)
        await stores.tool_effects.finish("acme", "ended", ended, _REPLY)
        await begun(stores, "dead", lease_s=0, ttl_s=0)
        await begun(stores, "running", ttl_s=0)
        assert isinstance(await begin(stores, "running"), Running)
        assert await stores.tool_effects.expire() == 2
        assert await stores.tool_effects.expire() == 0
        assert await begun(stores, "ended", lease_s=0, ttl_s=0)
        assert await begun(stores, "ended")  # also before anybody swept

    async def test_ids_that_cannot_be_kept_are_refused(self, stores: Stores) -> None:
        for key in ("", "x" * 600, "a\0b", "\ud800"):
            with pytest.raises(ValidationFailed):
                await begin(stores, key)
            assert not await stores.tool_effects.finish("acme", key, "t", b"")


class ToolArtefactContract(Contract):
    """Long results."""

    async def test_it_is_read_by_whom_it_belongs_to(self, stores: Stores, other_stores: Stores) -> None:
        artefacts = stores.tool_artefacts
        await artefacts.put("acme", "ada", "a", b"\0long\xff" * 10_000, ttl_s=60)
        await artefacts.put("acme", "", "a", b"everybody's", ttl_s=60)
        assert await other_stores.tool_artefacts.get("acme", "ada", "a") == b"\0long\xff" * 10_000
        assert await artefacts.get("acme", "", "a") == b"everybody's"
        for tenant, owner, name in (
            ("other", "ada", "a"),
            ("acme", "bob", "a"),
            ("acme", "ada", "b"),
            ("acme", "a\0", "a"),
        ):
            assert await artefacts.get(tenant, owner, name) is None

    async def test_the_last_one_stands(self, stores: Stores) -> None:
        await stores.tool_artefacts.put("acme", "", "a", b"1", ttl_s=0)
        assert await stores.tool_artefacts.get("acme", "", "a") is None
        await stores.tool_artefacts.put("acme", "", "a", b"2", ttl_s=60)
        assert await stores.tool_artefacts.get("acme", "", "a") == b"2"

    async def test_what_is_past_its_time_goes(self, stores: Stores) -> None:
        for number in range(5):
            await stores.tool_artefacts.put("acme", "", f"old {number}", b"1", ttl_s=0)
        await stores.tool_artefacts.put("acme", "", "new", b"1", ttl_s=60)
        assert await stores.tool_artefacts.expire(limit=3) == 3
        assert await stores.tool_artefacts.expire(limit=3) == 2
        assert await stores.tool_artefacts.expire() == 0
        assert await stores.tool_artefacts.get("acme", "", "new") == b"1"
