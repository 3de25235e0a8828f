"""Items become children: selected, put together in batches, and kept in chunks until their turn comes."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import msgspec

from corral.workflows.distributed.faults import ItemsFailed
from corral.workflows.distributed.reading import Item
from corral.workflows.failing import DATA_MAX_BYTES
from corral.workflows.language import templates
from corral.workflows.language.scope import Scope
from corral.workflows.machine.distributed import Batching, MapPlan, Selector

CHUNK_BYTES = 512 * 1024
CHUNK_CHILDREN = 500
_NEAR_MAX = 2
"""Chunks at hand: children that begin at once may be of two."""
_TURN = 50
"""After this many items others get their turn on the loop."""


class ChildInput(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What one child begins with."""

    input: Any
    context: dict[str, Any]
    """`Map` of its context object; empty for a batch, and without an item's value where that is the input."""
    items: int = 1

    @property
    def map_context(self) -> dict[str, Any]:
        """`Map` of its context object, whole."""
        item = self.context.get("Item")
        return self.context if item is None or "Value" in item else {"Item": {**item, "Value": self.input}}


class Table(msgspec.Struct, kw_only=True):
    """Which children are in which chunk."""

    children: int = 0
    items: int = 0
    firsts: list[int] = []
    """The number of the first child in each chunk."""
    before: list[int] = []
    """How many items there are before each chunk."""


class Keep(Protocol):
    """Where chunks are kept: `BlobStore` is one."""

    async def put(self, tenant: str, name: str, body: bytes) -> None:
        """Keep; writing the same name again replaces it."""
        ...

    async def get(self, tenant: str, name: str) -> bytes | None:
        """Read."""
        ...

    async def delete(self, tenant: str, prefix: str) -> int:
        """Remove all names that begin so."""
        ...


async def children(items: AsyncIterator[Item], plan: MapPlan) -> AsyncIterator[tuple[ChildInput, int]]:
    """The children's inputs and how many bytes each has, in order. Raises `StateFailed` where an item cannot be selected."""
    if plan.batching is not None:
        async for one in _batched(_selected(items, plan), plan.batching):
            yield one
        return
    async for item, value, size in _selected(items, plan):
        seen = item.context
        if plan.selector is None:
            del seen["Value"]
        yield ChildInput(input=value, context={"Item": seen}), size


async def _selected(items: AsyncIterator[Item], plan: MapPlan) -> AsyncIterator[tuple[Item, Any, int]]:
    if plan.selector is not None and plan.language == "JSONata":
        async for one in _thought(items, plan.selector, plan):
            yield one
        return
    seen = 0
    async for item in items:
        seen += 1
        if seen % _TURN == 0:
            await asyncio.sleep(0)
        value = item.value if plan.selector is None else selected(plan.selector, item, plan)
        yield item, value, size_of(value)


async def _thought(
    items: AsyncIterator[Item], selector: Selector, plan: MapPlan
) -> AsyncIterator[tuple[Item, Any, int]]:
    """The same by expressions that may take long: in a thread, some at a time."""

    def think(some: list[Item]) -> list[tuple[Item, Any, int]]:
        values = [selected(selector, item, plan) for item in some]
        return [(item, value, size_of(value)) for item, value in zip(some, values, strict=True)]

    some: list[Item] = []
    async for item in items:
        some.append(item)
        if len(some) == _TURN:
            for one in await asyncio.to_thread(think, some):
                yield one
            some = []
    for one in await asyncio.to_thread(think, some) if some else ():
        yield one


def selected(selector: Selector, item: Item, plan: MapPlan) -> Any:
    """An item as `ItemSelector` makes it."""
    scope = Scope(
        input=selector.input,
        context={**selector.context, "Map": {"Item": item.context}},
        variables=selector.variables,
    )
    return templates.evaluate(selector.template, scope, language=plan.language, field="ItemSelector")


async def _batched(
    items: AsyncIterator[tuple[Item, Any, int]], batching: Batching
) -> AsyncIterator[tuple[ChildInput, int]]:
    frame: dict[str, Any] = {"BatchInput": batching.input} if batching.has_input else {}
    empty = size_of({**frame, "Items": []})
    batch: list[Any] = []
    size = empty
    async for _, value, more in items:
        full = batching.max_items is not None and len(batch) >= batching.max_items
        if batch and (full or size + more + 1 > batching.max_bytes):
            yield ChildInput(input={**frame, "Items": batch}, context={}, items=len(batch)), size
            batch, size = [], empty
        batch.append(value)
        size += more + (len(batch) > 1)
    if batch:
        yield ChildInput(input={**frame, "Items": batch}, context={}, items=len(batch)), size


