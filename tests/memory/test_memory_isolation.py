"""Nothing of another tenant, user, session or team ever comes back: every method, every combination of scopes, on every engine."""

from __future__ import annotations

import array
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import MemoryConflict, MemoryForbidden
from corral.memory.drafting import log_draft, record_draft
from corral.memory.store import Namespace, Selection, VectorQuery, View, WordQuery

OWNERS = {"team": ("red", "blue"), "user": ("ada", "bob"), "session": ("s-1", "s-2")}
PLACES = [
    ("", Namespace(name="n", scope="public")),
    *(
        (tenant, Namespace(name="n", scope=scope, owner=owner))
        for tenant in ("acme", "umbrella")
        for scope, owners in (("tenant", ("",)), *OWNERS.items())
        for owner in owners
    ),
]
VECTOR = array.array("f", [1.0, 0.0]).tobytes()

views = st.builds(
    View,
    tenant=st.sampled_from(["acme", "umbrella", "none", ""]),
    user_id=st.sampled_from(["", "ada", "bob", "eve"]),
    teams=st.sets(st.sampled_from(["red", "blue"])).map(lambda teams: tuple(sorted(teams))),
    session_id=st.sampled_from(["", "s-1", "s-2"]),
    public=st.booleans(),
    publishes=st.just(False),
    whole=st.booleans(),
)
selections = st.builds(
    Selection,
    name=st.sampled_from([None, "n"]),
    prefix=st.sampled_from([None, "n"]),
    scopes=st.sets(st.sampled_from(["public", "tenant", "team", "user", "session"])).map(tuple),
)


def text_of(tenant, namespace):
    return f"secret of {tenant or 'all'} {namespace.audience}"


def allowed(view, selection=None):
    """What a view may see: said once more, in the plainest words there are."""
    found = set()
    for tenant, space in PLACES:
        if selection is not None and selection.scopes and space.scope not in selection.scopes:
            continue
        if space.scope == "public":
            seen = view.public and bool(view.tenant)
        else:
            mine = {"tenant": True, "user": space.owner == view.user_id, "session": space.owner == view.session_id}
            seen = tenant == view.tenant and (view.whole or mine.get(space.scope, space.owner in view.teams))
        if seen:
            found.add(text_of(tenant, space))
    return found


@pytest.fixture
async def filled(either_url, make_memory):
    scene = await make_memory(either_url)
    for at, (tenant, space) in enumerate(PLACES):
        writer = View(tenant=tenant or "house", whole=True, publishes=True)
        text = text_of(tenant, space)
        await scene.store.put(writer, [record_draft(text, id=f"item-{at}", namespace=space)])
        bare = await scene.store.bare(tenant, "m")
        await scene.store.embed(tenant, "m", [(one.number, VECTOR) for one in bare])
    return scene


async def everything(store, view, selection):
    """What each method shows."""
    words = await store.search(view, WordQuery(terms=("secret",), selection=selection))
    near = await store.nearest(view, VectorQuery(vector=VECTOR, model="m", selection=selection))
    items = (await store.items(view, selection, limit=100)).items
    spaces = await store.namespaces(view, selection)
    return {
        "search": {one.chunk.text for one in await store.open(view, [hit.number for hit in words])},
        "nearest": {one.chunk.text for one in await store.open(view, [hit.number for hit in near])},
        "items": {item.text for item in items},
        "namespaces": {(one.namespace.audience, one.items) for one in spaces},
    }


async def test_every_view_sees_its_own_and_nothing_else(filled):
    names = itertools.product(("acme", "none"), ("", "ada"), ((), ("blue", "red")), ("", "s-2"))
    places = [(item, 0) for item in range(1, 200)]
    for (tenant, user, teams, session), (public, whole) in itertools.product(names, ((True, False), (False, True))):
        view = View(tenant=tenant, user_id=user, teams=teams, session_id=session, public=public, whole=whole)
        seen = await everything(filled.store, view, Selection())
        right = allowed(view)
        assert seen["search"] == seen["nearest"] == seen["items"] == right, view
        assert len(seen["namespaces"]) == len(right)
        around = await filled.store.around(view, places)
        assert {one.chunk.text for one in await filled.store.open(view, [hit.number for hit in around])} <= right
        assert {one.chunk.text for one in await filled.store.open(view, list(range(1, 200)))} <= right
        for at, (owner, space) in enumerate(PLACES):
            item = await filled.store.get(view, f"item-{at}")
            chunks = await filled.store.chunks(view, f"item-{at}")
            assert (item is not None) == bool(chunks) == (text_of(owner, space) in right)


async def test_selections_only_narrow(filled):
    examples = []

    @given(views, selections)
    def gather(view, selection):
        examples.append((view, selection))

    gather()
    for view, selection in examples:
        seen = await everything(filled.store, view, selection)
        assert seen["search"] == seen["nearest"] == seen["items"] == allowed(view, selection), (view, selection)


async def test_nobody_changes_what_he_may_not_see(filled):
    stranger = View(tenant="acme", user_id="eve")
    before = await everything(filled.store, View(tenant="acme", whole=True), Selection())
    for at, (_, space) in enumerate(PLACES):
        if stranger.writes(space):
            continue
        assert await filled.store.delete(stranger, [f"item-{at}"]) == []
        with pytest.raises(MemoryForbidden):
            await filled.store.put(stranger, [record_draft("x", id=f"item-{at}", namespace=space)])
        with pytest.raises(MemoryForbidden):
            await filled.store.append(stranger, log_draft([("", "x")], id=f"item-{at}", namespace=space))
        own = Namespace(name="n", scope="user", owner="eve")
        if space.scope != "public":
            where = [tenant for tenant, one in PLACES if one is space]
            if where == ["acme"]:
                with pytest.raises(MemoryConflict):
                    await filled.store.put(stranger, [record_draft("x", id=f"item-{at}", namespace=own)])
    assert await everything(filled.store, View(tenant="acme", whole=True), Selection()) == before


async def test_forgetting_one_audience_touches_no_other(filled):
    for tenant, space in PLACES:
        if space.scope != "user" or tenant != "acme":
            continue
        view = View(tenant="acme", whole=True)
        before = allowed(view)
        assert await filled.store.erase("acme", audience=space.audience) == 1
        seen = await everything(filled.store, view, Selection())
        assert text_of(tenant, space) not in seen["search"] | seen["nearest"] | seen["items"]
        assert await filled.store.erase("acme", audience=space.audience) == 0
        assert seen["items"] == before - {
            text_of("acme", one) for owner, one in PLACES if one.scope == "user" and one.owner <= space.owner
        }
