"""What a `ResourceStore` promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.errors import CursorNotFound, ValidationFailed
from corral.memory.resource_store import ResourceConflict, ResourceDraft, ResourceExists, ResourceNotFound
from corral.testing.contracts.setting import Contract, eventually

if TYPE_CHECKING:
    from corral.backends.stores import Stores


def draft(resource_id: str = "m-1", *, kind: str = "memory", body: Any = None, **more: Any) -> ResourceDraft:
    """Something to declare."""
    return ResourceDraft(kind=kind, id=resource_id, body=body, **more)


class ResourceContract(Contract):
    """Declaring, changing, listing and removing."""

    async def test_what_was_declared_is_there(self, stores: Stores, other_stores: Stores) -> None:
        body = {"text": "Grüße \0 🌍", "list": [1, 2.5, None, True]}
        (made,) = await stores.resources.create("acme", [draft(body=body, name="notes")])
        assert (made.id, made.name, made.body, made.revision) == ("m-1", "notes", body, 1)
        assert made.created_at == made.updated_at > 0
        assert await other_stores.resources.get("acme", "memory", "m-1") == made
        assert await stores.resources.get("acme", "runtime", "m-1") is None
        assert await stores.resources.get("acme", "memory", "m-2") is None

    async def test_ids_and_names_are_taken_once(self, stores: Stores) -> None:
        await stores.resources.create("acme", [draft(name="notes"), draft("m-2"), draft("m-3")])
        for taken in (draft(name="other"), draft("m-4", name="notes")):
            with pytest.raises(ResourceExists):
                await stores.resources.create("acme", [draft("fresh"), taken])
        assert await stores.resources.get("acme", "memory", "fresh") is None
        free = [draft(kind="runtime", name="notes"), draft("m-4", parent="m-1", name="notes")]
        assert len(await stores.resources.create("acme", free)) == 2
        await stores.resources.create("other", [draft(name="notes")])

    async def test_of_many_who_want_a_name_one_gets_it(self, stores: Stores, other_stores: Stores) -> None:
        results = await asyncio.gather(
            *(
                one.resources.create("acme", [draft(f"m-{number}", name="notes")])
                for number, one in enumerate([stores, other_stores] * 5)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(result, list) for result in results) == 1
        assert sum(isinstance(result, ResourceExists) for result in results) == 9

    async def test_a_change_names_what_it_changes(self, stores: Stores) -> None:
        (made,) = await stores.resources.create("acme", [draft(body=1)])
        also = [draft("m-1:2", kind="version", parent="m-1")]
        changed = await stores.resources.change("acme", "memory", "m-1", 2, revision=1, also=also)
        assert (changed.body, changed.revision, changed.created_at) == (2, 2, made.created_at)
        assert changed.updated_at >= made.updated_at
        with pytest.raises(ResourceConflict):
            await stores.resources.change("acme", "memory", "m-1", 3, revision=1)
        with pytest.raises(ResourceExists):
            await stores.resources.change("acme", "memory", "m-1", 3, revision=2, also=also)
        assert await stores.resources.get("acme", "memory", "m-1") == changed
        with pytest.raises(ResourceNotFound):
            await stores.resources.change("acme", "memory", "none", 3, revision=1)
        with pytest.raises(ResourceNotFound):
            await stores.resources.change("other", "memory", "m-1", 3, revision=2)

    async def test_of_changes_at_the_same_time_one_happens(self, stores: Stores, other_stores: Stores) -> None:
        await stores.resources.create("acme", [draft(body=0)])
        results = await asyncio.gather(
            *(
                one.resources.change("acme", "memory", "m-1", number, revision=1)
                for number, one in enumerate([stores, other_stores] * 5)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(result, ResourceConflict) for result in results) == 9

    async def test_saving_replaces(self, stores: Stores) -> None:
        first = await stores.resources.save("acme", draft(body=1, parent="p"))
        second = await stores.resources.save("acme", draft(body=2, parent="p"))
        assert (first.revision, second.revision, second.body) == (1, 2, 2)
        assert await stores.resources.get("acme", "memory", "m-1") == second

    async def test_lists_come_in_pages_the_latest_first(self, stores: Stores) -> None:
        await stores.resources.create("acme", [draft(f"m-{number}") for number in range(5)])
        await stores.resources.create("acme", [draft("child", parent="m-1"), draft("r", kind="runtime")])
        await stores.resources.create("other", [draft("secret")])
        first = await stores.resources.find("acme", "memory", limit=3)
        second = await stores.resources.find("acme", "memory", limit=3, cursor=first.next_cursor)
        assert [one.id for one in first.items + second.items] == ["m-4", "m-3", "m-2", "m-1", "m-0"]
        assert second.next_cursor is None
        assert [one.id for one in (await stores.resources.find("acme", "memory", parent="m-1")).items] == ["child"]
        with pytest.raises(CursorNotFound):
            await stores.resources.find("acme", "memory", cursor="nonsense")
        with pytest.raises(ValidationFailed):
            await stores.resources.find("acme", "memory", limit=0)

    async def test_what_belongs_to_it_goes_with_it(self, stores: Stores) -> None:
        await stores.resources.create("acme", [draft(), draft("c", kind="cursor", parent="m-1"), draft("m-2")])
        await stores.resources.create("other", [draft(), draft("c", kind="cursor", parent="m-1")])
        assert await stores.resources.delete("acme", "memory", "m-1")
        assert not await stores.resources.delete("acme", "memory", "m-1")
        assert await stores.resources.get("acme", "cursor", "c") is None
        assert await stores.resources.get("acme", "memory", "m-2")
        assert await stores.resources.get("other", "cursor", "c")

    async def test_what_has_expired_is_not_there(self, stores: Stores) -> None:
        await stores.resources.create("acme", [draft(name="notes", ttl_s=0.02), draft("stays", ttl_s=1000)])

        async def gone() -> bool:
            return await stores.resources.get("acme", "memory", "m-1") is None

        await eventually(gone)
        assert [one.id for one in (await stores.resources.find("acme", "memory")).items] == ["stays"]
        assert not await stores.resources.delete("acme", "memory", "m-1")
        with pytest.raises(ResourceNotFound):
            await stores.resources.change("acme", "memory", "m-1", 1, revision=1)
        (again,) = await stores.resources.create("acme", [draft("m-9", name="notes", ttl_s=0.001)])
        assert again.revision == 1

        async def swept() -> bool:
            return await stores.resources.expire(limit=10) > 0

        await eventually(swept)
        assert await stores.resources.get("acme", "memory", "stays")

    async def test_what_no_engine_can_keep_is_refused(self, stores: Stores) -> None:
        for wrong in (draft("nul\0"), draft(""), draft("x" * 600), draft(body=object()), draft(name="half \ud800")):
            with pytest.raises(ValidationFailed):
                await stores.resources.create("acme", [wrong])
        assert await stores.resources.get("acme", "memory", "nul\0") is None
        assert not await stores.resources.delete("acme", "memory", "nul\0")
        assert (await stores.resources.find("nul\0", "memory")).items == []
        with pytest.raises(ResourceNotFound):
            await stores.resources.change("acme", "memory", "nul\0", 1, revision=1)