def size_of(value: Any) -> int:
    """Bytes of a value as JSON."""
    return len(msgspec.json.encode(value))


class Chunks:
    """The children's inputs of one map run, in a place for large values. What a reader that died left is written over."""

    def __init__(self, keep: Keep, tenant: str, run_id: str) -> None:
        """Nothing is kept yet, or everything is."""
        self._keep = keep
        self._tenant = tenant
        self._prefix = f"maprun/{run_id}/"
        self._table: Table | None = None
        self._near: dict[int, list[ChildInput]] = {}

    async def fill(
        self,
        found: AsyncIterator[tuple[ChildInput, int]],
        *,
        children_max: int,
        bytes_max: int,
        beat: Callable[[], Awaitable[None]],
    ) -> tuple[int, int]:
        """Keep all children: how many there are, and of how many items.

        `beat` is called after each chunk, and may raise where somebody else has taken over. Raises `ItemsFailed`.
        """
        table = Table()
        chunk: list[ChildInput] = []
        held = total_bytes = 0
        async for child, size in found:
            if size > DATA_MAX_BYTES:
                raise ItemsFailed(f"Child {table.children} would begin with {size} bytes; at most {DATA_MAX_BYTES} go.")
            if chunk and (len(chunk) >= CHUNK_CHILDREN or held + size > CHUNK_BYTES):
                await self._put(table, chunk)
                chunk, held = [], 0
                await beat()
            chunk.append(child)
            held += size
            total_bytes += size
            if table.children + len(chunk) > children_max or total_bytes > bytes_max:
                raise ItemsFailed(
                    f"A map run has {children_max} children and {bytes_max} bytes of input at most "
                    "(workflows.map_children_max, workflows.map_bytes_max); use an ItemBatcher or MaxItems."
                )
        if chunk:
            await self._put(table, chunk)
        await self._keep.put(self._tenant, f"{self._prefix}table", msgspec.json.encode(table))
        return table.children, table.items

    async def read(self, index: int) -> ChildInput:
        """What child `index` begins with. Raises `ItemsFailed` where it is gone."""
        table = await self.table()
        number = bisect_right(table.firsts, index) - 1
        chunk = await self._chunk(number)
        if number < 0 or index - table.firsts[number] >= len(chunk):
            raise ItemsFailed(f"A map run has no child {index}.")
        return chunk[index - table.firsts[number]]

    async def items_before(self, index: int) -> int:
        """How many items the children before `index` have together."""
        table = await self.table()
        if index >= table.children or table.children == table.items:
            return min(index, table.children) if table.children == table.items else table.items
        number = bisect_right(table.firsts, index) - 1
        chunk = await self._chunk(number)
        return table.before[number] + sum(one.items for one in chunk[: index - table.firsts[number]])

    async def table(self) -> Table:
        """Which children are in which chunk."""
        if self._table is None:
            body = await self._keep.get(self._tenant, f"{self._prefix}table")
            if body is None:
                return Table()  # not kept: whoever asks how a map run stands may ask before it is written
            self._table = msgspec.json.decode(body, type=Table)
        return self._table

    async def forget(self) -> None:
        """Remove all of them."""
        await self._keep.delete(self._tenant, self._prefix)

    async def _put(self, table: Table, chunk: list[ChildInput]) -> None:
        await self._keep.put(self._tenant, f"{self._prefix}{len(table.firsts)}", msgspec.json.encode(chunk))
        table.firsts.append(table.children)
        table.before.append(table.items)
        table.children += len(chunk)
        table.items += sum(one.items for one in chunk)

    async def _chunk(self, number: int) -> list[ChildInput]:
        known = self._near.get(number)
        if known is None:
            body = await self._keep.get(self._tenant, f"{self._prefix}{number}")
            if body is None:
                raise ItemsFailed("The inputs of a map run's children are gone: somebody removed them.")
            known = self._near[number] = msgspec.json.decode(body, type=list[ChildInput])
            while len(self._near) > _NEAR_MAX:
                del self._near[next(iter(self._near))]
        return known
