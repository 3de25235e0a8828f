"""What a `LimitStore` and a `LedgerStore` promise: changes that never overwrite each other, and a bill without holes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.clock import new_id
from corral.errors import ValidationFailed
from corral.limits.store import LedgerEntry, SpendQuery
from corral.messages import Usage
from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.limits.store import LimitStore, SpendBy

DAY_S = 86_400.0
MONDAY = 20_000 * DAY_S


def entry(cost_usd: float | None = 0.5, **more: Any) -> LedgerEntry:
    """One call of `acme`'s."""
    fields: dict[str, Any] = {
        "id": new_id(),
        "at": MONDAY,
        "tenant": "acme",
        "provider": "sim",
        "model": "sim/small",
        "usage": Usage(input=10, output=5),
        "cost_usd": cost_usd,
        "prices": "2026-11-01",
    }
    return LedgerEntry(**{**fields, **more})


async def spent(stores: Stores, by: SpendBy, **more: Any) -> list[tuple[str, float, int]]:
    """Key, cost and calls of each line."""
    lines = await stores.ledger.spend("acme", SpendQuery(by=by, **more))
    return [(line.key, line.cost_usd, line.calls) for line in lines]


class LimitContract(Contract):
    """Comparing and putting."""

    async def test_what_was_put_is_there_for_all(self, stores: Stores, other_stores: Stores) -> None:
        nothing = await stores.limits.read("p")
        assert (nothing.body, nothing.version) == (b"", 0)
        done, kept = await stores.limits.swap("p", 0, b"one")
        assert (done, kept.body) == (True, b"one")
        seen = await other_stores.limits.read("p")
        assert (seen.body, seen.version) == (b"one", kept.version)
        done, again = await other_stores.limits.swap("p", seen.version, b"\x00two")
        assert (done, again.body) == (True, b"\x00two")
        assert again.version > kept.version
        assert (await stores.limits.read("p")).body == b"\x00two"
        assert (await stores.limits.read("q")).version == 0

    async def test_a_stale_version_changes_nothing_and_shows_what_is_there(self, stores: Stores) -> None:
        _, first = await stores.limits.swap("p", 0, b"one")
        for stale in (0, first.version + 1):
            done, kept = await stores.limits.swap("p", stale, b"other")
            assert (done, kept.body, kept.version) == (False, b"one", first.version)
        done, kept = await stores.limits.swap("q", 7, b"never was")
        assert (done, kept.body, kept.version) == (False, b"", 0)

    async def test_what_nobody_changes_is_forgotten_and_comes_back_as_another(self, stores: Stores) -> None:
        _, old = await stores.limits.swap("old", 0, b"one")
        assert await stores.limits.forget(idle_s=3600.0) == 0
        assert (await stores.limits.read("old")).version == old.version
        for number in range(5):
            await stores.limits.swap(f"more-{number}", 0, b"one")
        gone = 0
        while some := await stores.limits.forget(idle_s=-1.0, limit=2):  # also what was changed just now
            assert some <= 2
            gone += some
        there = await stores.limits.read("old")
        if not gone:  # this engine forgets by itself, a day later
            assert there.version == old.version
            return
        assert (gone, there.version) == (6, 0)
        _, again = await stores.limits.swap("old", 0, b"two")
        assert again.version > old.version
        assert (await stores.limits.swap("old", old.version, b"stale"))[0] is False

    async def test_of_many_who_swap_at_once_each_adds_its_own(self, stores: Stores, other_stores: Stores) -> None:
        async def add(store: LimitStore) -> None:
            kept = await store.read("n")
            done = False
            while not done:
                done, kept = await store.swap("n", kept.version, str(int(kept.body or b"0") + 1).encode())

        await asyncio.gather(*(add(one.limits) for one in [stores, other_stores] * 10))
        assert (await stores.limits.read("n")).body == b"20"

    async def test_the_clock_is_one_and_runs_forward(self, stores: Stores, other_stores: Stores) -> None:
        seen = []
        for one in [stores, other_stores] * 3:
            seen.append((await one.limits.read("p")).now)
            seen.append((await one.limits.swap("q", 0, b""))[1].now)
        assert seen == sorted(seen)
        assert seen[-1] - seen[0] < 60


