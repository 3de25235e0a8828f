"""Results that are given out again, and to whom; long results, and reading on in them."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest
from tool_scene import Kept, bounded, box_of, called, fault_code

from corral import tool
from corral.backends.open import open_stores
from corral.cache.shelf import Shelf
from corral.messages import Caller
from corral.tools.artefacts import Artefacts, reader
from corral.tools.cached import Cached
from corral.tools.marks import SCOPES
from corral.wiring.tooling import KeptResults
from ready import ready_url

TENANTS, USERS, SESSIONS = ("acme", "other"), ("", "ada", "bob"), ("", "s1")


def counting(**marks):
    numbers = itertools.count()

    @tool(read_only=True, cache_ttl_s=60, **marks)
    async def look(what: str = "") -> int:
        return next(numbers)

    return look


async def test_a_result_is_given_out_again():
    box = box_of(counting(cost_usd=2.0), layers=[Cached(Kept())])
    first, again = await box.call(called("look", what="a")), await box.call(called("look", what="a"))
    assert (first.value, first.cached, first.cost_usd) == (0, "", 2.0)
    assert (again.value, again.cached, again.cost_usd, again.attempts) == (0, "kept", 0.0, 0)
    assert (await box.call(called("look", what="b"))).value == 1


async def test_each_scope_shares_with_whom_it_says_and_with_nobody_else():
    """Every pair of callers, for every scope: a result is shared exactly where the scope allows it."""
    callers = [Caller(tenant=t, user_id=u, session_id=s) for t, u, s in itertools.product(TENANTS, USERS, SESSIONS)]

    def shared(scope, one, two):
        return {
            "public": True,
            "tenant": one.tenant == two.tenant,
            "user": one.tenant == two.tenant and one.user_id == two.user_id != "",
            "session": one.tenant == two.tenant and one.session_id == two.session_id != "",
        }[scope]

    for scope in SCOPES:
        look = counting(cache_scope=scope)
        for one, two in itertools.product(callers, callers):
            box = box_of(look, layers=[Cached(Kept())])
            await box.call(called("look", caller=one))
            reply = await box.call(called("look", caller=two))
            assert (reply.cached == "kept") == shared(scope, one, two), (scope, one, two)


async def test_what_failed_and_what_is_long_is_not_kept():
    kept = Kept()

    @tool(read_only=True, cache_ttl_s=60, output_max_bytes=5)
    async def look(fail: bool) -> str:
        if fail:
            raise ValueError("x")
        return "much too long"

    box = box_of(look, layers=[Cached(kept)], artefacts=Kept())
    assert fault_code(await box.use("look", fail=True)) == "failed"
    assert (await box.use("look", fail=False)).artefact
    assert kept.table == {}


@pytest.fixture
async def stores(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield stores
    await stores.stop()


async def test_the_shelf_keeps_them_for_all_loops_of_the_process(stores):
    shelf = Shelf(stores.cache)
    await shelf.start()
    results = KeptResults(shelf)
    box = box_of(counting(), layers=[Cached(results)], run=bounded())
    assert (await box.call(called("look"))).value == 0  # not at home yet: nothing is kept
    results.at_home()
    assert (await box.call(called("look"))).value == 1
    assert (await box.call(called("look"))).cached == "kept"
    told = []
    thread = threading.Thread(target=lambda: told.append(asyncio.run(box.call(called("look")))))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert (told[0].value, told[0].cached) == (1, "kept")
    thread = threading.Thread(target=lambda: told.append(asyncio.run(box.call(called("look", what="new")))))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert (await box.call(called("look", what="new"))).cached == "kept"
    await shelf.stop()
    (stats,) = await stores.cache.stats("default")
    assert (stats.kind, stats.hits, stats.misses) == ("value", 3, 2)


async def test_a_model_reads_on_in_what_is_its_callers(stores):
    artefacts = Artefacts(stores.tool_artefacts, ttl_s=60)
    whole = "".join(f"line {n}\n" for n in range(5000))

    @tool(output_max_bytes=100)
    async def log() -> str:
        return whole

    box = box_of(log, reader(artefacts.read), artefacts=artefacts)
    ada = Caller(tenant="acme", user_id="ada")
    name = (await box.call(called("log", caller=ada))).artefact
    reply = await box.call(called("read_artefact", caller=ada, name=name, offset=100, length=50))
    assert reply.value == whole[100:150] + f"\n\n[Bytes 100 to 150 of {len(whole)}.]"
    assert reply.tainted == ("tool:read_artefact",)
    reply = await box.call(called("read_artefact", caller=ada, name=name, offset=len(whole) - 3))
    assert reply.value.startswith(whole[-3:])
    assert len((await box.call(called("read_artefact", caller=ada, name=name))).value) < 17_000
    for stranger in (
        Caller(tenant="acme", user_id="bob"),
        Caller(tenant="other", user_id="ada"),
        Caller(tenant="acme"),
    ):
        assert fault_code(await box.call(called("read_artefact", caller=stranger, name=name))) == "not_found"
