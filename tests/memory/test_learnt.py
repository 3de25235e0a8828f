"""What becomes of a model's answer, and the budget for asking it."""

from __future__ import annotations

import asyncio

import pytest

from corral.backends.open import open_stores
from corral.memory.learning.applying import Change, Shelf, record_id
from corral.memory.learning.budget import DayBudget
from corral.memory.learning.prompting import Learnt, LearntItem, Turn, instructions, question
from corral.memory.resources import HISTORY, MemoryResource, Prompting, Strategy
from corral.memory.store import Namespace, Selection, View
from ready import ready_url

STRATEGY = Strategy(id="facts-0123456789", name="facts", kind="semantic", namespace="/facts/{actorId}/")
MEMORY = MemoryResource(id="notes-0123456789", name="notes", event_expiry_days=7, strategies=[STRATEGY])
SPACE = Namespace(name="/facts/ada/", scope="user", owner="ada", space=MEMORY.id)
TURNS = [Turn("1#1", 1, "user", "I like trains.", 1.0), Turn("1#2", 2, "user", "I live in London.", 2.0)]
ALL = View(tenant="acme", whole=True, public=False)


class Noon:
    """A clock that somebody turns."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
async def stores(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture
def shelf(stores) -> Shelf:
    return Shelf(stores.memory, "acme", MEMORY, STRATEGY, SPACE)


async def learn(shelf: Shelf, *items: LearntItem) -> int:
    known = await shelf.related(TURNS)
    return await shelf.apply("semantic", shelf.changes("semantic", Learnt(list(items)), known, TURNS), at=5.0)


async def texts(stores, space: str = MEMORY.id) -> list[str]:
    return sorted(item.text for item in (await stores.memory.items(ALL, Selection(space=space))).items)


async def test_doing_it_twice_is_doing_it_once(stores, shelf):
    add = LearntItem("add", "Ada likes trains.", turns=[1])
    assert await learn(shelf, add) == 1
    assert await learn(shelf, add) == 0
    (known,) = await shelf.related(TURNS)
    changes = [Change("update", known.id, "Ada loves trains.", ["1#2"])]
    assert await shelf.apply("semantic", changes, at=6.0) == 1
    assert await shelf.apply("semantic", changes, at=6.0) == 0
    assert await texts(stores) == ["Ada loves trains."]
    assert await texts(stores, f"{MEMORY.id}{HISTORY}") == ["Ada likes trains."]
    gone = [Change("remove", known.id)]
    assert [await shelf.apply("semantic", gone, at=7.0) for _ in range(2)] == [1, 0]
    assert await texts(stores) == []


async def test_answers_that_make_no_sense_do_no_harm(stores, shelf):
    await learn(
        shelf,
        LearntItem("remove", number=7),
        LearntItem("update", "As good as new.", number=9, turns=[99, -1]),
        LearntItem("add", "   "),
        LearntItem("update", "", number=1),
    )
    assert await texts(stores) == ["As good as new."]
    (item,) = (await stores.memory.items(ALL, Selection(space=MEMORY.id))).items
    assert item.events == ["1#1", "1#2"]


async def test_what_was_learnt_of_a_user_goes_with_that_user(stores, shelf):
    await learn(shelf, LearntItem("add", "Ada likes trains.", turns=[1]))
    (known,) = await shelf.related(TURNS)
    await shelf.apply("semantic", [Change("update", known.id, "Ada loves trains.")], at=6.0)
    await stores.memory.erase("acme", audience="user:ada")
    assert await texts(stores) == await texts(stores, f"{MEMORY.id}{HISTORY}") == []


async def test_another_tenants_records_are_not_known(stores, shelf):
    theirs = Shelf(stores.memory, "other", MEMORY, STRATEGY, SPACE)
    await learn(theirs, LearntItem("add", "Their secret about trains.", turns=[1]))
    assert await shelf.related(TURNS) == []


def test_ids_come_from_words():
    def of(text: str, namespace: str = "/a/") -> str:
        return record_id("m", "s", namespace, text)

    assert of("Ada likes trains.") == of(" ada LIKES  trains")
    assert len({of("a"), of("b"), of("a", "/b/")}) == 3
    assert 40 <= len(of("x")) <= 50


def test_prompts_have_what_is_added_and_what_is_known_numbered():
    own = Strategy(id="s", name="own", kind="semantic", namespace="/", prompting=Prompting(extraction="Take prices."))
    assert instructions("semantic", own).endswith("Take prices.")
    assert instructions("reflection", own) == instructions("reflection", STRATEGY)
    asked = question([], TURNS)
    assert "(nothing)" in asked
    assert "[2] user: I live in London." in asked


async def test_a_budget_is_a_tenants_own_and_begins_anew_each_day(stores):
    clock = Noon()
    budget = DayBudget(stores.resources, calls=2, tokens=100, clock=clock)
    assert [await budget.reserve("acme") for _ in range(3)] == [True, True, False]
    assert await budget.reserve("other")
    assert not await budget.left("acme")
    clock.at += budget.renewed_in_s()
    assert await budget.left("acme")
    await budget.used("acme", 150)
    assert not await budget.reserve("acme")


async def test_many_workers_share_one_budget(stores):
    budgets = [DayBudget(stores.resources, calls=5, tokens=100) for _ in range(8)]
    granted = await asyncio.gather(*(budget.reserve("acme") for budget in budgets))
    assert sum(granted) == 5
