"""What a `KeyStore` promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.errors import CursorNotFound, ValidationFailed
from corral.security.key_store import Grant, KeyDraft, KeyExists, KeyHead, KeyNotFound, KeyOver
from corral.testing.contracts.setting import Contract, eventually

if TYPE_CHECKING:
    from corral.backends.stores import Stores


def draft(key_id: str = "k-1", *, digest: bytes = b"\0one", ttl_s: float | None = None, **grant: Any) -> KeyDraft:
    """A key to keep."""
    return KeyDraft(id=key_id, digest=digest, grant=Grant(**grant), ttl_s=ttl_s)


class KeyContract(Contract):
    """Making keys, finding, listing, rotating and revoking them; and tokens that are good once."""

    async def test_a_seal_is_chosen_once(self, stores: Stores, other_stores: Stores) -> None:
        assert await stores.keys.head() == KeyHead()
        heads = await asyncio.gather(*(one.keys.seal(bytes([n])) for n, one in enumerate([stores, other_stores] * 4)))
        assert len(set(heads)) == 1
        assert heads[0].version == 0
        assert await other_stores.keys.head() == heads[0]

    async def test_what_was_made_is_found_by_its_id_alone(self, stores: Stores, other_stores: Stores) -> None:
        grant: dict[str, Any] = {
            "name": "CI Grüße 🌍",
            "tier": "gold",
            "roles": ("invoker", "billing"),
            "agents": ("a*",),
            "aws": True,
        }
        made = await stores.keys.create("acme", draft(**grant, ttl_s=100))
        assert (made.tenant, made.digest, made.grant, made.turn) == ("acme", b"\0one", Grant(**grant), 1)
        assert made.expires_at == pytest.approx(made.created_at + 100, abs=1)
        assert (made.last_used_at, made.revoked_at, made.rotated_at, made.old_digest) == (None, None, None, b"")
        assert not made.is_over(made.created_at)
        assert made.is_over(made.created_at + 101)
        assert await other_stores.keys.find("k-1") == made
        assert await stores.keys.find("k-2") is None
        assert await stores.keys.find("nul\0") is None

    async def test_ids_are_taken_once_across_tenants(self, stores: Stores, other_stores: Stores) -> None:
        results = await asyncio.gather(
            *(one.keys.create(f"t-{n}", draft()) for n, one in enumerate([stores, other_stores] * 3)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, KeyExists) for result in results) == 5

    async def test_each_change_is_told(self, stores: Stores, other_stores: Stores) -> None:
        await stores.keys.seal(b"s")
        versions = [0]

        async def moved() -> bool:
            versions.append((await other_stores.keys.head()).version)
            return versions[-1] > versions[-2]

        await stores.keys.create("acme", draft())
        assert await moved()
        with pytest.raises(KeyExists):
            await stores.keys.create("acme", draft())
        await stores.keys.touch([("k-1", 5.0)])
        assert not await moved()
        await stores.keys.rotate("acme", "k-1", b"two", grace_s=1)
        assert await moved()
        await stores.keys.revoke("acme", "k-1")
        assert await moved()
        assert (await stores.keys.head()).seal == b"s"

    async def test_lists_come_in_pages_the_latest_first(self, stores: Stores) -> None:
        for n in range(5):
            await stores.keys.create("acme", draft(f"k-{n}"))
        await stores.keys.create("other", draft("secret"))
        await stores.keys.revoke("acme", "k-3")
        first = await stores.keys.listed("acme", limit=3)
        second = await stores.keys.listed("acme", limit=3, cursor=first.next_cursor)
        assert [one.id for one in first.items + second.items] == ["k-4", "k-3", "k-2", "k-1", "k-0"]
        assert second.next_cursor is None
        assert (await stores.keys.listed("nul\0")).items == []
        with pytest.raises(CursorNotFound):
            await stores.keys.listed("acme", cursor="nonsense")
        with pytest.raises(ValidationFailed):
            await stores.keys.listed("acme", limit=0)

    async def test_a_rotation_leaves_the_key_before_for_a_while(self, stores: Stores, other_stores: Stores) -> None:
        made = await stores.keys.create("acme", draft(ttl_s=50, tier="gold"))
        second = await stores.keys.rotate("acme", "k-1", b"two", grace_s=30)
        assert (second.digest, second.old_digest, second.turn, second.grant) == (b"two", b"\0one", 2, made.grant)
        assert second.rotated_at is not None
        assert second.old_until == pytest.approx(second.rotated_at + 30, abs=1)
        assert second.expires_at == made.expires_at
        third = await other_stores.keys.rotate("acme", "k-1", b"three", grace_s=0, ttl_s=1000)
        assert (third.digest, third.old_digest, third.turn) == (b"three", b"two", 3)
        assert third.rotated_at is not None
        assert third.expires_at == pytest.approx(third.rotated_at + 1000, abs=1)
        assert await stores.keys.find("k-1") == third

    async def test_nobody_else_changes_a_key(self, stores: Stores) -> None:
        made = await stores.keys.create("acme", draft())
        for tenant, key_id in (("other", "k-1"), ("acme", "k-2"), ("nul\0", "k-1"), ("acme", "nul\0")):
            with pytest.raises(KeyNotFound):
                await stores.keys.rotate(tenant, key_id, b"two", grace_s=1)
            with pytest.raises(KeyNotFound):
                await stores.keys.revoke(tenant, key_id)
        assert await stores.keys.find("k-1") == made

    async def test_what_is_revoked_stays_so(self, stores: Stores) -> None:
        await stores.keys.create("acme", draft())
        gone = await stores.keys.revoke("acme", "k-1")
        assert gone.revoked_at is not None
        assert gone.is_over(gone.created_at)
        assert await stores.keys.revoke("acme", "k-1") == gone
        with pytest.raises(KeyOver):
            await stores.keys.rotate("acme", "k-1", b"two", grace_s=1)

    async def test_what_has_run_out_is_not_made_young_again(self, stores: Stores) -> None:
        await stores.keys.create("acme", draft(ttl_s=-1))
        with pytest.raises(KeyOver):
            await stores.keys.rotate("acme", "k-1", b"two", grace_s=1, ttl_s=100)

    async def test_the_last_use_never_runs_backwards(self, stores: Stores, other_stores: Stores) -> None:
        await stores.keys.create("acme", draft())
        await stores.keys.touch([("k-1", 50.0), ("k-1", 70.0), ("k-1", 60.0), ("unknown", 1.0)])
        await other_stores.keys.touch([("k-1", 65.0)])
        await stores.keys.touch([])
        found = await stores.keys.find("k-1")
        assert found is not None
        assert found.last_used_at == 70.0

    async def test_a_token_is_good_once(self, stores: Stores, other_stores: Stores) -> None:
        until = (await stores.keys.create("acme", draft())).created_at + 1000
        firsts = await asyncio.gather(*(one.keys.spend(b"\0t", until=until) for one in [stores, other_stores] * 4))
        assert sum(firsts) == 1
        assert await stores.keys.spend(b"other", until=until)
        assert await stores.keys.spend(b"past", until=1.0)
        assert await stores.keys.spend(b"past", until=1.0)

    async def test_what_is_over_for_long_is_swept(self, stores: Stores) -> None:
        made = await stores.keys.create("acme", draft("stays"))
        await stores.keys.create("acme", draft("revoked"))
        await stores.keys.create("acme", draft("ran-out", ttl_s=0.001))
        await stores.keys.create("acme", draft("will", ttl_s=1000))
        await stores.keys.revoke("acme", "revoked")
        await stores.keys.spend(b"past", until=1.0)
        assert await stores.keys.expire(before=made.created_at - 10) == 1
        swept = [0]

        async def all_gone() -> bool:
            swept[0] += await stores.keys.expire(before=made.created_at + 100, limit=1)
            return swept[0] == 2

        await eventually(all_gone)
        assert [one.id for one in (await stores.keys.listed("acme")).items] == ["will", "stays"]

    async def test_what_no_engine_can_keep_is_refused(self, stores: Stores) -> None:
        for wrong in (draft("nul\0"), draft(""), draft("x" * 600), draft(name="half \ud800")):
            with pytest.raises(ValidationFailed):
                await stores.keys.create("acme", wrong)
        with pytest.raises(ValidationFailed):
            await stores.keys.create("", draft())
