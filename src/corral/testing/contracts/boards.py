"""What a `BoardStore` promises: what a worker posts is read by all, and orders reach every worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores


class BoardContract(Contract):
    """Posting, reading, ordering."""

    async def test_a_board_is_read_by_all_until_it_is_taken_down(self, stores: Stores, other_stores: Stores) -> None:
        await stores.boards.post("a", b"one", orders_s=30)
        await other_stores.boards.post("b", b"two", orders_s=30)
        await stores.boards.post("a", b"\x00three", orders_s=30)
        for one in (stores, other_stores):
            assert [(board.worker, board.body) for board in await one.boards.boards(within_s=30)] == [
                ("a", b"\x00three"),
                ("b", b"two"),
            ]
        await stores.boards.post("a", b"", orders_s=30)
        await stores.boards.post("never", b"", orders_s=30)
        assert [board.worker for board in await other_stores.boards.boards(within_s=30)] == ["b"]
        assert await stores.boards.boards(within_s=-1) == []

    async def test_orders_reach_every_worker_in_order(self, stores: Stores, other_stores: Stores) -> None:
        nothing = await stores.boards.post("a", b"x", orders_s=30)
        assert nothing.items == []
        assert nothing.now > 1_700_000_000
        await stores.boards.order(b"first")
        await other_stores.boards.order(b"second")
        for one in (stores, other_stores):
            heard = await one.boards.post("a", b"", orders_s=30)
            assert [order.body for order in heard.items] == [b"first", b"second"]
            assert heard.items[0].number < heard.items[1].number
            assert nothing.now <= heard.items[0].at <= heard.items[1].at <= heard.now
        assert (await stores.boards.post("a", b"", orders_s=-1)).items == []

    async def test_what_is_old_is_removed(self, stores: Stores) -> None:
        await stores.boards.post("a", b"x", orders_s=30)
        await stores.boards.order(b"first")
        assert await stores.boards.forget() == 0
        assert await stores.boards.forget(older_s=-1) == 2
        assert await stores.boards.boards(within_s=30) == []
