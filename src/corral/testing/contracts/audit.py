"""What an `AuditLog` promises: entries in one order per tenant, numbered without a gap, each kept once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.clock import new_id
from corral.errors import CursorNotFound, ValidationFailed
from corral.messages import AuditEntry
from corral.security.chain import BEGINNING, digest_of, link
from corral.security.store import AuditPrefix, AuditQuery, Checkpoint
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


def word(tenant: str = "acme", **more: Any) -> Checkpoint:
    """What a key says; engines do not look at its signature."""
    fields: dict[str, Any] = {"number": 1, "hash": b"h", "at": NOON, "key_id": "k", "signature": b"s"}
    return Checkpoint(tenant=tenant, **{**fields, **more})


async def swept(stores: Stores, *, before: float, limit: int = 1000) -> int:
    """Sweep what may go; how many went."""
    gone = 0
    for prefix in await stores.audit.expired(before=before, limit=limit):
        stub = word(prefix.tenant, number=prefix.number, hash=prefix.hash, kind="swept")
        gone += await stores.audit.sweep(prefix, stub)
    return gone


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

    async def test_what_is_said_of_the_chain_is_so(self, stores: Stores, other_stores: Stores) -> None:
        known = entry()
        for store, group in (
            (stores, [entry(), entry(tenant="umbrella"), known]),
            (other_stores, [entry(), known]),
            (stores, [known]),
            (stores, [entry(), entry()]),
        ):
            said = await store.audit.append(group)
            assert len({one.tenant for one in said}) == len(said) <= len({one.tenant for one in group})
            for one in said:
                hashes = {0: BEGINNING} | {
                    link.number: link.hash for link in await stores.audit.chain(one.tenant, after=0)
                }
                assert (hashes[one.after], hashes[one.number]) == (one.before, one.hash)
                assert one.after < one.number == max(hashes)

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
        assert await swept(stores, before=NOON + 3, limit=2) == 2
        assert [await swept(stores, before=NOON + 3) for _ in range(2)] == [2, 0]
        assert await numbers(stores, "umbrella") == []
        assert await numbers(stores) == [6, 5, 4]
        assert await swept(stores, before=NOON + 100) == 3
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

    # -- the chain

    async def test_each_entry_holds_the_one_before_it(self, stores: Stores, other_stores: Stores) -> None:
        odd = entry(
            subject="nul\0 half \ud800", details={"b": [1, 2.0, {"z": 1, "a": "世"}], 7: "x", "a": None, "f": -0.0}
        )
        await stores.audit.append([entry(), odd, entry(tenant="umbrella")])
        await other_stores.audit.append([entry(at=7), entry(details={"big": 2**70, "n": float("inf")})])
        before = BEGINNING
        links = await stores.audit.chain("acme", after=0)
        assert [one.number for one in links] == [1, 2, 3, 4]
        for one in links:
            assert one.entry is not None
            assert digest_of(one.entry) == one.digest
            before = link(before, one.number, one.digest)
            assert one.hash == before
        head = await stores.audit.head("acme")
        assert head is not None
        assert (head.number, head.chained, head.hash, head.swept) == (4, 4, before, 0)
        page = await stores.audit.entries("acme", AuditQuery(limit=1))
        assert page.items[0].hash == before
        assert [one.number for one in await stores.audit.chain("acme", after=1, limit=2)] == [2, 3]
        assert await stores.audit.head("nobody") is None
        assert [one.tenant for one in await stores.audit.heads()] == ["acme", "umbrella"]
        assert [one.tenant for one in await stores.audit.heads(after="acme")] == ["umbrella"]

    async def test_writers_at_the_same_time_keep_one_chain(self, stores: Stores, other_stores: Stores) -> None:
        groups = [[entry(tenant=tenant) for tenant in ("acme", "umbrella", "acme")] for _ in range(20)]
        await asyncio.gather(
            *(stores.audit.append(group) for group in groups),
            *(other_stores.audit.append([entry(), *reversed(group)]) for group in groups),
        )
        for tenant in ("acme", "umbrella"):
            before = BEGINNING
            for one in await stores.audit.chain(tenant, after=0):
                before = link(before, one.number, one.digest)
                assert one.hash == before

    async def test_a_checkpoint_is_kept_once_for_its_number(self, stores: Stores, other_stores: Stores) -> None:
        first, later, stub = word(number=3), word(number=7), word(number=3, kind="swept")
        assert await stores.audit.keep(first)
        assert not await other_stores.audit.keep(word(number=3, signature=b"another"))
        assert await other_stores.audit.keep(later)
        assert await stores.audit.keep(stub)
        assert await stores.audit.checkpoints("acme") == [first, stub, later]
        assert await stores.audit.checkpoints("acme", after=3) == [later]
        assert await stores.audit.checkpoints("acme", limit=1) == [first]
        assert await stores.audit.checkpoints("umbrella") == []
        await stores.audit.append([entry()])
        head = await stores.audit.head("acme")
        assert head is not None
        assert (head.signed, head.signed_at) == (7, NOON)

    async def test_what_is_swept_leaves_a_word_that_the_rest_holds(self, stores: Stores) -> None:
        await stores.audit.append([entry(at=NOON + n) for n in (0, 1, 9, 2, 3)])
        links = await stores.audit.chain("acme", after=0)
        await stores.audit.keep(word(number=1, hash=links[0].hash))
        (prefix,) = await stores.audit.expired(before=NOON + 5)
        assert prefix == AuditPrefix(
            tenant="acme", number=2, hash=links[1].hash
        )  # the third is not old, and those behind it stay
        wrong = word(number=2, hash=b"another", kind="swept")
        assert await stores.audit.sweep(prefix, wrong) == 0
        stub = word(number=2, hash=prefix.hash, kind="swept")
        assert await stores.audit.sweep(prefix, stub) == 2
        assert await stores.audit.sweep(prefix, stub) == 0
        assert await stores.audit.checkpoints("acme") == [stub]
        head = await stores.audit.head("acme")
        assert head is not None
        assert (head.swept, head.swept_hash, head.number) == (2, links[1].hash, 5)
        assert await stores.audit.chain("acme", after=0) == links[2:]

    async def test_there_is_nothing_to_seal_where_all_is_in_the_chain(self, stores: Stores) -> None:
        assert await stores.audit.seal() == 0
        await stores.audit.append([entry()])
        assert await stores.audit.seal() == 0
