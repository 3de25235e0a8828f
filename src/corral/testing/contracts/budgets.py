"""What a `BudgetStore` promises: all changes or none, and nobody overwrites what he has not seen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.errors import ValidationFailed
from corral.limits.budget_store import Change, Place
from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores

TEAM = Place("acme", "team", "support", "2026-11")
USER = Place("acme", "user", "ann", "2026-11-21")


class BudgetContract(Contract):
    """Comparing and putting, several at once."""

    async def test_what_was_put_is_there_for_all(self, stores: Stores, other_stores: Stores) -> None:
        nothing = await stores.budgets.read([TEAM, USER])
        assert [(one.place, one.version, one.body, one.terms) for one in nothing.accounts] == [
            (TEAM, 0, b"", b""),
            (USER, 0, b"", b""),
        ]
        done, known = await stores.budgets.swap([Change(USER, 0, b"\x00one"), Change(TEAM, 0, b"two")])
        assert done
        assert [one.body for one in known.accounts] == [b"\x00one", b"two"]
        seen = await other_stores.budgets.read([TEAM, USER])
        assert [one.body for one in seen.accounts] == [b"two", b"\x00one"]
        assert [one.version for one in seen.accounts] == [one.version for one in reversed(known.accounts)]
        assert seen.now >= nothing.now > 1_700_000_000

    async def test_of_several_changes_all_are_made_or_none(self, stores: Stores) -> None:
        _, first = await stores.budgets.swap([Change(TEAM, 0, b"one")])
        version = first.accounts[0].version
        for stale in (0, version + 1):
            done, known = await stores.budgets.swap([Change(USER, 0, b"new"), Change(TEAM, stale, b"other")])
            assert not done
            assert [one.body for one in known.accounts] == [b"", b"one"]
        done, known = await stores.budgets.swap([Change(TEAM, version, b"next"), Change(USER, 0, b"new")])
        assert done
        assert [one.body for one in known.accounts] == [b"next", b"new"]
        assert known.accounts[0].version > version

    async def test_of_many_who_swap_at_once_each_adds_its_own(self, stores: Stores, other_stores: Stores) -> None:
        async def add(store: Stores, *, turned: bool) -> None:
            places = [USER, TEAM] if turned else [TEAM, USER]
            done, known = False, await store.budgets.read(places)
            while not done:
                changes = [
                    Change(one.place, one.version, str(int(one.body or b"0") + 1).encode()) for one in known.accounts
                ]
                done, known = await store.budgets.swap(changes)

        await asyncio.gather(*(add(one, turned=index % 2 == 0) for index, one in enumerate([stores, other_stores] * 8)))
        assert [one.body for one in (await stores.budgets.read([TEAM, USER])).accounts] == [b"16", b"16"]

    async def test_terms_are_for_every_period(self, stores: Stores, other_stores: Stores) -> None:
        await stores.budgets.swap([Change(TEAM, 0, b"one")])
        await stores.budgets.set_terms(TEAM, b"more")
        later = Place("acme", "team", "support", "2026-12")
        known = await other_stores.budgets.read([TEAM, later, USER])
        assert [one.terms for one in known.accounts] == [b"more", b"more", b""]
        _, swapped = await other_stores.budgets.swap([Change(later, 0, b"x")])
        assert swapped.accounts[0].terms == b"more"
        await stores.budgets.set_terms(TEAM, b"less")
        await stores.budgets.set_terms(USER, b"")
        assert (await stores.budgets.read([TEAM])).accounts[0].terms == b"less"
        await stores.budgets.set_terms(TEAM, b"")
        assert (await stores.budgets.read([TEAM])).accounts[0].terms == b""

    async def test_accounts_are_listed_by_whom_they_are_for(self, stores: Stores) -> None:
        names = ["", "ann", "bob", "zoë"]
        for who in names:
            await stores.budgets.swap([Change(Place("acme", "user", who, "2026-11"), 0, who.encode())])
        for other in (Place("acme", "user", "ann", "2026-10"), Place("acme", "team", "x", "2026-11")):
            await stores.budgets.swap([Change(other, 0, b"other")])
        await stores.budgets.swap([Change(Place("globex", "user", "eve", "2026-11"), 0, b"theirs")])
        await stores.budgets.set_terms(Place("acme", "user", "bob"), b"more")
        listed = await stores.budgets.accounts("acme", "user", "2026-11")
        assert [(one.place.who, one.body, one.terms) for one in listed] == [
            ("", b"", b""),
            ("ann", b"ann", b""),
            ("bob", b"bob", b"more"),
            ("zoë", "zoë".encode(), b""),
        ]
        first = await stores.budgets.accounts("acme", "user", "2026-11", limit=2)
        assert [one.place.who for one in first] == ["", "ann"]
        rest = await stores.budgets.accounts("acme", "user", "2026-11", after="ann")
        assert [one.place.who for one in rest] == ["bob", "zoë"]
        assert await stores.budgets.accounts("acme", "user\x00", "2026-11") == []
        with pytest.raises(ValidationFailed):
            await stores.budgets.accounts("acme", "user", "2026-11", limit=0)

    async def test_what_may_be_forgotten_is(self, stores: Stores) -> None:
        now = (await stores.budgets.read([TEAM])).now
        for who, until in {"gone": now - 1, "stays": now + 3600, "always": None}.items():
            await stores.budgets.swap([Change(Place("acme", "user", who), 0, b"x", until)])
        assert await stores.budgets.forget() == 1
        assert await stores.budgets.forget() == 0
        assert [one.place.who for one in await stores.budgets.accounts("acme", "user", "")] == ["always", "stays"]
