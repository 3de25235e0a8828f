"""What a `MemoryStore` promises: what is kept is found by its words, stays with its audience, and goes without a trace."""

from __future__ import annotations

import array
import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.errors import MemoryConflict, MemoryForbidden, ValidationFailed
from corral.memory.drafting import chunk_of, digest_of, log_draft, record_draft
from corral.memory.store import Filter, ItemDraft, Namespace, Selection, VectorQuery, View, WordQuery
from corral.memory.words import query_terms
from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores

ACME = View(tenant="acme", user_id="ada", teams=("support",), session_id="s-1")
FACTS = Namespace(name="facts", scope="user", owner="ada")
BOOK = Namespace(name="handbook")


def record(item_id: str, text: str, namespace: Namespace = FACTS, **more: Any) -> ItemDraft:
    """One fact."""
    return record_draft(text, id=item_id, namespace=namespace, **more)


def document(item_id: str, *texts: str, namespace: Namespace = BOOK, **more: Any) -> ItemDraft:
    """A document of these chunks."""
    chunks = tuple(chunk_of(text, nth=texts[:n].count(text), start=n) for n, text in enumerate(texts))
    return ItemDraft(
        id=item_id, kind="document", namespace=namespace, chunks=chunks, digest=digest_of(*texts, repr(more)), **more
    )


async def found(stores: Stores, question: str, view: View = ACME, *, limit: int = 100, **selection: Any) -> list[str]:
    """The texts that are found, best first."""
    query = WordQuery(terms=query_terms(question), limit=limit, selection=Selection(**selection))
    hits = await stores.memory.search(view, query)
    return [one.chunk.text for one in await stores.memory.open(view, [hit.number for hit in hits])]


