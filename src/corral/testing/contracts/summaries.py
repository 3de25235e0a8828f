"""What a `SummaryStore` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from corral.memory.summarising import KeptInStore, Summary
from corral.sessions.event import SessionKey
from corral.testing.contracts.setting import KEY, Contract, said

if TYPE_CHECKING:
    from corral.backends.stores import Stores


class SummaryContract(Contract):
    """Kept with their session, gone with it."""

    async def test_what_is_kept_is_read_by_its_session_alone(self, stores: Stores, other_stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("one")])
        await stores.sessions.append(SessionKey("other", "s-1"), [said("one")])
        await stores.summaries.keep("acme", "s-1", "d1", b"first")
        await stores.summaries.keep("acme", "s-1", "d1", b"again")
        assert await other_stores.summaries.read("acme", "s-1") == [b"first"]
        assert await stores.summaries.read("other", "s-1") == []
        assert await stores.summaries.read("acme", "s-2") == []

    async def test_none_is_kept_for_a_session_that_is_not_there(self, stores: Stores) -> None:
        await stores.summaries.keep("acme", "s-1", "d1", b"first")
        assert await stores.summaries.read("acme", "s-1") == []
        for odd in ("\0", "\ud800"):
            await stores.summaries.keep("acme", odd, "d1", b"first")
            assert await stores.summaries.read(odd, odd) == []

    async def test_a_session_has_eight_at_most_and_the_newest_of_them(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("one")])
        for n in range(11):
            await stores.summaries.keep("acme", "s-1", f"d{n}", b"%d" % n)
        kept = sorted(map(int, await stores.summaries.read("acme", "s-1")))
        assert kept == list(range(3, 11))

    @pytest.mark.parametrize("how", ["session", "tenant", "actor", "event", "rollback"])
    async def test_they_go_when_anything_they_may_speak_of_does(self, stores: Stores, how: str) -> None:
        await stores.turns.join(KEY, "t", policy="enqueue", lease_s=60, waiting_max=1)
        written = await stores.sessions.append(KEY, [said("one", actor="ada"), said("two", actor="bob")], turn="t")
        await stores.summaries.keep("acme", "s-1", "d1", b"first")
        await stores.sessions.append(KEY, [said("three")])
        assert await stores.summaries.read("acme", "s-1") == [b"first"]
        if how == "event":
            await stores.sessions.delete_event(KEY, written[0].id)
        elif how == "rollback":
            await stores.turns.join(KEY, "u", policy="rollback", lease_s=60, waiting_max=1)
        elif how == "session":
            await stores.sessions.delete("acme", session_id="s-1")
        else:
            await stores.sessions.delete("acme", actor="ada" if how == "actor" else None)
        assert await stores.summaries.read("acme", "s-1") == []

    async def test_summaries_of_conversations_without_a_session_stay_in_the_process(self, stores: Stores) -> None:
        kept = KeptInStore(stores.summaries)
        await stores.sessions.append(KEY, [said("one")])
        for session in ("", "s-1"):
            await kept.keep("acme", session, Summary(digest="d", covers=1, text="said", tail=("a",)))
        assert [one.text for one in await kept.read("acme", "")] == ["said"]
        assert [one.tail for one in await KeptInStore(stores.summaries).read("acme", "s-1")] == [("a",)]
        assert await KeptInStore(stores.summaries).read("acme", "") == []
        await stores.stop()
        assert await kept.read("acme", "s-1") == []
