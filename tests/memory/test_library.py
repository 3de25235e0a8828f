"""Taking documents in, and finding them again."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from memory_scene import Letters

from corral.context import Context, enter_context
from corral.errors import ConfigError, MemoryForbidden, ModelUnavailable, PayloadTooLarge, ValidationFailed
from corral.memory.drafting import log_draft
from corral.memory.library import Document
from corral.memory.remembered import Memory, Shelves, conditions, connected, use, using
from corral.memory.searching import fused, gained
from corral.memory.store import Filter, Hit, Namespace, Selection, View
from corral.messages import ToolCall
from corral.tools.toolbox import Toolbox

ADA = View(tenant="acme", user_id="ada")
HOME = Namespace(name="docs", scope="user", owner="ada")
GUIDE = b"# Guide\n\nTea is hot.\n\n# Cold\n\nIce is cold.\n"


def document(data=GUIDE, **more):
    return Document(**{"data": data, "namespace": HOME, "source": "guide.md", **more})


async def test_only_what_changed_is_placed_anew(make_memory):
    embedder = Letters("tea", "ice")
    memory = await make_memory(embedder=embedder)
    first = await memory.library.ingest(ADA, document())
    assert (first.outcome, first.chunks, first.added, first.embedded, first.title) == ("new", 2, 2, 2, "Guide")
    again = await memory.library.ingest(ADA, document())
    assert (again.id, again.outcome, again.embedded) == (first.id, "same", 0)
    changed = await memory.library.ingest(ADA, document(GUIDE.replace(b"hot", b"very hot")))
    assert (changed.outcome, changed.added, changed.removed, changed.embedded) == ("changed", 1, 1, 1)
    assert embedder.asked == [("acme", ["Tea is hot.", "Ice is cold."]), ("acme", ["Tea is very hot."])]


async def test_progress_is_shown(make_memory):
    memory = await make_memory(embedder=Letters("tea"))
    seen = []
    await memory.library.ingest(ADA, document(), lambda share, words: seen.append((share, words)))
    assert [words for _, words in seen] == ["reading", "keeping 2 chunks", "placed 2 chunks by their meaning", "done"]
    assert [share for share, _ in seen] == sorted(share for share, _ in seen)


async def test_limits_are_kept_and_said(make_memory):
    memory = await make_memory(document_max_bytes=100, chunks_max=1)
    with pytest.raises(PayloadTooLarge, match="document_max_bytes"):
        await memory.library.ingest(ADA, document(b"x" * 101))
    with pytest.raises(PayloadTooLarge, match="chunks_max"):
        await memory.library.ingest(ADA, document())
    with pytest.raises(MemoryForbidden):
        await memory.library.ingest(View(tenant="acme", user_id="bob"), document())
    with pytest.raises(ValidationFailed, match="cannot be fetched"):
        await memory.library.ingest(ADA, document(fetch=True))
    with pytest.raises(ValidationFailed, match="embedder"):
        await memory.library.reindex("acme")
    assert (await memory.library.ingest(ADA, document(b""))).chunks == 0
    assert memory.library.is_small(document())
    assert not memory.library.is_small(document(source="a.pdf"))


async def test_another_embedder_places_everything_anew(make_memory):
    memory = await make_memory(embedder=Letters("tea"))
    await memory.library.ingest(ADA, document())
    newer = Letters("ice")
    newer.model = "newer"
    memory.library.embedder = memory.searcher.embedder = newer
    assert await memory.library.reindex("acme") == 2
    assert await memory.library.reindex("acme") == 0
    assert await memory.store.forget_vectors("acme", keep="newer") == 0
    assert (await memory.texts(ADA, "ice cubes", k=1)) == ["Ice is cold."]


async def test_words_alone_are_looked_for_while_the_embedder_is_away(make_memory, caplog):
    embedder = Letters("tea", "ice")
    memory = await make_memory(embedder=embedder)
    await memory.library.ingest(ADA, document())
    embedder.fails = ModelUnavailable("gone")
    assert await memory.texts(ADA, "tea", k=1) == ["Tea is hot."]
    assert "only words" in caplog.text


async def test_meaning_finds_what_words_do_not(make_memory):
    embedder = Letters("tea", "ice")
    memory = await make_memory(embedder=embedder, neighbours=0.0)
    await memory.library.ingest(ADA, document())
    embedder.vector = lambda _text, usual=embedder.vector: usual("tea")
    assert (await memory.texts(ADA, "something warm to drink", k=1)) == ["Tea is hot."]


async def test_what_stands_beside_a_hit_is_found(make_memory):
    memory = await make_memory()
    turns = [("bot", "Which colour?"), ("ada", "Teal, please."), ("bot", "Done.")] + [
        ("x", f"Other {n}.") for n in range(20)
    ]
    await memory.store.append(ADA, log_draft(turns, id="log", namespace=HOME))
    assert await memory.texts(ADA, "colour", k=2) == ["bot: Which colour?", "ada: Teal, please."]
    assert await memory.texts(ADA, "colour", k=2, neighbours=0.0) == ["bot: Which colour?"]
    assert await memory.texts(ADA, "colour", k=2, selection=Selection(name="other")) == []


@pytest.mark.parametrize("k", [0, 101])
async def test_how_many_is_bounded(make_memory, k):
    memory = await make_memory()
    with pytest.raises(ValidationFailed, match="results_max"):
        await memory.searcher.search(ADA, "x", k=k)
    with pytest.raises(ValidationFailed, match="characters"):
        await memory.searcher.search(ADA, "x" * 10_001)


def test_neighbours_gain_a_share():
    assert gained([Hit(1, 7, 0, 4.0), Hit(2, 7, 2, 2.0)], 0.5) == {(7, 1): 3.0, (7, 3): 1.0}


def test_both_kinds_of_hits_are_weighed():
    words = [Hit(1, 1, 0, 10.0), Hit(2, 2, 0, 5.0)]
    vectors = [Hit(3, 3, 0, 0.9), Hit(2, 2, 0, 0.8), Hit(1, 1, 0, 0.7)]
    assert [(hit.number, round(hit.score, 2)) for hit in fused(words, vectors, 0.4)] == [(1, 0.6), (2, 0.5), (3, 0.4)]
    assert [hit.number for hit in fused(words, vectors, 0.9)] == [3, 2, 1]
    assert fused([], [], 0.5) == []


# -- as agents use it -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def shelves(make_memory):
    scene = await make_memory(teams={"support": ["ada"]})
    with using(scene.shelves):
        yield scene.shelves


@pytest.fixture
def invocation():
    """Who an agent works for; each test is a task, and has a context of its own."""

    def begin(tenant="acme", user="ada", session="s-1"):
        context = Context("r-1")
        context.tenant, context.user_id, context.session_id = tenant, user, session
        enter_context(context)

    return begin


async def test_an_agent_remembers_searches_and_forgets(shelves, invocation):
    invocation()
    memory = Memory("facts")
    fact = await memory.remember("Prefers a window seat.", metadata={"topic": "travel", "year": 2024})
    assert [item.id for item in await memory.items()] == [fact]
    (found,) = await memory.search("seat", filters={"topic": "travel", "year >=": 2024})
    assert (found.text, found.namespace.audience, found.citation.document) == (
        "Prefers a window seat.",
        "user:ada",
        fact,
    )
    assert await memory.search("seat", filters={"year >": 2024}) == []
    await memory.remember("Prefers an aisle seat.", id=fact)
    assert [one.text for one in await memory.search("seat")] == ["Prefers an aisle seat."]
    assert await memory.forget(fact, "never") == [fact]
    assert await memory.search("seat") == []


async def test_it_works_for_whom_the_invocation_is_and_nobody_else(shelves, invocation):
    await Memory("facts", tenant="acme", user_id="bob").remember("A secret of bob.")
    invocation(user="eve")
    sly = Memory("facts", tenant="acme", user_id="bob")
    assert await sly.search("secret") == []
    assert sly.view().user_id == "eve"


async def test_documents_logs_and_teams(shelves, invocation):
    invocation()
    team = Memory("runbooks", scope="team", team="support")
    ingested = await team.ingest("# Restart\n\nTurn it off and on.", source="restart.md", media_type="text/markdown")
    assert ingested.chunks == 1
    await Memory("talk", scope="session").listen(("ada", "My router is blue."), ("bot", "Noted."))
    texts = {one.text for one in await Memory().search("router turn")}
    assert texts >= {"ada: My router is blue.", "Turn it off and on."}
    assert {one.text for one in await Memory().search("router turn", scopes=["team"])} == {"Turn it off and on."}
    invocation(user="bob")
    with pytest.raises(MemoryForbidden):
        await team.remember("x")


async def test_the_tool_is_read_only_and_untrusted(shelves, invocation):
    invocation()
    memory = Memory("facts")
    await memory.remember("Prefers a window seat.")
    box = Toolbox([memory.as_tool()])
    (tool,) = box
    assert (tool.name, tool.marks.read_only, tool.marks.untrusted) == ("search_memory", True, True)
    assert set(tool.spec.parameters["properties"]) == {"query", "k"}
    reply = await box.call(ToolCall(name="search_memory", input={"query": "seat"}, id="c"))
    assert reply.fault is None
    assert reply.value[0]["text"] == "Prefers a window seat."
    assert reply.tainted == ("tool:search_memory",)


async def test_what_cannot_work_is_said(make_memory, invocation):
    with pytest.raises(ConfigError, match="corral dev"):
        connected()
    with pytest.raises(ConfigError, match="scope"):
        Memory(scope="moon")
    with pytest.raises(ConfigError, match="team"):
        Memory(scope="team")
    scene = await make_memory()
    with pytest.raises(ConfigError, match="whose memory"):
        Memory(shelves=scene.shelves).view()
    invocation(user=None, session=None)
    with pytest.raises(ValidationFailed, match="X-User-Id"):
        await Memory(shelves=scene.shelves).remember("x")
    with pytest.raises(ValidationFailed, match="session"):
        await Memory(scope="tenant", shelves=scene.shelves).listen(("a", "b"))
    for text, said in ((" ", "nothing"), ("x" * 16_001, "document")):
        with pytest.raises(ValidationFailed, match=said):
            await Memory(shelves=scene.shelves).remember(text)


async def test_one_service_takes_the_place_of_another(make_memory):
    one, two = (await make_memory()).shelves, (await make_memory()).shelves
    assert use(one) is None
    assert use(two) is one
    assert connected() is two
    assert use(None) is two


def test_filters_are_written_in_words():
    assert conditions({"a": 1, "b >=": 2, "c d": 3}) == (
        Filter("a", "=", 1),
        Filter("b", ">=", 2),
        Filter("c d", "=", 3),
    )
    assert conditions([Filter("a")]) == (Filter("a"),)


async def test_other_loops_may_ask(make_memory):
    scene = await make_memory()
    memory = Memory("facts", tenant="acme", user_id="ada", shelves=scene.shelves)
    await memory.remember("From here.")
    found = await asyncio.to_thread(lambda: asyncio.run(memory.search("here")))
    assert [one.text for one in found] == ["From here."]
    assert msgspec.structs.asdict(found[0])["kind"] == "record"
    assert isinstance(scene.shelves, Shelves)
