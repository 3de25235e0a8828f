"""What an `AuditLog` promises: entries in one order per tenant, numbered without a gap, each kept once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.clock import new_id
from corral.errors import CursorNotFound, ValidationFailed
from corral.messages import AuditEntry
from corral.security.store import AuditQuery
from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores

NOON = 1_728_043_200.0


def entry(**more: Any) -> AuditEntry:
    """A call of `acme`'s that a rule allowed."""
    fields: dict[str, Any] = {
        "id": new_id(),
        "at": NOON,
        "tenant": "acme",
        "action": "tool.call",
        "subject": "refund",
        "decision": "allowed",
    }
    return AuditEntry(**{**fields, **more})


async def numbers(stores: Stores, tenant: str = "acme", **query: Any) -> list[int]:
    """The numbers that a query finds."""
    page = await stores.audit.entries(tenant, AuditQuery(**{"limit": 1000, **query}))
    return [record.number for record in page.items]


class AuditContract(Contract):
    """Appending, finding and sweeping."""

    async def test_an_entry_comes_back_as_it_was(self, stores: Stores) -> None:
        whole = entry(
            rule="small refunds",
            reason="amount is at most 50",
            actor="ada",
            agent="support",
            session_id="s-1",
            run_id="r-1",
            details={"input": {"amount": 12.5, "für": "世界"}, "tainted": ["tool:web_fetch"]},
        )
        await stores.audit.append([])
        await stores.audit.append([whole, entry()])
        page = await stores.audit.entries("acme", AuditQuery())
        assert [record.number for record in page.items] == [2, 1]
        assert page.items[1].entry == whole
        assert page.next_cursor is None

    async def test_each_tenant_has_an_order_of_its_own(self, stores: Stores) -> None:
        mixed = [entry(subject=f"{n}", tenant="acme" if n % 3 else "umbrella") for n in range(9)]
        await stores.audit.append(mixed)
        assert await numbers(stores) == [6, 5, 4, 3, 2, 1]
        assert await numbers(stores, "umbrella") == [3, 2, 1]
        assert await numbers(stores, "nobody") == []
        page = await stores.audit.entries("umbrella", AuditQuery())
        assert [record.entry.subject for record in page.items] == ["6", "3", "0"]

    async def test_an_entry_appended_twice_keeps_its_first_number(self, stores: Stores, other_stores: Stores) -> None:
        one, two, three = entry(), entry(), entry()
        await stores.audit.append([one, two, one])
        await other_stores.audit.append([two, three])
        await stores.audit.append([one])
        page = await stores.audit.entries("acme", AuditQuery())
        assert [(record.number, record.entry.id) for record in page.items] == [(3, three.id), (2, two.id), (1, one.id)]

    async def test_the_same_id_of_two_tenants_is_two_entries(self, stores: Stores) -> None:
        ours = entry()
        await stores.audit.append([ours, entry(id=ours.id, tenant="umbrella")])
        assert await numbers(stores) == await numbers(stores, "umbrella") == [1]

    async def test_writers_at_the_same_time_leave_no_gap(self, stores: Stores, other_stores: Stores) -> None:
        groups = [[entry(tenant=tenant) for tenant in ("acme", "umbrella", "acme")] for _ in range(20)]
        tenants_turned = [list(reversed(group)) for group in groups]
        await asyncio.gather(
            *(stores.audit.append(group) for group in groups),
            *(other_stores.audit.append(group) for group in tenants_turned),
        )
        assert await numbers(stores) == list(range(40, 0, -1))
        assert await numbers(stores, "umbrella") == list(range(20, 0, -1))

    async def test_pages_follow_each_other_while_others_write(self, stores: Stores) -> None:
        await stores.audit.append([entry(subject=f"{n}") for n in range(5)])
        first = await stores.audit.entries("acme", AuditQuery(limit=2))
        await stores.audit.append([entry()])
        second = await stores.audit.entries("acme", AuditQuery(limit=3, cursor=first.next_cursor))
        assert [record.number for record in first.items] == [5, 4]
        assert [record.number for record in second.items] == [3, 2, 1]
        assert second.next_cursor is None

    @pytest.mark.parametrize("run_id", [None, "r-1"])
    async def test_every_word_is_a_filter(self, stores: Stores, run_id: str | None) -> None:
        words = ("action", "subject", "decision", "rule", "actor", "agent", "session_id")
        plain = entry(run_id="r-1")
        await stores.audit.append(
            [plain, *(entry(run_id="r-1", **{word: f"another {word}"}) for word in words), entry(run_id="r-2")]
        )
        for number, word in enumerate(words, start=2):
            assert await numbers(stores, run_id=run_id, **{word: f"another {word}"}) == [number], word
            assert await numbers(stores, run_id=run_id, **{word: "never said"}) == [], word
        assert await numbers(stores, run_id="r-2") == [9]
        assert await numbers(stores, "umbrella", run_id="r-1") == []

    async def test_times_are_a_filter(self, stores: Stores) -> None:
        await stores.audit.append([entry(at=NOON + n) for n in range(5)])
        assert await numbers(stores, since=NOON + 1, until=NOON + 3) == [3, 2]
        assert await numbers(stores, since=NOON + 1, until=NOON + 1) == []

    async def test_old_entries_are_swept_and_their_numbers_stay_theirs(self, stores: Stores) -> None:
        await stores.audit.append([entry(at=NOON + n) for n in range(6)])
        await stores.audit.append([entry(tenant="umbrella")])
        assert await stores.audit.expire(before=NOON + 3, limit=2) == 2
        assert [await stores.audit.expire(before=NOON + 3) for _ in range(2)] == [2, 0]
        assert await numbers(stores, "umbrella") == []
        assert await numbers(stores) == [6, 5, 4]
        assert await stores.audit.expire(before=NOON + 100) == 3
        await stores.audit.append([entry(), entry(tenant="umbrella")])
        assert await numbers(stores) == [7]
        assert await numbers(stores, "umbrella") == [2]

    async def test_words_that_cannot_be_kept_do_not_lose_the_group(self, stores: Stores) -> None:
        odd = entry(subject="nul\0 half \ud800", reason="x" * 100_000, details={"object": object(), "half": "\ud800"})
        await stores.audit.append([entry(), odd, entry()])
        page = await stores.audit.entries("acme", AuditQuery())
        assert [record.number for record in page.items] == [3, 2, 1]
        assert page.items[1].entry.subject.startswith("nul")
        assert set(page.items[1].entry.details) == {"object", "half"}

    @pytest.mark.parametrize("odd", ["nul\0", "half \ud800", "", "x" * 5000])
    async def test_looking_for_what_cannot_be_is_harmless(self, stores: Stores, odd: str) -> None:
        await stores.audit.append([entry()])
        assert await numbers(stores, odd or "nobody") == []
        assert await numbers(stores, subject=odd) == []

    @pytest.mark.parametrize("cursor", ["", "?", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk", "IngI"])
    async def test_a_cursor_of_somebody_elses_is_refused(self, stores: Stores, cursor: str) -> None:
        with pytest.raises(CursorNotFound):
            await stores.audit.entries("acme", AuditQuery(cursor=cursor))

    async def test_a_page_has_at_least_one_item(self, stores: Stores) -> None:
        with pytest.raises(ValidationFailed):
            await stores.audit.entries("acme", AuditQuery(limit=0))
