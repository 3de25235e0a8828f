"""What a set of `Stores` promises about its own life."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.errors import StoreUnavailable
from corral.sessions.event import EventQuery
from corral.testing.contracts.setting import KEY, Contract, said, texts

if TYPE_CHECKING:
    from corral.backends.stores import Stores


class LifeContract(Contract):
    """Starting, checking, stopping."""

    async def test_a_started_store_answers_and_is_up_to_date(self, stores: Stores) -> None:
        await stores.start()
        await stores.check()
        has, knows = await stores.schema_version()
        assert has == knows >= 1

    async def test_stopping_twice_is_stopping_once_and_then_nothing_answers(
        self, stores: Stores, other_stores: Stores
    ) -> None:
        await stores.sessions.append(KEY, [said("before")])
        await stores.stop()
        await stores.stop()
        with pytest.raises(StoreUnavailable):
            await stores.sessions.append(KEY, [said("after")])
        with pytest.raises(StoreUnavailable):
            await stores.sessions.events(KEY, EventQuery())
        with pytest.raises(StoreUnavailable):
            await stores.check()
        assert await texts(other_stores) == ["before"]

    async def test_a_stopped_store_can_be_started_again(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("before")])
        await stores.stop()
        await stores.start()
        assert await texts(stores) == ["before"]
        await stores.sessions.append(KEY, [said("after")])
        assert await texts(stores) == ["before", "after"]

    async def test_what_was_accepted_is_finished_by_stop(self, stores: Stores, other_stores: Stores) -> None:
        writes = [asyncio.create_task(stores.sessions.append(KEY, [said("x")])) for _ in range(20)]
        await asyncio.sleep(0)
        await stores.stop()
        results = await asyncio.gather(*writes, return_exceptions=True)
        written = sum(not isinstance(result, BaseException) for result in results)
        assert all(isinstance(result, list | StoreUnavailable) for result in results)
        assert len(await texts(other_stores)) == written
