"""What callers may spend, together with every worker on the same store."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from budget_scene import ACME, Heard, Shaky, budgets_of
from limit_scene import LoopClock, in_jumping_time

from corral.backends.open import open_stores
from corral.errors import ConfigError
from corral.limits.accounts import NOTHING, Amount, Terms, amount_of, decode_account, encode_terms, shown_usd
from corral.limits.budget_news import BudgetExceeded, BudgetsUnavailable
from corral.limits.budget_rules import BudgetRule, period_of, plain
from corral.limits.budget_store import KeptAccount, Known, Place
from corral.messages import Caller
from corral.settings.budget_sections import BudgetSettings
from corral.testing.contracts.setting import eventually
from ready import ready_url


@pytest.fixture
async def store(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield stores.budgets
    await stores.stop()


async def spend(budgets, usd, cost=None, caller=ACME, tokens=0):
    reservation = await budgets.reserve(budgets.pockets(caller), amount_of(usd, tokens))
    budgets.settle(reservation, amount_of(usd if cost is None else cost, tokens))
    return reservation


async def kept(store, budgets, budget, caller=ACME):
    rule = next(one for one in budgets.rules if one.name == budget)
    known = await store.read([rule.place(caller, budgets.now())])
    body = known.accounts[0].body
    return decode_account(body) if body else None


async def test_what_was_spent_is_spent_for_all(store):
    one, other = (budgets_of(store, team={"usd": 10, "by": ["tag:team"]}) for _ in range(2))
    await spend(one, 6)
    await one.drain()
    with pytest.raises(BudgetExceeded, match=r"'team' of 'support' allows \$10.00 a month") as refused:
        await spend(other, 6)
    assert refused.value.budget == "team"
    assert refused.value.retry_after_s == pytest.approx(refused.value.resets_at - other.now(), abs=5)
    await spend(other, 4)
    await spend(other, 6, caller=Caller(tenant="acme", tags={"team": "sales"}))
    await spend(other, 6, caller=Caller(tenant="globex", tags={"team": "support"}))


async def test_all_budgets_have_to_have_enough_or_nothing_is_taken(store):
    budgets = budgets_of(store, a={"usd": 10}, b={"usd": 1, "by": ["user"]})
    with pytest.raises(BudgetExceeded, match="'b' of 'ann'"):
        await spend(budgets, 5)
    await budgets.drain()
    account = await kept(store, budgets, "a")
    assert account is None or (account.spent, account.held(0)) == (NOTHING, NOTHING)
    await spend(budgets, 1)
    assert (await budgets.standings(budgets.pockets(ACME)))[0][1].spent == amount_of(1)


async def test_settling_twice_is_settling_once(store):
    budgets = budgets_of(store, a={"usd": 10})
    reservation = await budgets.reserve(budgets.pockets(ACME), amount_of(5))
    for _ in range(2):
        budgets.settle(reservation, amount_of(2))
    await budgets.drain()
    account = await kept(store, budgets, "a")
    assert (account.spent, account.holds[budgets.worker].held) == (amount_of(2), NOTHING)


async def test_two_hundred_at_once_at_99_percent_overspend_nothing(store):
    workers = [budgets_of(store, team={"usd": 100}) for _ in range(2)]
    await spend(workers[0], 99)
    await workers[0].drain()
    passed = 0

    async def call(budgets):
        nonlocal passed
        try:
            reservation = await budgets.reserve(budgets.pockets(ACME), amount_of(0.05))
        except BudgetExceeded:
            return
        passed += 1
        await asyncio.sleep(0)
        budgets.settle(reservation, amount_of(0.05))

    await asyncio.gather(*(call(workers[index % 2]) for index in range(200)))
    for one in workers:
        await one.drain()
    assert passed == 20
    assert (await kept(store, workers[0], "team")).spent == amount_of(100)


async def test_dearer_than_estimated_overspends_by_no_more_than_that(store):
    budgets = budgets_of(store, team={"usd": 1})
    await spend(budgets, 0.9, cost=1.3)
    await budgets.drain()
    assert (await kept(store, budgets, "team")).spent == amount_of(1.3)
    with pytest.raises(BudgetExceeded):
        await spend(budgets, 0.000001)


async def test_far_from_the_end_the_store_is_not_waited_for(store):
    watched = Shaky(store)
    budgets = budgets_of(watched, team={"usd": 1_000})
    for _ in range(500):
        await spend(budgets, 0.001)
    assert watched.asked < 50
    await budgets.drain()
    assert (await kept(store, budgets, "team")).spent == amount_of(0.5)


async def test_looking_writes_nothing(store):
    budgets = budgets_of(store, team={"usd": 10})
    ((_, standing),) = await budgets.standings(budgets.pockets(ACME))
    assert (standing.level, standing.spent) == (0, NOTHING)
    assert await kept(store, budgets, "team") is None
    await spend(budgets, 1)
    assert (await budgets.standings(budgets.pockets(ACME)))[0][1].spent == amount_of(1)


async def test_tokens_are_a_budget_as_well(store):
    budgets = budgets_of(store, team={"tokens": 1_000, "period": "day"})
    await spend(budgets, 5, tokens=900)
    with pytest.raises(BudgetExceeded, match="1,000 tokens a day: 900 tokens are spent"):
        await spend(budgets, 0, tokens=101)
    await spend(budgets, 0, tokens=100)


async def test_a_budget_is_for_those_it_is_only_for(store):
    budgets = budgets_of(store, free={"usd": 1, "only": {"tier": ["free", "trial*"]}})
    assert budgets.pockets(ACME) == []
    assert len(budgets.pockets(Caller(tier="trial-2"))) == 1


DIES = """
import asyncio, sys
sys.path.insert(0, {here!r})
from budget_scene import ACME, budgets_of
from corral.backends.open import open_stores
from corral.limits.accounts import amount_of

