"""Vectors in PostgreSQL: by the extension `vector` where it is installed, the same without it."""

from __future__ import annotations

import array

import asyncpg
import pytest

from corral.backends.open import open_stores
from corral.memory.drafting import record_draft
from corral.memory.store import Filter, Namespace, Selection, VectorQuery, View

HOME = Namespace(name="facts", scope="user", owner="ada")
ADA = View(tenant="acme", user_id="ada")


def vector(*numbers):
    length = sum(number * number for number in numbers) ** 0.5
    return array.array("f", [number / length for number in numbers]).tobytes()


@pytest.mark.parametrize("installed", [True, False])
async def test_the_most_alike_come_first(fresh_postgres_url, installed):
    if installed:
        connection = await asyncpg.connect(fresh_postgres_url)
        try:
            await connection.execute("CREATE EXTENSION vector")
        except asyncpg.FeatureNotSupportedError:
            pytest.skip("this PostgreSQL does not bring the extension `vector`")
        finally:
            await connection.close()
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    memory = stores.memory
    drafts = [record_draft(f"Fact {n}.", id=f"f-{n}", namespace=HOME, metadata={"n": n}) for n in range(5)]
    await memory.put(ADA, drafts)
    bare = await memory.bare("acme", "m")
    await memory.embed("acme", "m", [(one.number, vector(1, n / 4, 0)) for n, one in enumerate(bare)])
    await memory.embed("acme", "other", [(bare[0].number, vector(1, 0))])

    async def nearest(limit, **selection):
        query = VectorQuery(vector=vector(1, 0, 0), model="m", limit=limit, selection=Selection(**selection))
        hits = await memory.nearest(ADA, query)
        return [one.chunk.text for one in await memory.open(ADA, [hit.number for hit in hits])], hits

    texts, hits = await nearest(2)
    assert texts == ["Fact 0.", "Fact 1."]
    assert hits[0].score == pytest.approx(1.0)
    assert hits[1].score == pytest.approx(1 / (1 + 1 / 16) ** 0.5, abs=1e-5)
    assert (await nearest(1, filters=(Filter("n", ">=", 2),)))[0] == ["Fact 2."]
    await memory.delete(ADA, ["f-0"])
    assert (await nearest(5))[0] == ["Fact 1.", "Fact 2.", "Fact 3.", "Fact 4."]
    assert (
        await memory.nearest(View(tenant="acme", user_id="bob"), VectorQuery(vector=vector(1, 0, 0), model="m")) == []
    )
    await stores.stop()
