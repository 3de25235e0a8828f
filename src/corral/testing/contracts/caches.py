"""What a `CacheStore` promises: entries may go at any time, but none comes back after a clearing, nor to another tenant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.cache.store import Claimed, EntryDraft, KindStats, Looked, Tally
from corral.errors import ValidationFailed
from corral.testing.contracts.setting import PATIENCE_S, Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores

K, L, M = b"k" * 16, b"\x00\xff" * 8, b"m" * 16
PLENTY = 1_000_000


def draft(key: bytes = K, value: bytes = b"v", **more: Any) -> EntryDraft:
    """An entry that is fresh for a minute."""
    return EntryDraft(**{"key": key, "value": value, "ttl_s": 60.0, **more})


async def there(stores: Stores, *keys: bytes, tenant: str = "acme") -> dict[bytes, bytes]:
    """The values of those that are there."""
    looked = await stores.cache.get(tenant, keys or (K, L, M))
    return {key: kept.value for key, kept in looked.found.items()}


class EntryContract(Contract):
    """Keeping, finding, and growing old."""

    async def test_what_was_kept_is_found_by_all(self, stores: Stores, other_stores: Stores) -> None:
        assert await stores.cache.get("acme", [K, L]) == Looked({}, 0)
        large = bytes(range(256)) * 8_000
        assert await stores.cache.put("acme", [draft(K, b""), draft(L, large)]) == 2
        assert await there(other_stores) == {K: b"", L: large}
        assert await stores.cache.get("acme", []) == Looked({}, 0)

    async def test_what_is_there_is_never_said_to_be_absent(self, stores: Stores) -> None:
        cache = stores.cache
        for generation, key in enumerate((K, L, M)):
            await cache.put("acme", [draft(key, generation=generation)])
            for _ in range(3):
                assert (await cache.get("acme", [key, b"n" * 16])).generation == generation
                assert not cache.lacks("acme", key, generation)
            assert not cache.lacks("acme", b"n" * 16, generation + 1)
            await cache.drop("acme")
            assert not cache.lacks("acme", b"n" * 16, generation)

    async def test_an_entry_tells_its_age(self, stores: Stores) -> None:
        await stores.cache.put("acme", [draft(ttl_s=60, stale_s=30)])
        kept = (await stores.cache.get("acme", [K])).found[K]
        assert 0 <= kept.age_s < 20
        assert 40 < kept.fresh_s <= 60
        assert 70 < kept.left_s <= 90

    async def test_a_stale_entry_says_so_and_one_past_its_time_is_gone(self, stores: Stores) -> None:
        await stores.cache.put("acme", [draft(K, ttl_s=0, stale_s=60), draft(L, ttl_s=0), draft(M, ttl_s=0.001)])
        async with asyncio.timeout(PATIENCE_S):
            while M in await there(stores):  # noqa: ASYNC110 - the store's clock brings it about
                await asyncio.sleep(0.002)
        looked = await stores.cache.get("acme", [K, L, M])
        assert list(looked.found) == [K]
        assert looked.found[K].fresh_s <= 0 < looked.found[K].left_s

    async def test_the_last_one_stands(self, stores: Stores, other_stores: Stores) -> None:
        await stores.cache.put("acme", [draft(K, b"old", ttl_s=0, stale_s=50, tags=("a",))])
        await other_stores.cache.put("acme", [draft(K, b"new", ttl_s=50, tags=("b",)), draft(L, b"x")])
        kept = (await stores.cache.get("acme", [K])).found[K]
        assert kept.value == b"new"
        assert kept.fresh_s > 0
        assert await stores.cache.drop("acme", tags=["a"]) == 0
        await stores.cache.put("acme", [draft(K, b"newer")])
        assert await stores.cache.drop("acme", tags=["b"]) == 0
        assert await there(stores) == {K: b"newer", L: b"x"}

    async def test_many_who_keep_the_same_do_not_disturb_each_other(self, stores: Stores, other_stores: Stores) -> None:
        drafts = [draft(bytes([n]) * 16, b"v", tags=("t",)) for n in range(20)]
        puts = [s.cache.put("acme", order) for s in (stores, other_stores) for order in (drafts, drafts[::-1]) * 5]
        assert await asyncio.gather(*puts) == [20] * 20
        assert (await stores.cache.stats("acme"))[0].entries == 20

    async def test_tenants_share_nothing(self, stores: Stores) -> None:
        await stores.cache.put("acme", [draft(K, b"ours", tags=("t",))])
        await stores.cache.put("evil", [draft(K, b"theirs", tags=("t",))])
        assert await there(stores, tenant="other") == {}
        assert await there(stores, tenant="nobody\0") == {}
        assert await stores.cache.drop("evil", tags=["t"]) == 1
        assert await stores.cache.drop("evil") == 0
        looked = await stores.cache.get("acme", [K])
        assert (looked.found[K].value, looked.generation) == (b"ours", 0)
        assert await stores.cache.stats("other") == []

    @pytest.mark.parametrize("bad", ["", "nul\0", "half \ud800", "x" * 513])
    async def test_names_that_cannot_be_kept_are_refused(self, stores: Stores, bad: str) -> None:
        with pytest.raises(ValidationFailed):
            await stores.cache.put(bad, [draft()])
        with pytest.raises(ValidationFailed):
            await stores.cache.put("acme", [draft(tags=(bad,))])
        with pytest.raises(ValidationFailed):
            await stores.cache.claim(bad, K, "me", lease_s=1)
        assert await stores.cache.drop("acme", tags=[bad]) == 0
        assert await stores.cache.drop(bad) == 0
        await stores.cache.release(bad, K, bad)
        await stores.cache.tally([Tally(bad, "answer", hits=1)] if bad in {"nul\0", "half \ud800"} else [])
        assert (await stores.cache.get(bad, [K])).found == {}


class ClearContract(Contract):
    """Throwing away."""

    async def test_tags_name_what_goes(self, stores: Stores, other_stores: Stores) -> None:
        await stores.cache.put(
            "acme", [draft(K, tags=("red", "round ü")), draft(L, tags=("red",)), draft(M, kind="vector", tags=("red",))]
        )
        assert await stores.cache.drop("acme", tags=["blue"]) == 0
        assert await other_stores.cache.drop("acme", tags=["round ü", "blue"]) == 1
        assert set(await there(stores)) == {L, M}
        assert await stores.cache.drop("acme", tags=["red", "round ü"], kind="answer") == 1
        assert set(await there(stores)) == {M}

    async def test_clearing_takes_one_kind_or_all(self, stores: Stores) -> None:
        await stores.cache.put("acme", [draft(K), draft(L, kind="vector"), draft(M, kind="value")])
        assert await stores.cache.drop("acme", kind="vector") == 1
        assert set(await there(stores)) == {K, M}
        assert await stores.cache.drop("acme") == 2
        assert await there(stores) == {}

    async def test_every_clearing_is_a_new_generation(self, stores: Stores, other_stores: Stores) -> None:
        generations = [(await stores.cache.get("acme", [K])).generation]
        for clearing in ({}, {"tags": ["none"]}, {"kind": "vector"}):
            await other_stores.cache.drop("acme", **clearing)
            generations.append((await stores.cache.get("acme", [])).generation)
        assert len(set(generations)) == 4

    async def test_what_was_asked_before_a_clearing_is_not_kept_after_it(
        self, stores: Stores, other_stores: Stores
    ) -> None:
        before = (await stores.cache.get("acme", [K])).generation
        await other_stores.cache.drop("acme", tags=["x"])
        assert await stores.cache.put("acme", [draft(K, generation=before), draft(L)]) == 1
        now = (await stores.cache.get("acme", [K])).generation
        assert await stores.cache.put("acme", [draft(M, generation=now)]) == 1
        assert set(await there(stores)) == {L, M}

    async def test_clearings_and_keepings_at_once_leave_nothing_of_before(
        self, stores: Stores, other_stores: Stores
    ) -> None:
        for number in range(5):
            before = (await stores.cache.get("acme", [])).generation
            drafts = [draft(bytes([n]) * 16, bytes([number]), generation=before) for n in range(20)]
            await asyncio.gather(*(stores.cache.put("acme", [one]) for one in drafts), other_stores.cache.drop("acme"))
            # A second clearing proves it: whatever is there now was kept before the first one ended, which took it.
            assert await there(stores, *(one.key for one in drafts)) == {}


class LeaseOfCacheContract(Contract):
    """One of many asks."""

    async def test_of_many_one_asks_and_the_others_find_the_value(self, stores: Stores, other_stores: Stores) -> None:
        claims = await asyncio.gather(
            *(
                s.cache.claim("acme", K, f"{n}{i}", lease_s=60)
                for n in range(10)
                for i, s in enumerate((stores, other_stores))
            )
        )
        assert sum(claim.ours for claim in claims) == 1
        assert all(claim.kept is None for claim in claims)
        await other_stores.cache.put("acme", [draft(K, b"answer")])
        claim = await stores.cache.claim("acme", K, "late", lease_s=60)
        assert not claim.ours
        assert claim.kept is not None
        assert claim.kept.value == b"answer"

    async def test_a_holder_may_go_on_and_a_dead_one_is_followed(self, stores: Stores) -> None:
        assert await stores.cache.claim("acme", K, "one", lease_s=60) == Claimed(ours=True)
        assert await stores.cache.claim("acme", K, "one", lease_s=0.001) == Claimed(ours=True)
        async with asyncio.timeout(PATIENCE_S):
            while not (await stores.cache.claim("acme", K, "two", lease_s=60)).ours:  # noqa: ASYNC110 - time passes
                await asyncio.sleep(0.002)
        await stores.cache.release("acme", K, "one")
        assert not (await stores.cache.claim("acme", K, "three", lease_s=60)).ours
        await stores.cache.release("acme", K, "two")
        assert (await stores.cache.claim("acme", K, "three", lease_s=60)).ours
        assert (await stores.cache.claim("evil", K, "three", lease_s=60)).ours

    async def test_a_stale_value_is_asked_anew(self, stores: Stores) -> None:
        await stores.cache.put("acme", [draft(ttl_s=0, stale_s=60)])
        assert await stores.cache.claim("acme", K, "one", lease_s=60) == Claimed(ours=True)

    async def test_a_value_that_may_not_be_kept_ends_the_lease_all_the_same(self, stores: Stores) -> None:
        await stores.cache.claim("acme", K, "one", lease_s=60)
        assert await stores.cache.put("acme", [draft(generation=7)]) == 0
        assert (await stores.cache.claim("acme", K, "two", lease_s=60)).ours


class RoomContract(Contract):
    """Counting, and making room."""

    async def test_it_says_how_much_there_is_and_what_it_was_good_for(
        self, stores: Stores, other_stores: Stores
    ) -> None:
        await stores.cache.put("acme", [draft(K, b"123"), draft(L, b"45"), draft(M, b"6", kind="vector")])
        await stores.cache.tally([Tally("acme", "answer", hits=2, misses=1, saved_usd=0.25, used=(K, b"?" * 16))])
        await other_stores.cache.tally(
            [Tally("acme", "answer", hits=1, saved_usd=0.25), Tally("acme", "value", misses=4), Tally("evil", "answer")]
        )
        await stores.cache.tally([])
        assert await stores.cache.stats("acme") == [
            KindStats(kind="answer", entries=2, bytes=5, hits=3, misses=1, saved_usd=0.5),
            KindStats(kind="value", misses=4),
            KindStats(kind="vector", entries=1, bytes=1),
        ]

    async def test_what_is_past_its_time_is_swept(self, stores: Stores) -> None:
        await stores.cache.put("acme", [draft(bytes([n]) * 16, ttl_s=0) for n in range(5)])
        await stores.cache.put("acme", [draft(K)])
        swept = [await stores.cache.sweep(entries_max=PLENTY, bytes_max=PLENTY, limit=3) for _ in range(3)]
        assert swept == [3, 2, 0]
        assert await there(stores, K) == {K: b"v"}
        assert (await stores.cache.stats("acme"))[0].entries == 1

    async def test_what_is_too_much_goes_some_at_a_time_until_the_rest_fits(self, stores: Stores) -> None:
        keys = [bytes([n]) * 16 for n in range(10)]
        for key in keys:
            await stores.cache.put("acme", [draft(key)])
        swept = [await stores.cache.sweep(entries_max=3, bytes_max=PLENTY, limit=3) for _ in range(4)]
        assert swept == [3, 3, 1, 0]
        assert set(await there(stores, *keys)) == set(keys[7:])
        await stores.cache.put("acme", [draft(key) for key in keys])
        assert await stores.cache.sweep(entries_max=0, bytes_max=PLENTY, limit=1) == 1
        # Other limits are looked at anew.
        assert await stores.cache.sweep(entries_max=8, bytes_max=PLENTY, limit=5) == 1
        await stores.cache.put("acme", [draft(key) for key in keys])
        assert await stores.cache.sweep(entries_max=5, bytes_max=PLENTY, limit=1) == 1
        # The time of these is over before it is the others' turn.
        await stores.cache.put("acme", [draft(key, ttl_s=0) for key in keys[7:]])
        while await stores.cache.sweep(entries_max=5, bytes_max=PLENTY, limit=1):
            pass
        assert len(await there(stores, *keys)) == 5
        assert await stores.cache.drop("acme") == 5
        assert await stores.cache.sweep(entries_max=8, bytes_max=PLENTY, limit=5) == 0

    async def test_what_was_not_used_for_the_longest_time_goes_first(self, stores: Stores) -> None:
        keys = [bytes([n]) * 16 for n in range(6)]
        for key in keys:
            await stores.cache.put("acme", [draft(key, b"x" * 10, tags=("t",))])
        await stores.cache.tally([Tally("acme", "answer", used=(keys[0],))])
        assert await stores.cache.sweep(entries_max=4, bytes_max=PLENTY) == 2
        assert set(await there(stores, *keys)) == {keys[0], *keys[3:]}
        assert await stores.cache.sweep(entries_max=4, bytes_max=25) == 2
        assert set(await there(stores, *keys)) == {keys[0], keys[5]}
        assert await stores.cache.sweep(entries_max=0, bytes_max=PLENTY, limit=1) == 1
        assert await stores.cache.sweep(entries_max=PLENTY, bytes_max=0) == 1
        assert await stores.cache.sweep(entries_max=0, bytes_max=0) == 0
        assert await stores.cache.drop("acme", tags=["t"]) == 0
        assert [one for one in await stores.cache.stats("acme") if one.entries or one.bytes] == []