class LedgerContract(Contract):
    """Keeping and adding up."""

    async def test_an_entry_comes_back_as_it_was(self, stores: Stores) -> None:
        whole = entry(
            1.25,
            agent="support",
            session_id="s-1",
            run_id="r-1",
            tags={"team": "blau", "straße": "世界"},
            usage=Usage(input=1, cache_read=2, cache_write=3, output=4, reasoning=5, estimated=True),
            cached="exact",
            duration_s=1.5,
            first_s=0.25,
            outcome="model_timeout",
        )
        bare = entry(None, at=MONDAY - 1)
        await stores.ledger.write([bare, whole])
        await stores.ledger.write([])
        assert await stores.ledger.entries("acme") == [whole, bare]
        assert await stores.ledger.entries("acme", limit=1) == [whole]
        assert await stores.ledger.entries("acme", since=MONDAY) == [whole]

    async def test_an_entry_written_twice_counts_once(self, stores: Stores, other_stores: Stores) -> None:
        one, two = entry(), entry()
        await asyncio.gather(stores.ledger.write([one, two, one]), other_stores.ledger.write([two, one]))
        await stores.ledger.write([one])
        assert await spent(stores, "model") == [("sim/small", 1.0, 2)]

    async def test_spend_is_added_up_by_each_thing(self, stores: Stores) -> None:
        await stores.ledger.write(
            [
                entry(1.0, agent="a", session_id="s", run_id="r", tags={"team": "blue"}),
                entry(2.0, agent="b", model="other/big", provider="other", tags={"team": "red", "x": "y"}),
                entry(4.0, agent="b", at=MONDAY + DAY_S, outcome="cancelled", tags={"team": "blue"}),
            ]
        )
        assert await spent(stores, "model") == [("sim/small", 5.0, 2), ("other/big", 2.0, 1)]
        assert await spent(stores, "provider") == [("sim", 5.0, 2), ("other", 2.0, 1)]
        assert await spent(stores, "agent") == [("b", 6.0, 2), ("a", 1.0, 1)]
        assert await spent(stores, "session") == [("", 6.0, 2), ("s", 1.0, 1)]
        assert await spent(stores, "run") == [("", 6.0, 2), ("r", 1.0, 1)]
        assert await spent(stores, "outcome") == [("cancelled", 4.0, 1), ("ok", 3.0, 2)]
        assert await spent(stores, "day") == [("2024-10-05", 4.0, 1), ("2024-10-04", 3.0, 2)]
        assert await spent(stores, "tag", tag="team") == [("blue", 5.0, 2), ("red", 2.0, 1)]
        assert await spent(stores, "tag", tag="nobody") == [("", 7.0, 3)]
        assert await spent(stores, "model", limit=1) == [("sim/small", 5.0, 2)]
        assert await spent(stores, "model", since=MONDAY + 1) == [("sim/small", 4.0, 1)]
        assert await spent(stores, "agent", until=MONDAY + DAY_S) == [("b", 2.0, 1), ("a", 1.0, 1)]

    async def test_what_has_no_price_is_counted_and_adds_nothing(self, stores: Stores) -> None:
        usage = Usage(input=1, cache_read=2, cache_write=4, output=8, reasoning=16)
        await stores.ledger.write(
            [
                entry(None, usage=usage),
                entry(0.0, usage=usage, cached="semantic"),
                entry(None, usage=Usage(), outcome="model_timeout"),
            ]
        )
        (line,) = await stores.ledger.spend("acme", SpendQuery())
        assert (line.calls, line.cost_usd, line.unpriced, line.cached) == (3, 0.0, 1, 1)
        assert line.usage == Usage(input=2, cache_read=4, cache_write=8, output=16, reasoning=32)

    async def test_tenants_see_their_own_bill(self, stores: Stores) -> None:
        ours = entry()
        await stores.ledger.write([ours, entry(7.0, tenant="umbrella")])
        assert await spent(stores, "model") == [("sim/small", 0.5, 1)]
        assert await stores.ledger.entries("acme") == [ours]
        assert await stores.ledger.entries("nobody") == []
        assert await stores.ledger.spend("nobody", SpendQuery()) == []

    async def test_old_entries_go_a_few_at_a_time(self, stores: Stores) -> None:
        await stores.ledger.write([entry(1.0, at=MONDAY + number) for number in range(10)])
        assert await stores.ledger.forget(before=MONDAY + 7, limit=5) == 5
        assert [await stores.ledger.forget(before=MONDAY + 7) for _ in range(2)] == [2, 0]
        assert [kept.at - MONDAY for kept in await stores.ledger.entries("acme")] == [9, 8, 7]

    async def test_entries_of_today_and_of_days_to_come_are_kept(self, stores: Stores) -> None:
        now = (await stores.limits.read("now")).now
        await stores.ledger.write([entry(1.0, at=now + day * DAY_S) for day in (-400, -1, 0, 1, 30)])
        assert len(await stores.ledger.entries("acme")) == 5
        assert await stores.ledger.forget(before=now - 100 * DAY_S) == 1

    async def test_words_that_cannot_be_kept_do_not_lose_the_batch(self, stores: Stores) -> None:
        good = entry()
        odd = entry(0.25, id="odd\0", agent="half \ud800", session_id="x" * 5000, tags={"nul\0": "\ud800", "fine": "ü"})
        await stores.ledger.write([good, odd])
        kept = await stores.ledger.entries("acme")
        assert len(kept) == 2
        assert {one.agent[:5] for one in kept} == {"", "half "}
        assert ("ü", 0.25, 1) in await spent(stores, "tag", tag="fine")

    @pytest.mark.parametrize("odd", ["nul\0", "half \ud800", "", "x" * 5000])
    async def test_asking_about_what_cannot_be_is_harmless(self, stores: Stores, odd: str) -> None:
        assert await stores.ledger.entries(odd) == []
        assert await stores.ledger.spend(odd, SpendQuery(by="tag", tag=odd)) == []

    async def test_a_list_has_at_least_one_item(self, stores: Stores) -> None:
        with pytest.raises(ValidationFailed):
            await stores.ledger.entries("acme", limit=0)
        with pytest.raises(ValidationFailed):
            await stores.ledger.spend("acme", SpendQuery(limit=0))
