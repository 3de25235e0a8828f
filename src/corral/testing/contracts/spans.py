"""What a `SpanStore` promises: spans written in batches come back by trace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.clock import new_span_id, new_trace_id
from corral.errors import ValidationFailed
from corral.observability.store import Span
from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores


def span(name: str = "work", **more: Any) -> Span:
    """A root span of `acme`."""
    fields: dict[str, Any] = {
        "trace_id": new_trace_id(),
        "span_id": new_span_id(),
        "parent_id": None,
        "kind": "internal",
        "tenant": "acme",
        "started_at": 1000.0,
        "duration_s": 0.25,
        "status": "ok",
        "attributes": {},
    }
    return Span(name=name, **{**fields, **more})


def child(parent: Span, name: str, **more: Any) -> Span:
    """A span below another, a little later."""
    fields = {"trace_id": parent.trace_id, "parent_id": parent.span_id, "started_at": parent.started_at + 0.001}
    return span(name, **{**fields, **more})


class SpanContract(Contract):
    """Writing and finding spans."""

    async def test_a_trace_comes_back_in_order_of_start(self, stores: Stores) -> None:
        root = span("root", kind="server", attributes={"http.route": "/invocations", "n": 1, "deep": {"a": [1, None]}})
        second, first = child(root, "b", started_at=1002.0, status="error"), child(root, "a", started_at=1001.0)
        await stores.spans.write([second, root])
        await stores.spans.write([span("elsewhere"), first])
        assert await stores.spans.trace("acme", root.trace_id) == [root, first, second]
        assert await stores.spans.trace("acme", new_trace_id()) == []

    async def test_a_span_written_twice_is_kept_once(self, stores: Stores, other_stores: Stores) -> None:
        one, two = span("one"), span("two")
        await stores.spans.write([])
        await asyncio.gather(stores.spans.write([one, two, one]), other_stores.spans.write([two, one]))
        assert await stores.spans.trace("acme", one.trace_id) == [one]
        assert await stores.spans.trace("acme", two.trace_id) == [two]

    async def test_the_latest_roots_come_first(self, stores: Stores) -> None:
        roots = [span(f"root {number}", started_at=1000.0 + number) for number in range(5)]
        children = [child(root, "child") for root in roots]
        await stores.spans.write(children + roots)
        assert await stores.spans.recent("acme", limit=3) == roots[:1:-1]
        assert await stores.spans.recent("acme") == roots[::-1]

    async def test_a_span_whose_parent_is_elsewhere_is_a_root_here(self, stores: Stores) -> None:
        remote = span("called from afar", parent_id=new_span_id())
        await stores.spans.write([remote, child(remote, "inner")])
        assert await stores.spans.recent("acme") == [remote]

    async def test_tenants_see_their_own_spans(self, stores: Stores) -> None:
        ours = span("ours")
        theirs = span("theirs", tenant="umbrella", trace_id=ours.trace_id, span_id=ours.span_id)
        inner = child(ours, "inner", tenant="umbrella", span_id=new_span_id(), parent_id=new_span_id())
        await stores.spans.write([ours, theirs, inner])
        assert await stores.spans.trace("acme", ours.trace_id) == [ours]
        assert await stores.spans.recent("acme") == [ours]
        assert await stores.spans.trace("umbrella", ours.trace_id) == [theirs, inner]
        assert await stores.spans.trace("nobody", ours.trace_id) == []

    async def test_old_spans_are_swept(self, stores: Stores) -> None:
        spans = [span(f"{number}", started_at=1000.0 + number) for number in range(10)]
        await stores.spans.write(spans)
        assert await stores.spans.expire(before=1007.0, limit=5) == 5
        assert [found.name for found in await stores.spans.recent("acme")] == ["9", "8", "7", "6", "5"]
        assert [await stores.spans.expire(before=1007.0) for _ in range(2)] == [2, 0]
        assert [found.name for found in await stores.spans.recent("acme")] == ["9", "8", "7"]

    async def test_words_that_cannot_be_kept_do_not_lose_the_batch(self, stores: Stores) -> None:
        good = span("Grüße 世界")
        odd = span("nul\0 half \ud800", attributes={"object": object(), "half": "\ud800", "nul": "\0"})
        await stores.spans.write([good, odd, span("x" * 10_000, attributes={"nul\0": "\0"})])
        assert await stores.spans.trace("acme", good.trace_id) == [good]
        (kept,) = await stores.spans.trace("acme", odd.trace_id)
        assert kept.name.startswith("nul")
        assert set(kept.attributes) == {"object", "half", "nul"}
        assert len(await stores.spans.recent("acme")) == 3

    @pytest.mark.parametrize("odd", ["nul\0", "half \ud800", "", "x" * 5000])
    async def test_looking_for_a_trace_that_cannot_be_is_harmless(self, stores: Stores, odd: str) -> None:
        assert await stores.spans.trace("acme", odd) == []
        assert await stores.spans.trace(odd, odd) == []
        assert await stores.spans.recent(odd) == []

    async def test_a_list_has_at_least_one_item(self, stores: Stores) -> None:
        with pytest.raises(ValidationFailed):
            await stores.spans.recent("acme", limit=0)