async def main():
    stores = open_stores({url!r})
    await stores.start()
    budgets = budgets_of(stores.budgets, team={{"usd": 10, "lease_s": 1}})
    await budgets.start()
    reservation = await budgets.reserve(budgets.pockets(ACME), amount_of(8))
    budgets.settle(await budgets.reserve(budgets.pockets(ACME), amount_of(2)), amount_of(2))
    await budgets.drain()
    print("held", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_what_a_killed_worker_had_set_aside_is_free_after_its_lease(store, tmp_path):
    script = DIES.format(here=str(Path(__file__).parent), url=ready_url(tmp_path))
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert await child.stdout.readline() == b"held\n"
    budgets = budgets_of(store, team={"usd": 10})
    with pytest.raises(BudgetExceeded):
        await spend(budgets, 1)
    child.kill()
    await child.communicate()
    with pytest.raises(BudgetExceeded):
        await spend(budgets, 9)  # what it had spent is spent

    async def is_free():
        try:
            await spend(budgets, 8)
        except BudgetExceeded:
            return False
        return True

    await eventually(is_free)


async def test_an_operator_s_word_goes_before_the_settings(store):
    budgets = budgets_of(store, team={"usd": 1, "by": ["tag:team"]})
    await spend(budgets, 1)
    await store.set_terms(Place("acme", "team", "support"), encode_terms(Terms(amount_of(3).nano, None)))
    await spend(budgets, 2)
    with pytest.raises(BudgetExceeded, match=r"allows \$3.00"):
        await spend(budgets, 1)


@pytest.mark.parametrize("when_down", ["local", "open", "closed"])
async def test_while_the_store_is_away_each_budget_says_what_happens(store, when_down):
    shaky = Shaky(store)
    budgets = budgets_of(shaky, team={"usd": 10, "when_down": when_down})
    await spend(budgets, 4)
    shaky.away = True
    if when_down == "closed":
        with pytest.raises(BudgetsUnavailable) as unavailable:
            await spend(budgets, 5)
        assert (unavailable.value.status, unavailable.value.retry_after_s) == (503, 1.0)
        return
    await spend(budgets, 5)
    if when_down == "local":
        with pytest.raises(BudgetExceeded):
            await spend(budgets, 5)
    else:
        await spend(budgets, 5)
    shaky.away = False
    budgets._away_until = 0.0
    await budgets.drain()  # what was spent meanwhile is told
    assert (await kept(store, budgets, "team")).spent == amount_of(9 if when_down == "local" else 14)


async def test_steps_are_told_once_by_one_worker(store):
    heard = Heard()
    ladder = [{"at": 0.5, "do": "warn"}, {"at": 0.5, "do": "smaller_model", "to": "sim/small"}]
    one, other = (budgets_of(store, heard=heard, team={"usd": 10, "ladder": ladder}) for _ in range(2))
    await spend(one, 6)
    await one.drain()
    await spend(other, 3)
    await other.drain()
    assert heard.news == [("team", "", 0.5, ("warn", "smaller_model"))]
    with pytest.raises(BudgetExceeded):
        await spend(other, 2)
    await one.drain()
    assert heard.news[1:] == [("team", "", 1.0, ("reject",))]
    assert heard.refusals == ["team"]
    one.gauge()
    assert heard.levels["team"] >= 0.6


async def test_a_refusal_says_when_a_job_goes_on(store):
    budgets = budgets_of(store, team={"usd": 10, "ladder": [{"at": 0.9, "do": "queue"}]})
    await spend(budgets, 8.5)
    with pytest.raises(BudgetExceeded) as refused:
        await spend(budgets, 1)
    assert refused.value.put_off_s == min(900.0, refused.value.retry_after_s) > 0
    assert refused.value.code == "budget_queued"


def test_what_goes_on_in_the_background():
    """Money comes back and truth is told without anybody asking for it."""

    async def scene():
        store = Memory()
        budgets = budgets_of(store, more={"clock": LoopClock}, team={"usd": 10, "lease_s": 4})
        await budgets.start()
        await budgets.start()
        for _ in range(20):
            await spend(budgets, 0.01)
        await asyncio.sleep(3)
        (body,) = store.bodies()
        account = decode_account(body)
        assert account.spent == amount_of(0.2)
        assert account.held(0) == NOTHING
        reservation = await budgets.reserve(budgets.pockets(ACME), amount_of(10 - 0.2))
        await asyncio.sleep(20)  # far beyond its lease: it is held for as long as the call goes on
        other = budgets_of(store, more={"clock": LoopClock}, team={"usd": 10, "lease_s": 4})
        with pytest.raises(BudgetExceeded):
            await spend(other, 0.1)
        budgets.settle(reservation, amount_of(1))
        await budgets.stop()
        await budgets.stop()
        await asyncio.sleep(1)  # longer than a refusal is remembered
        await spend(other, 8.8)

    in_jumping_time(scene)


class Memory:
    """A store of one process, for time that jumps."""

    def __init__(self):
        self.kept = {}

    def bodies(self):
        return [body for _, body in self.kept.values()]

    async def read(self, places):
        return Known([KeptAccount(one, *self.kept.get(one, (0, b"")), b"") for one in places], LoopClock.now())

    async def swap(self, changes):
        done = all(self.kept.get(one.place, (0, b""))[0] == one.version for one in changes)
        if done:
            for one in changes:
                self.kept[one.place] = (one.version + 1, one.body)
        return done, await self.read([one.place for one in changes])


async def test_whatever_happens_the_sum_of_all_that_was_settled_is_spent(store):
    chance = random.Random(7)
    workers = [budgets_of(store, a={"usd": 50}, b={"usd": 9, "by": ["user"]}) for _ in range(3)]
    settled = {"ann": NOTHING, "bob": NOTHING}

    async def call(budgets):
        user = chance.choice(["ann", "bob"])
        need = Amount(chance.randrange(1, 400_000_000), chance.randrange(100))
        try:
            reservation = await budgets.reserve(budgets.pockets(Caller(tenant="acme", user_id=user)), need)
        except BudgetExceeded:
            return
        cost = Amount(chance.randrange(need.nano + 1), chance.randrange(100))
        budgets.settle(reservation, cost)
        settled[user] += cost

    for _ in range(10):
        await asyncio.gather(*(call(chance.choice(workers)) for _ in range(20)))
    for one in workers:
        await one.drain()
    assert (await kept(store, workers[0], "a")).spent == settled["ann"] + settled["bob"]
    for user, spent in settled.items():
        caller = Caller(tenant="acme", user_id=user)
        assert (await kept(store, workers[0], "b", caller)).spent == spent
        assert spent.nano <= amount_of(9).nano


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({}, "neither `usd` nor `tokens`"),
        ({"usd": 1, "by": ["users"]}, "says 'users'"),
        ({"usd": 1, "only": {"tag:": ["x"]}}, "says 'tag:'"),
        ({"usd": 1, "zone": "Mars/Olympus"}, "no time zone"),
        ({"usd": 1, "ladder": [{"at": 0.5, "do": "smaller_model"}]}, "needs `to`"),
    ],
)
def test_what_cannot_be_kept_is_refused_at_once(budget, message):
    with pytest.raises(ConfigError, match=message):
        budgets_of(None, team=budget)


