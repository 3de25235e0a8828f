"""Items become children: selected, put together in batches, and kept in chunks until their turn comes."""

from __future__ import annotations

import asyncio
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
_TURN = 50
"""After this many items others get their turn on the loop."""


class ChildInput(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What one child begins with."""

    input: Any
    context: dict[str, Any]
    """`Map` of its context object; empty for a batch."""
    items: int = 1


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
        yield ChildInput(input=value, context={"Item": item.context}), size


async def _selected(items: AsyncIterator[Item], plan: MapPlan) -> AsyncIterator[tuple[Item, Any, int]]:
    seen = 0
    async for item in items:
        seen += 1
        if seen % _TURN == 0:
            await asyncio.sleep(0)
        value = item.value if plan.selector is None else selected(plan.selector, item, plan)
        yield item, value, size_of(value)


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
        self._cached: tuple[int, list[ChildInput]] = (-1, [])

    async def fill(
        self,
        found: AsyncIterator[tuple[ChildInput, int]],
        *,
        children_max: int,
        bytes_max: int,
        beat: Callable[[], Awaitable[None]],
    ) -> tuple[list[int], int, int]:
        """Keep all children: the number of the first one in each chunk, how many there are, and of how many items.

        `beat` is called after each chunk, and may raise where somebody else has taken over. Raises `ItemsFailed`.
        """
        firsts: list[int] = []
        chunk: list[ChildInput] = []
        held = total_bytes = count = items = 0
        async for child, size in found:
            if size > DATA_MAX_BYTES:
                raise ItemsFailed(f"Item {count} has {size} bytes as a child's input; at most {DATA_MAX_BYTES} go.")
            if chunk and (len(chunk) >= CHUNK_CHILDREN or held + size > CHUNK_BYTES):
                await self._put(len(firsts), chunk)
                firsts.append(count - len(chunk))
                chunk, held = [], 0
                await beat()
            chunk.append(child)
            held += size
            total_bytes += size
            count += 1
            items += child.items
            if count > children_max or total_bytes > bytes_max:
                raise ItemsFailed(
                    f"A map run has {children_max} children and {bytes_max} bytes of input at most "
                    "(workflows.map_children_max, workflows.map_bytes_max); use an ItemBatcher or MaxItems."
                )
        if chunk:
            await self._put(len(firsts), chunk)
            firsts.append(count - len(chunk))
        await self._keep.put(self._tenant, f"{self._prefix}firsts", msgspec.json.encode(firsts))
        return firsts, count, items

    async def read(self, firsts: list[int], index: int) -> ChildInput:
        """What child `index` begins with."""
        number = _chunk_of(firsts, index)
        if self._cached[0] != number:
            body = await self._keep.get(self._tenant, self._name(number))
            if body is None:
                raise ItemsFailed(f"The input of child {index} is gone: a chunk of the map run's items was removed.")
            self._cached = (number, msgspec.json.decode(body, type=list[ChildInput]))
        return self._cached[1][index - firsts[number]]

    async def firsts(self) -> list[int]:
        """What `fill` gave."""
        body = await self._keep.get(self._tenant, f"{self._prefix}firsts")
        return [] if body is None else msgspec.json.decode(body, type=list[int])

    async def forget(self) -> None:
        """Remove all of them."""
        await self._keep.delete(self._tenant, self._prefix)

    async def _put(self, number: int, chunk: list[ChildInput]) -> None:
        await self._keep.put(self._tenant, self._name(number), msgspec.json.encode(chunk))

    def _name(self, number: int) -> str:
        return f"{self._prefix}{number}"


def _chunk_of(firsts: list[int], index: int) -> int:
    low, high = 0, len(firsts) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if firsts[middle] <= index:
            low = middle
        else:
            high = middle - 1
    return low