async def listed(stores: Stores, view: View = ACME, **selection: Any) -> list[str]:
    """The ids of what there is, last changed first, by pages of two."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = await stores.memory.items(view, Selection(**selection), limit=2, cursor=cursor)
        ids += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return ids


def vector(*numbers: float) -> bytes:
    """A vector as it is kept."""
    return array.array("f", numbers).tobytes()


class MemoryContract(Contract):
    """Documents, logs and records."""

    async def test_a_record_is_kept_found_and_read_by_all(self, stores: Stores, other_stores: Stores) -> None:
        draft = record(
            "mem-1",
            "Ada likes pizzas with olives. Größe 世界",
            metadata={"topic": "food", "n": 3},
            strategy="semantic",
            events=("e-1", "e-2"),
            at=1_700_000_000.0,
        )
        (kept,) = await stores.memory.put(ACME, [draft])
        assert (kept.id, kept.outcome, kept.version, kept.added, kept.removed) == ("mem-1", "new", 1, 1, 0)
        item = await other_stores.memory.get(ACME, "mem-1")
        assert item is not None
        assert (item.text, item.kind, item.namespace, item.tenant) == (draft.chunks[0].text, "record", FACTS, "acme")
        assert (item.metadata, item.strategy, item.events) == ({"topic": "food", "n": 3}, "semantic", ["e-1", "e-2"])
        assert (item.at, item.expires_at, item.version, item.chunks) == (1_700_000_000.0, None, 1, 1)
        assert item.created_at == item.updated_at > 1_700_000_000.0
        for question in ("what pizza does she like?", "OLIVE", "grosse groß größe", "世界"):
            assert await found(other_stores, question) == [item.text], question
        assert await found(stores, "tennis") == []

    async def test_the_same_again_changes_nothing(self, stores: Stores) -> None:
        draft = document("doc", "One.", "Two.", "Two.")
        await stores.memory.put(ACME, [draft])
        before = await stores.memory.get(ACME, "doc")
        (kept,) = await stores.memory.put(ACME, [draft])
        assert (kept.outcome, kept.version, kept.added, kept.removed) == ("same", 1, 0, 0)
        assert await stores.memory.get(ACME, "doc") == before
        assert sorted(await found(stores, "one two")) == ["One.", "Two.", "Two."]

    async def test_of_a_changed_document_only_the_changed_chunks_are_new(self, stores: Stores) -> None:
        await stores.memory.put(ACME, [document("doc", "Apples.", "Pears.", "Plums.", "Pears.")])
        bare = await stores.memory.bare("acme", "m")
        assert await stores.memory.embed("acme", "m", [(one.number, vector(1, 0)) for one in bare]) == 4
        (kept,) = await stores.memory.put(
            ACME, [document("doc", "Cherries.", "Pears.", "Apples.", title="Fruit", metadata={"v": 2})]
        )
        assert (kept.outcome, kept.version, kept.added, kept.removed) == ("changed", 2, 1, 2)
        assert [one.text for one in await stores.memory.bare("acme", "m")] == ["Cherries."]
        chunks = await stores.memory.chunks(ACME, "doc")
        assert [(one.text, one.ordinal, one.start) for one in chunks] == [
            ("Cherries.", 0, 0),
            ("Pears.", 1, 1),
            ("Apples.", 2, 2),
        ]
        assert await found(stores, "plums") == []
        assert await found(stores, "cherry") == ["Cherries."]
        item = await stores.memory.get(ACME, "doc")
        assert item is not None
        assert (item.title, item.metadata, item.chunks, item.version) == ("Fruit", {"v": 2}, 3, 2)
        assert [one.text for one in await stores.memory.chunks(ACME, "doc", first=1, limit=1)] == ["Pears."]

    async def test_an_item_moves_and_is_found_where_it_is(self, stores: Stores) -> None:
        await stores.memory.put(ACME, [record("mem-1", "Ada likes tea.")])
        other = Namespace(name="facts/old", scope="user", owner="ada")
        (kept,) = await stores.memory.put(ACME, [record("mem-1", "Ada likes tea.", other)])
        assert (kept.outcome, kept.version) == ("changed", 2)
        assert await found(stores, "tea", name="facts") == []
        assert await found(stores, "tea", name="facts/old") == ["Ada likes tea."]
        assert await found(stores, "tea", prefix="facts") == ["Ada likes tea."]
        spaces = await stores.memory.namespaces(ACME, Selection())
        assert [(one.namespace, one.items, one.chunks) for one in spaces] == [(other, 1, 1)]

    async def test_a_version_fences_a_change(self, stores: Stores, other_stores: Stores) -> None:
        await stores.memory.put(ACME, [record("mem-1", "One.", version=0)])
        with pytest.raises(MemoryConflict):
            await stores.memory.put(ACME, [record("mem-1", "Two.", version=0)])
        outcomes = await asyncio.gather(
            *(
                one.memory.put(ACME, [record("mem-1", f"{n}.", version=1)])
                for n, one in enumerate((stores, other_stores))
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(one, MemoryConflict) for one in outcomes) == 1
        with pytest.raises(MemoryConflict):
            await stores.memory.put(ACME, [record("mem-9", "New."), record("mem-1", "Three.", version=1)])
        assert await stores.memory.get(ACME, "mem-9") is None

    async def test_a_log_grows_at_its_end(self, stores: Stores, other_stores: Stores) -> None:
        def turns(*said: str) -> ItemDraft:
            return log_draft([("ada", text) for text in said], id="log", namespace=FACTS, place="Monday")

        (first, second) = [
            await one.memory.append(ACME, turns("Hello.", "Rain again.")) for one in (stores, other_stores)
        ]
        assert (first.outcome, first.added, second.outcome, second.added, second.version) == ("new", 2, "changed", 2, 2)
        await asyncio.gather(*(stores.memory.append(ACME, turns(f"Turn {n}.")) for n in range(5)))
        chunks = await other_stores.memory.chunks(ACME, "log")
        assert [one.ordinal for one in chunks] == list(range(9))
        assert chunks[3].text == "ada: Rain again."
        assert chunks[0].place == "Monday"
        assert len(await found(stores, "rain")) == 2
        item = await stores.memory.get(ACME, "log")
        assert item is not None
        assert (item.chunks, item.version, item.kind) == (9, 7, "log")
        await stores.memory.put(ACME, [record("mem-1", "No log.")])
        with pytest.raises(MemoryConflict):
            await stores.memory.append(ACME, log_draft([("", "x")], id="mem-1", namespace=FACTS))
        with pytest.raises(ValidationFailed):
            await stores.memory.append(ACME, record("mem-2", "Not appended."))

    async def test_rare_words_weigh_more_and_short_chunks_too(self, stores: Stores) -> None:
        texts = [f"The {'cat' if n < 6 else 'dog'} sat on mat number {n} in the house" for n in range(20)]
        await stores.memory.put(ACME, [document("cats", *texts, "The cat met a giraffe", "A giraffe")])
        assert (await found(stores, "cat giraffe"))[:2] == ["The cat met a giraffe", "A giraffe"]
        assert (await found(stores, "giraffe"))[0] == "A giraffe"
        assert len(await found(stores, "cat", limit=5)) == 5
        assert await found(stores, "the") == []

    async def test_what_others_wrote_weighs_nothing(self, stores: Stores) -> None:
        await stores.memory.put(ACME, [record("a", "red car"), record("b", "red bike"), record("c", "blue bike")])
        query = WordQuery(terms=("red", "bike"))
        before = await stores.memory.search(ACME, query)
        theirs = Namespace(name="facts", scope="user", owner="bob")
        bob = View(tenant="acme", user_id="bob")
        await stores.memory.put(bob, [record(f"b-{n}", "red red red bike", theirs) for n in range(50)])
        umbrella = View(tenant="umbrella", user_id="ada")
        await stores.memory.put(umbrella, [record(f"u-{n}", "red bike") for n in range(50)])
        assert await stores.memory.search(ACME, query) == before

    async def test_filters_narrow_lists_and_searches(self, stores: Stores) -> None:
        await stores.memory.put(
            ACME,
            [
                record("a", "red tea", metadata={"n": 1, "kind": "x", "tags": ["p", "q"]}, strategy="s1"),
                record("b", "red tea too", metadata={"n": 2.5, "kind": "xy", "on": True}, strategy="s2"),
                record("c", "red tea as well", metadata={"n": "2", "none": None}),
            ],
        )
        cases: list[tuple[Filter, set[str]]] = [
            (Filter("n", "=", 1), {"a"}),
            (Filter("n", "!=", 1), {"b", "c"}),
            (Filter("n", ">", 1), {"b"}),
            (Filter("n", ">=", 1), {"a", "b"}),
            (Filter("n", "<", 2), {"a"}),
            (Filter("n", "<=", "2"), {"c"}),
            (Filter("kind", "contains", "x"), {"a", "b"}),
            (Filter("tags", "contains", "q"), {"a"}),
            (Filter("tags", "contains", "z"), set()),
            (Filter("on", "=", True), {"b"}),
            (Filter("on", "=", 1), set()),
            (Filter("none", "exists"), {"c"}),
            (Filter("tags", "absent"), {"b", "c"}),
        ]
        for one, ids in cases:
            assert set(await listed(stores, filters=(one,))) == ids, one
            assert len(await found(stores, "tea", filters=(one,))) == len(ids), one
        assert await listed(stores, filters=(Filter("n", ">", 0), Filter("kind", "=", "xy"))) == ["b"]
        assert await listed(stores, strategy="s1") == ["a"]
        assert await found(stores, "red", strategy="s2") == ["red tea too"]
        assert await listed(stores, kinds=("document",)) == []

    async def test_lists_come_by_pages_last_changed_first(self, stores: Stores) -> None:
        for n in range(5):
            space = Namespace(name=f"n{n % 2}", scope="user", owner="ada")
            await stores.memory.put(ACME, [record(f"mem-{n}", f"Fact {n}.", space)])
        await stores.memory.put(ACME, [record("mem-0", "Changed.", Namespace(name="n0", scope="user", owner="ada"))])
        assert await listed(stores) == ["mem-0", "mem-4", "mem-3", "mem-2", "mem-1"]
        assert await listed(stores, name="n1") == ["mem-3", "mem-1"]
        assert await listed(stores, prefix="n") == ["mem-0", "mem-4", "mem-3", "mem-2", "mem-1"]
        assert await listed(stores, scopes=("tenant",)) == []

    async def test_neighbours_are_found_by_their_places(self, stores: Stores) -> None:
        await stores.memory.put(ACME, [document("doc", "One.", "Two.", "Three.")])
        (hit,) = await stores.memory.search(ACME, WordQuery(terms=("two",)))
        around = await stores.memory.around(ACME, [(hit.item, ordinal) for ordinal in (-1, 0, 2, 3)])
        opened = await stores.memory.open(ACME, [one.number for one in around])
        assert {one.chunk.text for one in opened} == {"One.", "Three."}
        assert await stores.memory.around(View(tenant="umbrella"), [(hit.item, 0)]) == []
        assert await stores.memory.open(View(tenant="umbrella"), [hit.number]) == []

    async def test_vectors_find_what_is_alike(self, stores: Stores, other_stores: Stores) -> None:
        await stores.memory.put(ACME, [document("doc", "One.", "Two.", "Three.", metadata={"a": 1})])
        one, two, three = await stores.memory.bare("acme", "m", item_id="doc")
        assert [one.text, two.text, three.text] == ["One.", "Two.", "Three."]
        kept = [(one.number, vector(1, 0)), (two.number, vector(0.6, 0.8)), (10**9, vector(1, 0))]
        assert await stores.memory.embed("acme", "m", kept) == 2
        assert await stores.memory.embed("acme", "m", kept) == 0
        assert await stores.memory.embed("umbrella", "m", [(three.number, vector(1, 0))]) == 0

        async def nearest(view: View = ACME, **more: Any) -> list[tuple[int, float]]:
            query = VectorQuery(**{"vector": vector(1, 0), "model": "m", **more})
            return [(hit.number, round(hit.score, 3)) for hit in await other_stores.memory.nearest(view, query)]

        assert await nearest() == [(one.number, 1.0), (two.number, 0.6)]
        assert await nearest(limit=1) == [(one.number, 1.0)]
        assert await nearest(model="other") == []
        assert await nearest(View(tenant="umbrella")) == []
        assert await nearest(selection=Selection(filters=(Filter("a", "=", 2),))) == []
        await stores.memory.embed("acme", "m", [(three.number, vector(0.8, 0.6))])
        assert [number for number, _ in await nearest()] == [one.number, three.number, two.number]
        await stores.memory.put(ACME, [document("doc", "Two.", "Three.")])
        assert [number for number, _ in await nearest()] == [three.number, two.number]
        assert await stores.memory.forget_vectors("acme", keep="m") == 0
        assert await stores.memory.forget_vectors("umbrella") == 0
        assert await stores.memory.forget_vectors("acme", keep="new") == 2
        assert await nearest() == []

    async def test_what_expires_is_gone_at_once_and_swept(self, stores: Stores) -> None:
        await stores.memory.put(ACME, [record("a", "old tea", ttl_s=-1.0), record("b", "new tea", ttl_s=3600.0)])
        assert await found(stores, "tea") == ["new tea"]
        assert await listed(stores) == ["b"]
        assert await stores.memory.get(ACME, "a") is None
        assert await stores.memory.chunks(ACME, "a") == []
        (kept,) = await stores.memory.put(ACME, [record("a", "old tea", ttl_s=-1.0)])
        assert kept.outcome == "new"
        assert await stores.memory.sweep() == 1
        assert await stores.memory.sweep() == 0
        assert await found(stores, "old") == []
        (space,) = await stores.memory.namespaces(ACME, Selection())
        assert (space.items, space.chunks) == (1, 1)

    async def test_deleting_leaves_nothing(self, stores: Stores) -> None:
        await stores.memory.put(ACME, [record("a", "green tea"), record("b", "black tea"), document("d", "tea", "pot")])
        assert await stores.memory.delete(ACME, ["a", "never", "a"]) == ["a"]
        assert await found(stores, "green") == []
        assert sorted(await found(stores, "tea")) == ["black tea", "tea"]
        bob = View(tenant="acme", user_id="bob")
        assert await stores.memory.delete(bob, ["b"]) == []
        assert await stores.memory.erase("umbrella") == 0
        assert await stores.memory.erase("acme", audience="user:ada") == 1
        assert await listed(stores) == ["d"]
        assert await stores.memory.erase("acme") == 1
        assert await stores.memory.namespaces(ACME, Selection()) == []
        assert await found(stores, "tea") == []

    async def test_spaces_know_nothing_of_each_other(self, stores: Stores) -> None:
        apart = Namespace(name="facts", space="memory-1")
        await stores.memory.put(ACME, [record("a", "tea there", apart), record("a", "tea here")])
        assert await found(stores, "tea") == ["tea here"]
        assert await found(stores, "tea", space="memory-1") == ["tea there"]
        assert await listed(stores, space="memory-1") == ["a"]
        item = await stores.memory.get(ACME, "a", space="memory-1")
        assert item is not None
        assert item.namespace == apart
        assert await stores.memory.erase("acme", space="memory-1") == 1
        assert await listed(stores) == ["a"]

    async def test_only_who_publishes_writes_what_all_read(self, stores: Stores) -> None:
        public = Namespace(name="handbook", scope="public")
        with pytest.raises(MemoryForbidden):
            await stores.memory.put(ACME, [document("doc", "Open to all.", namespace=public)])
        publisher = View(tenant="house", publishes=True)
        await stores.memory.put(publisher, [document("doc", "Open to all.", namespace=public)])
        assert await found(stores, "open") == ["Open to all."]
        assert await found(stores, "open", View(tenant="acme", public=False)) == []
        assert await found(stores, "open", View(tenant="acme", whole=True)) == ["Open to all."]
        assert await stores.memory.delete(ACME, ["doc"]) == []
        assert await stores.memory.delete(publisher, ["doc"]) == ["doc"]

    async def test_who_may_not_look_may_not_replace(self, stores: Stores) -> None:
        await stores.memory.put(ACME, [record("mem-1", "Ada's.")])
        bob = View(tenant="acme", user_id="bob")
        theirs = Namespace(name="facts", scope="user", owner="bob")
        with pytest.raises(MemoryConflict):
            await stores.memory.put(bob, [record("mem-1", "Bob's.", theirs)])
        for namespace in (FACTS, Namespace(scope="team", owner="support"), Namespace(scope="session", owner="s-1")):
            with pytest.raises(MemoryForbidden):
                await stores.memory.put(bob, [record("mem-2", "Not his.", namespace)])
        whole = View(tenant="acme", whole=True)
        await stores.memory.put(whole, [record("mem-1", "By the house.")])
        assert await found(stores, "house") == ["By the house."]

    @pytest.mark.parametrize(
        "draft",
        [
            record("", "No id."),
            record("a\0b", "x"),
            record("x" * 600, "x"),
            record("a", "nul \0 here"),
            record("a", "x", Namespace(name="n", scope="user")),
            record("a", "x", Namespace(name="n", scope="tenant", owner="ada")),
        ],
    )
    async def test_what_cannot_be_kept_is_refused(self, stores: Stores, draft: ItemDraft) -> None:
        with pytest.raises(ValidationFailed):
            await stores.memory.put(View(tenant="acme", user_id="ada", whole=True), [draft])

    async def test_ids_that_were_never_kept_find_nothing(self, stores: Stores) -> None:
        odd = View(tenant="a\0b", user_id="\ud800")
        assert await found(stores, "tea", odd) == []
        assert await listed(stores, odd) == []
        assert await stores.memory.get(ACME, "a\0b") is None
        assert await stores.memory.chunks(ACME, "a\0b") == []
        assert await stores.memory.delete(odd, ["a"]) == []
        assert await stores.memory.namespaces(odd, Selection()) == []
        assert await stores.memory.erase("a\0b") == 0
        assert await stores.memory.bare("a\0b", "m") == []
        assert await stores.memory.around(odd, [(1, 1)]) == []
        assert await stores.memory.open(odd, [1]) == []
        assert await found(stores, "tea", View(tenant="")) == []
