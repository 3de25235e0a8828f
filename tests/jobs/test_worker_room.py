"""Jobs make room for callers who wait in the same process."""

from __future__ import annotations

from working_scene import Agent, draft, until


async def test_with_less_room_fewer_jobs_run_and_with_more_the_rest(make_worker, enqueue, seen):
    agent, most = Agent(), 1
    worker = await make_worker(agent, concurrency=8, slots=lambda concurrency: min(most, concurrency))
    await enqueue(*[draft(number) for number in range(6)])
    await agent.began.wait()
    assert len(agent.jobs) == 1
    most = 4
    worker.made_room()
    await until(lambda: len(agent.jobs) == 4)
    most = 8
    worker.made_room()
    await until(lambda: len(agent.jobs) == 6)
    agent.go_on.set()
    assert await seen.count(6) == ["succeeded"] * 6
