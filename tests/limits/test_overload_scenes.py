"""What overload control is for, in time that jumps: minutes of load in a moment."""

from __future__ import annotations

import asyncio

from limit_scene import in_jumping_time
from overload_scene import Crowd, SlowingServer, an_overload, percentile

SECONDS = 30


async def mixed(times, overload, *, seconds=SECONDS, **server):
    """A third each of what nobody waits for, of newcomers, and of premium users, at so many times what can be carried."""
    crowd = Crowd(SlowingServer(**server), overload)
    all_per_s = crowd.server.per_s * times
    await asyncio.gather(
        crowd.come("premium", all_per_s * 0.2, seconds, tier="premium"),
        crowd.come("usual", all_per_s * 0.3, seconds),
        crowd.come("background", all_per_s * 0.5, seconds, asked=1),
    )
    ended_at = asyncio.get_running_loop().time()
    await crowd.gone()
    if overload is not None:
        overload.stop()
        assert (overload.in_flight, overload.waiting) == (0, 0)
    return crowd, ended_at


def test_under_three_times_the_load_premium_users_hardly_notice_and_the_rest_goes_on():
    async def scene():
        quiet, _ = await mixed(0.3, an_overload())
        overload = an_overload()
        crowd, ended_at = await mixed(3.0, overload)
        assert not quiet.shed
        assert percentile(crowd.took["premium"], 0.95) <= 1.5 * percentile(quiet.took["premium"], 0.95)
        assert crowd.shed["premium"] == 0
        # What nobody waits for goes on all the time: in each tenth of it.
        began_at = ended_at - SECONDS
        for tenth in range(10):
            until = began_at + (tenth + 1) * SECONDS / 10
            since = until - SECONDS / 10
            for name in ("background", "usual"):
                assert sum(since < at <= until for at in crowd.answered_at[name]) >= 5
        # And nothing is wasted: as much is served as the server can carry.
        served = sum(at <= ended_at for times in crowd.answered_at.values() for at in times)
        assert served >= 0.85 * crowd.server.per_s * SECONDS
        # Those who are refused are the lowest.
        asked = {name: crowd.shed[name] + len(crowd.took[name]) for name in crowd.took}
        shed = {name: crowd.shed[name] / asked[name] for name in asked}
        assert shed["premium"] < shed["usual"] < shed["background"]

    in_jumping_time(scene)


def test_without_it_everybody_waits_for_ever():
    async def scene():
        crowd, _ = await mixed(3.0, None, seconds=10)
        assert percentile(crowd.took["premium"], 0.95) > 2

    in_jumping_time(scene)


def test_a_flood_by_one_tenant_leaves_another_alone():
    async def idle():
        crowd = Crowd(SlowingServer(), an_overload())
        await crowd.come("small", 5, SECONDS, tenant="small")
        await crowd.gone()
        return percentile(crowd.took["small"], 0.99)

    async def flooded():
        overload = an_overload()
        crowd = Crowd(SlowingServer(), overload)
        await asyncio.gather(
            crowd.come("small", 5, SECONDS, tenant="small"),
            crowd.come("flood", crowd.server.per_s * 2, SECONDS, tenant="flood"),
            crowd.come("rich flood", crowd.server.per_s * 2, SECONDS, tenant="flood", tier="premium"),
        )
        await crowd.gone()
        overload.stop()
        assert crowd.shed["small"] == 0
        return percentile(crowd.took["small"], 0.99)

    assert in_jumping_time(flooded) <= 3 * in_jumping_time(idle)


def test_tenants_of_one_kind_get_the_same_of_what_there_is():
    async def scene():
        overload = an_overload(tenants={"double": 2})
        crowd = Crowd(SlowingServer(), overload)
        rate = crowd.server.per_s
        await asyncio.gather(
            crowd.come("loud", rate * 2, SECONDS, tenant="loud"),
            crowd.come("quiet", rate, SECONDS, tenant="quiet"),
            crowd.come("double", rate * 2, SECONDS, tenant="double"),
        )
        await crowd.gone()
        overload.stop()
        served = {name: len(took) for name, took in crowd.took.items()}
        assert 0.8 <= served["loud"] / served["quiet"] <= 1.25
        assert 1.6 <= served["double"] / served["quiet"] <= 2.4

    in_jumping_time(scene)


def test_after_a_flood_all_is_as_before():
    async def scene():
        overload = an_overload()
        crowd = Crowd(SlowingServer(), overload)
        await crowd.come("flood", crowd.server.per_s * 4, 10, tenant="flood")
        await crowd.gone()
        assert overload.waiting == overload.in_flight == 0
        crowd.took.clear()
        await crowd.come("after", crowd.server.per_s / 2, 20)
        await crowd.gone()
        assert not crowd.shed["after"]
        assert percentile(crowd.took["after"], 0.95) <= 0.25
        assert not overload.is_loaded or overload.waiting == 0
        overload.stop()

    in_jumping_time(scene)