def test_periods_begin_where_people_live():
    berlin, summer = ZoneInfo("Europe/Berlin"), 1_782_864_000.0  # 2026-07-01T00:00Z
    assert period_of("month", summer - 1).name == "2026-06"
    assert period_of("month", summer - 1).ends_at == summer
    assert period_of("month", summer - 1, berlin).name == "2026-07"
    assert period_of("day", summer - 1, berlin).name == "2026-07-01"
    assert period_of("day", summer - 1, berlin).ends_at == summer + 22 * 3600
    assert period_of("total", summer) == period_of("total", 0.0)
    assert msgspec.structs.astuple(period_of("month", 1_796_083_200.0)) == ("2026-12", 1_798_761_600.0)


def test_names_are_such_as_every_store_can_keep():
    assert plain("zoë") == "zoë"
    for strange in ("a\x00b", "\ud800", "x" * 5_000):
        assert len(plain(strange)) <= 200
        plain(strange).encode()
        assert plain(strange) != plain(strange + "!")


@pytest.mark.parametrize(
    ("usd", "shown"),
    [(0, "$0.00"), (0.5, "$0.50"), (0.002, "$0.002"), (0.0000126, "$0.000013"), (1234.5678, "$1,234.57")],
)
def test_small_sums_are_shown_as_well(usd, shown):
    assert shown_usd(usd) == shown


def test_a_budget_by_tenant_is_one_that_all_of_it_share():
    assert BudgetRule("all", BudgetSettings(usd=1.0, by=["tenant", "user"])).by == ("user",)
    assert BudgetRule("all", BudgetSettings(usd=1.0, by=["tenant"])).by == ()
